"""What is in a data set, said in the words of the policy that will judge it."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from engine.events import BarConfirmed, BarSlice, BoolArray, Nanos
from engine.vocabulary import counted
from feeds.calendars import date_of
from feeds.columns import first_row
from feeds.files import FileOptions, file_bars, sample_of, symbols_in
from feeds.recorded import nothing_accepted
from feeds.spacing import bar_min_of, in_words, look_like_starts

_STARTS: Final = (
    "stamps look like the STARTS of bars, at opens and never at closes: astra data import --stamp start"
)


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
    bar_min : int
        Minutes of a bar.
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
    has_starts : bool
        Stamps look like the STARTS of bars.
    """

    path: str
    calendar: str
    bar_min: int
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
    has_starts: bool

    @property
    def is_clean(self) -> bool:
        """Whether every row is accepted and no bar is missing."""
        return not (self.rejected or self.pending or self.gaps)


def check(
    options: FileOptions,
    calendar: str = "XNYS",
    *,
    bar_min: int | None = None,
    from_ns: Nanos | None = None,
    to_ns: Nanos | None = None,
) -> DataReport:
    """Read a data set as a replay of all its symbols would, and count.

    Parameters
    ----------
    options : FileOptions
        Where it is, and how it is read.
    calendar : str
    bar_min : int or None
        Minutes of a bar; by default what the stamps look like.
    from_ns, to_ns : int or None
        Bars that close outside ``[from_ns, to_ns]`` are not looked at.

    Raises
    ------
    DataError
        If the data set cannot be read at all (``file_bars`` lists the codes); D015 if no row of it is good.
    """
    symbols = symbols_in(options.path)
    sample = sample_of(options.path, options.tz, calendar, from_ns, to_ns)
    bar_min = bar_min or bar_min_of(sample, calendar) or 1
    feed = file_bars(options, symbols, calendar, from_ns=from_ns, to_ns=to_ns, bar_min=bar_min)
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
    rejected = {reason.value: count for reason, count in feed.slicer.rejected.items() if count}
    has_starts = look_like_starts(sample, feed.sessions)
    if not days:
        remarks = (_STARTS,) if has_starts else ()
        raise nothing_accepted(rejected, str(options.path), first_row(options.path), *remarks)
    gaps = np.where(first < 0, 0, last - first + 1 - bars)
    return DataReport(
        path=str(options.path),
        calendar=calendar,
        bar_min=bar_min,
        symbols=tuple(map(SymbolReport, symbols, bars.tolist(), gaps.tolist())),
        rows=feed.received,
        slices=slices,
        sessions=len(days),
        first_day=date_of(min(days)).isoformat(),
        last_day=date_of(max(days)).isoformat(),
        first_ns=feed.first_ns,
        last_ns=feed.last_ns,
        rejected=rejected,
        pending=len(feed.slicer.pending),
        confirmed=confirmed,
        gaps=int(gaps.sum()),
        one_sided=one_sided,
        empty=empty,
        has_starts=has_starts,
    )


def report_lines(report: DataReport) -> list[str]:
    """Say what is in a data set: what there is, then what a replay would not accept."""
    span = f"{report.first_day}..{report.last_day}, {counted(report.sessions, 'session')} {report.calendar}"
    size = "" if report.bar_min == 1 else f", {in_words(report.bar_min)}"
    many, rows, gaps = (
        counted(count, noun)
        for count, noun in ((len(report.symbols), "symbol"), (report.rows, "row"), (report.gaps, "gap"))
    )
    lines = [f"{many}, {span}{size}, {rows}, {gaps}"]
    if report.rejected:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.rejected.items()))
        lines.append(f"a replay of all its symbols rejects {counts}")
    if report.has_starts:
        lines.append(_STARTS)
    if report.pending or report.confirmed:
        lines.append(f"jumps beyond the collar: {report.confirmed:,} confirmed, {report.pending:,} pending")
    if report.one_sided or report.empty:
        lines.append(f"slices with some symbols only: {report.one_sided:,}; with none: {report.empty:,}")
    return lines
