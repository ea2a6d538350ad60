"""Effects on a real Redis server: streams without duplicates, channels, status, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from engine.app.servers import RedisServer
from engine.connections import redis_client
from engine.errors import ServiceError
from engine.events import TradingState, TradingStateChanged
from engine.links import RedisLink
from engine.ports import Effect
from engine.sinks.redis import RedisSink
from tests.support.effects import EPOCH, NOON_NS, alert, alerts, risk, wire
from tests.support.servers import fresh_redis, redis_server

__all__ = ["fresh_redis", "redis_server"]


@asynccontextmanager
async def sink_of(link: RedisLink, instance: str, stream_max: int = 1_000) -> AsyncIterator[RedisSink]:
    sink = RedisSink(link, wire(instance), stream_max)
    try:
        yield sink
    finally:
        await sink.aclose()


@asynccontextmanager
async def reader_of(link: RedisLink) -> AsyncIterator[Redis]:
    async with redis_client(link, "reader") as client:
        yield client


async def ids_of(client: Redis, instance: str, kind: str = "alerts") -> list[str]:
    entries = await client.xrange(f"astra:{instance}:{EPOCH}:{kind}")
    return [id_.decode() for id_, _ in entries]


async def test_an_effect_is_an_entry_with_its_own_id(redis_server: RedisServer) -> None:
    """The id is what makes delivery effectively once: it must be the server's, not ours to check."""
    halted = TradingStateChanged(NOON_NS, TradingState.HALTED, TradingState.ACTIVE, "VAR_LIMIT", "h-7")
    async with sink_of(redis_server.link, "one") as sink, reader_of(redis_server.link) as client:
        await sink.held("urgent")
        await sink.deliver([alert(1), Effect(2, 3, halted), alert(12)])
        assert await ids_of(client, "one") == ["1-0", "12-0"]
        [(id_, fields)] = await client.xrange(f"astra:one:{EPOCH}:state")
        message = json.loads(fields[b"message"])
        assert id_ == b"2-3"
        assert (message["id"], message["type"], message["state"]) == ("2-3", "TradingStateChanged", "HALTED")


async def test_a_repeated_batch_changes_nothing_and_publishes_nothing(redis_server: RedisServer) -> None:
    """A reply that was lost makes every courier repeat itself; nobody may be told twice by it."""
    async with sink_of(redis_server.link, "twice") as sink, reader_of(redis_server.link) as client:
        listener = client.pubsub(ignore_subscribe_messages=True)
        await listener.subscribe("astra:twice:alerts")
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
        await sink.deliver(alerts([1, 2, 3]))
        heard = [json.loads(m["data"])["id"] async for m in _first(listener, 3)]
        assert heard == ["1-0", "2-0", "3-0"]
        assert await listener.get_message(timeout=0.05) is None
        assert await ids_of(client, "twice") == ["1-0", "2-0", "3-0"]
        await listener.aclose()


async def _first(listener, count):
    for _ in range(count):
        message = None
        async with asyncio.timeout(5.0):
            while message is None:
                message = await listener.get_message(timeout=1.0)
        yield message


async def test_a_restarted_engine_is_refused_what_is_there(redis_server: RedisServer) -> None:
    """After a crash nobody remembers what was confirmed; the server does."""
    async with sink_of(redis_server.link, "again") as sink:
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
    async with sink_of(redis_server.link, "again") as sink, reader_of(redis_server.link) as client:
        assert await sink.held("urgent") == {"alerts": (2, 0), "state": (0, 0), "verdicts": (0, 0)}
        await sink.deliver(alerts([1, 2, 3]))
        assert await ids_of(client, "again") == ["1-0", "2-0", "3-0"]


async def test_a_stream_that_somebody_else_writes_is_reported(redis_server: RedisServer) -> None:
    """An alert that was refused and is not there has not been delivered, whatever the server says."""
    async with sink_of(redis_server.link, "stolen") as sink, reader_of(redis_server.link) as client:
        await client.xadd(f"astra:stolen:{EPOCH}:alerts", {"message": "mine"}, id="50-0")
        await sink.held("urgent")
        with pytest.raises(ServiceError, match="beyond 3-0") as raised:
            await sink.deliver(alerts([3]))
        assert raised.value.code == "S012"
        assert raised.value.where == f"astra:stolen:{EPOCH}:alerts"


async def test_what_was_confirmed_and_trimmed_since_may_be_refused(redis_server: RedisServer) -> None:
    """Streams are bounded: an old entry that has gone in the course of things is no alarm."""
    async with sink_of(redis_server.link, "short") as sink, reader_of(redis_server.link) as client:
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2, 3]))
        await client.xtrim(f"astra:short:{EPOCH}:alerts", maxlen=1, approximate=False)
        await sink.deliver(alerts([1, 2, 3]))
        assert await ids_of(client, "short") == ["3-0"]


async def test_streams_are_bounded(redis_server: RedisServer) -> None:
    """A server full of old risk figures refuses the next alert."""
    async with (
        sink_of(redis_server.link, "bound", stream_max=100) as sink,
        reader_of(redis_server.link) as client,
    ):
        await sink.held("routine")
        for start in range(1, 2_001, 500):
            await sink.deliver([risk(seq) for seq in range(start, start + 500)])
        count = await client.xlen(f"astra:bound:{EPOCH}:risk")
        assert 100 <= count < 400


async def test_entries_that_vanish_are_noticed_on_the_next_delivery(redis_server: RedisServer) -> None:
    """A server that comes back without its last second looks alive, and has lost an alert."""
    async with sink_of(redis_server.link, "lossy") as sink, reader_of(redis_server.link) as client:
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
        await client.delete(f"astra:lossy:{EPOCH}:alerts")
        with pytest.raises(ResponseError, match="BEHIND"):
            await sink.deliver(alerts([3]))
        assert (await sink.held("urgent"))["alerts"] == (0, 0)
        await sink.deliver(alerts([1, 2, 3]))
        assert await ids_of(client, "lossy") == ["1-0", "2-0", "3-0"]


async def test_status_is_one_key(redis_server: RedisServer) -> None:
    """The command line asks for the state of an engine with one GET."""
    async with sink_of(redis_server.link, "shown") as sink, reader_of(redis_server.link) as client:
        await sink.publish_status(b'{"state":"ACTIVE"}')
        assert await client.get("astra:shown:status") == b'{"state":"ACTIVE"}'


async def test_a_server_that_is_away_fails_at_once(fresh_redis: RedisServer) -> None:
    """A client that retries by itself for four seconds hides an outage from the courier."""
    async with sink_of(fresh_redis.link, "away") as sink:
        fresh_redis.kill()
        with pytest.raises((RedisError, OSError)):
            async with asyncio.timeout(2.0):
                await sink.held("urgent")


async def test_a_user_needs_only_a_few_rights(tmp_path: Path) -> None:
    """An engine that needs all rights on a shared server will not get any."""
    rules = (
        "user default on nopass ~* &* +@all\n"
        "user engine on >secret ~astra:desk:* &astra:desk:* "
        "+xadd +xrange +xrevrange +publish +fcall +function|load +set +ping +client|setinfo +client|setname\n"
    )
    acl = tmp_path / "users.acl"
    acl.write_text(rules)
    with RedisServer(tmp_path / "redis", acl_file=acl) as server:
        address = f"redis://engine@127.0.0.1:{server.port}"
        async with sink_of(RedisLink(address, "secret"), "desk") as sink:
            await sink.held("urgent")
            await sink.deliver(alerts([1]))
            await sink.publish_status(b"{}")
        async with sink_of(RedisLink(address, "secret"), "other") as sink:
            with pytest.raises(ResponseError, match="No permissions"):
                await sink.held("urgent")
        async with sink_of(RedisLink(address, "wrong"), "desk") as sink:
            with pytest.raises(RedisError, match="invalid username-password"):
                await sink.held("urgent")
