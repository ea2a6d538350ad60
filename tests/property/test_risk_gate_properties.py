"""Properties of the gate over random books."""

from __future__ import annotations

import numpy as np
import pytest

from engine.events import TargetApproved, TradingState
from engine.oversight import Change
from engine.ports import Layout
from risk.gate import RiskGate
from risk.var import EllipticalVar, GaussianVarOptions
from tests.support.books import market, pairs_layout

N = 6
LAYOUT = pairs_layout(N, [(0, 1), (1, 2), (3, 4), (0, 4)], [5])
MODEL = EllipticalVar(GaussianVarOptions(scenarios=200), N)
_RNG = np.random.default_rng(17)
_ROOT = 0.01 * (_RNG.standard_normal((N, 1)) + 0.5 * _RNG.standard_normal((N, N)))
MARKET = market(_ROOT @ _ROOT.T)
PRICE = np.array([100.0, 50.0, 20.0, 10.0, 200.0, 1.0])


def _random_legs(rng: np.random.Generator) -> np.ndarray:
    legs = rng.standard_normal(len(LAYOUT.leg_symbol)) * 10.0 ** rng.uniform(3, 6)
    legs[rng.random(len(legs)) < 0.3] = 0.0
    return legs / PRICE[LAYOUT.leg_symbol]


def _upper(layout: Layout, legs: np.ndarray) -> float:
    return MODEL.measure(layout.net(legs) * PRICE, MARKET).var_upper_usd


@pytest.mark.parametrize("seed", range(5))
def test_active_never_exceeds_the_budget_unless_it_reduces(seed: int) -> None:
    """400 changes: what passes meets the budget, or lowers VaR of a book already above it."""
    rng = np.random.default_rng(seed)
    outcomes = set()
    for _ in range(400):
        held, target = _random_legs(rng), _random_legs(rng)
        if rng.random() < 0.3:
            held[:] = 0.0
        budget = float(10.0 ** rng.uniform(3.5, 5.5))
        gate = RiskGate(MODEL, budget)
        answer = gate.judge(0, Change(LAYOUT, held, target, PRICE, MARKET), 1e6, TradingState.ACTIVE, False)
        before = _upper(LAYOUT, held)
        outcomes.add(type(answer).__name__)
        if isinstance(answer, TargetApproved):
            after = _upper(LAYOUT, np.array(answer.leg_quantity))
            assert answer.var_upper_usd == after
            assert after <= budget or (before > budget and after < before)
        else:  # below the budget some step is always possible
            assert before > 0.999 * budget
    assert outcomes == {"TargetApproved", "TargetRefused"}


@pytest.mark.parametrize("seed", range(5))
def test_reducing_never_grows_a_position(seed: int) -> None:
    """1,000 changes: in REDUCING VaR falls strictly, and no net position grows or changes its sign."""
    rng = np.random.default_rng(100 + seed)
    gate = RiskGate(MODEL, 1e12)
    approved = 0
    for _ in range(1000):
        held = _random_legs(rng)
        fraction = rng.choice([-0.5, 0.0, 0.3, 1.0, 1.2], LAYOUT.n_sleeves, p=[0.1, 0.3, 0.3, 0.2, 0.1])
        target = held * fraction[LAYOUT.leg_sleeve]
        verdict = gate.recheck(Change(LAYOUT, held, target, PRICE, MARKET), TradingState.REDUCING, False)
        if verdict.reason:
            continue
        approved += 1
        after = held + verdict.scale * (target - held)
        before_net, after_net = LAYOUT.net(held), LAYOUT.net(after)
        assert _upper(LAYOUT, after) < _upper(LAYOUT, held)
        slack = 1e-8 * (1.0 + np.abs(before_net))
        assert (np.abs(after_net) <= np.abs(before_net) + slack).all()
        assert (after_net * np.sign(before_net) >= -slack).all()
    assert approved > 100


@pytest.mark.parametrize("state", [TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED])
def test_full_flatten_always_passes(state: TradingState) -> None:
    """Whatever the book and the state, a signed order to hold nothing is let through."""
    rng = np.random.default_rng(3)
    gate = RiskGate(MODEL, 1.0)
    for _ in range(300):
        held = _random_legs(rng)
        held[0] += 1.0
        verdict = gate.recheck(Change(LAYOUT, held, np.zeros_like(held), PRICE, MARKET), state, True)
        assert (verdict.reason, verdict.scale.min()) == ("", 1.0)
