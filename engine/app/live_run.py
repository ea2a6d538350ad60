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
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from engine.app.assembly import Assembly
from engine.app.config import Config
from engine.app.config_tables import AlertsTable
from engine.app.daemon import Daemon
from engine.app.edges import BarsClock, Lookout, receive, tick
from engine.app.failure import fall, first_of, hung
from engine.app.halt_marker import SIGNAL, HaltMarker
from engine.app.health import TOKEN, build_app, check_bind, serve
from engine.app.health_view import Phase
from engine.app.inbox import Inbox
from engine.app.metrics import Metrics
from engine.app.operator_link import Admission, Received, from_mqtt, from_redis, from_spool
from engine.app.plugins import registry
from engine.app.printer import Printer
from engine.app.replay import Listener
from engine.app.sinks import sinks_of
from engine.app.source import span_of
from engine.app.state_folder import StateFolder
from engine.app.systemd import Systemd
from engine.app.view import View
from engine.app.watchdog import Watchdog
from engine.clock import Clock
from engine.commands import Keys
from engine.errors import AstraError
from engine.events import DAY_NS, SECOND_NS, Event, HaltRequested, Nanos, Record, TradingState
from engine.links import MqttLink, RedisLink
from engine.ports import Arrival, Effect, LiveFeed
from engine.recovery import compact
from engine.sinks.courier import Couriers
from engine.sinks.messages import Wire
from engine.sinks.outbox import Outbox
from engine.slices import Slicer
from feeds.live_context import LiveContext

_DRAIN_S: Final = 5.0
_STATUS_EVERY_S: Final = 1.0
_RETAIN_EVERY_S: Final = 3600.0
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
        self._feeding: list[asyncio.Task[None]] = []
        self._has_news = asyncio.Event()
        self._phase = Phase.RECOVERING
        self._exit_status = 0

    async def serve(self) -> int:
        """Serve until the feed ends or a signal comes; return the exit status."""
        parts, table = self._parts, self._table
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
        try:
            with watchdog:
                await self._live(daemon, couriers, outbox, watchdog)
        except (BaseExceptionGroup, AstraError) as failure:
            error = first_of(failure)
            if isinstance(error, Exception) and parts.loop.seq > parts.recovered.seq:
                await fall(error, self._marker, parts.clock.now_ns(), sinks)
            raise error from None
        finally:
            self._printer.close()
            await couriers.aclose()
            self._marker.close()
        return self._exit_status

    def _listen(self, daemon: Daemon) -> None:
        """Show every step to the daemon, and what a person wants to see to the terminal."""

        def on_step(seq: int, record: Record, events: list[Event]) -> None:
            daemon.on_step(seq, record, events)
            if events:
                self._printer.show([Effect(seq, index, event) for index, event in enumerate(events)])

        self._parts.loop.listener = on_step

    async def _live(self, daemon: Daemon, couriers: Couriers, outbox: Outbox, watchdog: Watchdog) -> None:
        parts, table = self._parts, self._table
        clock, status = parts.clock, parts.loop.status
        kind, feed_options = self._config.feed.kind, self._config.feed.options
        feed: LiveFeed = registry("live_feeds")[kind].build(feed_options, self._context())
        admission = Admission(self._keys, clock)
        view = View(self._config, parts, daemon, couriers, outbox, watchdog, feed, admission)
        alerts = self._config.alerts or AlertsTable()
        lookout = Lookout(
            clock,
            parts.sessions,
            status,
            self._inbox,
            feed_silence_max_min=table.feed_silence_max_min,
            sinks_silent_s=view.sinks_silent_s if alerts.required else lambda: 0.0,
            sinks_silence_max_s=alerts.silence_max_s,
            is_outbox_full=lambda: outbox.is_overfull,
        )
        self._urge_raised_halt(clock)
        keeps_time = parts.tape is None and table.clock == "wall"
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(task, name=name)
                for name, task in (
                    ("heartbeat", watchdog.beat_forever()),
                    ("couriers", couriers.run()),
                    ("lookout", lookout.look_forever(keeps_time)),
                    ("status", self._tell_status(view, couriers)),
                    ("retention", self._retain()),
                    *self._http(view),
                )
            ]
            if alerts.required:
                await view.require_sinks()
            stepping = group.create_task(daemon.step_until_closed(parts.recovered.problem), name="step")
            committing = group.create_task(daemon.commit_until_done(), name="commit")
            self._feeding = [group.create_task(self._feed(feed, keeps_time), name="feed")]
            if keeps_time:
                ticking = tick(clock, parts.sessions, self._inbox, table.grace_s)
                self._feeding.append(group.create_task(ticking, name="tick"))
            for commands in self._commands(view.admission):
                self._feeding.append(group.create_task(self._obey(commands), name="commands"))
            self._watch_signals(clock)
            self._announce()
            self._phase = view.phase = Phase.RUNNING
            self._systemd.ready()
            await stepping
            await self._end(daemon, couriers, view, committing)
            for task in background:
                task.cancel()
        # Only here: after a failure nobody knows what is on disk, and a closing mark would say so.
        parts.journal.close()

    async def _end(
        self, daemon: Daemon, couriers: Couriers, view: View, committing: asyncio.Task[None]
    ) -> None:
        """Commit what was stepped, keep its state, hand its effects over."""
        loop = self._parts.loop
        self._phase = view.phase = Phase.STOPPING
        self._systemd.stopping()
        self._stop()
        await committing
        if daemon.is_quiet and loop.seq:  # of nothing there is none: there is no journal yet
            await daemon.snapshot()
        await couriers.drain(_DRAIN_S)
        view.phase = Phase.STOPPED
        self._write_status(view, couriers)
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
        )

    def _urge_raised_halt(self, clock: Clock) -> None:
        """Halt first of all if the process before this one hung or failed, or its epoch ended halted."""
        if (raised := self._marker.read()) is not None:
            halt = HaltRequested(clock.now_ns(), raised.reason, raised.detail)
            self._inbox.urge(Arrival(halt, acknowledge=self._marker.clear))
        behind_ns = self._parts.loop.status.ts_ns - clock.now_ns()
        if self._parts.tape is None and self._table.clock == "wall" and behind_ns > 0:
            detail = f"the wall clock is {behind_ns / SECOND_NS:,.0f} s behind the journal"
            self._inbox.urge(Arrival(HaltRequested(clock.now_ns(), "CLOCK_JUMP", detail)))

    def _http(self, view: View) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        table = self._config.console
        if table is None:
            return []
        token = os.environ.get(TOKEN, "")
        check_bind(table.host, token)
        app = build_app(view.still, self._metrics, token)

        def tell(port: int) -> None:
            _log.info("listening", host=table.host, port=port)

        return [("http", serve(app, table.host, table.port, tell))]

    def _announce(self) -> None:
        config, parts, found = self._config, self._parts, self._parts.recovered
        name = f"{config.operator.instance}/{parts.identity.epoch}"
        tape = parts.tape
        self._terminal.on_start(
            config,
            name,
            len(config.symbols),
            len(parts.sessions) if tape is not None else 0,
            tape.n_rows if tape is not None else 0,
        )
        _log.info(
            "running",
            instance=config.operator.instance,
            epoch=parts.identity.epoch,
            seq=found.seq,
            replayed=found.replayed,
            snapshot_seq=found.snapshot_seq,
            torn_bytes=found.torn_bytes,
        )
        status = parts.loop.status
        if status.trading_state is TradingState.HALTED:
            _log.warning("halted", reason=status.halt_reason, halt_id=status.halt_id)
        for server in self._links.started:
            _log.info("server started", server=server)
        for why in found.skipped_snapshots:
            _log.warning("snapshot skipped", why=why)

    def _watch_signals(self, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGUSR1, self._halt_by_signal, clock)

    def _halt_by_signal(self, clock: Clock) -> None:
        """Halt; once nothing is stepped any more, the next start is halted instead."""
        if self._phase is Phase.RUNNING:
            self._inbox.urge(Arrival(HaltRequested(clock.now_ns(), SIGNAL, "SIGUSR1")))
        else:
            self._marker.raise_(SIGNAL, "SIGUSR1", clock.now_ns())

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
        slot_of = Slicer(self._config.symbols, parts.sessions).slot_of
        return BarsClock(self._table.grace_s, lambda bar: slot_of(bar) is not None, intake.newest_ns)

    def _meter_lag(self, ts_close_ns: Nanos) -> None:
        self._metrics.on_arrival((self._parts.clock.now_ns() - ts_close_ns) / SECOND_NS)

    def _commands(self, admission: Admission) -> Iterator[AsyncIterator[Received]]:
        instance = self._config.operator.instance
        yield from_spool(self._state.commands, admission)
        if self._links.redis is not None:
            yield from_redis(self._links.redis, instance, admission)
        if self._links.mqtt is not None:
            yield from_mqtt(self._links.mqtt, instance, admission)

    async def _obey(self, commands: AsyncIterator[Received]) -> None:
        async for command, acknowledge in commands:
            self._inbox.urge(Arrival(command, acknowledge=partial(self._obeyed, acknowledge)))

    def _obeyed(self, acknowledge: Callable[[], None]) -> None:
        """Tell the sender that its command is on disk, and people what came of it."""
        acknowledge()
        self._has_news.set()

    async def _tell_status(self, view: View, couriers: Couriers) -> None:
        while True:
            self._has_news.clear()
            self._write_status(view, couriers)
            with suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_EVERY_S):
                    await self._has_news.wait()

    def _write_status(self, view: View, couriers: Couriers) -> None:
        body = view.document()
        couriers.show_status(body)
        draft = self._state.status.with_suffix(".tmp")
        try:
            draft.write_bytes(body)
            draft.replace(self._state.status)
        except OSError as error:  # the journal decides whether a disk that refuses ends the run
            _log.warning("status is not written", error=str(error))

    async def _retain(self) -> None:
        if not self._table.keep_days:
            return
        while True:
            before_ns = self._parts.clock.now_ns() - self._table.keep_days * DAY_NS
            try:
                for name in await asyncio.to_thread(compact, self._state.root, before_ns):
                    _log.info("segment deleted", name=name)
            except OSError as error:  # what is kept for longer does no harm
                _log.warning("segments are not deleted", error=str(error))
            await asyncio.sleep(_RETAIN_EVERY_S)

    # ---------------------------------------------------------------------------------------------- ends

    def _interrupt(self) -> None:
        self._exit_status = _INTERRUPTED
        self._stop()

    def _stop(self) -> None:
        """Take nothing more in; what has arrived is still stepped."""
        for task in self._feeding:
            task.cancel()
        self._inbox.close()
