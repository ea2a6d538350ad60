"""The table of deals: a CSV file that says what became known of each, and on which day.

A row stands from the session after its ``announced`` day, since a date does not say at what hour. A later
row of the same deal (same target, same acquirer) takes the place of the earlier one: a raised bid, another
day of closing, a changed mind, the end. docs/maths/merger.md.
"""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from typing import Final, Literal, NoReturn, Self

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.errors import ConfigError
from engine.events import FloatArray

_DAYS_PER_YEAR: Final = 365.0
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


class DealRow(BaseModel):
    """One row: what was known of a deal from its day on; an empty cell is an absent value."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    target: str = Field(min_length=1, description="Symbol that is bought.")
    acquirer: str = Field("", description="Symbol that is sold short for a deal in stock; empty for cash.")
    announced: dt.date = Field(description="Day on which this became known.")
    status: Literal["open", "closed", "broken"] = Field("open", description="What has become of it.")
    cash_usd: float = Field(0.0, ge=0.0, description="Cash for a share of the target.")
    stock_ratio: float = Field(0.0, ge=0.0, description="Shares of the acquirer for one of the target.")
    expected_close: dt.date | None = Field(None, description="Day on which it is expected to close.")
    break_price_usd: float | None = Field(None, gt=0.0, description="Of the target if it breaks.")
    downside_frac: float | None = Field(None, gt=0.0, lt=1.0, description="Loss from today's price instead.")
    probability: float | None = Field(None, gt=0.0, le=1.0, description="Your own, that it closes.")

    @property
    def name(self) -> str:
        """Of its spread: the target, and with stock the pair."""
        return f"{self.target}/{self.acquirer}" if self.acquirer else self.target

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.target == self.acquirer:
            raise ValueError(f"target and acquirer must differ, was {self.target!r} twice")
        if self.status != "open":
            return self
        if bool(self.acquirer) != (self.stock_ratio > 0.0):
            raise ValueError(
                "an acquirer and a stock_ratio above 0 belong together; leave both empty for cash, was "
                f"{self.acquirer!r} and {self.stock_ratio:g}"
            )
        if not self.cash_usd + self.stock_ratio > 0.0:
            raise ValueError("a deal pays cash_usd or shares, was neither")
        if (self.break_price_usd is None) == (self.downside_frac is None):
            raise ValueError("needs break_price_usd or downside_frac, and not both")
        if self.expected_close is None or self.probability is None:
            raise ValueError("needs expected_close and probability while it is open")
        if not self.expected_close > self.announced:
            raise ValueError(f"expected_close must be after announced, was {self.expected_close}")
        return self


class Deal(msgspec.Struct, frozen=True):
    """One deal; ``rows`` by the day they became known, of which ``known_days`` has the number.

    Days are counted since 1970-01-01.
    """

    target: str
    acquirer: str
    rows: tuple[DealRow, ...]
    known_days: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of its spread."""
        return self.rows[0].name


def day_number(date: dt.date) -> int:
    """Return a date as days since 1970-01-01.

    Examples
    --------
    >>> day_number(dt.date(1970, 1, 2))
    1
    """
    return date.toordinal() - _EPOCH


def read_deals(path: Path) -> tuple[Deal, ...]:
    """Read a table of deals.

    Parameters
    ----------
    path : Path
        CSV with a header; columns are the fields of ``DealRow``, in any order.

    Returns
    -------
    tuple of Deal
        In the order in which they first appear.

    Raises
    ------
    ConfigError
        C230 if the file cannot be read or has no deals, C231 for a row that cannot be used, C232 for two rows
        of one deal on one day.
    """
    found: dict[str, list[DealRow]] = {}
    for line, row in _rows(path):
        rows = found.setdefault(row.name, [])
        if any(row.announced == other.announced for other in rows):
            raise ConfigError(
                "C232",
                f"two rows of {row.name} on {row.announced}",
                f"{path}:{line}",
                "Nobody could say which of them stands. Merge them, or give the later one its own day.",
            )
        rows.append(row)
    if not found:
        _unreadable(path, "it has no deals")
    return tuple(_deal(rows, path) for rows in found.values())


def spread_frac(price: FloatArray, deal: FloatArray) -> FloatArray:
    """Return what closing earns on the price, gross."""
    return deal / price - 1.0


def annualised_frac(spread: FloatArray, days: FloatArray) -> FloatArray:
    """Return a spread per year: simple, by calendar days; NaN where there are none left.

    Examples
    --------
    >>> annualised_frac(np.array([0.10, 0.10]), np.array([73.0, 0.0])).tolist()
    [0.5, nan]
    """
    return spread * _DAYS_PER_YEAR / np.where(days > 0.0, days, np.nan)


def compound_frac(spread: FloatArray, days: FloatArray) -> FloatArray:
    """Return a spread per year, earned again and again: (1 + spread)^(365 / days) - 1; NaN as above.

    Below a week nobody can do it again, and the number says nothing.

    Examples
    --------
    >>> compound_frac(np.array([0.10, 0.10]), np.array([730.0, 0.0])).round(4).tolist()
    [0.0488, nan]
    """
    with np.errstate(over="ignore"):
        return np.power(1.0 + spread, _DAYS_PER_YEAR / np.where(days > 0.0, days, np.nan)) - 1.0


def breakeven_probability(price: FloatArray, deal: FloatArray, broken: FloatArray) -> FloatArray:
    """Return the probability of closing at which the price is fair: p deal + (1 - p) broken = price.

    Before financing and costs; outside [0, 1] where the price is not between the two.

    Examples
    --------
    >>> breakeven_probability(np.array([82.0]), np.array([95.0]), np.array([60.0])).round(4).tolist()
    [0.6286]
    """
    return (price - broken) / (deal - broken)


def _rows(path: Path) -> list[tuple[int, DealRow]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        _unreadable(path, str(error))
    reader = csv.DictReader(text.splitlines(), restkey="(beyond the header)", skipinitialspace=True)
    rows: list[tuple[int, DealRow]] = []
    for cells in reader:
        given = {key: cell.strip() if isinstance(cell, str) else cell for key, cell in cells.items()}
        try:
            row = DealRow.model_validate({key: cell for key, cell in given.items() if cell})
        except ValidationError as error:
            raise ConfigError(
                "C231",
                _said(error),
                f"{path}:{reader.line_num}",
                "A deal that is half understood must not be traded. Columns: "
                + ", ".join(DealRow.model_fields),
            ) from None
        rows.append((reader.line_num, row))
    return rows


def _said(error: ValidationError) -> str:
    fault = error.errors()[0]
    why = fault["msg"].removeprefix("Value error, ")
    return f"column {fault['loc'][0]}: {why}, was {fault['input']!r}" if fault["loc"] else why


def _deal(rows: list[DealRow], path: Path) -> Deal:
    """Order the rows of one deal; the first of them must say what is paid."""
    ordered = sorted(rows, key=lambda row: row.announced)
    first = ordered[0]
    if first.status != "open":
        what = f"{first.name} is {first.status} on {first.announced}, and no row before says what it pays"
        raise ConfigError("C231", what, str(path), "A row of the end follows one of the beginning.")
    known_days = tuple(day_number(row.announced) for row in ordered)
    return Deal(first.target, first.acquirer, tuple(ordered), known_days)


def _unreadable(path: Path, why: str) -> NoReturn:
    raise ConfigError(
        "C230",
        f"cannot use the table of deals: {why}",
        str(path),
        "A CSV file with a header; columns: " + ", ".join(DealRow.model_fields),
    )
