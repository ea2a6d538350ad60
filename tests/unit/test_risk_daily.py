"""Daily returns of a universe: what a day is worth when bars, closes or whole sessions are missing."""

from __future__ import annotations

import math

import numpy as np

from engine.events import BarSlice
from engine.ports import DailyHistory
from risk.actor import CovarianceOptions, RiskActor
from risk.daily import DailyReturns, log_returns
from risk.filtered import FilteredHistoricalVarOptions, build_filtered_historical
from risk.rolling import market_of_days, one_day_pnl_usd, roll
from risk.var import GaussianVarOptions, build_gaussian

NAN = math.nan
SYMBOLS = ("A", "B", "C")
HISTORY = DailyHistory(
    ("B", "A"), np.arange(4), np.array([[10.0, NAN], [11.0, 100.0], [NAN, 110.0], [12.1, 99.0]])
)


def _bar(session: int, minute: int, opens: list[float], closes: list[float]) -> BarSlice:
    bars = np.array([opens, closes, opens, closes, [1.0] * len(opens)])
    return BarSlice((session * 1440 + minute) * 60_000_000_000, session, minute, bars)


def test_history_carries_a_missing_day() -> None:
    """A day without a close is a return of 0 and the next catches up; before the first there is nothing."""
    found = log_returns(SYMBOLS, HISTORY)
    expect = np.log([[NAN, 1.1, NAN], [1.1, 1.0, NAN], [0.9, 1.1, NAN]])
    np.testing.assert_allclose(found, expect, rtol=1e-12)
    assert log_returns(SYMBOLS, None).shape == (0, 3)


def test_sessions_follow_the_history() -> None:
    """A first session counts from its own open: history is adjusted, bars are not."""
    daily = DailyReturns(SYMBOLS, HISTORY, 10)
    ended = [
        daily.observe(_bar(7, 1, [50.0, NAN, 5.0], [51.0, NAN, 5.0])),
        daily.observe(_bar(7, 2, [51.0, NAN, 5.0], [55.0, NAN, 6.0])),
        daily.observe(_bar(8, 1, [56.0, 20.0, NAN], [57.0, 20.0, NAN])),
        daily.observe(_bar(8, 2, [57.0, 20.0, NAN], [66.0, 22.0, NAN])),
        daily.observe(_bar(9, 1, [66.0, 22.0, 6.0], [66.0, 22.0, 9.0])),
    ]
    assert ended == [False, False, True, False, True]
    assert len(daily.returns) == 5
    np.testing.assert_allclose(daily.returns[3], np.log([1.1, 1.0, 1.2]), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(daily.returns[4], np.log([1.2, 1.1, 1.0]), rtol=1e-12, atol=1e-15)
    daily.observe(_bar(10, 1, [NAN, NAN, NAN], [NAN, NAN, NAN]))
    np.testing.assert_allclose(daily.returns[5], np.log([1.0, 1.0, 1.5]), rtol=1e-12, atol=1e-15)


def test_only_the_newest_days_are_kept() -> None:
    """A run of years must not grow."""
    daily = DailyReturns(SYMBOLS, HISTORY, 2)
    for session in range(5):
        daily.observe(_bar(session, 1, [1.0] * 3, [1.0] * 3))
    assert daily.returns.shape == (2, 3)


def _tape(sessions: int) -> list[BarSlice]:
    rng = np.random.default_rng(0)
    price, tape = np.array([50.0, 80.0, 20.0]), []
    for session in range(sessions):
        for minute in (1, 2, 3):
            opens = price * np.exp(0.01 * rng.standard_normal(3) * (minute == 1))
            price = opens * np.exp(0.005 * rng.standard_normal(3))
            tape.append(_bar(session, minute, opens.tolist(), price.tolist()))
    return tape


def _actor() -> RiskActor:
    options = FilteredHistoricalVarOptions(
        confidence=0.9, window_days=40, scenarios=200, horizon_days=2, refit_sessions=3
    )
    return RiskActor(CovarianceOptions(), build_filtered_historical(options, SYMBOLS), SYMBOLS, 3)


def test_the_desk_warms_up_and_prepares_once_a_session() -> None:
    """Nothing is known until the window is full; then scenarios change at session starts and only there."""
    actor, changed, seen = _actor(), [], None
    for slice_ in _tape(43):
        actor.observe(slice_)
        assert actor.market.known.all() == (slice_.session >= 40)
        if actor.market.scenarios is not seen:
            changed.append((slice_.session, slice_.minute))
        seen = actor.market.scenarios
    assert changed == [(0, 1), *((session, 1) for session in range(1, 43))]
    assert actor.measure(np.array([1e5, -5e4, 2e4])).var_usd > 0.0


def test_a_snapshot_of_scenarios_continues_bit_for_bit() -> None:
    """A restart in the middle of a session must not fit again, nor draw again, nor differ."""
    tape, book = _tape(46), np.array([1e5, -5e4, 2e4])
    straight, resumed = _actor(), _actor()
    for slice_ in tape[: 3 * 41 + 2]:
        straight.observe(slice_)
    resumed.restore(straight.state())
    for slice_ in tape[3 * 41 + 2 :]:
        straight.observe(slice_)
        resumed.observe(slice_)
        assert straight.measure(book) == resumed.measure(book)
        assert straight.market.scenarios.tobytes() == resumed.market.scenarios.tobytes()
    assert straight.measure(book).reason == ""


def test_rolling_by_hand_looks_only_back() -> None:
    """Two days of 1% and 3%: σ² is their mean square, the next day's P&L is w (e^r − 1) (1e-5, shrunk)."""
    returns = np.array([[0.01], [-0.03], [0.02], [-0.05]])
    held = np.array([[0.0], [0.0], [1_000.0], [2_000.0]])
    model = build_gaussian(GaussianVarOptions(horizon_days=1), ("A",))
    found = roll(model, returns, held, 2)
    z = model.z_horizon
    report = model.measure(held[2], market_of_days(returns[:2]))
    assert report.var_analytic_usd == 1_000.0 * z * math.sqrt((0.01**2 + 0.03**2) / 2)
    assert found.var_usd[0] == report.var_usd
    np.testing.assert_allclose(
        found.pnl_usd, [1_000 * math.expm1(0.02), 2_000 * math.expm1(-0.05)], rtol=1e-12
    )
    changed = returns.copy()
    changed[3] = 9.0
    assert roll(model, changed, held, 2).var_usd.tolist() == found.var_usd.tolist()


def test_what_is_not_held_does_not_matter_to_pnl() -> None:
    """0 x NaN is NaN: a symbol without a close must not erase a day of the others."""
    earned = one_day_pnl_usd(np.array([1e3, 0.0]), np.array([math.log(1.01), NAN]))
    np.testing.assert_allclose(earned, 10.0, rtol=1e-12)
