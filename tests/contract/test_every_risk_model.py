"""What every registered risk model must do; a new one gets these tests by being registered."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from engine.oversight import Market, RiskModel
from risk import REGISTRY
from risk.attribution import component_usd
from tests.support.books import market

SYMBOLS = ("A", "B", "C")
COVARIANCE = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]]) * 1e-4
BOOK = np.array([3e5, -2e5, 1e5])
RETURNS = 0.01 * np.random.default_rng(3).standard_t(5, (500, 3))


def seen_by(model: RiskModel, known: np.ndarray | None = None) -> Market:
    """Return the market as the desk would show it to a model: with scenarios, if it asks for days."""
    prepared = model.prepare(RETURNS[: model.window_days], np.empty((0, 0)))
    return msgspec.structs.replace(market(COVARIANCE, known), scenarios=prepared.scenarios)


@pytest.fixture(params=sorted(REGISTRY))
def model(request: pytest.FixtureRequest) -> RiskModel:
    plugin = REGISTRY[request.param]
    return plugin.build(plugin.options(), SYMBOLS)


def test_same_book_same_bits(model: RiskModel) -> None:
    """A halt must be repeatable: measuring twice, or in another order, gives the same bits."""
    one = model.measure(BOOK, seen_by(model))
    model.measure(-2.0 * BOOK, seen_by(model))
    assert model.measure(BOOK, seen_by(model)) == one


def test_two_builds_agree(model: RiskModel, request: pytest.FixtureRequest) -> None:
    """Live and replay build their own model and must see the same VaR."""
    plugin = REGISTRY[request.node.callspec.params["model"]]
    other = plugin.build(plugin.options(), SYMBOLS)
    assert other.measure(BOOK, seen_by(other)) == model.measure(BOOK, seen_by(model))


def test_figures_are_positive_losses_in_order(model: RiskModel) -> None:
    """VaR is no less than what was simulated, its upper bound and ES are beyond it."""
    report = model.measure(BOOK, seen_by(model))
    assert report.reason == ""
    assert report.var_usd >= report.var_mc_usd > 0.0
    assert report.var_analytic_usd > 0.0
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
    report = model.measure(book, seen_by(model))
    assert report.reason
    assert all(math.isnan(x) for x in (report.var_usd, report.var_upper_usd, report.es_usd))


def test_symbol_not_held_does_not_matter(model: RiskModel) -> None:
    """0 x NaN is NaN: a factor row of a symbol that is not held must not be touched."""
    known = np.array([True, True, False])
    clean = seen_by(model, known)
    dirty = Market(clean.factor_daily.copy(), known, "", clean.scenarios.copy())
    dirty.factor_daily[2] = np.nan
    dirty.scenarios[2] = np.nan
    book = np.array([3e5, -2e5, 0.0])
    assert model.measure(book, dirty) == model.measure(book, clean)
    assert model.measure(BOOK, dirty).reason == "COV_MISSING_SYMBOL"


def test_untrusted_market_is_unknown(model: RiskModel) -> None:
    """The market's own reason is passed on to the halt."""
    broken = Market(np.eye(3), np.ones(3, dtype=bool), "COV_NOT_PSD")
    assert model.measure(BOOK, broken).reason == "COV_NOT_PSD"


def test_inputs_are_not_modified(model: RiskModel) -> None:
    """Book and market belong to others."""
    book, where = BOOK.copy(), seen_by(model)
    arrays = (book, where.factor_daily, where.known, where.scenarios)
    before = [array.tobytes() for array in arrays]
    model.measure(book, where)
    assert [array.tobytes() for array in arrays] == before


def test_components_add_up(model: RiskModel) -> None:
    """Whoever reads which position to cut must be able to trust the sum: VaR, or its analytic one (1e-9)."""
    where = seen_by(model)
    report = model.measure(BOOK, where)
    whole = component_usd(BOOK, model.marginal(BOOK, where)).sum()
    nearest = min((report.var_usd, report.var_analytic_usd), key=lambda usd: abs(usd - whole))
    assert whole == pytest.approx(nearest, rel=1e-9)
    assert not model.marginal(np.zeros(3), where).any()
    assert np.isnan(model.marginal(np.array([np.nan, 0.0, 0.0]), where)).all()


def test_twice_the_book_has_twice_the_risk(model: RiskModel) -> None:
    """The gate scales targets down and trusts that VaR follows (1e-9)."""
    where = seen_by(model)
    once, twice = model.measure(BOOK, where), model.measure(2.0 * BOOK, where)
    assert twice.var_usd == pytest.approx(2.0 * once.var_usd, rel=1e-9)
    assert twice.var_upper_usd == pytest.approx(2.0 * once.var_upper_usd, rel=1e-9)


def test_the_cone_is_no_wider_than_the_gate(model: RiskModel) -> None:
    """What the optimiser may use must, for the book as held, not exceed what the gate would measure."""
    where = seen_by(model)
    report = model.measure(BOOK, where)
    sigma_usd = report.var_analytic_usd / model.z_horizon
    ratio = max(1.0, report.var_mc_usd / report.var_analytic_usd)
    cone_usd = model.z_horizon * ratio * model.mc_margin * sigma_usd
    assert cone_usd >= report.var_usd
    assert model.mc_margin >= 1.0
