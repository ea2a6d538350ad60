"""The log itself: framed records in segments, each frame checked, the whole chained.

A segment is ``00000001.journal``: a header frame, then record frames. A frame is ``u32 length | u32 crc32 |
u64 seq | body``, little-endian; the CRC covers length, seq and body. The header body names format, config
hash, first sequence number and the chain value of the segment before; the chain value is BLAKE2b over the
previous one and every byte of the segment, so a cut, swapped or edited segment cannot pass.

Reading: a damaged frame with no good frame behind it is a torn tail (reported, not applied); one with good
frames behind it is corruption, and reading refuses with the offset.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np

from engine.errors import JournalError
from engine.events import (
    Bar,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    Command,
    Event,
    Record,
    TargetsProposed,
    Tick,
)

FORMAT: Final = 1
_FRAME: Final = struct.Struct("<IIQ")
_BODY_MAX_BYTES: Final = 16 << 20
_SEGMENT_BYTES: Final = 64 << 20
_HEADER_SEQ: Final = 0
_CHAIN_BYTES: Final = 16

_STRUCTS = Bar | Tick | BarRejected | BarSuspended | BarConfirmed | Command | TargetsProposed
_encoder = msgspec.msgpack.Encoder()
_struct_decoder: msgspec.msgpack.Decoder[_STRUCTS] = msgspec.msgpack.Decoder(_STRUCTS)
_decode_slice = msgspec.msgpack.Decoder(tuple[str, int, int, int, tuple[int, ...], int, int, bytes]).decode
_SLICE_TAG: Final = "BarSlice"
_SLICE_PREFIX: Final = _encoder.encode((_SLICE_TAG, 0, 0, 0, (), 0, 0, b""))[: 2 + len(_SLICE_TAG)]


class Header(msgspec.Struct, frozen=True):
    """First frame of a segment."""

    format: int
    config_hash: str
    first_seq: int
    chain: bytes


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


def _frame(seq: int, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(struct.pack("<IQ", len(body), seq)))
    return _FRAME.pack(len(body), crc, seq) + body


class JournalWriter:
    """Appends records to a folder of segments.

    Parameters
    ----------
    folder : Path
        Created; must not hold a journal yet.
    config_hash : str
        Of the resolved configuration, so that a journal is never replayed under another one unnoticed.
    segment_bytes : int
        A segment is closed when it has grown beyond this.
    """

    def __init__(self, folder: Path, config_hash: str, segment_bytes: int = _SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.glob("*.journal")):
            raise JournalError("J001", f"{folder} holds a journal already", detail="Choose another folder.")
        self._folder = folder
        self._config_hash = config_hash
        self._segment_bytes = segment_bytes
        self._number = 0
        self._chain = hashlib.blake2b(digest_size=_CHAIN_BYTES)
        self._file: BinaryIO | None = None
        self._size = 0

    def append(self, seq: int, record: Record) -> None:
        """Write one record; ``seq`` grows by one from 1."""
        if self._file is None or self._size >= self._segment_bytes:
            self._open_segment(seq)
        self._write(_frame(seq, encode_record(record)))

    def _open_segment(self, first_seq: int) -> None:
        self.close()
        self._number += 1
        self._file = (self._folder / f"{self._number:08d}.journal").open("xb")
        self._size = 0
        header = Header(FORMAT, self._config_hash, first_seq, self._chain.digest())
        self._chain = hashlib.blake2b(self._chain.digest(), digest_size=_CHAIN_BYTES)
        self._write(_frame(_HEADER_SEQ, _encoder.encode(header)))

    def _write(self, frame: bytes) -> None:
        assert self._file is not None  # noqa: S101 - opened by append
        self._file.write(frame)
        self._chain.update(frame)
        self._size += len(frame)

    def close(self) -> None:
        """Flush and close the open segment."""
        if self._file is not None:
            self._file.close()
            self._file = None


class JournalReader:
    """Reads a folder of segments back, checking every byte.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    torn_bytes : int
        Bytes of a torn tail, known after reading to the end.
    config_hash : str
        Of the run that wrote it.

    Raises
    ------
    JournalError
        ``J002`` no journal, ``J003`` damage in the middle, ``J004`` broken chain or sequence, ``J005``
        another format.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.journal"))
        if not self._paths:
            raise JournalError(
                "J002", f"no journal in {folder}", detail="Runs keep one with [output] journal = true."
            )
        self.torn_bytes = 0
        self.config_hash = ""

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Yield ``(seq, record)`` in order."""
        chain = hashlib.blake2b(digest_size=_CHAIN_BYTES)
        next_seq = 1
        for path in self._paths:
            data = path.read_bytes()
            frames = self._frames(path, data, is_last=path == self._paths[-1])
            header = self._header(path, next(frames, None), chain.digest(), next_seq)
            self.config_hash = header.config_hash
            chain = hashlib.blake2b(chain.digest(), digest_size=_CHAIN_BYTES)
            end = len(data) - self.torn_bytes
            for offset, seq, body in frames:
                if seq != next_seq:
                    raise _damage("J004", path, offset, f"sequence {seq} where {next_seq} was due")
                yield seq, self._record(path, offset, body)
                next_seq += 1
                end = offset + _FRAME.size + len(body)
            chain.update(data[:end])

    def _frames(self, path: Path, data: bytes, is_last: bool) -> Iterator[tuple[int, int, memoryview]]:
        view = memoryview(data)
        offset = 0
        while offset < len(data):
            frame = _good_frame(view, offset)
            if frame is None:
                if not is_last or _good_frame_after(view, offset):
                    raise _damage("J003", path, offset, "damaged frame with records behind it")
                self.torn_bytes = len(data) - offset
                return
            seq, body = frame
            yield offset, seq, body
            offset += _FRAME.size + len(body)

    def _header(
        self, path: Path, first: tuple[int, int, memoryview] | None, chain: bytes, next_seq: int
    ) -> Header:
        if first is None or first[1] != _HEADER_SEQ:
            raise _damage("J004", path, 0, "no segment header")
        try:
            header = msgspec.msgpack.decode(first[2], type=Header)
        except msgspec.DecodeError as error:
            raise _damage("J004", path, 0, f"unreadable segment header ({error})") from None
        if header.format != FORMAT:
            raise _damage("J005", path, 0, f"format {header.format}, this version reads {FORMAT}")
        if header.chain != chain or header.first_seq != next_seq:
            raise _damage("J004", path, 0, "segment does not continue the one before")
        return header

    def _record(self, path: Path, offset: int, body: memoryview) -> Record:
        try:
            return decode_record(body)
        except (msgspec.DecodeError, ValueError) as error:
            raise _damage("J003", path, offset, f"undecodable record ({error})") from None


def _good_frame(view: memoryview, offset: int) -> tuple[int, memoryview] | None:
    if len(view) - offset < _FRAME.size:
        return None
    length, crc, seq = _FRAME.unpack_from(view, offset)
    end = offset + _FRAME.size + length
    if length > _BODY_MAX_BYTES or end > len(view):
        return None
    body = view[offset + _FRAME.size : end]
    if zlib.crc32(body, zlib.crc32(struct.pack("<IQ", length, seq))) != crc:
        return None
    return seq, body


def _good_frame_after(view: memoryview, offset: int) -> bool:
    return any(_good_frame(view, later) is not None for later in range(offset + 1, len(view) - _FRAME.size))


def _damage(code: str, path: Path, offset: int, what: str) -> JournalError:
    return JournalError(
        code,
        f"{what}, at byte {offset} of {path.name}",
        str(path),
        "A damaged journal is never applied. Keep the file for examination and restore it from a copy.",
    )


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
