"""What the verbs of ``astra risk`` start from: a frozen book and the daily closes of its symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from pydantic import ValidationError

from engine.app.config.load import load
from engine.app.config.risk import risk_models
from engine.app.given import bad_argument, in_file, no_configuration, read_json
from engine.app.studies.book_input import BookFile, book_of
from engine.app.wiring import read_history
from engine.events import FloatArray, IntArray
from engine.layout import ACCOUNT_CURRENCY
from engine.oversight import RiskModel
from engine.ports import DailyHistory
from risk.book_file import HeldBook, measure_held, read_book
from risk.covariance import covariance_of_days
from risk.daily import filled, log_returns

#: Later than any day of a history.
_NEVER: Final = 10**9


class FrozenBook(msgspec.Struct, frozen=True):
    """A book, its past, and what losses are held against.

    Parameters
    ----------
    symbols : tuple of str
    holdings_usd : FloatArray, shape (n,)
        Of now.
    covariance_daily : FloatArray, shape (n, n)
        As given, else of the history; NaN where a symbol is not known.
    days : IntArray, shape (n_returns,)
        Day that each return ends on, since 1970-01-01; -1 if that is not known, none without a history.
    returns_daily, past_usd : FloatArray, shape (n_returns, n)
        Log returns, and what was held when each of them began.
    options : dict
        Of the risk model, as far as they were given.
    var_limit_usd : float
    equity_usd : float or None
    """

    symbols: tuple[str, ...]
    holdings_usd: FloatArray
    covariance_daily: FloatArray
    days: IntArray
    returns_daily: FloatArray
    past_usd: FloatArray
    options: dict[str, Any]
    var_limit_usd: float
    equity_usd: float | None


def read_frozen_book(path: Path, history: Path | None, overrides: Sequence[str] = ()) -> FrozenBook:
    """Read the book of a JSON file, as for ``astra var``, or of a configuration.

    A file holds the same USD every day, given as such or as the positions of ``astra book``; a configuration
    the shares of ``[book] positions``, at the closes of its ``[risk] history``.

    Parameters
    ----------
    path : Path
    history : Path or None
        Daily closes; by default those that the configuration names.
    overrides : sequence of str
        Of the configuration, as after ``--set``.

    Raises
    ------
    AstraError
        For a file that cannot be read, or that is no configuration to override; for a configuration without
        positions or closes.
    """
    if path.suffix == ".toml":
        return _of_config(path, history, overrides)
    if overrides:
        raise no_configuration(path)
    return _of_file(path, history)


def measure_file(path: Path, history: Path | None) -> dict[str, Any]:
    """Measure the book of a JSON file, or of a configuration: ``astra var``.

    Parameters
    ----------
    path : Path
        As for ``read_frozen_book``.
    history : Path or None
        Daily closes, for a model that looks back and a file without ``history_return_frac``.

    Returns
    -------
    dict
        As ``risk.book_file.measure_held``.

    Raises
    ------
    AstraError
        For a file that cannot be read, or lacks what its model asks for.
    """
    models = risk_models()
    if path.suffix == ".toml":
        frozen = read_frozen_book(path, history)
        plugin = models[frozen.options["model"]]
        known = {"model", "var_limit_usd", "equity_usd", *plugin.options.model_fields}
        given = {**frozen.options, "var_limit_usd": frozen.var_limit_usd, "equity_usd": frozen.equity_usd}
        held = {"symbols": [*frozen.symbols], "holdings_usd": frozen.holdings_usd.tolist()}
        book = read_book(held | {key: value for key, value in given.items() if key in known}, models)
        return measure_held(book, plugin, frozen.returns_daily)
    with in_file(path):
        book = read_book(_document(path), models)
        return measure_held(book, models[book.model], _past(book, history, str(path))[1])


def _document(path: Path) -> Any:
    """Read a book of USD; one of positions, as ``astra book`` reads it, becomes one."""
    document = read_json(path)
    if not isinstance(document, Mapping) or "positions" not in document:
        return document
    priced = book_of({key: value for key, value in document.items() if key in BookFile.model_fields})
    rest = {key: value for key, value in document.items() if key not in BookFile.model_fields}
    usd = {one.instrument.symbol: one.notional_usd for one in priced.positions}
    return {"symbols": [*usd], "holdings_usd": [*usd.values()], "equity_usd": priced.equity_usd, **rest}


def _of_file(path: Path, history_path: Path | None) -> FrozenBook:
    models = risk_models()
    with in_file(path):
        book = read_book(_document(path), models)
    holdings = np.array(book.holdings_usd, dtype=np.float64)
    if not np.isfinite(holdings).all():
        raise bad_argument(
            "holdings_usd must be finite here", str(path), "What is unknown cannot be stressed."
        )
    days, returns = _past(book, history_path, str(path))
    covariance = book.covariance() if book.covariance_daily is not None else _covariance(returns)
    return FrozenBook(
        tuple(book.symbols),
        holdings,
        covariance,
        days,
        returns,
        np.tile(holdings, (len(returns), 1)),
        book.model_dump(include=set(models[book.model].options.model_fields)),
        book.var_limit_usd,
        book.equity_usd,
    )


def _past(book: HeldBook, path: Path | None, where: str) -> tuple[IntArray, FloatArray]:
    """Return the daily log returns of a book's symbols, after the days they end on: -1 where unknown."""
    if path is None or not book.symbols:
        returns = book.returns_daily()
        return np.full(len(returns), -1, dtype=np.int64), returns
    if book.history_return_frac is not None:
        hint = "Take history_return_frac out of the file, or leave --history away."
        raise bad_argument(
            f"{where} has daily returns of its own, and --history has others", "--history", hint
        )
    symbols = tuple(book.symbols)
    history = read_history(path, symbols, _NEVER)
    _must_cover(symbols, np.array(book.holdings_usd, dtype=np.float64), history)
    return _days(history), log_returns(symbols, history)


def _of_config(path: Path, history_path: Path | None, overrides: Sequence[str]) -> FrozenBook:
    config = load(path, overrides)
    symbols = tuple(config.book.positions)
    foreign = [s for s in symbols if s in config.instruments and _is_foreign(config.instruments[s])]
    if not symbols or foreign:
        why = (
            f"{', '.join(foreign)} is not quoted in {ACCOUNT_CURRENCY}"
            if foreign
            else "it has no [book] positions"
        )
        hint = 'Give the book as {"symbols": [...], "holdings_usd": [...]} in a JSON file, or a run folder.'
        raise bad_argument(f"{path} names no book of its own to measure: {why}", str(path), hint)
    history = read_history(history_path or config.risk.history, symbols, _NEVER)
    if history is None:
        hint = "Name daily closes (date, symbol, close) with --history, or as [risk] history."
        raise bad_argument("there are no daily closes to value the positions at", str(path), hint)
    units = np.array([config.book.positions[symbol] * _multiplier(config, symbol) for symbol in symbols])
    _must_cover(symbols, units, history)
    value_usd = units * filled(history.close_usd)
    returns = log_returns(symbols, history)
    return FrozenBook(
        symbols,
        value_usd[-1],
        _covariance(returns),
        _days(history),
        returns,
        value_usd[:-1],
        config.risk.model_dump(),
        config.risk.var_limit_usd,
        config.book.equity_usd,
    )


def _is_foreign(instrument: Any) -> bool:
    return bool(instrument.currency != ACCOUNT_CURRENCY)


def _multiplier(config: Any, symbol: str) -> float:
    return float(config.instruments[symbol].multiplier) if symbol in config.instruments else 1.0


def _must_cover(symbols: tuple[str, ...], holdings: FloatArray, history: DailyHistory | None) -> None:
    if history is None:
        return
    silent = np.isnan(history.close_usd).all(axis=0) & (holdings != 0.0)
    if silent.any():
        names = ", ".join(symbols[i] for i in np.flatnonzero(silent).tolist())
        raise bad_argument(f"the daily closes have none of {names}, which the book holds", "--history")


def _days(history: DailyHistory | None) -> IntArray:
    return np.empty(0, dtype=np.int64) if history is None else history.days[1:]


def _covariance(returns_daily: FloatArray) -> FloatArray:
    """Return the covariance that an engine would start from; NaN where it would not know a symbol."""
    covariance, is_known = covariance_of_days(returns_daily)
    covariance[~is_known] = covariance[:, ~is_known] = np.nan
    return covariance


def build_model(name: str, given: dict[str, Any], symbols: tuple[str, ...], **changes: Any) -> RiskModel:
    """Build a model of one day's horizon from whatever options were given that it has.

    Parameters
    ----------
    name : str
        Of ``engine.app.config.risk.risk_models``.
    given : dict
        Options of any model; those of others are left out.
    symbols : tuple of str
    changes
        Options that are set whatever was given, if the model has them.

    Raises
    ------
    ConfigError
        C013 if they contradict each other.
    """
    plugin = risk_models()[name]
    wanted = {**given, **changes, "horizon_days": 1}
    options = {key: value for key, value in wanted.items() if key in plugin.options.model_fields}
    try:
        return plugin.build(plugin.options.model_validate(options), symbols)
    except ValidationError as error:
        said = "; ".join(map(_said, error.errors()))
        hint = "Name other models with --model, or another --window."
        raise bad_argument(f"the model {name} cannot be built: {said}", f"--model {name}", hint) from None


def _said(detail: Any) -> str:
    """Return what is wrong with an option; a rule of the model names it by itself."""
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return message
    return f"{detail['loc'][-1]}: {message.lower()}, was {detail['input']!r}"
