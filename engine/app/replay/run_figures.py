"""The figures of a run's summary as a person reads them: in sections, in columns, and only what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from engine.app.replay.run_contents import TIMINGS
from engine.vocabulary import counted

#: A name, two figures and their difference fit a page of 100 columns.
_NAME_WIDTH: Final = 34
_WIDTH: Final = 22
#: A section that differs everywhere says so in this many rows.
_SECTION_ROWS: Final = 20

Figures = dict[tuple[str, str], Any]


def figures_of(summary: Mapping[str, Any]) -> Figures:
    """Return every figure of a summary by section and name; the section of single figures is empty.

    Examples
    --------
    >>> figures_of({"bars": 5, "rejected": {"LATE": 2}, "strategies": {"a": {"trades": 1}}})
    {('', 'bars'): 5, ('rejected', 'LATE'): 2, ('strategies a', 'trades'): 1}
    """
    found: Figures = {}
    for key, value in summary.items():
        found |= _flat("", key, _by_name(value) if isinstance(value, list) else value)
    return dict(sorted(found.items(), key=lambda item: item[0][0] != ""))


def _flat(section: str, name: str, value: Any) -> Figures:
    if not isinstance(value, Mapping):
        return {(section, name): value}
    inner = f"{section} {name}".strip()
    return {key: one for n, v in value.items() for key, one in _flat(inner, str(n), v).items()}


def _by_name(notes: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Name what strategies said: by strategy and spread, the note with its values."""
    found: dict[str, dict[str, Any]] = {}
    for note in notes:
        said = {key: value for key, value in note.items() if key not in {"strategy", "spread", "note"}}
        owner = found.setdefault(f"{note.get('strategy', '')} {note.get('spread', '')}".strip(), {})
        owner |= {str(note.get("note", "")): "said"} | said
    return found


def show(summary: Mapping[str, Any], name: str) -> str:
    """Write one summary."""
    rows = [(key, [_cell(key, value)]) for key, value in figures_of(summary).items()]
    return _table(["figure", name], rows)


def compare(one: Mapping[str, Any], two: Mapping[str, Any], names: tuple[str, str]) -> str:
    """Write what differs between two summaries, and how much there is to compare; times of the machine not.

    Parameters
    ----------
    one, two : mapping
        As in ``summary.json``.
    names : tuple of str
        Of the runs.
    """
    first, second = figures_of(one), figures_of(two)
    keys = [key for key in {**first, **second} if key[1] not in TIMINGS]
    keys.sort(key=lambda key: key[0] != "")
    odd = [key for key in keys if first.get(key) != second.get(key) or key == ("", "digest")]
    rows = [(key, _compared(key, first.get(key), second.get(key))) for key in odd]
    header = ["figure", *(name if len(name) <= _WIDTH else f"…{name[1 - _WIDTH :]}" for name in names)]
    return _table([*header, "difference"], rows) + "\n".join(_closing(one, two, len(keys) - len(odd))) + "\n"


def _closing(one: Mapping[str, Any], two: Mapping[str, Any], n_same: int) -> Iterator[str]:
    yield ""
    yield f"{counted(n_same, 'further figure')} the same"
    if one.get("digest") != two.get("digest"):
        return
    decided = [sum(run.get(key) or 0 for key in ("signals", "fills")) for run in (one, two)]
    if any(decided):
        yield "the digests are equal: both decided the same"
    else:
        yield "the digests are equal, over 0 signals and 0 fills: nothing was decided, so nothing is compared"


def _table(header: list[str], rows: Sequence[tuple[tuple[str, str], list[str]]]) -> str:
    """Align names to the left, figures that are compared to the right; a section stands above its own."""
    lines = [header]
    for section, group in groupby(rows, key=lambda row: row[0][0]):
        chosen = list(group)
        indent, n_shown = ("  ", _SECTION_ROWS) if section else ("", len(chosen))
        lines += [[section]] if section else []
        lines += [[indent + _start(key[1], _NAME_WIDTH - 2), *cells] for key, cells in chosen[:n_shown]]
        lines += [[f"  and {len(chosen) - n_shown:,} more: --json"]] if len(chosen) > n_shown else []
    whole = [line for line in lines if len(line) == len(header)]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    text, aligned = [], str.rjust if len(header) > 2 else str.ljust
    for name, *cells in lines:
        padded = (aligned(cell, width) for cell, width in zip(cells, widths[1:], strict=False))
        text.append("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    return "\n".join(text) + "\n"


def _compared(key: tuple[str, str], one: Any, two: Any) -> list[str]:
    cells = [_start(_cell(key, value), _WIDTH) for value in (one, two)]
    if one == two:
        return [*cells, "="]
    if isinstance(one, int | float) and isinstance(two, int | float):
        return [*cells, f"{'+' if two > one else ''}{_cell(key, two - one)}"]
    return [*cells, "differs"]


def _start(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _cell(key: tuple[str, str], value: Any) -> str:
    if value is None or value == "":
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    section, name = key
    unit = name if name.endswith(("_usd", "_frac")) else section.partition(" ")[0]
    digits = 2 if unit.endswith("_usd") or abs(value) >= 100.0 else 4
    is_lost = value != 0.0 and abs(value) < 0.5 * 10.0**-digits
    return f"{value:.2g}" if is_lost else f"{value:,.{digits}f}"
