"""Bars from a real stream: the journal keeps the place, and a server that lost something is found out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from engine.app.live.servers import RedisServer
from engine.errors import DataError
from engine.events import MINUTE_NS, Bar, Reject
from engine.links import RedisLink
from engine.ports import Arrival
from feeds.live_options import RedisStreamOptions
from feeds.redis_stream import RedisStreamBars
from tests.support.publish import (
    Running,
    arranged,
    fields_of,
    live_context,
    publish_bars,
    receive,
)
from tests.support.servers import fresh_redis, redis_server

__all__ = ["fresh_redis", "redis_server"]

T0_NS = 1_767_623_400_000_000_000
DEADLINE_S = 10.0
STREAM = "astra:bars"


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    """Give a client to an empty server."""
    async with redis.asyncio.Redis.from_url(redis_server.link.url) as client:
        await client.flushall()
        yield client


def bars(first: int, last: int) -> list[Bar]:
    """Return one bar a minute, each different."""
    return [
        Bar(T0_NS + minute * MINUTE_NS, "AAA", 10.0 + minute, 11.0 + minute, 9.0, 10.5, 100.0)
        for minute in range(first, last + 1)
    ]


def feed_of(link: RedisLink, begin: str = "oldest") -> RedisStreamBars:
    """Return a feed of the stream."""
    options = RedisStreamOptions.model_validate({"stream": STREAM, "begin": begin})
    return RedisStreamBars(options, live_context(link))


def records(arrivals: list[Arrival]) -> list[Any]:
    """Return what arrived."""
    return [arrival.record for arrival in arrivals]


async def test_bars_come_in_the_order_of_the_stream(
    redis_server: RedisServer, client: redis.asyncio.Redis
) -> None:
    """The core hears what a publisher says, repeats and disorder included: judging is not done here."""
    sent = arranged(bars(1, 700), duplicates=0.2, shuffle=True)
    assert await publish_bars(redis_server.link, bars(1, 700), duplicates=0.2, shuffle=True) == len(sent)
    async with asyncio.timeout(DEADLINE_S):
        taken = await receive(feed_of(redis_server.link), len(sent))
    assert records(taken) == sent
    ids = [entry_id.decode() for entry_id, _ in await client.xrange(STREAM)]
    assert [arrival.position for arrival in taken] == ids


async def test_a_restart_goes_on_with_the_very_next_bar(
    redis_server: RedisServer, client: redis.asyncio.Redis
) -> None:
    """From every position the rest is the rest, also in the middle of an entry that holds several bars."""
    for first in (1, 4, 7):
        batch = [fields_of(bar) for bar in bars(first, first + 2)]
        await client.xadd(STREAM, {"bars": json.dumps(batch)})
    await client.xadd(STREAM, {"close": "what?"})
    async with asyncio.timeout(DEADLINE_S):
        whole = await receive(feed_of(redis_server.link), 10)
        assert records(whole)[:9] == bars(1, 9)
        assert whole[9].record.reason is Reject.UNDECODABLE
        for done in range(1, 10):
            feed = feed_of(redis_server.link)
            rest = await receive(feed, 10 - done, after=whole[done - 1].position)
            assert [arrival.position for arrival in rest] == [arrival.position for arrival in whole[done:]]
            assert records(rest)[:-1] == records(whole[done:])[:-1]
            assert (feed.gaps, feed.rewinds) == (0, 0)


async def test_new_means_after_the_connection(redis_server: RedisServer, client: redis.asyncio.Redis) -> None:
    """A first start on a long stream must not trade on last week's bars, and then misses none."""
    await publish_bars(redis_server.link, bars(1, 5))
    reader = Running(feed_of(redis_server.link, begin="new"))
    await reader.connected()
    await publish_bars(redis_server.link, bars(6, 7))
    await reader.until(lambda: len(reader.taken) == 2)
    assert reader.records == bars(6, 7)
    assert (reader.feed.gaps, reader.feed.rewinds) == (0, 0)
    await reader.close()


async def test_a_stream_that_does_not_exist_yet_is_waited_for(
    redis_server: RedisServer, client: redis.asyncio.Redis
) -> None:
    """The engine may be up before the first publisher of the day."""
    reader = Running(feed_of(redis_server.link, begin="new"))
    await reader.connected()
    await publish_bars(redis_server.link, bars(1, 2))
    await reader.until(lambda: len(reader.taken) == 2)
    assert reader.feed.gaps == 0
    await reader.close()


async def test_a_stream_that_was_trimmed_past_us_is_a_gap(
    redis_server: RedisServer, client: redis.asyncio.Redis
) -> None:
    """Bars that were trimmed before they were read are gone: that must be said, and the rest still comes."""
    await publish_bars(redis_server.link, bars(1, 10))
    async with asyncio.timeout(DEADLINE_S):
        position = (await receive(feed_of(redis_server.link), 10))[3].position
        await client.xtrim(STREAM, maxlen=7, approximate=False)  # the entry that was read last is still there
        feed = feed_of(redis_server.link)
        assert records(await receive(feed, 6, after=position)) == bars(5, 10)
        assert feed.gaps == 0
        await client.xtrim(STREAM, maxlen=4, approximate=False)
        feed = feed_of(redis_server.link)
        assert records(await receive(feed, 4, after=position)) == bars(7, 10)
        assert feed.gaps == 1


async def test_a_server_that_lost_data_is_read_from_its_beginning(
    redis_server: RedisServer, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that start again lower would be skipped in silence; what comes twice the core refuses itself."""
    monkeypatch.setattr("feeds.redis_stream._BLOCK_MS", 50)
    for minute in range(1, 6):
        await client.xadd(STREAM, fields_of(bars(minute, minute)[0]), id=f"{minute}-0")
    reader = Running(feed_of(redis_server.link))
    await reader.until(lambda: len(reader.taken) == 5)
    await client.delete(STREAM)
    for minute in range(1, 4):  # the server came back without the last two, and a publisher goes on
        await client.xadd(STREAM, fields_of(bars(minute, minute)[0]), id=f"{minute}-0")
    await client.xadd(STREAM, fields_of(bars(8, 8)[0]), id="4-0")
    await reader.until(lambda: len(reader.taken) == 9)
    assert reader.records[5:] == [*bars(1, 3), *bars(8, 8)]
    assert (reader.feed.rewinds, reader.feed.gaps) == (1, 0)
    await reader.close()


async def test_a_server_that_was_killed_is_found_again(fresh_redis: RedisServer) -> None:
    """The feed outlives its server and goes on where it was: nothing twice, nothing lost."""
    reader = Running(feed_of(fresh_redis.link))
    await publish_bars(fresh_redis.link, bars(1, 5))
    await reader.until(lambda: len(reader.taken) == 5)
    fresh_redis.kill()
    await reader.until(lambda: not reader.feed.is_connected)
    fresh_redis.start()
    await publish_bars(fresh_redis.link, bars(6, 9))
    await reader.until(lambda: len(reader.taken) >= 9)
    assert reader.records == bars(1, 9)
    assert (reader.feed.reconnects, reader.feed.rewinds, reader.feed.gaps) == (1, 0, 0)
    await reader.close()


async def test_a_server_that_forgot_everything_is_read_anew(fresh_redis: RedisServer) -> None:
    """An empty server is no reason to wait for ids of a past that it no longer has."""
    reader = Running(feed_of(fresh_redis.link))
    await publish_bars(fresh_redis.link, bars(1, 3))
    await reader.until(lambda: len(reader.taken) == 3)
    fresh_redis.kill()
    fresh_redis.lose_data()
    fresh_redis.start()
    await reader.until(lambda: reader.feed.rewinds == 1)
    await publish_bars(fresh_redis.link, bars(4, 5))
    await reader.until(lambda: len(reader.taken) == 5)
    assert reader.records == bars(1, 5)
    await reader.close()


async def test_the_password_of_the_environment_overrules_the_address(tmp_path: Path) -> None:
    """A secret in the configuration file may be stale; the one given at the start counts."""
    right = "right"
    with RedisServer(tmp_path, password=right) as server:
        link = RedisLink(server.link.url.replace("redis://", "redis://:wrong@"), right)
        reader = Running(feed_of(link))
        await reader.connected()
        await reader.close()


@pytest.mark.parametrize("after", ["17", "1-2-3", "1-2/x", "-", "٣-٣"])
async def test_a_position_of_another_feed_is_refused(after: str) -> None:
    """Going on at a wrong place would repeat or skip bars in silence."""
    feed = feed_of(RedisLink("redis://127.0.0.1:9"))
    with pytest.raises(DataError) as caught:
        await receive(feed, 1, after=after)
    assert caught.value.code == "D032"
