"""The main loop, fed from memory: what a minute costs without a file in front and tables behind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import arrays, bare, engines
from benchmarks.tape import HUGE, SMALL, WIDE, Size, Tally
from benchmarks.timing import Case, Goal, Row, bars_goal, rows_of, stopwatch
from engine.events import CLOSE, BarSlice
from engine.loop import Loop

_ENGINES: dict[str, Callable[[Size], Loop]] = {
    "signals only": engines.signals_only,
    "fills, costs, book": engines.with_fills,
    "everything": engines.with_everything,
}
#: Bars a second, by size and engine.
_GOALS = {
    (SMALL, "signals only"): 500e3,
    (SMALL, "fills, costs, book"): 320e3,
    (WIDE, "signals only"): 3e6,
    (WIDE, "fills, costs, book"): 2e6,
    (WIDE, "everything"): 500e3,
    (HUGE, "everything"): 500e3,
}


def measure(size: Size, repeats: int) -> tuple[list[Row], Tally]:
    """Measure the three engines on a tape.

    Returns
    -------
    rows : list of Row
    tally : Tally
        Of the bare loop; the engine's is the same.

    Raises
    ------
    AssertionError
        If the engine's signals are not those of the bare loop: the figures would compare different work.
    """
    tape = arrays.slices(size)
    close = np.array([slice_.bars[CLOSE] for slice_ in tape])
    expected, said = bare.tally(close), engines.tally(size, tape)
    assert said.agrees(expected), f"signals differ on {size}: bare loop {expected}, engine {said}"
    cases = {f"loop, {size}: {name}": _case(build, size, tape) for name, build in _ENGINES.items()}
    rows = rows_of(
        cases,
        lambda: stopwatch(lambda: bare.tally(close), size.n_minutes),
        size.n_symbols,
        {f"loop, {size}: {name}": _goal(size, name) for name in _ENGINES if (size, name) in _GOALS},
        repeats,
    )
    return rows, expected


def _goal(size: Size, name: str) -> Goal:
    rate = _GOALS[size, name]
    text = f"> {rate / 1e6:g}M bars/s" if rate >= 1e6 else f"> {rate / 1e3:g}k bars/s"
    return bars_goal(text, size.n_symbols, rate)


def _case(build: Callable[[Size], Loop], size: Size, tape: list[BarSlice]) -> Case:
    def run() -> float:
        loop = build(size)

        def work() -> None:
            step = loop.step
            for slice_ in tape:
                step(slice_)

        seconds = stopwatch(work, size.n_minutes)
        assert loop.status.halts == 0, "a halted engine is measured doing less"
        return seconds

    return run
