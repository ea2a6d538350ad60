"""Arguments that change a configuration: ``--set``, and ``--data`` for other bars than of ``[feed]``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.app.config import toml_text
from engine.app.config.errors import dotted
from engine.app.config.plugins import registry
from engine.app.config.toml_text import Path_
from engine.errors import ConfigError


def apply(
    document: dict[str, Any], overrides: Sequence[str], data: Path | None, typed_as: Mapping[str, str]
) -> dict[Path_, str]:
    """Change a document that is not validated yet, in place.

    Parameters
    ----------
    document : dict
        Tables by name.
    overrides : sequence of str
        ``section.key=value``; without a value the key is left out.
    data : Path or None
        Bars to read instead.
    typed_as : mapping of str to str
        Overrides that were not typed as ``--set``, and as what.

    Returns
    -------
    dict
        What was typed, by the path that it changed.

    Raises
    ------
    ConfigError
        C010 for an override that cannot be read.
    """
    given = {_override(document, one): typed_as.get(one, f"--set {one}") for one in overrides}
    return given if data is None else given | _use_data(document, data)


def _override(document: dict[str, Any], text: str) -> Path_:
    """Apply one ``key=value`` to the document, or ``key=``, which takes the key out; return the path."""
    key, equals, value = text.partition("=")
    try:
        path = toml_text.parse_key(key.strip())
    except (tomllib.TOMLDecodeError, ValueError):
        path = ()
    if not equals or len(path) < 2:
        raise ConfigError(
            "C010",
            f'cannot read --set "{text}"',
            f"--set {text}",
            "Write it as --set risk.var_limit_usd=100000",
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a text: --set allocator.kind=none
    node: Any = document
    real: Path_ = ()
    for part in path[:-1]:
        step: str | int = part
        if isinstance(node, list):
            step = _index(node, str(part), text)
            node = node[step]
        else:
            node = node.setdefault(part, {})
        real += (step,)
        if not isinstance(node, dict | list):
            raise ConfigError("C010", f"{dotted(real)} is a value, not a table", f"--set {text}")
    last: str | int = _index(node, str(path[-1]), text) if isinstance(node, list) else path[-1]
    if value.strip():
        node[last] = parsed
    else:
        _remove(node, last, text)
    return (*real, last)


def _remove(node: dict[str, Any] | list[Any], key: str | int, text: str) -> None:
    """Take a key out; one that is not there was probably mistyped."""
    if isinstance(node, list) or key not in node:
        what = f'--set "{text}" has no value, and there is no key of this name to leave out'
        hint = 'Give a value, or "" for an empty text:  --set strategy.0.quote_suffix=\'""\''
        raise ConfigError("C010", what, f"--set {text}", hint)
    del node[key]


def _index(items: list[Any], part: str, text: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        raise ConfigError(
            "C010",
            f'--set names element "{part}", the list has {len(items)}',
            f"--set {text}",
            "Elements are counted from 0: --set strategy.0.entry_z=2.5",
        )
    return int(part)


def _use_data(document: dict[str, Any], data: Path) -> dict[Path_, str]:
    """Make a configuration read bars of a file or folder.

    A feed that reads a path goes on reading its kind of file; any other, a simulation or one that is live,
    gives way to ``kind = "files"`` and keeps only what that understands.

    Parameters
    ----------
    document : dict
        Tables by name; not validated yet, and changed in place.
    data : Path

    Returns
    -------
    dict
        Where each value that was written comes from, by its path.
    """
    table = document.get("feed", {})
    if not isinstance(table, dict):
        return {}  # refused where tables are checked
    kinds = registry("feeds")
    kind = table.get("kind", "files")
    path, label = str(data.resolve()), f"--data {data}"
    if kind not in kinds or "path" in kinds[kind].options.model_fields:
        document["feed"] = {**table, "path": path}
        return {("feed", "path"): label}
    known = kinds["files"].options.model_fields
    kept = {key: value for key, value in table.items() if key in known}
    document["feed"] = {"kind": "files", **kept, "path": path}
    return {("feed", "kind"): label, ("feed", "path"): label}
