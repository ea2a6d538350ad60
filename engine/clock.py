"""The wall clock, for the edges only.

The core is told the time by the record it handles, as integer nanoseconds UTC; it never asks for it. This
file alone may read a clock, for names of folders and for measuring durations.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.events import Nanos

_NS_PER_S = 1_000_000_000


def wall_ns() -> Nanos:
    """Return the wall clock, nanoseconds UTC: for file names and live edges only."""
    return time.time_ns()


def stopwatch_s() -> float:
    """Return seconds of a monotonic clock: for measuring durations only."""
    return time.perf_counter()


class Clock:
    """The time of a live run: the wall clock, or a rehearsal that starts elsewhere and runs faster.

    Parameters
    ----------
    start_ns : int or None
        What time it is now; None for the wall clock.
    speed : float
        Seconds of the run in a second.
    wall : callable
        Nanoseconds UTC.
    monotonic : callable
        Seconds that never jump.
    """

    def __init__(
        self,
        start_ns: Nanos | None = None,
        speed: float = 1.0,
        wall: Callable[[], Nanos] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.speed = speed
        self._wall = wall
        self._monotonic = monotonic
        self._origin_s = monotonic()
        self._origin_ns = wall() if start_ns is None else start_ns
        self._is_wall = start_ns is None and speed == 1.0

    def now_ns(self) -> Nanos:
        """Return the time of the run, nanoseconds UTC."""
        return self._wall() if self._is_wall else self._steady_ns()

    def seconds_until(self, ts_ns: Nanos) -> float:
        """Return how long to wait for an instant of the run, in real seconds; 0 if it has passed."""
        return max(0.0, (ts_ns - self.now_ns()) / _NS_PER_S / self.speed)

    def jump_s(self) -> float:
        """Return by how much the wall clock has left the monotonic one since the last call, seconds.

        Positive when it went forward. A rehearsal keeps to the monotonic clock and never jumps.
        """
        if not self._is_wall:
            return 0.0
        steady_s, wall_ns = self._monotonic(), self._wall()
        jump_s = (wall_ns - self._origin_ns) / _NS_PER_S - (steady_s - self._origin_s)
        self._origin_s, self._origin_ns = steady_s, wall_ns
        return jump_s

    def _steady_ns(self) -> Nanos:
        elapsed_s = self._monotonic() - self._origin_s
        return self._origin_ns + round(elapsed_s * self.speed * _NS_PER_S)
