"""How time is taken: cases of a group take turns (A B A B), and a figure is the median of its turns.

Whatever else the machine does then falls on all cases alike, so that ratios hold where seconds do not.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

#: Does some work once and returns how long a slice of it took, in seconds.
Case = Callable[[], float]


class Goal(NamedTuple):
    """What a figure should reach: ``text`` for people, ``slice_s`` the seconds a slice may take."""

    text: str
    slice_s: float


class Row(NamedTuple):
    """One line of the table.

    Parameters
    ----------
    what : str
    n_bars : int
        Bars in a slice; 0 where bars a second would say nothing.
    slice_s : tuple of float
        Seconds a slice of every turn.
    bare_s : float
        Seconds a slice of the bare loop over as many symbols, in the same turns.
    goal : Goal or None
    """

    what: str
    n_bars: int
    slice_s: tuple[float, ...]
    bare_s: float
    goal: Goal | None = None

    @property
    def median_s(self) -> float:
        """Median seconds a slice."""
        return statistics.median(self.slice_s)

    @property
    def is_reached(self) -> bool | None:
        """Whether the median meets the goal; None without one."""
        return None if self.goal is None else self.median_s <= self.goal.slice_s


def bars_goal(text: str, n_bars: int, bars_per_s: float) -> Goal:
    """State a goal in bars a second."""
    return Goal(text, n_bars / bars_per_s)


def stopwatch(work: Callable[[], object], n: int) -> float:
    """Seconds that one of ``n`` parts of some work took."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / n


def take_turns(cases: Mapping[str, Case], repeats: int) -> dict[str, tuple[float, ...]]:
    """Run every case once to warm up, then in turns; collect garbage of others before each."""
    for case in cases.values():
        case()
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            gc.collect()
            taken[name].append(case())
    return {name: tuple(seconds) for name, seconds in taken.items()}


def rows_of(
    cases: Mapping[str, Case],
    bare: Case,
    n_bars: int,
    goals: Mapping[str, Goal],
    repeats: int,
) -> list[Row]:
    """Measure cases beside the bare loop, all over slices of ``n_bars`` bars."""
    taken = take_turns({"": bare, **cases}, repeats)
    bare_s = statistics.median(taken.pop(""))
    return [Row(name, n_bars, seconds, bare_s, goals.get(name)) for name, seconds in taken.items()]


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [
        "| what | bars/s | µs a slice | min – max | times the bare loop | goal | reached |",
        "|---|--:|--:|--:|--:|---|---|",
    ]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(row: Row) -> str:
    rate = f"{row.n_bars / row.median_s:,.0f}" if row.n_bars else "–"
    span = f"{_us(min(row.slice_s))} – {_us(max(row.slice_s))}"
    ratio = f"{row.median_s / row.bare_s:,.2f}" if row.n_bars else "–"
    verdict = {True: "yes", False: "**no**", None: ""}[row.is_reached]
    goal = row.goal.text if row.goal is not None else ""
    return f"| {row.what} | {rate} | {_us(row.median_s)} | {span} | {ratio} | {goal} | {verdict} |"


def _us(seconds: float) -> str:
    value = seconds * 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
