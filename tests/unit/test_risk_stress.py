"""Stress tests and the split of VaR, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.errors import InvariantError
from engine.ports import Layout, Spread
from risk.attribution import attribute
from risk.stress import hedges_fail, k_sigma, named_stretch, sigma_usd, stretch_losses_usd, worst_stretches
from risk.var import EllipticalVar, GaussianVarOptions
from tests.support.books import covariance_of, golden_var, market

BOOK = np.array([600_000.0, -400_000.0, 0.0])
COVARIANCE = covariance_of([0.015, 0.025, 0.5], [[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 1.0]])
Z = 2.3263478740408408


def test_three_sigma_is_more_than_var() -> None:
    """A 10-day VaR of 11.86% means three sigma cost 15.29% of capital: a third is not absorbed by it."""
    sigma_10d = 0.118596 / Z
    loss = k_sigma(np.array([1e6]), np.array([[sigma_10d**2 / 10.0]]), 10.0, [3.0])[0]
    assert loss.loss_usd / 1e6 == pytest.approx(0.15294, abs=5e-6)
    assert loss.name == "3 sigma over 10 days"


def test_sigma_is_that_of_var() -> None:
    """All golden books: z √10 times this sigma is their VaR (1e-9)."""
    for case in golden_var()["cases"]:
        given, expect = case["input"], case["expect"]
        if expect.get("status") == "OK" and "exposures" in given:
            sigma = sigma_usd(np.array(given["exposures"]), covariance_of(given["vol_daily"], given["corr"]))
            assert Z * math.sqrt(10.0) * sigma == pytest.approx(expect["var_99_10d"], rel=1e-9, abs=1e-6)


def test_hedges_that_fail_by_hand() -> None:
    """600k at 1.5% against -400k at 2.5%: correlation one leaves |9,000 − 10,000|, failing hedges 19,000."""
    one, fail = hedges_fail(BOOK, COVARIANCE, 4.0, 2.0)
    assert one.loss_usd == pytest.approx(2.0 * 2.0 * 1_000.0, rel=1e-12)
    assert fail.loss_usd == pytest.approx(2.0 * 2.0 * 19_000.0, rel=1e-12)


def test_symbol_not_held_does_not_matter() -> None:
    """0 x NaN is NaN: what is not held has no part in any stress."""
    broken = COVARIANCE.copy()
    broken[2, :] = broken[:, 2] = np.nan
    assert sigma_usd(BOOK, broken) == sigma_usd(BOOK, COVARIANCE)
    assert [s.loss_usd for s in hedges_fail(BOOK, broken, 1.0, 1.0)] == pytest.approx([1_000.0, 19_000.0])
    returns = np.log([[1.1, 1.0, np.nan], [0.9, 1.0, np.nan]])
    assert stretch_losses_usd(BOOK, returns, 1) == pytest.approx([-60_000.0, 60_000.0], rel=1e-12)


def test_worst_stretches_do_not_overlap() -> None:
    """Five days, one name: two-day losses are 2, 10.9, 6 and 0.1; the 6 is part of the 10.9."""
    prices = np.array([100.0, 99.0, 98.0, 88.2, 92.12, 88.1])
    returns = np.diff(np.log(prices))[:, None]
    days = np.arange(200, 205)
    losses = stretch_losses_usd(np.array([100.0]), returns, 2)
    assert losses == pytest.approx([2.0, 100 * (1 - 88.2 / 99), 6.0, 100 * (1 - 88.1 / 88.2)], rel=1e-9)
    first, second = worst_stretches(np.array([100.0]), returns, days, 2, 5)
    assert (first.first_day, first.last_day, second.first_day, second.last_day) == (201, 202, 203, 204)
    assert first.loss_usd == pytest.approx(100 * (1 - 88.2 / 99), rel=1e-9)
    assert worst_stretches(np.array([100.0]), returns, days, 6, 5) == []


def test_named_stretch_takes_whole_days_inside() -> None:
    """From the close before the first day to that of the last; a stretch outside the history is refused."""
    returns = np.log([[1.1], [0.8], [1.25]])
    found = named_stretch("shock", np.array([1e3]), returns, np.array([10, 11, 14]), (11, 13))
    assert (found.first_day, found.last_day) == (11, 11)
    assert found.loss_usd == pytest.approx(200.0, rel=1e-12)
    with pytest.raises(InvariantError, match="no day of the history is in later"):
        named_stretch("later", np.array([1e3]), returns, np.array([10, 11, 14]), (15, 20))


def test_risk_is_split_by_symbol_and_strategy() -> None:
    """Two strategies share a leg and one name is nobody's: every grouping adds up to VaR (1e-9)."""
    spreads = (Spread("one", "A/B", "A", "B"), Spread("two", "C/B", "C", "B"))
    layout = Layout(("A", "B", "C"), spreads, np.array([0, 1, 2, 1, 0]), np.array([0, 0, 1, 1, 2]), 3)
    quantity, price = np.array([10.0, -5.0, 0.0, 5.0, 3.0]), np.array([100.0, 50.0, np.nan])
    model = EllipticalVar(GaussianVarOptions(), 3)
    where = market(COVARIANCE)
    book = np.array([1_300.0, 0.0, 0.0])
    split = attribute(layout, quantity, price, model.marginal(book, where))
    var_usd = model.measure(book, where).var_analytic_usd
    assert split.holding_usd == {"A": 1_300.0}
    assert sum(split.component_var_usd.values()) == pytest.approx(var_usd, rel=1e-9)
    assert sum(split.strategy_var_usd.values()) == pytest.approx(var_usd, rel=1e-9)
    assert split.strategy_gross_usd == {"one": 1_250.0, "two": 250.0, "book": 300.0}
    beta_b = 0.6 * 0.025 / 0.015
    expect = {"one": 1_000.0 - 250.0 * beta_b, "two": 250.0 * beta_b, "book": 300.0}
    for name, exposure in expect.items():
        assert split.strategy_var_usd[name] == pytest.approx(var_usd * exposure / 1_300.0, rel=1e-9)
    assert list(split.marginal_var_frac.values()) == pytest.approx([var_usd / 1_300.0], rel=1e-9)
