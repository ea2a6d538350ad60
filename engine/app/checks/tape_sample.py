"""What a stretch of the bars says of every spread, before anything trades: for the warnings of a check.

The strategies themselves are shown the bars, so the width of a spread is the one their z is made with.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace

from engine.app.checks.entry_sizes import entry_sizes
from engine.app.checks.mistakes import Measured
from engine.app.config.load import Config
from engine.app.source import Source
from engine.app.wiring import build_loop, instruments_of, quotes_of
from engine.commands import Keys
from engine.events import CLOSE, BarSlice, FloatArray, Side, Signal, SpreadNoted
from engine.ports import DailyHistory, Strategy
from strategies.admission import engle_granger, history_of, tested_every_bars
from strategies.pair_options import PairRules

#: Bars that are looked at, at most: ten sessions of minutes.
SLICES_MAX: Final = 3_900
_TESTED_MIN: Final = 30
_LOOK_EVERY: Final = 30
_BP: Final = 1e4


def measure(
    config: Config, source: Source | None, history: DailyHistory | None
) -> tuple[list[Measured], float]:
    """Show the first bars to the strategies, and measure every spread and the opening book.

    Parameters
    ----------
    config : Config
    source : Source or None
        Of recorded bars; None for a feed that is live.
    history : DailyHistory or None
        Closes before the bars: pairs with enough of them are tested on these.

    Returns
    -------
    measured : list of Measured
        Every spread, in the order of the strategies.
    opening_gross_usd : float
        Of ``[book.positions]`` at the first prices; 0 without any, NaN when one is not known.

    Raises
    ------
    ConfigError
        If a strategy or the allocator cannot be built.
    """
    strategies = build_loop(config, history, Keys(), lambda *_: None).bus.strategies
    sample = _Sample(config, len(strategies))
    tables = config.strategy
    has_lots = any(instrument.lot > 0.0 for instrument in instruments_of(config))
    if source is not None:
        asyncio.run(sample.show(source, strategies))
    every = tested_every_bars(config.universe.bar_min)
    tests = _Tests(
        config, history, np.array(sample.closes).reshape(-1, len(config.symbols))[every - 1 :: every]
    )
    found: list[Measured] = []
    for table, strategy, seen, entered in zip(tables, strategies, sample.looks, sample.entered, strict=True):
        options = table.options
        if isinstance(options, PairRules):
            found += _of_pairs(table.name, options, strategy, seen, tests)
            continue
        stated_bps = _BP * getattr(options, "entry_frac", math.nan)
        for spread in strategy.spreads:
            entry_bps, ratio = entered.get(spread.name, (stated_bps, 1.0))
            if math.isfinite(stated_bps):
                entry_bps, ratio = stated_bps, 1.0
            found.append(Measured(table.name, spread.name, entry_bps, ratio, math.nan))
    gross_usd = sample.opening_gross_usd
    if not has_lots:
        return found, gross_usd
    spreads = [spread for strategy in strategies for spread in strategy.spreads]
    sizes = entry_sizes(config, spreads, sample.usd_ratio(strategies), sample.price_usd)
    return [replace(one, legs=legs) for one, legs in zip(found, sizes, strict=True)], gross_usd


def _of_pairs(
    name: str, options: PairRules, strategy: Strategy, seen: list[FloatArray], tests: _Tests
) -> Iterator[Measured]:
    """Yield what is known of each pair; width and ratio are medians over the bars."""
    looked = np.stack(seen) if seen else np.full((1, 2, len(strategy.spreads)), np.nan)
    for k, spread in enumerate(strategy.spreads):
        whole = looked[np.isfinite(looked[:, :, k]).all(axis=1), :, k]
        variance, ratio = np.median(whole, axis=0).tolist() if len(whole) else (math.nan, math.nan)
        sd = math.sqrt(variance) / (1.0 if options.prices == "log" else tests.price(spread.y))
        p_value, tested_on = tests.p_value(spread.name)
        yield Measured(name, spread.name, _BP * options.entry_z * sd, ratio, p_value, tested_on)


def _is_entry(said: Signal | SpreadNoted) -> bool:
    return isinstance(said, Signal) and said.side is not Side.FLAT


class _Tests:
    """Engle-Granger on the daily closes where there are enough, else on the bars."""

    def __init__(self, config: Config, history: DailyHistory | None, close: FloatArray) -> None:
        self._column = {symbol: i for i, symbol in enumerate(config.symbols)}
        self._history = history
        self._close = close

    def price(self, symbol: str) -> float:
        closes = self._close[:, self._column[symbol]]
        return float(np.nanmedian(closes)) if np.isfinite(closes).any() else math.nan

    def p_value(self, pair: str) -> tuple[float, str]:
        sample = history_of(pair, self._history)
        if sample is not None:
            return engle_granger(*sample), f"{len(sample[0]):,} days"
        y, x = (self._close[:, self._column[symbol]] for symbol in pair.split("/"))
        both = np.isfinite(y) & np.isfinite(x)
        if np.count_nonzero(both) < _TESTED_MIN:
            return math.nan, ""
        return engle_granger(np.log(y[both]), np.log(x[both])), f"{np.count_nonzero(both):,} bars"


class _Sample:
    """What the first bars were, and what the strategies thought of them from time to time."""

    def __init__(self, config: Config, n_strategies: int) -> None:
        self.closes: list[FloatArray] = []
        self.looks: list[list[FloatArray]] = [[] for _ in range(n_strategies)]
        #: By spread, of its smallest entry: the dislocation in basis points of y, and the ratio.
        self.entered: list[dict[str, tuple[float, float]]] = [{} for _ in range(n_strategies)]
        self.price_usd: FloatArray = np.full(len(config.symbols), np.nan)
        self._first_usd = self.price_usd
        self._shares: FloatArray = np.array([config.book.positions.get(name, 0.0) for name in config.symbols])
        self._quotes = quotes_of(config)

    @property
    def opening_gross_usd(self) -> float:
        """What the opening book stands for at the first price of each name; NaN if one has none."""
        held = self._shares != 0.0
        return float(np.abs(self._shares[held] * self._first_usd[held]).sum())

    async def show(self, source: Source, strategies: Sequence[Strategy]) -> None:
        """Show bars to strategies; note what they say now and then, entries, closes and prices in USD."""
        async for record in source.records():
            if type(record) is not BarSlice:
                continue
            self.closes.append(record.bars[CLOSE])
            usd = self._quotes.to_usd(record).bars[CLOSE]
            self.price_usd = np.where(np.isfinite(usd), usd, self.price_usd)
            self._first_usd = np.where(np.isfinite(self._first_usd), self._first_usd, self.price_usd)
            for k, strategy in enumerate(strategies):
                entries = [one for one in strategy.on_slice(record) if _is_entry(one)]
                if entries:
                    self._enter(k, strategy, {one.spread for one in entries})
                if len(self.closes) % _LOOK_EVERY == 0:
                    outlook = strategy.outlook()
                    self.looks[k].append(np.stack((outlook.innovation_var, outlook.usd_ratio)))
            if len(self.closes) == SLICES_MAX:
                break

    def _enter(self, k: int, strategy: Strategy, names: set[str]) -> None:
        """Note how far apart spreads are that are entered, where a strategy says what they are worth."""
        outlook, entered = strategy.outlook(), self.entered[k]
        price = outlook.alpha - outlook.innovation
        with np.errstate(divide="ignore", invalid="ignore"):
            apart_bps = (_BP * np.abs(outlook.innovation) / price).tolist()
        for i, spread in enumerate(strategy.spreads):
            if spread.name in names and math.isfinite(apart_bps[i]):
                now = (apart_bps[i], outlook.usd_ratio.item(i))
                entered[spread.name] = min(now, entered.get(spread.name, now))

    def usd_ratio(self, strategies: Sequence[Strategy]) -> FloatArray:
        """Return the ratio of every spread after the last bar: what an entry would be sized with."""
        return np.concatenate([strategy.outlook().usd_ratio for strategy in strategies])
