"""THE main loop: record -> number -> journal -> dispatch -> effects.

Everything uncertain enters here, as a record with a sequence number; everything else follows from the
records. Replay, recovery and the daemon run this same code with another source of records.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from engine.bus import Bus
from engine.events import BarSlice, Event, Record, TargetsProposed
from engine.journal import JournalDigest, JournalWriter
from engine.ports import AllocationProblem, State, Targets
from engine.state import Digest
from engine.status import Status

#: Receives ``(seq, record, events)`` of every step, in order.
Listener = Callable[[int, Record, list[Event]], None]


class Loop:
    """One engine.

    Parameters
    ----------
    bus : Bus
        The core; its allocator solves inline, and the answer is the record that follows the slice it was
        taken from.
    listener : callable
        Sinks: run folder, terminal. Called after the step; must not raise.
    journal : JournalWriter or None
        Takes every record before it is dispatched.
    """

    def __init__(
        self,
        bus: Bus,
        listener: Listener,
        journal: JournalWriter | None = None,
    ) -> None:
        self.bus = bus
        self.digest = Digest()
        self.journal_digest = JournalDigest() if journal is not None else None
        self.status = Status()
        self.seq = 0
        self.listener = listener
        self.journal = journal

    def step(self, record: Record) -> None:
        """Take one record, then answer the problems it poses, inline: a replay waits for its allocator."""
        self.take(record)
        while (problem := self.bus.take_problem()) is not None:
            self.take(proposal(problem, self.bus.answer(problem)))

    def take(self, record: Record, position: str = "") -> list[Event]:
        """Take one record: number, journal, dispatch; return its events.

        Parameters
        ----------
        record : Record
        position : str
            Where its source resumes after it; kept in the journal beside the record.
        """
        self.seq = seq = self.seq + 1
        if self.journal is not None:
            self.journal.append(seq, record, position)
        events = self.bus.dispatch(seq, record)
        status = self.status
        if type(record) is BarSlice:
            status.on_slice(record)
        if events:
            self.digest.add(events)
            status.fold(events)
        if self.journal_digest is not None:
            self.journal_digest.add(seq, record, events)
        self.listener(seq, record, events)
        return events

    def state(self) -> State:
        """Return everything that the next record depends on, and the read model."""
        return {"seq": self.seq, "bus": self.bus.state(), "status": self.status.state()}

    def restore(self, state: State) -> None:
        """Continue from ``state``, bit for bit; the digests begin anew."""
        self.seq = state["seq"]
        self.bus.restore(state["bus"])
        self.status.restore(state["status"])

    async def run(self, records: AsyncIterator[Record]) -> None:
        """Step through a feed until it ends."""
        async for record in records:
            self.step(record)

    def recover(self, records: Iterable[tuple[int, Record]]) -> AllocationProblem | None:
        """Step through recorded records without writing them again: recorded answers are used.

        Returns
        -------
        AllocationProblem or None
            The last problem posed, if its answer was not recorded and would still be in time.
        """
        journal, self.journal = self.journal, None
        try:
            problem = None
            for _, record in records:
                self.take(record)
                problem = self.bus.take_problem() or problem
            return problem if problem is not None and self.bus.awaits(problem) else None
        finally:
            self.journal = journal

    def replay_journal(self, records: Iterable[tuple[int, Record]]) -> str:
        """Step through a whole journal; nothing is solved again.

        Returns
        -------
        str
            The digest over every record and event; equal to that of the run that wrote the journal.
        """
        self.journal_digest = digest = JournalDigest()
        self.recover(records)
        return digest.hexdigest()


def proposal(problem: AllocationProblem, targets: Targets) -> TargetsProposed:
    """Make the record of an allocator's answer."""
    return TargetsProposed(
        problem.ts_ns,
        problem.state_version,
        targets.status,
        tuple(targets.leg_frac.tolist()),
        targets.binding,
        targets.solver,
        targets.by_sleeve,
    )
