"""The wall clock, for the edges only.

The core is told the time by the record it handles, as integer nanoseconds UTC; it never asks for it. This
file alone may read a clock, for names of folders and for measuring durations.
"""

from __future__ import annotations

import time

from engine.events import Nanos


def wall_ns() -> Nanos:
    """Return the wall clock, nanoseconds UTC: for file names and live edges only."""
    return time.time_ns()


def stopwatch_s() -> float:
    """Return seconds of a monotonic clock: for measuring durations only."""
    return time.perf_counter()
