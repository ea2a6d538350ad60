"""Snapshots: the state after one record, in one file that is whole or not there.

``000000001234.snapshot`` is ``magic | SHA-256 of the rest | MessagePack``; it names format, sequence number
and identity beside the state. A snapshot only saves time: everything in it follows from the journal, and one
that is damaged is passed over for the one before.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.disk import OS_DISK, Disk, remove_unfinished, write_whole
from engine.errors import ServiceError
from engine.journal_format import Identity
from engine.state import from_bytes, to_bytes

FORMAT: Final = 1
_SUFFIX: Final = ".snapshot"
_ASIDE: Final = ".mismatch"
_MAGIC: Final = b"\xffAS1"
_HEAD_BYTES: Final = len(_MAGIC) + hashlib.sha256().digest_size


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot that is good: its hash is that of its content.

    Parameters
    ----------
    format : int
    seq : int
        The last record that it covers.
    identity : Identity
        Of the journal that it belongs to.
    state : bytes
        Canonical bytes (``engine/state.py``).
    """

    format: int
    seq: int
    identity: Identity
    state: bytes

    @property
    def payload(self) -> Any:
        """What was given to ``SnapshotStore.write``."""
        return from_bytes(self.state)


class SnapshotStore:
    """A folder of the newest snapshots.

    Parameters
    ----------
    folder : Path
        Created when the first one is written.
    identity : Identity
        Of the journal whose state is kept.
    disk : Disk
    keep : int
        How many are kept.

    Attributes
    ----------
    skipped : list of str
        Why files were passed over by ``newest_good``, one line each.
    held : frozenset of int
        Snapshots that are kept however old they are: somebody reads them.
    last_seq : int
        Record of the newest one written here, 0 for none.
    """

    def __init__(self, folder: Path, identity: Identity, *, disk: Disk = OS_DISK, keep: int = 3) -> None:
        self.skipped: list[str] = []
        self.held: frozenset[int] = frozenset()
        self.last_seq = 0
        self._writing = threading.Lock()
        self._is_distrusted = False
        self._folder = folder
        self._identity = identity
        self._disk = disk
        self._keep = keep

    def write(self, seq: int, payload: Any) -> None:
        """Write the state after record ``seq``, read it back, and remove all but the newest.

        After ``distrust`` nothing is written any more.

        Parameters
        ----------
        seq : int
            Must be durable in the journal already: a snapshot ahead of its journal is refused at the start.
        payload : object
            What ``engine.state.to_bytes`` can encode.

        Raises
        ------
        ServiceError
            ``S021`` if the disk refuses or gives back something else; earlier snapshots are still there.
        """
        path = self._folder / _name(seq)
        data = _encode(Snapshot(FORMAT, seq, self._identity, to_bytes(payload)))
        with self._writing:
            if self._is_distrusted:
                return
            try:
                self._write(path, data)
            except OSError as error:
                raise ServiceError(
                    "S021",
                    f"snapshot {seq} cannot be written: {error.strerror or error}",
                    str(path),
                    "The journal still holds everything. Make room or repair the disk: without new\n"
                    "snapshots a start takes longer and longer.",
                ) from error
            self.last_seq = seq

    def _write(self, path: Path, data: bytes) -> None:
        self._disk.make_folder(self._folder)
        write_whole(self._disk, path, data)
        if self._disk.read(path) != data:
            raise OSError("it reads back differently")
        remove_unfinished(self._disk, self._folder)
        held = {_name(seq) for seq in self.held}
        for name in self._names()[: -self._keep]:
            if name not in held:
                self._disk.remove(self._folder / name)

    def distrust(self, after_seq: int) -> list[str]:
        """Set the snapshots behind a record aside, and take no more; may be called by another thread.

        The next start then computes the state anew, from the snapshot before and the journal.

        Returns
        -------
        list of str
            Names under which they are kept.
        """
        with self._writing:
            self._is_distrusted = True
            later = [name for name in self._names() if name > _name(after_seq)]
            for name in later:
                self._disk.rename(self._folder / name, self._folder / f"{name}{_ASIDE}")
            if later:
                self._disk.sync_folder(self._folder)
        return [f"{name}{_ASIDE}" for name in later]

    def newest_good(self) -> Iterator[Snapshot]:
        """Yield good snapshots, newest first; note the others in ``skipped``."""
        self.skipped.clear()
        for name in reversed(self._names()):
            found = _decode(self._disk.read(self._folder / name))
            if isinstance(found, str):
                self.skipped.append(f"{name}: {found}")
            elif found.identity.epoch != self._identity.epoch:
                self.skipped.append(f"{name}: of epoch {found.identity.epoch or 'without a name'}")
            elif name != _name(found.seq):
                self.skipped.append(f"{name}: is of record {found.seq}")
            else:
                yield found

    def _names(self) -> list[str]:
        return [name for name in self._disk.names(self._folder) if name.endswith(_SUFFIX)]


def _name(seq: int) -> str:
    return f"{seq:012d}{_SUFFIX}"


def _encode(snapshot: Snapshot) -> bytes:
    body = msgspec.msgpack.encode(snapshot)
    return _MAGIC + hashlib.sha256(body).digest() + body


def _decode(data: bytes) -> Snapshot | str:
    """Decode a file, or say why it cannot be used."""
    head, body = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
    if head != _MAGIC + hashlib.sha256(body).digest():
        return "damaged"
    try:
        snapshot = msgspec.msgpack.decode(body, type=Snapshot)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"of another format ({error})"
    return snapshot if snapshot.format == FORMAT else f"format {snapshot.format}, this version reads {FORMAT}"
