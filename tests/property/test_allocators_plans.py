"""Multi-period and downside against a plain statement of their programs, with nothing compiled."""

from __future__ import annotations

import cvxpy
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.events import FloatArray
from engine.ports import AllocationProblem, AllocatorContext, Targets
from strategies.allocators import REGISTRY
from tests.support.allocation import E, random_problem

SEEDS = st.integers(0, 10**6)
#: The plain statement, solved tightly, may give up on an example: then it says nothing of it.
pytestmark = pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")
HORIZON_DAYS = 60.0 / 390.0
#: What accrues does so on seven days for five sessions.
CALENDAR_DAYS = HORIZON_DAYS * 7.0 / 5.0
CAPS = {"net_max_frac": 0.4}


def allocate(kind: str, problem: AllocationProblem, **options: float) -> Targets:
    plugin = REGISTRY[kind]
    allocator = plugin.build(plugin.options(**CAPS, **options), AllocatorContext(problem.layout, 390))
    return allocator.allocate(problem)


def columns_of(problem: AllocationProblem) -> FloatArray:
    layout = problem.layout
    columns = np.zeros((len(layout.symbols), len(layout.spreads)))
    for k in range(len(layout.spreads)):
        b = problem.usd_ratio[k]
        columns[layout.leg_symbol[2 * k], k] += 1.0 / (1.0 + abs(b))
        columns[layout.leg_symbol[2 * k + 1], k] -= b / (1.0 + abs(b))
    return columns


def plain_optimum(
    problem: AllocationProblem,
    steps: int,
    decay_frac: float,
    risk_aversion: float,
    tail: tuple[int, float] | None,
    first: FloatArray | None = None,
) -> float | None:
    """Solve over the sizes of every step directly; ``first`` fixes the weights of the first."""
    columns, n = columns_of(problem), len(problem.layout.spreads)
    side, forecast = problem.side[:n], problem.expected_return_frac[:n]
    long_, short = problem.carry.over(CALENDAR_DAYS)
    utility, constraints = 0.0, []
    before = problem.layout.net(problem.held_leg_frac)
    for step in range(steps):
        s = cvxpy.Variable(n)
        w = columns @ s
        exposure = problem.factor_daily.T @ w
        utility += decay_frac**step * forecast @ s
        utility -= risk_aversion * HORIZON_DAYS * cvxpy.sum_squares(exposure)
        utility -= problem.cost_frac @ cvxpy.abs(w - before)
        utility -= short @ w + (long_ - short) @ cvxpy.pos(w)
        constraints += [
            cvxpy.norm1(w) <= 2.0,
            cvxpy.abs(cvxpy.sum(w)) <= 0.4,
            cvxpy.abs(w) <= 1.0,
            cvxpy.abs(s) <= 2.0,
            cvxpy.multiply(side, s) >= 0.0,
            cvxpy.multiply(side == 0.0, s) == 0.0,
            problem.var_factor * cvxpy.norm(exposure) * E <= problem.var_budget_usd,
        ]
        if tail is not None:
            constraints.append(
                cvxpy.sum_smallest(problem.history_return_frac @ w, tail[0]) >= -tail[0] * tail[1]
            )
        if step == 0 and first is not None:
            constraints.append(cvxpy.abs(w - first) <= 1e-7)
        before = w
    if steps > 1:
        utility -= problem.cost_frac @ cvxpy.abs(before)
    statement = cvxpy.Problem(cvxpy.Maximize(1e4 * utility), constraints)
    statement.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9)
    return float(statement.value) / 1e4 if statement.status == cvxpy.OPTIMAL else None


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, is_shared=st.booleans())
def test_the_first_step_of_the_best_plan(seed: int, is_shared: bool) -> None:
    """What is traded now must be where some best plan begins, whatever the compiled program made of it."""
    problem = random_problem(seed, is_shared=is_shared, is_tight=False)
    options = {"steps": 3, "forecast_half_life_min": 60.0, "risk_aversion": 15.0}
    best = plain_optimum(problem, 3, 0.5, 15.0, None)
    assume(best is not None)
    targets = allocate("multi_period", problem, **options)
    assert targets.status == "optimal"
    begun = plain_optimum(problem, 3, 0.5, 15.0, None, problem.layout.net(targets.leg_frac))
    assume(begun is not None)
    assert begun == pytest.approx(best, abs=2e-7)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, is_shared=st.booleans(), max_loss=st.floats(1e-4, 0.02))
def test_the_worst_days_are_limited_at_no_avoidable_price(
    seed: int, is_shared: bool, max_loss: float
) -> None:
    """Padded days and slots are worth nothing if they move the optimum, and the limit must hold."""
    problem = random_problem(seed, is_shared=is_shared, is_tight=False)
    best = plain_optimum(problem, 1, 1.0, 0.0, (4, max_loss))
    assume(best is not None)
    targets = allocate("downside", problem, worst_day_max_loss_frac=max_loss, history_days=100)
    assert targets.status == "optimal"
    assume("excess" not in targets.binding)
    assert targets.objective == pytest.approx(best, abs=2e-8)
    days = np.sort(problem.history_return_frac @ problem.layout.net(targets.leg_frac))
    assert -days[:4].mean() <= max_loss + 1e-6
