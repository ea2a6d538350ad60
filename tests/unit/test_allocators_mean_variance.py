"""The mean-variance allocator against numbers worked out by hand, and in every awkward state of a book."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from engine.carry import Carry, Funding
from engine.ports import AllocationProblem, AllocatorContext, Instrument, Layout, Targets
from strategies.allocators import rebalance
from strategies.allocators.mean_variance import MeanVariance, MeanVarianceOptions
from strategies.allocators.program import compile_program
from tests.support.allocation import E, layout_of, problem_of

PAIR = layout_of(["Y/X"])
TWO = layout_of(["A/B", "C/D"])
#: gamma with gamma * h = 50, so that s* = (gain - cost) / (2 * 50 * variance).
GAMMA = 50.0 * 390.0 / 60.0


def allocate(problem: AllocationProblem, **options: Any) -> Targets:
    allocator = MeanVariance(MeanVarianceOptions(**options), AllocatorContext(problem.layout, 390))
    return allocator.allocate(problem)


def held(layout: Layout, *legs: float) -> dict[str, Any]:
    assert len(legs) == layout.leg_symbol.size
    return {"held_leg_frac": np.array(legs)}


def test_due_on_the_clock_alone() -> None:
    """A rebalance on each transition would trade many times more than was asked for."""
    allocator = MeanVariance(MeanVarianceOptions(every_min=30), AllocatorContext(PAIR, 390))
    assert [minute for minute in range(1, 91) if allocator.due(minute, 3)] == [30, 60, 90]


def test_interior_optimum_by_hand() -> None:
    """Gain 10 bp after cost, variance of (1/2, -1/2) 2.5e-5, gamma h 50: s* = 1e-3 / (2 * 50 * 2.5e-5)."""
    problem = problem_of(PAIR, side=np.array([1.0]), expected_return_frac=np.array([11e-4]))
    targets = allocate(problem, risk_aversion=GAMMA)
    assert targets.status == "optimal"
    assert targets.solver == "clarabel"
    assert targets.leg_frac == pytest.approx([0.2, -0.2], abs=1e-5)
    # 11 bp * 0.4 - 50 * 2.5e-5 * 0.16 - 1 bp * 0.4
    assert targets.objective == pytest.approx(2e-4, rel=1e-6)
    assert targets.binding == ()


def test_short_is_the_mirror_of_long() -> None:
    """A sign error in one side would double the loss of half of all trades."""
    problem = problem_of(PAIR, side=np.array([-1.0]), expected_return_frac=np.array([-11e-4]))
    assert allocate(problem, risk_aversion=GAMMA).leg_frac == pytest.approx([-0.2, 0.2], abs=1e-5)


def test_trade_aversion_scales_the_hurdle() -> None:
    """At tau = 6 the cost counts 6 bp: s* = 5e-4 / 2.5e-3 = 0.2."""
    problem = problem_of(PAIR, side=np.array([1.0]), expected_return_frac=np.array([11e-4]))
    targets = allocate(problem, risk_aversion=GAMMA, trade_aversion=6.0)
    assert targets.leg_frac == pytest.approx([0.1, -0.1], abs=1e-5)


def test_funding_lowers_the_gain() -> None:
    """Half of each USD pays 9%, half receives 1.8%: 3.6% of an hour of a session comes off the gain.

    Five sessions are seven days: an hour of 6.5 is 60/390 of a session and 7/5 of that in days, of 360.
    """
    carry = 0.036 * (60.0 / 390.0) * 1.4 / 360.0
    problem = problem_of(
        PAIR,
        side=np.array([1.0]),
        expected_return_frac=np.array([11e-4]),
        carry=Carry(np.full(2, 0.09), np.full(2, 0.018)),
    )
    size = (10e-4 - carry) / (2.0 * 50.0 * 2.5e-5)
    targets = allocate(problem, risk_aversion=GAMMA)
    assert targets.leg_frac == pytest.approx([size / 2, -size / 2], abs=1e-5)


@pytest.mark.parametrize(("pairs", "variance"), [(["Y/X"], 2.5e-5), (["Y/X", "Z/X"], 3.75e-5)])
def test_a_future_is_not_financed(pairs: list[str], variance: float) -> None:
    """Only the funds pay 9%, 4.5% of gross, where X is a leg of one spread and where two spreads share it.

    Two spreads of size s weigh (s/2, s/2, -s): a variance of 7.5e-5 s^2, so each counts as if it had half.
    """
    layout = layout_of(pairs)
    instruments = [Instrument(name, is_funded=name != "X") for name in layout.symbols]
    problem = problem_of(
        layout,
        side=np.ones(len(pairs)),
        expected_return_frac=np.full(len(pairs), 11e-4),
        carry=Funding(0.04, 500.0, 100.0, 120.0).carry(instruments),
    )
    gain = 10e-4 - 0.045 * (60.0 / 390.0) * 1.4 / 360.0
    size = gain / (2.0 * 50.0 * variance)
    targets = allocate(problem, risk_aversion=GAMMA, net_max_frac=1.0)
    assert targets.leg_frac == pytest.approx([size / 2, -size / 2] * len(pairs), abs=1e-5)
    assert targets.objective == pytest.approx(0.5 * gain * size * len(pairs), rel=1e-5)


def test_a_forecast_under_its_cost_does_not_trade() -> None:
    """The hurdle is the point of counting costs; the held legs stay to the last bit."""
    flat = problem_of(PAIR, side=np.array([1.0]), expected_return_frac=np.array([0.9e-4]))
    targets = allocate(flat)
    assert targets.leg_frac.tolist() == [0.0, 0.0]
    assert targets.binding == ("side:Y/X",)
    some = problem_of(
        PAIR, side=np.array([1.0]), expected_return_frac=np.array([0.1e-4]), **held(PAIR, 0.0123, -0.0123)
    )
    assert allocate(some).leg_frac.tolist() == [0.0123, -0.0123]


@pytest.mark.parametrize(
    ("options", "changes", "size", "binding"),
    [
        ({"gross_max_frac": 0.8}, {}, 0.8, "gross"),
        ({"name_max_frac": 0.3}, {}, 0.6, "name:X"),
        ({}, {"usd_ratio": np.array([0.5])}, 0.15, "net"),
        ({}, {"volume_usd": np.array([1e9, 2e6])}, 0.2, "participation:X"),
        # 2.3263 * sqrt(10) * 1.0373 * 0.5% * s * $1M = $7,630.99 s * 5
        ({}, {"var_budget_usd": 7_631.0}, 0.2, "var"),
    ],
)
def test_each_cap_binds_where_it_should(
    options: dict[str, float], changes: dict[str, Any], size: float, binding: str
) -> None:
    """Gains are made large enough for one cap at a time to stop the spread, at a size worked out by hand."""
    if binding == "var":
        changes = {"var_budget_usd": 0.2 * 0.005 * 2.3263478740408408 * math.sqrt(10.0) * 1.0373 * E}
    problem = problem_of(PAIR, side=np.array([1.0]), expected_return_frac=np.array([0.05]), **changes)
    targets = allocate(problem, risk_aversion=1.0, **options)
    assert np.abs(targets.leg_frac).sum() == pytest.approx(size, abs=1e-5)
    assert binding in targets.binding


def test_an_exit_needs_no_solver_and_ends_at_zero() -> None:
    """An exit must be exact: a remainder of a dollar would be carried, marked and measured for ever."""
    problem = problem_of(PAIR, **held(PAIR, 0.3, -0.25))
    targets = allocate(problem)
    assert (targets.status, targets.solver) == ("optimal", "none")
    assert targets.leg_frac.tolist() == [0.0, 0.0]
    assert allocate(problem_of(PAIR)).leg_frac.tolist() == [0.0, 0.0]


def test_an_exit_goes_as_far_as_participation_allows_at_one_pace() -> None:
    """X may trade 0.1 of the 0.25 held: both legs go by 40%, so the rest stays hedged."""
    problem = problem_of(PAIR, **held(PAIR, 0.3, -0.25), volume_usd=np.array([1e9, 2e6]))
    targets = allocate(problem)
    assert targets.leg_frac == pytest.approx([0.18, -0.15])
    assert "participation:X" in targets.binding


def test_a_moved_ratio_is_hedged_again_and_its_cost_counted() -> None:
    """The ratio moved from 1 to 2 while 0.3/-0.3 were held: v = 0.45 keeps x, and 0.15 of y is sold."""
    problem = problem_of(
        PAIR,
        side=np.array([1.0]),
        usd_ratio=np.array([2.0]),
        expected_return_frac=np.array([0.1e-4]),
        **held(PAIR, 0.3, -0.3),
    )
    targets = allocate(problem, net_max_frac=1.0, risk_aversion=0.0)
    assert targets.leg_frac == pytest.approx([0.15, -0.3], abs=1e-6)
    assert targets.objective == pytest.approx(0.1e-4 * 0.45 - 1e-4 * 0.15, rel=1e-6)


def test_a_flip_leaves_before_it_enters() -> None:
    """A SHORT that turns LONG may not keep any of its old side, nor enter while that is not gone."""
    flip = {"side": np.array([1.0]), "expected_return_frac": np.array([11e-4]), **held(PAIR, -0.3, 0.3)}
    free = allocate(problem_of(PAIR, **flip), risk_aversion=GAMMA)
    assert free.leg_frac == pytest.approx([0.2, -0.2], abs=1e-5)
    stuck = allocate(problem_of(PAIR, **flip, volume_usd=np.array([1e9, 2e6])), risk_aversion=GAMMA)
    assert stuck.leg_frac == pytest.approx([-0.2, 0.2])


def test_what_cannot_be_known_is_held() -> None:
    """No ratio, no price, no volume: a guess would trade at random, so the sleeve stays as it is."""
    wanted = {"side": np.array([1.0]), "expected_return_frac": np.array([0.01]), **held(PAIR, 0.1, -0.11)}
    for fault in (
        {"usd_ratio": np.array([math.nan])},
        {"price_usd": np.array([100.0, math.nan])},
        {"volume_usd": np.array([math.nan, 1e9])},
        {"volume_usd": np.array([0.0, 1e9])},
    ):
        assert allocate(problem_of(PAIR, **wanted, **fault)).leg_frac.tolist() == [0.1, -0.11], fault
    exit_ = problem_of(PAIR, usd_ratio=np.array([math.nan]), **held(PAIR, 0.1, -0.11))
    assert allocate(exit_).leg_frac.tolist() == [0.0, 0.0]


def test_an_unknown_symbol_is_not_entered_and_not_grown() -> None:
    """Risk cannot measure it, so the VaR cone cannot protect against it."""
    wanted = {"side": np.array([1.0]), "expected_return_frac": np.array([0.01])}
    unknown = {"known": np.array([True, False])}
    assert allocate(problem_of(PAIR, **wanted, **unknown)).leg_frac.tolist() == [0.0, 0.0]
    some = allocate(problem_of(PAIR, **wanted, **unknown, **held(PAIR, 0.1, -0.1)))
    assert some.leg_frac == pytest.approx([0.1, -0.1])


def test_reducing_lets_nothing_grow() -> None:
    """In REDUCING the best forecast of the day may not add a dollar; exits still go."""
    problem = problem_of(
        TWO,
        side=np.array([1.0, 0.0]),
        expected_return_frac=np.array([0.01, 0.0]),
        is_reducing=True,
        **held(TWO, 0.1, -0.1, -0.2, 0.2),
    )
    assert allocate(problem).leg_frac == pytest.approx([0.1, -0.1, 0.0, 0.0])


def test_reducing_does_not_close_a_hedge() -> None:
    """Closing S2 alone would leave more of the shared B than is held, so the exit waits."""
    layout = layout_of(["A/B", "B/C"])
    problem = problem_of(
        layout,
        side=np.array([1.0, 0.0]),
        is_reducing=True,
        expected_return_frac=np.array([0.01, 0.0]),
        **held(layout, 0.3, -0.3, 0.2, -0.2),
    )
    targets = allocate(problem)
    w0, w = layout.net(problem.held_leg_frac), layout.net(targets.leg_frac)
    assert targets.status == "optimal"
    assert np.all(np.abs(w) <= np.abs(w0) + 1e-6)


def test_a_book_above_its_caps_comes_back_under_them() -> None:
    """Prices drift: a gross of 2.1 under a cap of 2.0 must shrink, not make the program infeasible."""
    problem = problem_of(
        PAIR, side=np.array([1.0]), expected_return_frac=np.array([0.05]), **held(PAIR, 1.05, -1.05)
    )
    targets = allocate(problem, name_max_frac=2.0, risk_aversion=0.0)
    assert np.abs(targets.leg_frac).sum() == pytest.approx(2.0, abs=2e-6)
    assert "excess" not in targets.binding


def test_a_book_stuck_above_its_caps_goes_as_far_as_it_can() -> None:
    """Participation lets 0.01 a leg go where 0.05 should: what cannot be repaired is said, not hidden."""
    problem = problem_of(
        PAIR,
        side=np.array([1.0]),
        expected_return_frac=np.array([0.05]),
        volume_usd=np.full(2, 2e5),
        **held(PAIR, 1.05, -1.05),
    )
    targets = allocate(problem, name_max_frac=2.0)
    assert targets.leg_frac == pytest.approx([1.04, -1.04], abs=1e-5)
    assert "excess" in targets.binding


def test_single_names_are_unwound() -> None:
    """What the opening book holds outside any spread has no forecast, only risk."""
    layout = layout_of(["Y/X"], ["LONE", "Y"])
    problem = problem_of(layout, **held(layout, 0.0, 0.0, 0.2, 0.05), volume_usd=np.array([1e9, 1e9, 2e6]))
    assert allocate(problem).leg_frac == pytest.approx([0.0, 0.0, 0.1, 0.0])


def test_shared_legs_net_in_every_term() -> None:
    """Long A/B and long B/C is long A, short C: B nets, so it costs nothing and frees gross."""
    layout = layout_of(["A/B", "B/C"])
    problem = problem_of(layout, side=np.ones(2), expected_return_frac=np.full(2, 0.02))
    targets = allocate(problem, gross_max_frac=1.0, risk_aversion=0.0)
    assert layout.net(targets.leg_frac) == pytest.approx([0.5, 0.0, -0.5], abs=1e-5)
    assert targets.objective == pytest.approx(0.02 * 2.0 - 1e-4 * 1.0, rel=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("equity_usd", math.nan),
        ("equity_usd", 0.0),
        ("side", np.array([0.5])),
        ("expected_return_frac", np.array([math.nan])),
        ("held_leg_frac", np.array([0.0, math.nan])),
        ("factor_daily", np.full((2, 2), math.nan)),
        ("cost_frac", np.array([1e-4, math.nan])),
        ("var_budget_usd", math.nan),
        ("var_factor", math.inf),
        ("participation_max_frac", math.nan),
        ("carry", Carry(np.full(2, 0.01), np.array([0.01, 0.02]))),
        ("carry", Carry(np.array([0.01, math.nan]), np.zeros(2))),
    ],
)
def test_bad_input_is_named(field: str, value: Any) -> None:
    """A NaN that reached the solver would raise in the middle of a rebalance; the field must be named."""
    fields = {"side": np.array([1.0]), "expected_return_frac": np.array([1e-3]), field: value}
    targets = allocate(problem_of(PAIR, **fields))
    assert (targets.status, targets.binding, targets.leg_frac.size) == ("bad_input", (field,), 0)


class Liar:
    """Stands in for a compiled program, and answers what it is told to, one attempt after the other."""

    def __init__(self, structure: Any, answers: list[tuple[str, float]]) -> None:
        self.statement = compile_program(structure).statement
        self.triangle = compile_program(structure).triangle
        self.slots = len(structure.y)
        self.answers = answers

    def solve(self, _vector: Any, _settings: Any) -> tuple[str, Any]:
        status, v = self.answers.pop(0)
        return status, np.full(self.slots, v)


@pytest.mark.parametrize(
    ("answers", "status", "solver"),
    [
        ([("Solved", 2.5), ("Solved", 0.4)], "optimal", "clarabel_patient"),
        ([("Solved", 2.5), ("Solved", 2.5)], "check_failed", "clarabel_patient"),
        ([("Solved", math.nan), ("Solved", math.nan)], "check_failed", "clarabel_patient"),
        ([("MaxIterations", 0.4), ("NumericalError", 0.4)], "solver_failed", ""),
        ([("AlmostSolved", 0.4), ("Solved", 0.4)], "optimal", "clarabel_patient"),
        ([("PrimalInfeasible", 0.0)], "infeasible", "clarabel"),
    ],
)
def test_no_answer_counts_unchecked(
    monkeypatch: pytest.MonkeyPatch, answers: list[tuple[str, float]], status: str, solver: str
) -> None:
    """Solvers have reported success with a gross of 2.5 under a cap of 1; the book is then held."""
    monkeypatch.setattr(rebalance, "compile_program", lambda structure: Liar(structure, list(answers)))
    problem = problem_of(PAIR, side=np.array([1.0]), expected_return_frac=np.array([11e-4]))
    targets = allocate(problem, risk_aversion=GAMMA)
    assert (targets.status, targets.solver) == (status, solver)
    assert targets.leg_frac.size == (2 if status == "optimal" else 0)
