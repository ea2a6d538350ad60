"""What must hold of takeovers and of convertible bonds, whatever the prices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import BarSlice
from engine.ports import StrategyContext
from strategies.convertible_bond import BondModel, ConvertibleTerms
from strategies.deals import breakeven_probability
from strategies.merger import Merger, MergerOptions

PRICES = st.floats(1.0, 1e4)
SHARES = 1.5


@given(broken=PRICES, gain=st.floats(0.01, 1e3), share=st.floats(0.0, 1.0))
def test_at_the_breakeven_probability_nothing_is_expected(broken: float, gain: float, share: float) -> None:
    """The price is the mean of what it pays and what it leaves, and the probability is one."""
    deal, price = broken + gain, broken + share * gain
    found = breakeven_probability(np.array([price]), np.array([deal]), np.array([broken]))[0]
    assert found == pytest.approx(share, abs=1e-8 * (1.0 + broken / gain))
    assert -1e-6 * (1.0 + broken / gain) <= found
    assert found * deal + (1.0 - found) * broken == pytest.approx(price)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a share and 2 in cash."""
    path = tmp_path_factory.mktemp("deals") / "deals.csv"
    columns = "target,acquirer,announced,expected_close,cash_usd,stock_ratio,break_price_usd,probability"
    path.write_text(f"{columns}\nBETA,GAMA,2021-05-01,2021-12-01,2,0.5,1,0.9\n")
    return path


@given(target=PRICES, acquirer=PRICES, end=PRICES)
def test_share_for_share_only_the_spread_is_left(
    table: Path, target: float, acquirer: float, end: float
) -> None:
    """1 USD of the target against the ratio earns the spread, wherever the acquirer ends."""
    context = StrategyContext("s", ("BETA", "GAMA"), 3_900.0, 390, bar_min=1_440)
    strategy = Merger(MergerOptions(deals=table), context)
    close = np.array([target, acquirer])
    strategy.on_slice(BarSlice(1, 18_779, 390, np.stack([close] * 4 + [np.ones(2)])))
    outlook = strategy.outlook()
    earned = (2.0 + 0.5 * end) / target - 1.0 - outlook.usd_ratio[0] * (end / acquirer - 1.0)
    scale = 1.0 + (end + acquirer) / target
    assert earned == pytest.approx(outlook.innovation[0] / target, abs=1e-9 * scale)


@settings(max_examples=30)
@given(
    stock=st.floats(300.0, 1_500.0),
    vol=st.floats(0.25, 0.8),
    move=st.floats(-0.03, 0.03),
    spread=st.floats(0.0, 0.05),
)
def test_a_hedged_day_earns_half_gamma_less_theta(
    stock: float, vol: float, move: float, spread: float
) -> None:
    """Of any move up to 3%: what is left is of third order.

    Delta may exceed all shares by a little: with the stock rises the part that the spread does not touch.
    """
    pytest.importorskip("QuantLib", reason="the extra convertible is not installed")
    terms = ConvertibleTerms.model_validate(
        {"symbol": "B", "stock": "S", "conversion_ratio": SHARES, "maturity": "2024-06-01"}
        | {"coupon_frac": 0.01, "credit_spread_frac": spread}
    )
    today, tomorrow = (BondModel(terms, 0.02, 101, day) for day in (18_779, 18_780))
    step = move * stock
    delta = today.delta(stock, vol)
    assert 0.0 <= delta <= 1.05 * terms.shares_per_quote
    earned = tomorrow.price(stock + step, vol) - today.price(stock, vol) - delta * step
    # The interest of a day is in the full price, and not in the clean one.
    theta = tomorrow.price(stock, vol) - today.price(stock, vol)
    half_gamma = 0.5 * today.gamma(stock, vol) * step**2
    assert earned == pytest.approx(half_gamma + theta, abs=0.1 * abs(half_gamma) + 3e-3)
    assert half_gamma >= -1e-3
