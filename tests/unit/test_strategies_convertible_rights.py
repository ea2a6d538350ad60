"""Calls and puts of convertible bonds: by hand, against closed forms, and fit to hedge with."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from engine.events import BarSlice
from engine.ports import StrategyContext
from strategies.convertible import Convertible, ConvertibleOptions
from strategies.convertible_bond import BondModel, ConvertibleTerms
from strategies.convertible_rights import Call, Nodes, Put, least, most
from strategies.deals import day_number

pytest.importorskip("QuantLib", reason="the extra convertible is not installed")

TODAY = dt.date(2021, 6, 1)
DAY = day_number(TODAY)
TERMS: dict[str, Any] = {
    "symbol": "B",
    "stock": "S",
    "conversion_ratio": 1.5,
    "maturity": "2024-06-01",
    "coupon_frac": 0.01,
    "credit_spread_frac": 0.04,
}
NEVER = {"calls": [{"date": "2021-06-01", "price": 1_000}]}
SOFT_THEN_HARD = {
    "calls": [
        {"date": "2022-06-01", "price": 100, "trigger_frac": 1.3},
        {"date": "2023-06-01", "price": 100},
    ]
}
HARD = {"calls": [{"date": "2022-06-01", "price": 102}, {"date": "2023-06-01", "price": 100}]}
PUT = {"puts": [{"date": "2022-06-01", "price": 100}]}


def model_of(rate_frac: float = 0.02, day: int = DAY, steps: int = 51, **changes: Any) -> BondModel:
    """Return a bond of 1,000 that gives 1.5 shares within three years: 1%, and 4% of credit spread."""
    return BondModel(ConvertibleTerms.model_validate(TERMS | changes), rate_frac, steps, day)


def nodes() -> Nodes:
    """Ten steps of ten days; 2 are paid on days 33 and 83, and accrue evenly."""
    return Nodes(100, 10, 2.0, [33, 83], lambda day: 2.0 * ((day + 17) % 50) / 50.0)


def test_a_call_holds_from_its_day_until_the_next_with_the_interest_of_each_node() -> None:
    """Node 30 pays the coupon of day 33: of 47/50 of it accrued, -0.12 are left to be paid beside it."""
    soft = Call(date=TODAY + dt.timedelta(days=25), price=103.0, trigger_frac=1.3)
    hard = Call(date=TODAY + dt.timedelta(days=65), price=101.0)
    found = most((soft, hard), TODAY, nodes())
    assert [day for day, _ in found] == [30, 40, 50, 60, 70, 80, 90, 100]
    assert [cash for day, cash in found if day < 70] == [130.0] * 4
    expected = [101 + 2 * 37 / 50, 101 + 2 * 47 / 50 - 2, 101 + 2 * 7 / 50, 101 + 2 * 17 / 50]
    assert [cash for day, cash in found if day >= 70] == pytest.approx(expected)
    (cash,) = [cash for day, cash in most((Call(date=soft.date, price=103.0),), TODAY, nodes()) if day == 30]
    assert cash == pytest.approx(103.0 - 0.12)


def test_a_put_between_nodes_is_carried_to_the_nearest_with_the_yield_of_the_debt() -> None:
    """Of day 26: 100 + 1.72 accrued - 2 that node 30 pays, and four days at 5%; over once it is today."""
    puts = [Put(date=TODAY + dt.timedelta(days=day), price=100.0) for day in (-5, 0, 26)]
    assert least(puts, TODAY, nodes(), 0.05) == [
        (30, pytest.approx((100.0 + 1.72 - 2.0) * math.exp(0.05 * 4 / 365)))
    ]
    # Tomorrow's is on the first node: nothing is exercised without notice.
    assert least([Put(date=TODAY + dt.timedelta(days=1), price=100.0)], TODAY, nodes(), 0.0)[0][0] == 10


@pytest.mark.parametrize("stock_usd", [300.0, 600.0, 1_000.0])
def test_a_call_far_above_changes_nothing(stock_usd: float) -> None:
    """But for the mean over a node's distance that smooths the price: half its variance times gamma."""
    plain, never = model_of(), model_of(**NEVER)
    assert never.price(stock_usd, 0.45) == pytest.approx(plain.price(stock_usd, 0.45), abs=0.03)
    assert never.delta(stock_usd, 0.45) == pytest.approx(plain.delta(stock_usd, 0.45), abs=0.15 * 0.01)


@pytest.mark.parametrize("vol_frac", [0.2, 0.45, 0.9])
@pytest.mark.parametrize("stock_usd", [200.0, 500.0, 700.0, 1_000.0])
def test_a_right_of_the_company_takes_value_and_one_of_the_holder_gives_some(
    stock_usd: float, vol_frac: float
) -> None:
    """Whatever the prices: callable <= plain <= puttable, and with both rights it is in between."""
    plain = model_of(**NEVER).price(stock_usd, vol_frac)
    called, put, both = (
        model_of(**rights).price(stock_usd, vol_frac)
        for rights in (SOFT_THEN_HARD, PUT, SOFT_THEN_HARD | PUT)
    )
    assert called <= plain + 1e-9
    assert put >= plain - 1e-9
    assert both >= called - 1e-9
    # What is called and converted bears no more credit spread, which can outweigh what the call takes.
    assert both <= put + 0.2


@pytest.mark.parametrize("vol_frac", [0.2, 0.45])
@pytest.mark.parametrize("stock_usd", [400.0, 600.0, 800.0])
def test_a_bond_called_at_a_trigger_is_in_closed_form(stock_usd: float, vol_frac: float) -> None:
    """Without rate, coupon and credit: parity, and a put that is knocked out where the bond is called."""
    strike, barrier, years = 1_000 / 1.5, 1.3 * 1_000 / 1.5, (dt.date(2024, 6, 1) - TODAY).days / 365
    width = vol_frac * math.sqrt(years)
    d1 = math.log(stock_usd / strike) / width + 0.5 * width
    put = strike * norm.cdf(width - d1) - stock_usd * norm.cdf(-d1)
    y = math.log(barrier**2 / (stock_usd * strike)) / width + 0.5 * width
    knocked = strike * stock_usd / barrier * norm.cdf(width - y) - barrier * norm.cdf(-y)
    expected = 0.15 * (stock_usd + put - knocked)
    calls = [{"date": "2021-06-01", "price": 100, "trigger_frac": 1.3}]
    bare = {"coupon_frac": 0.0, "credit_spread_frac": 0.0, "calls": calls}
    fine = model_of(0.0, steps=501, **bare).price(stock_usd, vol_frac)
    # A tree looks once a step, and so calls late: the dearer the coarser it is.
    assert fine == pytest.approx(expected, abs=0.5)
    assert expected - 0.1 < model_of(0.0, **bare).price(stock_usd, vol_frac) < expected + 2.0


def test_a_bond_put_tomorrow_is_worth_its_price() -> None:
    """At 300 the stock is no help: 91 without the put, 100 with it, and it hardly moves with the stock."""
    tomorrow = model_of(puts=[{"date": "2021-06-02", "price": 100}])
    assert model_of().price(300.0, 0.45) < 92.0
    assert tomorrow.price(300.0, 0.45) == pytest.approx(100.0, abs=0.1)
    assert abs(tomorrow.delta(300.0, 0.45)) < 0.15 * 0.05
    gone = model_of(day=DAY + 2, puts=[{"date": "2021-06-02", "price": 100}])
    assert gone.price(300.0, 0.45) < 92.0


@pytest.mark.parametrize("days", [200, 365, 371])
@pytest.mark.parametrize("steps", [51, 101])
def test_a_put_is_discounted_from_its_own_day(days: int, steps: int) -> None:
    """Of a worthless stock: coupons until then, and the price with its interest, at rate and spread."""
    when = TODAY + dt.timedelta(days=days)
    model = model_of(coupon_frac=0.04, steps=steps, puts=[{"date": when.isoformat(), "price": 103}])
    due = [(dt.date(2021, 12, 1) - TODAY).days, 365]
    accrued = 2.0 * {200: (200 - 183) / 182, 365: 0.0, 371: 6 / 183}[days]
    worth = sum(2.0 * math.exp(-0.06 * day / 365) for day in due if day <= days)
    worth += (103.0 + accrued) * math.exp(-0.06 * days / 365)
    assert model.price(1.0, 0.2) == pytest.approx(worth, abs=0.03)


@pytest.mark.parametrize("rights", [SOFT_THEN_HARD, HARD, PUT, SOFT_THEN_HARD | PUT])
def test_the_hedge_moves_smoothly_with_the_stock_and_the_days(rights: Any) -> None:
    """By less than the band of 5% of the shares for 1% of the stock; little as days pass."""
    stocks = 300.0 * np.exp(0.01 * np.arange(0, 125, 1))
    model = model_of(**rights)
    delta = np.array([model.delta(stock, 0.45) for stock in stocks]) / 0.15
    assert np.abs(np.diff(delta)).max() < 0.03
    assert ((delta > 0.0) & (delta < 1.0)).all()
    # Against a tree ten times as fine.
    fine = model_of(steps=501, **rights)
    for k in range(0, 125, 31):
        assert delta[k] == pytest.approx(fine.delta(stocks[k], 0.45) / 0.15, abs=0.05)
    # A call comes nearer from node to node: 21 days of its approach show in one.
    daily = np.diff([model_of(day=DAY + t, **rights).delta(600.0, 0.45) / 0.15 for t in range(0, 360, 3)])
    assert np.abs(daily).max() < 0.07
    assert np.abs(daily).sum() < 0.4


@pytest.mark.parametrize("rights", [SOFT_THEN_HARD, HARD, PUT])
def test_a_price_has_one_implied_volatility(rights: Any) -> None:
    """It rises with the volatility, so that what is found gives the price back."""
    model = model_of(**rights)
    prices = [model.price(600.0, vol_frac) for vol_frac in np.arange(0.10, 1.5, 0.02)]
    assert (np.diff(prices) > 0.0).all()
    for vol_frac in (0.2, 0.45, 0.8):
        assert model.implied_vol(model.price(600.0, vol_frac), 600.0) == pytest.approx(vol_frac, abs=2e-4)


def test_a_call_explains_a_low_price() -> None:
    """At what a callable bond is worth at 45%, one taken for plain looks cheap and is bought."""
    clean = model_of(**SOFT_THEN_HARD).price(600.0, 0.45)
    close = np.array([600.0, clean])
    bar = BarSlice(DAY * 86_400 * 10**9, DAY, 390, np.stack([close] * 4 + [close]))
    terms = {**TERMS, "vol_frac": 0.45}
    found = []
    for rights in ({}, SOFT_THEN_HARD):
        options = ConvertibleOptions.model_validate({"bonds": [terms | rights], "rate_frac": 0.02})
        strategy = Convertible(options, StrategyContext("vol", ("S", "B"), 3_900.0, 390, bar_min=1_440))
        found.append((len(strategy.on_slice(bar)), strategy.outlook().z.item(0)))
    (plain_said, plain_z), (said, z) = found
    assert plain_said == 2
    assert plain_z > 5.0
    assert said == 0
    assert z == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calls": [{"date": "2024-06-01", "price": 100}]}, "calls must be before the maturity"),
        ({"puts": [{"date": "2025-01-01", "price": 100}]}, "puts must be before the maturity"),
        (
            {"calls": list(reversed(HARD["calls"]))},
            "calls must be in ascending order of date, was 2023-06-01",
        ),
        ({"puts": [*PUT["puts"], *PUT["puts"]]}, "puts must be in ascending order of date"),
        ({"calls": [{"date": "2023-06-01", "price": 0}]}, "greater than 0"),
        ({"calls": [{"date": "2023-06-01", "price": 100, "trigger_frac": 130}]}, "less than or equal to 10"),
        ({"calls": [{"date": "2023-06-01"}]}, "Field required"),
        ({"puts": [{"date": "2023-06-01", "price": 100, "trigger_frac": 1.3}]}, "not permitted"),
    ],
)
def test_rights_that_cannot_be_are_refused(changes: Any, said: str) -> None:
    """A call in percent, or a put after the end, would make a bond look cheap."""
    with pytest.raises(ValidationError, match=said):
        model_of(**changes)
