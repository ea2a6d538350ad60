"""Snapshots: the state after one record, in one file that is whole or not there.

``000000001234.snapshot`` is ``magic | SHA-256 of the rest | MessagePack``; it names format, sequence number
and identity beside the state. A snapshot only saves time: everything in it follows from the journal, and one
that is damaged is passed over for the one before.
"""

from __future__ import annotations

import hashlib
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
    """

    def __init__(self, folder: Path, identity: Identity, *, disk: Disk = OS_DISK, keep: int = 3) -> None:
        self.skipped: list[str] = []
        self._folder = folder
        self._identity = identity
        self._disk = disk
        self._keep = keep

    def write(self, seq: int, payload: Any) -> None:
        """Write the state after record ``seq``, read it back, and remove all but the newest.

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
        path = self._folder / f"{seq:012d}{_SUFFIX}"
        data = _encode(Snapshot(FORMAT, seq, self._identity, to_bytes(payload)))
        try:
            self._disk.make_folder(self._folder)
            write_whole(self._disk, path, data)
            if self._disk.read(path) != data:
                raise OSError("it reads back differently")  # noqa: TRY301 - one way to fail
            remove_unfinished(self._disk, self._folder)
            for name in self._names()[: -self._keep]:
                self._disk.remove(self._folder / name)
        except OSError as error:
            raise ServiceError(
                "S021",
                f"snapshot {seq} cannot be written: {error.strerror or error}",
                str(path),
                "The journal still holds everything. Make room or repair the disk: without new snapshots\n"
                "a start takes longer and longer.",
            ) from error

    def newest_good(self) -> Iterator[Snapshot]:
        """Yield good snapshots, newest first; note the others in ``skipped``."""
        self.skipped.clear()
        for name in reversed(self._names()):
            found = _decode(self._disk.read(self._folder / name))
            if isinstance(found, str):
                self.skipped.append(f"{name}: {found}")
            elif found.identity.epoch != self._identity.epoch:
                self.skipped.append(f"{name}: of epoch {found.identity.epoch or 'without a name'}")
            elif name != f"{found.seq:012d}{_SUFFIX}":
                self.skipped.append(f"{name}: is of record {found.seq}")
            else:
                yield found

    def _names(self) -> list[str]:
        return [name for name in self._disk.names(self._folder) if name.endswith(_SUFFIX)]


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
    except msgspec.MsgspecError as error:
        return f"of another format ({error})"
    return snapshot if snapshot.format == FORMAT else f"format {snapshot.format}, this version reads {FORMAT}"
