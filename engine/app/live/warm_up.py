"""Compile everything before a live run counts seconds.

A kernel compiles when it is first called, a solver loads when it is first asked. On a fresh machine that
takes longer than a hung step is given. So hours of simulated bars pass through a small engine first: slicer,
strategies, allocators, gate, fills and VaR. Compiled kernels stay on disk, so it takes a second afterwards.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from engine.app.config.load import Config, parse
from engine.app.source import open_source
from engine.app.wiring import build_loop
from engine.commands import Keys
from engine.legs import part_way
from engine.ports import DailyHistory
from engine.sizing import step_out
from feeds.recorded import RecordedBars

_TEXT: Final = """
[feed]
kind = "simulated"
sessions = 1
spread_frac = 0.006
half_life_min = 20
[costs]
half_spread_bps = 0.1
[[strategy]]
kind = "kalman_pairs"
pairs = ["A/B"]
z = "rolling"
noise = {delta = 1e-9, observation_variance = 1e-7}
warmup_min = 60
forecast_window_min = 60
[[strategy]]
kind = "kalman_pairs"
pairs = ["C/D"]
warmup_min = 180
[[strategy]]
kind = "zscore_pairs"
pairs = ["E/F"]
forecast_window_min = 60
"""
_SOLVED: Final = """
[universe]
calendar = "24/7"
[book]
equity_usd = 10_000_000
lot = 1
[allocator]
kind = "mean_variance"
every_min = 5
risk_aversion = 0.5
"""
#: A future in euros is held while its rate moves, the limit is met, and risk looks back on daily closes.
_DIRECT: Final = """
[universe]
calendar = "24/7"
symbols = ["A", "B", "C", "D", "E", "F", "EURUSD", "G"]
[instruments.G]
kind = "future"
currency = "EUR"
[book]
equity_usd = 10_000_000
lot = 1
positions = {G = 1}
[allocator]
kind = "direct"
[risk]
model = "filtered_historical"
window_days = 100
scenarios = 1000
var_limit_usd = 100_000
"""
_PASSES: Final[tuple[str, ...]] = (_SOLVED, _DIRECT)
#: Bars after which every part has had its first call.
_BARS: Final = 6 * 240
_HISTORY_DAYS: Final = 260


@cache
def warm_up() -> None:
    """Call every kernel and the solver once in this process."""
    for rest in _PASSES:
        _pass(parse(_TEXT + rest, Path.cwd(), "warm-up"))
    _step_out_of_a_pair()


def _step_out_of_a_pair() -> None:
    """Leave a pair part way, and in lots of which a bar has no room for all: too rare to be met in hours."""
    held, legs_of, sleeves = np.array([9.0, -3.0]), np.arange(2), np.zeros(2, dtype=np.int64)
    minute = (legs_of, sleeves, sleeves, 1, np.full((5, 2), 20.0), 0.1, np.ones(2))
    step_out(held, np.zeros(2), *minute, True, True, np.empty(2))
    part_way(held, np.zeros(2), np.full(2, 0.5))


def _pass(config: Config) -> None:
    """Pass some minutes through an engine, bar by bar, as a live run does."""
    tape = open_source(config).feed
    assert isinstance(tape, RecordedBars)  # noqa: S101 - the text above says so
    days = np.arange(_HISTORY_DAYS)
    steps = np.random.Generator(np.random.Philox(7)).normal(0.0, 0.01, (_HISTORY_DAYS, len(config.symbols)))
    history = DailyHistory(config.symbols, days, 100.0 * np.exp(np.cumsum(steps, axis=0)))
    loop = build_loop(config, history, Keys(), lambda *_: None, sessions=tape.sessions)
    columns = next(tape.columns())
    for row in range(_BARS):
        loop.step(columns.bar(row))
