"""The stepper of a live engine: what may come between a problem and its answer."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.app.live.daemon import _TURN, Daemon
from engine.app.live.inbox import Inbox
from engine.events import CommandJudged, Tick
from engine.ports import Arrival, Targets


class StubLoop:
    """Poses a problem at one record; takes everything."""

    def __init__(self, posed_at: int) -> None:
        self.seq = 0
        self.status = SimpleNamespace(verdicts=())
        self._posed_at = posed_at
        self.bus = SimpleNamespace(take_problem=self.take_problem, is_quiet=True, answer=self.answer)

    def take(self, _record: object, _position: str) -> None:
        self.seq += 1

    def take_problem(self) -> object | None:
        return SimpleNamespace(ts_ns=0, state_version=self.seq) if self.seq == self._posed_at else None

    def answer(self, _problem: object) -> Targets:
        return Targets("infeasible", np.empty(0))

    @property
    def is_answered(self) -> bool:
        return self.seq > self._posed_at


def daemon_of(loop: StubLoop, inbox: Inbox) -> Daemon:
    nothing: Any = SimpleNamespace(
        enter=lambda _: None,
        leave=lambda: None,
        on_step=lambda _: None,
        on_solve=lambda *_: None,
        on_commit=lambda *_: None,
        commit=lambda: loop.seq,
        buffered=1,
        add=lambda _: None,
    )
    return Daemon(
        loop,  # type: ignore[arg-type]
        inbox=inbox,
        journal=nothing,
        outbox=nothing,
        snapshots=nothing,
        guard=nothing,
        meter=nothing,
        solve_max_s=10.0,
        snapshot_every=(1e9, 1_000_000),
    )


@pytest.mark.parametrize("posed_at", range(_TURN - 1, _TURN + 2))
async def test_no_snapshot_between_a_problem_and_its_answer(posed_at) -> None:
    """Restored from there, an engine would never answer: the records behind it pose nothing."""
    loop, inbox = StubLoop(posed_at), Inbox()
    await inbox.put([Arrival(Tick(n)) for n in range(2 * _TURN)])
    inbox.close()
    daemon = daemon_of(loop, inbox)
    stepping = asyncio.create_task(daemon.step_until_closed())
    seen = []
    while not stepping.done():
        await asyncio.sleep(0)
        if loop.seq == posed_at:
            seen.append(daemon.is_quiet)
    assert loop.is_answered
    assert True not in seen
    assert seen


async def test_a_problem_left_by_recovery_is_answered_first() -> None:
    """Its answer belongs before the next record, as it would have been without the kill."""
    loop, inbox = StubLoop(posed_at=-1), Inbox()
    taken: list[str] = []
    take = loop.take
    loop.take = lambda record, position: (taken.append(type(record).__name__), take(record, position))  # type: ignore[assignment, method-assign, func-returns-value]
    await inbox.put([Arrival(Tick(1))])
    inbox.close()
    left: Any = SimpleNamespace(ts_ns=0, state_version=7)
    await daemon_of(loop, inbox).step_until_closed(left)
    assert taken == ["TargetsProposed", "Tick"]


async def test_what_a_commit_has_covered_leaves_with_it() -> None:
    """What was stepped while a commit began is on disk as well; what came later must not leave yet."""
    daemon = daemon_of(StubLoop(posed_at=-1), Inbox())
    told: list[int] = []
    added: list[int] = []
    journal: Any = SimpleNamespace(buffered=3, commit=lambda: 2)
    daemon._journal = journal
    outbox: Any = SimpleNamespace(add=lambda effects: added.extend(effect.seq for effect in effects))
    daemon._outbox = outbox
    for seq in (1, 2, 3):
        daemon._step(Arrival(Tick(seq), acknowledge=partial(told.append, seq)))
        daemon.on_step(seq, Tick(seq), [CommandJudged(seq, "halt", "ada", "accepted", "")])
    await daemon._commit()
    assert told == added == [1, 2]
    assert [verdict.ts_ns for verdict in daemon.durable_verdicts] == [1, 2]
    journal.commit = lambda: 3
    await daemon._commit()
    assert told == added == [1, 2, 3]
    journal.buffered, journal.commit = 0, None  # nothing to write: the disk is not asked
    await daemon._commit()
    assert daemon.durable_seq == 3


async def test_bars_are_stepped_before_the_feed_asks_for_more() -> None:
    """Packing the next question takes a server's client longer than a step: every bar would wait for it."""
    inbox, done = Inbox(), []

    async def feed() -> None:
        await inbox.put([Arrival(Tick(1))])
        done.append("asked")

    async def step() -> None:
        await inbox.take()
        done.append("stepped")

    stepping = asyncio.create_task(step())
    await asyncio.sleep(0)
    await feed()
    await stepping
    assert done == ["stepped", "asked"]
