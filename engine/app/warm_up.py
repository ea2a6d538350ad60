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

from engine.app.config import Config, parse
from engine.app.source import open_source
from engine.app.wiring import build_loop
from engine.commands import Keys
from engine.ports import DailyHistory
from feeds.recorded import RecordedBars

_TEXT: Final = """
[feed]
kind = "simulated"
sessions = 1
spread_frac = 0.006
half_life_min = 20
[universe]
calendar = "24/7"
[book]
equity_usd = 10_000_000
lot = 1
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
[allocator]
"""
_ALLOCATORS: Final = (
    'kind = "mean_variance"\nevery_min = 5\nrisk_aversion = 0.5',
    'kind = "direct"',
)
#: Bars after which every part has had its first call.
_BARS: Final = 6 * 240
_HISTORY_DAYS: Final = 60


@cache
def warm_up() -> None:
    """Call every kernel and the solver once in this process."""
    for allocator in _ALLOCATORS:
        _pass(parse(_TEXT + allocator, Path.cwd(), "warm-up"))


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
