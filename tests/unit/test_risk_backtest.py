"""Backtests of VaR against verified numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from risk.backtest import (
    acerbi_szekely,
    backtest,
    basel_zone,
    christoffersen,
    conditional_coverage,
    kupiec,
    power,
)
from tests.support.books import golden_var

GOLDEN = golden_var()
BACKTEST = GOLDEN["backtest"]


@pytest.mark.parametrize("count", range(13))
def test_kupiec(count: int) -> None:
    """Accept 1 to 6 exceptions in 250 days, reject 0 and 7 (statistic and p-value at 1e-9)."""
    expect = BACKTEST["kupiec_T250"][str(count)]
    test = kupiec(count, 250, 0.01)
    assert test.statistic == pytest.approx(expect["LR_pof"], rel=1e-9)
    assert test.p_value == pytest.approx(expect["p_value"], rel=1e-9)
    assert (test.p_value < 0.05) is expect["reject_5pct"]


@pytest.mark.parametrize("count", range(11))
def test_basel(count: int) -> None:
    """The regulator's traffic light: zone, plus factor, probability (1e-12)."""
    expect = BACKTEST["basel_T250"][count]
    zone = basel_zone(count, 250)
    assert (zone.zone, zone.plus_factor) == (expect["zone"], expect["plus_factor"])
    assert zone.cumulative_probability == pytest.approx(expect["cum_prob"], rel=1e-12)


@pytest.mark.parametrize("case", BACKTEST["christoffersen"])
def test_christoffersen(case: dict[str, object]) -> None:
    """Five exceptions in a row are not five spread over two years, though Kupiec cannot tell (1e-9)."""
    hits = np.zeros(case["T"], dtype=bool)
    hits[case["exceptions_at"]] = True
    test = christoffersen(hits)
    assert test.statistic == pytest.approx(case["LR_ind"], rel=1e-9)
    if "p_value" in case:
        assert test.p_value == pytest.approx(case["p_value"], rel=1e-6)


def test_conditional_coverage_joins_the_two() -> None:
    """Statistics add up; χ² with two degrees of freedom has P(> x) = exp(−x/2): 7 in 250, none in a row."""
    hits = np.zeros(250, dtype=bool)
    hits[10:250:40] = True
    assert hits.sum() == 6
    coverage, independence = kupiec(6, 250, 0.01), christoffersen(hits)
    both = conditional_coverage(coverage, independence)
    assert both.statistic == pytest.approx(coverage.statistic + independence.statistic, rel=1e-15)
    assert both.p_value == pytest.approx(math.exp(-0.5 * both.statistic), rel=1e-15)
    assert both.p_value == pytest.approx(0.1460, abs=2e-3)


@pytest.mark.parametrize("rate", BACKTEST["power_T250_true_rate"])
def test_power(rate: str) -> None:
    """A year of data catches a doubled rate in 56 of 100 cases: the reader should know (1e-9)."""
    expect = BACKTEST["power_T250_true_rate"][rate]
    assert power(250, float(rate), 5) == pytest.approx(expect["P(reject green i.e. >=5)"], rel=1e-9)
    assert power(250, float(rate), 10) == pytest.approx(expect["P(red >=10)"], rel=1e-9)
    assert power(250, float(rate), 0) == 1.0


def test_backtest_leaves_flat_and_unknown_days_out() -> None:
    """Flat days would dilute the exception rate of the days that carried risk."""
    var_usd = np.array([100.0, 0.0, 100.0, np.nan, 100.0])
    pnl_usd = np.array([-101.0, -500.0, -99.0, -500.0, -100.0])
    verdict = backtest(var_usd, pnl_usd, 0.99)
    assert (verdict.days, verdict.exceptions, verdict.unknown_days) == (3, 1, 1)
    assert verdict.power_at_2x == pytest.approx(1.0 - 0.98**3)


def test_short_backtest_prints_its_power_and_a_long_one_does_not() -> None:
    """Under a year the power goes with the verdict, since the verdict says little."""
    assert math.isnan(backtest(np.full(250, 1.0), np.zeros(250), 0.99).power_at_2x)
    assert backtest(np.full(249, 1.0), np.zeros(249), 0.99).power_at_2x == pytest.approx(0.56, abs=0.02)


def test_empty_backtest_is_no_verdict() -> None:
    """A run that never held anything must still write its report."""
    verdict = backtest(np.zeros(5), np.zeros(5), 0.99)
    assert (verdict.days, verdict.kupiec.p_value, verdict.christoffersen.p_value) == (0, 1.0, 1.0)


def test_acerbi_szekely_by_hand() -> None:
    """One day of four beyond VaR at twice its ES, at 25%: -2/(4 x 0.25) + 1 = -1."""
    pnl = np.array([-200.0, 10.0, -40.0, 5.0])
    assert acerbi_szekely(pnl, np.full(4, 50.0), np.full(4, 100.0), 0.25) == pytest.approx(-1.0)
