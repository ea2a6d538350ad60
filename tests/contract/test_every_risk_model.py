"""What every registered risk model must do; a new one gets these tests by being registered."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.ports import Market, RiskModel
from risk import REGISTRY
from tests.support.books import market

SYMBOLS = ("A", "B", "C")
COVARIANCE = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]]) * 1e-4
BOOK = np.array([3e5, -2e5, 1e5])


@pytest.fixture(params=sorted(REGISTRY))
def model(request: pytest.FixtureRequest) -> RiskModel:
    plugin = REGISTRY[request.param]
    return plugin.build(plugin.options(), SYMBOLS)


def test_same_book_same_bits(model: RiskModel) -> None:
    """A halt must be repeatable: measuring twice, or in another order, gives the same bits."""
    one = model.measure(BOOK, market(COVARIANCE))
    model.measure(-2.0 * BOOK, market(COVARIANCE))
    assert model.measure(BOOK, market(COVARIANCE)) == one


def test_two_builds_agree(model: RiskModel, request: pytest.FixtureRequest) -> None:
    """Live and replay build their own model and must see the same VaR."""
    plugin = REGISTRY[request.node.callspec.params["model"]]
    other = plugin.build(plugin.options(), SYMBOLS)
    assert other.measure(BOOK, market(COVARIANCE)) == model.measure(BOOK, market(COVARIANCE))


def test_figures_are_positive_losses_in_order(model: RiskModel) -> None:
    """VaR is the larger of its two estimates, its upper bound and ES are beyond it."""
    report = model.measure(BOOK, market(COVARIANCE))
    assert report.reason == ""
    assert report.var_usd == max(report.var_analytic_usd, report.var_mc_usd) > 0.0
    assert report.var_upper_usd >= report.var_usd
    assert report.es_usd >= report.var_usd


def test_flat_book_is_zero_even_without_a_covariance(model: RiskModel) -> None:
    """An engine that warms up is not halted by what it does not hold."""
    nothing = Market(np.full((3, 3), np.nan), np.zeros(3, dtype=bool), "COV_NOT_PSD")
    report = model.measure(np.zeros(3), nothing)
    assert (report.var_usd, report.var_upper_usd, report.reason) == (0.0, 0.0, "")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_unknown_is_a_report(model: RiskModel, bad: float, place: int) -> None:
    """Bad input never raises and never yields a number."""
    book = BOOK.copy()
    book[place] = bad
    report = model.measure(book, market(COVARIANCE))
    assert report.reason
    assert all(math.isnan(x) for x in (report.var_usd, report.var_upper_usd, report.es_usd))


def test_symbol_not_held_does_not_matter(model: RiskModel) -> None:
    """0 x NaN is NaN: a factor row of a symbol that is not held must not be touched."""
    known = np.array([True, True, False])
    clean = market(COVARIANCE, known)
    dirty = Market(clean.factor_daily.copy(), known)
    dirty.factor_daily[2] = np.nan
    book = np.array([3e5, -2e5, 0.0])
    assert model.measure(book, dirty) == model.measure(book, clean)
    assert model.measure(BOOK, dirty).reason == "COV_MISSING_SYMBOL"


def test_untrusted_market_is_unknown(model: RiskModel) -> None:
    """The market's own reason is passed on to the halt."""
    broken = Market(np.eye(3), np.ones(3, dtype=bool), "COV_NOT_PSD")
    assert model.measure(BOOK, broken).reason == "COV_NOT_PSD"


def test_inputs_are_not_modified(model: RiskModel) -> None:
    """Book and market belong to others."""
    book, where = BOOK.copy(), market(COVARIANCE)
    before = (book.tobytes(), where.factor_daily.tobytes(), where.known.tobytes())
    model.measure(book, where)
    assert (book.tobytes(), where.factor_daily.tobytes(), where.known.tobytes()) == before
