"""The log itself: written by commits, read back with every byte checked.

Writing: ``append`` gathers, ``commit`` writes what was gathered as one frame and fsyncs it; only what a
commit has covered may be acknowledged or have effects outside. Reading: damage with no good frame behind it
is a torn tail (reported, not applied); damage with good frames behind it is corruption, and reading refuses
with the offset. ``engine/journal_format.py`` has the bytes.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.disk import OS_DISK, Disk, OpenFile, remove_unfinished, write_whole
from engine.errors import InvariantError, JournalError, ServiceError
from engine.events import Event, Nanos, Record
from engine.journal_format import (
    BODY_MAX_BYTES,
    FORMAT,
    SUFFIX,
    Frames,
    Header,
    Identity,
    Segment,
    Tail,
    damage,
    encode_record,
    entries,
    entry,
    frame,
    header_frame,
    new_chain,
    run_ns,
    segments,
)

SEGMENT_BYTES: Final = 64 << 20
#: A commit of more than this becomes several frames, each fsynced before the next is written.
_BODY_BYTES: Final = 4 << 20
_encoder = msgspec.msgpack.Encoder()


class _Batch:
    """Records that will stand in one frame."""

    __slots__ = ("before_ns", "body", "count", "first_seq")

    def __init__(self, first_seq: int, before_ns: Nanos) -> None:
        self.first_seq = first_seq
        self.before_ns = before_ns
        self.body = bytearray()
        self.count = 0


class JournalWriter:
    """Appends records to a folder of segments.

    ``append`` may be called by one thread while another is in ``commit``.

    Parameters
    ----------
    folder : Path
        Created; must not hold a journal, unless this one is to be continued.
    identity : Identity
    disk : Disk
    segment_bytes : int
        A segment that has grown beyond this is followed by another.
    continue_from : Tail or None
        What a reader found at the end of the journal in ``folder``. A torn tail is cut off, and what was
        found is made durable before anything follows from it.

    Raises
    ------
    JournalError
        ``J001`` if there is a journal that is not to be continued.
    ServiceError
        ``S020`` if the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        *,
        disk: Disk = OS_DISK,
        segment_bytes: int = SEGMENT_BYTES,
        continue_from: Tail | None = None,
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._appending = threading.Lock()
        self._committing = threading.Lock()
        self._failure: ServiceError | None = None
        self._batches: list[_Batch] = []
        self._buffered = 0
        self._file: OpenFile | None = None
        self._is_full = False
        self._number = self._size = self._last_ns = 0
        self._chain = new_chain()
        self._next_seq = 1
        try:
            self._start(continue_from)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._durable_seq = self._next_seq - 1

    def _start(self, tail: Tail | None) -> None:
        disk, folder = self._disk, self._folder
        disk.make_folder(folder)
        remove_unfinished(disk, folder)
        if tail is None:
            if any(name.endswith(SUFFIX) for name in disk.names(folder)):
                raise JournalError(
                    "J001", f"{folder} holds a journal already", detail="Choose another folder."
                )
            return
        self._number, self._size, self._chain = tail.number, tail.size_bytes, tail.chain.copy()
        self._next_seq, self._last_ns = tail.next_seq, tail.last_ns
        self._is_full = tail.identity != self._identity
        self._file = disk.open(self._path())
        if tail.torn_bytes:
            self._file.truncate(tail.size_bytes)
        # A killed writer may have left whole frames that only the memory of the machine holds.
        self._file.sync()
        disk.sync_folder(folder)

    @property
    def buffered(self) -> int:
        """Records appended and not yet taken by a commit."""
        return self._buffered

    @property
    def durable_seq(self) -> int:
        """Sequence number of the last record on disk."""
        return self._durable_seq

    def append(self, seq: int, record: Record, position: str = "") -> None:
        """Take one record; no I/O. ``seq`` grows by one from 1.

        Parameters
        ----------
        seq : int
        record : Record
        position : str
            Where its source resumes after it.
        """
        body = entry(encode_record(record), position)
        if len(body) > BODY_MAX_BYTES:
            raise InvariantError(f"a record of {len(body)} bytes is larger than a frame")
        with self._appending:
            if self._failure is not None:
                raise self._failure
            if seq != self._next_seq:
                raise InvariantError(f"record {seq} was appended where {self._next_seq} was due")
            self._next_seq += 1
            batches = self._batches
            if not batches or len(batches[-1].body) + len(body) > _BODY_BYTES:
                batches.append(_Batch(seq, self._last_ns))
            batch = batches[-1]
            batch.body += body
            batch.count += 1
            self._buffered += 1
            self._last_ns = run_ns(record, self._last_ns)

    def commit(self) -> int:
        """Write and fsync everything appended before the call.

        Returns
        -------
        int
            Sequence number of the last durable record.

        Raises
        ------
        ServiceError
            ``S020`` if the disk refuses, now and at every later call: what is on disk is then unknown, and an
            fsync that is tried again may report success for bytes that are lost.
        """
        with self._committing:
            with self._appending:
                if self._failure is not None:
                    raise self._failure
                batches, self._batches = self._batches, []
                self._buffered = 0
            try:
                for batch in batches:
                    if self._file is None or self._is_full or self._size >= self._segment_bytes:
                        self._open_segment(batch)
                    self._write(frame(batch.first_seq, batch.body))
                    self._durable_seq = batch.first_seq + batch.count - 1
            except OSError as error:
                self._failure = _unwritable(self._folder, error)
                raise self._failure from error
            except BaseException as error:  # an interrupt, say: part of a frame may be on disk
                self._failure = _unwritable(self._folder, error)
                raise
            return self._durable_seq

    def close(self) -> None:
        """Commit what is left, mark the end, and release the file; only release it after a failure.

        With the mark, damage to the last records cannot be mistaken for a torn tail.
        """
        try:
            if self._failure is None:
                self.commit()
                if self._file is not None:
                    self._write(frame(self._next_seq, b""))
        except OSError as error:
            self._failure = _unwritable(self._folder, error)
            raise self._failure from error
        finally:
            if self._file is not None:
                with suppress(OSError):  # nothing depends on it: what counts was fsynced
                    self._file.close()
                self._file = None

    def _open_segment(self, batch: _Batch) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._number += 1
        header = Header(FORMAT, self._identity, batch.first_seq, batch.before_ns, self._chain.digest())
        first = header_frame(header)
        write_whole(self._disk, self._path(), first)
        self._chain = new_chain(header.chain)
        self._chain.update(first)
        self._file, self._size, self._is_full = self._disk.open(self._path()), len(first), False

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 - opened by the callers
        self._file.write(data)
        self._file.sync()
        self._chain.update(data)
        self._size += len(data)

    def _path(self) -> Path:
        return self._folder / f"{self._number:08d}{SUFFIX}"


def _unwritable(folder: Path, error: BaseException) -> ServiceError:
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return ServiceError(
        "S020",
        f"the journal cannot be written: {reason}",
        str(folder),
        "Nothing may follow from a record that is not on disk, so the engine stops, halted.\n"
        "Make room or repair the disk, then start again: what was acknowledged is there.",
    )


class JournalReader:
    """Reads a folder of segments back, checking every byte it reads.

    Parameters
    ----------
    folder : Path
    after_seq : int
        Begin behind this record. Segments that lie wholly before it are not read, and need not be there: the
        first one read is then trusted to continue them.
    disk : Disk

    Attributes
    ----------
    identity : Identity
        Of the last segment.
    last_seq : int
        Of the last record read.
    position : str
        The last position read that was not empty.
    torn_bytes : int
        Bytes of a torn tail, known after reading to the end.
    is_closed : bool
        Whether the writer was closed in good order, known after reading to the end.
    tail : Tail or None
        Where a writer continues, after reading to the end.

    Raises
    ------
    JournalError
        ``J002`` no journal, ``J003`` damage in the middle, ``J004`` broken chain or sequence, ``J005``
        another format, ``J014`` records behind ``after_seq`` are missing.
    """

    def __init__(self, folder: Path, after_seq: int = 0, disk: Disk = OS_DISK) -> None:
        found = segments(folder, disk)
        if not found:
            hint = "Runs keep one with [output] journal = true; a live engine keeps one in its state folder."
            raise JournalError("J002", f"no journal in {folder}", str(folder), hint)
        first_seq = found[0].header.first_seq
        if first_seq > after_seq + 1:
            raise JournalError(
                "J014",
                f"the journal begins at record {first_seq}, record {after_seq + 1} is missing",
                str(folder),
                "Without a snapshot of the time between, nothing can be continued. Restore the earlier\n"
                "segments or a snapshot from a copy, or begin a new epoch.",
            )
        self._segments = [
            segment
            for segment, following in zip(found, [*found[1:], None], strict=True)
            if following is None or following.header.first_seq > after_seq + 1
        ]
        self._disk = disk
        self._after_seq = after_seq
        self.identity = found[-1].header.identity
        self.last_seq = after_seq
        self.position = ""
        self.torn_bytes = 0
        self.is_closed = False
        self.tail: Tail | None = None

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Yield ``(seq, record)`` in order."""
        next_seq = self._segments[0].header.first_seq
        last_ns = self._segments[0].header.before_ns
        chain = new_chain() if self._segments[0].number == 1 else None
        for segment in self._segments:
            self._check_continues(segment, next_seq, chain)
            chain = new_chain(segment.header.chain)
            chain.update(segment.header_frame)
            frames = Frames(self._disk, segment.path)
            offset = len(segment.header_frame)
            while offset < frames.size_bytes:
                found = frames.at(offset)
                if found is None:
                    self._check_torn(segment, frames, offset)
                    break
                seq, body, whole = found
                if seq != next_seq:
                    raise damage("J004", segment.path, offset, f"sequence {seq} where {next_seq} was due")
                for record, position in self._records(segment, offset, body):
                    self.position = position or self.position
                    if next_seq > self._after_seq:
                        self.last_seq = next_seq
                        yield next_seq, record
                    last_ns = run_ns(record, last_ns)
                    next_seq += 1
                chain.update(whole)
                offset += len(whole)
                self.is_closed = len(body) == 0
        self.is_closed = self.is_closed and self.torn_bytes == 0
        self.tail = Tail(segment.number, offset, self.torn_bytes, next_seq, last_ns, self.identity, chain)

    def _check_continues(self, segment: Segment, next_seq: int, chain: Any) -> None:
        header = segment.header
        if header.first_seq != next_seq or (chain is not None and header.chain != chain.digest()):
            raise damage("J004", segment.path, 0, "segment does not continue the one before")
        known = self.identity
        if (header.identity.epoch, header.identity.config_hash) != (known.epoch, known.config_hash):
            raise damage("J004", segment.path, 0, "segment belongs to another journal")

    def _check_torn(self, segment: Segment, frames: Frames, offset: int) -> None:
        if segment is not self._segments[-1] or frames.is_any_after(offset):
            raise damage("J003", segment.path, offset, "damaged frame with records behind it")
        self.torn_bytes = frames.size_bytes - offset

    def _records(self, segment: Segment, offset: int, body: memoryview) -> Iterator[tuple[Record, str]]:
        try:
            yield from entries(body)
        except (msgspec.DecodeError, ValueError, RecursionError, struct.error) as error:
            raise damage("J003", segment.path, offset, f"undecodable record ({error})") from None


class JournalDigest:
    """SHA-256 over everything: every record and every event, with sequence numbers."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, seq: int, record: Record, events: list[Event]) -> None:
        """Take one step of the loop."""
        body = encode_record(record)
        self._sha.update(struct.pack("<QI", seq, len(body)))
        self._sha.update(body)
        self._sha.update(_encoder.encode(events))

    def hexdigest(self) -> str:
        """Return the digest of everything added so far."""
        return self._sha.hexdigest()
