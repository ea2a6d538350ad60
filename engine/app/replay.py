"""Historical replay: bars through the whole engine into a run folder; and the proofs about it.

``verify`` runs a folder again and compares digests; ``lookahead`` runs truncated tapes and compares the past.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from engine.app import run_files
from engine.app.attribution import strategies_of
from engine.app.build import build_text
from engine.app.config import Config
from engine.app.config_tables import AllocatorTable, BookTable
from engine.app.keys import keys_from_environment
from engine.app.resolved import config_hash
from engine.app.risk_at_end import risk_at_end
from engine.app.source import Source, fingerprint_of, open_source
from engine.app.statistics import EquityStatistics, periods_per_year
from engine.app.wiring import build_loop, read_history
from engine.clock import instant, stopwatch_s
from engine.commands import Keys, attributed
from engine.desk import ROUTINE_EVENTS
from engine.errors import DataError, InvariantError
from engine.events import BarSlice, Command, Event, Record, Signal, TradingState
from engine.journal import JournalReader, JournalWriter
from engine.journal_format import Identity
from engine.loop import Loop
from engine.ports import Effect
from engine.sinks.run_folder import RunFolder
from engine.status import Status

_PROGRESS_EVERY: Final = 512
_COMMIT_RECORDS: Final = 1_024
_PROGRESS_MIN_S: Final = 0.1
_LOOKAHEAD_CUTS: Final = 6


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
        For bars, history or commands that cannot be used; nothing is written then.
    KeyboardInterrupt
        After the run folder has been completed with what was done.
    """
    source, fingerprint = open_source(config), fingerprint_of(config)
    orders, command_text = run_files.read_command_file(commands)
    keys = keys_from_environment() if orders else Keys()
    orders = [attributed(order, keys) for order in orders]
    history = read_history(config.risk.history, config.symbols, source.first_day)
    folder = run_files.make_folder(config, out)
    listener.on_start(config, folder.name, len(config.symbols), source.n_sessions, source.feed.n_rows)
    run = _Run(config, folder, source, keys, history, listener)
    exit_reason = "failed"
    try:
        run.drive(orders)
        exit_reason = "halted" if run.is_halted else "completed"
    except KeyboardInterrupt:
        exit_reason = "interrupted"
        raise
    finally:
        summary = {**run.finish(), "exit_reason": exit_reason}
        run_files.write(folder, config, (source.name, fingerprint), summary, argv, command_text)
        if out is None:
            run_files.point_latest(folder)
        listener.on_done(summary, folder)
    return RunResult(folder, summary, run.is_halted)


class _Run:
    """One replay in progress: the loop, and what listens to it."""

    def __init__(
        self, config: Config, folder: Path, source: Source, keys: Keys, history: Any, listener: Listener
    ) -> None:
        self._source = source
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
        self._loop: Loop = build_loop(config, history, keys, self._on_step, self._journal)
        self._tables = RunFolder(
            folder,
            config.symbols,
            self._loop.bus.strategies,
            config.output.trace,
            self._statistics.update,
            self._loop.bus.book,
        )
        # People want to see what is more than the routine of a desk.
        self._routine = ROUTINE_EVENTS if self._loop.bus.desk is not None else 0
        self._started_s = stopwatch_s()
        self._told_s = self._started_s
        self._seconds = 0.0

    @property
    def is_halted(self) -> bool:
        return self._loop.status.trading_state is TradingState.HALTED

    def drive(self, orders: list[Command]) -> None:
        """Run all records through the loop."""
        self._started_s = stopwatch_s()
        with _Interrupt() as interrupt:
            asyncio.run(self._loop.run(_merged(self._source.records(), orders, interrupt)))
        received, accounted = self._source.feed.received, self._loop.status.accounted
        if received != accounted:
            raise InvariantError(f"{received} bars received, {accounted} accounted for")
        if self._loop.status.slices == 0:
            raise _nothing_accepted(self._loop.status, self._source.name)

    def _on_step(self, seq: int, record: Record, events: list[Event]) -> None:
        self._tables.on_step(seq, record, events, self._loop.status.trading_state)
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

    def finish(self) -> dict[str, Any]:
        """Close the tables and sum up; called however the run ended."""
        self._seconds = stopwatch_s() - self._started_s
        self._tables.close()
        if self._journal is not None:
            self._journal.close()
        status, journal = self._loop.status, self._loop.journal_digest
        return run_files.summary(
            status,
            self._statistics,
            len(self._config.symbols),
            self._seconds,
            (self._loop.digest.hexdigest(), journal.hexdigest() if journal is not None else None),
            self._config.book.equity_usd,
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


def _nothing_accepted(status: Status, name: str) -> DataError:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(status.rejected.items()))
    hint = f"Stamps must be ENDS of minutes, inside the sessions of the calendar: astra data check {name}"
    return DataError("D015", f"no bar was accepted: {reasons}", name, hint)


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


def verify(folder: Path, data: Path | None) -> dict[str, Any]:
    """Replay a run folder again, in a scratch folder, and compare digests.

    A journal that the run kept is replayed too: its recorded answers must give every event again.

    Parameters
    ----------
    folder : Path
        A run folder.
    data : Path or None
        Where the bars are now, if they have moved.

    Returns
    -------
    dict
        ``digest``, ``expected_digest``, ``is_equal``; with a journal also ``journal_digest`` and
        ``expected_journal_digest``, and ``is_equal`` covers both.

    Raises
    ------
    AstraError
        If the folder is incomplete, or the bars are not those of the run.
    """
    from engine.app.terminal import Silent

    past = run_files.read_past_run(folder, data)
    with tempfile.TemporaryDirectory(prefix="astra-verify-") as scratch:
        result = replay(
            past.config,
            out=Path(scratch) / "again",
            commands=past.commands,
            argv=["verify", str(folder)],
            listener=Silent(),
        )
    digest = result.summary["digest"]
    answer = {"digest": digest, "expected_digest": past.digest, "is_equal": digest == past.digest}
    if past.commands is not None and not answer["is_equal"]:
        answer["hint"] = "the run obeyed operator commands: are the keys in the environment those it had?"
    if past.journal_digest is not None:
        again = _journal_digest(past, folder / "journal")
        answer |= {"journal_digest": again, "expected_journal_digest": past.journal_digest}
        answer["is_equal"] = answer["is_equal"] and again == past.journal_digest
    return answer


def _journal_digest(past: run_files.PastRun, folder: Path) -> str:
    """Replay a journal: no bar is taken from the tape, and nothing is solved again."""
    config = past.config
    history = None
    if config.risk.history is not None:  # only then does it matter on which day the tape begins
        history = read_history(config.risk.history, config.symbols, open_source(config).first_day)
    loop = build_loop(config, history, Keys(), lambda *_: None)
    return loop.replay_journal(JournalReader(folder))


def lookahead(config: Config) -> dict[str, Any]:
    """Run the strategies on truncated tapes: a signal of the past that changes has seen the future.

    Returns
    -------
    dict
        ``is_equal``, ``signals`` of the whole tape, ``cuts`` (instants of truncation), ``changed`` (the
        first signals that differ, as text; empty when there is no look-ahead).
    """
    source = open_source(config)
    history = read_history(config.risk.history, config.symbols, source.first_day)
    stamps: list[int] = []
    whole = _signals(config, source, history, stamps)
    if not stamps:
        raise DataError("D001", "the tape has no slice", source.name)
    cuts = [stamps[len(stamps) * k // (_LOOKAHEAD_CUTS + 1)] for k in range(1, _LOOKAHEAD_CUTS + 1)]
    changed: list[str] = []
    for cut_ns in cuts:
        past = [signal for signal in whole if signal.ts_ns <= cut_ns]
        seen = _signals(config, open_source(config, last_ns=cut_ns), history, [])
        if seen != past:
            odd = [signal for signal in (*past, *seen) if (signal in past) != (signal in seen)]
            changed.append(f"cut at {instant(cut_ns)}: {odd[0] if odd else 'order differs'}")
    return {
        "is_equal": not changed,
        "signals": len(whole),
        "cuts": [instant(cut_ns) for cut_ns in cuts],
        "changed": changed,
    }


def _signals(config: Config, source: Source, history: Any, stamps: list[int]) -> list[Signal]:
    """Run strategies alone over a tape."""
    found: list[Signal] = []

    def note(_seq: int, record: Record, events: list[Event]) -> None:
        if type(record) is BarSlice:
            stamps.append(record.ts_close_ns)
        found.extend(event for event in events if type(event) is Signal)

    signals_only = config.model_copy(
        update={"allocator": AllocatorTable(kind="none"), "book": BookTable(equity_usd=1.0)}
    )
    loop = build_loop(signals_only, history, Keys(), note)
    asyncio.run(loop.run(source.records()))
    return found
