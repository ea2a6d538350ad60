"""The daemon as it ships, in a process of its own, with a stopwatch held beside it.

    python -m benchmarks.live_child CONFIG.toml [--speed 1] [--times FILE.npz] [--allocations FILE.txt]

The engine is not changed for it: an inbox that notes when an arrival came, a daemon that notes when its step
ended, when a commit had covered it and when its effects went to the outbox, a sink that notes each delivery
to Redis, and one more figure for ``/metrics``. All times are nanoseconds of the monotonic clock, which all
processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import threading
import time
import tracemalloc
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from prometheus_client import Gauge

from engine.app.config.load import load
from engine.app.live import live_run
from engine.app.live.daemon import Daemon
from engine.app.live.inbox import Inbox
from engine.app.live.metrics import Metrics
from engine.app.live.run import RunOptions, run
from engine.app.terminal import Silent
from engine.events import Bar, Event, Record, TradingState, TradingStateChanged
from engine.ports import AllocationProblem, Arrival, Effect
from engine.sinks import redis
from engine.sinks.messages import KINDS, URGENT
from engine.sinks.redis import RedisSink

TASKS: Final = "bench_asyncio_tasks"
#: Code that allocated most, in the report of ``--allocations``.
_LINES: Final = 40
_FRAMES: Final = 6


class Times:
    """What was noted: a row a stepped bar, a commit, a handing over to the outbox, a delivery to Redis.

    A bar has: end of its minute, place of its symbol, when it came, when its step began and ended, its
    sequence number, and whether trading was halted in that step. A commit has: last durable record, when it
    began and ended. A handing over has: record of its last effect, and when. A delivery has: record of its
    last effect, whether that was urgent, when it began and ended.
    """

    bars: ClassVar[array[int]] = array("q")
    commits: ClassVar[array[int]] = array("q")
    handed: ClassVar[array[int]] = array("q")
    deliveries: ClassVar[array[int]] = array("q")

    @classmethod
    def save(cls, path: Path) -> None:
        """Write all tables."""
        np.savez(
            path,
            bars=np.array(cls.bars).reshape(-1, 7),
            commits=np.array(cls.commits).reshape(-1, 3),
            handed=np.array(cls.handed).reshape(-1, 2),
            deliveries=np.array(cls.deliveries).reshape(-1, 4),
        )


class TimedInbox(Inbox):
    """Notes when each arrival of the routine lane came, and knows that of the one taken last."""

    def __init__(self) -> None:
        super().__init__()
        self.taken_came_ns = 0
        self._came_ns: dict[int, int] = {}

    async def put(self, arrivals: Sequence[Arrival]) -> None:
        """Note the time, that of waiting for room included."""
        now_ns = time.monotonic_ns()
        self._came_ns |= {id(arrival): now_ns for arrival in arrivals}
        await super().put(arrivals)

    async def take(self) -> Arrival | None:
        """Remember when what is taken had come; 0 for what was urged."""
        arrival = await super().take()
        self.taken_came_ns = self._came_ns.pop(id(arrival), 0)
        return arrival


class TimedDaemon(Daemon):
    """Notes steps and commits."""

    def __init__(self, loop: Any, **parts: Any) -> None:
        super().__init__(loop, **parts)
        self._places = {symbol: i for i, symbol in enumerate(loop.bus.intake.slicer.symbols)}
        self._began_ns = 0
        commit, add = self._journal.commit, self._outbox.add

        def timed_commit() -> int:
            began_ns = time.monotonic_ns()
            seq = commit()
            Times.commits.extend((seq, began_ns, time.monotonic_ns()))
            return seq

        def timed_add(effects: Sequence[Effect]) -> None:
            if effects:
                Times.handed.extend((effects[-1].seq, time.monotonic_ns()))
            add(effects)

        self._journal.commit = timed_commit  # type: ignore[method-assign]
        self._outbox.add = timed_add  # type: ignore[method-assign,assignment]

    def _step(self, arrival: Arrival) -> AllocationProblem | None:
        self._began_ns = time.monotonic_ns()
        return super()._step(arrival)

    def on_step(self, seq: int, record: Record, events: Sequence[Event]) -> None:
        """Note the end of a bar's step: what follows from it has happened, and the gate is as it will be."""
        now_ns = time.monotonic_ns()
        super().on_step(seq, record, events)
        if type(record) is Bar:
            is_halted = any(
                type(event) is TradingStateChanged and event.state is TradingState.HALTED for event in events
            )
            came_ns = self.inbox.taken_came_ns if isinstance(self.inbox, TimedInbox) else 0
            place = self._places.get(record.symbol, -1)
            row = (record.ts_close_ns, place, came_ns, self._began_ns, now_ns, seq, is_halted)
            Times.bars.extend(row)


class TimedRedisSink(RedisSink):
    """Notes deliveries."""

    async def deliver(self, effects: Sequence[Effect]) -> None:
        """Note when Redis was asked, and when it had answered."""
        began_ns, last = time.monotonic_ns(), effects[-1]
        await super().deliver(effects)
        is_urgent = KINDS[type(last.event)] in URGENT
        Times.deliveries.extend((last.seq, is_urgent, began_ns, time.monotonic_ns()))


class CountingMetrics(Metrics):
    """Also counts the tasks of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        tasks = Gauge(TASKS, "Tasks of the event loop", registry=self._registry)
        tasks.set_function(lambda: len(asyncio.all_tasks()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal comes or the tape ends; return the engine's exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_child", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--times", type=Path)
    parser.add_argument("--allocations", type=Path)
    parser.add_argument("--allocations-after", type=float, default=60.0)
    options = parser.parse_args(arguments)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # By name: the run is built from what its module holds.
    parts = vars(live_run)
    parts["Metrics"] = CountingMetrics
    if options.times is not None:
        parts |= {"Inbox": TimedInbox, "Daemon": TimedDaemon}
        vars(redis)["RedisSink"] = TimedRedisSink
    growth = Growth(options.allocations_after) if options.allocations is not None else None
    try:
        return run(load(options.config), RunOptions(speed=options.speed), Silent())
    finally:
        if options.times is not None:
            Times.save(options.times)
        if growth is not None:
            options.allocations.write_text(growth.text(), encoding="utf-8")


def _end_with_parent() -> None:
    """End in good order when whoever started this process is gone: its end of the pipe closes."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


class Growth:
    """Which lines hold more memory at the end than they did some time after the start.

    Parameters
    ----------
    after_s : float
        When the first look is taken.
    """

    def __init__(self, after_s: float) -> None:
        tracemalloc.start(_FRAMES)
        self._before: tracemalloc.Snapshot | None = None
        timer = threading.Timer(after_s, self._look)
        timer.daemon = True
        timer.start()

    def _look(self) -> None:
        gc.collect()
        self._before = tracemalloc.take_snapshot()

    def text(self) -> str:
        """List the lines, those that grew most first."""
        before = self._before
        self._look()
        now = self._before
        assert now is not None
        found = now.compare_to(before, "traceback") if before is not None else now.statistics("traceback")
        return "\n".join("\n".join([str(one), *one.traceback.format()]) for one in found[:_LINES])


if __name__ == "__main__":
    raise SystemExit(main())
