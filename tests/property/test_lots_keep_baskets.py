"""Lots change what they must and nothing else: a rebalance keeps to one fraction, whatever is rounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sizing import fillable

LEG_SYMBOL, LEG_SLEEVE = np.array([0, 1, 1, 2, 3]), np.array([0, 0, 1, 1, 2])
EVERY_LOT = np.array([1.0, 10.0, 0.1, 0.0])
seeds = st.integers(0, 2**32 - 1)


def minute_of(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw what is held and wanted of A/B and B/C, with nothing in D, and a minute of thin volumes."""
    rng = np.random.default_rng(seed)
    held, target = np.append(rng.normal(0, 100, (2, 4)), np.zeros((2, 1)), axis=1)
    bars = np.full((5, 4), 10.0)
    bars[4] = np.append(rng.uniform(100, 1_500, 3), 1e6)
    return held, target, bars


def filled(held, target, bars, lot, by_sleeve) -> np.ndarray:
    """Return what one minute makes of a target."""
    reached = np.empty(5)
    fillable(held, target, LEG_SYMBOL, LEG_SLEEVE, LEG_SLEEVE, 3, bars, 0.1, lot, by_sleeve, reached)
    return reached


@pytest.mark.parametrize("by_sleeve", [True, False])
@given(seed=seeds)
@settings(max_examples=400, deadline=None)
def test_lots_of_what_does_not_trade_change_nothing(by_sleeve, seed) -> None:
    """To the last bit: a last bit beyond the room once broke a rebalance into legs of a direction."""
    held, target, bars = minute_of(seed)
    plain = filled(held, target, bars, np.zeros(4), by_sleeve)
    idle = filled(held, target, bars, np.array([0.0, 0.0, 0.0, 1.0]), by_sleeve)
    assert idle.tolist() == plain.tolist()


@given(seed=seeds)
@settings(max_examples=400, deadline=None)
def test_a_rebalance_in_lots_lags_one_fraction_by_lots_alone(seed) -> None:
    """Every sleeve is on the one way from held to target, short of it by no more than its coarsest lot."""
    held, target, bars = minute_of(seed)
    reached = filled(held, target, bars, EVERY_LOT, False)
    step, done = target - held, reached - held
    bought, sold = (np.bincount(LEG_SYMBOL, np.maximum(sign * step, 0.0), 4) for sign in (1, -1))
    wanted = [np.abs(bought - sold), np.maximum(bought, sold)]  # net, and without counting on it to net
    fractions = [min(1.0, (0.1 * bars[4] / np.maximum(shares, 1e-12)).min()) for shares in wanted]
    assert (np.abs(np.bincount(LEG_SYMBOL, done, 4)) <= 0.1 * bars[4] * (1.0 + 1e-9)).all()
    lot = EVERY_LOT[LEG_SYMBOL]
    coarsest = np.array([np.max(lot[k == LEG_SLEEVE] / np.abs(step[k == LEG_SLEEVE])) for k in (0, 1)])
    lag = np.append(coarsest.repeat(2), 0.0) * np.abs(step) + 0.5 * lot
    assert any(
        (np.abs(done) <= share * np.abs(step) + 1e-9).all()
        and (share * np.abs(step) - np.abs(done) <= lag + 1e-9).all()
        for share in fractions
    )


def test_a_neutral_rebalance_stays_neutral() -> None:
    """Room for 61 of 364 shares of the first leg cuts the second to the same sixth, idle lots or none."""
    held, target = np.array([-84.93, 80.24, 0.0, 0.0, 0.0]), np.array([279.0, -279.0, 0.0, 0.0, 0.0])
    bars = np.full((5, 4), 10.0)
    bars[4] = [610.0, 1e6, 1e6, 1e6]
    share = 61.0 / (279.0 + 84.93)
    for lot in (0.0, 1.0):
        reached = filled(held, target, bars, np.array([0.0, 0.0, 0.0, lot]), False)
        assert reached[:2] == pytest.approx([-23.93, 80.24 - share * 359.24], rel=1e-12)
