"""Live bars for tests: sessions, minutes as bars and ticks, and what a file of the same bars would show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from engine.events import MINUTE_NS, Bar, Nanos, Tick
from engine.loop import Loop
from engine.ports import StrategyContext
from engine.sessions import Sessions
from engine.slices import Slicer
from feeds.faults import Faults
from feeds.simulated import SimulatedOptions, simulate
from strategies import REGISTRY
from tests.support.columns import columns_of
from tests.support.core import T0_NS
from tests.support.engines import Recorder, engine_of

#: Date of the first session, days since 1970-01-01; sessions open at ``T0_NS`` and a day later each.
DAY = 17_581


def sessions_of(*lengths_min: int) -> Sessions:
    """Make sessions of these lengths on consecutive days."""
    n = len(lengths_min)
    opens = T0_NS + 1_440 * MINUTE_NS * np.arange(n, dtype=np.int64)
    return Sessions(DAY + np.arange(n, dtype=np.int64), opens, opens + np.array(lengths_min) * MINUTE_NS)


def instant_of(record: Bar | Tick) -> Nanos:
    """Return the time that a live record tells."""
    return record.ts_ns if isinstance(record, Tick) else record.ts_close_ns


def end_of(minute: int, session: int = 0) -> Nanos:
    """Return the end of a minute, 1 for the first."""
    return T0_NS + (1_440 * session + minute) * MINUTE_NS


def bars_of(minute: int, prices: Mapping[str, float], session: int = 0) -> list[Bar]:
    """Make one flat bar a symbol."""
    ts = end_of(minute, session)
    return [Bar(ts, name, price, price, price, price, 1e6) for name, price in prices.items()]


def tick(minute: int, session: int = 0) -> Tick:
    """Make the watermark at the end of a minute."""
    return Tick(end_of(minute, session))


def replay_file(loop: Loop, bars: Sequence[Bar], symbols: Sequence[str], sessions: Sessions) -> Nanos:
    """Give a loop what a file with these bars, sorted by time, would show; return its last minute."""
    slicer = Slicer(symbols, sessions)
    in_time = sorted(bars, key=lambda bar: bar.ts_close_ns)  # stable: the first of two versions stands
    last_ns = 0
    for item in [*slicer.offer_columns(columns_of(in_time)), *slicer.finish()]:
        loop.step(item)
        last_ns = max(last_ns, item.ts_close_ns)
    return last_ns


def is_accounted(loop: Loop) -> bool:
    """Whether every bar that was received is accepted, rejected, pending or waiting, in both ledgers."""
    intake, status = loop.bus.intake, loop.status
    assert intake is not None
    slicer = intake.slicer
    known = slicer.accepted + sum(slicer.rejected.values()) + len(slicer.pending) + intake.waiting
    return intake.received == known == status.accounted + intake.waiting


def feed(loop: Loop, records: Iterable[Bar | Tick]) -> None:
    """Step through live records, checking the accounts at each."""
    for record in records:
        loop.step(record)
        assert is_accounted(loop)


# --------------------------------------------------------------------------------------- a simulated day

SYMBOLS = ("A", "B", "C", "D")
SESSIONS = sessions_of(50, 30, 50)
#: Everything that goes wrong, except what is late: a file has no grace.
FAULTS = Faults(
    gap_frac=0.05, duplicate_frac=0.03, conflict_frac=0.02, fat_finger_frac=0.01, nan_frac=0.01, split=True
)
KALMAN = {
    "pairs": ["A/B", "C/D"],
    "noise": {"delta": 1e-9, "observation_variance": 1e-7, "overnight_variance": 1e-5},
    "warmup_min": 10,
    "entry_z": 1.0,
    "exit_z": 0.2,
    "forecast_window_min": 20,
}


def kalman_engine(allocator: str = "direct") -> tuple[Loop, Recorder]:
    """Build an engine with a real strategy, allocator, desk and intake."""
    plugin = REGISTRY["kalman_pairs"]
    context = StrategyContext("kalman", SYMBOLS, horizon_min=30.0, session_min=390)
    return engine_of(
        [],
        {},
        strategies=[plugin.build(plugin.options.model_validate(KALMAN), context)],
        allocator=allocator,
        options={"every_min": 10} if allocator == "mean_variance" else {},
        sessions=SESSIONS,
        scenarios=500,
        limit_usd=40_000.0,
    )


@cache
def tape(seed: int, is_clean: bool = False) -> tuple[Bar, ...]:
    """Simulate bars of three short sessions, in the order of a file."""
    options = SimulatedOptions(seed=seed, faults=Faults() if is_clean else FAULTS)
    columns = simulate(options, SESSIONS, SYMBOLS)
    return tuple(columns.bar(row) for row in range(len(columns)))


def as_it_came(bars: tuple[Bar, ...], rng: np.random.Generator, spread_min: float) -> list[Bar | Tick]:
    """Delay every bar at random, within a grace, and put ticks where they are true.

    Bars of one minute change places, and with ``spread_min`` above 1 those of adjacent minutes do too. A tick
    is admissible anywhere up to the instant before the oldest bar that is still to come.
    """
    arrival = np.array([bar.ts_close_ns for bar in bars]) + rng.random(len(bars)) * spread_min * MINUTE_NS
    order = np.argsort(arrival, kind="stable").tolist()
    stamps = np.array([bars[row].ts_close_ns for row in order])
    to_come = np.minimum.accumulate(stamps[::-1])[::-1]
    out: list[Bar | Tick] = [Tick(end_of(0))]
    for place, row in enumerate(order):
        if rng.random() < 0.15:
            latest = int(to_come[place]) - 1
            out.append(Tick(latest - int(rng.choice([0, 1, 20, 90]) * MINUTE_NS * rng.random())))
        out.append(bars[row])
    return out


def live_records(seed: int, order_seed: int, spread_min: float) -> list[Bar | Tick]:
    return as_it_came(tape(seed), np.random.default_rng(order_seed), spread_min)
