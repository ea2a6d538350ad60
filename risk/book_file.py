"""Measure one book given as a document: the function behind ``astra var FILE.json``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Self, cast

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from engine.errors import AstraError, ConfigError, Errors
from engine.events import FloatArray, TradingStateChanged
from engine.oversight import Market, RiskModel
from engine.ports import Plugin
from risk import REGISTRY
from risk.attribution import component_usd
from risk.covariance import covariance_of_days
from risk.factor import market_of
from risk.limits import HaltLatch
from risk.rolling import SHRINK_FRAC, with_scenarios

_WORDS = {None: math.nan, "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: Relative difference between Σij and Σji that is taken for rounding.
_SYMMETRY = 1e-9
#: JSON integers have no largest; from here on an amount is as good as infinite, which is unknown.
_HUGE = 1e308


def _amount(value: Any) -> float:
    """Read a number; JSON has no NaN, so null and "NaN" stand for one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < _HUGE else math.inf
    if (value is None or isinstance(value, str)) and value in _WORDS:
        return _WORDS[value]
    raise ValueError(f'must be a number, null or "NaN", was {value!r}')


_Amount = Annotated[float, BeforeValidator(_amount)]


class HeldBook(BaseModel):
    """A book, what is known of its market, and how to measure it; options of the model stand beside these.

    Parameters
    ----------
    symbols : list of str
    holdings_usd : list of float
        Signed, in the order of ``symbols``.
    model : str
        Risk model by its name.
    covariance_daily : list of list of float, optional
        Of daily returns, in the order of ``symbols``; used as it is. A symbol whose own variance is null
        has no covariance. Absent, it is estimated from the daily returns, every day weighing the same.
    history_return_frac : list of list of float, optional
        Simple daily returns, one row a day, oldest first, in the order of ``symbols``; null where unknown.
    var_limit_usd, equity_usd : float
        What losses are held against; equity is optional.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbols: list[str]
    holdings_usd: list[_Amount]
    model: str = "gaussian"
    covariance_daily: list[list[_Amount]] | None = None
    history_return_frac: list[list[_Amount]] | None = None
    var_limit_usd: float = Field(default=150_000.0, gt=0.0, allow_inf_nan=False)
    equity_usd: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _days_are_returns(self) -> Self:
        if self.history_return_frac is None:
            return self
        n, widths = len(self.symbols), {len(row) for row in self.history_return_frac}
        if widths != {n}:
            was = f"rows of {', '.join(map(str, sorted(widths)))}" if widths else "empty"
            raise ValueError(f"history_return_frac must have rows of {n} returns, one a symbol, was {was}")
        wrong = [one for row in self.history_return_frac for one in row if one <= -1.0 or one == math.inf]
        if wrong:
            raise ValueError(f"history_return_frac must have fractions above -1 and finite, was {wrong[0]}")
        return self

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
        n = len(self.symbols)
        repeated = sorted({symbol for symbol in self.symbols if self.symbols.count(symbol) > 1})
        if repeated:
            raise ValueError(f"symbols names {', '.join(repeated)} twice")
        if len(self.holdings_usd) != n:
            raise ValueError(
                f"holdings_usd must have one amount for each of {n} symbols, was {len(self.holdings_usd)}"
            )
        if self.covariance_daily is None:
            return self
        widths = {len(row) for row in self.covariance_daily} - {n}
        if len(self.covariance_daily) != n or widths:
            was = f"{len(self.covariance_daily)} rows of {', '.join(map(str, sorted(widths))) or n}"
            raise ValueError(f"covariance_daily must be {n} by {n}, one row for each symbol, was {was}")
        matrix = self.covariance()
        with np.errstate(invalid="ignore"):  # infinite entries: judged later, with a reason
            gap = np.abs(matrix - matrix.T) > _SYMMETRY * np.maximum(np.abs(matrix), np.abs(matrix.T))
        if gap.any():
            i, j = (int(k) for k in np.argwhere(gap)[0])
            pair = f"{self.symbols[i]}, {self.symbols[j]}"
            both = f"{matrix[i, j]}, the other way {matrix[j, i]}"
            raise ValueError(f"covariance_daily must be symmetric: {pair} was {both}")
        return self

    def covariance(self) -> FloatArray:
        """Return the matrix, shape (n, n); NaN if none was given."""
        if self.covariance_daily is None:
            return np.full((len(self.symbols), len(self.symbols)), np.nan)
        return np.array(self.covariance_daily, dtype=np.float64).reshape(len(self.symbols), len(self.symbols))

    def returns_daily(self) -> FloatArray:
        """Return the log returns of ``history_return_frac``, shape (n_days, n); no day without any."""
        rows = np.array(self.history_return_frac or (), dtype=np.float64)
        return np.log1p(rows.reshape(len(rows), len(self.symbols)))


def measure_book(document: Mapping[str, Any]) -> dict[str, Any]:
    """Measure a book given as a document, under one of Astra's own models.

    Parameters
    ----------
    document : mapping
        Fields of ``HeldBook``, and as wished those of its model: of ``gaussian`` ``confidence``,
        ``horizon_days``, ``scenarios``, ``seed``.

    Returns
    -------
    dict
        As ``measure_held``.

    Raises
    ------
    AstraError
        A field that is missing, unknown, or not what it must be; all faults at once.
    """
    book = read_book(document, REGISTRY)
    return measure_held(book, REGISTRY[book.model], book.returns_daily())


def measure_held(book: HeldBook, plugin: Plugin[RiskModel], returns_daily: FloatArray) -> dict[str, Any]:
    """Measure a book and say what the halt latch would make of it.

    Parameters
    ----------
    book : HeldBook
        As ``read_book`` returns it: it has the options of its model.
    plugin : Plugin
        Of that model.
    returns_daily : FloatArray, shape (n_days, n)
        Log returns, oldest first, NaN where unknown; no day for a model that asks for none.

    Returns
    -------
    dict
        ``state``, ``reason``, ``var_usd``, ``var_analytic_usd``, ``var_mc_usd``, ``var_upper_usd``,
        ``es_usd``, and by symbol ``component_var_usd`` and ``marginal_var_frac`` (USD of VaR for one more
        USD held); figures are None when unknown.

    Raises
    ------
    ConfigError
        C052 if there is neither a covariance nor a day to estimate it from, C054 if the model asks for more
        days than there are.
    """
    holdings = np.array(book.holdings_usd, dtype=np.float64)
    model = plugin.build(book, tuple(book.symbols))
    market = _market(book, model, returns_daily)
    report = model.measure(holdings, market)
    marginal = model.marginal(holdings, market)
    parts = component_usd(holdings, marginal)
    latch = HaltLatch(book.var_limit_usd)
    changes = [c for c in latch.on_measured(0, report, False, True) if isinstance(c, TradingStateChanged)]
    return {
        "state": latch.trading_state.value,
        "reason": changes[0].reason if changes else "",
        "var_usd": _finite(report.var_usd),
        "var_analytic_usd": _finite(report.var_analytic_usd),
        "var_mc_usd": _finite(report.var_mc_usd),
        "var_upper_usd": _finite(report.var_upper_usd),
        "es_usd": _finite(report.es_usd),
        "component_var_usd": dict(zip(book.symbols, map(_finite, parts.tolist()), strict=True)),
        "marginal_var_frac": dict(zip(book.symbols, map(_finite, marginal.tolist()), strict=True)),
    }


def _market(book: HeldBook, model: RiskModel, returns_daily: FloatArray) -> Market:
    """Return what the model may know: the covariance as given or estimated, and its scenarios."""
    n_days = len(returns_daily)
    if n_days < model.window_days:
        has = f"there are {n_days:,}" if n_days else "there is none"
        what = f"the model {book.model} looks back on {model.window_days:,} daily returns, and {has}"
        raise ConfigError("C054", what, "history_return_frac", _DAYS)
    if book.covariance_daily is None and not n_days:
        raise ConfigError(
            "C052",
            "covariance_daily is missing, and there are no daily returns to take it from",
            "covariance_daily",
            f"{_SHAPE}\n{_DAYS}",
        )
    if book.covariance_daily is not None:
        covariance = book.covariance()
        market = market_of(covariance, np.isfinite(covariance.diagonal()), 0.0).market
    else:
        market = market_of(*covariance_of_days(returns_daily), SHRINK_FRAC).market
    return with_scenarios(model, market, returns_daily, np.empty((0, 0)))[0]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_book(document: Mapping[str, Any], models: Mapping[str, Plugin[RiskModel]]) -> HeldBook:
    """Check a book given as a document, with the options of its model beside its own keys.

    Parameters
    ----------
    document : mapping
    models : mapping of str to Plugin
        Every model that it may name.

    Raises
    ------
    AstraError
        A field that is missing, unknown, or not what it must be; all faults at once.
    """
    if not isinstance(document, Mapping):
        raise ConfigError("C051", f"a book must be a JSON object, was {type(document).__name__}", "", _SHAPE)
    name = document.get("model", "gaussian")
    if not (isinstance(name, str) and name in models):
        raise ConfigError("C054", f"model must be one of {', '.join(models)}, was {name!r:.60}", "model")
    fields = _document(models[name].options)
    try:
        return fields.model_validate(dict(document))
    except ValidationError as error:
        faults: list[AstraError] = [_fault(detail, fields) for detail in error.errors(include_url=False)]
    raise faults[0] if len(faults) == 1 else Errors(faults)


@cache
def _document(options: type[BaseModel]) -> type[HeldBook]:
    """Return the keys of a book file of one model."""
    made: type[HeldBook] = create_model("BookDocument", __base__=cast("Any", (HeldBook, options)))
    return made


_SHAPE = 'Write {"symbols": ["AAA"], "holdings_usd": [1000000], "covariance_daily": [[0.0004]]} and so on.'
#: Fields that the shape is about; a fault of another is not explained by it.
_SHAPED = {"symbols", "holdings_usd", "covariance_daily", "history_return_frac"}
_DAYS = "Give daily returns as history_return_frac in the file, oldest first, or daily closes with --history."


def _fault(detail: Any, fields: type[BaseModel]) -> ConfigError:
    path = [str(part) for part in detail["loc"]]
    where = path[0] + "".join(f"[{part}]" for part in path[1:]) if path else ""
    if detail["type"] == "missing":
        return ConfigError("C052", f"{where} is missing", where, _SHAPE)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, fields.model_fields, 1)
        known = ", ".join(fields.model_fields)
        hint = f"Did you mean {near[0]}?" if near else f"Known fields: {known}."
        return ConfigError("C053", f'unknown field "{where}"', where, hint)
    message = detail["msg"].removeprefix("Value error, ")
    subject = path[0] if path else message.split()[0]
    meaning = fields.model_fields[subject].description if subject in fields.model_fields else None
    hint = _SHAPE if subject in _SHAPED else meaning or ""
    if detail["type"] == "value_error":
        what = message if message.startswith(where) else f"{where} {message}"
        return ConfigError("C054", what, where or subject, hint)
    what = f"{where}: {message[:1].lower()}{message[1:]}, was {detail['input']!r:.60}"
    return ConfigError("C054", what, where, hint)
