"""``astra risk backtest``: how often losses went beyond one-day VaR, for each model side by side."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.app.given import bad_argument
from engine.app.replay.past_bars import past_bars
from engine.app.studies.risk_inputs import FrozenBook, build_model
from engine.app.studies.risk_tape import SessionClose, tape_closes
from engine.events import FloatArray
from engine.oversight import RiskModel
from risk.backtest import FULL_YEAR_DAYS, acerbi_szekely, backtest
from risk.covariance import close_to_close_ratio
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
        with ``expected_exceptions``, ``es_z2`` (Acerbi and Szekely's Z₂), the mean and last VaR,
        ``flat_days``, days by ``unknown_reasons``, and the ``reason`` if no day was left to be judged.

    Raises
    ------
    ConfigError
        C013 if the history is not longer than the window.
    """
    if not len(book.returns_daily):
        raise bad_argument("a book alone has no past", "--history", "Name daily closes with --history.")
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
        Of a finished run, or of a live one that was exported.
    data : Path or None
        Where its bars are now, if they have moved; of a live run its state folder.
    names, window_days
        As of ``backtest_book``; the window is that of the historical models.

    Raises
    ------
    DataError
        D011 if it is no run folder, D012 if the bars have changed since, or are not there any more.
    """
    config, bars = past_bars(folder, data)
    given = config.risk.model_dump()
    models = {name: build_model(name, given, config.symbols, window_days=window_days) for name in names}
    closes = asyncio.run(tape_closes(config, bars, folder / "fills.parquet", window_days))
    results = {name: _through(model, closes) for name, model in models.items()}
    answer = _verdicts(results, config.risk.confidence, window_days)
    return answer | {"close_to_close": _against_closes(config.symbols, closes)}


def _against_closes(symbols: Sequence[str], closes: Sequence[SessionClose]) -> dict[str, Any] | None:
    """Hold the covariance of the last close against daily closes: of each symbol, and of the book then."""
    if not closes or not closes[-1].returns_daily.size:
        return None
    last = closes[-1]
    factor = last.market.factor_daily
    weights = np.vstack([np.eye(len(symbols)), np.nan_to_num(last.holdings_usd)])
    ratios = close_to_close_ratio(factor @ factor.T, last.returns_daily, weights)
    known = ratios[:-1][np.isfinite(ratios[:-1])]
    told = [float(ratio) if np.isfinite(ratio) else None for ratio in ratios]
    return {
        "days": len(last.returns_daily),
        "symbols": dict(zip(symbols, told[:-1], strict=True)),
        "symbols_median": float(np.median(known)) if len(known) else None,
        "book": told[-1],
    }


def _through(model: RiskModel, closes: Sequence[SessionClose]) -> DailyRisk:
    """Measure the book of every close but the last, which nothing came after."""
    memory = np.empty((0, 0))
    rows: list[tuple[float, float, float]] = []
    reasons: list[str] = []
    for close in closes:
        market, memory = with_scenarios(model, close.market, close.returns_daily, memory)
        report = model.measure(close.holdings_usd, market)
        rows.append((report.var_usd, report.es_usd, close.pnl_usd))
        reasons.append(report.reason)
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return DailyRisk(table[:, 0], table[:, 1], table[:, 2], tuple(reasons))


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
        "flat_days": int(np.count_nonzero(result.var_usd == 0.0)),
        "unknown_reasons": dict(Counter(filter(None, result.reason))),
        "reason": "" if counts.any() else _why_no_day(result),
    }


def _why_no_day(result: DailyRisk) -> str:
    if not len(result.var_usd):
        return "it has no two sessions, and a book is held from one close to the next"
    if (result.var_usd == 0.0).all():
        return "nothing was held at any close"
    return "VaR was not known at any close at which something was held"


def _last(values: FloatArray) -> float | None:
    return float(values[-1]) if len(values) else None


#: What the reasons of a report mean to whoever backtests.
_MEANINGS: Final = {
    "COV_MISSING_SYMBOL": "a held symbol without enough days behind it, or whose price never moved",
    "COV_NOT_PSD": "a covariance that is none",
    "PRICE_NOT_FINITE": "a held symbol without a price",
}

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


def _by(answer: dict[str, Any], said: Callable[[dict[str, Any]], str]) -> dict[str, list[str]]:
    """Group models by what is said of them; those of which nothing is said are left out."""
    groups: dict[str, list[str]] = {}
    for name, one in answer["models"].items():
        if text := said(one):
            groups.setdefault(text, []).append(name)
    every = len(answer["models"])
    return {text: ["every model"] if len(names) == every > 1 else names for text, names in groups.items()}


def _unknown(one: dict[str, Any]) -> str:
    if not one["unknown_days"]:
        return ""
    causes = [
        f"{_MEANINGS.get(reason, reason)} on {days:,}" for reason, days in one["unknown_reasons"].items()
    ]
    why = f" ({'; '.join(causes)})" if causes else ""
    return f"VaR or the loss of the day after was not known on {one['unknown_days']:,} days{why}"


def _said_of_closes(ratios: dict[str, Any] | None) -> list[str]:
    if ratios is None or ratios["symbols_median"] is None:
        return []
    days, median, book = ratios["days"], ratios["symbols_median"], ratios["book"]
    line = f"The volatility of {days:,} daily closes is {median:.2f} of what the covariance says"
    line += f" (median of symbols, each ± {1.0 / math.sqrt(2.0 * days):.0%})"
    return [line + ("." if book is None else f", and {book:.2f} for the book at the last close.")]


def remarks(answer: dict[str, Any]) -> list[str]:
    """Say what the reader of the table must know: the power of a short test, and days without a VaR."""
    lines = [
        f"{', '.join(names)}: no day could be judged, since {reason}."
        for reason, names in _by(answer, lambda one: one["reason"]).items()
    ]
    lines += [
        f"{', '.join(names)}: {said}, which are left out." for said, names in _by(answer, _unknown).items()
    ]
    short = {one["days"]: one["power_at_2x"] for one in answer["models"].values() if one["days"]}
    lines += [
        f"{days} days are under a year of {FULL_YEAR_DAYS}: a model with twice the exceptions it should have "
        f"would still be green in {1.0 - power:.0%} of cases."
        for days, power in short.items()
        if power is not None and days < FULL_YEAR_DAYS
    ]
    lines += _said_of_closes(answer.get("close_to_close"))
    return [*lines, "A p-value below 0.05 speaks against a model; exceptions are losses beyond VaR."]
