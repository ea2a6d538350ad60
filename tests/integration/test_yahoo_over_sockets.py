"""The Yahoo feed: yfinance itself against a server that answers as Yahoo does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.clock import Clock
from engine.events import MINUTE_NS, Bar, Nanos
from engine.ports import Arrival
from feeds.live_context import LiveContext
from feeds.live_options import YahooOptions
from feeds.yahoo import YahooBars
from tests.support.waiting import until
from tests.support.yahoo_server import Row, YahooServer, yahoo_server

SYMBOLS = ("KO", "PEP")
#: 2026-01-05 14:30:00 UTC, the opening of a New York session.
OPEN_S = 1_767_623_400


class Hand(Clock):
    """A clock whose hand is moved by hand; who waits looks at it again and again."""

    def __init__(self, minute: float) -> None:
        super().__init__()
        self.looks = 0
        self.to(minute)

    def to(self, minute: float) -> None:
        """Set the time to so many minutes after the opening."""
        self.hand_ns = OPEN_S * 1_000_000_000 + round(minute * MINUTE_NS)

    def now_ns(self) -> Nanos:
        """Return the time that was set."""
        return self.hand_ns

    def seconds_until(self, ts_ns: Nanos) -> float:
        """Return a short while, until the time has come."""
        self.looks += 1
        return 0.002 if self.hand_ns < ts_ns else 0.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[YahooServer]:
    """Run a vendor of one session; yfinance keeps its notes in the test's folder."""
    import yfinance

    yfinance.set_tz_cache_location(str(tmp_path))
    with yahoo_server([(OPEN_S, OPEN_S + 390 * 60)]) as running:
        running.rows = {symbol: [] for symbol in SYMBOLS}
        yield running


def row(minute: int, close: float | None = 71.2345) -> Row:
    """Return the row that STARTS so many minutes after the opening; None for a minute without a trade."""
    if close is None:
        return (OPEN_S + 60 * minute, None, None, None, None, None)
    return (OPEN_S + 60 * minute, 70.1, close + 0.1, 70.0999999, close, 1_234 + minute)


def bar(symbol: str, minute: int, close: float = 71.2345) -> Bar:
    """Return the bar that ENDS so many minutes after the opening."""
    _, *values = row(minute - 1, close)
    return Bar((OPEN_S + 60 * minute) * 1_000_000_000, symbol, *map(float, values))  # type: ignore[arg-type]


class Taker:
    """Batches of a feed, and the position after the last."""

    def __init__(self, batches: AsyncIterator[Sequence[Arrival]]) -> None:
        self._batches = batches
        self.position = ""

    async def take(self) -> list[Any]:
        """Wait for one batch: a round in which something was new."""
        async with asyncio.timeout(10):
            batch = await anext(self._batches)
        self.position = batch[-1].position
        return [arrival.record for arrival in batch]


@asynccontextmanager
async def taking(feed: YahooBars, after: str = "") -> AsyncIterator[Taker]:
    """Run a feed, and close it in the end."""
    async with aclosing(feed.arrivals(after)) as batches:  # type: ignore[type-var]
        yield Taker(batches)


def feed_of(server: YahooServer, hand: Hand, **context: Any) -> YahooBars:
    """Build the feed for the local vendor."""
    options = YahooOptions(base_url=server.url, settle_s=0.0)
    return YahooBars(options, LiveContext(SYMBOLS, "XNYS", hand, **context))


async def test_final_bars_come_with_every_digit_and_the_end_of_their_minute(server: YahooServer) -> None:
    """The running minute changes until it is over; who took it would trade on half a bar."""
    hand = Hand(2.5)
    server.rows = {"KO": [row(0), row(1, 71.1), row(2, 71.9)], "PEP": [row(0), row(1, None), row(2, 140.2)]}
    feed = feed_of(server, hand, from_ns=OPEN_S * 1_000_000_000)
    async with taking(feed) as taker:
        assert await taker.take() == [bar("KO", 1), bar("PEP", 1), bar("KO", 2, 71.1)]
        server.rows["KO"][2] = row(2, 71.95)
        hand.to(3.0)
        assert await taker.take() == [bar("KO", 3, 71.95), bar("PEP", 3, 140.2)]
    assert [period for _, period in server.ranges] == ["5d", "5d", "1d", "1d"]
    assert {"/v8/finance/chart/KO", "/v1/test/getcrumb"} <= server.paths  # nothing was asked of anyone else


async def test_a_restart_continues_with_the_very_next_bar(server: YahooServer) -> None:
    """Whatever record was the last on disk, what follows is neither lost nor repeated."""
    server.rows = {symbol: [row(minute) for minute in range(4)] for symbol in SYMBOLS}
    hand = Hand(3.0)
    wanted = [bar(symbol, minute) for minute in (1, 2, 3) for symbol in SYMBOLS]
    feed = feed_of(server, hand, from_ns=OPEN_S * 1_000_000_000)
    async with aclosing(feed.arrivals("")) as batches:  # type: ignore[type-var]
        arrivals = await anext(batches)
    assert [arrival.record for arrival in arrivals] == wanted
    hand.to(4.0)
    wanted += [bar(symbol, 4) for symbol in SYMBOLS]
    for n_done, arrival in enumerate(arrivals, start=1):
        async with taking(feed_of(server, hand), arrival.position) as taker:
            assert await taker.take() == wanted[n_done:]


@pytest.mark.parametrize(
    "failure",
    [(500, "<html>Will be right back</html>"), (200, '{"chart": {'), (200, '{"chart": 7}'), (404, "{}")],
    ids=str,
)
async def test_a_failed_poll_is_made_up_for_by_the_next(
    server: YahooServer, failure: tuple[int, str]
) -> None:
    """A vendor's bad minute is a count and a line of the log, and costs no bar."""
    server.rows = {symbol: [row(0), row(1)] for symbol in SYMBOLS}
    server.failures["KO"] = deque([failure, failure])  # the package asks twice
    hand = Hand(1.0)
    feed = feed_of(server, hand)
    async with taking(feed) as taker:
        assert await taker.take() == [bar("PEP", 1)]
        server.failures.clear()
        hand.to(2.0)
        assert await taker.take() == [bar("KO", 1), bar("KO", 2), bar("PEP", 2)]
    assert feed.errors == 1


async def test_who_asks_too_often_waits(server: YahooServer) -> None:
    """Asking on while the vendor says "too many" turns a minute's limit into a day's."""
    server.rows = {symbol: [row(minute) for minute in range(3)] for symbol in SYMBOLS}
    server.failures["KO"] = deque([(429, "Too Many Requests")] * 2)
    hand = Hand(1.1)
    feed = feed_of(server, hand)
    async with taking(feed) as taker:
        assert await taker.take() == [bar("PEP", 1)]
        waiting = asyncio.create_task(taker.take())
        hand.to(2.05)  # the next minute is over, but not the wait
        n_looks = hand.looks
        await until(lambda: hand.looks > n_looks + 3)
        assert feed.polls == 2
        hand.to(2.2)
        assert await waiting == [bar("KO", 1), bar("KO", 2), bar("PEP", 2)]
    assert feed.limited == 1


async def test_before_the_first_trade_there_is_nothing(server: YahooServer) -> None:
    """At the opening Yahoo has no rows at all, which yfinance takes for an error."""
    hand = Hand(0.5)
    feed = feed_of(server, hand)
    async with taking(feed) as taker:
        waiting = asyncio.create_task(taker.take())
        await until(lambda: feed.errors == 2)
        assert not feed.is_connected
        server.rows["KO"] = [row(0)]
        hand.to(1.0)
        assert await waiting == [bar("KO", 1)]
        assert feed.is_connected


async def test_closing_ends_while_a_poll_runs(server: YahooServer) -> None:
    """A process that is told to stop must not wait for a vendor."""
    feed = feed_of(server, Hand(0.5))
    async with taking(feed) as taker:
        waiting = asyncio.create_task(taker.take())
        await until(lambda: feed.polls > 0)
        waiting.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await waiting
