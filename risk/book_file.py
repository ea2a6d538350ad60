"""Measure one book given as a document: the function behind ``astra var FILE.json``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from engine.errors import AstraError, ConfigError, Errors
from engine.events import FloatArray, TradingStateChanged
from risk.attribution import component_usd
from risk.factor import market_of
from risk.limits import HaltLatch
from risk.var import EllipticalVar, GaussianVarOptions

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


class HeldBook(GaussianVarOptions):
    """A book, what is known of its covariance, and what to read off its loss distribution.

    Parameters
    ----------
    symbols : list of str
    holdings_usd : list of float
        Signed, in the order of ``symbols``.
    covariance_daily : list of list of float, optional
        Of daily returns, in the order of ``symbols``; used as it is. A symbol whose own variance is null
        has no covariance.
    var_limit_usd, equity_usd : float
        What losses are held against; equity is optional.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbols: list[str]
    holdings_usd: list[_Amount]
    covariance_daily: list[list[_Amount]] | None = None
    var_limit_usd: float = Field(default=150_000.0, gt=0.0, allow_inf_nan=False)
    equity_usd: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)

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


class BookDocument(HeldBook):
    """A book that can be measured: it has a covariance."""

    covariance_daily: list[list[_Amount]]


_Book = TypeVar("_Book", bound=HeldBook)


def measure_book(document: Mapping[str, Any]) -> dict[str, Any]:
    """Measure a book and say what the halt latch would make of it.

    Parameters
    ----------
    document : mapping
        Fields of ``BookDocument``: ``symbols``, ``holdings_usd``, ``covariance_daily``, and as wished
        ``confidence``, ``horizon_days``, ``scenarios``, ``seed``, ``var_limit_usd``, ``equity_usd``.

    Returns
    -------
    dict
        ``state``, ``reason``, ``var_usd``, ``var_analytic_usd``, ``var_mc_usd``, ``var_upper_usd``,
        ``es_usd``, and by symbol ``component_var_usd`` and ``marginal_var_frac`` (USD of VaR for one more
        USD held); figures are None when unknown.

    Raises
    ------
    AstraError
        A field that is missing, unknown, or not what it must be; all faults at once.
    """
    book = read_book(document, BookDocument)
    holdings = np.array(book.holdings_usd, dtype=np.float64)
    covariance = book.covariance()
    used = market_of(covariance, np.isfinite(covariance.diagonal()), 0.0)
    model = EllipticalVar(book, len(book.symbols))
    report = model.measure(holdings, used.market)
    marginal = model.marginal(holdings, used.market)
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


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_book(document: Mapping[str, Any], model: type[_Book]) -> _Book:
    """Check a book given as a document; raises as ``measure_book``."""
    if not isinstance(document, Mapping):
        raise ConfigError("C051", f"a book must be a JSON object, was {type(document).__name__}", "", _SHAPE)
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        faults: list[AstraError] = [_fault(detail) for detail in error.errors(include_url=False)]
    raise faults[0] if len(faults) == 1 else Errors(faults)


_SHAPE = 'Write {"symbols": ["AAA"], "holdings_usd": [1000000], "covariance_daily": [[0.0004]]} and so on.'


def _fault(detail: Any) -> ConfigError:
    path = [str(part) for part in detail["loc"]]
    where = path[0] + "".join(f"[{part}]" for part in path[1:]) if path else ""
    if detail["type"] == "missing":
        return ConfigError("C052", f"{where} is missing", where, _SHAPE)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, BookDocument.model_fields, 1)
        known = ", ".join(BookDocument.model_fields)
        hint = f"Did you mean {near[0]}?" if near else f"Known fields: {known}."
        return ConfigError("C053", f'unknown field "{where}"', where, hint)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and (not where or message.startswith(where)):
        return ConfigError("C054", message, where or message.split()[0], _SHAPE)
    if detail["type"] == "value_error":
        return ConfigError("C054", f"{where} {message}", where, _SHAPE)
    return ConfigError("C054", f"{where}: {message.lower()}, was {detail['input']!r}", where, _SHAPE)
