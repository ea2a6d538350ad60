"""The Alpaca feed against a server that speaks the vendor's protocol over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from engine.clock import Clock
from engine.errors import AstraError
from engine.events import MINUTE_NS, Bar, BarRejected, Reject
from engine.ports import Arrival
from feeds.alpaca import AlpacaBars
from feeds.live_context import LiveContext
from feeds.live_options import AlpacaOptions
from tests.support.alpaca_server import KEY, SECRET, AlpacaServer, alpaca_server, message

SYMBOLS = ("KO", "PEP")
#: 2026-01-05 14:30:00 UTC, the opening of a New York session.
OPEN_NS = 1_767_623_400 * 1_000_000_000


class Hand:
    """A clock's hand that is moved by hand."""

    def __init__(self, minute: float) -> None:
        self.now_ns = 0
        self.to(minute)

    def to(self, minute: float) -> None:
        """Set the time to so many minutes after the opening."""
        self.now_ns = OPEN_NS + round(minute * MINUTE_NS)

    def clock(self) -> Clock:
        """Return a wall clock that shows it."""
        return Clock(wall=lambda: self.now_ns)


@pytest.fixture
async def server() -> AsyncIterator[AlpacaServer]:
    """Run a vendor with an empty history."""
    async with alpaca_server() as running:
        yield running


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the right keys, where the vendor's users have them."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)


def bar(symbol: str, minute: int, close: float = 71.2345) -> Bar:
    """Return the bar that closes so many minutes after the opening; its digits are awkward on purpose."""
    return Bar(OPEN_NS + minute * MINUTE_NS, symbol, 70.1, close + 0.1, 70.0999999, close, 1_234.0 + minute)


def feed_of(server: AlpacaServer, hand: Hand, **changes: Any) -> AlpacaBars:
    """Build the feed for the local vendor, without waits."""
    options = AlpacaOptions(
        stream_url=server.stream_url,
        history_url=server.history_url,
        settle_s=0.0,
        reconnect_max_s=0.02,
        backfill_max_s=changes.pop("backfill_max_s", 5.0),
    )
    return AlpacaBars(options, LiveContext(SYMBOLS, "XNYS", hand.clock(), **changes))


class Taker:
    """Arrivals of a feed, a few at a time."""

    def __init__(self, batches: AsyncIterator[Sequence[Arrival]]) -> None:
        self._batches = batches
        self._ready: list[Arrival] = []
        self.position = ""

    async def take(self, n: int) -> list[Any]:
        """Wait for exactly ``n`` records."""
        async with asyncio.timeout(10):
            while len(self._ready) < n:
                self._ready += await anext(self._batches)
        taken, self._ready = self._ready[:n], self._ready[n:]
        self.position = taken[-1].position
        return [arrival.record for arrival in taken]


@asynccontextmanager
async def taking(feed: AlpacaBars, after: str = "") -> AsyncIterator[Taker]:
    """Run a feed, and close it in the end."""
    async with aclosing(feed.arrivals(after)) as batches:  # type: ignore[type-var]
        yield Taker(batches)


async def sent(server: AlpacaServer, taker: Taker, n: int, *bars: Bar) -> list[Any]:
    """Start taking, push bars once the feed has subscribed anew, and return the first ``n`` records."""
    waiting = asyncio.create_task(taker.take(n))
    await server.subscribed(len(server.subscriptions) or 1)
    await server.send(*bars)
    return await waiting


async def test_bars_come_with_every_digit_and_the_end_of_their_minute(server: AlpacaServer) -> None:
    """A stamp that is off by a minute, or a rounded price, would show in no other place."""
    async with taking(feed_of(server, Hand(1.0))) as taker:
        wanted = [bar("KO", 1), bar("PEP", 1, 140.00000000000003)]
        assert await sent(server, taker, 2, *wanted) == wanted
    assert server.subscriptions == [["KO", "PEP"]]
    assert [(query["start"], query["end"]) for query in server.queries] == [("2026-01-05T14:30:00Z",) * 2]


async def test_a_minute_missed_while_cut_off_is_fetched_once(server: AlpacaServer) -> None:
    """After a lost connection the minutes between come from the history, in order, each exactly once."""
    hand = Hand(0.9)
    feed = feed_of(server, hand)
    tape = [bar(symbol, minute, 71 + minute / 8) for minute in (1, 2, 3, 4) for symbol in SYMBOLS]
    async with taking(feed) as taker:
        waiting = asyncio.create_task(taker.take(1))
        await server.asked()
        hand.to(1.0)
        await server.send(tape[0])
        assert await waiting == [tape[0]]
        server.queries.clear()
        server.drop()
        server.tape, server.page_rows = tape[:6], 2  # history knows minutes 1 to 3, two rows a page
        hand.to(3.01)
        rest = asyncio.create_task(taker.take(6))
        await server.asked()
        hand.to(4.0)
        await server.send(tape[5], *tape[6:])  # minute 3 of PEP comes by the stream as well
        assert await rest == [tape[1], *tape[2:6], tape[6]]
        assert await taker.take(1) == [tape[7]]
        assert (feed.is_connected, feed.reconnects) == (True, 1)
    assert not feed.is_connected
    assert feed.backfilled == 5
    assert feed.overlapped == 1
    assert [query.get("page_token") for query in server.queries] == [None, "2", "4"]


async def test_a_restart_continues_with_the_very_next_bar(server: AlpacaServer) -> None:
    """Whatever record was the last on disk, what follows is neither lost nor repeated."""
    hand = Hand(0.9)
    tape = [bar(symbol, minute) for minute in (1, 2, 3) for symbol in SYMBOLS]
    positions = []
    async with taking(feed_of(server, hand)) as taker:
        waiting = asyncio.create_task(taker.take(1))
        await server.asked()
        for n_done in (1, 2, 3):
            hand.to((n_done + 1) // 2)
            await server.send(tape[n_done - 1])
            assert await waiting == [tape[n_done - 1]]
            positions.append(taker.position)
            waiting = asyncio.create_task(taker.take(1))
        waiting.cancel()
        await asyncio.wait([waiting])
    server.tape = tape
    hand.to(3.0)
    for n_done, position in enumerate(positions, start=1):
        async with taking(feed_of(server, hand), position) as taker:
            assert await taker.take(len(tape) - n_done) == tape[n_done:]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_line_does_the_tape_is_the_tape(server: AlpacaServer, seed: int) -> None:
    """Cut before, between and after the bars of a minute: every bar once, in order, to the last digit."""
    rng = np.random.default_rng(seed)
    minutes = range(1, 21)
    tape = [bar(symbol, minute, 71 + float(rng.random())) for minute in minutes for symbol in SYMBOLS]
    hand = Hand(0.5)
    server.page_rows = 3
    feed = feed_of(server, hand)

    async def act() -> None:
        await server.asked()
        for minute in minutes:
            server.tape = tape[: len(SYMBOLS) * minute]
            hand.to(minute)
            for one in server.tape[-len(SYMBOLS) :]:
                if rng.random() < 0.25:
                    server.drop()
                await server.send(one)
                await asyncio.sleep(float(rng.choice([0.0, 0.01])))

    async with taking(feed) as taker:
        acting = asyncio.create_task(act())
        assert await taker.take(len(tape)) == tape
        await acting
    assert feed.reconnects > 0
    assert feed.errors == feed.reconnects


async def test_a_run_that_begins_in_the_past_is_brought_up_to_date(server: AlpacaServer) -> None:
    """A filter that needs history gets it, over a weekend and in time order across symbols."""
    friday_ns = OPEN_NS - 3 * 1_440 * MINUTE_NS
    server.tape = [
        Bar(friday_ns + minute * MINUTE_NS, "KO", 70.0, 71.0, 69.0, 70.0, 5.0) for minute in (1, 2)
    ]
    server.tape += [bar(symbol, 1) for symbol in SYMBOLS]
    async with taking(feed_of(server, Hand(1.5), from_ns=friday_ns + 2 * MINUTE_NS)) as taker:
        assert await taker.take(3) == server.tape[1:]


async def test_what_cannot_be_read_is_counted_and_the_rest_is_kept(server: AlpacaServer) -> None:
    """One damaged part must not take its neighbours with it, nor vanish."""
    good = bar("KO", 1)
    part = message(good)
    naive = {**part, "t": "2026-01-05T14:30:00"}
    no_price = {**part, "c": None}
    frames = [
        "{not json",
        json.dumps([naive, part, no_price, {"S": "KO"}, 7]),
        "[" * 3_000,
        '[{"T":"q","S":"KO"},{"T":"success","msg":"hello"}]',
    ]
    async with taking(feed_of(server, Hand(1.0))) as taker:
        waiting = asyncio.create_task(taker.take(7))
        await server.subscribed()
        for frame in frames:
            await server.send_text(frame)
        records = await waiting
    assert [record for record in records if isinstance(record, Bar)] == [good]
    rejected = [record for record in records if isinstance(record, BarRejected)]
    assert [(r.reason, r.count) for r in rejected] == [(Reject.UNDECODABLE, 1)] * 6


async def test_a_bar_of_the_future_is_refused_and_does_not_move_the_position(server: AlpacaServer) -> None:
    """A stamp an hour ahead would otherwise mark an hour of bars as delivered."""
    hand = Hand(0.9)
    async with taking(feed_of(server, hand)) as taker:
        waiting = asyncio.create_task(taker.take(2))
        await server.asked()
        hand.to(1.0)
        await server.send(bar("KO", 61), bar("PEP", 1))
        records = await waiting
        assert [type(record) for record in records] == [BarRejected, Bar]
        assert records[0].reason is Reject.FUTURE
        position = taker.position
    server.tape = [bar("KO", 1)]
    async with taking(feed_of(server, hand), position) as taker:
        assert await taker.take(1) == [bar("KO", 1)]


async def test_repeats_and_corrections_of_the_stream_are_handed_on(server: AlpacaServer) -> None:
    """The slicer counts duplicates and conflicts; a feed that hid them would break the accounting."""
    async with taking(feed_of(server, Hand(2.0))) as taker:
        late, twice = bar("KO", 1), bar("KO", 2)
        corrected = bar("KO", 2, 71.5)
        waiting = asyncio.create_task(taker.take(4))
        await server.subscribed()
        await server.send(twice, twice, late)
        await server.send(corrected, kind="u")
        assert await waiting == [twice, twice, late, corrected]


async def test_a_wrong_key_ends_the_start_with_advice(
    server: AlpacaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying a wrong key for ever would look like a quiet market."""
    monkeypatch.setenv("APCA_API_SECRET_KEY", "wrong")
    async with taking(feed_of(server, Hand(1.0))) as taker:
        with pytest.raises(AstraError, match=r"auth failed \(code 402\)") as caught:
            await taker.take(1)
    assert caught.value.code == "D042"
    assert "wrong" not in caught.value.what + caught.value.detail


async def test_a_busy_account_is_tried_again(server: AlpacaServer) -> None:
    """After a crash the vendor still counts the dead connection for a while."""
    server.refusals.extend([(406, "connection limit exceeded"), (500, "internal error")])
    feed = feed_of(server, Hand(1.0))
    async with taking(feed) as taker:
        assert await sent(server, taker, 1, bar("KO", 1)) == [bar("KO", 1)]
    assert feed.errors == 2


async def test_a_key_that_is_refused_later_is_tried_again(server: AlpacaServer) -> None:
    """A vendor's bad hour must not end a running engine, which holds positions."""
    async with taking(feed_of(server, Hand(1.0))) as taker:
        await sent(server, taker, 1, bar("KO", 1))
        server.refusals.append((402, "auth failed"))
        server.drop()
        waiting = asyncio.create_task(taker.take(1))
        await server.subscribed(2)
        await server.send(bar("PEP", 1))
        assert await waiting == [bar("PEP", 1)]


@pytest.mark.parametrize(
    "failure", [(429, "too many requests"), (500, "<html>"), (200, '{"bars": {"KO": [')], ids=str
)
async def test_a_failing_history_is_asked_again(server: AlpacaServer, failure: tuple[int, str]) -> None:
    """Limits and outages of a minute must not cost a minute of bars."""
    server.tape = [bar(symbol, minute) for minute in (1, 2) for symbol in SYMBOLS]
    server.failures.append(failure)
    async with taking(feed_of(server, Hand(2.0), from_ns=OPEN_NS)) as taker:
        assert await taker.take(4) == server.tape


async def test_a_history_that_refuses_does_not_hold_up_the_present(server: AlpacaServer) -> None:
    """Without a right to recent history the run goes on with what the stream sends; the gap is counted."""
    server.failures.append((403, '{"message":"subscription does not permit querying recent SIP data"}'))
    feed = feed_of(server, Hand(2.0), from_ns=OPEN_NS)
    async with taking(feed) as taker:
        assert await sent(server, taker, 1, bar("KO", 3)) != []
        assert feed.backfills_failed == 1
    assert len(server.queries) == 1


async def test_closing_ends_at_once(server: AlpacaServer) -> None:
    """A process that is told to stop must not wait for a vendor."""
    async with taking(feed_of(server, Hand(1.0))) as taker:
        waiting = asyncio.create_task(taker.take(1))
        await server.subscribed()
        waiting.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await waiting
