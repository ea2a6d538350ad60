"""Time: event time for the core, the wall clock for the edges.

The core is told the time by the record it handles. ``EventClock`` holds that time and the timers that fall
due by it; nothing else in the core knows any. Only this file may read a wall clock.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator

from engine.events import Nanos
from engine.ports import State


class EventClock:
    """Monotonic event time with timers, moved only by records.

    Examples
    --------
    >>> clock = EventClock()
    >>> clock.schedule(10, "limit")
    >>> clock.advance(12)
    >>> list(clock.due())
    ['limit']
    """

    __slots__ = ("_timers", "now_ns")

    def __init__(self) -> None:
        self.now_ns: Nanos = 0
        self._timers: list[tuple[Nanos, str]] = []

    def advance(self, ts_ns: Nanos) -> None:
        """Move to ``ts_ns``; an earlier time leaves the clock where it is."""
        self.now_ns = max(self.now_ns, ts_ns)

    def schedule(self, due_ns: Nanos, key: str) -> None:
        """Ask for ``key`` from ``due`` at the first record at or after ``due_ns``."""
        heapq.heappush(self._timers, (due_ns, key))

    @property
    def is_due(self) -> bool:
        """Whether a timer waits to be taken."""
        return bool(self._timers) and self._timers[0][0] <= self.now_ns

    def due(self) -> Iterator[str]:
        """Take the timers that have fallen due, earliest first."""
        while self._timers and self._timers[0][0] <= self.now_ns:
            yield heapq.heappop(self._timers)[1]

    def state(self) -> State:
        """Return time and timers."""
        return {"now_ns": self.now_ns, "timers": sorted(self._timers)}

    def restore(self, state: State) -> None:
        """Continue from ``state``."""
        self.now_ns = state["now_ns"]
        self._timers = [(due_ns, key) for due_ns, key in state["timers"]]


def wall_ns() -> Nanos:
    """Return the wall clock, nanoseconds UTC: for file names and live edges only."""
    return time.time_ns()


def stopwatch_s() -> float:
    """Return seconds of a monotonic clock: for measuring durations only."""
    return time.perf_counter()
