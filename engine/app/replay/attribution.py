"""Who earned what: P&L, costs, risk and trades of each strategy, from the tables of a run folder.

``sleeves.parquet`` says what every sleeve had earned at the close of each session, ``trades.parquet`` has the
round trips. Sums over strategies are those of the book. Definitions stand in docs/maths/performance.md.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.app.config.load import Config
from engine.app.replay.statistics import SESSIONS_MIN, periods_per_year, win_rate_frac
from engine.app.report.data import Columns, read_table
from engine.events import DAY_NS, FloatArray, IntArray

#: Names of the opening book that no strategy trades.
NOBODY: Final = "book"
_SLEEVES: Final = ("ts", "strategy", "spread", "gross_usd", "pnl_usd", "costs_usd", "gross_mean_usd")
_TRADES: Final = ("ts", "ts_entry", "strategy", "gross_usd", "pnl_usd", "costs_usd")
_MINUTES_A_DAY: Final = 1_440


class Curves(msgspec.Struct, frozen=True):
    """A figure of every strategy at the close of every session, cumulative for P&L.

    Parameters
    ----------
    ts_ns : IntArray, shape (n_sessions,)
    names : tuple of str
        Strategies in the order of the configuration, then ``book`` for the opening book's own names.
    values : FloatArray, shape (n_sessions, n_strategies)
    """

    ts_ns: IntArray
    names: tuple[str, ...]
    values: FloatArray


def curves_of(sleeves: Columns, column: str = "pnl_usd") -> Curves:
    """Sum a column of ``sleeves.parquet`` by session and strategy."""
    ts_ns, session = np.unique(sleeves.ts_ns, return_inverse=True)
    names = tuple(dict.fromkeys(sleeves.texts["strategy"]))
    code = {name: k for k, name in enumerate(names)}
    values = np.zeros((len(ts_ns), len(names)))
    owner = np.fromiter((code[name] for name in sleeves.texts["strategy"]), np.int64, len(sleeves))
    np.add.at(values, (session, owner), sleeves.numbers[column])
    return Curves(ts_ns, tuple(name or NOBODY for name in names), values)


def strategies_of(folder: Path, config: Config) -> dict[str, dict[str, dict[str, float | None]]]:
    """Sum up every strategy of a run, as ``summary.json`` keeps it under ``strategies``.

    Parameters
    ----------
    folder : Path
        Its tables are complete.
    config : Config
        Its equity is what fractions are of, its calendar says how many sessions a year has.
    """
    sleeves, trades = read_table(folder, "sleeves", _SLEEVES), read_table(folder, "trades", _TRADES)
    pnl = curves_of(sleeves)
    costs, gross = (curves_of(sleeves, column).values for column in ("costs_usd", "gross_mean_usd"))
    per_year = periods_per_year(config.universe.calendar, _MINUTES_A_DAY)
    owner = np.array([name or NOBODY for name in trades.texts["strategy"]], dtype=object)
    found = {
        name: {
            "pnl_usd": float(pnl.values[-1, k]),
            "costs_usd": float(costs[-1, k]),
            "gross_mean_usd": float(gross[:, k].mean()),
            **curve_figures(pnl.values[:, k], config.book.equity_usd, per_year),
            **trade_figures(trades, owner == name),
        }
        for k, name in enumerate(pnl.names)
    }
    return {"strategies": {name: _known(figures) for name, figures in found.items()}}


def curve_figures(pnl_usd: FloatArray, equity_usd: float, sessions_per_year: float) -> dict[str, float]:
    """Return what the P&L of a strategy by session says of it; NaN under 20 sessions, or if it never moved.

    Parameters
    ----------
    pnl_usd : FloatArray, shape (n_sessions,)
        Cumulative, at closes.
    equity_usd : float
        Of the run at its start.
    sessions_per_year : float

    Examples
    --------
    >>> round(curve_figures(np.array([1_000.0, -1_020.0]), 100_000.0, 252.0)["max_drawdown_frac"], 6)
    -0.02
    """
    curve = np.concatenate(([0.0], pnl_usd))
    by_session = np.diff(curve)
    n, equity = len(by_session), equity_usd + curve
    sd = float(by_session.std(ddof=1)) if n > 1 else 0.0
    is_enough = n >= SESSIONS_MIN
    has_sharpe = is_enough and sd > 0.0
    return {
        "annualised_return_frac": float(curve[-1]) / equity_usd * sessions_per_year / n
        if is_enough
        else math.nan,
        "sharpe": float(by_session.mean()) / sd * math.sqrt(sessions_per_year) if has_sharpe else math.nan,
        "max_drawdown_frac": float(np.min(equity / np.maximum.accumulate(equity) - 1.0)),
    }


def trade_figures(trades: Columns, is_own: Any) -> dict[str, float]:
    """Return what the round trips of a strategy say of it; NaN for a mean over none.

    Parameters
    ----------
    trades : Columns
        Of ``trades.parquet``.
    is_own : BoolArray, shape (n_trades,)
        Which of them are the strategy's.
    """
    pnl_usd, gross_usd = trades.numbers["pnl_usd"][is_own], trades.numbers["gross_usd"][is_own]
    held_ns = (trades.ts_ns - trades.numbers["ts_entry"])[is_own]
    n = len(pnl_usd)
    rate = win_rate_frac(pnl_usd)
    return {
        "trades": n,
        "win_rate": math.nan if rate is None else rate,
        "avg_trade_return_frac": float(np.mean(pnl_usd / gross_usd)) if n else math.nan,
        "holding_mean_days": float(np.mean(held_ns)) / DAY_NS if n else math.nan,
    }


def _known(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
