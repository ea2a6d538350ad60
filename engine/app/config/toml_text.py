"""TOML as text: where each key stands in a file, and how a document is written back.

``tomllib`` reads values but forgets places, and the standard library cannot write TOML; both are needed here
for one purpose, so that every error names a line and every run keeps its resolved configuration.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

#: Path of a value in a document: keys, and indices of arrays.
Path_ = tuple[str | int, ...]

_SKIP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
_SCALAR = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""+|\'{3}.*?\'{3,}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^,\]}\n#]+''', re.DOTALL
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Place(msgspec.Struct, frozen=True):
    """Offsets into the text: of the key (or the header), and of the value."""

    key: int
    key_end: int
    value: int
    value_end: int


def places(text: str) -> dict[Path_, Place]:
    r"""Find every table, key and array item of a TOML document.

    Parameters
    ----------
    text : str
        Valid TOML (``tomllib`` has read it).

    Returns
    -------
    dict
        Place of each path, in the order of the text.

    Examples
    --------
    >>> found = places('[risk]\nseed = 7\n')
    >>> list(found), found["risk", "seed"].value
    ([('risk',), ('risk', 'seed')], 14)
    """
    return _Scanner(text).scan()


class _Scanner:
    """Walks over a valid document once; knows no values, only where they begin and end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: dict[Path_, Place] = {}
        self._last_index: dict[Path_, int] = {}

    def scan(self) -> dict[Path_, Place]:
        table: Path_ = ()
        at = self._skip(0)
        while at < len(self.text):
            if self.text[at] == "[":
                table, at = self._header(at)
            else:
                at = self._pair(at, table)
            at = self._skip(at)
        return self.found

    def _skip(self, at: int) -> int:
        match = _SKIP.match(self.text, at)
        return match.end() if match else at

    def _header(self, at: int) -> tuple[Path_, int]:
        is_array = self.text.startswith("[[", at)
        key, end = self._key(self._skip(at + 1 + is_array))
        close = self.text.index("]", end) + 1 + is_array
        path = self._resolve(key[:-1]) + key[-1:]
        if is_array:
            index = self._last_index.get(path, -1) + 1
            self._last_index[path] = index
            self.found.setdefault(path, Place(at, close, at, close))
            path += (index,)
        else:
            path = self._resolve(key)
        self.found[path] = Place(at, close, at, close)
        return path, close

    def _resolve(self, key: Path_) -> Path_:
        """Add the index of the latest element wherever the path enters an array of tables."""
        path: Path_ = ()
        for part in key:
            path += (part,)
            if path in self._last_index:
                path += (self._last_index[path],)
        return path

    def _key(self, at: int) -> tuple[Path_, int]:
        match = _KEY.match(self.text, at)
        if match is None:
            raise ValueError(f"no key at offset {at}")
        return parse_key(match.group()), match.end()

    def _pair(self, at: int, table: Path_) -> int:
        key, key_end = self._key(at)
        path = table + key
        value = self._skip(self.text.index("=", key_end) + 1)
        end = self._value(value, path)
        self.found[path] = Place(at, key_end, value, end)
        return end

    def _value(self, at: int, path: Path_) -> int:
        if self.text[at] not in "[{":
            match = _SCALAR.match(self.text, at)
            end = match.end() if match else at
            return at + len(self.text[at:end].rstrip())
        close = "]" if self.text[at] == "[" else "}"
        index = 0
        position = self._skip(at + 1)
        while self.text[position] != close:
            if close == "]":
                item = (*path, index)
                end = self._value(position, item)
                self.found[item] = Place(position, end, position, end)
            else:
                end = self._pair(position, path)
            index += 1
            position = self._skip(end)
            if self.text[position] == ",":
                position = self._skip(position + 1)
        return position + 1


def parse_key(text: str) -> Path_:
    """Split a dotted key as TOML does.

    Examples
    --------
    >>> parse_key('book.positions."BRK.B"')
    ('book', 'positions', 'BRK.B')
    """
    value: Any = tomllib.loads(f"{text} = 0")
    path: Path_ = ()
    while isinstance(value, dict):
        [(key, value)] = value.items()
        path += (key,)
    return path


def write(document: Mapping[str, Any]) -> str:
    """Write a document of tables and arrays of tables; ``tomllib`` reads it back equal.

    Values inside a table may be any plain value; a mapping becomes an inline table. ``None`` is left out,
    since TOML has no word for it.

    Examples
    --------
    >>> print(write({"risk": {"seed": 7, "history": None}}), end="")
    [risk]
    seed = 7
    """
    blocks = []
    for name, table in document.items():
        is_array = isinstance(table, list | tuple)
        header = f"[[{key_text(name)}]]" if is_array else f"[{key_text(name)}]"
        for one in table if is_array else (table,):
            lines = [
                f"{key_text(key)} = {write_value(value)}" for key, value in one.items() if value is not None
            ]
            blocks.append("\n".join([header, *lines]) + "\n")
    return "\n".join(blocks)


def write_value(value: Any) -> str:
    """Write one value: shortest text that reads back equal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (f"{key_text(k)} = {write_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(write_value(item) for item in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def key_text(key: str) -> str:
    """Write a key, in quotes where TOML needs them."""
    return key if _BARE.fullmatch(key) else write_value(key)
