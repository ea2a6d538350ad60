"""Alpaca without a network: reading its rows, remembering what was delivered, refusing a bad setup."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.clock import Clock
from engine.errors import AstraError
from engine.events import MINUTE_NS, Bar
from feeds.alpaca import AlpacaBars
from feeds.alpaca_history import bar_of, credentials
from feeds.delivered import Delivered
from feeds.extras import needed
from feeds.live_context import LiveContext
from feeds.live_options import AlpacaOptions

ROW = {
    "t": "2026-01-05T14:30:00Z",
    "o": 70.1,
    "h": 70.3,
    "l": 70.05,
    "c": 70.2,
    "v": 1200,
    "n": 9,
    "vw": 70.17,
}
#: 2026-01-05 14:31:00 UTC.
CLOSE_NS = 1_767_623_460 * 1_000_000_000


def test_the_start_of_a_minute_becomes_its_end() -> None:
    """The vendor labels 14:30 what closes at 14:31; a minute early would be look-ahead."""
    bar = Bar(CLOSE_NS, "KO", 70.1, 70.3, 70.05, 70.2, 1200.0)
    assert bar_of(json.dumps(ROW).encode(), "KO") == bar
    assert bar_of(json.dumps({**ROW, "T": "b", "S": "KO"}).encode()) == bar
    assert bar_of(json.dumps({**ROW, "t": "2026-01-05T09:30:00-05:00"}).encode(), "KO") == bar


@pytest.mark.parametrize(
    "change",
    [
        {"t": "2026-01-05T14:30:00"},
        {"t": "9999-12-31T23:59:00Z"},
        {"t": "0001-01-01T00:00:00Z"},
        {"t": 1767623400},
        {"o": None},
        {"c": "70.2"},
        {"v": [1]},
    ],
    ids=str,
)
def test_a_row_that_is_no_bar_is_none(change: dict[str, object]) -> None:
    """A stamp without a zone is not guessed, and a stamp no integer holds must not reach the journal."""
    assert bar_of(json.dumps({**ROW, **change}).encode(), "KO") is None


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_bar(body: bytes) -> None:
    """A decoder that raises would end the feed."""
    assert bar_of(body, "KO") is None


@given(
    n_symbols=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 2), st.permutations(range(5)), st.integers(0, 5)), max_size=6),
)
def test_a_position_remembers_what_was_delivered(
    n_symbols: int, steps: list[tuple[int, list[int], int]]
) -> None:
    """After any sequence of minutes, read back from its text, exactly the delivered bars are known."""
    symbols = tuple("ABCDE"[:n_symbols])
    delivered, minute, seen = Delivered(symbols, 0), 1, set()
    for skipped, order, n_bars in steps:
        minute += skipped + 1
        for index in [index for index in order if index < n_symbols][:n_bars]:
            delivered.add(Bar(minute * MINUTE_NS, symbols[index], 1.0, 1.0, 1.0, 1.0, 1.0))
            seen.add((minute, symbols[index]))
    again = Delivered.at(delivered.position("alpaca"), symbols, "alpaca")
    newest = max((minute for minute, _ in seen), default=1)
    for symbol in symbols:
        assert again.has(Bar(newest * MINUTE_NS, symbol, 1.0, 1.0, 1.0, 1.0, 1.0)) == (
            (newest, symbol) in seen or newest * MINUTE_NS <= again.complete_ns
        )
        assert not again.has(Bar((newest + 1) * MINUTE_NS, symbol, 1.0, 1.0, 1.0, 1.0, 1.0))
        if newest > 1:
            assert again.has(Bar((newest - 1) * MINUTE_NS, symbol, 1.0, 1.0, 1.0, 1.0, 1.0))


def test_a_position_of_another_universe_repeats_its_minute() -> None:
    """Bits read against other symbols would lose bars; a repeat is only a duplicate."""
    delivered = Delivered(("A", "B"), 0)
    delivered.add(Bar(5 * MINUTE_NS, "A", 1.0, 1.0, 1.0, 1.0, 1.0))
    again = Delivered.at(delivered.position("alpaca"), ("B", "A"), "alpaca")
    assert again.complete_ns == 4 * MINUTE_NS
    assert not again.has(Bar(5 * MINUTE_NS, "A", 1.0, 1.0, 1.0, 1.0, 1.0))
    assert not again.has(Bar(5 * MINUTE_NS, "B", 1.0, 1.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize("position", ["17", "yahoo 12 00000000 0", "alpaca 12 zz 0", "alpaca 12"])
def test_the_position_of_another_feed_is_refused(position: str) -> None:
    """State of another feed would begin the stream at a random minute."""
    with pytest.raises(AstraError) as caught:
        Delivered.at(position, ("A",), "alpaca")
    assert caught.value.code == "D032"


def test_a_stamp_within_a_minute_says_nothing_about_minutes() -> None:
    """A damaged stamp must not mark a minute as complete."""
    delivered = Delivered(("A",), 0)
    delivered.add(Bar(5 * MINUTE_NS + 1, "A", 1.0, 1.0, 1.0, 1.0, 1.0))
    assert delivered.complete_ns == 0


def test_missing_keys_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message must say which variable, and never ask for a secret in a file."""
    with pytest.raises(AstraError, match="APCA_API_SECRET_KEY is not set") as caught:
        credentials({"APCA_API_KEY_ID": "PK"})
    assert caught.value.code == "D041"
    monkeypatch.delenv("APCA_API_KEY_ID", raising=False)
    monkeypatch.delenv("APCA_API_SECRET_KEY", raising=False)
    with pytest.raises(AstraError, match="APCA_API_KEY_ID and APCA_API_SECRET_KEY are not set"):
        AlpacaBars(AlpacaOptions(), LiveContext(("KO",), "XNYS", Clock()))


def test_a_missing_extra_says_how_to_get_it() -> None:
    """The one line to type is worth more than a traceback of an import."""
    with pytest.raises(AstraError) as caught:
        needed("a_package_that_is_nowhere", "alpaca")
    assert caught.value.code == "D040"
    assert 'pip install "astra-quant[alpaca]"' in caught.value.detail


@pytest.mark.parametrize("url", ["ws://stream.example.com/v2/iex", "http://data.example.com", "example.com"])
def test_keys_never_travel_in_the_clear(url: str) -> None:
    """A mistyped scheme would send the account's keys to every listener on the way."""
    with pytest.raises(ValidationError, match="in the clear"):
        AlpacaOptions(stream_url=url)
    assert AlpacaOptions(stream_url="wss://example.com", history_url="http://127.0.0.1:8").feed == "iex"


def test_importing_the_feed_needs_no_extra() -> None:
    """The registry imports every feed, and most installations have no vendor's package."""
    code = (
        "import sys, feeds.alpaca, feeds.yahoo; "
        "print({'websockets', 'requests', 'yfinance', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
