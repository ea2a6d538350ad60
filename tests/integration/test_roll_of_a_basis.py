"""A basis is rolled from contract to contract on its whole share of the capital, and on no more than that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daily_bars import FREE, Run, run_daily, session_dates

NAN = float("nan")
CONFIG = """
[instruments.SPY]
kind = "fund"
[instruments.ESH0]
kind = "future"
multiplier = 50
expiry = 2020-03-20
[instruments.ESM0]
kind = "future"
multiplier = 50
expiry = 2020-06-19
[book]
equity_usd = 5_000_000
[[strategy]]
kind = "basis"
capital_frac = 0.8
pairs = ["SPY/ESH0", "SPY/ESM0"]
quote_ratio = 10
rate_frac = 0.0
roll_days = 5
[allocator]
kind = "{allocator}"
[risk]
history = "daily.csv"
var_limit_usd = 4_000_000
"""
DATES = session_dates("2020-03-09", 9)  # March is left on Monday the 16th, and filled on Tuesday
FUND = [240.0 + 0.1 * (t % 2) for t in range(9)]


def replayed(folder: Path, allocator: str, is_missed: bool) -> Run:
    """Replay nine days on which both contracts are 1.5% dear; March has no bar on the day of its roll."""
    before = [
        f"{date},{symbol},{price * (1.0 - 0.01 * (t % 2))}"
        for t, date in enumerate(session_dates("2020-01-02", 30))
        for symbol, price in (("SPY", 240.0), ("ESH0", 2_436.0), ("ESM0", 2_436.0))
    ]
    (folder / "daily.csv").write_text("\n".join(["date,symbol,close", *before]))
    future = [10.15 * price for price in FUND]
    march = [NAN if is_missed and date == "2020-03-16" else f for date, f in zip(DATES, future, strict=True)]
    opens = {"SPY": FUND, "ESH0": march, "ESM0": future}
    closes = {"SPY": FUND, "ESH0": march, "ESM0": future}
    text = CONFIG.format(allocator=allocator) + FREE
    if allocator == "mean_variance":
        text = text.replace("[risk]", "every_min = 390\nhorizon_min = 1950\nnet_max_frac = 0.2\n[risk]")
    return run_daily(folder, text, DATES, closes, opens)


@pytest.mark.parametrize("is_missed", [False, True])
@pytest.mark.parametrize("allocator", ["direct", "mean_variance"])
def test_a_roll_keeps_to_the_share(allocator: str, is_missed: bool, tmp_path: Path) -> None:
    """80% of equity in one contract before and after; halves would waste it, and both at once exceed it."""
    run = replayed(tmp_path, allocator, is_missed)
    assert run.summary["exit_reason"] == "completed"
    gross_frac = (run.table("book")["gross_usd"] / run.table("book")["equity_usd"]).to_numpy()
    assert gross_frac[1:] == pytest.approx(0.8, rel=0.01)
    sleeves = run.table("sleeves")
    held = sleeves.pivot_table(index="ts", columns="spread", values="gross_usd") > 1.0
    days = 6 if is_missed else 5
    assert held["SPY/ESH0"].tolist() == [False] + [True] * days + [False] * (8 - days)
    assert (held["SPY/ESM0"] ^ held["SPY/ESH0"]).tolist() == [False] + [True] * 8
