"""What the verbs of ``astra risk`` start from: a frozen book and the daily closes of its symbols."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from pydantic import ValidationError

import risk
from engine.app.config import load
from engine.app.verbs.options import bad_argument, read_json
from engine.app.wiring import read_history
from engine.events import FloatArray, IntArray
from engine.layout import ACCOUNT_CURRENCY
from engine.oversight import RiskModel
from engine.ports import DailyHistory
from risk.book_file import HeldBook, read_book
from risk.covariance import prior_covariance
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
        Day that each return ends on, since 1970-01-01; none without a history.
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


def read_frozen_book(path: Path, history: Path | None) -> FrozenBook:
    """Read the book of a JSON file, as for ``astra var``, or of a configuration.

    A file holds the same USD every day; a configuration the shares of ``[book] positions``, at the closes of
    its ``[risk] history``.

    Parameters
    ----------
    path : Path
    history : Path or None
        Daily closes; by default those that the configuration names.

    Raises
    ------
    AstraError
        For a file that cannot be read, or a configuration without positions or closes.
    """
    return _of_config(path, history) if path.suffix == ".toml" else _of_file(path, history)


def _of_file(path: Path, history_path: Path | None) -> FrozenBook:
    book = read_book(read_json(path), HeldBook)
    symbols, holdings = tuple(book.symbols), np.array(book.holdings_usd, dtype=np.float64)
    if not np.isfinite(holdings).all():
        raise bad_argument(
            "holdings_usd must be finite here", str(path), "What is unknown cannot be stressed."
        )
    history = read_history(history_path, symbols, _NEVER)
    _must_cover(symbols, holdings, history)
    covariance = book.covariance() if book.covariance_daily is not None else _covariance(symbols, history)
    returns = log_returns(symbols, history)
    return FrozenBook(
        symbols,
        holdings,
        covariance,
        _days(history),
        returns,
        np.tile(holdings, (len(returns), 1)),
        book.model_dump(include=set(risk.REGISTRY["gaussian"].options.model_fields)),
        book.var_limit_usd,
        book.equity_usd,
    )


def _of_config(path: Path, history_path: Path | None) -> FrozenBook:
    config = load(path)
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
    return FrozenBook(
        symbols,
        value_usd[-1],
        _covariance(symbols, history),
        _days(history),
        log_returns(symbols, history),
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


def _covariance(symbols: tuple[str, ...], history: DailyHistory | None) -> FloatArray:
    """Return the covariance that an engine would start from; NaN where it would not know a symbol."""
    covariance, is_known = prior_covariance(symbols, history)
    covariance[~is_known] = covariance[:, ~is_known] = np.nan
    return covariance


def build_model(name: str, given: dict[str, Any], symbols: tuple[str, ...], **changes: Any) -> RiskModel:
    """Build a model of one day's horizon from whatever options were given that it has.

    Parameters
    ----------
    name : str
        In the registry of ``risk``.
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
    plugin = risk.REGISTRY[name]
    wanted = {**given, **changes, "horizon_days": 1}
    options = {key: value for key, value in wanted.items() if key in plugin.options.model_fields}
    try:
        return plugin.build(plugin.options.model_validate(options), symbols)
    except ValidationError as error:
        said = "; ".join(str(detail["msg"]).removeprefix("Value error, ") for detail in error.errors())
        raise bad_argument(f"the model {name} cannot be built: {said}", f"--model {name}") from None
