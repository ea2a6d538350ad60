"""Foreign CSV files to the canonical one: names, naive stamps, stamps of the START, dates of sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from engine.columns import BarColumns
from engine.errors import ConfigError, DataError
from engine.events import DAY_NS, MINUTE_NS, IntArray
from feeds.calendars import sessions_for
from feeds.columns import SUFFIXES, data_files
from feeds.simulated import write_columns
from feeds.spacing import bar_min_of, distinct, usual_distance_min
from feeds.stamps import check_zone
from feeds.vendor_rows import numbers_in, read_rows
from feeds.vendor_stamps import stamps_in

#: Share of bars inside its sessions that makes a calendar theirs.
_INSIDE_FRAC: Final = 0.9


class Imported(msgspec.Struct, frozen=True):
    """What was written: rows, and minutes of a bar (None where the stamps do not say)."""

    n_rows: int
    bar_min: int | None


def import_(
    src: Path,
    dst: Path,
    *,
    tz: str | None = None,
    stamp: Literal["start", "end"] = "end",
    symbol: str | None = None,
    rename: dict[str, str] | None = None,
    calendar: str = "XNYS",
    bar_min: int | None = None,
    sep: str = ",",
    date_format: str | None = None,
) -> Imported:
    """Convert a CSV file, or a directory of them, to one file sorted by time.

    Parameters
    ----------
    src, dst : Path
        ``dst`` ends in ``.parquet``, ``.csv`` or ``.csv.gz``.
    tz : str or None
        Zone of stamps that carry none.
    stamp : {"start", "end"}
        What the stamps of ``src`` mark; those of the start are moved to the end of the bar. Dates mark their
        session either way.
    symbol : str or None
        For files without a column of symbols.
    rename : dict of str to str, optional
        Columns of ``src`` to canonical ones, beyond the usual names (``timestamp``, ``date`` and ``time``,
        ``ticker``, ``o``, ``vol``, ... in any case).
    calendar : str
        A date becomes the close of its session; a bar ends no later than the session it begins in.
    bar_min : int or None
        Minutes of a bar; by default the usual distance of stamps.
    sep : str
        What divides cells: a comma, a semicolon, a bar or a tab.
    date_format : str or None
        Form of stamps as of ``strptime``, or the unit of numbers since 1970 (``s``, ``ms``, ``us``, ``ns``);
        by default the year comes first.

    Returns
    -------
    Imported
        All rows of ``src`` are written; a price or volume without a value stays empty, for the slicer to
        judge.

    Raises
    ------
    DataError
        D001, D003, D004, D006, D008, D005 for stamps without a zone when ``tz`` is not given, or D016 for
        dates when ``bar_min`` is less than a session.
    ConfigError
        C006 for an unknown calendar, C007 for an unknown time zone, C013 for another option's value.
    """
    import pandas as pd

    if stamp not in {"start", "end"}:
        raise ConfigError("C013", f'stamp must be "start" or "end", was "{stamp}"', "--stamp")
    if tz is not None:
        check_zone(tz)
    if symbol is not None and src.is_dir():
        hint = "Import its files one by one, each with its symbol, or give them a column of symbols."
        raise DataError("D003", f"--symbol {symbol} would name every file of a folder", str(src), hint)
    if not dst.name.endswith(SUFFIXES):
        hint = f"Use {', '.join(SUFFIXES)}."
        raise DataError("D004", f"{dst.name} is of no known format", str(dst), hint)
    rows = read_rows(data_files(src), symbol, rename or {}, sep)
    values = numbers_in(rows)
    ts, is_dated = stamps_in(rows, tz, calendar, bar_min, date_format)
    if stamp == "start" and not is_dated:
        ts = _ends(ts, bar_min or usual_distance_min(np.unique(ts))[0] or 1, calendar)
    code, names = pd.factorize(rows.text["symbol"], sort=True)
    columns = BarColumns(ts, code.astype(np.int64), tuple(names), values)
    order = np.lexsort((np.arange(len(ts)), columns.code, ts))
    write_columns(columns.take(order), dst)
    return Imported(len(ts), bar_min or bar_min_of(distinct(ts), calendar))


def _ends(starts: IntArray, bar_min: int, calendar: str) -> IntArray:
    """Move starts of bars to their ends; the last bar of a session may be shorter."""
    ends = starts + bar_min * MINUTE_NS
    days = int(starts.min()) // DAY_NS - 1, int(starts.max()) // DAY_NS + 1
    sessions = sessions_for(calendar, *days)
    index, _ = sessions.locate_many(starts + 1)  # a bar that starts with a session is inside
    # Bars of another calendar than was said are not cut.
    if np.count_nonzero(index >= 0) > _INSIDE_FRAC * len(starts):
        ends = np.where(index >= 0, np.minimum(ends, sessions.close_ns[np.maximum(index, 0)]), ends)
    return ends
