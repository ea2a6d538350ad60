"""Small journals for tests: records of every kind, and writing and reading them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.disk import OS_DISK, Disk
from engine.events import Bar, BarRejected, Command, Record, Reject, TargetsProposed, Tick
from engine.journal import JournalReader, JournalWriter
from engine.journal_format import Identity, encode_record
from tests.support.core import slice_of

IDENTITY = Identity("cafe", "astra 1, cpu z", "20261121T151100Z", 17_581)
BAR = Bar(60_000_000_000, "JPM", 1.0, 2.0, 0.5, 1.5, 100.0)
RECORDS: list[Record] = [
    slice_of([10.0, float("nan")], suspect=(1,)),
    BAR,
    Tick(5),
    BarRejected(7, "C", Reject.CONFLICT, 1, BAR),
    Command(9, '{"kind":"halt"}', "00ff"),
    TargetsProposed(3, 4, "optimal", (0.5, -0.5), ("gross",), "CLARABEL"),
]


def write(
    folder: Path,
    records: Sequence[Record] = RECORDS,
    *,
    every: int = 1,
    segment_bytes: int = 1 << 20,
    identity: Identity = IDENTITY,
    disk: Disk = OS_DISK,
    is_closed: bool = False,
) -> JournalWriter:
    """Write a journal, one commit for ``every`` records; record n has position ``pn``."""
    writer = JournalWriter(folder, identity, disk=disk, segment_bytes=segment_bytes)
    for seq, record in enumerate(records, 1):
        writer.append(seq, record, f"p{seq}")
        if seq % every == 0 or seq == len(records):
            writer.commit()
    if is_closed:
        writer.close()
    return writer


def read(folder: Path, disk: Disk = OS_DISK) -> list[bytes]:
    """Read a whole journal back as encoded records; sequence numbers must run from 1."""
    found = list(JournalReader(folder, disk=disk))
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    return [encode_record(record) for _, record in found]


def encoded(records: Sequence[Record]) -> list[bytes]:
    """Encode records, to compare them bit by bit."""
    return [encode_record(record) for record in records]
