"""Thresholds of the two levers at their true precision, and answers without the noise of a solver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategies.allocators.compiled import ConicAnswer
from strategies.allocators.names import Weighting
from strategies.allocators.names_program import NamesProgram
from strategies.allocators.polish import polish
from strategies.allocators.problem_file import read_problem
from strategies.allocators.trade_offs import at, kinks, no_trade_aversion, sweep

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "optimiser.json").read_text())
CASES: dict[str, Any] = GOLDENS["cases"]
SIX = ["1", "2", "3", "4", "5", "6"]
BASE = {
    "allocator": "mean_variance",
    "symbols": SIX,
    "expected_return_frac": GOLDENS["MU"],
    "covariance": GOLDENS["S"],
    "gross_max_frac": 1.0,
}
HELD = {"held_frac": [0, 0, 0, 0, 0, 1], "cost_frac": 0.0005}


def program_of(**changes: Any) -> NamesProgram:
    return NamesProgram(read_problem({**BASE, **changes})[0])


def words_of(event: str) -> tuple[str, str]:
    """Turn a golden's event into subject and change."""
    if "L1" in event:
        return "gross", "goes slack"
    asset = event.replace("asset ", "")[0]
    if "leaves" in event:
        return asset, "leaves"
    return asset, "enters short" if "short" in event else "enters long"


@pytest.mark.parametrize("is_long_only", [False, True])
def test_risk_aversion_thresholds_to_a_millionth(is_long_only: bool) -> None:
    """Read off a bar chart they were up to 16% too high, and the last, 177.14, was stated as about 60."""
    name = "003.lambda_thresholds_long_only" if is_long_only else "003.lambda_thresholds_l1_long_short"
    program = program_of(long_only=is_long_only)
    found = kinks(program, "risk_aversion", sweep(program, "risk_aversion", np.geomspace(0.1, 1e3, 40)))
    expected = CASES[name]["expected"]["events"]
    assert [(kink.subject, kink.change) for kink in found] == [words_of(one["event"]) for one in expected]
    assert [kink.value for kink in found] == pytest.approx([one["lam"] for one in expected], rel=1e-6)


def test_the_trade_aversion_from_which_on_nothing_trades() -> None:
    """2126.58 of the closed form, to a millionth; the last threshold of the sweep is the same one."""
    program = program_of(long_only=True, risk_aversion=15.0, **HELD)
    expected = CASES["003.tau_sweep_lam15"]["expected"]["no_trade_for_tau_at_least"]
    assert no_trade_aversion(program) == pytest.approx(expected, rel=1e-6)
    found = kinks(program, "trade_aversion", sweep(program, "trade_aversion", [20.0, 200.0, 1e3, 3e3]))
    last = [(kink.subject, kink.change) for kink in found if kink.value == pytest.approx(expected, rel=1e-6)]
    assert sorted(last) == [("6", "stops trading"), ("gross", "binds")]


@pytest.mark.parametrize("advantage_bp", [5.0, 10.0, 20.0])
def test_a_switch_pays_two_legs(advantage_bp: float) -> None:
    """At 5 bp a leg a switch pays while tau is below advantage / 10 bp: 5 bp need a tau under 1/2."""
    program = program_of(
        expected_return_frac=[0, 0, 0, 0, 0.002 + advantage_bp / 1e4, 0.002],
        covariance=None,
        risk_aversion=0.0,
        long_only=True,
        **HELD,
    )
    assert no_trade_aversion(program) == pytest.approx(advantage_bp / 10.0, rel=1e-6)


def test_no_threshold_where_trading_is_free_or_what_is_held_may_not_stay() -> None:
    """A number for a threshold that does not exist would be believed."""
    assert no_trade_aversion(program_of(long_only=True)) is None
    assert no_trade_aversion(program_of(held_frac=[0, 0, 0, 0, 0, 2], cost_frac=0.0005)) is None
    assert no_trade_aversion(program_of(expected_return_frac=[0.0] * 6, cost_frac=0.0005)) == 0.0


def test_exact_answers_agree_with_the_golden_ones_and_have_exact_zeros() -> None:
    """A weight of 1e-9 that should be zero is a name in a portfolio."""
    case = CASES["003.mvo_costs_tau0_lam15"]
    program = program_of(long_only=True, **HELD)
    answer, is_exact = program.solve_exactly(Weighting(1.0, 15.0, 0.0))
    assert is_exact
    assert answer.weights_frac == pytest.approx(case["expected"]["weights"], abs=1e-9)
    assert abs(answer.weights_frac[0]) < 1e-15
    assert answer.weights_frac.sum() == pytest.approx(1.0, abs=1e-14)


def test_polish_verifies_and_does_not_invent() -> None:
    """From an answer to another problem it must find this one's solution, or say that it did not."""
    program = program_of(long_only=True)
    vector = np.array([1.0, 15.0, 0.0, 1.0])
    data = program._compiled.data(vector)
    good = program._compiled.solve(data, {})
    noise = np.random.default_rng(3)
    for _ in range(20):
        wild = ConicAnswer(
            "Solved",
            good.x + noise.normal(0.0, 1.0, good.x.size),
            noise.uniform(0.0, 1.0, good.s.size),
            noise.uniform(0.0, 1.0, good.z.size),
        )
        x = polish(program._compiled, data, wild)
        exact = polish(program._compiled, data, good)
        assert exact is not None
        assert x is None or x[:6] == pytest.approx(exact[:6], abs=1e-8)


def test_a_problem_without_an_answer_is_a_point_with_its_status() -> None:
    """One impossible value in a sweep must not end it."""
    point = at(program_of(gross_max_frac=None, covariance=None, risk_aversion=0.0), "risk_aversion", 0.0)
    assert (point.status, point.weights_frac.size, point.is_exact) == ("unbounded", 0, False)
