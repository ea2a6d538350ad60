"""What a journal looks like on disk: records, frames, segments. Pure functions of bytes, and of a disk.

A segment is ``00000001.journal``: a header frame, then one frame for each commit. A frame is ``magic | u32
length | u32 crc32 | u64 seq | body``, little-endian; the CRC covers length, seq and body. The body of a
commit is its records, each ``u32 length | u32 length of position | position | record``; ``seq`` is that of
the first. A frame without records says that the writer was closed in good order.

The unit of checking is the unit of acknowledging: a frame is written only after the fsync of the one before,
so whatever stands before a good frame was durable once, and damage there is corruption. Damage with nothing
good behind it is a commit that nobody was ever told of.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.disk import Disk
from engine.errors import JournalError
from engine.events import (
    Alert,
    Bar,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    Command,
    HaltRequested,
    LimitsDue,
    Nanos,
    NoncesUsed,
    Record,
    TargetsProposed,
    Tick,
)

FORMAT: Final = 2
SUFFIX: Final = ".journal"
#: The first byte occurs in no UTF-8 text, so no text in a record can look like a frame.
_MAGIC: Final = b"\xffAJ2"
_FRAME: Final = struct.Struct("<4sIIQ")
#: Of version 0.1.0.
_FRAME_1: Final = struct.Struct("<IIQ")
_COVERED: Final = struct.Struct("<IQ")
_ENTRY: Final = struct.Struct("<II")
#: A record, and so a frame, may not be larger than this; checked before anything is allocated.
BODY_MAX_BYTES: Final = 16 << 20
_HEADER_SEQ: Final = 0
_HEADER_MAX_BYTES: Final = 1 << 16
_WINDOW_BYTES: Final = 1 << 20

_STRUCTS = (
    Bar
    | Tick
    | BarRejected
    | BarSuspended
    | BarConfirmed
    | HaltRequested
    | Command
    | NoncesUsed
    | LimitsDue
    | TargetsProposed
    | Alert
)
_encoder = msgspec.msgpack.Encoder()
_struct_decoder: msgspec.msgpack.Decoder[_STRUCTS] = msgspec.msgpack.Decoder(_STRUCTS)
_decode_slice = msgspec.msgpack.Decoder(tuple[str, int, int, int, tuple[int, ...], int, int, bytes]).decode
_SLICE_TAG: Final = "BarSlice"
_SLICE_PREFIX: Final = _encoder.encode((_SLICE_TAG, 0, 0, 0, (), 0, 0, b""))[: 2 + len(_SLICE_TAG)]


class Identity(msgspec.Struct, frozen=True):
    """Whose journal it is; in every segment and snapshot.

    Parameters
    ----------
    config_hash : str
        Of the resolved configuration, so that no journal is continued under another one unnoticed.
    build : str
        Versions of what computes, and the class of CPU: equal builds give equal bits.
    epoch : str
        Names the journal; sequence numbers begin at 1 in each.
    origin_day : int
        First day of the session table, days since 1970-01-01: ordinals of minutes count from it.
    """

    config_hash: str
    build: str = ""
    epoch: str = ""
    origin_day: int = 0


class Header(msgspec.Struct, frozen=True):
    """First frame of a segment.

    Parameters
    ----------
    format : int
    identity : Identity
    first_seq : int
        Of the segment's first record.
    before_ns : int
        Time of the run when the segment before ended, 0 if unknown: decides what retention may delete.
    chain : bytes
        Chain value of the segment before: BLAKE2b over its own predecessor's and every byte of it, so a cut,
        swapped or edited segment cannot pass.
    """

    format: int
    identity: Identity
    first_seq: int
    before_ns: Nanos
    chain: bytes


class _AnyHeader(msgspec.Struct, frozen=True):
    """What headers of all formats have in common."""

    format: int


class Segment(msgspec.Struct, frozen=True):
    """A segment in its folder."""

    path: Path
    number: int
    header: Header
    header_frame: bytes


class Tail(msgspec.Struct, frozen=True):
    """Where a journal ends, for the writer that continues it.

    Parameters
    ----------
    number : int
        Of the last segment.
    size_bytes : int
        Of its good part.
    torn_bytes : int
        Behind that; the writer cuts them off.
    next_seq : int
    last_ns : int
        Time of the run at its end, 0 if unknown.
    identity : Identity
        Of the last segment.
    chain : object
        Chain value over its good part, to be continued.
    """

    number: int
    size_bytes: int
    torn_bytes: int
    next_seq: int
    last_ns: Nanos
    identity: Identity
    chain: Any


def new_chain(previous: bytes = b"") -> Any:
    """Begin the chain value of a segment from that of the one before."""
    return hashlib.blake2b(previous, digest_size=16)


def encode_record(record: Record) -> bytes:
    """Canonical bytes of a record; slices carry their array as raw little-endian float64."""
    if isinstance(record, BarSlice):
        return _encoder.encode(
            (
                _SLICE_TAG,
                record.ts_close_ns,
                record.session,
                record.minute,
                record.suspect,
                record.accepted,
                record.bars.shape[1],
                np.ascontiguousarray(record.bars, dtype="<f8").tobytes(),
            )
        )
    return _encoder.encode(record)


def decode_record(body: bytes | memoryview) -> Record:
    """Decode what ``encode_record`` made.

    Raises
    ------
    msgspec.DecodeError, ValueError
        If the body is none of the known records.
    """
    if bytes(body[: len(_SLICE_PREFIX)]) == _SLICE_PREFIX:
        _, ts_close_ns, session, minute, suspect, accepted, n, raw = _decode_slice(body)
        bars = np.frombuffer(raw, dtype="<f8").reshape(5, n)
        return BarSlice(ts_close_ns, session, minute, bars, suspect, accepted)
    return _struct_decoder.decode(body)


def run_ns(record: Record, otherwise: Nanos) -> Nanos:
    """Return the time of the run that a record tells; stamps from outside are not trusted to."""
    if type(record) is Tick:
        return record.ts_ns
    return record.ts_close_ns if type(record) is BarSlice else otherwise


def entry(record: bytes, position: str) -> bytes:
    """Make the part of a body that holds one encoded record and the position beside it."""
    where = position.encode()
    return _ENTRY.pack(len(record), len(where)) + where + record


def entries(body: memoryview) -> Iterator[tuple[Record, str]]:
    """Take a body apart into records and positions.

    Raises
    ------
    msgspec.DecodeError, ValueError, struct.error
        If it is none.
    """
    start = 0
    while start < len(body):
        length, position_length = _ENTRY.unpack_from(body, start)
        start += _ENTRY.size
        middle, end = start + position_length, start + position_length + length
        if end > len(body):
            raise ValueError("a record reaches beyond its frame")
        yield decode_record(body[middle:end]), str(body[start:middle], "utf-8")
        start = end


def frame(seq: int, body: bytes | bytearray) -> bytes:
    """Frame a body."""
    crc = zlib.crc32(body, zlib.crc32(_COVERED.pack(len(body), seq)))
    return b"".join((_FRAME.pack(_MAGIC, len(body), crc, seq), body))


def header_frame(header: Header) -> bytes:
    """Frame a header."""
    return frame(_HEADER_SEQ, _encoder.encode(header))


class Frames:
    """The frames of a segment, read through a window: memory does not depend on its size.

    Parameters
    ----------
    disk : Disk
    path : Path
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self.size_bytes = disk.size(path)
        self._disk = disk
        self._path = path
        self._data = b""
        self._start = 0

    def at(self, offset: int) -> tuple[int, memoryview, memoryview] | None:
        """Return ``(seq, body, whole frame)`` of the frame at an offset; None if there is no good one."""
        head = self._bytes(offset, _FRAME.size)
        if len(head) < _FRAME.size:
            return None
        magic, length, crc, seq = _FRAME.unpack(head)
        if magic != _MAGIC or length > BODY_MAX_BYTES or offset + _FRAME.size + length > self.size_bytes:
            return None
        whole = self._bytes(offset, _FRAME.size + length)
        body = whole[_FRAME.size :]
        if len(body) != length or zlib.crc32(body, zlib.crc32(_COVERED.pack(length, seq))) != crc:
            return None
        return seq, body, whole

    def is_any_after(self, offset: int) -> bool:
        """Whether a good frame begins anywhere behind an offset."""
        while (offset := self._find(offset + 1)) >= 0:
            if self.at(offset) is not None:
                return True
        return False

    def _bytes(self, offset: int, count: int) -> memoryview:
        skip = offset - self._start
        if skip < 0 or skip + count > len(self._data):
            self._start, skip = offset, 0
            self._data = self._disk.read(self._path, offset, max(count, _WINDOW_BYTES))
        return memoryview(self._data)[skip : skip + count]

    def _find(self, offset: int) -> int:
        """Return where the next magic begins at or after an offset; -1 if nowhere."""
        while len(self._bytes(offset, _FRAME.size)) == _FRAME.size:
            hit = self._data.find(_MAGIC, offset - self._start)
            if hit >= 0:
                return self._start + hit
            offset = self._start + len(self._data) - len(_MAGIC) + 1
        return -1


def segments(folder: Path, disk: Disk) -> list[Segment]:
    """List the segments of a journal in order; empty if there is none.

    Raises
    ------
    JournalError
        ``J004`` without a good header (a segment comes into being with one, so it was damaged), ``J005``
        another format.
    """
    names = [name for name in disk.names(folder) if name.endswith(SUFFIX)]
    return [_segment(folder / name, disk) for name in names]


def _segment(path: Path, disk: Disk) -> Segment:
    found = Frames(disk, path).at(0)
    if found is None and _is_of_format_1(disk.read(path, 0, _HEADER_MAX_BYTES)):
        raise _unreadable(path, "was written by version 0.1.0, in format 1")
    if found is None or found[0] != _HEADER_SEQ or len(found[1]) > _HEADER_MAX_BYTES:
        raise damage("J004", path, 0, "no segment header")
    try:
        was = msgspec.msgpack.decode(found[1], type=_AnyHeader).format
        if was != FORMAT:
            raise _unreadable(path, f"is of format {was}")
        header = msgspec.msgpack.decode(found[1], type=Header)
        return Segment(path, int(path.stem), header, bytes(found[2]))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise damage("J004", path, 0, f"unreadable segment header ({error})") from None


def _is_of_format_1(data: bytes) -> bool:
    """Whether a segment begins as those of version 0.1.0 did: as now, but without magic."""
    if len(data) < _FRAME_1.size:
        return False
    length, crc, seq = _FRAME_1.unpack_from(data)
    body = data[_FRAME_1.size : _FRAME_1.size + length]
    covered = zlib.crc32(body, zlib.crc32(_COVERED.pack(length, seq)))
    return (seq, len(body), covered) == (_HEADER_SEQ, length, crc)


def _unreadable(path: Path, what: str) -> JournalError:
    return JournalError(
        "J005",
        f"{path.name} {what}; this version reads format {FORMAT}",
        str(path),
        "It is not damaged. Read it with the version that wrote it, or repeat the replay with this one.",
    )


def damage(code: str, path: Path, offset: int, what: str) -> JournalError:
    """Make the error for a segment that cannot be trusted."""
    return JournalError(
        code,
        f"{what}, at byte {offset} of {path.name}",
        str(path),
        "A damaged journal is never applied. Keep the file for examination and restore it from a copy.",
    )
