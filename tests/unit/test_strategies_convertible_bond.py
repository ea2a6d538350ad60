"""The price of a convertible bond, held against closed forms and against what must be so."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from scipy.stats import norm

from strategies.convertible_bond import VOL_MAX_FRAC, VOL_MIN_FRAC, BondModel, ConvertibleTerms
from strategies.deals import day_number

pytest.importorskip("QuantLib", reason="the extra convertible is not installed")

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "textbook_deals.json").read_text())
TODAY = dt.date(2021, 6, 1)
DAY = day_number(TODAY)
YEARS = (dt.date(2024, 6, 1) - TODAY).days / 365.0
STEPS = 101


def terms_of(**changes: Any) -> ConvertibleTerms:
    """Return a bond of 1,000 that gives 1.5 shares within three years, without coupon or spread."""
    given = {"symbol": "TSLA24", "stock": "TSLA", "conversion_ratio": 1.5, "maturity": "2024-06-01"}
    return ConvertibleTerms.model_validate(given | changes)


def model_of(rate_frac: float = 0.0, day: int = DAY, **changes: Any) -> BondModel:
    return BondModel(terms_of(**changes), rate_frac, STEPS, day)


def test_delta_is_that_of_black_and_scholes() -> None:
    """Three years at 45%, 600 against 666.67: 0.6005 of the shares, so 90 stock for 100 bonds and not 150."""
    terms, model = terms_of(), model_of()
    golden = GOLDENS["conv.terms"]["correct"]
    assert terms.conversion_price_usd == pytest.approx(golden["conv_price"], abs=1e-4)
    assert terms.parity(600.0) * 10.0 == golden["parity_at_600"]
    delta = GOLDENS["conv.delta"]["correct"]
    found = model.delta(600.0, 0.45) / terms.shares_per_quote
    assert found == pytest.approx(delta["bs_delta_45vol_3y_r0"], abs=2e-4)
    assert found * 1.5 * 100 == pytest.approx(delta["shares"], abs=0.05)


@pytest.mark.parametrize("rate_frac", [0.0, 0.03])
@pytest.mark.parametrize("vol_frac", [0.2, 0.45, 0.8])
@pytest.mark.parametrize("stock_usd", [300.0, 600.0, 1_000.0])
def test_price_delta_and_gamma_are_in_closed_form(
    rate_frac: float, vol_frac: float, stock_usd: float
) -> None:
    """Without credit, coupon and dividends nobody converts early: a discounted face and 0.15 calls."""
    model, strike = model_of(rate_frac), 1_000.0 / 1.5
    discount, width = math.exp(-rate_frac * YEARS), vol_frac * math.sqrt(YEARS)
    d1 = math.log(stock_usd / (strike * discount)) / width + 0.5 * width
    call = stock_usd * norm.cdf(d1) - strike * discount * norm.cdf(d1 - width)
    assert model.price(stock_usd, vol_frac) == pytest.approx(100.0 * discount + 0.15 * call, rel=3e-4)
    assert model.delta(stock_usd, vol_frac) == pytest.approx(0.15 * norm.cdf(d1), abs=0.15 * 1e-3)
    gamma = 0.15 * norm.pdf(d1) / (stock_usd * width)
    assert model.gamma(stock_usd, vol_frac) == pytest.approx(gamma, rel=0.01, abs=1e-7)


def test_far_below_it_is_a_bond_and_far_above_it_is_shares() -> None:
    """Only the debt bears the credit spread: in full where it will be paid, else not at all."""
    model = model_of(0.03, credit_spread_frac=0.04)
    assert model.price(10.0, 0.3) == pytest.approx(100.0 * math.exp(-0.07 * YEARS), rel=1e-3)
    assert model.delta(10.0, 0.3) == pytest.approx(0.0, abs=1e-6)
    assert model.price(10_000.0, 0.3) == pytest.approx(1_500.0, rel=1e-4)
    assert model.delta(10_000.0, 0.3) == pytest.approx(0.15, rel=1e-3)


def test_quotes_are_clean_and_of_any_face() -> None:
    """1% a year is 10 a bond, 5 a half; by September 1st 92 of the half's 183 days have accrued: 2.51."""
    assert (
        terms_of(coupon_frac=0.01).coupon_frac * 1_000.0
        == GOLDENS["conv.terms"]["correct"]["coupon_per_bond"]
    )
    later = day_number(dt.date(2021, 9, 1))
    percent = model_of(coupon_frac=0.01, day=later)
    dollars = model_of(coupon_frac=0.01, day=later, quote_face_usd=1_000.0)
    assert (percent.accrued, dollars.accrued) == pytest.approx((0.5 * 92 / 183, 5.0 * 92 / 183))
    assert dollars.price(600.0, 0.45) == pytest.approx(10.0 * percent.price(600.0, 0.45))
    on_the_day = model_of(coupon_frac=0.01, day=day_number(dt.date(2021, 12, 1)))
    assert on_the_day.accrued == 0.0
    # A stock near nothing leaves the coupons and the face, at no rate: five of 0.5 are still to come.
    assert on_the_day.price(1.0, 0.3) == pytest.approx(102.5, abs=1e-6)


def test_coupons_stay_at_the_end_of_the_month() -> None:
    """Counted back from the 31st of August, a coupon is due at the end of February, and the year has two."""
    model = model_of(coupon_frac=0.04, maturity="2024-08-31", day=day_number(dt.date(2021, 8, 31)))
    assert model.accrued == 0.0
    assert model.price(1.0, 0.3) == pytest.approx(112.0, abs=1e-6)


def test_a_fee_for_the_stock_makes_the_bond_cheaper() -> None:
    """20% a year for borrowed stock: what the hedge costs is off the price, and one converts early."""
    free, dear = model_of(), model_of(borrow_frac=0.2)
    assert dear.price(600.0, 0.45) < free.price(600.0, 0.45) - 5.0
    assert dear.price(1_400.0, 0.45) == pytest.approx(210.0, rel=1e-3)
    assert dear.delta(1_400.0, 0.45) == pytest.approx(0.15, rel=1e-2)


@pytest.mark.parametrize("vol_frac", [0.2, 0.45, 1.2])
def test_the_implied_volatility_gives_the_price_back(vol_frac: float) -> None:
    """To a hundredth of a point, with everything that a bond can have."""
    model = model_of(0.03, coupon_frac=0.02, credit_spread_frac=0.05, borrow_frac=0.01)
    found = model.implied_vol(model.price(600.0, vol_frac), 600.0)
    assert found == pytest.approx(vol_frac, abs=2e-4)


def test_beyond_the_bounds_it_is_the_bound() -> None:
    """Below its floor a bond has no volatility to find, and above its stock it has no end of it."""
    model = model_of()
    assert model.implied_vol(50.0, 600.0) == VOL_MIN_FRAC
    assert model.implied_vol(400.0, 600.0) == VOL_MAX_FRAC


def test_two_models_of_different_days_do_not_disturb_each_other() -> None:
    """QuantLib has one date for the whole process; a second bond must not move the first one's."""
    early, late = model_of(coupon_frac=0.01), model_of(coupon_frac=0.01, day=DAY + 500)
    before = early.price(600.0, 0.45), late.price(600.0, 0.45)
    assert (early.price(600.0, 0.45), late.price(600.0, 0.45)) == before
    assert before[0] > before[1]


def test_what_a_hedged_bond_earns_is_gamma_less_theta() -> None:
    """Up and down by 20 in 600, hedged at each close: 20 times half gamma times 400, less time."""
    days, low, high = 20, 600.0, 620.0
    models = [model_of(0.0, day=DAY + t) for t in range(days + 1)]
    path = [low if t % 2 == 0 else high for t in range(days + 1)]
    earned = gamma_usd = 0.0
    for t in range(days):
        move = path[t + 1] - path[t]
        hedge = models[t].delta(path[t], 0.45)
        earned += models[t + 1].price(path[t + 1], 0.45) - models[t].price(path[t], 0.45) - hedge * move
        gamma_usd += 0.5 * models[t].gamma(path[t], 0.45) * move**2
    theta_usd = models[days].price(low, 0.45) - models[0].price(low, 0.45)
    # Half of 0.000124 times 400 is 0.0248 a day and 100 of face: 0.49 in all, of which time takes half.
    assert gamma_usd == pytest.approx(20 * 0.5 * 0.15 * 0.4955 / 600.0 * 400.0, rel=0.03)
    assert theta_usd < 0.0
    assert earned == pytest.approx(gamma_usd + theta_usd, abs=0.03 * gamma_usd)


@pytest.mark.parametrize(
    "changes",
    [
        {"conversion_ratio": 0.0},
        {"stock": "TSLA24"},
        {"maturity": "soon"},
        {"vol_frac": 0.05},
        {"coupons_per_year": 3},
        {"coupon_frac": 5},
    ],
)
def test_terms_that_cannot_be_are_refused(changes: Any) -> None:
    """A bond priced by mistyped terms would look cheap."""
    with pytest.raises(ValidationError):
        terms_of(**changes)
