"""Faults of a configuration, all at once: the line, a caret under the culprit, the nearest name, and why."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.app.config.toml_text import Path_, Place, places
from engine.errors import AstraError, ConfigError, Errors

_UNKNOWN_WHY = "Unknown keys are refused so that a mistyped limit can never be ignored."


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Parameters
    ----------
    code : str
        ``"C001"`` ...
    path : tuple
        Keys and indices down to the culprit; it need not exist in the file.
    what : str
        The headline.
    note : str
        Stands behind the caret.
    why : str
        Why it matters and what to do; lines.
    is_key : bool
        The key itself is at fault, not its value.
    """

    code: str
    path: Path_
    what: str
    note: str = ""
    why: str = ""
    is_key: bool = False


class Source(msgspec.Struct, frozen=True):
    """Where a configuration came from, so that any later fault can still name its line.

    Parameters
    ----------
    name : str
        The file as the user knows it, for example ``astra.toml``.
    text : str
    places : dict
        Place of every path in ``text``.
    overrides : dict
        ``--set`` arguments by the path they changed.
    """

    name: str
    text: str
    places: dict[Path_, Place] = {}
    overrides: dict[Path_, str] = {}

    @classmethod
    def read(cls, name: str, text: str, overrides: Mapping[Path_, str]) -> Source:
        """Index a valid TOML text."""
        return cls(name, text, places(text), dict(overrides))

    def origin(self, path: Path_) -> str:
        """Return ``astra.toml:14``, ``--set ...``, or ``default`` for a value nobody wrote."""
        given = self._override(path)
        if given:
            return given
        return f"{self.name}:{self._line(self.places[path].key)}" if path in self.places else "default"

    def error(self, fault: Fault) -> ConfigError:
        """Render a fault with its place, its source line and a caret."""
        given = self._override(fault.path)
        if given:
            return ConfigError(fault.code, fault.what, given, _join(fault.note, fault.why))
        place = self._nearest(fault.path)
        if place is None:
            return ConfigError(fault.code, fault.what, self.name, _join(fault.note, fault.why))
        start, end = (place.key, place.key_end) if fault.is_key else (place.value, place.value_end)
        return ConfigError(
            fault.code,
            fault.what,
            f"{self.name}:{self._line(start)}",
            _join(point(self.text, start, end, fault.note), fault.why),
        )

    def position(self, fault: Fault) -> tuple[int, str]:
        """Sort key: place in the file, then the headline; overrides come last."""
        place = None if self._override(fault.path) else self._nearest(fault.path)
        return (place.key if place else len(self.text), fault.what)

    def _override(self, path: Path_) -> str:
        for key, text in self.overrides.items():
            if path[: len(key)] == key or (key[: len(path)] == path and path not in self.places):
                return text
        return ""

    def _nearest(self, path: Path_) -> Place | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return None

    def _line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


def point(text: str, start: int, end: int, note: str) -> str:
    """Draw the line of ``start`` with carets under ``start`` to ``end``, and a note behind them."""
    line = text.count("\n", 0, start) + 1
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", start)
    source = text[first : last if last >= 0 else len(text)].replace("\t", " ").rstrip()
    width = max(1, min(end, first + len(source)) - start)
    carets = " " * (start - first) + "^" * width
    gutter = " " * len(str(line))
    return f" {line} | {source}\n {gutter} | {carets} {note}".rstrip()


def raise_all(source: Source, faults: Iterable[Fault]) -> None:
    """Raise every fault at once, in the order of the file; do nothing when there is none.

    Raises
    ------
    Errors
    """
    ordered = sorted(faults, key=source.position)
    if ordered:
        raise Errors([source.error(fault) for fault in ordered])


def dotted(path: Path_) -> str:
    """Name a value as ``--set`` does: ``strategy.0.entry_z``."""
    return ".".join(str(part) for part in path)


def table_name(path: Path_) -> str:
    """Name a table as it stands in the file: ``[risk]``, ``[[strategy]]``, ``strategy.0.noise``."""
    if len(path) == 1:
        return f"[{path[0]}]"
    return f"[[{path[0]}]]" if len(path) == 2 and isinstance(path[1], int) else dotted(path)


def unknown_key(path: Path_, known: Sequence[str], elsewhere: Mapping[str, str]) -> Fault:
    """Refuse a key, with the nearest valid one, or the table where it belongs."""
    key = str(path[-1])
    near = nearest(key, known)
    note = f'did you mean "{near}"?' if near else ""
    if not near and key in elsewhere:
        note = f"it belongs in {elsewhere[key]}"
    what = f'unknown key "{key}" in {table_name(path[:-1])}' if len(path) > 1 else f"unknown table [{key}]"
    why = (
        _UNKNOWN_WHY
        if note
        else "\n".join([_UNKNOWN_WHY, *textwrap.wrap(f"Known here: {', '.join(known)}", 100)])
    )
    if note.startswith(f"it belongs in {table_name(path[:-1])} with "):
        why += f"\nTo leave it out for once:  --set {dotted(path)}="
    return Fault("C001", path, what, note, why, is_key=True)


def unknown_kind(path: Path_, kind: str, known: Sequence[str]) -> Fault:
    """Refuse a ``kind`` that no plug-in provides."""
    near = nearest(kind, known)
    note = f'did you mean "{near}"?' if near else ""
    return Fault("C002", path, f'unknown {path[0]} kind "{kind}"', note, f"Known kinds: {', '.join(known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the valid name that was probably meant, or an empty text."""
    by_folded = {name.strip().casefold(): name for name in known}
    match = difflib.get_close_matches(word.strip().casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[match[0]] if match else ""


def _join(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def toml_syntax(name: str, text: str, message: str) -> ConfigError:
    """Explain a file that is not TOML."""
    match = re.search(r"\(at line (\d+), column (\d+)\)", message)
    reason = re.sub(r" *\(at [^)]*\)", "", message)
    reason = reason[:1].lower() + reason[1:]
    if match:
        line, column = int(match[1]), int(match[2])
        offset = sum(len(one) + 1 for one in text.split("\n")[: line - 1]) + column - 1
    else:
        line, offset = text.rstrip().count("\n") + 1, len(text.rstrip())
    why = 'A line is "key = value", a table is "[name]"; text values stand in quotes.'
    return ConfigError(
        "C015",
        f"{name} is not valid TOML: {reason}",
        f"{name}:{line}",
        _join(point(text, offset, offset + 1, ""), why),
    )


def no_config(path: Path) -> ConfigError:
    """Explain that there is no configuration."""
    inside = path / "astra.toml"
    if inside.is_file():
        what = f"{path} is a folder, and a configuration is a file"
        return ConfigError("C008", what, str(path), f"There is one in it: {inside}")
    from engine.app.live.demo import FOLDER

    hint = "make one, with sample data:  astra init demo && cd demo"
    demo = path.parent / FOLDER / "astra.toml"
    if demo.is_file():
        hint = f"that of astra run --demo is {demo}:  astra status --config {demo}, and so halt, alerts, ..."
    why = "A run is described by a TOML file; without CONFIG the command reads ./astra.toml."
    return ConfigError("C008", f"there is no configuration at {path}", "", f"{why}\n{hint}")


def symbols_absent(
    source: Source, wanted: Mapping[str, Path_], present: Sequence[str], data: str
) -> Errors | None:
    """Explain symbols that the configuration names and the data lack (D002), all at once.

    Parameters
    ----------
    source : Source
    wanted : mapping
        Path of the value that names each symbol (``Config.symbol_paths``).
    present : sequence of str
        Symbols in the data.
    data : str
        The file or folder, as the user knows it.

    Returns
    -------
    Errors or None
        To raise; exit status 3.
    """
    from engine.errors import DataError

    errors: list[AstraError] = []
    for symbol, path in wanted.items():
        if symbol in present:
            continue
        near = nearest(symbol, present)
        hint = f'nearest in the data: "{near}". ' if near else ""
        owner = table_name(path[:2] if len(path) > 1 and isinstance(path[1], int) else path[:1])
        value = _value_at(source, path)
        errors.append(
            DataError(
                "D002",
                f'symbol "{symbol}" is in {owner} but not in {data}',
                f"{source.origin(path)}   {dotted(path)}{value}",
                f"{hint}The data have {len(present)} symbols: astra data check {data}",
            )
        )
    return Errors(errors) if errors else None


@contextmanager
def located(source: Source) -> Iterator[None]:
    """Give errors that name a key, such as ``universe.calendar``, the line of the file where it stands."""
    try:
        yield
    except AstraError as error:
        if not isinstance(error, Errors) and error.where:
            path = next((path for path in source.places if dotted(path) == error.where), None)
            error.where = f"{source.origin(path)}   {error.where}" if path else error.where
        raise


def _value_at(source: Source, path: Path_) -> str:
    place = source.places.get(path)
    return f" = {source.text[place.value : place.value_end]}" if place else ""
