"""The live engine: arrivals in, durable effects out.

    arrival -> record (number, journal, dispatch) -> fsync -> acknowledge and publish

Stepping never waits for a disk or a server. A commit takes whatever was stepped meanwhile, and only then do
effects leave the process and sources hear that they may forget. Closing the gate waits for nothing: it
happens inside the step.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import numpy as np

from engine.app.live.inbox import Inbox
from engine.clock import stopwatch_s
from engine.events import CommandJudged, Event, HaltRequested, Record, TargetsProposed
from engine.journal import JournalWriter
from engine.loop import Loop, proposal
from engine.ports import AllocationProblem, Arrival, Effect, Targets
from engine.sinks.outbox import Outbox
from engine.snapshots import SnapshotStore
from engine.state import from_bytes, to_bytes
from engine.status import VERDICTS_KEPT

P = ParamSpec("P")
T = TypeVar("T")

#: Records stepped before others on the event loop get their turn.
_TURN: Final = 16
#: Records that may be stepped and not yet be on disk: beyond that, stepping waits for the disk.
_AHEAD_MAX: Final = 20_000


class Guard(Protocol):
    """Watches that a step ends (``engine.app.live.watchdog``)."""

    def enter(self, seq: int) -> None:
        """Note that a step begins."""
        ...

    def leave(self) -> None:
        """Note that it has ended."""
        ...


class Meter(Protocol):
    """Takes measurements (``engine.app.live.metrics``)."""

    def on_step(self, seconds: float) -> None:
        """Take the duration of one step."""
        ...

    def on_commit(self, seconds: float, records: int) -> None:
        """Take the duration of one commit and how much it covered."""
        ...

    def on_solve(self, seconds: float, status: str) -> None:
        """Take the duration of one allocation."""
        ...


class Daemon:
    """Steps, commits and snapshots of one running engine.

    Parameters
    ----------
    loop : Loop
        Built with ``on_step`` of this daemon as its listener.
    inbox : Inbox
    journal : JournalWriter
        The one the loop appends to.
    outbox : Outbox
        Effects go there once they are durable.
    snapshots : SnapshotStore
    guard : Guard
    meter : Meter
    solve_max_s : float
        How long routine arrivals wait for an allocator's answer.
    snapshot_every : tuple of float and int
        Seconds and records between two snapshots, whichever comes first.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        inbox: Inbox,
        journal: JournalWriter,
        outbox: Outbox,
        snapshots: SnapshotStore,
        guard: Guard,
        meter: Meter,
        solve_max_s: float,
        snapshot_every: tuple[float, int],
    ) -> None:
        self.loop = loop
        self.inbox = inbox
        self.position = ""
        self.durable_seq = loop.seq
        #: Verdicts on commands whose records are on disk: nobody may be told of others.
        self.durable_verdicts = deque(loop.status.verdicts, VERDICTS_KEPT)
        self._journal = journal
        self._outbox = outbox
        self._snapshots = snapshots
        self._guard = guard
        self._meter = meter
        self._solve_max_s = solve_max_s
        self._snapshot_every_s, self._snapshot_every_records = snapshot_every
        self._snapshot_s = stopwatch_s()
        self._snapshot_seq = loop.seq
        self._effects: list[Effect] = []
        self._acknowledge: list[tuple[int, Callable[[], None]]] = []
        self._stepped = asyncio.Event()
        self._committed = asyncio.Event()
        self._solver = ThreadPoolExecutor(1, "allocator")
        self._disk = ThreadPoolExecutor(1, "disk")
        self._solving: asyncio.Future[Any] | None = None
        self._is_done = False

    def on_step(self, seq: int, _record: Record, events: Sequence[Event]) -> None:
        """Keep the events of a step until they are durable; the loop's listener."""
        self._effects += [Effect(seq, index, event) for index, event in enumerate(events)]

    # ------------------------------------------------------------------------------------------ stepping

    async def step_until_closed(self, problem: AllocationProblem | None = None) -> None:
        """Step through the inbox until it is closed and empty; ``problem`` is one left by recovery."""
        count = 0
        try:
            await self._answer(problem)
            while True:
                arrival = await self.inbox.take()
                if arrival is None:
                    if self._solving is None:
                        break
                    # Then its answer is in the inbox; one that hangs does not keep the engine from ending.
                    await asyncio.wait([self._solving], timeout=self._solve_max_s)
                    if self.inbox.waiting:
                        continue
                    break
                # At once: a snapshot between a problem and its answer would lose it.
                await self._answer(self._step(arrival))
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)
                while self.loop.seq - self.durable_seq > _AHEAD_MAX:
                    self._committed.clear()
                    await self._committed.wait()
        finally:
            if self._solving is not None:  # a failure ended this, and would meet its answer
                self._solving.cancel()
            self._solver.shutdown(wait=False, cancel_futures=True)
            self._is_done = True
            self._stepped.set()

    def _step(self, arrival: Arrival) -> AllocationProblem | None:
        started_s = stopwatch_s()
        self._guard.enter(self.loop.seq + 1)
        self.loop.take(arrival.record, arrival.position)
        self._guard.leave()
        self._meter.on_step(stopwatch_s() - started_s)
        if arrival.position:
            self.position = arrival.position
        if arrival.acknowledge is not None:
            self._acknowledge.append((self.loop.seq, arrival.acknowledge))
        if isinstance(arrival.record, TargetsProposed):
            self._solving = None
        self._stepped.set()
        return self.loop.bus.take_problem()

    async def _answer(self, problem: AllocationProblem | None) -> None:
        """Solve in a thread; until the answer is stepped only urgent arrivals are: no minute overtakes it.

        A problem posed while the one before is still being solved is dropped: that answer will be late, and
        this one never comes. Then nothing decides any longer on exits either, so trading halts.
        """
        if problem is not None and self._solving is not None:
            detail = "the allocator still works on an earlier problem"
            self.inbox.urge(Arrival(HaltRequested(problem.ts_ns, "ALLOCATOR_HUNG", detail)))
        while problem is not None and self._solving is None:
            self._solving = asyncio.ensure_future(self._solve(problem))
            problem = None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._solve_max_s):
                    while self._solving is not None:
                        problem = self._step(await self.inbox.take_urgent())

    async def _solve(self, problem: AllocationProblem) -> None:
        """Bring the answer to the inbox, as any other arrival: there is one stepper."""
        started_s = stopwatch_s()
        running = asyncio.get_running_loop()
        try:
            targets = await running.run_in_executor(self._solver, self.loop.bus.answer, problem)
            proposed = proposal(problem, targets)
        except Exception as error:  # noqa: BLE001 - whatever it is, the book is held and the reason is told
            failed = Targets("allocator_failed", np.empty(0), solver=f"{type(error).__name__}: {error}")
            proposed = proposal(problem, failed)
        self._meter.on_solve(stopwatch_s() - started_s, proposed.status)
        self.inbox.urge(Arrival(proposed))

    # ---------------------------------------------------------------------------------------- committing

    async def commit_until_done(self) -> None:
        """Commit whatever was stepped, again and again; a last time once stepping has ended."""
        while not self._is_done:
            await self._stepped.wait()
            self._stepped.clear()
            await self._commit()
            if self._is_snapshot_due():
                await self.snapshot()
        await self._commit()

    async def _commit(self) -> None:
        """Write and fsync in a thread, then let go what that has covered."""
        if self._journal.buffered:
            started_s, before = stopwatch_s(), self.durable_seq
            self.durable_seq = await self._on_disk(self._journal.commit)
            self._meter.on_commit(stopwatch_s() - started_s, self.durable_seq - before)
            self._committed.set()
        self._release()

    def _release(self) -> None:
        """Hand durable effects to the outbox, and tell sources what is on disk.

        The thread takes what was stepped by the time it begins, also after the commit was asked for: to wait
        for the next commit would cost that two changes of thread and, under load, another fsync.
        """
        covered = bisect_right(self._effects, self.durable_seq, key=attrgetter("seq"))
        effects, self._effects = self._effects[:covered], self._effects[covered:]
        covered = bisect_right(self._acknowledge, self.durable_seq, key=itemgetter(0))
        acknowledge, self._acknowledge = self._acknowledge[:covered], self._acknowledge[covered:]
        self.durable_verdicts += (e.event for e in effects if isinstance(e.event, CommandJudged))
        self._outbox.add(effects)
        for _, call in acknowledge:
            call()

    async def _on_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in the thread of the disk: what waits for a network elsewhere must not hold up a commit."""
        running = asyncio.get_running_loop()
        return await running.run_in_executor(self._disk, partial(work, *args, **kwargs))

    # ----------------------------------------------------------------------------------------- snapshots

    @property
    def is_quiet(self) -> bool:
        """Whether no problem awaits its answer: only then can a snapshot be continued from."""
        return self._solving is None and self.loop.bus.is_quiet

    def _is_snapshot_due(self) -> bool:
        if not self.is_quiet or self.loop.seq == self._snapshot_seq:
            return False
        return (
            stopwatch_s() - self._snapshot_s >= self._snapshot_every_s
            or self.loop.seq - self._snapshot_seq >= self._snapshot_every_records
        )

    async def snapshot(self) -> None:
        """Write the state after the last step, once the journal has reached it."""
        seq, position = self.loop.seq, self.position
        self._snapshot_s, self._snapshot_seq = stopwatch_s(), seq
        state = from_bytes(to_bytes(self.loop.state()))  # a copy: stepping goes on meanwhile
        await self._commit()
        payload = {"loop": state, "extra": {"outbox": self._outbox.state()}, "position": position}
        await self._on_disk(self._snapshots.write, seq, payload)
