"""What can be named in the configuration: built-in kinds, and those of installed packages.

A third party registers through the entry-point groups ``astra.feeds``, ``astra.live_feeds``,
``astra.strategies``, ``astra.allocators`` and ``astra.risk_models``; an entry point names an
``engine.ports.Plugin``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn

from engine.errors import ConfigError, DataError
from engine.ports import Plugin

Registry = Mapping[str, Plugin[Any]]

#: Module and name of the built-in registry of each group.
GROUPS = {
    "feeds": ("feeds", "REGISTRY"),
    "live_feeds": ("feeds", "LIVE"),
    "strategies": ("strategies", "REGISTRY"),
    "allocators": ("strategies.allocators", "REGISTRY"),
    "risk_models": ("risk", "REGISTRY"),
}


@cache
def registry(group: str) -> Registry:
    """Return every kind of a group, sorted by name.

    Parameters
    ----------
    group : str
        ``feeds``, ``live_feeds``, ``strategies``, ``allocators`` or ``risk_models``. The kinds of ``feeds``
        are all that the configuration may name: building one that only streams live raises D030. So are
        those of ``live_feeds``: building one that is only recorded raises D035.

    Raises
    ------
    ConfigError
        C009 if an installed plug-in cannot be imported, is no ``Plugin``, takes a name that is taken, or
        accepts unknown keys.
    """
    kinds = dict(_kinds(group))
    if group == "feeds":
        live = _kinds("live_feeds")
        kinds |= {kind: _refusing(live[kind], _only_live(kind)) for kind in live if kind not in kinds}
    if group == "live_feeds":
        recorded = _kinds("feeds")
        kinds |= {
            kind: _refusing(recorded[kind], _only_recorded(kind)) for kind in recorded if kind not in kinds
        }
    for kind, plugin in kinds.items():
        if plugin.options.model_config.get("extra") != "forbid":
            raise ConfigError(
                "C009",
                f'the options of "{kind}" in {group} accept unknown keys',
                f"{plugin.options.__module__}.{plugin.options.__qualname__}",
                'A mistyped key must never be ignored: set model_config = ConfigDict(extra="forbid").',
            )
    return dict(sorted(kinds.items()))


def is_recorded(kind: str) -> bool:
    """Return whether a kind of feed has all its bars at hand: a replay can read it, a live run paces it."""
    return kind in _kinds("feeds")


def z_unit(kind: str) -> str:
    """Return the unit of what a kind of strategy calls z; empty for standard deviations, or if unknown."""
    plugin = registry("strategies").get(kind)
    return plugin.z_unit if plugin is not None else ""


def weighs_returns(kind: str) -> bool:
    """Return whether a kind of allocator reads what strategies expect; ``none`` reads nothing."""
    plugin = registry("allocators").get(kind)
    return plugin is not None and plugin.weighs_returns


def _kinds(group: str) -> Registry:
    module, name = GROUPS[group]
    kinds: dict[str, Plugin[Any]] = dict(getattr(import_module(module), name))
    for entry in sorted(entry_points(group=f"astra.{group}"), key=lambda entry: entry.name):
        if entry.name in kinds:
            raise _refused(entry, "its name is taken")
        kinds[entry.name] = _load(entry)
    return kinds


def _refusing(plugin: Plugin[Any], error: DataError) -> Plugin[Any]:
    """Return a kind whose options are known, and which cannot be built here."""

    def refuse(_options: object, _context: object) -> NoReturn:
        raise error

    return Plugin(plugin.options, refuse)


def _only_live(kind: str) -> DataError:
    return DataError(
        "D030",
        f'feed.kind = "{kind}" streams live: there is nothing to replay',
        "feed.kind",
        "Run it with  astra run,  or replay recorded bars with  astra replay --data PATH",
    )


def _only_recorded(kind: str) -> DataError:
    return DataError(
        "D035",
        f'feed.kind = "{kind}" has recorded bars alone: its package names no live feed of that kind',
        "feed.kind",
        "Replay it with  astra replay,  or register a live feed under the same name; feeds.paced.PacedBars\n"
        "plays recorded bars by the clock.",
    )


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
