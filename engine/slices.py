"""Bars in, one slice a minute out: the one place where bars are accepted, rejected or held.

Whether bars come one by one (live) or in columns (files), the same kernel judges them, so the slices and
the verdicts are the same. docs/maths/bars.md states the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TypeAlias

import msgspec
import numpy as np

from engine import slices_kernel as policy
from engine.columns import BarColumns
from engine.errors import InvariantError
from engine.events import (
    Bar,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    FloatArray,
    IntArray,
    Nanos,
    Reject,
)
from engine.ports import State
from engine.sessions import Sessions

Sliced: TypeAlias = BarSlice | BarRejected | BarSuspended | BarConfirmed

#: Half-life of the EWMA behind the collar's σ, in returns from bar to bar.
COLLAR_HALF_LIFE_BARS = 60.0
#: About the bars of one block: large enough to forget the call, small enough for the cache.
_BLOCK_BARS = 40_000
#: Stamps beyond this (year 2116) are no stamps.
_TS_MAX = 1 << 62

_REASONS = {
    policy.UNKNOWN_SYMBOL: Reject.UNKNOWN_SYMBOL,
    policy.MALFORMED: Reject.MALFORMED,
    policy.INCONSISTENT: Reject.INCONSISTENT,
    policy.OFF_SESSION: Reject.OFF_SESSION,
    policy.DUPLICATE: Reject.DUPLICATE,
    policy.CONFLICT: Reject.CONFLICT,
    policy.LATE: Reject.LATE,
}
#: Rows of these kinds come by the thousand and say nothing singly: counted by symbol in each block.
_MERGED = (policy.UNKNOWN_SYMBOL, policy.OFF_SESSION)


class _Rows(msgspec.Struct, frozen=True):
    """What the kernel reads and writes for some rows, in the one memory layout it is compiled for."""

    ts_close_ns: IntArray
    symbol: IntArray
    values: FloatArray
    verdicts: IntArray
    references: FloatArray

    @classmethod
    def of(cls, ts_close_ns: IntArray, symbol: IntArray, values: FloatArray) -> _Rows:
        """Add room for the verdicts."""
        n_rows = len(symbol)
        return cls(
            np.require(ts_close_ns, np.int64, ["C", "W"]),
            symbol,
            np.require(values, np.float64, ["C", "W"]),
            np.empty((2, n_rows), np.int64),
            np.empty(n_rows),
        )


class Slicer:
    """Judge bars and close minutes.

    ``received == accepted + sum(rejected.values()) + len(pending)`` after every call, except that
    ``offer_columns`` must be exhausted first.

    Parameters
    ----------
    symbols : sequence of str
        The universe: order of the columns of every slice.
    sessions : Sessions
        Must reach beyond the last bar; bars outside are OFF_SESSION.
    collar_frac, collar_sigmas : float
        A bar whose open or close is further than ``max(collar_frac, collar_sigmas * σ)`` from the symbol's
        last good close, as ``|price / close - 1|``, is held for confirmation.

    Attributes
    ----------
    received, accepted : int
        Bars so far; a confirmed bar counts as accepted.
    rejected : dict of Reject to int
        Every reason, zeros included.
    pending : dict of int to Bar
        Suspended bars by index of their symbol.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        sessions: Sessions,
        *,
        collar_frac: float = 0.20,
        collar_sigmas: float = 10.0,
    ) -> None:
        n = len(symbols)
        self.symbols = tuple(symbols)
        self.sessions = sessions
        self.received = 0
        self.accepted = 0
        self.rejected: dict[Reject, int] = dict.fromkeys(Reject, 0)
        self.pending: dict[int, Bar] = {}
        self._index = {symbol: index for index, symbol in enumerate(self.symbols)}
        self._collar = np.array([collar_frac, collar_sigmas, 1.0 - 0.5 ** (1.0 / COLLAR_HALF_LIFE_BARS)])
        self._clock = np.zeros(policy.CLOCK_SIZE, np.int64)
        self._clock[[policy.BASE, policy.OPEN_ORDINAL]] = -1
        self._marks = np.zeros((policy.MARKS_SIZE, n), np.int64)
        self._levels = np.full((policy.LEVELS_SIZE, n), np.nan)
        self._levels[policy.VARIANCE] = 0.0
        self._suspect: tuple[int, ...] = ()
        self._one = _Rows.of(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros((5, 1)))
        self._block = np.full((1, 5, n), np.nan)
        self._counts = np.zeros(1, np.int64)
        self._block_min = max(16, min(8_192, _BLOCK_BARS // max(n, 1)))

    def offer(self, bar: Bar) -> list[Sliced]:
        """Take one bar; return its verdict and the slices that it closed, in order.

        Returns
        -------
        list
            Nothing for a bar that was accepted into the open minute; a rejection precedes the slice of the
            minute that was open when the bar came.
        """
        one = self._one
        one.ts_close_ns[0] = bar.ts_close_ns if 0 < bar.ts_close_ns < _TS_MAX else -1
        one.symbol[0] = self._index.get(bar.symbol, -1)
        one.values[:, 0] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        return list(self._judge(one, lambda _: bar, 1))

    @property
    def newest_ns(self) -> Nanos:
        """Close of the newest minute that holds a bar; 0 before the first."""
        return int(self._clock[policy.NEWEST])

    def slot_of(self, bar: Bar) -> int | None:
        """Return the index of a bar's symbol if its minute is open and the bar can be judged with it.

        None for a bar that ``offer`` refuses whatever else comes: unknown, malformed, outside the session,
        or of a minute that is closed.
        """
        t = bar.ts_close_ns
        index = self._index.get(bar.symbol)
        if index is None or not max(0, int(self._clock[policy.CLOSED])) < t < _TS_MAX:
            return None
        if policy.own_fault(t, bar.open, bar.high, bar.low, bar.close, bar.volume) != policy.ACCEPTED:
            return None
        return index if self.sessions.is_end(t) else None

    def offer_columns(self, columns: BarColumns) -> Iterator[Sliced]:
        """Take many bars, as ``offer`` would one by one; the open minute stays open.

        Yields
        ------
        BarSlice, BarRejected, BarSuspended or BarConfirmed
            As ``offer``, except that rows of unknown symbols and outside the session are counted by symbol,
            once for each block of minutes. The ``bars`` of slices are views of one block.
        """
        lookup = np.array([self._index.get(name, -1) for name in columns.names], np.int64)
        rows = _Rows.of(columns.ts_close_ns, lookup[columns.code], columns.values)
        yield from self._judge(rows, columns.bar, self._block_min, columns)

    @property
    def next_ns(self) -> Nanos:
        """End of the next minute to be closed; 0 before the first bar and after the last session."""
        base = int(self._clock[policy.BASE])
        return self.sessions.end_of(base) if 0 <= base < self.sessions.n_bars else 0

    def close_minute(self, ts_close_ns: Nanos, bars: Mapping[int, Bar]) -> list[Sliced]:
        """Judge the bars of a session minute at once, and close it: verdicts, then one slice.

        Parameters
        ----------
        ts_close_ns : int
            ``next_ns``, or before the first bar the minute of any.
        bars : mapping of int to Bar
            By ``slot_of``; judged in universe order.
        """
        out: list[Sliced] = []
        if bars:
            symbol = sorted(bars)
            ordered = [bars[index] for index in symbol]
            values = [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in ordered]
            rows = _Rows.of(
                np.full(len(symbol), ts_close_ns, np.int64), np.array(symbol, np.int64), np.array(values).T
            )
            out += self._judge(rows, ordered.__getitem__, 1)
        self._clock[policy.CLOSED] = ts_close_ns
        return [*out, *self._close(self.sessions.ordinal_at(ts_close_ns) + 1)]

    def finish(self) -> list[Sliced]:
        """Close the open minute, at the end of a tape; what is pending stays pending."""
        self._clock[policy.CLOSED] = max(self._clock[policy.CLOSED], self._clock[policy.NEWEST])
        return list(self._close(int(self._clock[policy.OPEN_ORDINAL]) + 1))

    def note(self, rejected: BarRejected) -> BarRejected:
        """Count bars that never became a ``Bar`` (undecodable bytes, broken rows), and hand them on."""
        self.received += rejected.count
        self.rejected[rejected.reason] += rejected.count
        return rejected

    # ------------------------------------------------------------------------------------ judging rows

    def _judge(
        self,
        rows: _Rows,
        bar_at: Callable[[int], Bar],
        block_min: int,
        columns: BarColumns | None = None,
    ) -> Iterator[Sliced]:
        n_rows = len(rows.symbol)
        start = 0
        while True:
            if len(self._block) < block_min:
                self._grow(block_min)
            stop = policy.judge(
                start,
                rows.ts_close_ns,
                rows.symbol,
                rows.values,
                self.sessions.table,
                self._collar,
                self._clock,
                self._marks,
                self._levels,
                self._block,
                self._counts,
                rows.verdicts,
                rows.references,
            )
            self.received += stop - start
            rare = start + np.flatnonzero(rows.verdicts[0, start:stop])
            self.accepted += stop - start - len(rare)
            if len(rare) and columns is not None:
                is_merged = np.isin(rows.verdicts[0, rare], _MERGED)
                yield from self._count_by_symbol(columns, rare[is_merged], rows.verdicts)
                rare = rare[~is_merged]
            for row in rare.tolist():
                yield from self._explain(rows, row, bar_at(row))
            if stop == n_rows:
                break
            # The next row belongs to a minute beyond the block: everything in the block is over.
            yield from self._close(int(self._clock[policy.BASE]) + len(self._block))
            start = stop
        yield from self._close(int(self._clock[policy.OPEN_ORDINAL]))

    def _explain(self, rows: _Rows, row: int, bar: Bar) -> Iterator[Sliced]:
        """Turn a verdict into events, in front of the slice that was open when the bar came."""
        yield from self._close(int(rows.verdicts[1, row]))
        verdict = int(rows.verdicts[0, row])
        if verdict in _REASONS:
            yield self._reject(bar, _REASONS[verdict])
            return
        index = int(rows.symbol[row])
        if verdict & (policy.CONFIRMS | policy.DENIES):
            held = self.pending.pop(index)
            if verdict & policy.CONFIRMS:
                self.accepted += 1
                yield BarConfirmed(held.ts_close_ns, held.symbol)
            else:
                yield self._reject(held, Reject.COLLAR)
        if verdict & policy.SUSPENDED:
            self.pending[index] = bar
            yield BarSuspended(bar.ts_close_ns, bar.symbol, float(rows.references[row]), bar.close)
        else:
            self.accepted += 1
        self._suspect = tuple(sorted(self.pending))

    def _reject(self, bar: Bar, reason: Reject) -> BarRejected:
        self.rejected[reason] += 1
        return BarRejected(bar.ts_close_ns, bar.symbol, reason, 1, bar)

    def _count_by_symbol(
        self, columns: BarColumns, rows: IntArray, verdicts: IntArray
    ) -> Iterator[BarRejected]:
        for verdict in _MERGED:
            same = rows[verdicts[0, rows] == verdict]
            reason = _REASONS[verdict]
            codes, first, counts = np.unique(columns.code[same], return_index=True, return_counts=True)
            for code, row, count in zip(codes.tolist(), same[first].tolist(), counts.tolist(), strict=True):
                self.rejected[reason] += count
                yield BarRejected(int(columns.ts_close_ns[row]), columns.names[code], reason, count)

    # ---------------------------------------------------------------------------------- closing minutes

    def _grow(self, block_min: int) -> None:
        """Make room for ``block_min`` minutes, the open one first."""
        block = np.full((block_min, *self._block.shape[1:]), np.nan)
        counts = np.zeros(block_min, np.int64)
        block[0] = self._block[0]
        counts[0] = self._counts[0]
        self._block, self._counts = block, counts

    def _close(self, stop: int) -> Iterator[BarSlice]:
        """Yield the slices of the minutes before the ordinal ``stop``, and begin the block there."""
        base = int(self._clock[policy.BASE])
        if base < 0 or stop <= base:
            return
        block, counts = self._block, self._counts
        closed = min(stop - base, len(block))
        is_spent = closed == len(block)
        if is_spent:
            self._block = np.full((1, *block.shape[1:]), np.nan)
            self._counts = np.zeros(1, np.int64)
        else:
            self._block, self._counts = block[closed:], counts[closed:]
        self._clock[policy.BASE] = base + closed
        ts, day, minute = self.sessions.stamps(base, base + closed)
        yield from map(
            BarSlice,
            ts.tolist(),
            day.tolist(),
            minute.tolist(),
            block[:closed],
            repeat(self._suspect),
            counts[:closed].tolist(),
        )
        if base + closed < stop:
            yield from self._empty(base + closed, stop)

    def _empty(self, first: int, stop: int) -> Iterator[BarSlice]:
        """Yield all-NaN slices for ``first <= ordinal < stop``, in bounded memory."""
        for low in range(first, stop, self._block_min):
            high = min(low + self._block_min, stop)
            self._clock[policy.BASE] = high
            nothing = np.full((high - low, *self._block.shape[1:]), np.nan)
            ts, day, minute = self.sessions.stamps(low, high)
            yield from map(
                BarSlice,
                ts.tolist(),
                day.tolist(),
                minute.tolist(),
                nothing,
                repeat(self._suspect),
                repeat(0),
            )

    # ------------------------------------------------------------------------------------------- state

    def state(self) -> State:
        """Return everything that the next bar depends on, as plain arrays and values."""
        return {
            "clock": self._clock.copy(),
            "marks": self._marks.copy(),
            "levels": self._levels.copy(),
            "open": self._block[0].copy(),
            "open_count": int(self._counts[0]),
            "received": self.received,
            "accepted": self.accepted,
            "rejected": {reason.value: count for reason, count in self.rejected.items()},
            "pending": [[index, *msgspec.structs.astuple(bar)] for index, bar in self.pending.items()],
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit.

        Raises
        ------
        InvariantError
            If the state is that of another universe.
        """
        if state["levels"].shape != self._levels.shape:
            raise InvariantError(
                f"state holds {state['levels'].shape[1]} symbols, expected {len(self.symbols)}"
            )
        self._clock = state["clock"].copy()
        self._marks = state["marks"].copy()
        self._levels = state["levels"].copy()
        self._block = state["open"][np.newaxis].copy()
        self._counts = np.array([state["open_count"]], np.int64)
        self.received = state["received"]
        self.accepted = state["accepted"]
        self.rejected = {reason: state["rejected"][reason.value] for reason in Reject}
        self.pending = {index: Bar(*values) for index, *values in state["pending"]}
        self._suspect = tuple(sorted(self.pending))
