"""A page that holds stated figures against computed ones: its rows, and how they become Markdown.

What was stated, how it is shown and why it differs stand in a file of ``stated``; what Astra gives is
computed by a module of the same name. Neither knows the other: they meet here, by the id of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

#: Of a row: equal, not equal and explained, or nothing to compare with.
VERDICTS: Final = ("ok", "differs", "not stated")
#: One figure, or several that belong together.
Value = float | str | Sequence[float | str]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stated figure.

    Parameters
    ----------
    id : str
        What the computing module calls it.
    figure : str
        What it is, in words.
    stated : Value or None
        In the unit of `show`; None where the source leaves it out.
    show : str
        Format of Astra's figure, with its unit and as many digits as mean something: ``"{:,.2f} USD"``.
    show_stated : str
        Format of the stated figure; that of Astra's if empty.
    tolerance : float or None
        Largest difference that is none. By default two figures agree that look the same as stated.
    why : str
        Why they differ, or what to know about a figure that is right.
    """

    id: str
    figure: str
    stated: Value | None = None
    show: str = "{}"
    show_stated: str = ""
    tolerance: float | None = None
    why: str = ""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows with one subject; `text` says what runs it, with links as seen from the page."""

    title: str
    text: str
    row: list[Row]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One system; `runs` are commands that run it, as the summary shows them."""

    title: str
    runs: list[str]
    text: str
    table: list[Table]


class PageError(Exception):
    """A row without a figure, a figure without a row, or a difference without a reason."""


def read_section(path: Path) -> Section:
    """Read the stated figures of a system."""
    return msgspec.toml.decode(path.read_bytes(), type=Section)


def shown(value: Value, pattern: str) -> str:
    """Format a figure, or several with commas between and the unit once; never as minus nothing.

    Examples
    --------
    >>> shown([0.25, -1e-9], "{:.2f} USD"), shown(-47.2656, "about {:,.2f} USD")
    ('0.25, 0.00 USD', 'about -47.27 USD')
    """
    before, brace, rest = pattern.partition("{")
    field, _, after = rest.partition("}")
    return before + ", ".join(_one(value, brace + field + "}") for value in _all(value)) + after


def _one(value: float | str, pattern: str) -> str:
    text = pattern.format(value)
    return text.removeprefix("-") if text == "-" + pattern.format(0) else text


def agrees(row: Row, value: Value) -> bool:
    """Tell whether a computed figure is the stated one.

    Examples
    --------
    >>> row = Row("a", "a figure", 0.16, show="{:.4f}", show_stated="{:.2f}")
    >>> agrees(row, 0.1585), agrees(row, 0.1535)
    (True, False)
    >>> agrees(msgspec.structs.replace(row, tolerance=0.01), 0.1535)
    True
    """
    if row.stated is None:
        return False
    stated, found = _all(row.stated), _all(value)
    if len(stated) != len(found) or {type(one) is str for one in stated} != {
        type(one) is str for one in found
    }:
        return False
    if row.tolerance is None:
        pattern = row.show_stated or row.show
        return shown(stated, pattern) == shown(found, pattern)
    return all(abs(float(a) - float(b)) <= row.tolerance for a, b in zip(stated, found, strict=True))


def verdict(row: Row, value: Value) -> str:
    """Return which of ``VERDICTS`` a computed figure gets."""
    agreed, differs, unstated = VERDICTS
    return unstated if row.stated is None else agreed if agrees(row, value) else differs


def _all(value: Value) -> Sequence[float | str]:
    return [value] if isinstance(value, float | int | str) else value


def render(title: str, preface: str, sections: Mapping[str, tuple[Section, Mapping[str, Value]]]) -> str:
    """Return the page.

    Parameters
    ----------
    title, preface : str
    sections : mapping of str to (Section, mapping of str to Value)
        By name: what was stated, and what was computed, by the ids of the rows.

    Raises
    ------
    PageError
        For everything that has no counterpart, and for differences that are not explained.
    """
    faults = [fault for name, (section, found) in sections.items() for fault in _faults(name, section, found)]
    if faults:
        raise PageError("\n".join(faults))
    parts = [f"# {title}\n\n{preface.strip()}\n", _summary(list(sections.values()))]
    for section, found in sections.values():
        parts.append(f"## {section.title}\n\n{section.text.strip()}\n")
        parts += [_table(table, found) for table in section.table]
    return "\n".join(parts)


def _faults(name: str, section: Section, found: Mapping[str, Value]) -> list[str]:
    rows = [row for table in section.table for row in table.row]
    known = [row.id for row in rows]
    faults = [f"{name}: {row.id} was not computed" for row in rows if row.id not in found]
    faults += [f"{name}: {key} was computed and has no row" for key in found if key not in known]
    faults += [f"{name}: {key} has two rows" for key in sorted(set(known)) if known.count(key) > 1]
    faults += [
        f"{name}: {row.id} differs ({shown(found[row.id], row.show)}) and says no reason"
        for row in rows
        if row.id in found and not row.why and verdict(row, found[row.id]) == "differs"
    ]
    return faults


def _summary(sections: Sequence[tuple[Section, Mapping[str, Value]]]) -> str:
    lines = ["| system | run by | " + " | ".join(VERDICTS) + " |", "|---|---|--:|--:|--:|"]
    for section, found in sections:
        given = [verdict(row, found[row.id]) for table in section.table for row in table.row]
        anchor = section.title.lower().replace(" ", "-")
        runs = ", ".join(f"`{run}`" for run in section.runs)
        counts = " | ".join(str(given.count(one)) for one in VERDICTS)
        lines.append(f"| [{section.title}](#{anchor}) | {runs} | {counts} |")
    return "\n".join(lines) + "\n"


def _table(table: Table, found: Mapping[str, Value]) -> str:
    lines = [f"### {table.title}\n", f"{table.text.strip()}\n"]
    lines += ["| figure | stated | Astra | | why |", "|---|---|---|---|---|"]
    for row in table.row:
        value = found[row.id]
        stated = "–" if row.stated is None else shown(row.stated, row.show_stated or row.show)
        given = verdict(row, value)
        marked = f"**{given}**" if given == "differs" else given
        cells = [row.figure, stated, shown(value, row.show), marked, row.why]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells).rstrip() + " |")
    return "\n".join(lines) + "\n"
