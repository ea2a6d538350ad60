"""Risk models against worked numbers, their twins, and simulated days whose law is known."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from pydantic import ValidationError

from engine.events import FloatArray
from engine.oversight import RiskModel
from risk.backtest import Backtest, backtest
from risk.filtered import FilteredHistoricalVarOptions, build_filtered_historical, filter_shocks, simulate
from risk.garch import EXPONENTIAL, fit_garch
from risk.gate import largest_scale
from risk.historical import HistoricalVarOptions, bound_rank, build_historical
from risk.rolling import roll
from risk.student_t import StudentTVarOptions, build_student_t
from risk.var import EllipticalVar, GaussianVarOptions, build_gaussian, measure_scenarios, smallest
from tests.support.books import golden_var, market

ONE = ("A",)
UNIT = market(np.eye(1))


def _t_days(freedom: float, n: int, seed: int) -> FloatArray:
    """Draw days of Student's t with standard deviation 1."""
    return np.random.default_rng(seed).standard_t(freedom, n) * math.sqrt((freedom - 2.0) / freedom)


def _garch_days(n: int, seed: int, alpha: float = 0.15, beta: float = 0.83) -> FloatArray:
    """Draw log returns of a GARCH(1,1) with a long-run volatility of 1% a day."""
    rng = np.random.default_rng(seed)
    long_run = 1e-4
    variance, returns = long_run, np.empty(n)
    for t in range(n):
        returns[t] = math.sqrt(variance) * rng.standard_normal()
        variance = long_run * (1.0 - alpha - beta) + alpha * returns[t] ** 2 + beta * variance
    return returns


def _verdict(model: RiskModel, days: FloatArray, confidence: float = 0.99) -> Backtest:
    """Hold one USD of one name through days of unit variance, under a market that knows it."""
    var_usd = model.measure(np.ones(1), UNIT).var_analytic_usd
    return backtest(np.full(len(days), var_usd), days, confidence)


# ------------------------------------------------------------------------------------------- student_t


@pytest.mark.parametrize("name", [case["id"] for case in golden_var()["cases"]])
def test_student_t_is_the_reference(name: str) -> None:
    """Five degrees of freedom at unit variance widen the tail by 12% (1e-9)."""
    case = next(case for case in golden_var()["cases"] if case["id"] == name)
    expect = case["expect"].get("var_99_10d_student_t5_unit_variance_applied_to_10d")
    if expect is None:
        return
    model = EllipticalVar(StudentTVarOptions(), 1)
    assert model.z_horizon * case["expect"]["sigma_1d_usd"] == pytest.approx(expect, rel=1e-9)


def test_student_t_by_hand_at_four_degrees() -> None:
    """t(4) has closed forms: q = 3.7469 at 1%, ES = f(q)/0.01 (4 + q²)/3, both times √½ (1e-9)."""
    law = StudentTVarOptions(freedom=4.0).law()
    q = 3.7469473879791968
    density = 0.375 * (1.0 + q * q / 4.0) ** -2.5
    assert law.quantile == pytest.approx(q * math.sqrt(0.5), rel=1e-9)
    assert law.density == pytest.approx(density / math.sqrt(0.5), rel=1e-9)
    assert law.shortfall == pytest.approx(density / 0.01 * (4.0 + q * q) / 3.0 * math.sqrt(0.5), rel=1e-9)


def test_fewer_degrees_than_three_are_refused() -> None:
    """Towards 2 unit variance leaves no quantile: the gate would be off; at 3 it is 2.62 (t: 4.5407 √⅓)."""
    assert StudentTVarOptions(freedom=3.0).law().quantile == pytest.approx(4.540702858 * math.sqrt(1.0 / 3.0))
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        StudentTVarOptions(freedom=2.99)
    assert StudentTVarOptions.model_construct(confidence=0.99, freedom=2.01).law().quantile < 0.5


def test_many_degrees_of_freedom_are_normal() -> None:
    """At the far end the two models are one (1e-2)."""
    normal, student = GaussianVarOptions().law(), StudentTVarOptions(freedom=1_000.0).law()
    assert (student.quantile, student.shortfall) == pytest.approx(
        (normal.quantile, normal.shortfall), rel=1e-2
    )


def test_simulated_tail_agrees_with_the_analytic_one() -> None:
    """Both figures measure one law: the 50th worst of 5,000 lies within four standard errors."""
    model = build_student_t(StudentTVarOptions(scenarios=20_000), ONE)
    report = model.measure(np.array([1e6]), UNIT)
    assert abs(report.var_mc_usd / report.var_analytic_usd - 1.0) < 4.0 * model.mc_error_frac


def test_student_t_covers_what_is_t_and_normal_does_not() -> None:
    """20,000 days of t(4): 200 exceptions are right; of t(3) the normal sees a third more: rejected."""
    days = _t_days(4.0, 20_000, seed=1)
    horizon = {"horizon_days": 1.0}
    assert (
        _verdict(build_student_t(StudentTVarOptions(freedom=4.0, **horizon), ONE), days).kupiec.p_value > 0.05
    )
    wrong = _verdict(build_gaussian(GaussianVarOptions(**horizon), ONE), _t_days(3.0, 20_000, seed=1))
    assert wrong.exceptions > 200
    assert wrong.kupiec.p_value < 0.001


def test_normal_covers_what_is_normal() -> None:
    """20,000 normal days: neither the count nor the order of exceptions speaks against the model."""
    days = np.random.default_rng(5).standard_normal(20_000)
    verdict = _verdict(build_gaussian(GaussianVarOptions(horizon_days=1.0), ONE), days)
    assert verdict.conditional_coverage.p_value > 0.05


# ------------------------------------------------------------------------------------------ historical


def test_bound_rank_is_that_of_the_binomial() -> None:
    """Of 299 days the worst bounds the 99% quantile with 95%, of 473 the second worst (Wilks, 1941)."""
    assert [bound_rank(n, 0.01) for n in (298, 299, 472, 473, 500, 5_000)] == [0, 1, 1, 2, 2, 39]


def _hundred_days() -> tuple[RiskModel, FloatArray]:
    """Return a model of 95% over 60 days, and days whose losses are 0.001, 0.002, ... 0.060."""
    model = build_historical(HistoricalVarOptions(confidence=0.95, horizon_days=4.0, window_days=60), ONE)
    losses = np.arange(1, 61) * 0.001
    return model, np.log1p(-np.random.default_rng(0).permutation(losses))[:, None]


def test_historical_by_hand() -> None:
    """60 days at 95%: VaR is the 3rd worst, 5.8%, ES the mean of three, 5.9%, the bound 6%; all times √4."""
    model, returns = _hundred_days()
    prepared = model.prepare(returns, np.empty((0, 0)))
    report = model.measure(np.array([1e6]), msgspec.structs.replace(UNIT, scenarios=prepared.scenarios))
    assert report.var_usd == pytest.approx(2 * 58_000.0, rel=1e-12)
    assert report.es_usd == pytest.approx(2 * 59_000.0, rel=1e-12)
    assert report.var_upper_usd == pytest.approx(2 * 60_000.0, rel=1e-12)
    assert report.var_analytic_usd == pytest.approx(1.6448536269514722 * 2 * 1e6, rel=1e-9)


def test_historical_marginal_by_hand() -> None:
    """Two names, one of which never loses: all of VaR is carried by the other, and the parts add up."""
    model = build_historical(
        HistoricalVarOptions(confidence=0.95, window_days=60, horizon_days=1.0), ("A", "B")
    )
    losses = np.arange(1, 61) * 0.001
    returns = np.stack([np.log1p(-losses), np.full(60, math.log1p(0.001))], axis=1)
    where = msgspec.structs.replace(
        market(np.eye(2)), scenarios=model.prepare(returns, np.empty((0, 0))).scenarios
    )
    book = np.array([1e6, 1e6])
    marginal = model.marginal(book, where)
    report = model.measure(book, where)
    assert report.var_usd == pytest.approx(58_000.0 - 1_000.0, rel=1e-12)
    assert (book * marginal).sum() == pytest.approx(report.var_usd, rel=1e-12)
    assert marginal == pytest.approx([0.058, -0.001], rel=1e-9)


def test_a_book_that_only_gained_has_no_negative_var() -> None:
    """A measure below zero would give a limit room that no market ever gave."""
    model, returns = _hundred_days()
    prepared = model.prepare(returns, np.empty((0, 0)))
    report = model.measure(np.array([-1e6]), msgspec.structs.replace(UNIT, scenarios=prepared.scenarios))
    assert (report.var_usd, report.var_upper_usd, report.es_usd) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["historical", "filtered_historical"])
def test_a_symbol_without_all_the_days_is_not_known(name: str) -> None:
    """What was not there cannot be looked back on: no return is made up, and nothing may be held."""
    options = {"confidence": 0.95, "window_days": 60}
    models = {
        "historical": build_historical(HistoricalVarOptions(**options), ("A", "B", "C")),
        "filtered_historical": build_filtered_historical(
            FilteredHistoricalVarOptions(**options, scenarios=200), ("A", "B", "C")
        ),
    }
    model = models[name]
    returns = 0.01 * np.random.default_rng(1).standard_normal((60, 3))
    returns[:5, 1] = np.nan
    returns[:, 2] = 0.0
    scenarios = model.prepare(returns, np.empty((0, 0))).scenarios
    assert np.isnan(scenarios).any(axis=1).tolist() == [False, True, True]
    assert np.isnan(model.prepare(returns[1:], np.empty((0, 0))).scenarios).all()


def test_scenarios_that_are_not_numbers_are_unknown() -> None:
    """If a held row were NaN after all, VaR must not be what happens to sort last."""
    model, _ = _hundred_days()
    broken = msgspec.structs.replace(UNIT, scenarios=np.full((1, 60), np.nan))
    assert model.measure(np.array([1.0]), broken).reason == "VAR_NOT_FINITE"
    assert model.measure(np.array([1.0]), UNIT).reason == "COV_MISSING_SYMBOL"


def test_the_gate_stays_within_its_budget_where_var_is_not_convex() -> None:
    """An order statistic of days has dents; whatever step the gate's search ends at must meet the budget."""
    rng = np.random.default_rng(9)
    returns = 0.01 * rng.standard_t(3, (60, 4))
    model = build_historical(HistoricalVarOptions(confidence=0.95, window_days=60), tuple("ABCD"))
    scenarios = model.prepare(returns, np.empty((0, 0))).scenarios
    where = msgspec.structs.replace(market(np.cov(returns.T)), scenarios=scenarios)
    granted = 0
    for _ in range(200):
        held, target = 1e5 * rng.standard_normal((2, 4))

        def upper(scale: float, held: FloatArray = held, target: FloatArray = target) -> float:
            return model.measure(held + scale * (target - held), where).var_upper_usd

        scale, upper_usd = largest_scale(upper, 15_000.0)
        if scale > 0.0:
            granted += 1
            assert upper(scale) == upper_usd <= 15_000.0
    assert 20 < granted < 200


def test_too_short_a_window_is_refused() -> None:
    """Fewer than 299 days cannot bound a quantile of 99%: REDUCING would never begin in time."""
    with pytest.raises(
        ValueError, match=r"window_days must be at least 299 to bound a 0\.99 quantile, was 250"
    ):
        HistoricalVarOptions(window_days=250)
    assert HistoricalVarOptions(window_days=299).window_days == 299


# ------------------------------------------------------------------------------- filtered_historical


def test_filter_by_hand() -> None:
    """Two days at ω = 0.1, α = 0.2, β = 0.7 from returns 1 and 2: v = 2.5, 2.05, 2.335 (1e-15)."""
    shocks, variance = filter_shocks(np.array([[1.0, 2.0]]), np.array([[0.1], [0.2], [0.7]]))
    assert shocks[0] == pytest.approx([1.0 / math.sqrt(2.5), 2.0 / math.sqrt(2.05)], rel=1e-15)
    assert variance[0] == pytest.approx(0.1 + 0.2 * 4.0 + 0.7 * 2.05, rel=1e-15)


def test_simulation_by_hand() -> None:
    """One path of two steps: 1 at variance 4 is 2; then v = 0.1 + 0.2·4 + 0.7·4 = 3.7, and −1 is −√3.7."""
    out = simulate(
        np.array([[1.0, -1.0]]), np.array([4.0]), np.array([[0.1], [0.2], [0.7]]), np.array([[0, 1]])
    )
    assert out[0, 0] == pytest.approx(math.expm1(2.0 - math.sqrt(3.7)), rel=1e-14)


def test_kernels_are_their_twins() -> None:
    """What was compiled is what stands there to be read (1e-12; equal for selection)."""
    rng = np.random.default_rng(4)
    returns, garch = 0.01 * rng.standard_normal((3, 80)), np.array([[2e-6] * 3, [0.08] * 3, [0.9] * 3])
    compiled, plain = filter_shocks(returns, garch), filter_shocks.py_func(returns, garch)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    days = rng.integers(0, 80, (50, 3))
    paths = simulate(*compiled, garch, days)
    np.testing.assert_allclose(paths, simulate.py_func(*compiled, garch, days), rtol=1e-12)
    values = rng.standard_normal(300)
    assert sorted(smallest(values, 20)) == sorted(values)[:20] == sorted(smallest.py_func(values, 20))
    book, known = np.array([1e5, 0.0, -2e5]), np.ones(3, dtype=bool)
    arguments = (book, known, np.eye(3), paths, 5)
    (code, sigma, losses), twin = measure_scenarios(*arguments), measure_scenarios.py_func(*arguments)
    assert (code, sigma) == (twin[0], pytest.approx(twin[1], rel=1e-12))
    np.testing.assert_allclose(losses, twin[2], rtol=1e-9)
    np.testing.assert_allclose(losses, np.sort(-(book @ paths))[::-1][:5], rtol=1e-9)


def test_fit_finds_the_truth_and_gives_up_in_order() -> None:
    """4,000 days suffice to find α and β within 0.05; what cannot be fitted is filtered all the same."""
    omega, alpha, beta = fit_garch(_garch_days(4_000, seed=2, alpha=0.1, beta=0.85))
    assert (alpha, beta) == (pytest.approx(0.1, abs=0.05), pytest.approx(0.85, abs=0.05))
    assert omega / (1.0 - alpha - beta) == pytest.approx(1e-4, rel=0.3)
    runaway = np.cumprod(np.full(300, 1.05)) * 1e-8
    assert fit_garch(runaway) == EXPONENTIAL


def test_fits_last_for_their_sessions_and_are_the_same_each_time() -> None:
    """A fit costs milliseconds, so it is kept; two engines that fit must fit alike."""
    options = FilteredHistoricalVarOptions(confidence=0.95, window_days=250, scenarios=100, refit_sessions=2)
    model = build_filtered_historical(options, ONE)
    days = _garch_days(254, seed=3)[:, None]
    memories = [np.empty((0, 0))]
    for last in range(250, 254):
        memories.append(model.prepare(days[:last], memories[-1]).memory)
    fitted = [memory[:3, 0].tolist() for memory in memories[1:]]
    assert fitted[0] == fitted[1] != fitted[2] == fitted[3]
    again = model.prepare(days[:250], memories[0])
    np.testing.assert_array_equal(again.memory, memories[1])


def test_filtered_var_follows_the_storm() -> None:
    """After ten wild days the same book is riskier, though the window has hardly changed."""
    days = np.concatenate([_garch_days(500, seed=6), 0.04 * np.array([1, -1] * 5)])[:, None]
    model = build_filtered_historical(FilteredHistoricalVarOptions(horizon_days=1), ONE)
    plain = build_historical(HistoricalVarOptions(horizon_days=1), ONE)

    def var_usd(of: RiskModel, seen: FloatArray) -> float:
        scenarios = of.prepare(seen, np.empty((0, 0))).scenarios
        return of.measure(np.array([1e6]), msgspec.structs.replace(UNIT, scenarios=scenarios)).var_usd

    assert var_usd(model, days) > 2.0 * var_usd(model, days[:500])
    assert var_usd(plain, days) < 2.0 * var_usd(plain, days[:500])


def test_filtered_history_covers_garch_and_constant_volatility_does_not() -> None:
    """3,500 days whose volatility clusters: 95% VaR is right every day, or wrong in clusters."""
    returns = _garch_days(4_000, seed=8)[:, None]
    held = np.full((4_000, 1), 1e6)
    options = {"confidence": 0.95, "horizon_days": 1}
    filtered = build_filtered_historical(
        FilteredHistoricalVarOptions(**options, scenarios=1_000, refit_sessions=250), ONE
    )
    right = roll(filtered, returns, held, 500)
    constant = roll(build_gaussian(GaussianVarOptions(**options), ONE), returns, held, 500)
    good = backtest(right.var_usd, right.pnl_usd, 0.95)
    bad = backtest(constant.var_usd, constant.pnl_usd, 0.95)
    assert good.days == bad.days == 3_500
    assert good.conditional_coverage.p_value > 0.05
    assert bad.christoffersen.p_value < 1e-4
