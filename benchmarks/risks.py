"""VaR on every bar: covariance accumulated, its factor taken anew each 30 minutes, a full book measured."""

from __future__ import annotations

import numpy as np

from benchmarks import arrays
from benchmarks.kernels import bare_case
from benchmarks.tape import Size
from benchmarks.timing import Case, Goal, Row, rows_of, stopwatch
from risk.actor import CovarianceOptions, RiskActor
from risk.var import GaussianVarOptions, build_gaussian

_GOAL_US = {40: 60.0, 200: 250.0}


def measure(repeats: int, n_minutes: int = 1_170) -> list[Row]:
    """Measure at 6, 40 and 200 symbols, every one of them held; three sessions a turn."""
    rows: list[Row] = []
    for n in (6, 40, 200):
        name = f"VaR on every bar, {n} symbols"
        goals = {name: Goal(f"< {_GOAL_US[n]:g} µs", _GOAL_US[n] * 1e-6)} if n in _GOAL_US else {}
        rows += rows_of({name: _case(n, n_minutes)}, bare_case(n, n_minutes), n, goals, repeats)
    return rows


def _case(n: int, n_minutes: int) -> Case:
    size = Size(n // 2, n_minutes)
    tape, daily = arrays.slices(size), arrays.history(size)
    holdings_usd = np.random.default_rng(1).normal(0.0, 1e6 / n, n)
    model = build_gaussian(GaussianVarOptions(), daily.symbols)

    def run() -> float:
        actor = RiskActor(CovarianceOptions(), model, daily.symbols, 390, daily)

        def work() -> None:
            for slice_ in tape:
                actor.observe(slice_)
                report = actor.measure(holdings_usd)
                assert not report.reason, report.reason

        return stopwatch(work, n_minutes)

    return run
