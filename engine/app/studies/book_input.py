"""What ``astra book`` starts from: the positions of a configuration at its last bars, or of a file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from engine.app.config.load import Config, load
from engine.app.config.tables import FundingTable
from engine.app.given import bad_argument, in_file, no_configuration, read_json
from engine.app.source import open_source
from engine.app.wiring import instruments_of, quotes_of
from engine.carry import Funding
from engine.errors import AstraError, ConfigError, DataError, Errors
from engine.events import CLOSE, BarSlice, FloatArray
from engine.layout import Instrument

_SHAPE: Final = (
    'Write {"positions": {"AAPL": {"shares": 1500, "price_usd": 277.02}}, "equity_usd": 1000000,\n'
    '"funding": {"rate_frac": 0.036}} and so on; a position may have notional_usd in the place of both.'
)


class Position(msgspec.Struct, frozen=True):
    """One position; ``shares`` and ``price_usd`` (of one unit) are None where only its value is known."""

    instrument: Instrument
    shares: float | None
    price_usd: float | None
    notional_usd: float


class PricedBook(msgspec.Struct, frozen=True):
    """Positions with their prices, what finances them, and the equity they stand on (None if not given)."""

    positions: list[Position]
    funding: Funding
    equity_usd: float | None


class HeldPosition(BaseModel):
    """A position of a file: shares and price, or what they come to; short is negative."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shares: FiniteFloat | None = None
    price_usd: FiniteFloat | None = Field(default=None, gt=0.0)
    notional_usd: FiniteFloat | None = None
    sector: str = ""
    role: str = ""
    borrow_bps: FiniteFloat | None = Field(default=None, ge=0.0, le=100_000.0)
    income_frac: FiniteFloat = Field(default=0.0, ge=-0.1, le=1.0)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        shares, price_usd, notional_usd = self.shares, self.price_usd, self.notional_usd
        if shares is not None and price_usd is not None:
            if notional_usd is not None:
                said = f"{shares:,g} shares at {price_usd:,g} are {shares * price_usd:,.2f}"
                raise ValueError(
                    f"says its value twice: {said}, notional_usd was {notional_usd:,.2f}; keep one"
                )
        elif shares is not None or price_usd is not None:
            has, lacks = ("shares", "price_usd") if price_usd is None else ("price_usd", "shares")
            raise ValueError(f"has {has} and no {lacks}: give both, or notional_usd alone")
        elif notional_usd is None:
            raise ValueError("needs shares and price_usd, or notional_usd in their place")
        return self

    def priced(self, symbol: str) -> Position:
        """Return it with its value."""
        value = self.notional_usd
        if value is None:
            value = (self.shares or 0.0) * (self.price_usd or 0.0)
        what = Instrument(
            symbol,
            sector=self.sector,
            role=self.role,
            borrow_bps=self.borrow_bps,
            income_frac=self.income_frac,
        )
        return Position(what, self.shares, self.price_usd, value)


class BookFile(BaseModel):
    """The keys of a book file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    positions: dict[str, HeldPosition] = Field(min_length=1)
    equity_usd: FiniteFloat | None = Field(default=None, gt=0.0)
    funding: FundingTable = FundingTable()


def read_priced_book(path: Path, overrides: Sequence[str] | None = None) -> PricedBook:
    """Read a book from a JSON file, or from a configuration with ``overrides``, as after ``--set``.

    Raises
    ------
    AstraError
        C240 for a file that is no such book, C013 for a configuration without positions, D050 if its bars
        have no price of something held.
    """
    if path.suffix == ".toml":
        return asyncio.run(_of_config(load(path, overrides or ())))
    if overrides:
        raise no_configuration(path)
    with in_file(path):
        return book_of(read_json(path))


def book_of(document: Any) -> PricedBook:
    """Read a book given as a document.

    Raises
    ------
    ConfigError or Errors
        C240 for every field that is missing, unknown or malformed.
    """
    if not isinstance(document, Mapping):
        raise ConfigError("C240", f"a book must be a JSON object, was {type(document).__name__}", "", _SHAPE)
    try:
        book = BookFile.model_validate(dict(document))
    except ValidationError as error:
        faults: list[AstraError] = [_fault(detail) for detail in error.errors(include_url=False)]
        faults[-1].detail = _SHAPE
        raise faults[0] if len(faults) == 1 else Errors(faults) from None
    positions = [held.priced(symbol) for symbol, held in book.positions.items()]
    return PricedBook(positions, Funding(**book.funding.model_dump()), book.equity_usd)


def _fault(detail: Any) -> ConfigError:
    where, kind = ".".join(str(part) for part in detail["loc"]), detail["type"]
    if kind == "missing":
        what = f"{where} is missing"
    elif kind == "extra_forbidden":
        what = f"{where} is not a key of a book file"
    elif kind == "too_short":
        what = f"{where} must have at least one, was {detail['input']!r:.60}"
    elif kind == "value_error":
        what = f"{where} {str(detail['msg']).removeprefix('Value error, ')}"
    else:
        wanted = "must be an object" if kind in {"model_type", "dict_type"} else str(detail["msg"]).lower()
        what = f"{where}: {wanted}, was {detail['input']!r:.60}"
    return ConfigError("C240", what, where)


async def _of_config(config: Config) -> PricedBook:
    held = {symbol: shares for symbol, shares in config.book.positions.items() if shares != 0.0}
    if not held:
        hint = "Give them in [book] positions, or a book in a JSON file."
        raise bad_argument("there are no positions to tabulate", config.source.name, hint)
    prices = await _last_prices(config)
    unpriced = [symbol for symbol in held if not np.isfinite(prices[symbol])]
    if unpriced:
        hint = "Without a price there is no notional, and a total that leaves it out would mislead."
        raise DataError("D050", f"the bars have no price of {', '.join(unpriced)}", config.source.name, hint)
    known = {instrument.symbol: instrument for instrument in instruments_of(config)}
    positions = [
        Position(known.get(symbol) or Instrument(symbol), shares, prices[symbol], shares * prices[symbol])
        for symbol, shares in held.items()
    ]
    return PricedBook(positions, Funding(**config.funding.model_dump()), config.book.equity_usd)


async def _last_prices(config: Config) -> dict[str, float]:
    """Return the last accepted close of every symbol, USD for one unit held; NaN without any."""
    symbols = config.symbols
    quotes = quotes_of(config)
    last: FloatArray = np.full(len(symbols), np.nan)
    async for record in open_source(config).records():
        if type(record) is BarSlice:
            close = quotes.to_usd(record).bars[CLOSE]
            last = np.where(np.isnan(close), last, close)
    return dict(zip(symbols, last.tolist(), strict=True))
