"""What strangers can send: bars, rows of a vendor, commands, and answers of a server that is not ours.

Each function takes any bytes, gives them to a decoder, and asserts what the decoder promises.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from typing import Any

import msgspec

from engine.app.live.operator_link import Admission
from engine.app.live.status_document import read
from engine.app.live.status_page import page
from engine.clock import Clock
from engine.commands import (
    KINDS,
    MESSAGE_BYTES_MAX,
    OPERATOR,
    TIME_MAX_NS,
    Keys,
    Verifier,
    command_line,
    message_of,
    read_commands,
    read_message,
)
from engine.errors import DataError
from engine.events import Bar, BarRejected, Command
from feeds.alpaca_history import bar_of
from feeds.bar_messages import BARS_MAX, FIRST_NS, LAST_NS, Decoded, decode, decode_fields, judged
from feeds.delivered import Delivered
from tests.support.publish import fields_of, live_context

T0_NS = 1_767_623_460_000_000_000
KEYS = Keys(b"operator-operator", b"halt-halt-halt-halt")
CONTEXT = live_context(None)
SYMBOLS = ("AAA", "BBB", "CCC")
_KEPT = 2_000


def bars(data: bytes) -> None:
    """Read a message of MQTT, or of the field ``bars`` of Redis: every element becomes one record."""
    decoded = decode(data)
    _account(decoded)
    if (count := _count(data)) is not None:
        assert len(decoded) == count, "an element of a list was lost, or counted twice"


def fields(data: bytes) -> None:
    """Read an entry of a Redis stream: names and values, separated by zero bytes."""
    parts = data.split(b"\0")
    decoded = decode_fields(dict(zip(parts[::2], parts[1::2], strict=False)))
    _account(decoded)
    for bar in decoded:
        if bar is not None:
            texts = {name.encode(): str(value).encode() for name, value in fields_of(bar).items()}
            assert _same(decode_fields(texts), [bar])


def alpaca(data: bytes) -> None:
    """Read a row of the vendor: a bar with the end of its minute, or none."""
    bar = bar_of(data)
    assert bar is None or (bar.symbol and FIRST_NS <= bar.ts_close_ns <= LAST_NS + 60_000_000_000)


def positions(data: bytes) -> None:
    """Read the place of a feed from the journal: as it was written, or refused."""
    text = data.decode(errors="replace")
    try:
        delivered = Delivered.at(text, SYMBOLS, "mqtt")
    except DataError as error:
        assert error.code == "D032"
        return
    again = delivered.position("mqtt")
    assert Delivered.at(again, SYMBOLS, "mqtt").position("mqtt") == again


def commands(data: bytes) -> None:
    """Judge a message nobody signed: refused, bounded, and no nonce is used up."""
    command = read_message(data, T0_NS)
    if command is not None:
        assert len(data) <= MESSAGE_BYTES_MAX
        assert read_message(message_of(command), T0_NS) == command
        assert read_commands(command_line(command)) == [command]
    admitted = Admission(KEYS, Clock(start_ns=T0_NS, monotonic=lambda: 0.0), lambda: 0.0).admit(data)
    assert admitted is not None
    assert len(admitted.body) <= _KEPT
    verifier = Verifier("astra", Keys())
    before = verifier.state()
    reason, _ = verifier.judge(admitted)
    assert reason in {"malformed", "bad_signature"}
    assert verifier.state() == before


def signed(data: bytes) -> None:
    """Judge any text under the right signature: what counts is whole, in time, ours, and counts once."""
    text = data.decode(errors="replace")
    signature = hmac.new(KEYS.operator, text.encode(), hashlib.sha256).hexdigest()
    verifier = Verifier("astra", KEYS)
    reason, body = verifier.judge(Command(T0_NS, text, signature, OPERATOR))
    if reason:
        assert verifier.state()["used"] == {}
        return
    assert body is not None
    assert body.kind in KINDS
    assert body.instance == "astra"
    assert 0 <= body.issued_ns <= T0_NS <= body.expires_ns < TIME_MAX_NS
    assert body.reason.strip()
    assert body.principal.strip()
    assert not any(map(_is_control, body.reason + body.principal))
    assert not any(math.isnan(value) for value in body.args.values())
    assert verifier.judge(Command(T0_NS, text, signature, OPERATOR))[0] == "replayed"


def commands_file(data: bytes) -> None:
    """Read a commands file: its commands, or the one error that its reader translates."""
    try:
        found = read_commands(data.decode(errors="replace"))
    except msgspec.MsgspecError:
        return
    assert read_commands("\n".join(map(command_line, found))) == found


def status(data: bytes) -> None:
    """Read what stands where the status should be: a page, which cannot drive a terminal, or nothing."""
    document = read(data)
    if document is not None:
        shown = page(document, T0_NS)
        assert not any(map(_is_control, shown.replace("\n", "")))


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def _count(data: bytes) -> int | None:
    """Count the elements of a list with a decoder that knows nothing of bars; None if it is no list."""
    is_json = data.lstrip(b" \t\r\n")[:1] == b"["
    try:
        elements: Any = msgspec.json.decode(data) if is_json else msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None
    return len(elements) if isinstance(elements, list) and 0 < len(elements) <= BARS_MAX else 1


def _account(decoded: Decoded) -> None:
    """Received is accepted and rejected; what is accepted can be written down and read again."""
    assert 1 <= len(decoded) <= BARS_MAX
    records = judged(decoded, CONTEXT)
    assert len(records) == len(decoded)
    for bar, record in zip(decoded, records, strict=True):
        assert isinstance(record, BarRejected) or record is bar
        encoded = msgspec.msgpack.encode(record)
        assert msgspec.msgpack.encode(msgspec.msgpack.decode(encoded, type=Bar | BarRejected)) == encoded
        if bar is not None:
            assert FIRST_NS <= bar.ts_close_ns < LAST_NS
            assert _same(decode(msgspec.msgpack.encode(fields_of(bar))), [bar])


def _same(one: Decoded, other: Decoded) -> bool:
    """Compare bit by bit: NaN is what it is."""
    return msgspec.msgpack.encode(one) == msgspec.msgpack.encode(other)
