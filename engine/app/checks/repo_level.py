"""Whether repo and yields can be of one kind: what a check minds of a curve that is financed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.app.checks.mistakes import Mistake
from engine.app.config.load import Config
from engine.app.source import Source
from engine.events import CLOSE, BarSlice, FloatArray
from strategies.treasury import TreasuryOptions

#: Carry of all tenors beyond this many points a year, to one side, is rarely a view and mostly another unit.
APART_PCT: Final = 1.0


def repo_mistakes(config: Config, source: Source | None) -> Iterator[Mistake]:
    """Mind repo that is above every yield of a curve, or below, by more than a point on most days.

    Real yields less nominal repo are that: short every tenor, all the time.

    Parameters
    ----------
    config : Config
    source : Source or None
        None for bars as they come, of which nothing is known yet.
    """
    for table in config.strategy:
        if source is not None and isinstance(table.options, TreasuryOptions):
            yields, repo = asyncio.run(_rates(config, source, table.options))
            yield from far_from_the_curve(table.name, yields, repo)


def far_from_the_curve(strategy: str, yield_pct: FloatArray, repo_pct: FloatArray) -> Iterator[Mistake]:
    """Compare repo with the yields of the same days: the nearest tenor of the median day tells.

    Parameters
    ----------
    strategy : str
    yield_pct, repo_pct : FloatArray, shape (n_days, n_tenors)
        Percent a year; days with a NaN are passed over.

    Examples
    --------
    >>> import numpy as np
    >>> curve = np.array([[-0.5, 0.1], [-0.7, 0.1]])
    >>> [one.text for one in far_from_the_curve("real", curve, np.full((2, 2), 2.0))]
    ['real: repo of 2.00% is above every yield (-0.60 to 0.10%), by 1.90 points; are both nominal, or real?']
    """
    carry = yield_pct - repo_pct
    is_whole = np.isfinite(carry).all(axis=1)
    if not is_whole.any():
        return
    nearest = {"above": float(np.median(-carry[is_whole].max(axis=1)))}
    nearest["below"] = float(np.median(carry[is_whole].min(axis=1)))
    for side, apart in nearest.items():
        if apart > APART_PCT:
            y, r = (_range(np.median(each[is_whole], axis=0)) for each in (yield_pct, repo_pct))
            text = f"{strategy}: repo of {r}% is {side} every yield ({y}%), by {apart:.2f} points"
            yield Mistake("repo", f"{text}; are both nominal, or real?")


def _range(values: FloatArray) -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


async def _rates(config: Config, source: Source, options: TreasuryOptions) -> tuple[FloatArray, FloatArray]:
    """Return yields and repo of every slice as the strategy reads them, percent."""
    quotes, given = _columns(config, options, options.quote_suffix), options.repo_pct
    fixed = np.array(
        [given.get(name) if isinstance(given, dict) else given for name in options.tenors], float
    )
    yields: list[FloatArray] = []
    repo: list[FloatArray] = []
    async for record in source.records():
        if type(record) is BarSlice:
            close = record.bars[CLOSE]
            yields.append(100.0 - close[quotes])
            suffix = options.repo_suffix
            repo.append(fixed if suffix is None else 100.0 - close[_columns(config, options, suffix)])
    shape = (-1, len(options.tenors))
    return np.array(yields).reshape(shape), np.array(repo).reshape(shape)


def _columns(config: Config, options: TreasuryOptions, suffix: str) -> list[int]:
    return [config.symbols.index(name + suffix) for name in options.tenors]
