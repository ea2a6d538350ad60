"""Recovery: the newest good snapshot, then the tail of the journal; and what retention may delete.

The state of an engine is a function of its journal. A snapshot gives its value at one record, the records
behind it do the rest, through the same loop that took them the first time.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.disk import OS_DISK, Disk
from engine.errors import JournalError
from engine.events import Nanos
from engine.journal import JournalReader
from engine.journal_format import Identity, Tail, segments
from engine.loop import Loop
from engine.ports import AllocationProblem
from engine.snapshots import Snapshot, SnapshotStore

_JOURNAL: Final = "journal"
_SNAPSHOTS: Final = "snapshots"
_NEW_EPOCH: Final = "or put this journal aside and begin a new one: astra run --new-epoch"


class Recovered(msgspec.Struct, frozen=True):
    """What a recovery found.

    Parameters
    ----------
    seq : int
        The last record; the loop stands behind it.
    position : str
        Where the feed resumes, empty if no record told.
    problem : AllocationProblem or None
        Posed and not answered.
    extra : object
        What stood beside the loop's state in the snapshot; None without one.
    torn_bytes : int
        Of a commit that power or a kill cut short; never acknowledged, never applied.
    is_closed : bool
        Whether the journal was closed in good order.
    snapshot_seq : int
        The snapshot that was used, 0 for none.
    skipped_snapshots : tuple of str
        Why others were not.
    replayed : int
        Records taken from the journal.
    tail : Tail or None
        For ``JournalWriter(continue_from=...)``; None when there was no journal.
    """

    seq: int = 0
    position: str = ""
    problem: AllocationProblem | None = None
    extra: Any = None
    torn_bytes: int = 0
    is_closed: bool = False
    snapshot_seq: int = 0
    skipped_snapshots: tuple[str, ...] = ()
    replayed: int = 0
    tail: Tail | None = None


def identity_of(folder: Path, disk: Disk = OS_DISK) -> Identity | None:
    """Return whose journal a state folder holds; None if it holds none.

    A loop must be built with this ``origin_day`` before it can be recovered.
    """
    found = segments(folder / _JOURNAL, disk)
    return found[-1].header.identity if found else None


def recover(
    folder: Path,
    loop: Loop,
    identity: Identity,
    *,
    disk: Disk = OS_DISK,
    is_version_accepted: bool = False,
) -> Recovered:
    """Bring a fresh loop to the end of the journal of a state folder.

    The loop's listener is shown the records behind the snapshot, so that their effects can be sent again.

    Parameters
    ----------
    folder : Path
        Holds ``journal`` and ``snapshots``.
    loop : Loop
        As built; not usable after an error.
    identity : Identity
        Under which the journal is to be continued.
    disk : Disk
    is_version_accepted : bool
        Continue a journal that another build wrote.

    Raises
    ------
    JournalError
        ``J011`` another configuration, ``J012`` another build, ``J013`` a snapshot ahead of the journal,
        ``J014`` records missing, ``J015`` a snapshot that this version cannot restore; ``J003`` to ``J005``
        damage.
    """
    store = SnapshotStore(folder / _SNAPSHOTS, identity, disk=disk)
    written = identity_of(folder, disk)
    snapshot = None if written is None else _newest(store, written, identity, is_version_accepted)
    if written is None:
        if (orphan := next(store.newest_good(), None)) is not None:
            raise _ahead(folder, orphan.seq, 0)
        return Recovered(skipped_snapshots=tuple(store.skipped))
    payload: dict[str, Any] = (
        {"position": "", "extra": None} if snapshot is None else _restore(loop, snapshot)
    )
    reader = JournalReader(folder / _JOURNAL, loop.seq, disk)
    snapshot_seq = loop.seq
    problem = loop.recover(reader)
    assert reader.tail is not None  # noqa: S101 - it was read to the end
    if reader.tail.next_seq <= snapshot_seq:
        raise _ahead(folder, snapshot_seq, reader.tail.next_seq - 1)
    return Recovered(
        seq=loop.seq,
        position=reader.position or payload["position"],
        problem=problem,
        extra=payload["extra"],
        torn_bytes=reader.torn_bytes,
        is_closed=reader.is_closed,
        snapshot_seq=snapshot_seq,
        skipped_snapshots=tuple(store.skipped),
        replayed=loop.seq - snapshot_seq,
        tail=reader.tail,
    )


def _newest(
    store: SnapshotStore, written: Identity, identity: Identity, is_version_accepted: bool
) -> Snapshot | None:
    """Check whose the journal is, then find the newest snapshot to begin from."""
    if written.config_hash != identity.config_hash:
        raise JournalError(
            "J011",
            f"the journal was written under another configuration ({written.config_hash[:12]}, "
            f"now {identity.config_hash[:12]})",
            "",
            f"The same records would decide otherwise now. Restore the configuration of then,\n{_NEW_EPOCH}",
        )
    if written.build != identity.build and not is_version_accepted:
        raise JournalError(
            "J012",
            "the journal was written by another build",
            "",
            f"was  {written.build}\nnow  {identity.build}\n"
            "Another build may compute other bits. To go on with this one: astra run --accept-version,\n"
            f"{_NEW_EPOCH}",
        )
    return next(store.newest_good(), None)


def _restore(loop: Loop, snapshot: Snapshot) -> dict[str, Any]:
    try:
        payload: dict[str, Any] = snapshot.payload
        loop.restore(payload["loop"])
        return {"position": payload["position"], "extra": payload["extra"]}
    except (LookupError, TypeError, ValueError) as error:
        raise JournalError(
            "J015",
            f"snapshot {snapshot.seq} cannot be restored ({type(error).__name__}: {error})",
            "",
            f"It is whole, but a build with another layout of state wrote it: {snapshot.identity.build}\n"
            f"Start with that build, remove the snapshot if the journal goes back far enough,\n{_NEW_EPOCH}",
        ) from None


def _ahead(folder: Path, snapshot_seq: int, last_seq: int) -> JournalError:
    return JournalError(
        "J013",
        f"the newest snapshot is of record {snapshot_seq}, the journal ends at {last_seq}",
        str(folder),
        "A snapshot is written after its records are on disk, so the journal has lost some since, and\n"
        f"what followed from them is unknown. Restore the journal from a copy,\n{_NEW_EPOCH}",
    )


def compact(folder: Path, before_ns: Nanos, *, disk: Disk = OS_DISK) -> list[str]:
    """Delete the segments that nobody needs: older than ``before_ns``, and before every good snapshot.

    Parameters
    ----------
    folder : Path
        Holds ``journal`` and ``snapshots``.
    before_ns : int
        In the time of the run. A segment goes only if its last record is older.
    disk : Disk

    Returns
    -------
    list of str
        Names of the deleted segments, oldest first.
    """
    found = segments(folder / _JOURNAL, disk)
    if not found:
        return []
    store = SnapshotStore(folder / _SNAPSHOTS, found[-1].header.identity, disk=disk)
    keep_from_seq = min((snapshot.seq + 1 for snapshot in store.newest_good()), default=1)
    deleted = []
    for segment, following in pairwise(found):
        header = following.header
        if header.first_seq > keep_from_seq or not 0 < header.before_ns < before_ns:
            break
        disk.remove(segment.path)
        disk.sync_folder(folder / _JOURNAL)  # one by one: what is left has no hole, whenever power fails
        deleted.append(segment.path.name)
    return deleted
