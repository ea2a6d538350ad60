"""Correlation regimes: the window, the two levels, and what is said about neutrality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import ConfigError
from engine.events import BarSlice, FloatArray, Side, Signal, SpreadNoted
from engine.ports import StrategyContext
from strategies.correlation import Correlation, CorrelationOptions, correlation
from tests.support.tapes import random_closes, slices_of

NAN = float("nan")


def strategy_of(session_min: int = 390, bar_min: int = 1_440, **options: Any) -> Correlation:
    context = StrategyContext(
        "regime", ("AAA", "BBB"), horizon_min=30.0, session_min=session_min, bar_min=bar_min
    )
    return Correlation(CorrelationOptions.model_validate({"pairs": ["AAA/BBB"], **options}), context)


def prices(y_returns: list[float], x_returns: list[float]) -> FloatArray:
    """Return closes of both, shape (n + 1, 2), from 100 on."""
    steps = 1.0 + np.array([y_returns, x_returns]).T
    return 100.0 * np.cumprod(np.vstack([np.ones((1, 2)), steps]), axis=0)


def daily(closes: FloatArray) -> list[BarSlice]:
    """Return one session a row."""
    return slices_of(closes, session_min=1)


def test_a_correlation_by_hand() -> None:
    """Of 1, 0, -1 with 1, -2, 1: covariance 0; with 2, 0, -2: 1; a leg that stands still has none."""
    y = [1.0, 0.0, -1.0]
    windows = np.array([[y, y, y, y], [[1.0, -2.0, 1.0], [2.0, 0.0, -2.0], [5.0, 5.0, 5.0], [1.0, 0.0, NAN]]])
    np.testing.assert_allclose(correlation(windows), [0.0, 1.0, NAN, NAN], atol=1e-15)


def test_the_window_against_numpy() -> None:
    """Whatever slot of the ring is written, the last W returns count, and those of before leave no trace."""
    closes = random_closes(5, 120, 0.0)[:, :2]
    returns = closes[1:] / closes[:-1] - 1.0
    strategy = strategy_of()
    for t, slice_ in enumerate(daily(closes)):
        strategy.on_slice(slice_)
        expected = np.corrcoef(returns[t - 60 : t].T)[0, 1] if t >= 60 else NAN
        np.testing.assert_allclose(strategy.outlook().z[0], expected, rtol=1e-12)


def test_between_the_levels_what_is_held_is_held() -> None:
    """Of three returns: 1 enters, root 3/4 keeps, -1/2 leaves, 0 does not enter again."""
    y = [0.01, 0.00, -0.01, 0.01, 0.00, -0.01, 0.01]
    x = [0.01, 0.00, -0.01, 0.00, -0.01, 0.01, 0.01]
    strategy = strategy_of(bar_min=1, session_min=1_440, window_min=3, entry_corr=0.9, exit_corr=-0.4)
    seen = []
    for slice_ in slices_of(prices(y, x), session_min=1_440):
        signals = [s for s in strategy.on_slice(slice_) if isinstance(s, Signal)]
        seen.append((round(strategy.outlook().z.item(0), 2), [s.side for s in signals]))
    assert seen[3:] == [(1.0, [Side.SHORT]), (0.87, []), (0.87, []), (-0.5, [Side.FLAT]), (0.0, [])]


def test_it_says_once_that_it_is_not_neutral() -> None:
    """Whoever reads the run must not take two short legs for a hedge."""
    first, second = daily(prices([0.01], [0.01]))
    strategy = strategy_of()
    assert strategy.on_slice(first) == [
        SpreadNoted(first.ts_close_ns, "regime", "AAA/BBB", "not_neutral", {"net_frac_of_gross": -1.0})
    ]
    assert strategy.on_slice(second) == []
    outlook = strategy.outlook()
    assert outlook.usd_ratio.tolist() == outlook.frozen_usd_ratio.tolist() == [-1.0]
    assert outlook.expected_return_frac.tolist() == [0.0]


def test_a_night_is_no_minute() -> None:
    """Prices that only move together overnight are uncorrelated by the minute."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0.0, 1e-3, (200, 2))
    noise[::20] = 0.1
    closes = 100.0 * np.exp(np.cumsum(noise, axis=0))
    by_minute = strategy_of(session_min=20, bar_min=1, window_min=100)
    by_clock = strategy_of(session_min=1_440, bar_min=1, window_min=100)
    for slice_ in slices_of(closes, session_min=20):
        by_minute.on_slice(slice_)
        by_clock.on_slice(slice_)
    assert abs(by_minute.outlook().z[0]) < 0.3
    assert by_clock.outlook().z[0] > 0.9


def test_a_return_spans_the_same_time_for_both() -> None:
    """A leg without a bar takes the other with it: half a step against a whole one would look unrelated."""
    y = [0.01, -0.02, 0.03, -0.01, 0.02, 0.01]
    closes = prices(y, y)
    closes[3, 1] = NAN
    strategy = strategy_of(bar_min=1, session_min=1_440, window_min=5)
    for slice_ in slices_of(closes, session_min=1_440):
        strategy.on_slice(slice_)
        if slice_.minute == 4:
            assert np.isnan(strategy.outlook().z[0])
    assert strategy.outlook().z[0] == pytest.approx(1.0)


def test_levels_in_the_wrong_order_are_refused() -> None:
    """An exit above the entry would trade on every bar."""
    with pytest.raises(ValidationError, match="exit_corr must be below entry_corr"):
        strategy_of(exit_corr=0.3)


def test_a_window_of_one_bar_is_refused() -> None:
    """Sixty minutes are one daily bar: the window was meant otherwise."""
    with pytest.raises(ConfigError, match="window_min = 60 is 1 of this run's bars") as caught:
        strategy_of(window_min=60)
    assert caught.value.code == "C222"
