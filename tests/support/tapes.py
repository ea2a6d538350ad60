"""Random tapes of slices for strategies: cointegrated pairs, gaps and sessions, from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.events import MINUTE_NS, BarSlice, FloatArray
from engine.ports import Instrument, StrategyContext

#: AAA/BBB and CCC/DDD are pairs that revert.
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
SESSION_MIN = 100
#: To strategies of futures, the x of each pair is one; other strategies do not look.
EXPIRY_DAY = {"BBB": 17_100, "DDD": 17_050}


def context(symbols: tuple[str, ...] = SYMBOLS, session_min: int = SESSION_MIN) -> StrategyContext:
    """Return what a strategy on these tapes is told."""
    instruments = tuple(Instrument(symbol, expiry_day=EXPIRY_DAY.get(symbol, -1)) for symbol in symbols)
    return StrategyContext(
        "test", symbols, horizon_min=30.0, session_min=session_min, instruments=instruments
    )


def random_closes(seed: int, n_minutes: int, missing_frac: float = 0.02) -> FloatArray:
    """Return closes of ``SYMBOLS`` in USD, shape (n_minutes, 4); some are NaN."""
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.normal(0.0, 5e-4, (n_minutes, 2)), axis=0)
    spread = np.zeros((n_minutes, 2))
    shocks = rng.normal(0.0, 6e-4, (n_minutes, 2))
    for t in range(1, n_minutes):
        spread[t] = 0.9 * spread[t - 1] + shocks[t]
    levels = np.log([80.0, 50.0, 120.0, 30.0])
    moves = np.stack(
        (common[:, 0] + spread[:, 0], common[:, 0], common[:, 1] + spread[:, 1], common[:, 1]), 1
    )
    closes: FloatArray = np.exp(levels + moves)
    closes[rng.random(closes.shape) < missing_frac] = np.nan
    return closes


def slices_of(closes: FloatArray, session_min: int = SESSION_MIN, first_minute: int = 1) -> list[BarSlice]:
    """Return one slice a row, with flat bars, in sessions of ``session_min`` minutes a day apart."""
    slices = []
    for t, row in enumerate(closes):
        session, minute = divmod(t + first_minute - 1, session_min)
        bars = np.stack((row, row, row, row, np.where(np.isnan(row), np.nan, 1_000.0)))
        ts_close_ns = session * 1_440 * MINUTE_NS + (minute + 1) * MINUTE_NS
        slices.append(
            BarSlice(ts_close_ns, 17_000 + session, minute + 1, bars, (), int(np.sum(~np.isnan(row))))
        )
    return slices


def tape(seed: int, n_minutes: int = 320, missing_frac: float = 0.02) -> list[BarSlice]:
    """Return a random tape of ``SYMBOLS``."""
    return slices_of(random_closes(seed, n_minutes, missing_frac))


def without(slices: Sequence[BarSlice], symbol: str) -> list[BarSlice]:
    """Return the tape with every bar of one symbol missing."""
    column = SYMBOLS.index(symbol)
    changed = []
    for slice_ in slices:
        bars = slice_.bars.copy()
        bars[:, column] = np.nan
        changed.append(BarSlice(slice_.ts_close_ns, slice_.session, slice_.minute, bars))
    return changed
