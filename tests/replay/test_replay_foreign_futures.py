"""Futures in euros through the whole engine: the basis trade against a fund, and an opening position."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from engine.app.replay.past_bars import past_bars
from engine.app.studies.book_input import read_priced_book
from engine.app.studies.book_table import describe
from engine.app.studies.risk_tape import tape_closes
from tests.support.daily_bars import FREE, Run, run_daily, run_file, session_dates, write_daily
from tests.support.source import ROOT

CONFIG = """symbols = ["EXW1", "FESX", "EURUSD"]
[instruments.EXW1]
kind = "fund"
currency = "EUR"
lot = 1000
[instruments.FESX]
kind = "future"
currency = "EUR"
multiplier = 10
lot = 1
expiry = 2026-12-18
[[strategy]]
kind = "basis"
pairs = ["EXW1/FESX"]
quote_ratio = 100
rate_frac = 0.0
[allocator]
kind = "direct"
unit_usd = 2_000_000
[risk]
var_limit_usd = 300_000
[book]
equity_usd = 5_000_000
"""
N = 40
FUND = 40.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(5).standard_normal(N)))
RATE = 1.10 * np.exp(np.cumsum(0.008 * np.random.default_rng(6).standard_normal(N)))
#: Dear by 0.6% for six sessions, once risk knows the three.
DEAR = np.where((np.arange(N) >= 26) & (np.arange(N) < 32), 1.006, 1.0)


def run(folder: Path) -> Run:
    closes = {"EXW1": FUND.tolist(), "FESX": (100.0 * FUND * DEAR).tolist(), "EURUSD": RATE.tolist()}
    return run_daily(folder, CONFIG + FREE, session_dates("2026-02-02", N), closes)


def test_the_basis_in_euros_earns_the_basis_and_the_fund_its_currency(tmp_path: Path) -> None:
    """P&L is contracts x 10 x change x rate, and shares x change of their dollars; all tables agree."""
    done = run(tmp_path / "run")
    assert (done.summary["halts"], done.summary["rejected"]) == (0, {})
    fills = done.table("fills")
    (entered, left) = sorted(fills["ts"].unique())
    assert len(fills) == 4
    first = fills[fills["ts"] == entered].set_index("symbol")
    shares, contracts = first.loc["EXW1", "quantity"], first.loc["FESX", "quantity"]
    assert shares == -1_000.0 * contracts > 0.0
    # Decided at close 26, in at the open of 27; converged at close 32, out at the open of 33.
    assert first.loc["FESX", "price_usd"] == pytest.approx(10.0 * 100.0 * FUND[26] * 1.006 * RATE[26])
    held = slice(26, 33)
    future, fund = 100.0 * (FUND * DEAR)[held], (FUND * RATE)[held]
    earned_usd = contracts * 10.0 * (np.diff(future) * RATE[27:33]).sum() + shares * (fund[-1] - fund[0])
    assert done.summary["pnl_usd"] == pytest.approx(earned_usd, abs=0.01)
    assert done.table("sleeves").groupby("ts")["pnl_usd"].sum().iloc[-1] == pytest.approx(
        earned_usd, abs=0.01
    )
    assert done.table("trades")["pnl_usd"].tolist() == pytest.approx([earned_usd], abs=0.01)
    # What the notional of the future would have shown is another number altogether.
    as_holding = contracts * 10.0 * np.diff((100.0 * FUND * DEAR * RATE)[[26, 32]])[0]
    assert abs(as_holding + shares * (fund[-1] - fund[0]) - earned_usd) > 1_000.0
    assert left > entered
    assert run(tmp_path / "again").summary["digest"] == done.summary["digest"]


def test_a_backtest_of_var_sees_the_same_gains(tmp_path: Path) -> None:
    """Of the book frozen at every close, from 27 to 32: the next bar's change of quotes at its rate."""
    done = run(tmp_path)
    fills = done.table("fills").groupby("symbol")["quantity"].first()
    config, bars = past_bars(done.folder, None)
    closes = asyncio.run(tape_closes(config, bars, done.folder / "fills.parquet", 5))
    pnl_usd = np.array([close.pnl_usd for close in closes])
    future, fund = 100.0 * FUND * DEAR, FUND * RATE
    expected = fills["FESX"] * 10.0 * np.diff(future) * RATE[1:] + fills["EXW1"] * np.diff(fund)
    assert pnl_usd[27:33] == pytest.approx(expected[27:33], abs=0.01)
    assert (pnl_usd[:27] == 0.0).all()
    assert (pnl_usd[33:] == 0.0).all()


def test_an_opening_position_gains_its_change_and_stands_for_its_notional(tmp_path: Path) -> None:
    """2 x 10 x 40 x 1.20 = 960; two contracts at 4,040 stand for 2 x 10 x 4,040 x 1.20 = 96,960."""
    closes = {"EXW1": [40.0, 40.0, 40.4], "FESX": [4_000.0, 4_000.0, 4_040.0], "EURUSD": [1.10, 1.05, 1.20]}
    config = f"{CONFIG}positions = {{ FESX = 2 }}\n{FREE}"
    done = run_daily(tmp_path, config, session_dates("2026-02-02", 3), closes)
    assert done.table("book")["equity_usd"].tolist() == pytest.approx([5e6, 5e6, 5_000_960.0], abs=1e-6)
    sleeves = done.table("sleeves").groupby("spread")["pnl_usd"].last()
    assert sleeves["FESX"] == pytest.approx(960.0, abs=1e-6)
    answer = describe(read_priced_book(tmp_path / "astra.toml"))
    assert answer["net_usd"] == pytest.approx(96_960.0)
    assert answer["funding"]["daily_usd"] == 0.0


def test_the_configuration_of_the_document_gains_what_its_table_says(tmp_path: Path) -> None:
    """A reader copies it as it stands: a rate that moves alone earns nothing, 40 points are 960 USD."""
    document = (ROOT / "docs/instruments.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(\[feed\].*?)^```$", document, re.MULTILINE | re.DOTALL)
    closes = {"EXW1": [40.0, 40.0, 40.4], "FESX": [4_000.0, 4_000.0, 4_040.0], "EURUSD": [1.10, 1.20, 1.20]}
    write_daily(tmp_path, "", session_dates("2026-12-01", 3), closes)
    (tmp_path / "astra.toml").write_text(text, encoding="utf-8")
    done = run_file(tmp_path / "astra.toml", tmp_path)
    assert done.table("book")["equity_usd"].tolist() == pytest.approx([5e6, 5e6, 5_000_960.0], abs=1e-6)
    assert len(done.table("fills")) == 0
