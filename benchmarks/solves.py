"""The optimiser's re-solve: problems of the real desk, made as hard as they get, every spread wanted."""

from __future__ import annotations

import msgspec
import numpy as np

from benchmarks import arrays, engines
from benchmarks.tape import Size
from benchmarks.timing import Case, Goal, Row, rows_of, stopwatch
from engine.ports import AllocationProblem, AllocatorContext
from strategies.allocators.mean_variance import MeanVariance, MeanVarianceOptions

_GOAL_MS = {40: 2.0, 200: 50.0}
_N_PROBLEMS = 8
_WARMUP_MIN = 400


def measure(repeats: int, sizes: tuple[int, ...] = (40, 200)) -> list[Row]:
    """Measure re-solves at 40 and 200 symbols; the program is compiled before."""
    rows: list[Row] = []
    for n in sizes:
        name = f"optimiser re-solve, {n} symbols"
        goals = {name: Goal(f"< {_GOAL_MS[n]:g} ms", _GOAL_MS[n] * 1e-3)} if n in _GOAL_MS else {}
        case = _case(problems(Size(n // 2, _WARMUP_MIN)))
        rows += rows_of({name: case}, lambda: 0.0, 0, goals, repeats)
    return rows


def problems(size: Size) -> list[AllocationProblem]:
    """State problems at the end of a tape: all sides wanted, other forecasts and holdings in each."""
    loop = engines.with_everything(size)
    tape = arrays.slices(size)
    for slice_ in tape:
        loop.step(slice_)
    desk = loop.bus.desk
    assert desk is not None
    outlooks = [strategy.outlook() for strategy in loop.bus.strategies]
    posed = desk.problem(tape[-1], loop.seq, outlooks, ())
    return [_wanted(posed, np.random.default_rng(seed)) for seed in range(_N_PROBLEMS)]


def _wanted(posed: AllocationProblem, rng: np.random.Generator) -> AllocationProblem:
    n = posed.layout.n_sleeves
    side = rng.choice([-1.0, 1.0], n)
    size = side * rng.uniform(0.0, 2.0 / n, n) / (1.0 + np.abs(posed.usd_ratio))
    held = np.column_stack((size, -posed.usd_ratio * size)).ravel()
    forecast = side * rng.uniform(2e-4, 20e-4, n)
    return msgspec.structs.replace(posed, side=side, held_leg_frac=held, expected_return_frac=forecast)


def _case(posed: list[AllocationProblem]) -> Case:
    allocator = MeanVariance(MeanVarianceOptions(), AllocatorContext(posed[0].layout, 390))

    def work() -> None:
        for problem in posed:
            targets = allocator.allocate(problem)
            assert targets.status == "optimal", (targets.status, targets.binding)

    return lambda: stopwatch(work, len(posed))
