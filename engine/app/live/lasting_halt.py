"""Halts that take effect at once and outlast the process, also while the journal takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from engine.app.live.failure import tell
from engine.app.live.halt_marker import HaltMarker
from engine.app.live.inbox import Inbox
from engine.clock import Clock
from engine.events import HaltRequested
from engine.ports import Arrival, Sink

_log = structlog.get_logger("astra.run")


class LastingHalt:
    """Halts through the inbox; the marker holds a halt until the journal does.

    The marker is written in threads, since the disk may be why there is a halt, and in order: it is cleared
    once the journal has every halt that was asked for.

    Parameters
    ----------
    inbox : Inbox
    marker : HaltMarker
    clock : Clock
    sinks : mapping of str to Sink
        Those that reach people.
    """

    def __init__(self, inbox: Inbox, marker: HaltMarker, clock: Clock, sinks: Mapping[str, Sink]) -> None:
        self._inbox = inbox
        self._marker = marker
        self._clock = clock
        self._sinks = sinks
        self._under_way = 0
        self._writing: asyncio.Future[None] | None = None
        self._telling: asyncio.Future[None] | None = None

    def __call__(self, reason: str, detail: str) -> None:
        """Halt, and tell the log at once: alerts wait until the journal has their record."""
        _log.critical("halt", reason=reason, detail=detail)
        halt = HaltRequested(self._clock.now_ns(), reason, detail)
        self._write(partial(self._marker.raise_, reason, detail, halt.ts_ns))
        self._urge(halt)

    def on_disk(self, reason: str, detail: str) -> None:
        """Halt because of the disk: an alert would wait for that very disk, so people are told without."""
        self(reason, detail)
        self._telling = asyncio.ensure_future(tell("disk_hung", detail, self._clock.now_ns(), self._sinks))

    def at_next_start(self, reason: str, detail: str) -> None:
        """Let the next start be halted: nothing is stepped any more."""
        self._under_way += 1  # whatever else is on disk, this one is not
        change = partial(self._marker.raise_, reason, detail, self._clock.now_ns())
        if self._writing is None or self._writing.done():
            change()
        else:
            self._write(change)

    def take_over(self) -> str:
        """Halt if the marker is raised, and return why: a process before failed, or somebody asked."""
        raised = self._marker.read()
        if raised is None:
            return ""
        self._urge(HaltRequested(self._clock.now_ns(), raised.reason, raised.detail))
        return raised.reason

    async def settle(self, seconds: float) -> None:
        """Wait until the marker says what it should, so long at most; before anybody else writes it."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=seconds)

    def _urge(self, halt: HaltRequested) -> None:
        self._under_way += 1
        self._inbox.urge(Arrival(halt, acknowledge=self._on_journal))

    def _on_journal(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._write(self._marker.clear)

    def _write(self, change: Callable[[], None]) -> None:
        self._writing = asyncio.ensure_future(_after(self._writing, change))


async def _after(earlier: asyncio.Future[None] | None, change: Callable[[], None]) -> None:
    """Change the marker, once the change before is done."""
    if earlier is not None:
        await asyncio.wait([earlier])
    try:
        await asyncio.to_thread(change)
    except OSError as error:
        _log.error("the halt marker cannot be written", error=str(error))
