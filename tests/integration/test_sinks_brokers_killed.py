"""Servers killed under load: no alert is lost, no entry is doubled, the order is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from redis.exceptions import RedisError

from engine.app.live.servers import MqttBroker, RedisServer
from engine.clock import stopwatch_s
from engine.connections import mqtt_client, mqtt_session, redis_client
from engine.events import TradingState, TradingStateChanged
from engine.ports import Effect, Sink
from engine.sinks.courier import Couriers
from engine.sinks.messages import EffectId, id_of
from engine.sinks.mqtt import MqttSink
from engine.sinks.outbox import Outbox
from engine.sinks.redis import RedisSink
from tests.support.effects import EPOCH, NOON_NS, alert, alerts, risk, wire
from tests.support.servers import fresh_mqtt, fresh_redis
from tests.support.waiting import background, until

__all__ = ["fresh_mqtt", "fresh_redis"]

KILLS = 3
BETWEEN_KILLS = 400


@asynccontextmanager
async def delivering(outbox: Outbox, sinks: Mapping[str, Sink], folder: Path) -> AsyncIterator[Couriers]:
    couriers = Couriers(outbox, sinks, folder / "cursors.json", EPOCH)
    try:
        async with background(couriers.run()):
            yield couriers
    finally:
        await couriers.aclose()


def load(kill: int) -> Iterable[list[Effect]]:
    """Yield records with an alert and a measure of risk each."""
    for seq in range(kill * BETWEEN_KILLS + 1, (kill + 1) * BETWEEN_KILLS + 1):
        yield [risk(seq), alert(seq, 1)]


async def under_load(outbox: Outbox, server: RedisServer | MqttBroker, *, loses_data: bool = False) -> None:
    """Add effects steadily; kill the server in the middle of each round, and start it while they go on."""
    for kill in range(KILLS):
        for number, effects in enumerate(load(kill)):
            outbox.add(effects)
            if number == BETWEEN_KILLS // 3:
                server.kill()
                if loses_data and isinstance(server, RedisServer):
                    server.lose_data()
            elif number == 2 * BETWEEN_KILLS // 3:
                await asyncio.to_thread(server.start)
            await asyncio.sleep(0)
        # The next kill shall meet a server that is at work again.
        await until(lambda: outbox.count(outbox.names[0], "urgent") <= BETWEEN_KILLS // 3)


EXPECTED = [f"{seq}-1" for seq in range(1, KILLS * BETWEEN_KILLS + 1)]


class Subscriber:
    """Somebody who listens to the channel and, after every interruption, reads on in the stream."""

    def __init__(self, server: RedisServer, instance: str) -> None:
        self._server = server
        self._instance = instance
        self.seen: dict[str, None] = {}

    async def run(self) -> None:
        while True:
            with suppress(RedisError, OSError, TimeoutError):
                await self._listen()
            await asyncio.sleep(0.005)

    async def _listen(self) -> None:
        async with (
            redis_client(self._server.link, "subscriber") as client,
            client.pubsub() as listener,
        ):
            await listener.subscribe(f"astra:{self._instance}:alerts")
            await listener.get_message(timeout=1.0)
            last = max(self.seen, key=id_of, default="-")
            since = last if last == "-" else f"({last}"
            for id_, _ in await client.xrange(f"astra:{self._instance}:{EPOCH}:alerts", min=since):
                self.seen.setdefault(id_.decode())
            while True:
                message = await listener.get_message(ignore_subscribe_messages=True, timeout=1.0)
                if message is not None:
                    self.seen.setdefault(json.loads(message["data"])["id"])


async def entries(server: RedisServer, instance: str, kind: str) -> list[str]:
    async with redis_client(server.link, "reader") as client:
        return [id_.decode() for id_, _ in await client.xrange(f"astra:{instance}:{EPOCH}:{kind}")]


async def test_redis_killed_under_load_loses_and_doubles_nothing(
    fresh_redis: RedisServer, tmp_path: Path
) -> None:
    """A halt that falls into the restart of a server has to arrive, once, and in its place."""
    outbox = Outbox(["redis"])
    subscriber = Subscriber(fresh_redis, "killed")
    sink = RedisSink(fresh_redis.link, wire("killed"))
    async with delivering(outbox, {"redis": sink}, tmp_path) as couriers, background(subscriber.run()):
        await under_load(outbox, fresh_redis)
        assert await couriers.drain(10.0)
        await until(lambda: len(subscriber.seen) >= len(EXPECTED))
        figures = couriers.figures
    assert await entries(fresh_redis, "killed", "alerts") == EXPECTED
    assert await entries(fresh_redis, "killed", "risk") == [f"{seq}-0" for seq in range(1, len(EXPECTED) + 1)]
    assert figures["redis", "urgent"].failures >= KILLS
    assert list(subscriber.seen) == EXPECTED
    assert outbox.dropped == 0


async def test_redis_that_loses_its_data_is_given_the_alerts_again(
    fresh_redis: RedisServer, tmp_path: Path
) -> None:
    """A server without persistence forgets what it confirmed; who reads it later must find it all."""
    outbox = Outbox(["redis"])
    sink = RedisSink(fresh_redis.link, wire("lost"))
    async with delivering(outbox, {"redis": sink}, tmp_path) as couriers:
        await under_load(outbox, fresh_redis, loses_data=True)
        assert await couriers.drain(10.0)
    found = await entries(fresh_redis, "lost", "alerts")
    # The last thousand delivered are kept, and everything after the last loss.
    assert found == EXPECTED[len(EXPECTED) - len(found) :]
    assert len(found) >= 1_000


async def test_an_engine_that_restarts_with_its_server_doubles_nothing(
    fresh_redis: RedisServer, tmp_path: Path
) -> None:
    """A machine that loses power takes both down; the engine then repeats what it cannot remember."""
    first = Outbox(["redis"])
    snapshot = first.state()
    for life in range(2):
        outbox = Outbox(["redis"])
        outbox.restore(snapshot)
        sink = RedisSink(fresh_redis.link, wire("both"))
        # No cursors are carried over: as after a crash before they were written.
        folder = tmp_path / str(life)
        folder.mkdir()
        async with delivering(outbox, {"redis": sink}, folder) as couriers:
            for effects in (*load(0), *(load(1) if life else ())):
                outbox.add(effects)
            assert await couriers.drain(10.0)
        fresh_redis.kill()
        fresh_redis.start()
    assert await entries(fresh_redis, "both", "alerts") == EXPECTED[: 2 * BETWEEN_KILLS]


class Heard:
    """Somebody who listens to the broker and comes back after every interruption."""

    def __init__(self, broker: MqttBroker, topic: str, **session: Any) -> None:
        self._broker = broker
        self._topic = topic
        self._session = session
        self.is_there = asyncio.Event()
        self.messages: list[str] = []

    async def run(self) -> None:
        while True:
            client = mqtt_client(self._broker.link, **self._session)
            client.timeout = 0.5  # a broker that is killed while it greets us says nothing more
            with suppress(aiomqtt.MqttError, OSError):
                async with client:
                    await client.subscribe(self._topic, qos=1)
                    self.is_there.set()
                    async for message in client.messages:
                        self.messages.append(json.loads(message.payload)["id"])
            self.is_there.clear()
            await asyncio.sleep(0.02)


class Audience:
    """An MQTT sink that publishes only while somebody listens: this broker keeps nothing for who is away."""

    def __init__(self, sink: MqttSink, heard: Heard) -> None:
        self._sink = sink
        self._heard = heard

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        return await self._sink.held(lane)

    async def deliver(self, effects: Sequence[Effect]) -> None:
        await self._heard.is_there.wait()
        await self._sink.deliver(effects)

    async def aclose(self) -> None:
        await self._sink.aclose()


async def test_mqtt_broker_killed_under_load_loses_no_alert(fresh_mqtt: MqttBroker, tmp_path: Path) -> None:
    """The broker forgets what it confirmed; who listens hears each alert all the same, in order."""
    outbox = Outbox(["mqtt"])
    heard = Heard(fresh_mqtt, "astra/killed/alerts")
    sink = Audience(MqttSink(fresh_mqtt.link, wire("killed")), heard)
    async with delivering(outbox, {"mqtt": sink}, tmp_path) as couriers, background(heard.run()):
        await under_load(outbox, fresh_mqtt)
        assert await couriers.drain(15.0)
        await until(lambda: len(set(heard.messages)) >= len(EXPECTED))
        figures = couriers.figures["mqtt", "urgent"]
    assert list(dict.fromkeys(heard.messages)) == EXPECTED
    assert figures.failures >= 1


@asynccontextmanager
async def engine_of(broker: MqttBroker, outbox: Outbox, folder: Path) -> AsyncIterator[Couriers]:
    """Give the delivering part of an engine; on leaving, its connection is cut without a farewell."""
    sink = MqttSink(broker.link, wire("life"))
    couriers = Couriers(outbox, {"mqtt": sink}, folder / "cursors.json", EPOCH)
    async with background(couriers.run()):
        yield couriers
        client = sink._client
        if client is not None and (line := client._client.socket()) is not None:
            line.shutdown(2)
    await couriers.aclose()


async def lives(broker: MqttBroker, heard: Heard, folder: Path, *, kill: bool) -> None:
    """Let an engine live four times from its snapshots; kill the broker between two lives, or do not."""
    snapshot = Outbox(["mqtt"]).state()
    for life in range(3):
        outbox = Outbox(["mqtt"])
        outbox.restore(snapshot)
        async with engine_of(broker, outbox, folder) as couriers:
            outbox.add(alerts(range(100 * life + 1, 100 * life + 101)))
            assert await couriers.drain(10.0)
        snapshot = outbox.state()
        if kill:
            broker.kill()
            await until(lambda: not heard.is_there.is_set())
            broker.start()
        await heard.is_there.wait()
    outbox = Outbox(["mqtt"])
    outbox.restore(snapshot)
    async with engine_of(broker, outbox, folder) as couriers:
        outbox.add(alerts([301]))
        assert await couriers.drain(10.0)
        await until(lambda: "301-0" in heard.messages)


DURABLE = {"identifier": "listener", **mqtt_session(3_600)}
ALL = [f"{seq}-0" for seq in range(1, 302)]


async def test_engine_and_broker_that_die_together_lose_no_alert(
    fresh_mqtt: MqttBroker, tmp_path: Path
) -> None:
    """The broker confirmed, and forgot with the machine; the engine remembers only that it was confirmed."""
    heard = Heard(fresh_mqtt, "astra/life/alerts", **DURABLE)
    async with background(heard.run()):
        await heard.is_there.wait()
        await lives(fresh_mqtt, heard, tmp_path, kill=True)
    assert list(dict.fromkeys(heard.messages)) == ALL
    assert len(heard.messages) > len(ALL)  # which is how it can be


async def test_a_restarted_engine_repeats_nothing_to_a_broker_that_stayed(
    fresh_mqtt: MqttBroker, tmp_path: Path
) -> None:
    """A thousand old alerts at every restart would teach everybody to ignore them."""
    heard = Heard(fresh_mqtt, "astra/life/alerts", **DURABLE)
    async with background(heard.run()):
        await heard.is_there.wait()
        await lives(fresh_mqtt, heard, tmp_path, kill=False)
    assert heard.messages == ALL


async def test_a_listener_that_comes_back_after_the_engine_is_told_too(
    fresh_mqtt: MqttBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker without a memory cannot keep anything for it, and the engine is quicker to return."""
    monkeypatch.setattr("engine.sinks.mqtt._BACK_S", 0.2)
    monkeypatch.setattr("engine.sinks.courier._IDLE_S", 0.1)
    outbox, heard = Outbox(["mqtt"]), Heard(fresh_mqtt, "astra/life/alerts")
    async with engine_of(fresh_mqtt, outbox, tmp_path) as couriers:
        outbox.add(alerts([1, 2]))
        assert await couriers.drain(10.0)
        async with background(heard.run()):
            await until(lambda: heard.messages == ["1-0", "2-0"])


async def test_a_broker_that_forgot_has_the_state_again(
    fresh_mqtt: MqttBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A halt that only those know who heard it is none for the screen that is switched on now."""
    halted = TradingStateChanged(NOON_NS, TradingState.HALTED, TradingState.ACTIVE, "VAR_LIMIT", "h-1")
    monkeypatch.setattr("engine.sinks.outbox._KEPT", 10)
    monkeypatch.setattr("engine.sinks.outbox._LOT", 10)
    outbox = Outbox(["mqtt"])
    async with engine_of(fresh_mqtt, outbox, tmp_path) as couriers:
        outbox.add([Effect(1, 0, halted), *alerts(range(2, 100))])
        assert await couriers.drain(10.0)
    again = Outbox(["mqtt"])
    again.restore(outbox.state())
    fresh_mqtt.kill()
    fresh_mqtt.start()
    heard = Heard(fresh_mqtt, "astra/life/state")
    async with engine_of(fresh_mqtt, again, tmp_path) as couriers:
        again.add(alerts([100]))
        assert await couriers.drain(10.0)
        async with background(heard.run()):
            await until(lambda: heard.messages == ["1-0"])


async def test_alerts_are_soon_readable_from_redis(fresh_redis: RedisServer, tmp_path: Path) -> None:
    """An alert that takes seconds to arrive is read after the loss; the bound is loose, machines are busy."""
    outbox, took_s, last = Outbox(["redis"]), [], "0-0"
    stream = f"astra:quick:{EPOCH}:alerts"
    sink = RedisSink(fresh_redis.link, wire("quick"))
    async with (
        delivering(outbox, {"redis": sink}, tmp_path),
        redis_client(fresh_redis.link, "reader") as client,
    ):
        for seq in range(1, 301):
            async with background(client.xread({stream: last}, block=2_000)) as reading:
                await asyncio.sleep(0)
                started_s = stopwatch_s()
                outbox.add([alert(seq)])
                assert await reading
                took_s.append(stopwatch_s() - started_s)
            last = f"{seq}-0"
    took_s.sort()
    assert took_s[297] < 0.5, f"p99 {took_s[297]:.3f} s, p50 {took_s[150]:.3f} s"
