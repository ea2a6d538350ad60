"""Historical replay: bars through the whole engine into a run folder; ``proofs`` has the proofs about it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from engine.app.build import build_text
from engine.app.config.load import Config
from engine.app.config.plugins import weighs_returns
from engine.app.config.resolved import config_hash
from engine.app.keys import keys_from_environment
from engine.app.replay import run_files
from engine.app.replay.attribution import strategies_of
from engine.app.replay.last_close import unfilled
from engine.app.replay.opening import Opening, open_run
from engine.app.replay.risk_at_end import risk_at_end
from engine.app.replay.statistics import EquityStatistics, periods_per_year
from engine.app.source import fingerprint_of
from engine.app.wiring import build_loop
from engine.clock import stopwatch_s
from engine.commands import Keys, attributed
from engine.desk import ROUTINE_EVENTS
from engine.errors import InvariantError
from engine.events import BarSlice, Command, Event, Record, TradingState
from engine.journal import JournalWriter
from engine.journal_format import Identity
from engine.loop import Loop
from engine.ports import Effect
from engine.sinks.run_folder import RunFolder
from feeds.recorded import nothing_accepted

_PROGRESS_EVERY: Final = 512
_COMMIT_RECORDS: Final = 1_024
_PROGRESS_MIN_S: Final = 0.1


class Listener(Protocol):
    """What a replay tells while it runs; ``engine.app.terminal`` implements it."""

    def on_start(self, config: Config, run_name: str, n_symbols: int, n_sessions: int, n_bars: int) -> None:
        """Tell what is about to run; ``n_bars`` 0 when unknown."""
        ...

    def on_notes(self, lines: Sequence[str]) -> None:
        """Tell what a live run begins with: servers it has started, a halt that is still in force."""
        ...

    def on_effects(self, effects: Sequence[Effect]) -> None:
        """Tell what happened beyond routine marks and measures."""
        ...

    def on_progress(
        self, bars_done: int, bars_total: int | None, ts_ns: int, bars_per_s: float, var_usd: float
    ) -> None:
        """Tell how far it is; about ten times a second."""
        ...

    def on_done(self, summary: Mapping[str, Any], folder: Path) -> None:
        """Tell the result."""
        ...


class RunResult(msgspec.Struct, frozen=True):
    """What a replay left behind."""

    folder: Path
    summary: dict[str, Any]
    is_halted: bool


def replay(
    config: Config,
    *,
    out: Path | None,
    commands: Path | None,
    argv: list[str],
    listener: Listener,
) -> RunResult:
    """Replay the configured bars and write a run folder.

    Parameters
    ----------
    config : Config
    out : Path or None
        The run folder itself; by default a new one in ``[output] dir``.
    commands : Path or None
        Signed operator commands, one JSON object a line, replayed in event time.
    argv : list of str
        For the record.
    listener : Listener

    Raises
    ------
    AstraError
        For bars, history or commands that cannot be used, and if no bar is accepted; no folder is left then.
    KeyboardInterrupt
        After the run folder has been completed with what was done; before the first bar none is left.
    """
    opening = open_run(config, out)
    orders, command_text = run_files.read_command_file(commands)
    keys = keys_from_environment() if orders else Keys()
    orders = [attributed(order, keys) for order in orders]
    is_old = out is not None and out.is_dir()
    folder = run_files.make_folder(config, out)
    source = opening.source
    run: _Run | None = None
    exit_reason = "failed"
    try:
        run = _Run(config, folder, opening, keys, listener)
        fingerprint = fingerprint_of(config)
        listener.on_start(config, folder.name, len(config.symbols), source.n_sessions, source.feed.n_rows)
        run.drive(orders)
        exit_reason = "halted" if run.is_halted else "completed"
    except KeyboardInterrupt:
        exit_reason = "interrupted"
        raise
    finally:
        if run is None or not run.has_begun:
            if run is not None:
                run.close()
            run_files.discard(folder, out, is_old=is_old)
        else:
            summary = {**run.finish(), "exit_reason": exit_reason}
            run_files.write(folder, config, (source.name, fingerprint), summary, argv, command_text)
            if out is None:
                run_files.point_latest(folder)
            listener.on_done(summary, folder)
    return RunResult(folder, summary, run.is_halted)


class _Run:
    """One replay in progress: the loop, and what listens to it."""

    def __init__(
        self, config: Config, folder: Path, opening: Opening, keys: Keys, listener: Listener
    ) -> None:
        self._source = source = opening.source
        self._config = config
        self._folder = folder
        self._listener = listener
        self._statistics = EquityStatistics(
            periods_per_year(config.universe.calendar, config.universe.bar_min)
        )
        self._journal = (
            JournalWriter(folder / "journal", _identity(config, folder.name, source.first_day))
            if config.output.journal
            else None
        )
        self._loop: Loop = build_loop(config, opening.history, keys, self._on_step, self._journal)
        self._tables = RunFolder(
            folder,
            config.symbols,
            self._loop.bus.strategies,
            config.output.trace,
            self._statistics.update,
            self._loop.bus.desk,
            weighs_returns(config.allocator.kind),
        )
        # People want to see what is more than the routine of a desk.
        self._routine = ROUTINE_EVENTS if self._loop.bus.desk is not None else 0
        self._started_s = stopwatch_s()
        self._told_s = self._started_s
        self._seconds = 0.0
        #: Events of the last slice.
        self._said: list[Event] = []

    @property
    def is_halted(self) -> bool:
        return self._loop.status.trading_state is TradingState.HALTED

    @property
    def has_begun(self) -> bool:
        """Whether there was a bar: what was written before says nothing."""
        return self._loop.status.slices > 0

    def drive(self, orders: list[Command]) -> None:
        """Run all records through the loop."""
        self._started_s = stopwatch_s()
        with _Interrupt() as interrupt:
            asyncio.run(self._loop.run(_merged(self._source.records(), orders, interrupt)))
        received, accounted = self._source.feed.received, self._loop.status.accounted
        if received != accounted:
            raise InvariantError(f"{received} bars received, {accounted} accounted for")
        if self._loop.status.slices == 0:
            raise nothing_accepted(self._loop.status.rejected, self._source.name)

    def _on_step(self, seq: int, record: Record, events: list[Event]) -> None:
        self._tables.on_step(seq, record, events, self._loop.status.trading_state)
        if type(record) is BarSlice:
            self._said = events
        if len(events) > self._routine or (events and type(record) is not BarSlice):
            self._listener.on_effects([Effect(seq, index, event) for index, event in enumerate(events)])
        if seq % _PROGRESS_EVERY == 0:
            self._tell_progress()
        if self._journal is not None and self._journal.buffered >= _COMMIT_RECORDS:
            self._journal.commit()

    def _tell_progress(self) -> None:
        now_s = stopwatch_s()
        if now_s - self._told_s < _PROGRESS_MIN_S:
            return
        self._told_s = now_s
        status = self._loop.status
        done = status.accounted
        var_usd = status.risk.var_usd if status.risk is not None else 0.0
        per_s = done / (now_s - self._started_s)
        self._listener.on_progress(done, self._source.feed.n_rows, status.ts_ns, per_s, var_usd)

    def close(self) -> None:
        """Close the files; called however the run ended."""
        self._tables.close()
        if self._journal is not None:
            self._journal.close()

    def finish(self) -> dict[str, Any]:
        """Close the files and sum up."""
        self._seconds = stopwatch_s() - self._started_s
        self.close()
        status, journal = self._loop.status, self._loop.journal_digest
        return run_files.summary(
            status,
            self._statistics,
            len(self._config.symbols),
            self._seconds,
            (self._loop.digest.hexdigest(), journal.hexdigest() if journal is not None else None),
            self._config.book.equity_usd,
            [*self._tables.notes(), *unfilled(self._loop.bus.desk, self._said)],
        ) | {**risk_at_end(self._loop.bus.desk), **strategies_of(self._folder, self._config)}


def _identity(config: Config, epoch: str, origin_day: int) -> Identity:
    return Identity(config_hash(config), build_text(), epoch, origin_day)


class _Interrupt:
    """Ctrl-C ends a replay between two records, so that what was done is complete."""

    def __init__(self) -> None:
        self._is_asked = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _ask(self, *_: object) -> None:
        self._is_asked = True

    def check(self) -> None:
        """Raise if it was asked for."""
        if self._is_asked:
            raise KeyboardInterrupt


async def _merged(
    records: AsyncIterator[Record], orders: list[Command], interrupt: _Interrupt
) -> AsyncIterator[Record]:
    """Put every command before the first slice that closes after it."""
    waiting = list(reversed(orders))
    async for record in records:
        interrupt.check()
        while waiting and type(record) is BarSlice and waiting[-1].ts_ns < record.ts_close_ns:
            yield waiting.pop()
        yield record
    while waiting:
        yield waiting.pop()
