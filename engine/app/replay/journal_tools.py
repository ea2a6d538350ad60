"""What people ask of a journal: what it says, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.app.assembly import hash_of, timetable
from engine.app.config.load import Config
from engine.app.config.other_config import explained
from engine.app.wiring import build_loop, read_history
from engine.commands import Keys
from engine.disk import OS_DISK
from engine.errors import JournalError
from engine.events import BarSlice, Nanos, Record
from engine.journal import JournalReader
from engine.journal_format import SUFFIX, Identity, segments
from engine.loop import Loop
from engine.snapshots import Snapshot, SnapshotStore
from engine.state import to_bytes

#: Days of sessions that a rebuilt engine knows beyond the end of its journal.
_MARGIN_DAYS: Final = 10


def root_of(folder: Path) -> Path:
    """Return the folder that holds ``journal``: a state folder, a run folder, or the parent of segments.

    Raises
    ------
    JournalError
        ``J002`` if there is no journal.
    """
    if any((folder / "journal").glob(f"*{SUFFIX}")):
        return folder
    if folder.resolve().name == "journal" and any(folder.glob(f"*{SUFFIX}")):
        return folder.resolve().parent
    hint = "Name a state folder of a live engine, or a run folder written with [output] journal = true."
    raise JournalError("J002", f"no journal in {folder}", str(folder), hint)


def said_by(record: Record) -> dict[str, Any]:
    """Return a record as plain values, by name; a slice without its prices."""
    if isinstance(record, BarSlice):
        return {
            "ts_close_ns": record.ts_close_ns,
            "session": record.session,
            "minute": record.minute,
            "accepted": record.accepted,
            "suspect": list(record.suspect),
        }
    return msgspec.structs.asdict(record)


class Finding(msgspec.Struct, frozen=True):
    """One line of a verification: what was looked at, what was found, and the fault if there is one."""

    name: str
    text: str
    fault: str = ""


def verify_files(root: Path) -> Iterator[Finding]:
    """Read every frame of every segment and every snapshot.

    Yields
    ------
    Finding
        One for the journal (reading stops at the first damage), one for each snapshot.
    """
    yield _verify_segments(root / "journal")
    try:
        store = _store(root)
    except JournalError:  # a header is damaged, as the line before has said: whose they are is unknown
        return
    for snapshot in store.newest_good():
        yield Finding(f"snapshot {snapshot.seq}", "its hash is right")
    for line in store.skipped:
        yield Finding("snapshot", "", line)


def _verify_segments(folder: Path) -> Finding:
    try:
        found = segments(folder, OS_DISK)
        first_seq = found[0].header.first_seq
        reader = JournalReader(folder, first_seq - 1)
        for _ in reader:
            pass
    except JournalError as error:
        return Finding("journal", "", f"{error.code} {error.what}")
    end = f"torn: {reader.torn_bytes} bytes of a commit that was cut short" if reader.torn_bytes else "open"
    text = (
        f"records {first_seq} to {reader.last_seq} in {len(found)} segments, "
        f"epoch {reader.identity.epoch or '-'}, end {'closed' if reader.is_closed else end}"
    )
    return Finding("journal", text)


def verify_states(root: Path, config: Config) -> Iterator[Finding]:
    """Replay between the snapshots: each must be the one before and the records between.

    Parameters
    ----------
    root : Path
    config : Config
        Under which the journal was written.

    Raises
    ------
    JournalError
        ``J011`` if it was written under another configuration; whatever reading raises.
    """
    found = segments(root / "journal", OS_DISK)
    check_config(found[-1].header.identity, config, root)
    before: Snapshot | None = None
    for snapshot in sorted(_store(root).newest_good(), key=lambda one: one.seq):
        if before is None and found[0].header.first_seq > 1:
            text = "nothing to compare with: the journal does not go back to its beginning"
            yield Finding(f"state at {snapshot.seq}", text)
        else:
            yield _compare(root, config, before, snapshot)
        before = snapshot


def verify_state(root: Path, config: Config, after_seq: int, until_seq: int) -> Finding:
    """Replay from one snapshot to a later one, which must follow from the records between.

    Parameters
    ----------
    root : Path
    config : Config
        Under which the journal was written.
    after_seq, until_seq : int
        Records of the two snapshots; 0 for the beginning of the journal.

    Raises
    ------
    JournalError
        ``J016`` if there is no such snapshot, ``J011`` if the journal was written under another
        configuration; whatever reading raises.
    """
    found = segments(root / "journal", OS_DISK)
    check_config(found[-1].header.identity, config, root)
    goods = {snapshot.seq: snapshot for snapshot in _store(root).newest_good()}
    for seq in (after_seq, until_seq):
        if seq and seq not in goods:
            hint = "astra journal verify tells which there are."
            raise JournalError("J016", f"there is no good snapshot of record {seq}", str(root), hint)
    return _compare(root, config, goods[after_seq] if after_seq else None, goods[until_seq])


def _compare(root: Path, config: Config, before: Snapshot | None, snapshot: Snapshot) -> Finding:
    """Compare a snapshot with the state that an earlier one (None: the beginning) and the records give."""
    identity = segments(root / "journal", OS_DISK)[-1].header.identity
    state = _state_at(snapshot.seq, root, rebuild(config, identity, _last_ns(snapshot)), before)
    is_equal = state == to_bytes(snapshot.payload["loop"])
    text = f"equals the state at {0 if before is None else before.seq} and the records between"
    return Finding(
        f"state at {snapshot.seq}", text, "" if is_equal else f"differs from {text.removeprefix('equals ')}"
    )


def check_config(identity: Identity, config: Config, root: Path) -> None:
    """Refuse (``J011``) another configuration than the journal of ``root`` was written under."""
    if identity.config_hash != hash_of(config):
        hint = "Give the configuration that the journal was written with."
        error = JournalError("J011", "the journal was written under another configuration", str(root), hint)
        raise explained(error, root, config)


def _state_at(seq: int, root: Path, loop: Loop, before: Snapshot | None) -> bytes:
    """Bring a fresh loop from a snapshot (None: from the beginning) to a record; return its state."""
    if before is not None:
        loop.restore(before.payload["loop"])
    loop.recover(islice(JournalReader(root / "journal", loop.seq), seq - loop.seq))
    return to_bytes(loop.state())


def _last_ns(snapshot: Snapshot) -> Nanos:
    return int(snapshot.payload["loop"]["status"]["plain"]["ts_ns"])


def _store(root: Path) -> SnapshotStore:
    found = segments(root / "journal", OS_DISK)
    return SnapshotStore(root / "snapshots", found[-1].header.identity)


def rebuild(config: Config, identity: Identity, last_ns: Nanos) -> Loop:
    """Build a fresh engine like the one that wrote a live journal up to ``last_ns``.

    Its sessions begin on the journal's first day, so that ordinals of minutes are the same.
    """
    times = timetable(config, identity.origin_day, last_ns)
    history = read_history(config.risk.history, config.symbols, times.first_day)
    return build_loop(config, history, Keys(), lambda *_: None, sessions=times.sessions)
