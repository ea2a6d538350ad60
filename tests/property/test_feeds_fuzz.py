"""Whatever bytes come: nothing raises, everything is counted, and every record can be journaled."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from engine.events import Bar, BarRejected
from feeds.bar_messages import BARS_MAX, Decoded, decode, decode_fields, judged
from tests.support.publish import live_context

CONTEXT = live_context(None)
NAMES = ("ts", "symbol", "open", "high", "low", "close", "volume")

texts = st.text(max_size=20) | st.sampled_from(["2026-01-05T14:31:00Z", "JPM", "1e999", "nan", "-0", "١٢"])
numbers = (
    st.integers(-(2**63), 2**64 - 1) | st.floats() | st.sampled_from([1_767_623_460_000_000_000, 330.25])
)
scalars = texts | numbers | st.none() | st.booleans() | st.binary(max_size=20)
#: Near enough to a bar that each field is sometimes the only one that is wrong.
nearly = st.fixed_dictionaries(
    {"ts": st.just("2026-01-05T14:31:00Z") | scalars, "symbol": st.just("JPM") | scalars},
    optional={name: st.floats(1, 9) | scalars for name in (*NAMES[2:], "vwap")},
)
values = st.recursive(
    scalars | nearly, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
messages = nearly | st.lists(nearly | values, max_size=6) | values


def check(decoded: Decoded) -> None:
    """Every element becomes one record, and every record survives the journal's encoding."""
    assert 1 <= len(decoded) <= BARS_MAX
    records = judged(decoded, CONTEXT)
    assert len(records) == len(decoded)
    for bar, record in zip(decoded, records, strict=True):
        assert isinstance(record, BarRejected) or (record is bar and isinstance(record, Bar))
        body = msgspec.msgpack.encode(record)
        again = msgspec.msgpack.decode(body, type=Bar | BarRejected)
        assert msgspec.msgpack.encode(again) == body


@given(st.binary(max_size=300))
@example(b"\xc7\xff\xff")
@example(b"{" * 70_000)
@example(b"\x81" * 65_000)
@example(b'[{"ts":"' + b"9" * 5_000 + b'"}]')
@example(b'{"ts":' + b"9" * 5_000 + b"}")
@example(b'{"open":1' + b"0" * 5_000 + b"}")
def test_any_bytes_are_counted(body: bytes) -> None:
    """A port that strangers can reach must not be able to end the engine."""
    check(decode(body))


@given(messages, st.integers(0, 400), st.integers(0, 255))
def test_damaged_messages_are_counted(message: Any, at: int, byte: int) -> None:
    """One flipped byte of a sound message is the hardest rubbish there is."""
    for encode in (msgspec.json.encode, msgspec.msgpack.encode):
        try:
            body = bytearray(encode(message))
        except (msgspec.MsgspecError, ValueError, OverflowError, TypeError):
            continue  # such as a lone surrogate: no publisher can send it either
        check(decode(bytes(body)))
        if isinstance(message, list):
            assert len(decode(bytes(body))) == max(1, len(message))
        body[at % len(body)] = byte
        check(decode(bytes(body)))


@given(
    st.dictionaries(st.sampled_from([name.encode() for name in NAMES]) | st.binary(max_size=8), st.binary())
)
def test_any_fields_are_counted(fields: dict[bytes, bytes]) -> None:
    """The entries of a stream are as arbitrary as the payload of a message."""
    check(decode_fields(fields))


@given(nearly)
def test_fields_that_are_nearly_a_bar_are_counted(fields: dict[str, Any]) -> None:
    """Texts that look like numbers are where a lax reader would begin to guess."""
    check(
        decode_fields(
            {name.encode(): str(value).encode("utf-8", "replace") for name, value in fields.items()}
        )
    )
