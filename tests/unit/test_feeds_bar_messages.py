"""Messages to bars: two encodings, one rule for stamps, and nothing that is guessed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from engine.events import Bar, BarRejected, Reject
from feeds.bar_messages import BARS_MAX, BYTES_MAX, decode, decode_fields, judged
from tests.support.publish import fields_of, live_context, stopped_clock

#: 2026-01-05T14:31:00Z, the end of the first minute of a session in New York.
TS_NS = 1_767_623_460_000_000_000
BAR = Bar(TS_NS, "JPM", 330.1, 330.5, 329.9, 330.25, 12_000.0)
FIELDS = fields_of(BAR)


def as_json(**changes: Any) -> bytes:
    """Return the message of the bar with some fields changed."""
    return json.dumps(FIELDS | changes).encode()


@pytest.mark.parametrize("encode", [msgspec.json.encode, msgspec.msgpack.encode])
def test_a_bar_and_a_list_of_bars_are_read(encode: Any) -> None:
    """Publishers choose the encoding and the packing, and never have to say which."""
    assert decode(encode(FIELDS)) == [BAR]
    assert decode(encode([FIELDS, FIELDS | {"symbol": "C"}])) == [
        BAR,
        msgspec.structs.replace(BAR, symbol="C"),
    ]


@pytest.mark.parametrize(
    "ts",
    [
        TS_NS,
        str(TS_NS),
        "2026-01-05T14:31:00Z",
        "2026-01-05 14:31Z",
        "2026-01-05T09:31:00-05:00",
        "2026-01-05T14:31:00.000000000+00:00",
    ],
)
def test_an_instant_has_a_zone_or_is_in_nanoseconds(ts: object) -> None:
    """Each spelling names the same instant, to the nanosecond."""
    assert decode(as_json(ts=ts)) == [BAR]


def test_nanoseconds_survive_as_text() -> None:
    """A fraction beyond microseconds must not round to a whole minute that was never said."""
    (bar,) = decode(as_json(ts="2026-01-05T14:31:00.000000001Z"))
    assert bar is not None
    assert bar.ts_close_ns == TS_NS + 1


@pytest.mark.parametrize(
    "ts",
    [
        "2026-01-05T14:31:00",  # of which zone?
        "2026-01-05",
        TS_NS // 1_000,  # microseconds
        TS_NS // 1_000_000,  # milliseconds
        TS_NS // 1_000_000_000,
        float(TS_NS),
        -TS_NS,
        10**30,
        "2026-02-30T14:31:00Z",
        "2026-01-05T14:31:60Z",
        "2126-01-05T14:31:00Z",
        None,
        True,
    ],
)
def test_a_stamp_is_never_guessed(ts: object) -> None:
    """A naive stamp, or a number in another unit, would put the bar into the wrong minute without a word."""
    assert decode(as_json(ts=ts)) == [None]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\x90",
        b"\xff\xfe",
        json.dumps(FIELDS).encode() + b"{}",
        json.dumps({key: FIELDS[key] for key in FIELDS if key != "volume"}).encode(),
        as_json(close="330.25"),
        as_json(close=None),
        as_json(vwap=330.2),
        as_json(symbol=""),
        as_json(symbol="A" * 65),
        as_json(symbol="A\x1b[2J"),
        b'{"symbol": "\\ud800"}',
    ],
)
def test_what_is_no_bar_counts_as_one(body: bytes) -> None:
    """A message that cannot be read is told once; it is neither repaired nor dropped."""
    assert decode(body) == [None]


def test_one_bad_element_spoils_no_other() -> None:
    """A batch holds a whole minute: one symbol's fault must not cost the others theirs."""
    good, bad = FIELDS, FIELDS | {"ts": "2026-01-05T14:31:00"}
    for encode in (msgspec.json.encode, msgspec.msgpack.encode):
        assert decode(encode([good, bad, 7, good])) == [BAR, None, None, BAR]


def test_size_is_limited_before_anything_is_read() -> None:
    """Memory and time for one message are bounded, whoever sends it."""
    padding = b" " * (BYTES_MAX - len(as_json()))
    assert decode(as_json() + padding) == [BAR]
    assert decode(as_json() + padding + b" ") == [None]
    assert decode(b"[" + b"1," * (BARS_MAX - 1) + b"1]") == [None] * BARS_MAX
    assert decode(b"[" + b"1," * BARS_MAX + b"1]") == [None]
    assert decode_fields({b"symbol": b"A" * BYTES_MAX}) == [None]


@pytest.mark.parametrize(
    "bomb",
    [b"[" * 60_000, b'{"ts":' * 10_000, b"\x91" * 60_000, b"\x81\xa2ts" * 15_000, b"\xdd\xff\xff\xff\xff"],
)
def test_nesting_and_false_lengths_are_harmless(bomb: bytes) -> None:
    """A few kilobytes must not exhaust the stack, or make room for four billion elements."""
    assert decode(bomb) == [None]
    assert decode(b"[" + bomb + b"]") == [None]


def test_fields_of_an_entry_are_texts() -> None:
    """Redis knows texts only: numbers are read from them, strictly."""
    entry = {name.encode(): str(value).encode() for name, value in FIELDS.items()}
    assert decode_fields(entry) == [BAR]
    assert decode_fields(entry | {b"ts": b"2026-01-05T14:31:00Z"}) == [BAR]
    assert decode_fields(entry | {b"close": b"dear"}) == [None]
    assert decode_fields(entry | {b"\xff": b"1"}) == [None]
    assert decode_fields({}) == [None]
    assert decode_fields({b"bars": as_json()}) == [BAR]


def test_a_bar_of_another_symbol_is_not_taken() -> None:
    """On a broker, rights are given by topic: the payload must not say otherwise."""
    context = live_context(None)
    assert judged([BAR], context, "JPM") == [BAR]
    now_ns = context.clock.now_ns()
    assert judged([BAR], context, "C") == [BarRejected(now_ns, "C", Reject.UNDECODABLE, 1, BAR)]


def test_the_future_and_what_is_outside_the_run_are_refused() -> None:
    """A stamp ahead of the clock would close minutes that are still open; the limit itself is allowed."""
    second = 1_000_000_000
    assert judged([BAR], live_context(None, clock=stopped_clock(TS_NS - 2 * second))) == [BAR]
    assert judged([BAR], live_context(None, clock=stopped_clock(TS_NS - 2 * second - 1))) == [
        BarRejected(TS_NS, "JPM", Reject.FUTURE, 1, BAR)
    ]
    assert judged([BAR], live_context(None, from_ns=TS_NS, to_ns=TS_NS)) == [BAR]
    for span in ({"from_ns": TS_NS + 1}, {"to_ns": TS_NS - 1}):
        assert judged([BAR], live_context(None, **span)) == [
            BarRejected(TS_NS, "JPM", Reject.OFF_SESSION, 1, BAR)
        ]
