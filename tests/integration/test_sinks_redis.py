"""Effects on a real Redis server: streams without duplicates, channels, status, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, ResponseError

from engine.app.live.servers import RedisServer
from engine.connections import redis_client
from engine.errors import ServiceError
from engine.events import TradingState, TradingStateChanged
from engine.links import RedisLink
from engine.ports import Effect
from engine.sinks.redis import RedisSink
from tests.support.deployed import INSTANCE, REDIS_SERVER, free_port, needs_redis_server, started
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


@pytest.mark.parametrize("foreign", ["50-0", "*"])
async def test_a_stream_that_somebody_else_writes_is_reported(
    redis_server: RedisServer, foreign: str
) -> None:
    """An alert that was refused and is not there has not been delivered, whatever the server says."""
    instance = f"stolen-{len(foreign)}"
    stream = f"astra:{instance}:{EPOCH}:alerts"
    async with sink_of(redis_server.link, instance) as sink, reader_of(redis_server.link) as client:
        await client.xadd(stream, {"message": '{"id":"3-0"}'}, id=foreign)
        await sink.held("urgent")
        with pytest.raises(ServiceError, match="beyond 3-0") as raised:
            await sink.deliver(alerts([3]))
        assert raised.value.code == "S012"
        assert raised.value.where == stream


async def test_a_stranger_behind_our_own_entries_is_reported(redis_server: RedisServer) -> None:
    """One XADD by hand, with the time as its id, would swallow every alert to come; also once it is gone."""
    stream = f"astra:behind:{EPOCH}:alerts"
    async with sink_of(redis_server.link, "behind") as sink, reader_of(redis_server.link) as client:
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
        foreign = await client.xadd(stream, {"message": "mine"})
        for _ in range(2):
            await sink.held("urgent")
            with pytest.raises(ServiceError, match="beyond 3-0"):
                await sink.deliver(alerts([3]))
            await client.xdel(stream, foreign)


async def test_what_was_confirmed_and_removed_since_may_be_refused(redis_server: RedisServer) -> None:
    """Whoever empties a stream by hand does not stop what comes."""
    async with sink_of(redis_server.link, "short") as sink, reader_of(redis_server.link) as client:
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2, 3]))
        await client.xtrim(f"astra:short:{EPOCH}:alerts", maxlen=0, approximate=False)
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2, 3]))
        await sink.deliver(alerts([4]))
        assert await ids_of(client, "short") == ["4-0"]


async def test_what_is_missing_between_our_own_entries_is_reported(redis_server: RedisServer) -> None:
    """Nothing is trimmed from the middle: somebody removes alerts, or a second engine has the same name."""
    for seqs in ([1, 5], [7]):
        async with sink_of(redis_server.link, "between") as sink:
            await sink.held("urgent")
            await sink.deliver(alerts(seqs))
    async with sink_of(redis_server.link, "between") as sink:
        await sink.held("urgent")
        with pytest.raises(ServiceError, match="beyond 3-0"):
            await sink.deliver(alerts([1, 3, 5]))


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisLink]:
    """Give the server of the distribution, under the rights of deploy/redis."""
    port = free_port()
    settings = ("--port", str(port), "--bind", "127.0.0.1")
    server = {"SERVER": str(REDIS_SERVER)}
    with started("redis", tmp_path_factory.mktemp("redis"), port, server, *settings):
        yield RedisLink(f"redis://engine@127.0.0.1:{port}", "pw-engine")


@pytest.fixture(params=["valkey", pytest.param("redis", marks=needs_redis_server)])
def either_server(request: pytest.FixtureRequest) -> RedisLink:
    """Give each kind of server in turn."""
    if request.param == "redis":
        link: RedisLink = request.getfixturevalue("distribution")
        return link
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.link


async def test_a_restarted_engine_may_repeat_what_was_trimmed(either_server: RedisLink) -> None:
    """Streams are bounded: old effects in a snapshot must not keep the next alert out for ever."""
    async with sink_of(either_server, INSTANCE, stream_max=100) as sink:
        await sink.held("urgent")
        await sink.deliver(alerts(range(1, 501)))
    async with (
        sink_of(either_server, INSTANCE, stream_max=100) as sink,
        reader_of(either_server) as client,
    ):
        kept = await ids_of(client, INSTANCE)
        assert "1-0" not in kept
        await sink.held("urgent")
        await sink.deliver(alerts(range(1, 502)))
        assert await ids_of(client, INSTANCE) == [*kept, "501-0"]


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


@asynccontextmanager
async def channel(server: RedisServer, instance: str) -> AsyncIterator[PubSub]:
    """Listen to the channel of alerts alone, as somebody who never reads the stream."""
    async with reader_of(server.link) as client, client.pubsub() as listener:
        await listener.subscribe(f"astra:{instance}:alerts")
        assert await listener.get_message(timeout=5.0) is not None
        yield listener


async def announced_until(listener: PubSub, last: str) -> list[str]:
    """Return the ids that a channel announces, up to and with ``last``."""
    ids: list[str] = []
    async with asyncio.timeout(5.0):
        while last not in ids:
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=1.0)
            if message is not None:
                ids.append(json.loads(message["data"])["id"])
    return ids


async def test_a_channel_announces_no_entry_twice(fresh_redis: RedisServer) -> None:
    """A reply that died with the server makes the engine repeat itself: nobody may be called twice."""
    sink = RedisSink(fresh_redis.link, wire("once"))
    await sink.held("urgent")
    async with channel(fresh_redis, "once") as listener:
        under_way = asyncio.create_task(sink.deliver(alerts(range(1, 2_001))))
        await listener.get_message(ignore_subscribe_messages=True, timeout=5.0)
        fresh_redis.kill()  # in the middle of it, or right behind
        with suppress(RedisError, OSError, TimeoutError):
            await under_way
    await sink.aclose()
    fresh_redis.start()
    # A new engine without cursors: it repeats everything.
    again = RedisSink(fresh_redis.link, wire("once"))
    kept = (await again.held("urgent"))["alerts"][0]
    async with channel(fresh_redis, "once") as listener:
        await again.deliver(alerts(range(1, 2_002)))
        await again.deliver(alerts(range(1, 2_003)))
        announced = await announced_until(listener, "2002-0")
    await again.aclose()
    assert announced == [f"{seq}-0" for seq in range(kept + 1, 2_003)]
    async with reader_of(fresh_redis.link) as client:
        assert await ids_of(client, "once") == [f"{seq}-0" for seq in range(1, 2_003)]


async def test_a_channel_announces_again_what_the_server_had_lost(fresh_redis: RedisServer) -> None:
    """The entry is new to that server; who listens knows it by its id."""
    async with channel(fresh_redis, "anew") as listener:
        sink = RedisSink(fresh_redis.link, wire("anew"))
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
        assert await announced_until(listener, "2-0") == ["1-0", "2-0"]
    fresh_redis.kill()
    fresh_redis.lose_data()
    fresh_redis.start()
    async with channel(fresh_redis, "anew") as listener:
        with suppress(RedisError, OSError):  # the connection to the server that died
            await sink.held("urgent")
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
        assert await announced_until(listener, "2-0") == ["1-0", "2-0"]
    await sink.aclose()


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
