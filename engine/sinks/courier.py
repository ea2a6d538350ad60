"""Couriers: they carry effects from the outbox to the sinks, one task for each sink and lane.

A courier delivers in order, advances its cursor when the receiver has the batch, and tries again for ever
when it has not. A slow or dead sink delays itself alone: not the engine, not another sink, and its routine
lane not its urgent one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import msgspec
import structlog

from engine.clock import stopwatch_s
from engine.connections import is_cancelled, waits_s
from engine.ports import Sink
from engine.sinks.messages import EffectId, effect_id, id_of, id_text
from engine.sinks.outbox import LANES, Outbox

_BATCH: Final = 500
_WAIT_MAX_S: Final = 2.0
_IDLE_S: Final = 10.0
#: Least time between two writes of the cursors; what is not written is only delivered once more. Each costs
#: two syncs of the disk that the journal waits for.
_SAVE_EVERY_S: Final = 1.0

_log = structlog.get_logger("astra.courier")


@runtime_checkable
class Accountable(Protocol):
    """A sink that can say what its receiver has, so that a receiver that lost data can be given it again."""

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        """Make sure of the connection; return the id of the last message by kind.

        A kind that is absent is not questioned. Called on every new attempt, and now and then while idle.
        """
        ...


@runtime_checkable
class Billboard(Protocol):
    """A sink that shows the latest status of the engine."""

    async def publish_status(self, body: bytes) -> None:
        """Show it in place of the one before; raise if that cannot be done."""
        ...


class Figures(msgspec.Struct, frozen=True):
    """How a courier is doing.

    Parameters
    ----------
    pending : int
        Effects its sink does not have yet.
    delivered, failures : int
        Effects handed over and attempts that failed, since the start.
    waiting_s : float
        For how long the oldest undelivered batch has been tried; 0 when there is none.
    is_connected : bool
        Whether the last attempt succeeded; False before the first one.
    error : str
        What the last attempt failed with; empty when it succeeded.
    """

    pending: int
    delivered: int
    failures: int
    waiting_s: float
    is_connected: bool
    error: str


class Courier:
    """Carries one lane to one sink."""

    def __init__(
        self, outbox: Outbox, name: str, lane: str, sink: Sink, on_progress: Callable[[], None]
    ) -> None:
        self.name = name
        self.lane = lane
        self._outbox = outbox
        self._sink = sink
        self._held = sink.held if isinstance(sink, Accountable) else None
        self._on_progress = on_progress
        self._delivered = 0
        self._failures = 0
        self._waiting_since_s: float | None = None
        self._is_connected = False
        self._error = ""

    @property
    def waiting_s(self) -> float:
        """For how long the oldest undelivered batch has been tried; 0 when there is none."""
        return 0.0 if self._waiting_since_s is None else stopwatch_s() - self._waiting_since_s

    @property
    def figures(self) -> Figures:
        """How it is doing now."""
        return Figures(
            pending=self._outbox.count(self.name, self.lane),
            delivered=self._delivered,
            failures=self._failures,
            waiting_s=self.waiting_s,
            is_connected=self._is_connected,
            error=self._error,
        )

    async def run(self) -> None:
        """Deliver until cancelled."""
        waits = waits_s(_WAIT_MAX_S)
        while not is_cancelled():
            try:
                await self._compare()
                while not is_cancelled():
                    await self._next()
                    await self._deliver()
                    waits = waits_s(_WAIT_MAX_S)
            except Exception as error:  # noqa: BLE001 - whatever failed, the alert must still arrive
                self._note_failure(error)
            await asyncio.sleep(next(waits))

    async def _next(self) -> None:
        """Wait for something to deliver; a long silence is used to look after the receiver."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S):
                    return await self._outbox.more(self.name, self.lane)
            await self._compare()

    async def _compare(self) -> None:
        """Find out whether the receiver is there and still has what it acknowledged."""
        if self._outbox.count(self.name, self.lane):
            self._start_waiting()
        if self._held is not None:
            again = self._outbox.rewind(self.name, self.lane, await self._held(self.lane))
            if again:
                _log.warning("receiver lost data", sink=self.name, lane=self.lane, sent_again=again)
        if self._waiting_since_s is None:  # else the delivery tells
            self._note_success()

    async def _deliver(self) -> None:
        self._start_waiting()
        batch = self._outbox.pending(self.name, self.lane, _BATCH)
        await self._sink.deliver(batch)
        self._outbox.delivered(self.name, self.lane, effect_id(batch[-1]))
        self._delivered += len(batch)
        self._waiting_since_s = None
        self._note_success()
        self._on_progress()

    def _start_waiting(self) -> None:
        if self._waiting_since_s is None:
            self._waiting_since_s = stopwatch_s()

    def _note_success(self) -> None:
        if self._error:
            _log.info("sink is back", sink=self.name, lane=self.lane)
        self._is_connected = True
        self._error = ""

    def _note_failure(self, error: Exception) -> None:
        if not self._error:
            _log.warning("sink does not take effects", sink=self.name, lane=self.lane, error=str(error))
        self._failures += 1
        self._is_connected = False
        self._error = str(error) or type(error).__name__


class Couriers:
    """All couriers of a run, and the file that remembers how far they have come.

    Parameters
    ----------
    outbox : Outbox
        Made with the names of ``sinks``, and restored; cursors in the file that are further on are applied.
    sinks : mapping of str to Sink
    path : Path
        The file of cursors.
    epoch : str
        Name of the journal: the cursors of another one say nothing here.
    """

    def __init__(self, outbox: Outbox, sinks: Mapping[str, Sink], path: Path, epoch: str) -> None:
        self._outbox = outbox
        self._sinks = dict(sinks)
        self._path = path
        self._epoch = epoch
        self._to_save = asyncio.Event()
        self._moved = asyncio.Event()
        self._couriers = [
            Courier(outbox, name, lane, sink, self._on_progress)
            for name, sink in sinks.items()
            for lane in LANES
        ]
        self._writing = threading.Lock()
        self._status = b""
        self._has_status = {name: asyncio.Event() for name in self._sinks}
        outbox.seek(read_cursors(path, epoch))

    @property
    def figures(self) -> dict[tuple[str, str], Figures]:
        """How each courier is doing, by sink and lane."""
        return {(courier.name, courier.lane): courier.figures for courier in self._couriers}

    def waiting_s(self, lane: str) -> dict[str, float]:
        """Return for how long the oldest undelivered batch of a lane has been tried, by sink."""
        return {courier.name: courier.waiting_s for courier in self._couriers if courier.lane == lane}

    async def run(self) -> None:
        """Deliver until cancelled; the cursors are written on the way out."""
        try:
            async with asyncio.TaskGroup() as group:
                for courier in self._couriers:
                    group.create_task(courier.run(), name=f"courier {courier.name} {courier.lane}")
                for name, sink in self._sinks.items():
                    if isinstance(sink, Billboard):
                        group.create_task(self._show_status(name, sink), name=f"status {name}")
                group.create_task(self._save_cursors(), name="cursors")
        finally:
            self._write(self._outbox.cursors())

    def show_status(self, body: bytes) -> None:
        """Show a status wherever one is shown; only the latest counts, and nothing waits for it."""
        self._status = body
        for news in self._has_status.values():
            news.set()

    async def drain(self, deadline_s: float) -> bool:
        """Wait until everything is delivered, or ``deadline_s`` seconds; tell whether it was."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while any(figures.pending for figures in self.figures.values()):
                    self._moved.clear()
                    await self._moved.wait()
        return not any(figures.pending for figures in self.figures.values())

    async def aclose(self) -> None:
        """Close the sinks, after ``run`` was cancelled; one that fails to does not keep the others."""
        results = await asyncio.gather(
            *(sink.aclose() for sink in self._sinks.values()), return_exceptions=True
        )
        for name, result in zip(self._sinks, results, strict=True):
            if isinstance(result, Exception):
                _log.warning("sink did not close", sink=name, error=str(result))

    async def _show_status(self, name: str, sink: Billboard) -> None:
        news = self._has_status[name]
        while not is_cancelled():
            await news.wait()
            news.clear()
            try:
                await sink.publish_status(self._status)
            except Exception:  # noqa: BLE001 - the couriers report a dead sink; the next status tries again
                await asyncio.sleep(_WAIT_MAX_S)
                news.set()

    def _on_progress(self) -> None:
        self._to_save.set()
        self._moved.set()

    async def _save_cursors(self) -> None:
        while True:
            await self._to_save.wait()
            self._to_save.clear()
            await asyncio.to_thread(self._write, self._outbox.cursors())
            await asyncio.sleep(_SAVE_EVERY_S)

    def _write(self, cursors: Mapping[str, Mapping[str, EffectId]]) -> None:
        try:
            with self._writing:  # a write that outlives its cancelled task must not meet the last one
                write_cursors(self._path, self._epoch, cursors)
        except OSError as error:
            _log.warning("cursors are not written: effects may be delivered twice", error=str(error))


class _CursorFile(msgspec.Struct):
    epoch: str
    cursors: dict[str, dict[str, str]]


def read_cursors(path: Path, epoch: str) -> dict[str, dict[str, EffectId]]:
    """Read how far the sinks had come; nothing if the file is absent, damaged, or of another journal.

    Without it effects are delivered once more, and sinks refuse what they have: nothing is lost.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_CursorFile)
        if file.epoch != epoch:
            return {}
        return {
            name: {lane: id_of(text) for lane, text in lanes.items()} for name, lanes in file.cursors.items()
        }
    except (OSError, ValueError, RecursionError):
        return {}


def write_cursors(path: Path, epoch: str, cursors: Mapping[str, Mapping[str, EffectId]]) -> None:
    """Write how far the sinks have come, in one piece: a reader sees the old file or the new one."""
    texts = {name: {lane: id_text(id_) for lane, id_ in lanes.items()} for name, lanes in cursors.items()}
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(_CursorFile(epoch, texts)))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
