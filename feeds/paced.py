"""Recorded or simulated bars as a live feed: each minute comes when the clock says it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from engine.clock import Clock
from engine.events import Bar, BarRejected, Nanos, Reject, Tick
from engine.ports import Arrival
from engine.slices import Slicer
from feeds.live_context import wrong_position
from feeds.recorded import RecordedBars
from feeds.stamps import UNREADABLE

#: Rows that are handed on together at most, however many claim to belong to one minute.
_BATCH_MAX: Final = 10_000
#: In slices, so that a clock that is set back or forth is noticed.
_SLEEP_MAX_S: Final = 1.0


class PacedBars:
    """A tape played by a clock, with ticks of its own.

    A minute's rows come at its end, followed by the ``Tick`` that closes it; a session minute without any has
    its tick alone. Rows stay in arrival order: one that comes after a later minute stays late. A position is
    the number of records so far, so a restart continues with the very next one, and the whole sequence is a
    function of the tape alone. It ends with the tape.

    Parameters
    ----------
    tape : RecordedBars
    clock : Clock
    kind : str
        Name of the feed, for messages.
    """

    def __init__(self, tape: RecordedBars, clock: Clock, kind: str) -> None:
        self._tape = tape
        self._clock = clock
        self._kind = kind

    async def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:
        """Yield each minute when it is over.

        Raises
        ------
        DataError
            D032 if ``after`` is no position of this tape.
        """
        if after and not (after.isascii() and after.isdecimal()):
            raise wrong_position(after, self._kind)
        done, count = int(after or "0"), 0
        for due_ns, records in self._minutes():
            skipped = min(len(records), max(0, done - count))
            first = count + skipped + 1
            count += len(records)
            if skipped == len(records):
                await asyncio.sleep(0)
                continue
            while (wait_s := self._clock.seconds_until(due_ns)) > 0.0:  # noqa: ASYNC110 - time is no event
                await asyncio.sleep(min(wait_s, _SLEEP_MAX_S))
            yield [Arrival(record, str(first + i)) for i, record in enumerate(records[skipped:])]
            await asyncio.sleep(0)  # a fast clock must not shut out the rest of the process
        if count < done:
            raise wrong_position(after, self._kind)

    def _minutes(self) -> Iterator[tuple[Nanos, list[Bar | BarRejected | Tick]]]:
        """Yield when, and what: the rows that came while a minute was the newest, and its tick."""
        sessions = self._tape.sessions
        slot_of = Slicer(self._tape.slicer.symbols, sessions).slot_of
        rows: list[Bar | BarRejected | Tick] = []
        newest_ns = n_rows = 0
        for bar in self._bars():
            n_rows += 1
            # As when a file is replayed, only a bar that could take a slot moves time.
            if bar.ts_close_ns > newest_ns and slot_of(bar) is not None:
                if newest_ns:
                    yield newest_ns, [*rows, Tick(newest_ns)]
                    rows = []
                    for silent_ns, _, _ in sessions.bars_between(newest_ns, bar.ts_close_ns - 1):
                        yield silent_ns, [Tick(silent_ns)]
                newest_ns = bar.ts_close_ns
            rows.append(bar)
            if len(rows) == _BATCH_MAX:
                yield newest_ns, rows
                rows = []
        if n_broken := self._tape.n_rows - n_rows:
            rows.append(BarRejected(UNREADABLE, "", Reject.MALFORMED, n_broken))
        if newest_ns:
            rows.append(Tick(newest_ns))
        if rows:
            yield newest_ns, rows

    def _bars(self) -> Iterator[Bar]:
        for columns in self._tape.columns():
            stamps, codes = columns.ts_close_ns.tolist(), columns.code.tolist()
            for ts_close_ns, code, *values in zip(stamps, codes, *columns.values.tolist(), strict=True):
                yield Bar(ts_close_ns, columns.names[code], *values)
