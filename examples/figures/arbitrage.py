"""Multi-asset arbitrage: the trades of an article, replayed, and its arithmetic done again."""

from __future__ import annotations

import datetime as dt
import json
import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from engine.app.config.load import load
from engine.app.replay.run import replay
from engine.app.replay.statistics import periods_per_year
from engine.app.terminal import Silent
from engine.carry import Funding
from engine.layout import Instrument
from examples.figures.bars import ENTRY, EXIT, MEAN, SD
from examples.figures.page import Value
from strategies.basis import BasisOptions, fair_value
from strategies.convertible import ConvertibleOptions
from strategies.convertible_bond import BondModel, ConvertibleTerms
from strategies.correlation import CorrelationOptions
from strategies.deals import annualised_frac, breakeven_probability, day_number, spread_frac
from strategies.pair_options import WINDOW_BARS_MIN
from strategies.zscore_pairs import ZscorePairsOptions

HERE = Path(__file__).parent
TOLD_SHARES, TOLD_CONTRACTS = 10_000, 100
EQUITY_USD = 100_000.0
STEPS = ConvertibleOptions.model_fields["steps"].default
TOLD_BOND = {
    "symbol": "BOND",
    "stock": "STOCK",
    "conversion_ratio": 1.5,
    "maturity": dt.date(2024, 6, 15),
    "coupon_frac": 0.01,
    "coupons_per_year": 1,
    "quote_face_usd": 1_000.0,
}


class Run(NamedTuple):
    """What a replay left: its summary, and its fills as symbol, quantity, and price of one unit held."""

    summary: dict[str, Any]
    fills: list[tuple[str, float, float]]
    signals: pd.DataFrame
    book: pd.DataFrame


def run(name: str, *overrides: str) -> Run:
    """Replay a configuration of this folder."""
    with tempfile.TemporaryDirectory() as folder:
        config = load(HERE / f"{name}.toml", overrides)
        out = replay(config, out=Path(folder) / "run", commands=None, argv=[], listener=Silent()).folder
        fills, signals, book = (
            pd.read_parquet(out / f"{table}.parquet") for table in ("fills", "signals", "book")
        )
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    columns = (fills[column].tolist() for column in ("symbol", "quantity", "price_usd"))
    return Run(summary, list(zip(*columns, strict=True)), signals, book)


def computed() -> dict[str, Value]:
    """Compute every figure of the section, by the id of its row."""
    return {**_basis(), **_drinks(), **_together(), **_merger(), **_convertible(), **_settings()}


def _pnl_usd(fills: list[tuple[str, float, float]], last: dict[str, float]) -> dict[str, float]:
    """Return profit by symbol: what was sold less what was bought, what is left at its last price."""
    found = dict.fromkeys(last, 0.0)
    for symbol, quantity, price in fills:
        found[symbol] += quantity * (last[symbol] - price)
    return found


def _basis() -> dict[str, Value]:
    """Replay the basis of March 2020."""
    march = run("basis")
    note = next(note for note in march.summary["notes"] if note["note"] == "mispriced")
    (_, shares, fund), (_, contracts, future), _, (_, _, settled) = march.fills
    legs = _pnl_usd(march.fills, {"SPY": 0.0, "ESH0": 0.0})
    frac = note["mispricing_frac"]
    carry = shares * fund * (fair_value(np.ones(1), np.ones(1), 0.0375, np.array([4.0]), 360)[0] - 1.0)
    one_bp_a_day = fair_value(np.array([fund]), np.ones(1), 1e-4 * 360.0, np.array([3.0]), 360)[0] - fund
    return {
        "basis.mispricing": note["mispricing_points"] / 10.0,
        "basis.contract": note["mispricing_usd"],
        "basis.frac": frac,
        "basis.annualised": frac * 365.0 / 3.0,
        "basis.annualised_trading": frac * 252.0 / 3.0,
        "basis.annualised_compound": (1.0 + frac) ** (365.0 / 3.0) - 1.0,
        "basis.shares": shares,
        "basis.contracts": -contracts,
        "basis.notional": TOLD_CONTRACTS * future,
        "basis.net": TOLD_SHARES * fund - TOLD_CONTRACTS * future,
        "basis.fund_leg": legs["SPY"],
        "basis.future_leg": legs["ESH0"],
        "basis.gross_pnl": legs["SPY"] + legs["ESH0"],
        "basis.less_carry": legs["SPY"] + legs["ESH0"] - float(carry),
        "basis.pnl": march.summary["pnl_usd"],
        "basis.told_pnl": legs["SPY"] + TOLD_CONTRACTS * (future - settled),
        "basis.expiry": _third_friday(2020, 3).isoformat(),
        "basis.code": float(one_bp_a_day),
    }


def _third_friday(year: int, month: int) -> dt.date:
    days = (dt.date(year, month, day) for day in range(15, 22))
    return next(day for day in days if day.weekday() == 4)


def _drinks() -> dict[str, Value]:
    """Replay two drinks, July 2024."""
    trade = run("drinks")
    (_, short, y_in), (_, long, x_in), (_, _, y_out), (_, _, x_out) = trade.fills
    gross, net = abs(short * y_in) + abs(long * x_in), short * y_in + long * x_in
    pnl = trade.summary["pnl_usd"]
    return {
        "drinks.spread": y_in - 1.15 * x_in,
        "drinks.z": float(trade.signals["z"].iloc[0]),
        "drinks.signals": float(run("drinks", "strategy.0.entry_z=1.5").summary["signals"]),
        "drinks.exit_spread": y_out - 1.15 * x_out,
        "drinks.exit_z": (EXIT - MEAN) / SD,
        "drinks.pnl": pnl,
        "drinks.pnl_at_mean": -short * (ENTRY - MEAN),
        "drinks.short": -short * y_in,
        "drinks.long": long * x_in,
        "drinks.net": net,
        "drinks.usd_ratio": long * x_in / (-short * y_in),
        "drinks.return": pnl / gross,
        "drinks.return_other": [pnl / (0.5 * gross), pnl / (long * x_in), pnl / (-short * y_in)],
        "drinks.annualised": pnl / gross * 52.0 / 3.0,
    }


def _together() -> dict[str, Value]:
    """Replay stocks and bonds, 2022."""
    year = run("together")
    bars = pd.read_csv(HERE / "together.csv")
    last = dict(zip(bars["symbol"].tolist(), bars["close"].tolist(), strict=True))
    legs = _pnl_usd(year.fills, last)
    held = year.book[year.book["gross_usd"] > 0.0].iloc[0]
    fall = {symbol: last[symbol] / price - 1.0 for symbol, _, price in year.fills}
    balanced = 0.6 * fall["SPY"] + 0.4 * fall["TLT"]
    return {
        "together.z": float(year.signals["z"].iloc[0]),
        "together.SPY": legs["SPY"],
        "together.TLT": legs["TLT"],
        "together.cash": year.summary["pnl_usd"] - legs["SPY"] - legs["TLT"],
        "together.pnl": year.summary["pnl_usd"],
        "together.return": year.summary["pnl_usd"] / EQUITY_USD,
        "together.net": float(held["net_usd"] / held["gross_usd"]),
        "together.balanced": balanced,
        "together.bonds": (-0.16 - 0.6 * fall["SPY"]) / 0.4,
    }


def _merger() -> dict[str, Value]:
    """Judge a cash deal of January 2022 at 95, bought at 82."""
    price, deal, shares = np.array([82.0]), np.array([95.0]), 10_000
    days = (dt.date(2023, 10, 13) - dt.date(2022, 1, 19)).days
    spread = spread_frac(price, deal)
    frac = float(spread[0])
    broken = np.array([60.0, 65.0])
    financing = Funding(0.036, 50.0, 25.0, 40.0)
    return {
        "merger.spread": float((deal - price)[0]),
        "merger.frac": frac,
        "merger.discount": -float(spread_frac(deal, price)[0]),
        "merger.pnl": shares * price.item() * frac,
        "merger.financing": days * financing.daily_usd(shares * price.item(), Instrument("ATVI")),
        "merger.days": days,
        "merger.annualised_months": float(annualised_frac(spread, np.array([365.0 * 21.0 / 12.0]))[0]),
        "merger.annualised": float(annualised_frac(spread, np.array([float(days)]))[0]),
        "merger.annualised_compound": (1.0 + frac) ** (365.0 / days) - 1.0,
        "merger.loss": spread_frac(price, broken).tolist(),
        "merger.breakeven": breakeven_probability(price, deal, broken).tolist(),
        "merger.breakeven_told": float(
            breakeven_probability(np.ones(1), np.array([1.16]), np.array([0.73]))[0]
        ),
    }


def _bond(credit_spread_frac: float) -> tuple[ConvertibleTerms, BondModel]:
    """Return the bond of 2021, and its model three years before maturity without rates."""
    terms = ConvertibleTerms.model_validate({**TOLD_BOND, "credit_spread_frac": credit_spread_frac})
    return terms, BondModel(terms, 0.0, STEPS, day_number(dt.date(2021, 6, 15)))


def _convertible() -> dict[str, Value]:
    """Hedge a bond of 2021 on a share at 600, sold at par: 100 bonds, 150 shares short, 12 months."""
    bonds, sold, bond_usd, stock_usd = 100, 150.0, (1_000.0, 1_200.0), (600.0, 800.0)
    bond, model = _bond(0.0)
    delta = model.delta(stock_usd[0], 0.45)
    coupon = bond.coupon_frac * bond.face_usd
    earned = bonds * (bond_usd[1] - bond_usd[0] + coupon)
    rise = stock_usd[1] - stock_usd[0]
    borrow = Funding(0.0, 0.0, 0.0, 2_000.0).daily_usd(-sold * stock_usd[0], Instrument("TSLA")) * 360.0
    return {
        "convertible.price": bond.conversion_price_usd,
        "convertible.parity": bond.parity(stock_usd[0]),
        "convertible.coupon": coupon,
        "convertible.coupons": bonds * coupon,
        "convertible.worth": model.price(stock_usd[0], 0.45),
        "convertible.credit": brentq(lambda c: _bond(c)[1].price(stock_usd[0], 0.45) - bond_usd[0], 0.0, 0.5),
        "convertible.delta": delta / bond.shares_per_quote,
        "convertible.shares": bonds * delta,
        "convertible.net_shares": bonds * delta - sold,
        "convertible.stock_leg": -sold * rise,
        "convertible.bond_leg": bonds * (bond_usd[1] - bond_usd[0]),
        "convertible.pnl": earned - sold * rise,
        "convertible.missing": 12_000.0 - (earned - sold * rise),
        "convertible.hedged": earned - bonds * delta * rise,
        "convertible.borrow": borrow,
    }


def _settings() -> dict[str, Value]:
    """Return what the code of the article fixes, beside Astra's defaults."""
    z = ZscorePairsOptions.model_fields
    return {
        "setting.basis": BasisOptions.model_fields["entry_frac"].default,
        "setting.entry": z["entry_z"].default,
        "setting.exit": z["exit_z"].default,
        "setting.significance": z["significance"].default,
        "setting.window": WINDOW_BARS_MIN,
        "setting.correlation": CorrelationOptions.model_fields["entry_corr"].default,
        "setting.periods": math.sqrt(periods_per_year("XNYS", 1_440) / 7.0),
    }
