"""A takeover and a convertible bond as textbooks tell them, replayed: what is true, and what is not.

Figures are in ``tests/goldens/textbook_deals.json``. Decisions are of a close, fills of the next open.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.carry import Funding
from engine.layout import Instrument
from tests.support.daily_bars import FREE, run_daily, session_dates

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "textbook_deals.json").read_text())

DEALS = """target,announced,expected_close,cash_usd,break_price_usd,probability,status
ATVI,2022-01-18,2023-06-30,95,60,0.75,
ATVI,2022-04-01,2022-06-15,95,60,0.95,
"""
MERGER = f"""
[book]
equity_usd = 1_000_000
{FREE}
[[strategy]]
kind = "merger"
deals = "deals.csv"
[allocator]
kind = "direct"
unit_usd = 820_000
[risk]
var_limit_usd = 900_000
"""


def test_ten_thousand_shares_of_a_target_earn_the_spread(tmp_path: Path) -> None:
    """Bought at 82 the day after it was announced, sold at 95: 130,000 USD, 15.9% of what it took."""
    dates = session_dates("2021-12-01", 120)
    known, agreed = dates.index("2022-01-18"), dates.index("2022-04-14")
    # The jump of the 18th is beyond the collar, and is confirmed on the 19th.
    closes = [65.0 + 0.3 * (t % 2) for t in range(known)]
    closes += [82.0] * (agreed - known) + [95.0] * (len(dates) - agreed)
    (tmp_path / "deals.csv").write_text(DEALS)
    done = run_daily(tmp_path, MERGER, dates, {"ATVI": closes})
    assert done.sides() == [("2022-01-19", "LONG"), ("2022-04-14", "FLAT")]
    assert done.fills() == [("ATVI", 10_000.0, 82.0), ("ATVI", -10_000.0, 95.0)]
    golden = GOLDENS["merger.spread"]["correct"]
    assert done.summary["pnl_usd"] == pytest.approx(golden["pnl_10000"])
    assert done.summary["pnl_usd"] / 820_000 == pytest.approx(golden["gross"], abs=1e-6)


@pytest.mark.parametrize(("shares", "key"), [(150, "static_total"), (90, "static_with_90_shares")])
def test_a_static_hedge_of_all_shares_loses(shares: int, key: str, tmp_path: Path) -> None:
    """100 bonds from 1,000 to 1,200 against a stock from 600 to 800: -9,000 with the coupon, not +12,000."""
    golden = GOLDENS["conv.pnl"]["correct"]
    held = f"""
[instruments.TSLA24]
kind = "bond"
multiplier = 10
[book]
equity_usd = 100_000
positions = {{ TSLA24 = 100, TSLA = -{shares} }}
{FREE}
[[strategy]]
kind = "correlation"
pairs = ["TSLA/TSLA24"]
window_min = 3900
[allocator]
kind = "none"
[risk]
var_limit_usd = 1_000_000
"""
    dates = session_dates("2021-06-01", 6)
    closes = {
        "TSLA": [600.0, 640.0, 680.0, 720.0, 760.0, 800.0],
        "TSLA24": [100.0, 104.0, 108.0, 112.0, 116.0, 120.0],
    }
    pnl_usd = run_daily(tmp_path, held, dates, closes).summary["pnl_usd"]
    assert pnl_usd == pytest.approx(golden["bond_leg"] + golden["stock_leg"] * shares / 150)
    # The book knows no coupons: 10 a bond are added by hand.
    assert pnl_usd + golden["coupon"] == pytest.approx(golden[key])
    assert golden["coupon"] == 100 * GOLDENS["conv.terms"]["correct"]["coupon_per_bond"]
    assert 12_000 - golden["static_total"] == golden["unexplained"]


def test_the_borrowed_stock_alone_costs_more_than_the_trade_is_told_to_earn() -> None:
    """20% a year on 90,000 USD is 18,000, actual/360 and before any rebate."""
    a_day_usd = Funding(0.0, 0.0, 0.0, 2_000.0).daily_usd(-90_000.0, Instrument("TSLA"))
    assert 360 * a_day_usd == pytest.approx(GOLDENS["conv.pnl"]["correct"]["borrow_cost_20pct_on_90k"])
