"""Par yield curves from a file, in the layout that the Treasury publishes them in."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from engine.errors import DataError
from engine.events import BoolArray, FloatArray, IntArray
from feeds.calendars import day_of

#: What stands in a cell of a tenor that was not quoted that day.
BLANKS: Final = frozenset({"", "N/A", "NA", "ND", ".", "-", "NULL", "NONE"})
_DATES: Final = ("%m/%d/%Y", "%Y-%m-%d", "%m/%d/%y")
_TENOR: Final = re.compile(r"(?P<r>R?)(?P<n>\d+(\.\d+)?)\s*(?P<unit>Y|YR|YEAR|M|MO|MONTH)?S?", re.IGNORECASE)


class CurveTable(msgspec.Struct, frozen=True):
    """The rows of a file, oldest first; rows of one day in the order of the file.

    Parameters
    ----------
    codes : tuple of str
        Tenors, shortest first: ``3M``, ``5Y``.
    maturity_years : FloatArray, shape (n_tenors,)
    day : IntArray, shape (n_rows,)
        Days since 1970-01-01.
    yield_pct : FloatArray, shape (n_rows, n_tenors)
        NaN where a cell is blank or no number.
    is_blank : BoolArray, shape (n_rows, n_tenors)
    n_broken : int
        Rows without a readable date, or with another number of cells than the header.
    """

    codes: tuple[str, ...]
    maturity_years: FloatArray
    day: IntArray
    yield_pct: FloatArray
    is_blank: BoolArray
    n_broken: int

    def since(self, row: int) -> CurveTable:
        """Return the table without the rows before this one."""
        later = {name: getattr(self, name)[row:] for name in ("day", "yield_pct", "is_blank")}
        return msgspec.structs.replace(self, **later)


def tenor_code(text: str) -> tuple[str, float] | None:
    """Return the code and the years of a tenor, however it is written; None for anything else.

    Examples
    --------
    >>> [tenor_code(text) for text in ("5 YR", "10 Yr", "r30", "1.5 Month", "Date")]
    [('5Y', 5.0), ('10Y', 10.0), ('30Y', 30.0), ('1.5M', 0.125), None]
    """
    found = _TENOR.fullmatch(text.strip())
    if found is None or not (found["unit"] or found["r"]) or float(found["n"]) == 0.0:
        return None
    is_month = (found["unit"] or "Y").upper().startswith("M")
    return f"{float(found['n']):g}{'M' if is_month else 'Y'}", float(found["n"]) / (12.0 if is_month else 1.0)


def read_curve(path: Path, column_of: Callable[[str], tuple[str, float] | None] = tenor_code) -> CurveTable:
    """Read ``Date,"5 YR","7 YR",...`` in percent, newest or oldest row first; plain or gzipped CSV.

    Parameters
    ----------
    path : Path
    column_of : callable
        Code and years of a column by its name; None for a column that is not read.

    Raises
    ------
    DataError
        D001 no rows, D003 no column of dates or of tenors, or one tenor twice, D004 unreadable.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            lines = list(csv.reader(stream.read().decode("utf-8-sig").splitlines()))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        what = f"cannot read {path.name}: {error}"
        raise DataError("D004", what, str(path), "Expected a CSV file of par yields.") from None
    rows = [row for row in lines if row]
    if len(rows) < 2:
        raise DataError("D001", f"{path.name} holds no curves", str(path))
    date_column, tenors = _header(rows[0], path, column_of)
    days, cells, n_broken = [], [], 0
    for row in rows[1:]:
        day = _day(row[date_column]) if len(row) == len(rows[0]) else None
        if day is None:
            n_broken += 1
            continue
        days.append(day)
        cells.append([row[column].strip().upper() for _, _, column in tenors])
    if not days:
        raise DataError("D001", f"{path.name} holds no row with a readable date", str(path), _LAYOUT)
    order = np.argsort(np.array(days, dtype=np.int64), kind="stable")
    text = np.array(cells)[order]
    return CurveTable(
        codes=tuple(code for _, code, _ in tenors),
        maturity_years=np.array([years for years, _, _ in tenors]),
        day=np.array(days, dtype=np.int64)[order],
        yield_pct=np.array([[_number(cell) for cell in row] for row in text.tolist()]),
        is_blank=np.isin(text, sorted(BLANKS)),
        n_broken=n_broken,
    )


_LAYOUT: Final = (
    'Expected a header like  Date,"5 YR","7 YR","10 YR"  and yields in percent; dates are 12/31/2012 '
    "or 2012-12-31."
)


def _header(
    names: list[str], path: Path, column_of: Callable[[str], tuple[str, float] | None]
) -> tuple[int, list[tuple[float, str, int]]]:
    """Return the column of dates, and years, code and column of every tenor, shortest first."""
    found = [(code[1], code[0], k) for k, name in enumerate(names) if (code := column_of(name)) is not None]
    dates = [k for k, name in enumerate(names) if name.strip().lower() == "date"]
    codes = [code for _, code, _ in found]
    if len(dates) != 1 or not found or len(set(codes)) < len(codes):
        what = f"{path.name} has no header of a yield curve, was {', '.join(names)[:80]!r}"
        raise DataError("D003", what, str(path), _LAYOUT)
    return dates[0], sorted(found)


def _day(text: str) -> int | None:
    for form in _DATES:
        try:
            date = dt.datetime.strptime(text.strip(), form).replace(tzinfo=dt.UTC).date()
        except ValueError:
            continue
        return day_of(date) if 1970 <= date.year < 2100 else None
    return None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")
