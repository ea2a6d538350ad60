"""Messages to bars: JSON, MessagePack, or the fields of a Redis entry. Whatever the bytes, it never raises.

A message is an object with exactly the fields of the CSV, or a list of such objects. What cannot be read is
counted as one ``UNDECODABLE`` bar: each element of a list by itself, a message that is no list as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from engine.clock import nanos_of
from engine.events import SECOND_NS, Bar, BarRejected, Nanos, Reject
from feeds.live_context import LiveContext

#: A message that is longer is not even looked at.
BYTES_MAX: Final = 1 << 16
#: Elements of a list; a longer one is one undecodable message.
BARS_MAX: Final = 10_000

#: None stands for what could not be read.
Decoded: TypeAlias = list[Bar | None]

#: Milliseconds and microseconds of today, read as nanoseconds, lie in January 1970: so nothing before 1971 is
#: a stamp, and a number in another unit is refused rather than misread.
FIRST_NS: Final = nanos_of(datetime(1971, 1, 1, tzinfo=UTC))
LAST_NS: Final = nanos_of(datetime(2100, 1, 1, tzinfo=UTC))
_DIGITS: Final = re.compile(r"\d{1,20}", re.ASCII)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})", re.ASCII
)

#: What reading arbitrary bytes may raise: malformed, not of this shape, not UTF-8, too deep, too large.
READ_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


class _BarMessage(msgspec.Struct, forbid_unknown_fields=True):
    """One bar on the wire; control characters in a symbol would end up in terminals."""

    ts: str | int
    symbol: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
    open: float
    high: float
    low: float
    close: float
    volume: float


class _Format(msgspec.Struct, frozen=True):
    """Decoders of one encoding: of a bar, and of a list whose elements are looked at one by one."""

    bar: Any
    elements: Any


_JSON: Final = _Format(msgspec.json.Decoder(_BarMessage), msgspec.json.Decoder(list[msgspec.Raw]))
_MSGPACK: Final = _Format(msgspec.msgpack.Decoder(_BarMessage), msgspec.msgpack.Decoder(list[msgspec.Raw]))
#: First bytes of arrays in MessagePack: up to 15 elements, and with a length of 16 or 32 bits.
_MSGPACK_ARRAYS: Final = frozenset(bytes([byte]) for byte in (*range(0x90, 0xA0), 0xDC, 0xDD))


def decode(body: bytes) -> Decoded:
    """Read a message.

    Parameters
    ----------
    body : bytes
        JSON or MessagePack; the first byte tells which.

    Returns
    -------
    list of Bar or None
        At least one element; None for each that is no bar.
    """
    if len(body) > BYTES_MAX:
        return [None]
    first = body.lstrip(b" \t\r\n")[:1]
    encoding = _JSON if first in {b"{", b"["} else _MSGPACK
    if first == b"[" or first in _MSGPACK_ARRAYS:
        return _elements(body, encoding)
    return [_one(body, encoding)]


def decode_fields(fields: Mapping[bytes, bytes]) -> Decoded:
    """Read an entry of a Redis stream: the fields of one bar as text, or one field ``bars`` with a message.

    Returns
    -------
    list of Bar or None
        As ``decode``.
    """
    if fields.keys() == {b"bars"}:
        return decode(fields[b"bars"])
    if sum(len(name) + len(value) for name, value in fields.items()) > BYTES_MAX:
        return [None]
    try:
        texts = {name.decode(): value.decode() for name, value in fields.items()}
        return [_bar(msgspec.convert(texts, _BarMessage, strict=False))]
    except READ_ERRORS:
        return [None]


def judged(bars: Iterable[Bar | None], context: LiveContext, symbol: str = "") -> list[Bar | BarRejected]:
    """Turn what was decoded into records.

    Parameters
    ----------
    bars : iterable of Bar or None
    context : LiveContext
        Its clock and span.
    symbol : str
        The one that the message was addressed to, if any: every bar must be of it.

    Returns
    -------
    list of Bar or BarRejected
        One each. ``UNDECODABLE``: no bar, or one of another symbol; stamped with the time of its receipt.
        ``FUTURE``: more than ``skew_max_s`` ahead of the clock. ``OFF_SESSION``: outside the span of the run.
    """
    now_ns = context.clock.now_ns()
    future_ns = now_ns + round(context.skew_max_s * SECOND_NS)
    from_ns = FIRST_NS if context.from_ns is None else context.from_ns
    to_ns = LAST_NS if context.to_ns is None else context.to_ns
    records: list[Bar | BarRejected] = []
    for bar in bars:
        if bar is None or (symbol and bar.symbol != symbol):
            records.append(BarRejected(now_ns, symbol, Reject.UNDECODABLE, 1, bar))
        elif bar.ts_close_ns > future_ns:
            records.append(BarRejected(bar.ts_close_ns, bar.symbol, Reject.FUTURE, 1, bar))
        elif not from_ns <= bar.ts_close_ns <= to_ns:
            records.append(BarRejected(bar.ts_close_ns, bar.symbol, Reject.OFF_SESSION, 1, bar))
        else:
            records.append(bar)
    return records


def _one(body: bytes | msgspec.Raw, encoding: _Format) -> Bar | None:
    try:
        return _bar(encoding.bar.decode(body))
    except READ_ERRORS:
        return None


def _elements(body: bytes, encoding: _Format) -> Decoded:
    try:
        elements = encoding.elements.decode(body)
    except READ_ERRORS:
        return [None]
    if not 0 < len(elements) <= BARS_MAX:
        return [None]
    return [_one(element, encoding) for element in elements]


def _bar(message: _BarMessage) -> Bar:
    return Bar(
        _stamp(message.ts),
        message.symbol,
        message.open,
        message.high,
        message.low,
        message.close,
        message.volume,
    )


def _stamp(ts: str | int) -> Nanos:
    """Read an instant: ISO 8601 with a zone, or nanoseconds UTC as a number or its digits."""
    if isinstance(ts, int) or _DIGITS.fullmatch(ts):
        ts_ns = int(ts)
    else:
        parts = _INSTANT.fullmatch(ts)
        if parts is None:
            raise ValueError("neither ISO 8601 with a zone nor nanoseconds")
        until_seconds, fraction, zone = parts.groups()
        ts_ns = nanos_of(datetime.fromisoformat(until_seconds + zone)) + int((fraction or "").ljust(9, "0"))
    if not FIRST_NS <= ts_ns < LAST_NS:
        raise ValueError("no stamp in nanoseconds")
    return ts_ns
