"""Live bars, put in order: a minute is judged as a whole once it is complete or over.

Bars of one minute come in any order, late ones within the grace period, some twice. They wait here until
every symbol has one or the watermark has passed; then the slicer judges them in universe order. So a live
run sees what a file sorted by time would show it, to the last bit.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.events import MINUTE_NS, Bar, BarRejected, Nanos, Reject
from engine.ports import State
from engine.sessions import Sessions
from engine.slices import Sliced, Slicer

#: Session minutes beyond the watermark whose bars may wait: what a day around the clock has.
AHEAD_MAX_MIN: Final = 1_440


def is_too_far(sessions: Sessions, watermark_ns: Nanos, ts_ns: Nanos) -> bool:
    """Whether a minute lies so far ahead of the watermark that none of its bars is taken."""
    return sessions.ordinal_at(ts_ns) - sessions.ordinal_at(watermark_ns) > AHEAD_MAX_MIN


class Intake:
    """Gather the bars of open minutes, and close minutes one at a time.

    ``received == accepted + rejected + pending + waiting`` after every call. Memory is bounded: one bar waits
    for each symbol and minute, at most ``AHEAD_MAX_MIN`` minutes ahead of the watermark.

    Parameters
    ----------
    slicer : Slicer
        Judges; its counters are those of the run.

    Attributes
    ----------
    watermark_ns : int
        Minutes that ended here or before are over: none of their bars is awaited. 0 before the first record.
    """

    def __init__(self, slicer: Slicer) -> None:
        self.slicer = slicer
        self.watermark_ns: Nanos = 0
        self._waiting: dict[Nanos, dict[int, Bar]] = {}

    @property
    def waiting(self) -> int:
        """Bars that were taken and not judged yet."""
        return sum(map(len, self._waiting.values()))

    @property
    def newest_ns(self) -> Nanos:
        """Close of the newest bar that was taken, judged or waiting; 0 before the first."""
        return max(self.slicer.newest_ns, max(self._waiting, default=0))

    @property
    def received(self) -> int:
        """Bars offered so far: accepted, rejected, pending or waiting."""
        return self.slicer.received + self.waiting

    def offer(self, bar: Bar) -> BarRejected | None:
        """Take one bar; return its rejection, or None for one that waits to be judged with its minute.

        A minute that has a bar of every symbol is over, and moves the watermark, once the minute before it is
        over: while any bar of that one may still come, it would come too late.
        """
        index = self.slicer.slot_of(bar)
        if index is None:
            (rejected,) = self.slicer.offer(bar)
            assert isinstance(rejected, BarRejected)  # noqa: S101 - what has no slot is refused
            return rejected
        ts_ns = bar.ts_close_ns
        minute = self._waiting.get(ts_ns)
        if minute is None:
            self.watermark_ns = self.watermark_ns or ts_ns - MINUTE_NS  # a run begins with its first bar
            reason = self._place_fault(ts_ns)
            if reason is not None:
                return self._refuse(bar, reason)
            minute = self._waiting[ts_ns] = {}
        first = minute.get(index)
        if first is not None:
            return self._refuse(bar, Reject.DUPLICATE if first == bar else Reject.CONFLICT)
        if ts_ns <= self.watermark_ns:
            return self._refuse(bar, Reject.LATE)
        minute[index] = bar
        if len(minute) == len(self.slicer.symbols):
            self._pass_complete()
        return None

    def _place_fault(self, ts_ns: Nanos) -> Reject | None:
        """Judge the first bar of a minute by its distance from the watermark."""
        if ts_ns <= self.watermark_ns:
            return Reject.LATE
        return Reject.FUTURE if is_too_far(self.slicer.sessions, self.watermark_ns, ts_ns) else None

    def _pass_complete(self) -> None:
        sessions, n_symbols = self.slicer.sessions, len(self.slicer.symbols)
        ordinal = sessions.ordinal_at(self.watermark_ns) + 1
        while ordinal < sessions.n_bars:
            ts_ns = sessions.end_of(ordinal)
            if len(self._waiting.get(ts_ns, ())) < n_symbols:
                break
            self.watermark_ns = ts_ns
            ordinal += 1

    def _refuse(self, bar: Bar, reason: Reject) -> BarRejected:
        return self.slicer.note(BarRejected(bar.ts_close_ns, bar.symbol, reason, 1, bar))

    def advance(self, ts_ns: Nanos) -> None:
        """Move the watermark: every session minute that ended at or before ``ts_ns`` is over."""
        self.watermark_ns = max(self.watermark_ns, ts_ns)
        self._pass_complete()

    @property
    def due_ns(self) -> Nanos:
        """End of the oldest minute that is over and was not closed yet; 0 if there is none."""
        ts_ns = self.slicer.next_ns or min(self._waiting, default=0)
        return ts_ns if ts_ns <= self.watermark_ns else 0

    def close_minute(self) -> list[Sliced]:
        """Close the oldest minute that is over: verdicts on its bars, then its slice; empty if none is due.

        One at a time, so that a watermark far ahead costs no memory, and each minute can be decided upon
        before the next one is seen.
        """
        ts_ns = self.due_ns
        return self.slicer.close_minute(ts_ns, self._waiting.pop(ts_ns, {})) if ts_ns else []

    def note(self, rejected: BarRejected) -> BarRejected:
        """Count bars that never became a ``Bar``, and hand them on."""
        return self.slicer.note(rejected)

    def state(self) -> State:
        """Return everything that the next bar depends on."""
        return {
            "slicer": self.slicer.state(),
            "watermark_ns": self.watermark_ns,
            "waiting": [
                [index, *msgspec.structs.astuple(bar)]
                for _, bars in sorted(self._waiting.items())
                for index, bar in sorted(bars.items())
            ],
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self.slicer.restore(state["slicer"])
        self.watermark_ns = state["watermark_ns"]
        self._waiting = {}
        for index, *values in state["waiting"]:
            bar = Bar(*values)
            self._waiting.setdefault(bar.ts_close_ns, {})[index] = bar
