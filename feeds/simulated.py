"""Seeded sample bars: cointegrated pairs on a real calendar, and the faults that real feeds have.

For each pair, in logs and by session minute t:

    x: driftless random walk with a market factor, U-shaped volatility over the day, a jump overnight
    y_t = y_0 + Σ β_s (x_s − x_{s−1}) + u_t,  β a slow random walk, u an Ornstein–Uhlenbeck spread

Prices are rounded to 4 decimals, so that the last bit of a platform's ``exp`` does not reach the data.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from engine.columns import BarColumns
from engine.errors import DataError
from engine.events import MINUTE_NS, FloatArray, IntArray, Nanos
from engine.sessions import SESSION_FIRST, Sessions
from engine.slices import Slicer
from feeds.calendars import day_of, sessions_for
from feeds.columns import SUFFIXES
from feeds.faults import Faults, with_faults
from feeds.recorded import RecordedBars, in_memory, nothing_in_span, of_span
from feeds.stamps import UNREADABLE

DEMO_PAIRS = ("JPM/C", "GS/MS", "KO/PEP")


class SimulatedOptions(BaseModel):
    """The keys of ``[feed]`` for ``kind = "simulated"``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: tuple[str, ...] = Field(
        default=(), description='pairs "Y/X"; by default those of the universe, two by two'
    )
    sessions: int = Field(default=5, ge=1, le=10_000, description="sessions to make")
    start: dt.date = Field(
        default=dt.date(2026, 1, 5), description="first day; the first session is on or after it"
    )
    seed: int = Field(default=7, ge=0, description="the same seed gives the same bars")
    volatility_daily_frac: float = Field(default=0.015, gt=0, le=0.2, description="of x, during a session")
    night_frac: float = Field(
        default=0.007, ge=0, le=0.2, description="standard deviation of overnight jumps"
    )
    spread_frac: float = Field(
        default=0.002, ge=0, le=0.1, description="stationary standard deviation of the spread"
    )
    half_life_min: float = Field(default=45.0, gt=0, description="of the spread")
    beta_daily: float = Field(
        default=0.02, ge=0, le=0.5, description="drift of the hedge ratio, standard deviation"
    )
    volume_usd: float = Field(default=40_000_000.0, gt=0, description="median traded value of a minute")
    price_usd: dict[str, PositiveFloat] = Field(
        default_factory=dict, description="first close by symbol; those of others are drawn"
    )
    faults: Faults = Faults()


def _u_shape(middle_min: FloatArray, length_min: IntArray) -> FloatArray:
    """Level by time since the open: high at the open, low at noon, higher at the close; mean about 1."""
    x = middle_min / length_min
    shape: FloatArray = (
        0.65 + 1.4 * np.exp(-x / 0.06) + 0.5 * np.exp(-(1.0 - x) / 0.05) + 0.72 * (x - 0.5) ** 2
    )
    return shape


def _ou(shocks: FloatArray, sd: float, half_life_bars: float) -> FloatArray:
    """AR(1) with the given stationary standard deviation; ``shocks`` (n_bars, n) standard normal."""
    phi = 0.5 ** (1.0 / half_life_bars)
    scale = sd * np.sqrt(1.0 - phi * phi)
    path = np.empty_like(shocks)
    level = sd * shocks[0]
    for t in range(len(shocks)):
        level = phi * level + scale * shocks[t]
        path[t] = level
    return path


def _log_paths(
    options: SimulatedOptions, level: FloatArray, is_first: FloatArray, n: int, bar_min: float
) -> FloatArray:
    """Log prices (n_bars, 2n): y of each pair and then x, interleaved."""
    rng = np.random.Generator(np.random.Philox(options.seed))
    n_bars = len(level)
    bar_sd = options.volatility_daily_frac * level / np.sqrt(max(1.0, n_bars / is_first.sum()))
    sd = np.where(is_first > 0, np.hypot(bar_sd, options.night_frac), bar_sd)[:, np.newaxis]
    market = rng.standard_normal((n_bars, 1))
    steps = sd * (0.6 * market + 0.8 * rng.standard_normal((n_bars, n)))
    steps[0] = 0.0
    beta_sd = options.beta_daily / np.sqrt(max(1.0, n_bars / is_first.sum()))
    beta = rng.uniform(0.7, 1.3, n) + np.cumsum(beta_sd * rng.standard_normal((n_bars, n)), axis=0)
    spread = _ou(rng.standard_normal((n_bars, n)), options.spread_frac, options.half_life_min / bar_min)
    paths = np.empty((n_bars, 2 * n))
    paths[:, 0::2] = np.log(rng.uniform(40.0, 300.0, n)) + np.cumsum(beta * steps, axis=0) + spread
    paths[:, 1::2] = np.log(rng.uniform(40.0, 300.0, n)) + np.cumsum(steps, axis=0)
    return paths


def _bars(
    options: SimulatedOptions, minute: IntArray, length_min: IntArray, legs: Sequence[str], bar_min: int
) -> FloatArray:
    """OHLCV of shape (n_bars, 5, n_legs)."""
    rng = np.random.Generator(np.random.Philox(key=[options.seed, 1]))
    width_min = (minute - 1) % bar_min + 1  # the last bar of a session may be shorter
    level = _u_shape(minute - 0.5 * width_min, length_min)
    is_first = (minute <= width_min).astype(np.float64)
    paths = _log_paths(options, level, is_first, len(legs) // 2, float(np.median(width_min)))
    for k, leg in enumerate(legs):
        if leg in options.price_usd:
            paths[:, k] += np.log(options.price_usd[leg]) - paths[0, k]
    tick = 0.1 * options.volatility_daily_frac / np.sqrt(390.0) * level[:, np.newaxis]
    shape = paths.shape
    close = np.exp(paths)
    # A session opens where the night left it; any other bar opens next to the last close.
    before = np.concatenate([paths[:1], paths[:-1]])
    before = np.where(is_first[:, np.newaxis] > 0, paths, before)
    open_ = np.exp(before + tick * rng.standard_normal(shape))
    bars = np.empty((shape[0], 5, shape[1]))
    bars[:, 0] = np.round(open_, 4)
    bars[:, 3] = np.round(close, 4)
    body = bars[:, 0], bars[:, 3]
    bars[:, 1] = np.round(np.maximum(*body) * (1.0 + 2.0 * tick * np.abs(rng.standard_normal(shape))), 4)
    bars[:, 2] = np.round(np.minimum(*body) * (1.0 - 2.0 * tick * np.abs(rng.standard_normal(shape))), 4)
    size = options.volume_usd * (level * width_min)[:, np.newaxis] * np.exp(0.35 * rng.standard_normal(shape))
    bars[:, 4] = np.round(size / bars[:, 3])
    return bars


def _pairs(options: SimulatedOptions, symbols: Sequence[str]) -> list[str]:
    """Flatten pairs to symbols: each y in front of its x; an odd one out gets a partner nobody sees."""
    if options.pairs:
        legs = [leg for pair in options.pairs for leg in pair.split("/")]
        malformed = [pair for pair in options.pairs if pair.count("/") != 1 or "" in pair.split("/")]
        if malformed or len(set(legs)) != len(legs):
            what = f"pairs must be Y/X with each symbol once, was {list(options.pairs)}"
            raise DataError("D010", what, "feed.pairs", "A simulated symbol follows one pair only.")
        return legs
    legs = list(symbols) or [leg for pair in DEMO_PAIRS for leg in pair.split("/")]
    return [*legs, ""] if len(legs) % 2 else legs


def sessions_of(options: SimulatedOptions, calendar: str, bar_min: int = 1) -> Sessions:
    """Return the sessions that the options ask for."""
    first = day_of(options.start)
    if first < 0:
        raise DataError("D009", f"simulated bars start in 1970 or later, was {options.start}", "feed.start")
    # Some 250 sessions a year, and room for the longest holidays.
    found = sessions_for(calendar, first, first + 2 * options.sessions + 14, bar_min)
    n = options.sessions
    return Sessions(found.day[:n], found.open_ns[:n], found.close_ns[:n], bar_min)


def simulate(options: SimulatedOptions, sessions: Sessions, symbols: Sequence[str] = ()) -> BarColumns:
    """Make bars, in arrival order, faults included.

    Parameters
    ----------
    options : SimulatedOptions
    sessions : Sessions
    symbols : sequence of str
        Paired two by two when the options name no pairs; by default the demo's.

    Returns
    -------
    BarColumns
        Symbols of a minute in the order of ``names``.

    Raises
    ------
    DataError
        D010, for pairs that cannot be simulated.
    """
    legs = _pairs(options, symbols)
    strangers = [symbol for symbol in options.price_usd if symbol not in legs]
    if strangers:
        what = f"price_usd names {', '.join(strangers)}, which is not simulated"
        raise DataError("D002", what, "feed.price_usd", "Add the symbol to a pair or to the universe.")
    ts, _, minute = sessions.stamps(0, sessions.n_bars)
    n_bars = np.diff(np.append(sessions.table[SESSION_FIRST], sessions.n_bars))
    length_min = np.repeat((sessions.close_ns - sessions.open_ns) // MINUTE_NS, n_bars)
    bars = _bars(options, minute, length_min, legs, sessions.bar_min)
    names = tuple(leg for leg in legs if leg)
    n = len(names)
    values = np.ascontiguousarray(bars[:, :, :n].transpose(1, 0, 2).reshape(5, -1))
    columns = BarColumns(np.repeat(ts, n), np.tile(np.arange(n), len(ts)), names, values)
    return with_faults(columns, options.faults, options.seed)


def simulated_bars(
    options: SimulatedOptions,
    symbols: Sequence[str],
    calendar: str,
    *,
    from_ns: Nanos | None = None,
    to_ns: Nanos | None = None,
    bar_min: int = 1,
) -> RecordedBars:
    """Return simulated bars as a feed, judged like any others.

    Parameters
    ----------
    options : SimulatedOptions
    symbols : sequence of str
        The universe; by default all that is simulated.
    calendar : str
    from_ns, to_ns : int, optional
        Bars that close outside ``[from_ns, to_ns]`` are not part of the run.
    bar_min : int
        Minutes of a bar.

    Raises
    ------
    DataError
        D001 without a bar in the span, D002 for a symbol that is not simulated, D009, D010.
    """
    sessions = sessions_of(options, calendar, bar_min)
    columns = simulate(options, sessions, symbols)
    missing = [symbol for symbol in symbols if symbol not in columns.names]
    if missing:
        what = f"symbols are not simulated: {', '.join(missing)}"
        raise DataError("D002", what, "feed.pairs", "Name them in a pair, or leave pairs out.")
    whole_ns = columns.ts_close_ns
    columns = of_span(columns, from_ns, to_ns)
    if not len(columns):
        raise nothing_in_span("the simulation", int(whole_ns.min()), int(whole_ns.max()))
    return in_memory(columns, partial(Slicer, tuple(symbols) or columns.names, sessions))


def write(
    options: SimulatedOptions,
    path: Path,
    calendar: str = "XNYS",
    symbols: Sequence[str] = (),
    bar_min: int = 1,
) -> int:
    """Write simulated bars to ``.csv``, ``.csv.gz`` or ``.parquet``; return the number of rows.

    Raises
    ------
    DataError
        D004 for another suffix, D010 for pairs that cannot be simulated.
    """
    if not path.name.endswith(SUFFIXES):
        raise DataError(
            "D004", f"{path.name} is of no known format", str(path), f"Use {', '.join(SUFFIXES)}."
        )
    columns = simulate(options, sessions_of(options, calendar, bar_min), symbols)
    write_columns(columns, path)
    return len(columns)


def write_columns(columns: BarColumns, path: Path) -> None:
    """Write bars in the canonical form: UTC stamps of the END of the minute."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    is_parquet = path.suffix == ".parquet"
    ts = pa.array(columns.ts_close_ns, mask=columns.ts_close_ns == UNREADABLE)
    ts = ts.cast(pa.timestamp("ns", tz="UTC"))
    if not (
        is_parquet or np.any((columns.ts_close_ns % 1_000_000_000) * (columns.ts_close_ns != UNREADABLE))
    ):
        ts = ts.cast(pa.timestamp("s", tz="UTC"))  # easier to read
    symbol = pa.DictionaryArray.from_arrays(columns.code.astype(np.int32), list(columns.names)).cast(
        pa.string()
    )
    arrays = [pa.array(row, from_pandas=is_parquet) for row in columns.values]
    table = pa.table([ts, symbol, *arrays], names=["ts", "symbol", "open", "high", "low", "close", "volume"])
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_parquet:
        pq.write_table(table, path, row_group_size=1 << 16)
        return
    with pa.output_stream(str(path), compression="gzip" if path.suffix == ".gz" else None) as stream:
        pyarrow.csv.write_csv(table, stream, pyarrow.csv.WriteOptions(quoting_style="needed"))
