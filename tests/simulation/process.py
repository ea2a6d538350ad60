"""One life of the engine in a world, in the order of ``engine/app/live/live_run.py``.

Everything here is the product's own code but for what the world gives: feed, receivers, disk, clock, marker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.app.live.daemon import Daemon
from engine.app.live.edges import BarsClock, DiskWatch, Lookout, receive, tick
from engine.app.live.failure import fall, first_of
from engine.app.live.inbox import Inbox
from engine.app.live.operator_link import Admission, Received
from engine.clock import Clock
from engine.errors import AstraError
from engine.events import MINUTE_NS, Event, HaltRequested, Record
from engine.journal import JournalWriter
from engine.journal_format import Identity
from engine.links import RedisLink
from engine.loop import Loop
from engine.ports import Arrival, Effect, Sink
from engine.recovery import Recovered, compact, recover
from engine.sinks.courier import Couriers
from engine.sinks.messages import Wire
from engine.sinks.outbox import Outbox
from engine.sinks.redis import RedisSink
from engine.slices import Slicer
from engine.snapshots import SnapshotStore
from feeds.live_context import LiveContext
from tests.simulation.engine import INSTANCE, KEYS, build
from tests.simulation.market import SYMBOLS, sessions_of
from tests.simulation.outside import TopicSink, WorldFeed
from tests.simulation.plan import Knobs

if TYPE_CHECKING:
    from tests.simulation.world import World

ROOT: Final = Path("state")
EPOCH: Final = "20180219T143000Z"
IDENTITY: Final = Identity("cafe", "build", EPOCH, 17_581)
WIRE: Final = Wire(INSTANCE, EPOCH, SYMBOLS)
_SKEW_MAX_S: Final = 2.0
_DRAIN_S: Final = 5.0
_STATUS_EVERY_S: Final = 20.0


class _Quiet:
    """Guard and meter that nobody looks at: a hang is something that the world does."""

    def enter(self, seq: int) -> None:
        pass

    def leave(self) -> None:
        pass

    def on_step(self, seconds: float) -> None:
        pass

    def on_commit(self, seconds: float, records: int) -> None:
        pass

    def on_solve(self, seconds: float, status: str) -> None:
        pass


class Process:
    """One process.

    Parameters
    ----------
    world : World

    Raises
    ------
    AstraError
        If the engine refuses to start.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.knobs: Knobs = world.knobs
        self.is_serving = False
        effects: list[Effect] = []

        def keep(seq: int, record: Record, events: list[Event]) -> None:
            world.note_recovered(seq, record, events)
            effects.extend(Effect(seq, index, event) for index, event in enumerate(events))

        self.loop: Loop = build(world.plan, keep, world.machine.mood)
        self.recovered: Recovered = recover(ROOT, self.loop, IDENTITY, disk=world.machine.disk)
        self.journal = JournalWriter(
            ROOT / "journal",
            IDENTITY,
            disk=world.machine.disk,
            segment_bytes=self.knobs.segment_bytes,
            continue_from=self.recovered.tail,
        )
        self.loop.journal = self.journal
        self.effects = effects
        self.inbox = Inbox(self.knobs.inbox_max)
        self._feeding: list[asyncio.Task[None]] = []
        #: What the halt marker said at the start, until the core has halted.
        self.raised: HaltRequested | None = None
        #: A halt by signal that was not stepped yet, and when it came, seconds.
        self.signalled: tuple[HaltRequested, float] | None = None

    async def serve(self) -> None:
        """Serve until stopped."""
        world, knobs = self.world, self.knobs
        self.clock = Clock(wall=world.machine.clock.time_ns, monotonic=world.machine.clock.monotonic)
        sinks: dict[str, Sink] = {
            "redis": RedisSink(RedisLink("redis://simulated"), WIRE),
            "mqtt": TopicSink(world),
        }
        self.outbox = Outbox(tuple(sinks), knobs.outbox_bound)
        if self.recovered.extra is not None:
            self.outbox.restore(self.recovered.extra["outbox"])
        self.couriers = Couriers(self.outbox, sinks, ROOT / "cursors.json", EPOCH)
        self.outbox.add(self.effects)
        self.daemon = Daemon(
            self.loop,
            inbox=self.inbox,
            journal=self.journal,
            outbox=self.outbox,
            snapshots=SnapshotStore(ROOT / "snapshots", IDENTITY, disk=world.machine.disk),
            guard=_Quiet(),
            meter=_Quiet(),
            solve_max_s=knobs.solve_max_s,
            snapshot_every=(knobs.snapshot_every_s, knobs.snapshot_every_records),
        )
        self.daemon.position = self.recovered.position
        self.loop.listener = self._on_step
        try:
            await self._live(sinks)
        except (BaseExceptionGroup, AstraError) as failure:
            error = first_of(failure)
            if isinstance(error, Exception) and self.loop.seq > self.recovered.seq:
                await fall(error, world.machine.marker, self.clock.now_ns(), sinks)  # type: ignore[arg-type]
            raise error from None
        finally:
            await self.couriers.aclose()

    def _on_step(self, seq: int, record: Record, events: list[Event]) -> None:
        self.daemon.on_step(seq, record, events)
        self.world.note_step(self, seq, record, events)

    async def _live(self, sinks: Mapping[str, Sink]) -> None:
        world, knobs, clock = self.world, self.knobs, self.clock
        feed = WorldFeed(world, LiveContext(SYMBOLS, "24/7", clock, _SKEW_MAX_S))
        sessions = sessions_of(world.plan)
        lookout = Lookout(
            clock,
            sessions,
            self.loop.status,
            self.inbox,
            feed_silence_max_min=knobs.feed_silence_max_min,
            sinks_silent_s=self._sinks_silent_s,
            sinks_silence_max_s=knobs.sinks_silence_max_s,
            is_outbox_full=lambda: self.outbox.is_overfull,
            disk=DiskWatch(lambda: (0, 0), 1.0, lambda *_: None),  # this world's disk fails, and never hangs
            losses=dict,
        )
        self._urge_raised_halt()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(task)
                for task in (
                    self.couriers.run(),
                    lookout.look_forever(knobs.keeps_time),
                    self._tell_status(),
                    self._retain(),
                )
            ]
            stepping = group.create_task(self.daemon.step_until_closed(self.recovered.problem))
            committing = group.create_task(self.daemon.commit_until_done())
            self._feeding = [group.create_task(self._feed(feed))]
            if knobs.keeps_time:
                ticking = tick(clock, sessions, self.inbox, knobs.grace_s)
                self._feeding.append(group.create_task(ticking))
            orders = world.channel.orders(Admission(KEYS, clock))
            self._feeding.append(group.create_task(self._obey(orders)))
            self.is_serving = True
            await stepping
            self.is_serving = False
            self.stop()
            await committing
            if self.daemon.is_quiet and self.loop.seq:
                await self.daemon.snapshot()
            await self.couriers.drain(_DRAIN_S)
            for task in background:
                task.cancel()
        # Only here: after a failure nobody knows what is on disk, and a closing mark would say so.
        self.journal.close()

    def _urge_raised_halt(self) -> None:
        raised = self.world.machine.marker.read()
        if raised is not None:
            self.raised = HaltRequested(self.clock.now_ns(), raised.reason, raised.detail)
            self.inbox.urge(Arrival(self.raised, acknowledge=partial(self.world.clear_marker, self.raised)))
        if self.knobs.keeps_time and self.loop.status.ts_ns > self.clock.now_ns():
            behind = HaltRequested(self.clock.now_ns(), "CLOCK_JUMP", "the wall clock is behind the journal")
            self.inbox.urge(Arrival(behind))

    def _sinks_silent_s(self) -> float:
        return max(self.couriers.waiting_s("urgent").values())

    async def _feed(self, feed: WorldFeed) -> None:
        bars_clock = None if self.knobs.keeps_time else self._bars_clock()
        await receive(feed, self.inbox, self.recovered.position, bars_clock, None)
        self.inbox.close()

    def _bars_clock(self) -> BarsClock:
        intake = self.loop.bus.intake
        assert intake is not None
        slicer = Slicer(SYMBOLS, sessions_of(self.world.plan))
        return BarsClock(self.knobs.grace_s, slicer, intake.newest_ns)

    async def _obey(self, orders: AsyncIterator[Received]) -> None:
        async for command, acknowledge in orders:
            self.inbox.urge(Arrival(command, acknowledge=acknowledge))

    async def _tell_status(self) -> None:
        while True:
            self.couriers.show_status(b"{}")
            await asyncio.sleep(_STATUS_EVERY_S)

    async def _retain(self) -> None:
        while self.knobs.retain_min:
            await asyncio.sleep(60.0)
            before_ns = self.clock.now_ns() - self.knobs.retain_min * MINUTE_NS
            with suppress(OSError):
                for _ in await asyncio.to_thread(
                    partial(compact, ROOT, before_ns, disk=self.world.machine.disk)
                ):
                    self.world.met["segment deleted"] += 1

    def halt_by_signal(self) -> None:
        """Do what SIGUSR1 does."""
        if not self.is_serving:
            self.world.machine.marker.raise_("SIGNAL", "SIGUSR1", self.clock.now_ns())
            return
        halt = HaltRequested(self.clock.now_ns(), "SIGNAL", "SIGUSR1")
        self.signalled = (halt, self.world.machine.now_s)
        self.inbox.urge(Arrival(halt))

    def stop(self) -> None:
        """Take nothing more in; what has arrived is still stepped."""
        for task in self._feeding:
            task.cancel()
        self.inbox.close()
