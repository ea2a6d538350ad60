"""What ``astra book`` starts from: the positions of a configuration at its last bars, or of a file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from engine.app.config import Config, load
from engine.app.config_tables import FundingTable
from engine.app.source import open_source
from engine.app.verbs.options import bad_argument, read_json
from engine.app.wiring import instruments_of, quotes_of
from engine.book import Funding
from engine.errors import AstraError, ConfigError, DataError, Errors
from engine.events import CLOSE, BarSlice, FloatArray
from engine.layout import Instrument

_SHAPE: Final = (
    'Write {"positions": {"AAPL": {"shares": 1500, "price_usd": 277.02}}, "equity_usd": 1000000,\n'
    '"funding": {"rate_frac": 0.036}} and so on; a position may have notional_usd in the place of both.'
)


class Position(msgspec.Struct, frozen=True):
    """One position; ``shares`` and ``price_usd`` (of one unit) are None where only its value is known."""

    symbol: str
    shares: float | None
    price_usd: float | None
    notional_usd: float
    sector: str
    role: str
    is_funded: bool = True


class PricedBook(msgspec.Struct, frozen=True):
    """Positions with their prices, what finances them, and the equity they stand on (None if not given)."""

    positions: list[Position]
    funding: Funding
    equity_usd: float | None


class HeldPosition(BaseModel):
    """A position of a file: shares and price, or what they come to; short is negative."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shares: FiniteFloat | None = None
    price_usd: FiniteFloat | None = Field(default=None, gt=0.0)
    notional_usd: FiniteFloat | None = None
    sector: str = ""
    role: str = ""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        has_both = self.shares is not None and self.price_usd is not None
        has_one = self.shares is not None or self.price_usd is not None
        if has_one != has_both or has_both == (self.notional_usd is not None):
            raise ValueError("needs shares and price_usd, or notional_usd in their place")
        return self

    def priced(self, symbol: str) -> Position:
        """Return it with its value."""
        value = self.notional_usd
        if value is None:
            value = (self.shares or 0.0) * (self.price_usd or 0.0)
        return Position(symbol, self.shares, self.price_usd, value, self.sector, self.role)


class BookFile(BaseModel):
    """The keys of a book file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    positions: dict[str, HeldPosition] = Field(min_length=1)
    equity_usd: FiniteFloat | None = Field(default=None, gt=0.0)
    funding: FundingTable = FundingTable()


def read_priced_book(path: Path) -> PricedBook:
    """Read a book from a JSON file, or from a configuration.

    Raises
    ------
    AstraError
        C240 for a file that is no such book, C013 for a configuration without positions, D050 if its bars
        have no price of something held.
    """
    if path.suffix == ".toml":
        return asyncio.run(_of_config(load(path)))
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
        raise faults[0] if len(faults) == 1 else Errors(faults) from None
    positions = [held.priced(symbol) for symbol, held in book.positions.items()]
    return PricedBook(positions, Funding(**book.funding.model_dump()), book.equity_usd)


def _fault(detail: Any) -> ConfigError:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return ConfigError("C240", f"{where} is missing", where, _SHAPE)
    if detail["type"] == "extra_forbidden":
        return ConfigError("C240", f"{where} is not a key of a book file", where, _SHAPE)
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return ConfigError("C240", f"{where} {message}", where, _SHAPE)
    return ConfigError("C240", f"{where}: {message.lower()}, was {detail['input']!r:.60}", where, _SHAPE)


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
    positions = [_position(s, shares, prices[s], known.get(s) or Instrument(s)) for s, shares in held.items()]
    return PricedBook(positions, Funding(**config.funding.model_dump()), config.book.equity_usd)


def _position(symbol: str, shares: float, price_usd: float, what: Instrument) -> Position:
    value_usd = shares * price_usd
    return Position(symbol, shares, price_usd, value_usd, what.sector, what.role, what.is_funded)


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
