"""What can be named in the configuration: built-in kinds, and those of installed packages.

A third party registers through the entry-point groups ``astra.feeds``, ``astra.strategies`` and
``astra.allocators``; an entry point names an ``engine.ports.Plugin``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from engine.errors import ConfigError
from engine.ports import Plugin

Registry = Mapping[str, Plugin[Any]]

#: Module that holds the built-in registry of each group.
GROUPS = {"feeds": "feeds", "strategies": "strategies", "allocators": "strategies.allocators"}


@cache
def registry(group: str) -> Registry:
    """Return every kind of ``feeds``, ``strategies`` or ``allocators``, sorted by name.

    Raises
    ------
    ConfigError
        C009 if an installed plug-in cannot be imported, is no ``Plugin``, takes a name that is taken, or
        accepts unknown keys.
    """
    kinds: dict[str, Plugin[Any]] = dict(import_module(GROUPS[group]).REGISTRY)
    for entry in sorted(entry_points(group=f"astra.{group}"), key=lambda entry: entry.name):
        if entry.name in kinds:
            raise _refused(entry, "its name is taken")
        kinds[entry.name] = _load(entry)
    for kind, plugin in kinds.items():
        if plugin.options.model_config.get("extra") != "forbid":
            raise ConfigError(
                "C009",
                f'the options of "{kind}" in {group} accept unknown keys',
                f"{plugin.options.__module__}.{plugin.options.__qualname__}",
                'A mistyped key must never be ignored: set model_config = ConfigDict(extra="forbid").',
            )
    return dict(sorted(kinds.items()))


def _load(entry: EntryPoint) -> Plugin[Any]:
    try:
        plugin = entry.load()
    except Exception as error:
        raise _refused(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(plugin, Plugin):
        raise _refused(entry, f"it is a {type(plugin).__name__}, not an engine.ports.Plugin")
    return plugin


def _refused(entry: EntryPoint, why: str) -> ConfigError:
    return ConfigError(
        "C009",
        f'cannot use the plug-in "{entry.name}" of {entry.group}: {why}',
        entry.value,
        "Repair or uninstall the package that provides it.",
    )
