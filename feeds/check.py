"""What is in a data set, said in the words of the policy that will judge it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from engine.events import BarConfirmed, BarSlice, BoolArray, Nanos
from feeds.calendars import date_of
from feeds.files import FileBars, FileOptions, symbols_in


class SymbolReport(msgspec.Struct, frozen=True):
    """One symbol of a data set.

    Parameters
    ----------
    symbol : str
    bars : int
        Accepted bars.
    gaps : int
        Session minutes without a bar, between the symbol's first and last.
    """

    symbol: str
    bars: int
    gaps: int


class DataReport(msgspec.Struct, frozen=True):
    """What ``check`` found.

    Parameters
    ----------
    path, calendar : str
    symbols : tuple of SymbolReport
    rows, slices : int
        Rows of the files, and session minutes from the first bar to the last.
    sessions : int
        Sessions with at least one bar.
    first_day, last_day : str
        Dates of the first and last of them.
    first_ns, last_ns : int
        Earliest and latest stamps, ns UTC.
    rejected : dict of str to int
        Rows by the reason for which a replay would refuse them, without zeros.
    pending, confirmed : int
        Jumps beyond the collar: still unconfirmed at the end, and confirmed by the next bar.
    gaps, one_sided, empty : int
        Missing bars of all symbols; minutes in which some symbols traded and others did not; minutes in
        which none did.
    """

    path: str
    calendar: str
    symbols: tuple[SymbolReport, ...]
    rows: int
    slices: int
    sessions: int
    first_day: str
    last_day: str
    first_ns: Nanos
    last_ns: Nanos
    rejected: dict[str, int]
    pending: int
    confirmed: int
    gaps: int
    one_sided: int
    empty: int

    @property
    def is_clean(self) -> bool:
        """Whether every row is accepted and no bar is missing."""
        return not (self.rejected or self.pending or self.gaps)


def check(
    path: Path, tz: str | None = None, calendar: str = "XNYS", *, sort: bool = False, bar_min: int = 1
) -> DataReport:
    """Read a data set as a replay of all its symbols would, and count.

    Parameters
    ----------
    path : Path
        File or directory.
    tz : str or None
        Zone of naive stamps.
    calendar : str
    sort : bool
        As the key of ``[feed]``.
    bar_min : int
        Minutes of a bar.

    Raises
    ------
    DataError
        If the data set cannot be read at all (``FileBars`` lists the codes).
    """
    symbols = symbols_in(path)
    feed = FileBars(FileOptions(path=path, tz=tz, sort=sort), symbols, calendar, bar_min=bar_min)
    n = len(symbols)
    bars = np.zeros(n, np.int64)
    first, last = np.full(n, -1), np.full(n, -1)
    days: dict[int, int] = {}
    slices = one_sided = empty = confirmed = 0
    for item in feed.slices():
        if isinstance(item, BarConfirmed):
            confirmed += 1
        if not isinstance(item, BarSlice):
            continue
        present: BoolArray = ~np.isnan(item.bars[0])
        bars += present
        first[present & (first < 0)] = slices
        last[present] = slices
        slices += 1
        empty += item.accepted == 0
        one_sided += 0 < item.accepted < n
        if item.accepted:
            days[item.session] = days.get(item.session, 0) + item.accepted
    gaps = np.where(first < 0, 0, last - first + 1 - bars)
    return DataReport(
        path=str(path),
        calendar=calendar,
        symbols=tuple(map(SymbolReport, symbols, bars.tolist(), gaps.tolist())),
        rows=feed.received,
        slices=slices,
        sessions=len(days),
        first_day=date_of(min(days)).isoformat() if days else "",
        last_day=date_of(max(days)).isoformat() if days else "",
        first_ns=feed.first_ns,
        last_ns=feed.last_ns,
        rejected={reason.value: count for reason, count in feed.slicer.rejected.items() if count},
        pending=len(feed.slicer.pending),
        confirmed=confirmed,
        gaps=int(gaps.sum()),
        one_sided=one_sided,
        empty=empty,
    )
