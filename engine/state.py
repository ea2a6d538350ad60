"""Canonical bytes of state and of events, and the digests made from them.

The same state has the same bytes everywhere: dictionary keys are sorted, numbers keep their exact bits,
arrays are their dtype, shape and little-endian bytes. Nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np

from engine.events import DIGESTED, Event

_ARRAY = 1
_DTYPES = frozenset({"<f8", "<i8", "|b1", "<i4", "|i1", "|u1"})
_FLUSH_BYTES = 1 << 16

_encode_into = msgspec.msgpack.Encoder().encode_into


def _extend(value: Any) -> msgspec.msgpack.Ext:
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.str not in _DTYPES:
            raise TypeError(f"dtype {array.dtype} has no canonical form")
        body = msgspec.msgpack.encode((array.dtype.str, list(value.shape), array.tobytes()))
        return msgspec.msgpack.Ext(_ARRAY, body)
    if isinstance(value, np.generic):
        raise TypeError(f"numpy scalar {value!r}: convert it, so that restored state has the same types")
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _restore(code: int, data: memoryview) -> Any:
    if code != _ARRAY:
        raise ValueError(f"extension code {code} is not known")
    dtype, shape, raw = msgspec.msgpack.decode(data, type=tuple[str, list[int], bytes])
    if dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype!r} is not known")
    return np.frombuffer(raw, dtype=dtype).reshape(shape).copy()


_encoder = msgspec.msgpack.Encoder(enc_hook=_extend, order="deterministic")
_decoder = msgspec.msgpack.Decoder(ext_hook=_restore)


def to_bytes(state: Any) -> bytes:
    """Encode state: dicts, lists, numbers, strings, bytes and NumPy arrays.

    Raises
    ------
    TypeError
        For anything else, NumPy scalars included.
    """
    return _encoder.encode(state)


def from_bytes(data: bytes | memoryview) -> Any:
    """Decode what ``to_bytes`` made; arrays come back writable, with the same dtype, shape and bits."""
    return _decoder.decode(data)


class Digest:
    """SHA-256 over the decisions of a run: the events of ``DIGESTED``, without sequence numbers.

    Equal digests mean equal decisions, to the last bit. Events are gathered and hashed in blocks.
    """

    __slots__ = ("_buffer", "_sha")

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._buffer = bytearray()

    def add(self, events: list[Event], digested: frozenset[type] = frozenset(DIGESTED)) -> None:
        """Take the digested ones among the events of one record, in order."""
        buffer = self._buffer
        for event in events:
            if type(event) in digested:
                _encode_into(event, buffer, len(buffer))
        if len(buffer) > _FLUSH_BYTES:
            self._sha.update(buffer)
            buffer.clear()

    def hexdigest(self) -> str:
        """Return the digest of everything added so far."""
        self._sha.update(self._buffer)
        self._buffer.clear()
        return self._sha.hexdigest()
