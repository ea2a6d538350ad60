"""The life of a recovered engine: serve, drain, end.

Everything happens in one task group: whatever fails ends the run, and what had been received is on disk. The
order of the end is that of trust: no more bars, what has arrived is stepped, committed and put into a
snapshot, effects are handed over, and then the process goes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from engine.app.assembly import Assembly
from engine.app.config.load import Config
from engine.app.config.plugins import registry
from engine.app.config.tables import AlertsTable
from engine.app.live.beginnings import announce, take_over
from engine.app.live.daemon import Daemon
from engine.app.live.edges import BarsClock, DiskWatch, Lookout, receive, tick
from engine.app.live.failure import fall, first_of, hung
from engine.app.live.halt_marker import HaltMarker
from engine.app.live.health import TOKEN, build_app, check_bind, serve
from engine.app.live.health_view import Phase
from engine.app.live.inbox import Inbox
from engine.app.live.lasting_halt import LastingHalt
from engine.app.live.limit_timer import revert_forever
from engine.app.live.losses import losses_of
from engine.app.live.metrics import Metrics
from engine.app.live.operator_link import Admission, Received, from_mqtt, from_redis, from_spool
from engine.app.live.owner import INSTANCE_TAKEN, Owner, place_of
from engine.app.live.owner_mqtt import MqttOwner
from engine.app.live.printer import Printer
from engine.app.live.sinks import sinks_of
from engine.app.live.state_folder import StateFolder
from engine.app.live.status_file import StatusFile
from engine.app.live.systemd import Systemd
from engine.app.live.threads import Threads
from engine.app.live.upkeep import Upkeep
from engine.app.live.view import View
from engine.app.live.watchdog import Watchdog
from engine.app.replay.run import Listener
from engine.app.source import span_of
from engine.app.wiring import at_least_two_bars
from engine.commands import SIGNAL, Keys
from engine.errors import AstraError, ServiceError
from engine.events import SECOND_NS, Alert, Event, Nanos, Record
from engine.links import MqttLink, RedisLink
from engine.ports import Arrival, Effect, LiveFeed
from engine.secret import secret
from engine.sinks.courier import Couriers
from engine.sinks.messages import Wire
from engine.sinks.outbox import Outbox
from engine.slices import Slicer
from feeds.live_context import LiveContext

_DRAIN_S: Final = 5.0
#: A disk that does not answer must not keep the process.
_SETTLE_S: Final = 5.0
_INTERRUPTED: Final = 130

_log = structlog.get_logger("astra.run")


class Links(msgspec.Struct, frozen=True):
    """The servers of a run; ``started`` names those that were started for it."""

    redis: RedisLink | None
    mqtt: MqttLink | None
    started: tuple[str, ...] = ()


class LiveRun:
    """One run of a recovered engine.

    Parameters
    ----------
    config : Config
    state : StateFolder
    links : Links
    parts : Assembly
    keys : Keys
        Verify operator commands.
    terminal : Listener
    """

    def __init__(
        self,
        config: Config,
        state: StateFolder,
        links: Links,
        parts: Assembly,
        keys: Keys,
        terminal: Listener,
    ) -> None:
        self._keys = keys
        self._config = config
        self._table = config.daemon
        self._state = state
        self._links = links
        self._parts = parts
        self._terminal = terminal
        self._printer = Printer(terminal)
        self._metrics = Metrics()
        self._systemd = Systemd(os.environ, os.getpid())
        self._marker = HaltMarker(state.marker)
        self._inbox = Inbox()
        self._owner: Owner | MqttOwner | None = None
        self._feeding: list[asyncio.Task[None]] = []
        self._phase = Phase.RECOVERING
        self._exit_status = 0

    async def serve(self) -> int:
        """Serve until the feed ends or a signal comes; return the exit status."""
        parts, table = self._parts, self._table
        asyncio.get_running_loop().set_default_executor(Threads())
        wire = Wire(self._config.operator.instance, parts.identity.epoch, self._config.symbols)
        sinks = sinks_of(self._config, self._links.redis, self._links.mqtt, wire, self._state.alerts)
        outbox = Outbox(tuple(sinks))
        if parts.recovered.extra is not None:
            outbox.restore(parts.recovered.extra["outbox"])
        couriers = Couriers(outbox, sinks, self._state.cursors, parts.identity.epoch)
        outbox.add(parts.effects)
        watchdog = Watchdog(
            self._marker,
            table.step_max_s,
            now_ns=parts.clock.now_ns,
            tell=lambda text: hung(text, parts.clock.now_ns(), sinks),
            systemd=self._systemd,
        )
        daemon = Daemon(
            parts.loop,
            inbox=self._inbox,
            journal=parts.journal,
            outbox=outbox,
            snapshots=parts.snapshots,
            guard=watchdog,
            meter=self._metrics,
            solve_max_s=table.solve_max_s,
            snapshot_every=(table.snapshot_every_s, table.snapshot_every_records),
        )
        daemon.position = parts.recovered.position
        self._listen(daemon)
        halt = LastingHalt(self._inbox, self._marker, parts.clock, sinks)
        try:
            await self._claim(halt)
            with watchdog:
                await self._live(daemon, couriers, outbox, watchdog, halt)
        except (BaseExceptionGroup, AstraError) as failure:
            error = first_of(failure)
            if isinstance(error, Exception) and parts.loop.seq > parts.recovered.seq:
                await halt.settle(_SETTLE_S)
                await fall(error, self._marker, parts.clock.now_ns(), sinks)
            raise error from None
        finally:
            self._printer.close()
            await couriers.aclose()
            if self._owner is not None:
                await self._owner.release()
            await halt.settle(_SETTLE_S)
            self._marker.close()
        return self._exit_status

    async def _claim(self, halt: LastingHalt) -> None:
        """Refuse to start while another engine has the name, and halt should one take it."""
        instance, place = self._config.operator.instance, place_of(self._state.root)
        if self._links.redis is not None:
            self._owner = Owner(self._links.redis, instance, place, partial(halt, INSTANCE_TAKEN))
        elif self._links.mqtt is not None:
            self._owner = MqttOwner(self._links.mqtt, instance, place, partial(halt, INSTANCE_TAKEN))
        if self._owner is not None:
            await self._owner.claim()

    def _listen(self, daemon: Daemon) -> None:
        """Show every step to the daemon, and what a person wants to see to the terminal."""

        def on_step(seq: int, record: Record, events: list[Event]) -> None:
            daemon.on_step(seq, record, events)
            if events:
                self._printer.show([Effect(seq, index, event) for index, event in enumerate(events)])

        self._parts.loop.listener = on_step

    async def _live(
        self,
        daemon: Daemon,
        couriers: Couriers,
        outbox: Outbox,
        watchdog: Watchdog,
        halt: LastingHalt,
    ) -> None:
        parts, table = self._parts, self._table
        clock = parts.clock
        kind, feed_options = self._config.feed.kind, self._config.feed.options
        feed: LiveFeed = registry("live_feeds")[kind].build(feed_options, self._context())
        admission = Admission(self._keys, clock)
        upkeep = Upkeep(self._config, self._state, parts, daemon, halt, self._warn)
        disk = DiskWatch(lambda: (parts.loop.seq, daemon.durable_seq), table.commit_max_s, halt.on_disk)
        view = View(self._config, parts, daemon, couriers, outbox, watchdog, feed, admission, upkeep, disk)
        alerts = self._config.alerts or AlertsTable()
        shown = StatusFile(self._state.status, view, lambda: self._owner is None or not self._owner.is_taken)
        lookout = self._lookout(outbox, view)
        keeps_time = parts.tape is None and table.clock == "wall"
        # Before the marker is read: a signal is either in it, or comes to this process.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._halt_by_signal, halt)
        take_over(self._state, parts, self._inbox, halt, keeps_time)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(task, name=name)
                for name, task in (
                    ("heartbeat", watchdog.beat_forever()),
                    ("couriers", couriers.run()),
                    ("lookout", lookout.look_forever(keeps_time)),
                    ("status", shown.run()),
                    ("limits", revert_forever(clock, parts.loop.bus.controls, self._inbox)),
                    *self._http(view),
                )
            ]
            keeping = group.create_task(upkeep.run(), name="upkeep")
            if alerts.required:
                await view.require_sinks()
            stepping = group.create_task(daemon.step_until_closed(parts.recovered.problem), name="step")
            committing = group.create_task(daemon.commit_until_done(), name="commit")
            self._feeding = [group.create_task(self._feed(feed, keeps_time), name="feed")]
            if keeps_time:
                ticking = tick(clock, parts.sessions, self._inbox, table.grace_s)
                self._feeding.append(group.create_task(ticking, name="tick"))
            for commands in self._commands(view.admission):
                obeying = self._obey(commands, shown)
                self._feeding.append(group.create_task(obeying, name="commands"))
            self._watch_signals()
            announce(self._config, parts, self._links.started, self._terminal, self._keys)
            self._phase = view.phase = Phase.RUNNING
            self._systemd.ready()
            await stepping
            self._stopping(view)
            await self._keep(daemon, committing)
            keeping.cancel()
            await asyncio.wait([keeping])
            await asyncio.gather(couriers.drain(_DRAIN_S), upkeep.finish())
            await self._stopped(view, shown)
            for task in background:
                task.cancel()
        # Only here: after a failure nobody knows what is on disk, and a closing mark would say so.
        parts.journal.close()

    def _stopping(self, view: View) -> None:
        self._phase = view.phase = Phase.STOPPING
        self._systemd.stopping()
        self._stop()

    async def _keep(self, daemon: Daemon, committing: asyncio.Task[None]) -> None:
        """Commit what was stepped, and keep its state."""
        try:
            async with asyncio.timeout(self._table.commit_max_s):
                await committing
                if daemon.is_quiet and self._parts.loop.seq:  # of nothing there is none: no journal, either
                    await daemon.snapshot()
        except TimeoutError:
            raise ServiceError(
                "S022",
                f"the disk did not take the last records within {self._table.commit_max_s:g} s",
                str(self._state.journal),
                "The engine ends without knowing what is on disk, and starts halted. Look at the disk first.",
            ) from None

    async def _stopped(self, view: View, shown: StatusFile) -> None:
        view.phase = Phase.STOPPED
        await shown.show()
        loop = self._parts.loop
        state = loop.status.trading_state
        _log.info("stopped", seq=loop.seq, fills=loop.status.fills, trading_state=state)

    # --------------------------------------------------------------------------------------- beginnings

    def _context(self) -> LiveContext:
        config, parts = self._config, self._parts
        return LiveContext(
            config.symbols,
            config.universe.calendar,
            parts.clock,
            self._table.skew_max_s,
            *span_of(config),
            self._links.redis,
            self._links.mqtt,
            config.operator.instance,
            config.universe.bar_min,
            has_had_bars=parts.loop.status.last_bar_ns > 0,
        )

    def _lookout(self, outbox: Outbox, view: View) -> Lookout:
        alerts = self._config.alerts or AlertsTable()
        return Lookout(
            self._parts.clock,
            self._parts.sessions,
            self._parts.loop.status,
            self._inbox,
            feed_silence_max_min=at_least_two_bars(self._config, self._table.feed_silence_max_min),
            sinks_silent_s=view.sinks_silent_s if alerts.required else lambda: 0.0,
            sinks_silence_max_s=alerts.silence_max_s,
            is_outbox_full=lambda: outbox.is_overfull,
            disk=view.disk,
            losses=partial(losses_of, view.feed),
        )

    def _http(self, view: View) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        table = self._config.console
        if table is None:
            return []
        token = secret(TOKEN, os.environ)
        check_bind(table.host, token)
        app = build_app(view.still, self._metrics, token)

        def tell(port: int) -> None:
            _log.info("listening", host=table.host, port=port)

        return [("http", serve(app, table.host, table.port, tell))]

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)

    def _halt_by_signal(self, halt: LastingHalt) -> None:
        """Halt; once nothing is stepped any more, the next start is halted instead."""
        (halt if self._phase in {Phase.RECOVERING, Phase.RUNNING} else halt.at_next_start)(SIGNAL, "SIGUSR1")

    def _warn(self, kind: str, text: str) -> None:
        """Let the core tell people what only the edge knows."""
        self._inbox.urge(Arrival(Alert(self._parts.clock.now_ns(), "warning", kind, text)))

    # -------------------------------------------------------------------------------------------- tasks

    async def _feed(self, feed: LiveFeed, keeps_time: bool) -> None:
        is_recorded = self._parts.tape is None and not keeps_time
        bars_clock = self._bars_clock() if is_recorded else None
        position = self._parts.recovered.position
        await receive(feed, self._inbox, position, bars_clock, self._meter_lag if keeps_time else None)
        self._inbox.close()

    def _bars_clock(self) -> BarsClock:
        parts, intake = self._parts, self._parts.loop.bus.intake
        assert intake is not None  # noqa: S101 - a live run has one
        slicer = Slicer(self._config.symbols, parts.sessions)
        return BarsClock(self._table.grace_s, slicer, intake.newest_ns)

    def _meter_lag(self, ts_close_ns: Nanos) -> None:
        self._metrics.on_arrival((self._parts.clock.now_ns() - ts_close_ns) / SECOND_NS)

    def _commands(self, admission: Admission) -> Iterator[AsyncIterator[Received]]:
        instance = self._config.operator.instance
        yield from_spool(self._state.commands, admission)
        owner = self._owner
        if self._links.redis is not None and isinstance(owner, Owner):
            yield from_redis(self._links.redis, instance, admission, owner.holds)
        if self._links.mqtt is not None and owner is not None:
            yield from_mqtt(self._links.mqtt, instance, admission, lambda: owner.takes_commands)

    async def _obey(self, commands: AsyncIterator[Received], shown: StatusFile) -> None:
        """Take commands; once one is on disk, its sender may forget it, and people see what came of it."""

        def obeyed(acknowledge: Callable[[], None]) -> None:
            acknowledge()
            shown.renew()

        async for command, acknowledge in commands:
            self._inbox.urge(Arrival(command, acknowledge=partial(obeyed, acknowledge)))

    # ---------------------------------------------------------------------------------------------- ends

    def _interrupt(self) -> None:
        self._exit_status = _INTERRUPTED
        self._stop()

    def _stop(self) -> None:
        """Take nothing more in; what has arrived is still stepped."""
        for task in self._feeding:
            task.cancel()
        self._inbox.close()
