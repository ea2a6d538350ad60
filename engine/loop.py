"""THE main loop: record -> number -> journal -> dispatch -> effects.

Everything uncertain enters here, as a record with a sequence number; everything else follows from the
records. Replay, recovery and the daemon run this same code with another source of records.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from engine.bus import Bus
from engine.events import BarSlice, Event, Record, TargetsProposed
from engine.journal import JournalDigest, JournalWriter
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
        self._listener = listener
        self._journal = journal

    def step(self, record: Record) -> None:
        """Handle one record (number, journal, dispatch), then answer the problem it may have posed."""
        self._take(record)
        problem = self.bus.take_problem()
        if problem is not None:
            targets = self.bus.answer(problem)
            self._take(
                TargetsProposed(
                    problem.ts_ns,
                    problem.state_version,
                    targets.status,
                    tuple(targets.leg_frac.tolist()),
                    targets.binding,
                    targets.solver,
                    targets.by_sleeve,
                )
            )

    def _take(self, record: Record) -> None:
        self.seq = seq = self.seq + 1
        if self._journal is not None:
            self._journal.append(seq, record)
        events = self.bus.dispatch(seq, record)
        status = self.status
        if type(record) is BarSlice:
            status.on_slice(record)
        if events:
            self.digest.add(events)
            status.fold(events)
        if self.journal_digest is not None:
            self.journal_digest.add(seq, record, events)
        self._listener(seq, record, events)

    async def run(self, records: AsyncIterator[Record]) -> None:
        """Step through a feed until it ends."""
        async for record in records:
            self.step(record)

    def replay_journal(self, records: Iterable[tuple[int, Record]]) -> str:
        """Step through a journal: recorded answers are used, nothing is solved again.

        Returns
        -------
        str
            The digest over every record and event; equal to that of the run that wrote the journal.
        """
        self.journal_digest = digest = JournalDigest()
        for _, record in records:
            self._take(record)
            self.bus.take_problem()
        return digest.hexdigest()
