"""One-day VaR of frozen books through a daily history: what the tests of ``risk/backtest.py`` judge."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from engine.events import BoolArray, FloatArray
from engine.oversight import Market, RiskModel
from risk.factor import market_of
from risk.historical import is_complete

#: As the engine shrinks at least.
SHRINK_FRAC: Final = 1e-6


class DailyRisk(msgspec.Struct, frozen=True):
    """VaR, ES and what came, day by day.

    Parameters
    ----------
    var_usd, es_usd : FloatArray, shape (n_days,)
        Of one day, at each close; 0 for a flat book, NaN when unknown.
    pnl_usd : FloatArray, shape (n_days,)
        Of the frozen book to the next close, without costs.
    reason : tuple of str
        Why VaR is unknown, by day; empty where it is known.
    """

    var_usd: FloatArray
    es_usd: FloatArray
    pnl_usd: FloatArray
    reason: tuple[str, ...]


def market_of_days(window: FloatArray) -> Market:
    """Return the market of a window of log returns, shape (n_days, n): every day weighs the same.

    Returns are not centred; a symbol that lacks a day, or never moved, is not known.
    """
    known: BoolArray = is_complete(window)
    returns = np.where(known, window, 0.0)
    covariance = np.einsum("ti,tj->ij", returns, returns) / len(window)
    return market_of(covariance, known, SHRINK_FRAC).market


def with_scenarios(
    model: RiskModel, market: Market, returns_daily: FloatArray, memory: FloatArray
) -> tuple[Market, FloatArray]:
    """Add to a market what a model makes of daily returns, if it asks for any.

    Parameters
    ----------
    model : RiskModel
    market : Market
    returns_daily : FloatArray, shape (n_days, n)
        Log returns, oldest first; the model sees the last ``window_days`` of them.
    memory : FloatArray
        What this function returned for the day before; empty at first.

    Returns
    -------
    market : Market
        A symbol that the scenarios leave out is not known.
    memory : FloatArray
    """
    if not model.window_days:
        return market, memory
    prepared = model.prepare(returns_daily[-model.window_days :], memory)
    known = market.known & prepared.known
    return msgspec.structs.replace(market, known=known, scenarios=prepared.scenarios), prepared.memory


def roll(
    model: RiskModel, returns_daily: FloatArray, holdings_usd: FloatArray, window_days: int
) -> DailyRisk:
    """Measure at every close from a full window on, and hold it against the next day.

    Parameters
    ----------
    model : RiskModel
        Of a horizon of one day.
    returns_daily : FloatArray, shape (n_returns, n)
        Close-to-close log returns, oldest first.
    holdings_usd : FloatArray, shape (n_returns, n)
        Of the book that each return was earned with: row t is held at the close that return t begins from.
    window_days : int
        Returns that each measure sees; nothing later is shown to the model.

    Returns
    -------
    DailyRisk
        Of ``n_returns - window_days`` days.
    """
    n_days = max(len(returns_daily) - window_days, 0)
    var_usd, es_usd, pnl_usd = (np.full(n_days, np.nan) for _ in range(3))
    memory = np.empty((0, 0))
    reasons: list[str] = []
    for day in range(n_days):
        window = returns_daily[day : day + window_days]
        market, memory = with_scenarios(model, market_of_days(window), window, memory)
        held = holdings_usd[day + window_days]
        report = model.measure(held, market)
        var_usd[day], es_usd[day] = report.var_usd, report.es_usd
        reasons.append(report.reason)
        pnl_usd[day] = one_day_pnl_usd(held, returns_daily[day + window_days])
    return DailyRisk(var_usd, es_usd, pnl_usd, tuple(reasons))


def one_day_pnl_usd(holdings_usd: FloatArray, return_log: FloatArray) -> float:
    """Return what a frozen book earns under log returns, both (n,); a symbol not held does not matter."""
    held = holdings_usd != 0.0
    return float(holdings_usd[held] @ np.expm1(return_log[held]))
