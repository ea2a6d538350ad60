"""``astra book``: positions, exposure, sectors and funding of a book, as figures and as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from engine.app.render import percent, usd
from engine.app.studies.book_input import Position, PricedBook
from engine.carry import Funding

_DAYS_PER_YEAR: Final = 365

POSITIONS: Final = ("symbol", "shares", "price", "notional", "type", "sector", "role")
SECTORS: Final = ("sector", "long", "short", "net", "net / gross")
FUNDING: Final = ("symbol", "type", "rate", "income", "a day")
TOTALS: Final = ("total", "value")


def describe(book: PricedBook) -> dict[str, Any]:
    """Describe a book.

    Parameters
    ----------
    book : PricedBook

    Returns
    -------
    dict
        ``positions`` (each with ``funding_frac`` of financing, actual/360, ``income_frac``, actual/365, and
        ``funding_daily_usd`` of both: cash received, so what is paid is negative), ``gross_usd``,
        ``net_usd``, ``net_of_gross_frac``, ``equity_usd``, ``gross_of_equity_frac``, ``sectors`` by name, and
        ``funding``: ``daily_usd``, ``annual_usd`` (365 days), and ``hurdle_frac``, what the book must earn a
        year to pay for itself, as a share of equity; figures that need an equity are None without one.
    """
    positions = [_row(one, book.funding) for one in book.positions]
    gross_usd = _sum(positions, abs)
    net_usd = _sum(positions, float)
    daily_usd = sum(row["funding_daily_usd"] for row in positions)
    annual_usd = daily_usd * _DAYS_PER_YEAR
    equity_usd = book.equity_usd
    return {
        "positions": positions,
        "gross_usd": gross_usd,
        "net_usd": net_usd,
        "net_of_gross_frac": _share(net_usd, gross_usd),
        "equity_usd": equity_usd,
        "gross_of_equity_frac": _share(gross_usd, equity_usd),
        "sectors": _sectors(positions, gross_usd),
        "funding": {
            "daily_usd": daily_usd,
            "annual_usd": annual_usd,
            "hurdle_frac": _share(-annual_usd, equity_usd),
            "cost_of_gross_frac": _share(-annual_usd, gross_usd),
        },
    }


def _row(one: Position, funding: Funding) -> dict[str, Any]:
    value_usd, what = one.notional_usd, one.instrument
    long_frac, short_frac = funding.rates(what)
    side = (value_usd > 0.0) - (value_usd < 0.0)
    return {
        "symbol": what.symbol,
        "shares": one.shares,
        "price_usd": one.price_usd,
        "notional_usd": value_usd,
        "type": {1: "long", -1: "short", 0: "flat"}[side],
        "sector": what.sector,
        "role": what.role,
        "funding_frac": {1: -long_frac, -1: short_frac, 0: 0.0}[side],
        "income_frac": side * what.income_frac,
        "funding_daily_usd": funding.daily_usd(value_usd, what),
    }


def _sectors(positions: Sequence[dict[str, Any]], gross_usd: float) -> dict[str, dict[str, float | None]]:
    """Sum long, short and net by sector, in order of appearance."""
    found: dict[str, dict[str, float | None]] = {}
    for sector in dict.fromkeys(row["sector"] for row in positions):
        rows = [row for row in positions if row["sector"] == sector]
        net_usd = _sum(rows, float)
        found[sector] = {
            "long_usd": _sum(rows, lambda value: max(value, 0.0)),
            "short_usd": _sum(rows, lambda value: max(-value, 0.0)),
            "net_usd": net_usd,
            "net_of_gross_frac": _share(net_usd, gross_usd),
        }
    return found


def _sum(rows: Sequence[dict[str, Any]], part: Callable[[float], float]) -> float:
    return sum((part(row["notional_usd"]) for row in rows), 0.0)


def _share(part_usd: float, whole_usd: float | None) -> float | None:
    return part_usd / whole_usd if whole_usd else None


def position_rows(answer: dict[str, Any]) -> list[list[str]]:
    """Return the columns of ``POSITIONS``."""
    return [
        [
            row["symbol"],
            "-" if row["shares"] is None else f"{row['shares']:,.10g}",
            "-" if row["price_usd"] is None else f"${row['price_usd']:,.2f}",
            usd(row["notional_usd"]),
            row["type"],
            row["sector"] or "-",
            row["role"] or "-",
        ]
        for row in answer["positions"]
    ]


def total_rows(answer: dict[str, Any]) -> list[list[str]]:
    """Return the columns of ``TOTALS``: exposure."""
    rows = [
        ["gross", usd(answer["gross_usd"])],
        ["net", usd(answer["net_usd"])],
        ["net / gross", percent(answer["net_of_gross_frac"])],
    ]
    if answer["equity_usd"] is not None:
        rows.append(
            ["gross / equity", f"{answer['gross_of_equity_frac']:.2f}x of {usd(answer['equity_usd'])}"]
        )
    return rows


def sector_rows(answer: dict[str, Any]) -> list[list[str]]:
    """Return the columns of ``SECTORS``."""
    return [
        [
            name or "none given",
            usd(row["long_usd"]),
            usd(-row["short_usd"]),
            usd(row["net_usd"], is_signed=True),
            percent(row["net_of_gross_frac"], 1, is_signed=True),
        ]
        for name, row in answer["sectors"].items()
    ]


def funding_rows(answer: dict[str, Any]) -> list[list[str]]:
    """Return the columns of ``FUNDING``; what is paid is negative."""
    return [
        [
            row["symbol"],
            row["type"],
            percent(row["funding_frac"], 3, is_signed=True),
            percent(row["income_frac"], 3, is_signed=True) if row["income_frac"] else "-",
            f"{row['funding_daily_usd']:+,.2f}",
        ]
        for row in answer["positions"]
    ]


def funding_totals(answer: dict[str, Any]) -> list[list[str]]:
    """Return the columns of ``TOTALS``: what funding comes to."""
    funding = answer["funding"]
    rows = [
        ["funding a day", f"{funding['daily_usd']:+,.2f} USD"],
        ["funding a year of 365 days", usd(funding["annual_usd"], is_signed=True)],
    ]
    if funding["hurdle_frac"] is not None:
        rows.append(["hurdle, of equity a year", percent(funding["hurdle_frac"])])
    return rows
