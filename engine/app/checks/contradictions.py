"""What a check minds of a configuration whose keys are all valid, and that still cannot be meant.

A limit that can never bind, a put that is over before the first bar, a future that trades after its expiry, a
quote ratio that the closes know nothing of. Each is a warning with the numbers, as in ``mistakes``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from engine.app.checks.mistakes import Mistake
from engine.app.config.load import Config
from engine.app.config.tables import RiskTable
from engine.app.source import Source
from engine.events import CLOSE, BarSlice, FloatArray, IntArray
from feeds.calendars import date_of
from risk.var import GaussianVarOptions
from strategies.basis import BasisOptions, fair_value
from strategies.convertible import ConvertibleOptions
from strategies.deals import day_number

#: A limit of more equities than this never halts before the equity is gone.
LIMIT_EQUITIES: Final = 10.0
#: Bars that a quote ratio is held against, at most.
_LOOKED_AT: Final = 390


class Seen(msgspec.Struct, frozen=True):
    """What the bars show.

    Parameters
    ----------
    closes : FloatArray, shape (n_slices, n_symbols)
        Of the first slices.
    days : IntArray, shape (n_slices,)
        Session of each of them, days since 1970-01-01.
    last_day : dict of str to int
        Session of the last bar of every symbol that has one.
    """

    closes: FloatArray
    days: IntArray
    last_day: dict[str, int]


def contradictions(config: Config, source: Source | None) -> Iterator[Mistake]:
    """Look for everything that is known here; without recorded bars only for what needs none."""
    yield from limit_beyond_equity(config.risk.var_limit_usd, config.book.equity_usd)
    yield from thin_tail(config.risk)
    if source is None:
        return
    for table in config.strategy:
        if isinstance(table.options, ConvertibleOptions):
            yield from puts_that_are_over(table.name, table.options, source.first_day)
    expiries = {name: table.expiry for name, table in config.instruments.items() if table.expiry is not None}
    if not expiries:  # and so no future of a basis
        return
    seen = asyncio.run(_look(source, config.symbols))
    yield from bars_after_expiry(expiries, seen.last_day)
    for table in config.strategy:
        if isinstance(table.options, BasisOptions):
            yield from ratio_apart(table.name, table.options, config.symbols, expiries, seen)


def limit_beyond_equity(var_limit_usd: float, equity_usd: float) -> Iterator[Mistake]:
    """Mind a VaR limit of many times the equity: nothing is left of it when the limit halts.

    Examples
    --------
    >>> [one.text for one in limit_beyond_equity(1e30, 1e6)]
    ['var_limit_usd is 1e+30, more than 10 times the equity of 1e+06: it never halts in time']
    """
    if var_limit_usd > LIMIT_EQUITIES * equity_usd:
        text = f"var_limit_usd is {var_limit_usd:g}, more than {LIMIT_EQUITIES:g} times the equity of "
        yield Mistake("limit", f"{text}{equity_usd:g}: it never halts in time")


def thin_tail(risk: RiskTable) -> Iterator[Mistake]:
    """Mind a law whose quantile is below the normal one: Student's t at 95%."""
    if not isinstance(risk, GaussianVarOptions) or risk.model == "gaussian":
        return
    normal = GaussianVarOptions(confidence=risk.confidence).law().quantile
    short_frac = 1.0 - risk.law().quantile / normal
    if short_frac > 0.0:
        text = f"{risk.model} at confidence {risk.confidence:g} is {short_frac:.1%} below the normal law: "
        yield Mistake("tail", f"{text}its tails are fatter further out only")


def puts_that_are_over(strategy: str, options: ConvertibleOptions, first_day: int) -> Iterator[Mistake]:
    """Mind puts of before the first bar, which nobody has any more; a call of then is still in force."""
    over = [
        f"{b.symbol} {put.date}" for b in options.bonds for put in b.puts if day_number(put.date) < first_day
    ]
    if over:
        first = date_of(first_day)
        yield Mistake("put", f"{strategy}: {', '.join(over)} is before the first bar ({first}): it is over")


def bars_after_expiry(expiries: dict[str, dt.date], last_day: dict[str, int]) -> Iterator[Mistake]:
    """Mind futures that have bars after the last day that they are said to trade.

    Examples
    --------
    >>> found = bars_after_expiry({"ESH6": dt.date(2026, 3, 20)}, {"ESH6": 20_535})
    >>> [one.text for one in found]
    ['ESH6 has bars until 2026-03-23, after its expiry (2026-03-20): no price then, and what is held halts']
    """
    for symbol, expiry in expiries.items():
        if symbol in last_day and last_day[symbol] > day_number(expiry):
            until = date_of(last_day[symbol])
            text = f"{symbol} has bars until {until}, after its expiry ({expiry}): no price then, and what is"
            yield Mistake("expiry", f"{text} held halts")


def ratio_apart(
    strategy: str,
    options: BasisOptions,
    symbols: Sequence[str],
    expiries: dict[str, dt.date],
    seen: Seen,
) -> Iterator[Mistake]:
    """Mind a quote ratio by which a future is mispriced beyond belief on half of the first bars, or more."""
    given = options.quote_ratio
    carry_frac = options.rate_frac - options.dividend_frac
    for pair in options.pairs:
        fund, future = (list(symbols).index(name) for name in pair.split("/"))
        expiry = expiries.get(symbols[future])
        if expiry is None:
            continue
        ratio = given[pair] if isinstance(given, dict) else given
        y, x = seen.closes[:, fund], seen.closes[:, future]
        days = (day_number(expiry) - seen.days).astype(np.float64)
        fair = fair_value(y, np.array(ratio), carry_frac, days, options.day_count)
        apart = np.abs(x - fair) / (ratio * y)
        both = np.isfinite(apart)
        if both.any() and float(np.median(apart[both])) > options.mispricing_max_frac:
            shown = float(np.median(x[both] / y[both]))
            limit = f"beyond mispricing_max_frac ({options.mispricing_max_frac:g}) nothing is entered"
            text = f"{strategy}: {pair} has quote_ratio {ratio:g}, its closes one of {shown:.4g}; {limit}"
            yield Mistake("quote ratio", text)


async def _look(source: Source, symbols: Sequence[str]) -> Seen:
    """Read the whole tape: a future expires towards its end."""
    closes: list[FloatArray] = []
    days: list[int] = []
    last = np.full(len(symbols), -1)
    async for record in source.records():
        if type(record) is not BarSlice:
            continue
        close = record.bars[CLOSE]
        last[np.isfinite(close)] = record.session
        if len(closes) < _LOOKED_AT:
            closes.append(close)
            days.append(record.session)
    return Seen(
        np.array(closes).reshape(-1, len(symbols)),
        np.array(days, dtype=np.int64),
        {symbol: day for symbol, day in zip(symbols, last.tolist(), strict=True) if day >= 0},
    )
