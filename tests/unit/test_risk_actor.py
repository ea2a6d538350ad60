"""The risk desk: when it refreshes, and that a snapshot continues bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.events import BarSlice
from engine.oversight import RiskDesk
from risk.actor import CovarianceOptions, RiskActor
from risk.var import EllipticalVar, GaussianVarOptions

SYMBOLS = ("A", "B", "C")
MODEL = EllipticalVar(GaussianVarOptions(), 3)


def _actor() -> RiskActor:
    return RiskActor(CovarianceOptions(cov_refresh_min=10), MODEL, SYMBOLS, 25)


def _tape(sessions: int, seed: int = 0) -> list[BarSlice]:
    rng = np.random.default_rng(seed)
    price, tape = np.array([50.0, 80.0, 20.0]), []
    for session in range(sessions):
        for minute in range(1, 26):
            opens = price * np.exp(0.01 * rng.standard_normal(3) * (minute == 1))
            price = opens * np.exp(0.001 * rng.standard_normal(3))
            bars = np.array([opens, np.maximum(opens, price), np.minimum(opens, price), price, np.ones(3)])
            if minute % 7 == 0:
                bars[:, 1] = np.nan
            tape.append(BarSlice((session * 1440 + minute) * 60_000_000_000, session, minute, bars))
    return tape


def _bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bits(part) for key, part in value.items()}
    return value.tobytes() if isinstance(value, np.ndarray) else value


def test_starts_knowing_nothing_and_is_a_risk_desk() -> None:
    """Before the first bar a flat book is 0 and any other is unknown: fail closed from the start."""
    desk: RiskDesk = _actor()
    assert desk.measure(np.zeros(3)).var_usd == 0.0
    assert desk.measure(np.array([1.0, 0.0, 0.0])).reason == "COV_MISSING_SYMBOL"


def test_factor_follows_its_schedule() -> None:
    """Between refreshes VaR keeps its factor: at session opens and every tenth minute it moves."""
    actor, moved = _actor(), []
    for slice_ in _tape(4):
        before = actor.market
        actor.observe(slice_)
        if actor.market is not before:
            moved.append((slice_.session, slice_.minute))
    assert moved == [(session, minute) for session in range(4) for minute in (1, 10, 20)]


def test_refresh_between_bars_changes_no_later_bit() -> None:
    """A solve refreshes when it likes: the sums, and so every later scheduled factor, are unmoved by it."""
    plain, curious = _actor(), _actor()
    for slice_ in _tape(4):
        plain.observe(slice_)
        curious.observe(slice_)
        curious.refresh()
        if slice_.minute in {1, 10, 20}:
            assert _bits(plain.state()) == _bits(curious.state())
    assert plain.market.known.all()


def test_refresh_without_news_does_no_work() -> None:
    """Two solves after one slice share one factorisation."""
    actor = _actor()
    actor.observe(_tape(1)[1])
    actor.refresh()
    market = actor.market
    actor.refresh()
    assert actor.market is market


@pytest.mark.parametrize("cut", [1, 33, 60, 77])
def test_snapshot_continues_bit_for_bit(cut: int) -> None:
    """Recovery is snapshot plus tail: the same state and the same VaR as the run that never stopped."""
    tape, book = _tape(4), np.array([1e5, -8e4, 3e4])
    straight = _actor()
    for slice_ in tape[:cut]:
        straight.observe(slice_)
    snapshot = straight.state()
    frozen = _bits(snapshot)
    resumed = _actor()
    resumed.restore(snapshot)
    for slice_ in tape[cut:]:
        straight.observe(slice_)
        resumed.observe(slice_)
        np.testing.assert_array_equal(straight.measure(book), resumed.measure(book))
    assert _bits(straight.state()) == _bits(resumed.state())
    assert _bits(snapshot) == frozen


def test_snapshot_between_refreshes_knows_that_it_is_stale() -> None:
    """A solve right after a restart must see the bars since the last factor, as it would have without one."""
    actor, resumed = _actor(), _actor()
    for slice_ in _tape(4)[:-1]:
        actor.observe(slice_)
    resumed.restore(actor.state())
    actor.refresh()
    resumed.refresh()
    assert _bits(actor.state()) == _bits(resumed.state())


def test_price_that_never_moves_is_not_riskless() -> None:
    """A frozen feed has variance 0: nothing is known of such a symbol, so nothing may hold it."""
    actor = _actor()
    for slice_ in _tape(4):
        slice_.bars[:4, 2] = 20.0
        actor.observe(slice_)
    assert actor.market.known.tolist() == [True, True, False]
    assert actor.measure(np.array([0.0, 0.0, 5.0])).reason == "COV_MISSING_SYMBOL"
    assert actor.measure(np.array([1e5, 0.0, 0.0])).var_usd > 0.0


def test_broken_sums_are_not_trusted() -> None:
    """If memory or a snapshot is damaged the covariance says so; it is not repaired and traded on."""
    actor = _actor()
    for slice_ in _tape(4):
        actor.observe(slice_)
    state = actor.state()
    state["estimate"]["minute_sum"][1, 0] = 1.0
    state["is_fresh"] = False
    actor.restore(state)
    actor.refresh()
    assert actor.market.reason == "COV_NOT_PSD"
    assert actor.measure(np.array([1.0, 0.0, 0.0])).reason == "COV_NOT_PSD"


def test_options_cannot_switch_shrinkage_off() -> None:
    """Without any shrinkage two identical names make a singular factor on every bar."""
    with pytest.raises(ValueError, match=r"greater than or equal to 0\.000001"):
        CovarianceOptions(shrink_frac=0.0)
