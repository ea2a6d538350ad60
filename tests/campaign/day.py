"""The day that every case of the campaign lives through: bars with faults, and an operator who is busy.

Small but real: three pairs, a solver or none, VaR, halts by the limit, by a command and by the edge, forged
and repeated commands. The operator's commands stand in the tape, so that the whole log is a function of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import feeds
from engine.app.config.load import Config, parse
from engine.app.config.plugins import registry
from engine.app.live.warm_up import warm_up
from engine.app.source import open_source
from engine.app.wiring import build_loop, read_history
from engine.clock import Clock
from engine.commands import CommandBody, Keys, attributed, sign
from engine.events import MINUTE_NS, Command, HaltRequested, Nanos, Record, Tick
from engine.ports import Arrival, LiveFeed, Plugin
from feeds import calendars
from feeds.live_context import LiveContext

OPERATOR_KEY = "campaign-operator-key"
HALT_KEY = "campaign-halt-key"
KEYS = Keys(OPERATOR_KEY.encode(), HALT_KEY.encode())
INSTANCE = "desk"
#: The allocators that cases take in turn.
ALLOCATORS = ("mean_variance", "direct")
_SECOND_NS = 1_000_000_000
#: Real time between two minutes: commits, deliveries and steps are to interleave.
_PACE_S = 0.001
#: Makes an order for an instant, given the halt in force.
_Made: TypeAlias = Callable[[Nanos, str], Record]
_ALLOCATORS = {
    "mean_variance": 'kind = "mean_variance"\nevery_min = 5\nrisk_aversion = 2.0\ntrade_aversion = 0.5',
    "direct": 'kind = "direct"\nunit_usd = 300_000',
}
_TEXT = """
[feed]
{feed}
[universe]
calendar = "XNYS"
[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/C", "GS/MS", "KO/PEP"]
z = "rolling"
window_min = 40
noise = {{delta = 1e-9, observation_variance = 1e-7}}
warmup_min = 30
forecast_window_min = 40
entry_z = 1.5
[allocator]
{allocator}
[risk]
var_limit_usd = 150_000
scenarios = 500
history = "history.csv"
[operator]
instance = "{instance}"
[redis]
url = "{redis_url}"
[daemon]
state_dir = "state"
snapshot_every_records = 150
segment_mb = 0.02
step_max_s = 120
solve_max_s = 50
{daemon}
"""
#: Minutes end when the bars say so, two minutes late.
_BARS_CLOCK = 'clock = "bars"\ngrace_s = 120'
#: In the past whenever this runs: a live feed refuses bars of the future.
_START = np.datetime64("2024-01-08")
_SIMULATED = f"""kind = "simulated"
sessions = 1
start = {_START}
spread_frac = 0.004
half_life_min = 15
faults = {{gap_frac = 0.01, duplicate_frac = 0.01, conflict_frac = 0.004, late_frac = 0.002,\
 fat_finger_frac = 0.003}}"""
#: The feeds that a day may come by; ``daemon`` is what they need beside.
_FEEDS = {
    "simulated": (_SIMULATED, ""),
    "redis_stream": ('kind = "redis_stream"\nbegin = "oldest"', _BARS_CLOCK),
    "mqtt": ('kind = "mqtt"', _BARS_CLOCK),
    "files": ('path = "bars.parquet"', ""),
}


def config_of(
    folder: Path,
    allocator: str,
    redis_url: str = "redis://127.0.0.1:1",
    *,
    feed: str = "simulated",
    more: str = "",
) -> Config:
    """Write the history beside the state, and check the configuration of a case.

    Parameters
    ----------
    folder : Path
        Holds everything.
    allocator : str
        One of ``ALLOCATORS``.
    redis_url : str
    feed : str
        How the bars come: ``simulated``, ``redis_stream``, ``mqtt``, or ``files`` (``bars.parquet``).
    more : str
        Further tables.
    """
    (folder / "history.csv").write_text(_history())
    options, daemon = _FEEDS[feed]
    text = _TEXT.format(
        feed=options,
        allocator=_ALLOCATORS[allocator],
        instance=INSTANCE,
        redis_url=redis_url,
        daemon=daemon,
    )
    return parse(text + more, folder)


def _history() -> str:
    """Make daily closes of the six names before the day, correlated as a sector is."""
    rng = np.random.default_rng(11)
    steps = 0.006 * rng.standard_normal((60, 1)) + 0.009 * rng.standard_normal((60, 6))
    close = 100.0 * np.exp(np.cumsum(steps, axis=0))
    days = _START - 60 + np.arange(60)
    names = ("JPM", "C", "GS", "MS", "KO", "PEP")
    rows = [
        f"{day},{name},{price:.4f}"
        for day, row in zip(days, close, strict=True)
        for name, price in zip(names, row, strict=True)
    ]
    return "\n".join(["date,symbol,close", *rows, ""])


async def _play(feed: LiveFeed, after: str) -> list[Arrival]:
    return [arrival async for batch in feed.arrivals(after) for arrival in batch]


def tape_of(config: Config) -> list[Arrival]:
    """Play the bars and ticks of a configuration as fast as it goes."""
    context = LiveContext(config.symbols, config.universe.calendar, Clock(0, 1e18))
    return asyncio.run(_play(feeds.LIVE["simulated"].build(config.feed.options, context), ""))


def orders_of(config: Config, tape: Sequence[Arrival]) -> dict[str, list[Record]]:
    """Live through the day once, and return what the operator and the edge add, by the position before it.

    An operator looks at the status before he resumes; so does this one. Compiles every kernel and program.
    """
    source = open_source(config)
    history = read_history(config.risk.history, config.symbols, source.first_day)
    loop = build_loop(config, history, KEYS, lambda *_: None, sessions=source.feed.sessions)
    orders: dict[str, list[Record]] = {}
    minute = 0
    for arrival in tape:
        loop.step(arrival.record)
        if isinstance(arrival.record, Tick):
            minute += 1
            now_ns = arrival.record.ts_ns
            for k, made in enumerate(_PLAN.get(minute, ())):
                order = made(now_ns + (k + 1) * _SECOND_NS, loop.status.halt_id)
                orders.setdefault(arrival.position, []).append(order)
                loop.step(order)
    return orders


class BusyDay:
    """A paced tape with orders in it; a position is that of the tape, and how many orders came after it.

    Parameters
    ----------
    tape : LiveFeed
    orders : mapping
        Records by the position of the tape that they follow.
    """

    def __init__(self, tape: LiveFeed, orders: Mapping[str, Sequence[Record]]) -> None:
        self._tape = tape
        self._orders = orders

    async def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:
        """Yield what the tape yields, and the orders in their places."""
        place, _, n_done = after.partition("+")
        if left := self._after(place)[int(n_done or "0") :]:
            yield left
        async for batch in self._tape.arrivals(place):
            yield [one for arrival in batch for one in (arrival, *self._after(arrival.position))]
            await asyncio.sleep(_PACE_S)

    def _after(self, place: str) -> list[Arrival]:
        orders = self._orders.get(place, ())
        return [Arrival(order, f"{place}+{k}") for k, order in enumerate(orders, start=1)]


def prepare() -> None:
    """Prepare this process for its forks: compile everything, and look up each calendar once."""
    warm_up()
    calendars._exchange = cache(calendars._exchange)


def put_into_feed(orders: Mapping[str, Sequence[Record]]) -> None:
    """Let the live feed ``simulated`` of this process give these orders too."""
    plain = feeds.LIVE["simulated"]

    def build(options: Any, context: Any) -> LiveFeed:
        return BusyDay(plain.build(options, context), orders)

    feeds.LIVE["simulated"] = Plugin(plain.options, build)
    registry.cache_clear()


def _order(
    kind: str, *, key: str = OPERATOR_KEY, nonce: str = "", halt_id: str = "", limit_usd: float = 0.0
) -> _Made:
    """Return how to sign a command; a ``resume`` names the halt in force unless it is told another."""

    def made(ts_ns: Nanos, halt_in_force: str) -> Command:
        limits = {"var_limit_usd": limit_usd, "revert_ns": float(ts_ns + 20 * MINUTE_NS)}
        body = CommandBody(
            kind=kind,
            instance=INSTANCE,
            principal="ada",
            issued_ns=ts_ns - MINUTE_NS,
            expires_ns=ts_ns + 600 * MINUTE_NS,
            nonce=nonce or f"{kind}-{ts_ns}",
            reason="campaign",
            halt_id=(halt_id or halt_in_force) if kind == "resume" else "",
            args=limits if limit_usd else {},
        )
        # As the edge records it: keys are not asked again when a journal is replayed.
        return attributed(sign(body, key.encode(), ts_ns), KEYS)

    return made


def _edge(ts_ns: Nanos, _halt: str) -> HaltRequested:
    return HaltRequested(ts_ns, "CLOCK_JUMP", "the wall clock moved by +61.0 s")


#: By minute of the day, 1 the first. The limit cut at 335 halts, returns at 355, and the day ends halted.
_PLAN: dict[int, tuple[_Made, ...]] = {
    60: (_order("rebalance", nonce="once"), _order("rebalance", nonce="once")),
    90: (_order("halt", key=HALT_KEY), _order("rebalance")),
    95: (_order("resume", key=HALT_KEY), _order("resume", halt_id="halt-of-another-day")),
    96: (_order("resume"),),
    160: (_order("flatten"),),
    230: (_order("halt", key="a key that nobody knows"), _order("rebalance")),
    300: (_edge, _order("flatten")),
    310: (_order("resume"),),
    335: (_order("limits", limit_usd=5_000.0), _order("resume")),
    357: (_order("resume"),),
    380: (_edge,),
}
