"""Engines broken on purpose, each by one line: a campaign that they pass would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from engine.app import assembly
from engine.app.live import run
from engine.app.live.daemon import Daemon
from engine.journal import JournalWriter
from engine.sinks.alert_file import AlertFile
from engine.sinks.outbox import LANES, Outbox
from engine.state import from_bytes, to_bytes
from tests.campaign.life import Life
from tests.support.crash import AFTER, BEFORE, MIDDLE, Crash


class Mutant(msgspec.Struct, frozen=True):
    """What is broken, how, and the lives in which it should show."""

    name: str
    change: Callable[[], None]
    lives: tuple[Life, ...]


def _lives(point: str, phase: str, counts: tuple[int, ...] = (1,), **options: Any) -> tuple[Life, ...]:
    tail = options.pop("tail", "")
    return tuple(Life((Crash(point, phase, count, tail),), **options) for count in counts)


def _publish_before_fsync() -> None:
    async def commit(self: Any) -> None:
        effects, self._effects = self._effects, []
        acknowledge, self._acknowledge = self._acknowledge, []
        self._outbox.add(effects)
        for call in acknowledge:
            call()
        self.durable_seq = await asyncio.to_thread(self._journal.commit)
        self._committed.set()

    Daemon._commit = commit  # type: ignore[method-assign]


def _snapshot_without_outbox() -> None:
    plain = Outbox.state

    def state(self: Any) -> dict[str, Any]:
        nothing = msgspec.msgpack.encode([])
        last = list(self._last)
        there = {name: dict.fromkeys(LANES, last) for name in self.names}
        return plain(self) | {"lanes": dict.fromkeys(LANES, nothing), "cursors": there}

    Outbox.state = state  # type: ignore[method-assign]


def _keep_torn_tails() -> None:
    plain = JournalWriter._start

    def start(self: Any, tail: Any) -> None:
        if tail is not None:
            tail = msgspec.structs.replace(tail, size_bytes=tail.size_bytes + tail.torn_bytes, torn_bytes=0)
        plain(self, tail)

    JournalWriter._start = start  # type: ignore[method-assign]


def _snapshot_before_commit() -> None:
    async def snapshot(self: Any) -> None:
        seq, position = self.loop.seq, self.position
        self._snapshot_seq = seq
        state = from_bytes(to_bytes(self.loop.state()))
        payload = {"loop": state, "extra": {"outbox": self._outbox.state()}, "position": position}
        await asyncio.to_thread(self._snapshots.write, seq, payload)

    Daemon.snapshot = snapshot  # type: ignore[method-assign]


def _change_found(**fields: Any) -> None:
    plain = assembly.recover

    def recover(*args: Any, **kwargs: Any) -> Any:
        return msgspec.structs.replace(plain(*args, **kwargs), **fields)

    assembly.recover = recover


def _forget_tail_effects() -> None:
    plain = run.assemble

    def assemble(*args: Any, **kwargs: Any) -> Any:
        parts = plain(*args, **kwargs)
        parts.effects.clear()
        return parts

    run.assemble = assemble


def _write_alerts_again() -> None:
    AlertFile._last_written = lambda _: (0, -1)  # type: ignore[method-assign]


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "publishes before the fsync",
        _publish_before_fsync,
        _lives("journal.sync", BEFORE, (3, 6, 9), tail="nothing") + _lives("journal.write", BEFORE, (4, 8)),
    ),
    Mutant(
        "snapshots without the outbox",
        _snapshot_without_outbox,
        _lives("snapshot.rename", AFTER, is_deaf=True),
    ),
    Mutant("writes on behind a torn tail", _keep_torn_tails, _lives("journal.write", MIDDLE, (2, 5, 8))),
    Mutant("snapshots before the commit", _snapshot_before_commit, _lives("snapshot.rename", AFTER)),
    Mutant("forgets where the feed was", lambda: _change_found(position=""), _lives("commit", AFTER, (5,))),
    Mutant(
        "forgets a problem without answer",
        lambda: _change_found(problem=None),
        _lives("solve", AFTER, (1, 2), is_slow=True),
    ),
    Mutant(
        "forgets the effects of the tail", _forget_tail_effects, _lives("commit", AFTER, (9,), is_deaf=True)
    ),
    Mutant("writes alerts again", _write_alerts_again, _lives("alerts.append", AFTER)),
)
