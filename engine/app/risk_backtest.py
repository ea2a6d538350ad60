"""``astra risk backtest``: how often losses went beyond one-day VaR, for each model side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

import risk
from engine.app.risk_inputs import FrozenBook, build_model
from engine.app.risk_tape import SessionClose, tape_closes
from engine.app.run_files import read_past_run
from engine.app.verbs.options import bad_argument
from engine.events import FloatArray
from engine.oversight import RiskModel
from risk.backtest import FULL_YEAR_DAYS, acerbi_szekely, backtest
from risk.rolling import DailyRisk, roll, with_scenarios


def backtest_book(book: FrozenBook, names: Sequence[str], window_days: int) -> dict[str, Any]:
    """Judge models by a frozen book through a daily history.

    Parameters
    ----------
    book : FrozenBook
    names : sequence of str
        Models of the registry.
    window_days : int
        Daily returns that each measure sees.

    Returns
    -------
    dict
        ``confidence``, ``window_days``, and ``models``: by name the fields of ``risk.backtest.Backtest``,
        with ``expected_exceptions``, ``es_z2`` (Acerbi and Szekely's Z₂) and the mean and last VaR.

    Raises
    ------
    ConfigError
        C013 if the history is not longer than the window.
    """
    n_days = len(book.returns_daily) - window_days
    if n_days < 1:
        hint = f"After the window of {window_days} no day is left to be judged. Name a shorter --window."
        raise bad_argument(f"{len(book.returns_daily)} daily returns are too few", "--history", hint)
    results = {}
    for name in names:
        model = build_model(name, book.options, book.symbols, window_days=window_days)
        results[name] = roll(model, book.returns_daily, book.past_usd, window_days)
    return _verdicts(results, float(book.options.get("confidence", 0.99)), window_days)


def backtest_run(folder: Path, data: Path | None, names: Sequence[str], window_days: int) -> dict[str, Any]:
    """Judge models by what a run held at the close of each of its sessions.

    Covariance and prices are those of the run's own bars; the book is frozen until the next close. Scenarios
    include the session that has just closed, which the run's own model had from its next slice on.

    Parameters
    ----------
    folder : Path
        Of a finished run.
    data : Path or None
        Where its bars are now, if they have moved.
    names, window_days
        As of ``backtest_book``; the window is that of the historical models.

    Raises
    ------
    DataError
        D011 if it is no run folder, D012 if the bars have changed since.
    """
    config = read_past_run(folder, data).config
    given = config.risk.model_dump()
    models = {name: build_model(name, given, config.symbols, window_days=window_days) for name in names}
    closes = asyncio.run(tape_closes(config, folder / "fills.parquet", window_days))
    results = {name: _through(model, closes) for name, model in models.items()}
    return _verdicts(results, config.risk.confidence, window_days)


def _through(model: RiskModel, closes: Sequence[SessionClose]) -> DailyRisk:
    """Measure the book of every close but the last, which nothing came after."""
    memory = np.empty((0, 0))
    rows: list[tuple[float, float, float]] = []
    for close in closes:
        market, memory = with_scenarios(model, close.market, close.returns_daily, memory)
        report = model.measure(close.holdings_usd, market)
        rows.append((report.var_usd, report.es_usd, close.pnl_usd))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return DailyRisk(table[:, 0], table[:, 1], table[:, 2])


def _verdicts(results: dict[str, DailyRisk], confidence: float, window_days: int) -> dict[str, Any]:
    return {
        "confidence": confidence,
        "window_days": window_days,
        "models": {name: _verdict(result, confidence) for name, result in results.items()},
    }


def _verdict(result: DailyRisk, confidence: float) -> dict[str, Any]:
    verdict = backtest(result.var_usd, result.pnl_usd, confidence)
    counts = np.isfinite(result.var_usd) & (result.var_usd > 0.0) & np.isfinite(result.pnl_usd)
    var_usd, es_usd, pnl_usd = result.var_usd[counts], result.es_usd[counts], result.pnl_usd[counts]
    tail = 1.0 - confidence
    z2 = acerbi_szekely(pnl_usd, var_usd, es_usd, tail) if counts.any() else None
    return {
        **msgspec.to_builtins(verdict),
        "expected_exceptions": verdict.days * tail,
        "es_z2": z2,
        "var_mean_usd": float(var_usd.mean()) if counts.any() else None,
        "var_last_usd": _last(var_usd),
    }


def _last(values: FloatArray) -> float | None:
    return float(values[-1]) if len(values) else None


def every_model() -> list[str]:
    """Return the names of all models, in the order of the registry."""
    return list(risk.REGISTRY)


HEADER: Final = (
    "model",
    "days",
    "exceptions",
    "expected",
    "coverage p",
    "clustering p",
    "both p",
    "zone",
    "ES Z2",
    "mean VaR",
)


def rows_of(answer: dict[str, Any]) -> list[list[str]]:
    """Return the table of an answer, a row for each model, in the columns of ``HEADER``."""
    return [[name, *_cells(one)] for name, one in answer["models"].items()]


def _cells(one: dict[str, Any]) -> list[str]:
    def p_value(test: str) -> str:
        return f"{one[test]['p_value']:.3f}"

    if not one["days"]:
        return ["0", *["-"] * (len(HEADER) - 2)]
    return [
        f"{one['days']:,}",
        f"{one['exceptions']:,}",
        f"{one['expected_exceptions']:.1f}",
        p_value("kupiec"),
        p_value("christoffersen"),
        p_value("conditional_coverage"),
        one["basel"]["zone"],
        f"{one['es_z2']:.2f}",
        f"{one['var_mean_usd']:,.0f}",
    ]


def remarks(answer: dict[str, Any]) -> list[str]:
    """Say what the reader of the table must know: the power of a short test, and days without a VaR."""
    lines = []
    for name, one in answer["models"].items():
        if one["unknown_days"]:
            lines.append(f"{name}: VaR was not known on {one['unknown_days']:,} days, which are left out.")
    short = {one["days"]: one["power_at_2x"] for one in answer["models"].values() if one["days"]}
    lines += [
        f"{days} days are under a year of {FULL_YEAR_DAYS}: a model with twice the exceptions it should have "
        f"would still be green in {1.0 - power:.0%} of cases."
        for days, power in short.items()
        if power is not None and days < FULL_YEAR_DAYS
    ]
    return [*lines, "A p-value below 0.05 speaks against a model; exceptions are losses beyond VaR."]
