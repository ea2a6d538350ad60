"""Performance figures: hand-computed, against empyrical, and the same however the curve is cut."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.app.replay.statistics import (
    EquityStatistics,
    periods_per_year,
    round_trips_usd,
    turnover_frac,
    win_rate_frac,
)
from engine.events import FloatArray, IntArray

MINUTE = 60_000_000_000
DAY = 86_400_000_000_000
XNYS = 252.0 * 390.0
GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "metrics.json").read_text())


def stamps(sessions: int, minutes: int) -> IntArray:
    return np.array([d * DAY + (871 + m) * MINUTE for d in range(sessions) for m in range(minutes)])


def measured(ts_ns: IntArray, equity_usd: FloatArray, periods: float = XNYS) -> EquityStatistics:
    statistics = EquityStatistics(periods)
    statistics.update(ts_ns, equity_usd)
    return statistics


def walk(n: int, seed: int = 0) -> FloatArray:
    returns = np.random.default_rng(seed).normal(1e-5, 3e-4, n)
    returns[:: max(n // 50, 1)] = 0.0
    return np.asarray(1e6 * np.cumprod(1.0 + returns), dtype=np.float64)


def test_golden_return_and_drawdown() -> None:
    """Ten known bars: the drawdown is 1 - 995,000 / 1,004,000, a positive loss. Tolerance 1e-15."""
    equity = np.array(GOLDEN["equity_usd"], dtype=np.float64)
    statistics = measured(stamps(1, 10), equity)
    assert statistics.max_drawdown_frac == pytest.approx(GOLDEN["max_drawdown"], abs=1e-15)
    assert statistics.total_return_frac == pytest.approx(0.006, abs=1e-15)
    assert statistics.mean_equity_usd == pytest.approx(1_001_300.0, abs=1e-9)


def test_golden_sharpe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine known returns, the flat one included, ddof 1, times sqrt(98,280). Tolerance 1e-12 relative."""
    monkeypatch.setattr("engine.app.replay.statistics.SESSIONS_MIN", 1)
    statistics = measured(stamps(1, 10), np.array(GOLDEN["equity_usd"], dtype=np.float64))
    assert statistics.sharpe == pytest.approx(GOLDEN["sharpe"], rel=1e-12)
    returns = np.array(GOLDEN["returns_simple"])
    assert returns.mean() / returns.std(ddof=1) * GOLDEN["sharpe_factor"] == pytest.approx(
        GOLDEN["sharpe"], rel=1e-12
    )


def test_sharpe_and_drawdown_agree_with_empyrical() -> None:
    """A second opinion on 25 sessions with flat bars and nights. Tolerance 1e-10 relative."""
    equity = walk(25 * 390)
    statistics = measured(stamps(25, 390), equity)
    returns = np.diff(equity) / equity[:-1]
    assert statistics.sharpe == pytest.approx(empyrical.sharpe_ratio(returns, annualization=XNYS), rel=1e-10)
    assert statistics.max_drawdown_frac == pytest.approx(empyrical.max_drawdown(returns), rel=1e-10)
    assert statistics.total_return_frac == pytest.approx(empyrical.cum_returns_final(returns), rel=1e-10)


def test_nineteen_sessions_are_too_few_and_twenty_enough() -> None:
    """Five days cannot carry a Sharpe ratio; the threshold is a promise, so it is tested on both sides."""
    assert measured(stamps(19, 10), walk(190)).sharpe is None
    assert measured(stamps(19, 10), walk(190)).sharpe_reason == "19 sessions (needs 20)"
    statistics = measured(stamps(20, 10), walk(200))
    assert statistics.sharpe is not None
    assert statistics.sharpe_reason == ""


def test_standard_error_is_that_of_the_years_seen() -> None:
    """A year of minutes gives 1.0, a quarter 2.0: the error shrinks with the root of time."""
    quarter = stamps(63, 390)
    statistics = measured(quarter, walk(len(quarter)))
    assert statistics.sharpe_se == pytest.approx(math.sqrt(XNYS / (63 * 390 - 1)), rel=1e-15)
    assert statistics.sharpe_se == pytest.approx(2.0, abs=1e-4)


def test_reasons_for_no_sharpe() -> None:
    """A ratio over nothing, over a hole, or over ruin would be a number without a meaning."""
    ts = stamps(20, 5)
    assert measured(ts, np.full(100, 1e6)).sharpe_reason == "equity did not move"
    holed = walk(100)
    holed[50] = np.nan
    assert measured(ts, holed).sharpe_reason == "equity was unknown on 1 bar"
    ruined = walk(100)
    ruined[70:] = 0.0
    assert measured(ts, ruined).sharpe_reason == "equity fell to zero or below"
    assert measured(ts, ruined).max_drawdown_frac == -1.0
    assert measured(ts, ruined).total_return_frac == -1.0


def test_without_bars_nothing_is_claimed() -> None:
    """A run of signals only has no equity: NaN and reasons, never zero."""
    statistics = EquityStatistics(XNYS)
    statistics.update(np.array([], dtype=np.int64), np.array([]))
    assert math.isnan(statistics.total_return_frac)
    assert math.isnan(statistics.max_drawdown_frac)
    assert math.isnan(statistics.mean_equity_usd)
    assert statistics.sharpe_se == math.inf
    assert statistics.sharpe_reason == "there is no equity curve"


def test_sessions_end_with_their_last_bar() -> None:
    """A bar that ends at midnight UTC belongs to the day before it: 24/7 sessions must not gain a day."""
    ts = np.array([DAY - MINUTE, DAY, DAY + MINUTE, 2 * DAY])
    statistics = measured(ts, np.array([100.0, 101.0, 102.0, 103.0]))
    assert statistics.session_days == [0, 1]
    assert statistics.session_closes_usd == [101.0, 103.0]


@given(
    equity=st.lists(st.floats(1e3, 1e7), min_size=1, max_size=120),
    cuts=st.lists(st.integers(0, 120), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_chunks_do_not_matter(equity: list[float], cuts: list[int]) -> None:
    """The run folder hands over chunks of its own size: figures may not depend on it (1e-9 relative)."""
    ts, curve = stamps(30, 4)[: len(equity)], np.array(equity)
    whole, parts = measured(ts, curve), EquityStatistics(XNYS)
    edges = [0, *sorted(min(c, len(equity)) for c in cuts), len(equity)]
    for start, stop in pairwise(edges):
        parts.update(ts[start:stop], curve[start:stop])
    assert parts.max_drawdown_frac == whole.max_drawdown_frac
    assert parts.total_return_frac == whole.total_return_frac
    assert parts.session_days == whole.session_days
    assert parts.session_closes_usd == whole.session_closes_usd
    assert parts.sharpe_reason == whole.sharpe_reason
    if whole.sharpe is not None:
        assert parts.sharpe == pytest.approx(whole.sharpe, rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(1e3, 1e7), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_drawdown_is_a_fraction(equity: list[float]) -> None:
    """A loss of a positive curve lies in [0, 1), and is at least the loss from first to last."""
    statistics = measured(stamps(15, 4)[: len(equity)], np.array(equity))
    assert -1.0 < statistics.max_drawdown_frac <= 0.0
    assert statistics.max_drawdown_frac <= statistics.total_return_frac + 1e-12


def test_zero_is_not_a_win() -> None:
    """Of 120, -40, 0, 75.5 and -10 two of five won; leaving the zero out would flatter."""
    assert win_rate_frac(np.array(GOLDEN["trades_pnl_usd"])) == GOLDEN["win_rate"]
    assert win_rate_frac(np.array([])) is None


def test_turnover() -> None:
    """Buys and sells both count: 2.5 million traded on a mean of one million is 2.5."""
    assert turnover_frac(2.5e6, 1e6) == 2.5
    assert math.isnan(turnover_frac(1.0, math.nan))


def test_round_trips_run_from_flat_to_flat() -> None:
    """The entry's cost is in the first held bar and belongs to the trip: 97 - 100, then 104 - 97."""
    equity = np.array([100.0, 99.0, 98.0, 97.0, 97.0, 110.0, 104.0, 104.0, 90.0])
    gross = np.array([0.0, 50.0, 50.0, 0.0, 0.0, 80.0, 0.0, 0.0, 10.0])
    assert round_trips_usd(equity, gross).tolist() == [-3.0, 7.0]


def test_round_trips_leave_out_what_was_not_seen_whole() -> None:
    """A position that was there at the start, or still is at the end, has no P&L of its own yet."""
    assert len(round_trips_usd(np.array([100.0, 101.0, 102.0]), np.array([5.0, 0.0, 5.0]))) == 0
    assert len(round_trips_usd(np.array([]), np.array([]))) == 0


def test_periods_per_year_follow_the_calendar() -> None:
    """A Sharpe ratio annualised with another market's hours is wrong by a constant factor."""
    assert periods_per_year("24/7") == 525_600.0
    assert periods_per_year("XNYS") == 98_280.0
    # London trades from 08:00 to 16:30.
    assert periods_per_year("XLON") == 252.0 * 510.0
