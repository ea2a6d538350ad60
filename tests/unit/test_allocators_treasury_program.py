"""The mixed-integer program of Treasury relative value, against every pattern of longs and shorts."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from strategies.allocators.treasury_program import Cap, TreasuryProblem, examine, solve

VOLATILITY = np.array([0.15, 0.17, 0.19, 0.22, 0.25]) / 100.0
DURATION = np.array([4.5, 6.2, 9.0, 17.5, 25.0])


def problem_of(correlation: float = 0.0, **changes: Any) -> TreasuryProblem:
    """Build the published problem: costs in percent, yield volatility, a minimum of $1M forced."""
    shocks = np.random.Generator(np.random.PCG64(2024)).standard_normal((1_000, 5))
    matrix = np.full((5, 5), correlation) + (1.0 - correlation) * np.eye(5)
    liquidity = np.array([100.0, 90.0, 80.0, 60.0, 50.0])
    fields: dict[str, Any] = {
        "loss_fixed": np.zeros(len(changes.get("loss", shocks))),
        "trade_max": np.full(len(changes.get("names", liquidity)), np.inf),
        "names": ("5Y", "7Y", "10Y", "20Y", "30Y"),
        "edge": np.array([0.0005, 0.0013, 0.0019, 0.0026, 0.0028]),
        "cost": np.array([1.0, 1.5, 2.0, 2.5, 3.0]) * 1e-5,
        "held": np.zeros(5),
        "long_max": liquidity,
        "short_max": liquidity,
        "minimum": "forced",
        "position_min": np.ones(5),
        "caps": (Cap("gross", np.ones(5), 250.0),),
        "loss": shocks @ np.linalg.cholesky(matrix).T * VOLATILITY * DURATION,
        "cvar_max": 3.0,
        "cvar_level_frac": 0.95,
    }
    return TreasuryProblem(**{**fields, **changes})


def best_of_patterns(problem: TreasuryProblem, signs: tuple[int, ...]) -> float:
    """Solve one linear program for each pattern of signs, stated over |x|; return the best net."""
    n, m = len(problem.names), len(problem.loss)
    tail = (1.0 - problem.cvar_level_frac) * m
    best = -np.inf
    for pattern in itertools.product(signs, repeat=n):
        s = np.array(pattern, dtype=float)
        high = np.where(s > 0, problem.long_max, np.where(s < 0, problem.short_max, 0.0))
        low = np.where(s == 0, 0.0, problem.position_min)
        if (low > high).any():
            continue
        rows = [np.r_[cap.weight, np.zeros(1 + m)] for cap in problem.caps]
        rows.append(np.r_[np.zeros(n), 1.0, np.full(m, 1.0 / tail)])
        tails = np.hstack([problem.loss * s, -np.ones((m, 1)), -np.eye(m)])
        answer = linprog(
            np.r_[-(problem.edge * s - problem.cost), np.zeros(1 + m)],
            A_ub=np.vstack([*rows, tails]),
            b_ub=np.r_[[cap.bound for cap in problem.caps], problem.cvar_max, np.zeros(m)],
            bounds=[*zip(low, high, strict=True), (None, None), *([(0, None)] * m)],
            method="highs",
        )
        if answer.status == 0:
            best = max(best, -answer.fun)
    return best


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_no_pattern_of_signs_is_better(correlation: float) -> None:
    """Thirty-two linear programs share no code with the mixed one; with 0.9 the best has a short."""
    problem = problem_of(correlation)
    problem = msgspec.structs.replace(problem, loss=problem.loss[:200], loss_fixed=np.zeros(200))
    answer = solve(problem)
    assert answer.status == "optimal"
    assert problem.net(answer.x) == pytest.approx(best_of_patterns(problem, (1, -1)), abs=1e-9)
    assert (answer.x < 0.0).any() == (correlation == 0.9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), minimum=st.sampled_from(["semicontinuous", "forced", "none"]))
def test_random_problems_against_every_pattern(seed: int, minimum: str) -> None:
    """Out, long or short of three names: twenty-seven programs, whatever the edges and limits are."""
    rng = np.random.default_rng(seed)
    problem = problem_of(
        names=("A", "B", "C"),
        edge=rng.normal(0.0, 0.002, 3),
        cost=rng.uniform(0.0, 0.001, 3),
        held=np.zeros(3),
        long_max=rng.uniform(0.5, 100.0, 3),
        short_max=rng.uniform(0.5, 100.0, 3),
        minimum=minimum,
        position_min=np.zeros(3) if minimum == "none" else rng.uniform(0.0, 5.0, 3),
        caps=(Cap("gross", np.ones(3), 60.0), Cap("haircut", rng.uniform(0.0, 0.1, 3), 2.0)),
        loss=rng.normal(0.0, 0.01, (40, 3)),
        cvar_max=1.0,
    )
    answer = solve(problem)
    best = best_of_patterns(problem, (1, -1) if minimum == "forced" else (1, -1, 0))
    if best == -np.inf:
        assert answer.status == "infeasible"
        return
    assert answer.status in {"optimal", "do_not_trade"}
    assert examine(problem, answer.x)[0] == ()
    assert problem.net(answer.x) == pytest.approx(best, abs=1e-8)


def test_shadow_prices_are_what_easing_a_limit_gains() -> None:
    """A price that is not the derivative of the answer would send a desk after the wrong limit."""
    problem = problem_of()
    base = solve(problem)
    assert set(base.shadow_prices) == {"cvar", "liquidity:7Y"}
    eased = solve(msgspec.structs.replace(problem, cvar_max=3.0 + 1e-4))
    gained = problem.net(eased.x) - problem.net(base.x)
    assert gained / 1e-4 == pytest.approx(base.shadow_prices["cvar"], rel=1e-3)
    wider = problem.long_max + np.array([0.0, 1e-3, 0.0, 0.0, 0.0])
    eased = solve(msgspec.structs.replace(problem, long_max=wider))
    gained = problem.net(eased.x) - problem.net(base.x)
    assert gained / 1e-3 == pytest.approx(base.shadow_prices["liquidity:7Y"], rel=1e-2)


def test_cvar_is_the_mean_of_the_worst() -> None:
    """Of ten scenarios at 75% the worst two count whole and the third by half: (10 + 9 + 8/2) / 2.5."""
    one = {"edge": [0.0], "cost": [0.0], "held": [0.0], "long_max": [1.0], "short_max": [1.0]}
    arrays = {name: np.array(value) for name, value in one.items()}
    problem = problem_of(
        names=("A",),
        **arrays,
        position_min=np.zeros(1),
        caps=(),
        loss=np.arange(1.0, 11.0)[:, None],
        cvar_level_frac=0.75,
    )
    assert problem.cvar(np.array([1.0])) == pytest.approx(9.2)
    assert problem.cvar(np.array([-1.0])) == pytest.approx(-(1.0 + 2.0 + 3.0 / 2.0) / 2.5)


def test_what_is_held_stays_when_switching_does_not_pay() -> None:
    """Costs are of trades, so what would not be bought is kept, and is no reason to trade."""
    held = np.array([0.0, 0.0, 0.0, 0.0, 10.0])
    edge = np.array([0.0, 0.0, 0.0, 0.0, 1e-5])  # less than the cost of 3e-5, in and out
    answer = solve(problem_of(edge=edge, held=held, minimum="semicontinuous"))
    assert answer.status == "do_not_trade"
    assert answer.x.tolist() == held.tolist()


def test_a_name_without_room_for_its_minimum_stays_out() -> None:
    """Nothing or at least h: with less than h to trade it is nothing, and forced it is no problem at all."""
    tight = problem_of().long_max.copy()
    tight[4] = 0.5
    changes = {"long_max": tight, "short_max": tight}
    answer = solve(problem_of(minimum="semicontinuous", **changes))
    assert answer.status == "optimal"
    assert answer.x[4] == 0.0
    assert solve(problem_of(minimum="forced", **changes)).status == "infeasible"


def test_what_is_fixed_takes_up_the_cvar() -> None:
    """A frozen position is part of the risk: with half the loss fixed, half the position is left."""
    shocks = np.linspace(-1.0, 1.0, 41)
    one = {"edge": [0.01], "cost": [0.0], "held": [0.0], "long_max": [1e3], "short_max": [1e3]}
    arrays = {name: np.array(value) for name, value in one.items()}
    problem = problem_of(
        names=("A",), **arrays, minimum="none", position_min=np.zeros(1), caps=(), loss=0.01 * shocks[:, None]
    )
    alone = solve(problem)
    fixed = solve(msgspec.structs.replace(problem, loss_fixed=0.5 * problem.loss @ alone.x))
    assert fixed.x == pytest.approx(0.5 * alone.x)


def test_a_trade_stops_at_its_limit() -> None:
    """Ten may be bought a day, so ten are bought, and the limit is the one that is named."""
    answer = solve(problem_of(trade_max=np.array([10.0, 5.0, 5.0, 5.0, 0.0]), minimum="none"))
    assert answer.x.tolist() == [10.0, 5.0, 5.0, 5.0, 0.0]
    assert answer.binding == ("trade:5Y", "trade:7Y", "trade:10Y", "trade:20Y")


def test_every_broken_constraint_is_named() -> None:
    """The check is what stands between a wrong answer and an order: each limit must be able to fail."""
    problem = problem_of(caps=(Cap("gross", np.ones(5), 250.0), Cap("haircut", np.full(5, 0.05), 10.0)))
    broken, _ = examine(problem, np.array([100.0, 90.0, 80.0, 60.1, 0.5]))
    assert broken == ("gross", "haircut", "cvar", "liquidity:20Y", "min_position:30Y")
    broken, _ = examine(problem, np.zeros(5))
    assert broken == tuple(f"min_position:{name}" for name in problem.names)
