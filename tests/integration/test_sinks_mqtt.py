"""Effects on a real MQTT broker: topics, retained messages, the will, and what a lost broker forgets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import aiomqtt
import pytest

from engine.app.live.servers import MqttBroker
from engine.connections import mqtt_client
from engine.errors import ServiceError
from engine.events import TradingState, TradingStateChanged
from engine.links import MqttLink
from engine.ports import Effect
from engine.sinks.messages import URGENT
from engine.sinks.mqtt import MqttSink
from tests.support.effects import EPOCH, NOON_NS, alert, alerts, risk, wire
from tests.support.servers import fresh_mqtt, mqtt_broker

__all__ = ["fresh_mqtt", "mqtt_broker"]

HALTED = TradingStateChanged(NOON_NS, TradingState.HALTED, TradingState.ACTIVE, "VAR_LIMIT", "h-7")


@asynccontextmanager
async def sink_of(link: MqttLink, instance: str) -> AsyncIterator[MqttSink]:
    sink = MqttSink(link, wire(instance))
    try:
        yield sink
    finally:
        await sink.aclose()


@asynccontextmanager
async def listening(link: MqttLink, *topics: str) -> AsyncIterator[aiomqtt.Client]:
    async with mqtt_client(link) as client:
        for topic in topics:
            await client.subscribe(topic, qos=1)
        yield client


async def heard(client: aiomqtt.Client, count: int) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    async with asyncio.timeout(5.0):
        async for message in client.messages:
            found.append((message.topic.value, message.payload))
            if len(found) == count:
                break
    return found


async def test_effects_go_to_the_topic_of_their_kind_in_order(mqtt_broker: MqttBroker) -> None:
    """Who wants alerts subscribes to alerts; out of order they would tell another story."""
    link = mqtt_broker.link
    async with (
        sink_of(link, "order") as sink,
        listening(link, "astra/order/alerts", "astra/order/risk") as client,
    ):
        await sink.deliver(alerts(range(1, 201)))
        await sink.deliver([risk(201), alert(202)])
        messages = await heard(client, 202)
    ids = [json.loads(body)["id"] for topic, body in messages if topic == "astra/order/alerts"]
    assert ids == [f"{seq}-0" for seq in (*range(1, 201), 202)]
    assert [json.loads(body)["var_usd"] for topic, body in messages if topic == "astra/order/risk"] == [201.0]


async def test_state_and_status_are_there_for_who_comes_late(mqtt_broker: MqttBroker) -> None:
    """A screen that is switched on during a halt must show it at once, not at the next change."""
    async with sink_of(mqtt_broker.link, "late") as sink:
        await sink.deliver([alert(1), Effect(2, 0, HALTED)])
        await sink.publish_status(b'{"state":"HALTED"}')
        async with listening(mqtt_broker.link, "astra/late/#") as client:
            retained = dict(await heard(client, 4))
    assert json.loads(retained["astra/late/state"])["state"] == "HALTED"
    assert retained["astra/late/status"] == b'{"state":"HALTED"}'
    assert retained["astra/late/online"] == b"1"
    assert json.loads(retained["astra/late/delivered"]) == {"epoch": EPOCH, "id": "2-0"}
    assert "astra/late/alerts" not in retained


async def test_online_tells_when_the_engine_leaves(mqtt_broker: MqttBroker) -> None:
    """A silent engine and a quiet market look the same from outside."""
    async with listening(mqtt_broker.link, "astra/leaves/online") as client:
        async with sink_of(mqtt_broker.link, "leaves") as sink:
            await sink.held("urgent")
            assert (await heard(client, 1))[0][1] == b"1"
        last = b"1"
        while last != b"0":
            [(_, last)] = await heard(client, 1)


async def test_the_broker_speaks_for_an_engine_that_died(mqtt_broker: MqttBroker) -> None:
    """A killed engine cannot say that it is gone; its will does."""
    sink = MqttSink(mqtt_broker.link, wire("dies"))
    async with listening(mqtt_broker.link, "astra/dies/online") as client:
        await sink.held("urgent")
        await heard(client, 1)
        connection = sink._client
        assert connection is not None
        connection._client.socket().shutdown(2)  # the line is cut: no farewell is sent
        last = b"1"
        while last != b"0":
            [(_, last)] = await heard(client, 1)
    await sink.aclose()


async def test_a_restarted_engine_asks_the_broker_what_it_has(mqtt_broker: MqttBroker) -> None:
    """A restart for an update must not repeat a thousand alerts to everybody who listens."""
    async with sink_of(mqtt_broker.link, "asks") as sink:
        assert await sink.held("urgent") == dict.fromkeys(URGENT, (0, 0))
        await sink.deliver([*alerts([1, 2]), Effect(2, 1, HALTED), risk(3)])
        assert await sink.held("urgent") == dict.fromkeys(URGENT, (2, 1))
    async with sink_of(mqtt_broker.link, "asks") as sink:
        assert await sink.held("urgent") == dict.fromkeys(URGENT, (2, 1))
        assert await sink.held("routine") == {}


@pytest.mark.parametrize(
    "retained", [b"", b"rubbish", b'{"epoch":"20250101T000000Z","id":"7-0"}'], ids=["none", "rubbish", "old"]
)
async def test_a_broker_that_cannot_say_has_nothing(mqtt_broker: MqttBroker, retained: bytes) -> None:
    """What is not known to be there is sent again: twice does no harm, never does."""
    instance = f"unknown-{len(retained)}"
    async with sink_of(mqtt_broker.link, instance) as sink:
        await sink.deliver(alerts([1]))
    async with mqtt_client(mqtt_broker.link) as client:
        await client.publish(f"astra/{instance}/delivered", retained, qos=1, retain=True)
    async with sink_of(mqtt_broker.link, instance) as sink:
        assert await sink.held("urgent") == dict.fromkeys(URGENT, (0, 0))


async def test_a_broker_that_kept_only_what_is_retained_has_nothing(mqtt_broker: MqttBroker) -> None:
    """Some write retained messages to disk and sessions not: what waited for who was away is gone."""
    async with sink_of(mqtt_broker.link, "half") as sink:
        await sink.deliver(alerts([1]))
    forgetting = {"identifier": "astra-half", "clean_start": True}
    async with mqtt_client(mqtt_broker.link, **forgetting) as client:
        await client.subscribe("astra/half/delivered")
        assert [json.loads(body)["id"] for _, body in await heard(client, 1)] == ["1-0"]
    async with sink_of(mqtt_broker.link, "half") as sink:
        assert await sink.held("urgent") == dict.fromkeys(URGENT, (0, 0))


async def test_a_broker_that_forgot_is_not_given_the_next_alert_first(fresh_mqtt: MqttBroker) -> None:
    """Any other task may find the new broker first; the alert must not hide that those before it are gone."""
    async with sink_of(fresh_mqtt.link, "forgot") as sink:
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
        fresh_mqtt.kill()
        with pytest.raises(aiomqtt.MqttError):
            await sink.deliver(alerts([3]))
        fresh_mqtt.start()
        await sink.publish_status(b"{}")
        with pytest.raises(aiomqtt.MqttError, match="has lost messages"):
            await sink.deliver(alerts([3]))
        assert await sink.held("urgent") == dict.fromkeys(URGENT, (0, 0))
        await sink.deliver(alerts([1, 2, 3]))


async def test_a_refused_message_is_no_delivery(mqtt_broker: MqttBroker) -> None:
    """A broker whose access list forbids the topic confirms with a no, which must not count as a yes."""
    async with sink_of(mqtt_broker.link, "refused") as sink:
        await sink.held("urgent")
        connection = sink._client
        assert connection is not None
        no = SimpleNamespace(value=0x87)
        connection._on_publish(connection._client, None, 99, no, None)
        with pytest.raises(ServiceError, match="refuses") as raised:
            await sink.deliver(alerts([1]))
        assert raised.value.code == "S013"
        await sink.deliver(alerts([1]))  # on a new connection: the list may have been mended


async def test_a_broker_with_users_wants_the_password(tmp_path: Path) -> None:
    """Whoever may publish alerts may also forge them."""
    with MqttBroker(tmp_path / "mqtt", users={"engine": "secret"}) as broker:
        async with sink_of(broker.link, "users") as sink:
            await sink.deliver(alerts([1]))
        stranger = mqtt_client(MqttLink("127.0.0.1", broker.port, "engine", "wrong"))
        stranger.timeout = 0.5
        with suppress(OSError), pytest.raises(aiomqtt.MqttError):
            await stranger.__aenter__()
