"""Repo rates over time, from a file beside the curves: what a curve of its day could be financed at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import DataError
from engine.events import FloatArray, IntArray
from feeds.yields_file import read_curve, tenor_code

#: Column of a file that has one rate for all tenors.
REPO: Final = "REPO"


def repo_on(path: Path, days: IntArray, codes: Sequence[str]) -> FloatArray:
    """Return the rate of each tenor that was known on each day, percent a year; NaN before the first.

    The last rate of the day or before holds; a blank cell leaves it as it was.

    Parameters
    ----------
    path : Path
        CSV in the layout of a curve: ``Date,REPO``, or a column for each of the tenors.
    days : IntArray, shape (n_rows,)
        Days since 1970-01-01, ascending.
    codes : sequence of str, length n_tenors
        As in ``CurveTable``.

    Returns
    -------
    FloatArray, shape (n_rows, n_tenors)

    Raises
    ------
    DataError
        D001, D003 and D004 as for a curve; D003 too for a tenor without a column; D036 for rows that are no
        rates, or two of one day.
    """
    table = read_curve(path, _column)
    is_one = table.codes == (REPO,)
    absent = [] if is_one else [code for code in codes if code not in table.codes]
    if absent or (REPO in table.codes and not is_one):
        what = (
            f"{path.name} has no {', '.join(absent)}"
            if absent
            else f"{path.name} has {REPO} and tenors beside it"
        )
        hint = f"Give one column {REPO} for all tenors, or one for each of {', '.join(codes)}."
        raise DataError("D003", what, str(path), hint)
    chosen = [0 if is_one else table.codes.index(code) for code in codes]
    given, is_blank = table.yield_pct[:, chosen], table.is_blank[:, chosen]
    n_bad = table.n_broken + int((np.isnan(given) & ~is_blank).any(axis=1).sum())
    if n_bad or (np.diff(table.day) == 0).any():
        what = f"{n_bad:,} rows that are no rates" if n_bad else "two rows of one day"
        hint = "Dates are 12/31/2012 or 2012-12-31, rates percent a year; a rate nobody knows is left blank."
        raise DataError("D036", f"{path.name} has {what}", str(path), hint)
    row = np.searchsorted(table.day, days, side="right") - 1
    # Row 0 of what is known stands for "nothing yet".
    known = np.vstack([np.full((1, len(codes)), np.nan), _filled(given)])
    return np.asarray(known[row + 1], dtype=np.float64)


def _column(name: str) -> tuple[str, float] | None:
    return (REPO, 0.0) if name.strip().upper() == REPO else tenor_code(name)


def _filled(given: FloatArray) -> FloatArray:
    """Carry the last known value of each column forward."""
    rows = np.where(np.isnan(given), -1, np.arange(len(given))[:, None])
    last = np.maximum.accumulate(rows, axis=0)
    return np.where(last < 0, np.nan, np.take_along_axis(given, np.maximum(last, 0), axis=0))
