"""A tape as the product takes it: slices in memory, bars and daily closes as Parquet, a configuration."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import tape
from benchmarks.tape import Size
from engine.app.config.load import Config, parse
from engine.events import CLOSE, HIGH, LOW, OPEN, VOLUME, BarSlice, FloatArray, IntArray
from engine.ports import DailyHistory
from feeds.calendars import day_of, sessions_for

CALENDAR = "XNYS"
_START = dt.date(2015, 1, 2)
_ROW_GROUP = 65_536
_HISTORY_DAYS = 60


def stamps(n_minutes: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return close (ns), session (day) and minute of the first minutes of the calendar."""
    first = day_of(_START)
    sessions = sessions_for(CALENDAR, first, first + 20 + n_minutes // 220)
    return sessions.stamps(0, n_minutes)


def slices(size: Size) -> list[BarSlice]:
    """Return a tape as slices."""
    return slices_of(tape.make_bars(size))


def slices_of(bars: FloatArray) -> list[BarSlice]:
    """Return bars of shape (n_minutes, 5, n_symbols) as slices; each minute is one contiguous block."""
    n_minutes, _, n_symbols = bars.shape
    ts_ns, day, minute = (column.tolist() for column in stamps(n_minutes))
    return [BarSlice(ts_ns[t], day[t], minute[t], bars[t], (), n_symbols) for t in range(n_minutes)]


def history(size: Size) -> DailyHistory:
    """Return daily closes before the tape, so that risk can measure every symbol from the first minute."""
    rng = np.random.Generator(np.random.PCG64(3))
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (_HISTORY_DAYS, size.n_symbols)), axis=0))
    days = day_of(_START) - _HISTORY_DAYS + np.arange(_HISTORY_DAYS, dtype=np.int64)
    return DailyHistory(tape.symbols_of(size), days, close)


def write_bars(path: Path, size: Size) -> None:
    """Write a tape as Parquet, one row per symbol and minute, in time order."""
    bars = tape.make_bars(size)
    ts_ns, _, _ = stamps(size.n_minutes)
    names = pa.array(list(tape.symbols_of(size)) * size.n_minutes).dictionary_encode()
    columns: dict[str, pa.Array] = {
        "ts": pa.array(np.repeat(ts_ns, size.n_symbols), type=pa.timestamp("ns", tz="UTC")),
        "symbol": names.cast(pa.string()),
    }
    rows = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}
    columns |= {name: pa.array(bars[:, row].ravel()) for name, row in rows.items()}
    pq.write_table(pa.table(columns), path, row_group_size=_ROW_GROUP)


def write_history(path: Path, size: Size) -> None:
    """Write the daily closes as Parquet: date, symbol, close."""
    daily = history(size)
    dates = daily.days.astype("datetime64[D]")
    columns = {
        "date": np.repeat(dates, size.n_symbols),
        "symbol": list(daily.symbols) * len(dates),
        "close": daily.close_usd.ravel(),
    }
    pq.write_table(pa.table(columns), path)


def config(size: Size, folder: Path, allocator: str = "mean_variance") -> Config:
    """Return the configuration of the comparison; ``allocator`` "none" is for signals only."""
    names = tape.symbols_of(size)
    pairs = [f"{y}/{x}" for y, x in zip(names[0::2], names[1::2], strict=True)]
    every = "every_min = 30" if allocator == "mean_variance" else ""
    return parse(
        f"""
        feed = {{ path = "bars.parquet" }}
        universe = {{ calendar = "{CALENDAR}" }}
        risk = {{ history = "daily.parquet" }}

        [[strategy]]
        kind = "kalman_pairs"
        pairs = {pairs}
        prices = "raw"
        raw_unit = "usd"
        noise = {{ delta = {tape.DELTA}, observation_variance = {tape.OBSERVATION_VARIANCE} }}
        initial_covariance = {tape.INITIAL_COVARIANCE}
        warmup_min = 0
        session_open = "none"
        entry_z = {tape.ENTRY_Z}
        exit_z = {tape.EXIT_Z}

        [allocator]
        kind = "{allocator}"
        {every}
        """,
        folder,
    )
