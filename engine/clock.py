"""Time at the edges: reading clocks, and writing instants for people and programs.

The core is told the time by the record it handles, as integer nanoseconds UTC; it never asks for it. This
file alone may read a clock: for live edges, names of folders and durations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from engine.events import SECOND_NS, Nanos

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def wall_ns() -> Nanos:
    """Return the wall clock, nanoseconds UTC: for file names and live edges only."""
    return time.time_ns()


def stopwatch_s() -> float:
    """Return seconds of a monotonic clock: for measuring durations only."""
    return time.perf_counter()


def instant(ts_ns: Nanos) -> str:
    """Write an instant in ISO 8601, UTC, with as many digits as it needs (microseconds at most).

    Examples
    --------
    >>> instant(1_519_137_060_000_000_000), instant(1_519_137_060_250_000_000)
    ('2018-02-20T14:31:00Z', '2018-02-20T14:31:00.250000Z')
    """
    return (_EPOCH + timedelta(microseconds=ts_ns // 1_000)).isoformat().removesuffix("+00:00") + "Z"


def instant_name(ts_ns: Nanos) -> str:
    """Write an instant as it stands in names of folders and epochs, to the second.

    Examples
    --------
    >>> instant_name(1_700_000_000_000_000_000)
    '20231114T221320Z'
    """
    return f"{_EPOCH + timedelta(seconds=ts_ns // SECOND_NS):%Y%m%dT%H%M%SZ}"


def nanos_of(when: datetime) -> Nanos:
    """Return a time with its zone as nanoseconds UTC, exactly: a float has too few digits.

    Examples
    --------
    >>> nanos_of(datetime(2018, 2, 20, 14, 31, 0, 250_000, tzinfo=UTC))
    1519137060250000000
    """
    return (when - _EPOCH) // timedelta(microseconds=1) * 1_000


#: A wall clock that leaves the monotonic one by more than this has been set, not corrected.
JUMP_MAX_S: Final = 2.0


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
        #: By how much the wall clock has jumped ahead of the time believed last; negative when behind.
        self._doubt_s = 0.0

    def now_ns(self) -> Nanos:
        """Return the time of the run, nanoseconds UTC."""
        return self._wall() if self._is_wall else self._steady_ns()

    def seconds_until(self, ts_ns: Nanos) -> float:
        """Return how long to wait for an instant of the run, in real seconds; 0 if it has passed."""
        return max(0.0, (ts_ns - self.now_ns()) / SECOND_NS / self.speed)

    def jump_s(self) -> float:
        """Return by how much the wall clock has left the monotonic one since the last call, seconds.

        Positive when it went forward; then ``trusted_ns`` does not follow, until it comes back or ``believe``
        is called. A rehearsal keeps to the monotonic clock and never jumps.
        """
        if not self._is_wall:
            return 0.0
        steady_s, wall_ns = self._monotonic(), self._wall()
        jump_s = (wall_ns - self._origin_ns) / SECOND_NS - (steady_s - self._origin_s)
        self._origin_s, self._origin_ns = steady_s, wall_ns
        if abs(jump_s) > JUMP_MAX_S:
            self._doubt_s += jump_s
        return jump_s

    def believe(self) -> None:
        """Take what the wall clock says for the time: a person has looked at it."""
        self._doubt_s = 0.0

    def trusted_ns(self) -> Nanos:
        """Return the time, but no later than the monotonic clock allows: what it closes stays closed."""
        return min(self.now_ns(), self._steady_ns() + round((JUMP_MAX_S - self._doubt_s) * SECOND_NS))

    def _steady_ns(self) -> Nanos:
        elapsed_s = self._monotonic() - self._origin_s
        return self._origin_ns + round(elapsed_s * self.speed * SECOND_NS)
