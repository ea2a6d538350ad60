"""The mean-variance allocator against a plain statement of its program, and on books in every state."""

from __future__ import annotations

import cvxpy
import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.ports import AllocationProblem, AllocatorContext, Targets
from strategies.allocators.mean_variance import MeanVariance, MeanVarianceOptions
from tests.support.allocation import E, random_problem

OPTIONS = MeanVarianceOptions(net_max_frac=0.4)
HORIZON_DAYS = 60.0 / 390.0
#: What accrues does so on seven days for five sessions.
CALENDAR_DAYS = HORIZON_DAYS * 7.0 / 5.0
SEEDS = st.integers(0, 10**6)
#: The plain statement, solved tightly, may give up on an example: then it says nothing of it.
pytestmark = pytest.mark.filterwarnings("ignore:Solution may be inaccurate:UserWarning")


def allocate(problem: AllocationProblem) -> Targets:
    return MeanVariance(OPTIONS, AllocatorContext(problem.layout, 390)).allocate(problem)


def plain_optimum(problem: AllocationProblem) -> float | None:
    """Solve over s directly, with no plan and nothing compiled: every exit and re-hedge is complete."""
    layout = problem.layout
    n_spreads = len(layout.spreads)
    side, b = problem.side[:n_spreads], problem.usd_ratio[:n_spreads]
    columns = np.zeros((len(layout.symbols), n_spreads))
    for k in range(n_spreads):
        y, x = layout.leg_symbol[2 * k], layout.leg_symbol[2 * k + 1]
        columns[y, k] += 1.0 / (1.0 + abs(b[k]))
        columns[x, k] -= b[k] / (1.0 + abs(b[k]))
    s = cvxpy.Variable(n_spreads)
    w, w0 = columns @ s, layout.net(problem.held_leg_frac)
    sigma = cvxpy.norm(problem.factor_daily.T @ w)
    long_, short = problem.carry.over(CALENDAR_DAYS)
    utility = (
        problem.expected_return_frac[:n_spreads] @ s
        - OPTIONS.risk_aversion * HORIZON_DAYS * cvxpy.sum_squares(problem.factor_daily.T @ w)
        - problem.cost_frac @ cvxpy.abs(w - w0)
        - (short @ w + (long_ - short) @ cvxpy.pos(w))
    )
    room = problem.participation_max_frac * problem.volume_usd / E
    constraints = [
        cvxpy.norm1(w) <= OPTIONS.gross_max_frac,
        cvxpy.abs(cvxpy.sum(w)) <= OPTIONS.net_max_frac,
        cvxpy.abs(w) <= OPTIONS.name_max_frac,
        cvxpy.abs(w - w0) <= room,
        cvxpy.multiply(side, s) >= 0.0,
        cvxpy.multiply(side == 0.0, s) == 0.0,
        cvxpy.abs(s) <= OPTIONS.gross_max_frac,
        problem.var_factor * sigma * E <= problem.var_budget_usd,
    ]
    statement = cvxpy.Problem(cvxpy.Maximize(1e4 * utility), constraints)
    statement.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9)
    return float(statement.value) / 1e4 if statement.status == cvxpy.OPTIMAL else None


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, is_shared=st.booleans())
def test_no_worse_than_the_plain_program(seed: int, is_shared: bool) -> None:
    """Slots, presolved bounds and the compiled map are worth nothing if they move the optimum."""
    problem = random_problem(seed, is_shared=is_shared, is_tight=False)
    best = plain_optimum(problem)
    assume(best is not None)
    targets = allocate(problem)
    assert targets.status == "optimal"
    assert "excess" not in targets.binding
    assert targets.objective == pytest.approx(best, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_every_state_of_a_book_has_an_answer(seed: int) -> None:
    """Stuck, unknown, drifted, REDUCING: the trade stays within participation, and no cap gets worse."""
    problem = random_problem(seed, is_tight=True)
    targets = allocate(problem)
    assert targets.status == "optimal", targets
    layout = problem.layout
    w0, w = layout.net(problem.held_leg_frac), layout.net(targets.leg_frac)
    room = problem.participation_max_frac * problem.volume_usd / E
    room = np.where(problem.price_usd > 0.0, room, 0.0)
    assert np.all(np.abs(w - w0) <= room + 2e-6)
    is_shrink_only = ~problem.known | problem.is_reducing
    assert np.all(np.abs(w[is_shrink_only]) <= np.abs(w0[is_shrink_only]) + 2e-6)
    assert np.all((w * w0)[is_shrink_only] >= -2e-6)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_settled_book_stays(seed: int) -> None:
    """Solved again from its own answer, a book finds nothing better: it does not chase its tail.

    If w* is best from w0, the triangle inequality makes it best from w*, now without the cost of going there.
    """
    problem = random_problem(seed, is_tight=False)
    first = allocate(problem)
    again = msgspec.structs.replace(problem, held_leg_frac=first.leg_frac)
    second = allocate(again)
    assert (first.status, second.status) == ("optimal", "optimal")
    cost = problem.cost_frac @ np.abs(problem.layout.net(first.leg_frac - problem.held_leg_frac))
    assert second.objective == pytest.approx(first.objective + cost, abs=2e-8)
