"""The campaign of power losses: at every operation on the disk, with every shape of what is left.

An engine in small writes journal and snapshots; the power fails at operation k; what is found is recovered
and judged: everything acknowledged is there, nothing else than what was written is applied, a second loss
takes nothing of what was recovered, and the journal goes on. Writers broken on purpose must not pass.

``python -m tests.support.power_loss 1000`` runs a thousand random days of it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.errors import AstraError
from engine.events import Record, Tick
from engine.journal import JournalWriter
from engine.journal_format import Identity, encode_record
from engine.recovery import Recovered, recover
from engine.snapshots import SnapshotStore
from tests.support.bad_disk import TAILS, BadDisk, PowerLoss
from tests.support.core import slice_of

ROOT = Path("state")
IDENTITY = Identity("cafe", "build", "epoch", 17_581)


class Plan(msgspec.Struct, frozen=True):
    """A day: how many records each commit covers, where snapshots are taken, how large segments are."""

    commits: tuple[int, ...]
    snapshot_every: int = 3
    segment_bytes: int = 400
    is_closed: bool = True


class SmallLoop:
    """As much of a loop as recovery needs; its state is a hash of every record."""

    def __init__(self) -> None:
        self.seq = 0
        self.hash = b""

    def take(self, record: Record) -> None:
        self.seq += 1
        self.hash = hashlib.sha256(self.hash + encode_record(record)).digest()

    def state(self) -> dict[str, Any]:
        return {"seq": self.seq, "hash": self.hash}

    def restore(self, state: dict[str, Any]) -> None:
        self.seq, self.hash = state["seq"], state["hash"]

    def recover(self, records: Iterable[tuple[int, Record]]) -> None:
        for seq, record in records:
            assert seq == self.seq + 1
            self.take(record)


def record_of(seq: int) -> Record:
    """Return the record with a number: the same every time, of changing size."""
    return Tick(seq) if seq % 3 else slice_of([float(seq)] * (seq % 7 + 1), minute=seq)


def state_after(seq: int) -> bytes:
    """Return what the state must be after a record."""
    loop = SmallLoop()
    for number in range(1, seq + 1):
        loop.take(record_of(number))
    return loop.hash


class Engine:
    """Writes a day; ``acknowledged`` is what the outside has been told is safe."""

    def __init__(self, disk: BadDisk, writer_type: type[JournalWriter]) -> None:
        self.disk = disk
        self.writer_type = writer_type
        self.acknowledged = 0

    def run(self, plan: Plan) -> None:
        writer = self.open(plan, None)
        store = SnapshotStore(ROOT / "snapshots", IDENTITY, disk=self.disk, keep=2)
        loop = SmallLoop()
        for number, count in enumerate(plan.commits, 1):
            for _ in range(count):
                record = record_of(loop.seq + 1)
                loop.take(record)
                writer.append(loop.seq, record, f"p{loop.seq}")
            self.acknowledged = writer.commit()
            if number % plan.snapshot_every == 0:
                payload = {"loop": loop.state(), "extra": None, "position": f"p{loop.seq}"}
                store.write(loop.seq, payload)
        if plan.is_closed:
            writer.close()

    def open(self, plan: Plan, found: Recovered | None) -> JournalWriter:
        return self.writer_type(
            ROOT / "journal",
            IDENTITY,
            disk=self.disk,
            segment_bytes=plan.segment_bytes,
            continue_from=found.tail if found is not None else None,
        )


def _judge(disk: BadDisk, at_least: int, at_most: int) -> Recovered | str:
    """Recover, or say what is wrong with what was found."""
    loop: Any = SmallLoop()
    try:
        found = recover(ROOT, loop, IDENTITY, disk=disk)
    except AstraError as error:
        return f"refused to start: {error.code} {error.what}"
    if found.seq < at_least:
        return f"lost records {found.seq + 1} to {at_least}"
    if found.seq > at_most:
        return f"invented records {at_most + 1} to {found.seq}"
    if loop.hash != state_after(found.seq):
        return f"state after {found.seq} differs"
    if found.seq and found.position != f"p{found.seq}":
        return f"position after {found.seq} is {found.position!r}"
    return found


def _go_on(engine: Engine, plan: Plan, found: Recovered) -> str:
    """Write on behind what was recovered, and look whether that holds."""
    try:
        writer = engine.open(plan, found)
        again = _judge(engine.disk.after_power_loss("nothing", are_names_kept=False), found.seq, found.seq)
        if isinstance(again, str):
            return f"a second loss: {again}"
        for seq in (found.seq + 1, found.seq + 2):
            writer.append(seq, record_of(seq), f"p{seq}")
            engine.acknowledged = writer.commit()
    except AstraError as error:
        return f"cannot go on: {error.code} {error.what}"
    last = _judge(engine.disk.after_power_loss("nothing", are_names_kept=False), found.seq + 2, found.seq + 2)
    return f"after going on: {last}" if isinstance(last, str) else ""


def _left_by(disk: BadDisk) -> Iterator[tuple[str, BadDisk]]:
    yield "killed", disk.after_kill()
    for tail in TAILS:
        for are_names_kept in (True, False):
            left = disk.after_power_loss(tail, are_names_kept=are_names_kept)
            yield f"{tail}, new names {'kept' if are_names_kept else 'lost'}", left


def violations(plan: Plan, writer_type: type[JournalWriter] = JournalWriter) -> tuple[int, list[str]]:
    """Lose power at every operation of a day.

    Returns
    -------
    cases : int
    violations : list of str
        Empty if every promise held.
    """
    cases, wrong, at = 0, [], 0
    while True:

        def fault(number: int, _name: str, at: int = at) -> None:
            if number == at:
                raise PowerLoss

        engine = Engine(BadDisk(fault), writer_type)
        is_whole = False
        try:
            engine.run(plan)
            is_whole = True
        except PowerLoss:
            pass
        for name, left in _left_by(engine.disk):
            cases += 1
            after = Engine(left, writer_type)
            found = _judge(left, engine.acknowledged, sum(plan.commits))
            fault_found = found if isinstance(found, str) else _go_on(after, plan, found)
            if fault_found:
                wrong.append(f"operation {at} ({engine.disk.done[-1]}), {name}: {fault_found}")
        if is_whole:
            return cases, wrong
        at += 1


# ------------------------------------------------------------------------------- broken on purpose


class NeverSyncs(JournalWriter):
    """Writes, and believes that this is enough."""

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self._chain.update(data)
        self._size += len(data)


class AcknowledgesFirst(JournalWriter):
    """Says that records are safe, and writes them with the next commit."""

    _late: tuple[Any, ...] = ()

    def commit(self) -> int:
        promised = self._next_seq - 1
        mine, self._batches = self._batches, list(self._late)
        self._late = tuple(mine)
        super().commit()
        return promised


class KeepsTornTails(JournalWriter):
    """Writes on at the end of the file, whatever stands there."""

    def _start(self, tail: Any) -> None:
        if tail is not None:
            tail = msgspec.structs.replace(tail, size_bytes=tail.size_bytes + tail.torn_bytes, torn_bytes=0)
        super()._start(tail)


class ForgetsNames(JournalWriter):
    """Never syncs the folder."""

    def __init__(self, folder: Path, identity: Identity, *, disk: Any, **options: Any) -> None:
        class Forgetful:
            def __getattr__(self, name: str) -> Any:
                return (lambda _: None) if name == "sync_folder" else getattr(disk, name)

        super().__init__(folder, identity, disk=Forgetful(), **options)  # type: ignore[arg-type]


class TrustsTheCache(JournalWriter):
    """Continues behind what it reads, though only the memory of the machine may hold it."""

    def _start(self, tail: Any) -> None:
        disk = self._disk

        class Lazy:
            def __getattr__(self, name: str) -> Any:
                return self._open if name == "open" else getattr(disk, name)

            def _open(self, path: Path) -> Any:
                file: Any = disk.open(path)
                file.sync = lambda: vars(file).pop("sync")  # skips one
                return file

        self._disk = Lazy()  # type: ignore[assignment]
        super()._start(tail)
        self._disk = disk


#: Each with what it must be found out by.
MUTANTS: dict[type[JournalWriter], str] = {
    NeverSyncs: "lost: lost records",
    AcknowledgesFirst: "lost: lost records",
    KeepsTornTails: "after going on: refused to start: J003",
    ForgetsNames: "lost: lost records",
    TrustsTheCache: "a second loss: lost records",
}


def random_plan(seed: int) -> Plan:
    """Draw a day."""
    rng = np.random.default_rng(seed)
    commits = tuple(int(n) for n in rng.integers(1, 12, size=rng.integers(1, 12)))
    return Plan(
        commits, int(rng.integers(1, 6)), int(rng.choice([1, 300, 900, 1 << 20])), bool(rng.integers(2))
    )


def main(days: int) -> int:
    """Run random days; print every violation, and which mutants were caught."""
    cases, wrong = 0, 0
    for seed in range(days):
        count, found = violations(random_plan(seed))
        cases, wrong = cases + count, wrong + len(found)
        for line in found:
            sys.stdout.write(f"seed {seed}: {line}\n")
    sys.stdout.write(f"{days} days, {cases:,} power losses, {wrong} violations\n")
    missed = [mutant.__name__ for mutant in MUTANTS if not violations(Plan((2, 3, 1, 4)), mutant)[1]]
    sys.stdout.write(f"{len(MUTANTS) - len(missed)} of {len(MUTANTS)} broken writers caught {missed or ''}\n")
    return 1 if wrong or missed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
