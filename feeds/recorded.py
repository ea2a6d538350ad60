"""Bars that are all there already, as a feed: what files, simulations and curves have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np

from engine.clock import instant
from engine.columns import BarColumns
from engine.errors import DataError
from engine.events import BarRejected, Nanos, Reject
from engine.sessions import Sessions
from engine.slices import Sliced, Slicer
from feeds.stamps import UNREADABLE

_BATCH_ROWS: Final = 65_536
#: What usually is the matter where every bar is rejected for one reason.
_WHY: Final = {
    Reject.OFF_SESSION.value: "OFF_SESSION: stamps must be ENDS of bars, inside the sessions of [universe] "
    "calendar; look at the time zone, too.",
    Reject.MALFORMED.value: "MALFORMED: a price that is none, is not positive or lies outside low and high, "
    "or a stamp that is no end of a bar.",
    Reject.UNKNOWN_SYMBOL.value: "UNKNOWN_SYMBOL: the universe names other symbols.",
    Reject.LATE.value: "LATE: rows are not in order of time; [feed] sort = true.",
}


class RecordedBars:
    """Rows that can be read again, judged by a new slicer each time.

    Parameters
    ----------
    columns : callable
        Begins to read the rows of the run, not judged, in arrival order.
    slicer : callable
        Makes the one that judges them.
    span_ns : (int, int)
        Earliest and latest stamps of the run.
    n_rows : int
        Rows that ``columns`` yields.
    n_broken : int
        Rows besides that could not become bars; MALFORMED, once all others are judged.

    Attributes
    ----------
    first_ns, last_ns : int
        Earliest and latest stamps of the run.
    n_rows : int
        Rows of the run, broken ones included, for progress.
    sessions : Sessions
    slicer : Slicer
        Its counters are those of the run in progress.
    """

    def __init__(
        self,
        columns: Callable[[], Iterator[BarColumns]],
        slicer: Callable[[], Slicer],
        span_ns: tuple[Nanos, Nanos],
        n_rows: int,
        n_broken: int = 0,
    ) -> None:
        self._columns = columns
        self._new_slicer = slicer
        self._n_broken = n_broken
        self.first_ns, self.last_ns = span_ns
        self.n_rows = n_rows + n_broken
        self.slicer = slicer()
        self.sessions: Sessions = self.slicer.sessions

    @property
    def received(self) -> int:
        """Rows judged so far."""
        return self.slicer.received

    def columns(self) -> Iterator[BarColumns]:
        """Yield the rows of the run, not judged; ``n_rows`` counts broken ones too, which are no rows."""
        return self._columns()

    def slices(self) -> Iterator[Sliced]:
        """Yield slices, and verdicts in front of the slice they belong to, from the beginning."""
        self.slicer = slicer = self._new_slicer()
        for columns in self._columns():
            yield from slicer.offer_columns(columns)
        yield from slicer.finish()
        if self._n_broken:
            yield slicer.note(BarRejected(UNREADABLE, "", Reject.MALFORMED, self._n_broken))

    async def bars(self) -> AsyncIterator[Sliced]:
        """Yield what ``slices`` yields."""
        for item in self.slices():
            yield item


def in_memory(columns: BarColumns, slicer: Callable[[], Slicer], n_broken: int = 0) -> RecordedBars:
    """Return rows at hand, one or more, as a feed."""
    span_ns = int(columns.ts_close_ns.min()), int(columns.ts_close_ns.max())
    return RecordedBars(partial(_batches, columns), slicer, span_ns, len(columns), n_broken)


def of_span(columns: BarColumns, from_ns: Nanos | None, to_ns: Nanos | None) -> BarColumns:
    """Return the rows that close in ``[from_ns, to_ns]``; without bounds, all of them."""
    ts_ns = columns.ts_close_ns
    is_inside = ts_ns >= (0 if from_ns is None else from_ns)
    if to_ns is not None:
        is_inside &= ts_ns <= to_ns
    return columns.take(np.flatnonzero(is_inside))


def nothing_in_span(name: str, first_ns: Nanos, last_ns: Nanos) -> DataError:
    """Return the error for a span without bars, with the one that has them (D001)."""
    return DataError(
        "D001",
        f"no bar of {name} lies in the span that was asked for",
        name,
        f"Its bars run from {instant(first_ns)} to {instant(last_ns)}. Ask for some of these with --from and "
        "--to, or with [universe] first and last.",
    )


def nothing_accepted(rejected: Mapping[str, int], name: str, first_row: str = "", *remarks: str) -> DataError:
    """Return the error for bars that are all rejected (D015).

    Parameters
    ----------
    rejected : mapping of str to int
        Bars by reason.
    name : str
        Where they are.
    first_row : str
        Where the first of them stands, and how it reads.
    *remarks : str
        What else the bars look like.
    """
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(rejected.items()))
    by_count = sorted(rejected.items(), key=lambda one: -one[1])
    hints = [*(_WHY[reason] for reason, _ in by_count if reason in _WHY), *remarks]
    what = f"no bar was accepted: {reasons or 'none came'}"
    return DataError("D015", what, first_row or name, "\n".join(hints))


def _batches(columns: BarColumns) -> Iterator[BarColumns]:
    for start in range(0, len(columns), _BATCH_ROWS):
        yield columns.take(slice(start, start + _BATCH_ROWS))
