"""VaR against verified numbers, and the traps that switch a risk measure off."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from engine import book
from engine.errors import InvariantError
from engine.oversight import Market
from risk import var
from risk.attribution import component_usd
from risk.var import EllipticalVar, GaussianVarOptions
from tests.support.books import covariance_of, golden_var, market

GOLDEN = golden_var()
CASES = {case["id"]: case for case in GOLDEN["cases"]}


def _floats(values: list[Any]) -> np.ndarray:
    return np.array([float("nan") if v is None else float(v) for v in values])


def price_reason(quantity: np.ndarray, price: np.ndarray, age_min: np.ndarray, age_max_min: float) -> str:
    """Judge prices as the book does when a minute brings no bar."""
    marks = np.stack([quantity, price, age_min - 1.0, np.zeros_like(price), np.full_like(price, np.nan)])
    fault = book.mark(np.full((5, len(price)), np.nan), marks, 1.0, age_max_min)[3]
    return book.PRICE_REASONS[fault]


def _measure(case: dict[str, Any], seed: int = 7) -> tuple[Any, np.ndarray]:
    """Measure a golden book the way the desk does: prices first, then the model."""
    given = case["input"]
    n = len(given["symbols"])
    model = EllipticalVar(GaussianVarOptions(seed=seed), n)
    known = np.array([s in given.get("cov_symbols", given["symbols"]) for s in given["symbols"]], dtype=bool)
    book_market = market(covariance_of(given["vol_daily"], given["corr"]), known)
    if "exposures" in given:
        holdings = _floats(given["exposures"])
    else:
        quantity, price = _floats(given["quantities"]), _floats(given["prices"])
        age_min = _floats(given.get("price_age_s", [0.0] * n)) / 60.0
        reason = price_reason(quantity, price, age_min, given.get("max_price_age_s", 300) / 60.0)
        if reason:
            return var.unknown(reason), np.full(n, np.nan)
        holdings = quantity * price
        holdings[quantity == 0.0] = 0.0
    marginal = model.marginal(holdings, book_market)
    return model.measure(holdings, book_market), component_usd(holdings, marginal)


@pytest.mark.parametrize("name", [k for k, c in CASES.items() if c["expect"].get("status") == "OK"])
def test_golden_book_is_measured(name: str) -> None:
    """The analytic VaR, ES and components are the number a desk reports: exact to 1e-9."""
    expect = CASES[name]["expect"]
    report, parts = _measure(CASES[name])
    assert report.reason == ""
    assert report.var_analytic_usd == pytest.approx(expect["var_99_10d"], rel=1e-9, abs=1e-6)
    assert report.es_usd >= report.var_usd >= report.var_analytic_usd
    if "es_99_10d" in expect:
        z_es = max(expect["es_99_10d"], report.var_usd)
        assert report.es_usd == pytest.approx(z_es, rel=1e-9, abs=1e-6)
    if "component_var" in expect:
        assert parts == pytest.approx(expect["component_var"], rel=1e-6, abs=1e-3)
        assert parts.sum() == pytest.approx(report.var_analytic_usd, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", [k for k, c in CASES.items() if c["expect"].get("status") == "UNKNOWN"])
def test_golden_book_is_unknown(name: str) -> None:
    """A book that cannot be measured has no number at all, and says why."""
    report, _ = _measure(CASES[name])
    assert report.reason == CASES[name]["expect"]["reason"]
    assert math.isnan(report.var_usd)
    assert math.isnan(report.var_upper_usd)


@pytest.mark.parametrize("name", [k for k, c in CASES.items() if "mc_loss_50_by_seed" in c])
def test_monte_carlo_matches_the_reference(name: str) -> None:
    """The 50th worst of 5,000 fixed scenarios is one number a seed: equal at 1e-9."""
    for seed, loss in CASES[name]["mc_loss_50_by_seed"].items():
        report, _ = _measure(CASES[name], int(seed))
        assert report.var_mc_usd == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("name", ["reduce_only_raises_var", "balanced_unwind_lowers_var"])
def test_golden_change_of_book(name: str) -> None:
    """Closing a hedge raises VaR, halving both legs halves it: what the gate has to tell apart (1e-9)."""
    given, expect = CASES[name]["input"], CASES[name]["expect"]
    model = EllipticalVar(GaussianVarOptions(), 2)
    book_market = market(covariance_of(given["vol_daily"], given["corr"]))
    for when in ("before", "after"):
        report = model.measure(_floats(given[f"exposures_{when}"]), book_market)
        assert report.var_analytic_usd == pytest.approx(expect[f"var_{when}"], rel=1e-9)


def test_every_golden_case_is_used() -> None:
    """No golden book may drop out of the tests by a change of its fields."""
    assert len(CASES) == 26
    statuses = [case["expect"].get("status") for case in CASES.values()]
    assert (statuses.count("OK"), statuses.count("UNKNOWN"), statuses.count(None)) == (18, 6, 2)


def test_flat_book_needs_no_covariance() -> None:
    """An engine that warms up holds nothing, and nothing is exactly 0.0 of risk, not NaN."""
    nothing = Market(np.zeros((2, 2)), np.zeros(2, dtype=bool), "COV_NOT_PSD")
    report = EllipticalVar(GaussianVarOptions(), 2).measure(np.array([0.0, -0.0]), nothing)
    assert (report.var_usd, report.var_upper_usd, report.es_usd, report.reason) == (0.0, 0.0, 0.0, "")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_holding_that_is_not_finite_is_unknown(bad: float) -> None:
    """NaN >= limit is False: a NaN holding must never look like a small one."""
    report = EllipticalVar(GaussianVarOptions(), 2).measure(np.array([1e5, bad]), market(np.eye(2)))
    assert report.reason == "PRICE_NOT_FINITE"


def test_untrusted_market_makes_every_held_book_unknown() -> None:
    """A covariance that is not PSD has no VaR, whatever factor is lying around."""
    broken = Market(np.eye(2), np.ones(2, dtype=bool), "COV_NOT_PSD")
    assert (
        EllipticalVar(GaussianVarOptions(), 2).measure(np.array([1.0, 0.0]), broken).reason == "COV_NOT_PSD"
    )


def test_overflow_is_unknown() -> None:
    """A VaR that overflows is not a number to compare with a limit."""
    report = EllipticalVar(GaussianVarOptions(), 1).measure(np.array([1e300]), market(np.array([[1e20]])))
    assert report.reason == "VAR_NOT_FINITE"


def test_book_of_another_universe_is_a_defect() -> None:
    """Reading past an array inside a kernel is not an error message: shapes are checked before."""
    with pytest.raises(InvariantError):
        EllipticalVar(GaussianVarOptions(), 2).measure(np.ones(3), market(np.eye(2)))


def test_upper_bound_and_its_standard_error() -> None:
    """The margin of 3.73% at 5,000 scenarios is what keeps sampling error from hiding a breach."""
    model = EllipticalVar(GaussianVarOptions(), 1)
    assert model.mc_error_frac == pytest.approx(GOLDEN["mc_se_rel"], rel=1e-9)
    assert model.mc_margin == pytest.approx(1.0373, abs=5e-5)
    trigger_usd = GOLDEN["limit_usd"] / model.mc_margin
    assert trigger_usd == pytest.approx(GOLDEN["upper_trigger_mc_usd"], rel=1e-5)
    report = model.measure(np.array([1e6]), market(np.array([[4e-4]])))
    assert report.var_upper_usd == max(report.var_mc_usd * model.mc_margin, report.var_analytic_usd)


def test_expected_shortfall_is_never_below_var() -> None:
    """Few scenarios can put the Monte-Carlo VaR above the closed-form ES; the pair must still make sense."""
    one = market(np.array([[4e-4]]))
    reports = [
        EllipticalVar(GaussianVarOptions(scenarios=100, seed=seed), 1).measure(np.array([1e6]), one)
        for seed in range(20)
    ]
    closed_form = min(report.es_usd for report in reports)
    lifted = [report for report in reports if report.var_usd > closed_form]
    assert lifted
    assert all(report.es_usd == report.var_usd for report in lifted)


@pytest.mark.parametrize(
    ("scenarios", "confidence", "rank"),
    [(5000, 0.99, 49), (5000, 0.975, 124), (250, 0.99, 2), (100, 0.999, 0)],
)
def test_scenario_rank_is_an_integer_matter(scenarios: int, confidence: float, rank: int) -> None:
    """ceil((1 - 0.99) x 5000) is 51 in floats: the rank is taken in basis points."""
    assert GaussianVarOptions(scenarios=scenarios, confidence=confidence).rank == rank


def test_confidence_must_be_whole_basis_points() -> None:
    """A confidence that the rank cannot express would be rounded in silence."""
    with pytest.raises(ValueError, match=r"whole number of basis points, was 0\.98765"):
        GaussianVarOptions(confidence=0.98765)


@pytest.mark.parametrize(
    ("quantity", "price", "age", "reason"),
    [
        ([1.0, 0.0], [10.0, math.nan], [0.0, 99.0], ""),
        ([1.0, -1.0], [10.0, 20.0], [5.0, 5.0], ""),
        ([1.0, -1.0], [10.0, 20.0], [0.0, 5.1], "PRICE_STALE"),
        ([1.0, -1.0], [0.0, 20.0], [0.0, 9.0], "PRICE_NOT_POSITIVE"),
        ([1.0, -1.0], [-1.0, math.inf], [0.0, 9.0], "PRICE_NOT_FINITE"),
    ],
)
def test_price_reason(quantity: list[float], price: list[float], age: list[float], reason: str) -> None:
    """Only held symbols matter, and the worst fault is named."""
    assert price_reason(np.array(quantity), np.array(price), np.array(age), 5.0) == reason


def test_scenario_sum_equals_its_twin_and_numpy() -> None:
    """The kernel may be fast only if it is the same sum, in one order of additions."""
    rng = np.random.default_rng(3)
    for n in (1, 3, 4, 9):
        z, weights = rng.standard_normal((n, 1100)), rng.standard_normal(n)
        weights[n // 2] = 0.0
        fast, twin = np.empty(1100), np.empty(1100)
        var.scenario_pnl(z, weights, fast)
        var.scenario_pnl.py_func(z, weights, twin)
        assert fast.tobytes() == twin.tobytes()
        np.testing.assert_allclose(fast, weights @ z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 7, 49, 298, 299])
def test_order_statistic_equals_its_twin_and_a_sort(rank: int) -> None:
    """Selection must pick the element that sorting would, ties included."""
    rng = np.random.default_rng(rank)
    for values in (rng.standard_normal(300), np.round(rng.standard_normal(300), 1), np.arange(300.0)[::-1]):
        assert var.order_statistic(values, rank) == np.sort(values)[rank]
        assert var.order_statistic.py_func(values, rank) == np.sort(values)[rank]


def test_whole_measure_equals_its_twin() -> None:
    """The compiled measure and its Python twin agree on every code they can return."""
    rng = np.random.default_rng(5)
    factor, z = np.tril(rng.standard_normal((3, 3))), rng.standard_normal((3, 600))
    known = np.array([True, True, False])
    for holdings in ([0.0, 0.0, 0.0], [1.0, -2.0, 0.0], [1.0, 0.0, 3.0], [np.nan, 1.0, 0.0]):
        args = (np.array(holdings), known, factor, z, 5)
        np.testing.assert_array_equal(var.measure_book(*args), var.measure_book.py_func(*args))
