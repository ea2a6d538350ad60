"""The ASTRA deck: its book, what it pays for it, its risk, its optimiser and its statistics."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from engine.app.config.tables import BookTable, FundingTable, RiskTable
from engine.app.given import read_json
from engine.app.replay.statistics import EquityStatistics, periods_per_year
from engine.app.studies.book_input import book_of, read_priced_book
from engine.app.studies.book_table import describe
from engine.carry import Funding
from engine.layout import Instrument
from examples.figures.page import Value
from examples.figures.trade_offs import HERE, document
from risk.book_file import measure_book
from risk.stress import k_sigma
from risk.var import EllipticalVar, GaussianVarOptions
from strategies.allocators import REGISTRY as ALLOCATORS
from strategies.allocators.problem_file import optimise
from strategies.pair_options import PairRules

#: Stated: notionals, a day's funding, and net exposure, which leaves room for a sixth name.
LISTED_USD = {"AAPL": 415_522.0, "MSFT": 416_000.0, "JPM": -381_868.0, "GS": -457_070.0, "MS": -180_745.0}
FUNDING_USD = {"AAPL": -47.27, "MSFT": -47.32, "JPM": 31.24, "GS": 37.39}
NET_USD = 78_000.0
BOOK = HERE.parent / "deck" / "book.json"
EQUITY_USD = 1_000_000.0
VAR_USD, VOLATILITY_FRAC = 118_595.64, 0.1855
RETURN_FRAC, SHARPE, SESSIONS, SESSION_MIN = 0.0583, 15.10, 5, 390
DAYS_PER_YEAR = 252.0


def computed() -> dict[str, Value]:
    """Compute every figure of the section, by the id of its row."""
    return {**_book(), **_funding(), **_risk(), **_optimiser(), **_statistics(), **_settings()}


def _book() -> dict[str, Value]:
    """Take what ``astra book`` says of the positions."""
    answer = describe(read_priced_book(BOOK))
    marked = {row["symbol"]: row["notional_usd"] for row in answer["positions"]}
    return {
        **{f"notional.{symbol}": marked[symbol] for symbol in LISTED_USD},
        "listed.gross": sum(map(abs, LISTED_USD.values())),
        "listed.net": sum(LISTED_USD.values()),
        "googl": NET_USD - sum(LISTED_USD.values()),
        "gross": answer["gross_usd"],
        "net": answer["net_usd"],
        "net_of_gross": answer["net_of_gross_frac"],
        "leverage": answer["gross_of_equity_frac"],
    }


def _funding() -> dict[str, Value]:
    """Take what ``astra book --funding`` says, at the rate that the deck was made with."""
    document = read_json(BOOK)
    used = describe(book_of(document))
    printed = describe(book_of({**document, "funding": {}}))  # the default rate is the one that is printed
    daily = {row["symbol"]: row["funding_daily_usd"] for row in used["positions"]}
    at_printed = {row["symbol"]: row for row in printed["positions"]}
    total = used["funding"]
    return {
        **{f"funding.{symbol}": usd for symbol, usd in daily.items()},
        "funding.printed_rate": [at_printed[symbol]["funding_daily_usd"] for symbol in FUNDING_USD],
        "funding.rate": _rate_behind(),
        "funding.long": at_printed["AAPL"]["funding_frac"],
        "funding.short": at_printed["JPM"]["funding_frac"],
        "funding.listed": sum(daily[symbol] for symbol in FUNDING_USD),
        "funding.total": total["daily_usd"],
        "funding.annual": total["annual_usd"],
        "funding.hurdle": total["hurdle_frac"],
        "funding.hurdle_of_gross": total["cost_of_gross_frac"],
    }


def _rate_behind() -> float:
    """Return the one rate, to a twentieth of a basis point, that gives all stated figures to the cent."""
    table = FundingTable()
    spreads = (table.long_spread_bps, table.short_spread_bps, table.borrow_bps)
    for rate_frac in np.arange(0.0350, 0.0370, 5e-6).tolist():
        funding = Funding(rate_frac, *spreads)
        daily = {symbol: funding.daily_usd(LISTED_USD[symbol], Instrument(symbol)) for symbol in FUNDING_USD}
        if all(abs(daily[symbol] - usd) <= 0.005 for symbol, usd in FUNDING_USD.items()):
            return float(round(rate_frac, 6))
    return math.nan


def _measured(volatility_frac: float) -> dict[str, Any]:
    """Measure the desk's equity held in one thing of a given annual volatility."""
    variance = volatility_frac**2 / DAYS_PER_YEAR
    return measure_book({"symbols": ["BOOK"], "holdings_usd": [EQUITY_USD], "covariance_daily": [[variance]]})


def _risk() -> dict[str, Value]:
    options = GaussianVarOptions()
    error_usd = VAR_USD * EllipticalVar(options, 1).mc_error_frac
    at_stated = _measured(VOLATILITY_FRAC)["var_analytic_usd"]
    implied_frac = VOLATILITY_FRAC * VAR_USD / at_stated  # VaR is proportional to volatility
    (three,) = k_sigma(
        np.array([EQUITY_USD]), np.array([[implied_frac**2 / DAYS_PER_YEAR]]), options.horizon_days, [3.0]
    )
    return {
        "var.capital": VAR_USD / 0.1186,
        "var.volatility": implied_frac,
        "var.at_optimum": at_stated / EQUITY_USD,
        "var.error_frac": error_usd / VAR_USD,
        "var.error": error_usd,
        "var.interval": NormalDist().inv_cdf(0.975) * error_usd,
        "var.three_sigma": three.loss_usd / EQUITY_USD,
    }


def _optimiser() -> dict[str, Value]:
    names = ("as_printed", "target_return", "min_variance")
    printed, best, least = (optimise(document(f"deck/{name}.json")) for name in names)
    symbols = document("deck/min_variance.json")["symbols"]
    held, invested = (dict(zip(symbols, one["weights_frac"], strict=True)) for one in (best, least))
    return {
        "optimum.printed_gross": printed["gross_frac"],
        "optimum.gross": best["gross_frac"],
        "optimum.net": best["net_frac"],
        "optimum.MSFT": held["MSFT"],
        "optimum.longs": sum(weight for weight in held.values() if weight > 0.0),
        "optimum.rest": [held[symbol] for symbol in ("GS", "GOOGL", "JPM")],
        "optimum.invested": [invested[symbol] for symbol in ("JPM", "MSFT")],
        "optimum.volatility": math.sqrt(least["objective"]),
    }


def _statistics() -> dict[str, Value]:
    """Five sessions of minutes whose mean and deviation give the stated return and Sharpe ratio."""
    n, per_year = SESSIONS * SESSION_MIN, periods_per_year("XNYS")
    mean = RETURN_FRAC / n
    sd = mean / SHARPE * math.sqrt(per_year)
    sign = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    returns = mean + sd * math.sqrt((n - 1) / n) * sign
    equity = EQUITY_USD * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    days = np.concatenate([[0], np.repeat(np.arange(SESSIONS), SESSION_MIN)])
    minutes = np.concatenate([[0], np.tile(np.arange(1, SESSION_MIN + 1), SESSIONS)])
    statistics = EquityStatistics(per_year)
    statistics.update(((days * 1_440 + minutes) * 60 + 1) * 1_000_000_000, equity)
    error = statistics.sharpe_se
    z = NormalDist().inv_cdf(0.975)
    return {
        "sharpe": f"none: {statistics.sharpe_reason}" if statistics.sharpe is None else statistics.sharpe,
        "sharpe.error": error,
        "sharpe.t": SHARPE / error,
        "sharpe.interval": [SHARPE - z * error, SHARPE + z * error],
        "sharpe.annual": [RETURN_FRAC / SESSIONS * DAYS_PER_YEAR, sd * math.sqrt(per_year)],
    }


def _settings() -> dict[str, Value]:
    """Return what the deck fixes, beside Astra's defaults."""
    risk, options = RiskTable(), GaussianVarOptions()
    caps: Any = ALLOCATORS["mean_variance"].options()
    return {
        "setting.limit": risk.var_limit_usd,
        "setting.confidence": options.confidence,
        "setting.horizon": options.horizon_days,
        "setting.scenarios": options.scenarios,
        "setting.entry": PairRules.model_fields["entry_z"].default,
        "setting.equity": BookTable().equity_usd,
        "setting.caps": [caps.gross_max_frac, caps.net_max_frac],
    }
