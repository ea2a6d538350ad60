"""Bars from a real broker: acknowledged when they are on disk, and not one lost or invented on the way."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from engine.app.live.servers import MqttBroker
from engine.connections import mqtt_client
from engine.events import MINUTE_NS, Bar, BarRejected, Reject
from engine.links import MqttLink
from feeds.live_options import MqttOptions
from feeds.mqtt import MqttBars
from tests.support.publish import (
    Running,
    arranged,
    fields_of,
    live_context,
    publish_bars,
    receive,
    stopped_clock,
)
from tests.support.servers import fresh_mqtt, mqtt_broker

__all__ = ["fresh_mqtt", "mqtt_broker"]

T0_NS = 1_767_623_400_000_000_000
DEADLINE_S = 10.0


def bars(n_minutes: int, symbols: tuple[str, ...] = ("AAA", "BBB")) -> list[Bar]:
    """Return some minutes of bars, each different."""
    return [
        Bar(T0_NS + minute * MINUTE_NS, symbol, 10.0 + minute, 11.0 + minute, 9.0, 10.5, 100.0 + index)
        for minute in range(1, n_minutes + 1)
        for index, symbol in enumerate(symbols)
    ]


def subscriber(link: MqttLink, instance: str, *, acknowledge: bool = True, **changes: Any) -> Running:
    """Run a feed of an engine."""
    feed = MqttBars(MqttOptions(), live_context(link, instance=instance, **changes))
    return Running(feed, acknowledge=acknowledge)


async def test_bars_come_in_the_order_they_were_sent(mqtt_broker: MqttBroker) -> None:
    """The core hears what a publisher says, repeats and disorder included: judging is not done here."""
    sub = subscriber(mqtt_broker.link, "order")
    await sub.connected()
    sent = arranged(bars(50), duplicates=0.2, shuffle=True)
    assert await publish_bars(mqtt_broker.link, bars(50), duplicates=0.2, shuffle=True) == len(sent) > 100
    await sub.until(lambda: len(sub.taken) >= len(sent))
    assert sub.records == sent
    await sub.close()


async def test_what_was_not_acknowledged_comes_again(mqtt_broker: MqttBroker) -> None:
    """A bar that was not on disk when the engine died must come again after the restart; no other one."""
    link, sent = mqtt_broker.link, bars(10)
    first = subscriber(link, "again", acknowledge=False)
    await first.connected()
    await publish_bars(link, sent)
    await first.until(lambda: len(first.taken) == len(sent))
    for arrival in first.taken[:7]:
        assert arrival.acknowledge is not None
        arrival.acknowledge()
    await first.close()
    second = subscriber(link, "again")
    await second.until(lambda: len(second.taken) >= len(sent) - 7)
    assert second.records == sent[7:]
    await second.close()


async def test_bars_wait_while_the_engine_is_away(mqtt_broker: MqttBroker) -> None:
    """Restarting the engine in the middle of a session costs no bar, however many came meanwhile."""
    link, sent = mqtt_broker.link, bars(150)
    before = subscriber(link, "away")
    await before.connected()
    await before.close()
    await publish_bars(link, sent)  # more than the broker sends without acknowledgement
    after = subscriber(link, "away")
    await after.until(lambda: len(after.taken) >= len(sent))
    assert after.records == sent
    await after.connected()
    await after.close()


async def test_a_batch_is_acknowledged_as_a_whole(mqtt_broker: MqttBroker) -> None:
    """One message, one acknowledgement: with its last bar, when all of them are on disk."""
    sub = subscriber(mqtt_broker.link, "batch")
    await sub.connected()
    async with mqtt_client(mqtt_broker.link) as client:
        await client.publish("astra/bars", json.dumps([fields_of(bar) for bar in bars(2)]), qos=1)
        await client.publish("astra/bars/AAA", json.dumps([fields_of(bar) for bar in bars(1)]), qos=1)
        await client.publish("astra/bars/BTC/USD", json.dumps(fields_of(bars(1, ("BTC/USD",))[0])), qos=1)
    await sub.until(lambda: len(sub.taken) == 7)
    assert [arrival.acknowledge is not None for arrival in sub.taken] == [False] * 3 + [
        True,
        False,
        True,
        True,
    ]
    assert sub.records[:4] == bars(2)
    # On the topic of one symbol, another one's bar is not believed.
    assert sub.records[4] == bars(1)[0]
    assert sub.records[5].reason is Reject.UNDECODABLE
    assert sub.records[6] == bars(1, ("BTC/USD",))[0]
    await sub.close()


async def test_rubbish_is_counted_and_does_not_come_again(mqtt_broker: MqttBroker) -> None:
    """A message nobody can read must not come back for ever, or stand in the way of the next."""
    sub = subscriber(mqtt_broker.link, "rubbish")
    await sub.connected()
    async with mqtt_client(mqtt_broker.link) as client:
        for body in (b"", b"\xff", b"[" * 60_000, b"x" * 70_000):
            await client.publish("astra/bars/AAA", body, qos=1)
    await publish_bars(mqtt_broker.link, bars(1))
    await sub.until(lambda: len(sub.taken) == 6)
    assert [record.reason for record in sub.records[:4]] == [Reject.UNDECODABLE] * 4
    assert sub.records[4:] == bars(1)
    await sub.close()


async def test_a_retained_bar_is_stale_by_its_nature(mqtt_broker: MqttBroker) -> None:
    """The broker hands it to whoever subscribes, days later: it must not pass for news, and is counted."""
    (bar,) = bars(1, ("OLD",))
    async with mqtt_client(mqtt_broker.link) as client:
        await client.publish("astra/bars/OLD", json.dumps(fields_of(bar)), qos=1, retain=True)
        sub = subscriber(mqtt_broker.link, "retained")
        await sub.connected()
        await client.publish("astra/bars/NEW", json.dumps(fields_of(bar) | {"symbol": "NEW"}), qos=1)
        await client.publish("astra/bars/OLD", b"", qos=1, retain=True)  # forget it
    await sub.until(lambda: any(record.symbol == "NEW" for record in sub.records))
    assert [record for record in sub.records if isinstance(record, Bar)] == bars(1, ("NEW",))
    kept = [record for record in sub.records if isinstance(record, BarRejected) and record.bar is not None]
    # A broker may honour the wish not to send it at all.
    assert kept in ([], [BarRejected(bar.ts_close_ns, "OLD", Reject.LATE, 1, bar)])
    await sub.close()


async def test_a_broker_that_was_killed_is_found_again(fresh_mqtt: MqttBroker) -> None:
    """The feed outlives its broker; that the broker forgot us is told, and an old receipt goes nowhere."""
    sub = subscriber(fresh_mqtt.link, "killed", acknowledge=False)
    await sub.connected()
    await publish_bars(fresh_mqtt.link, bars(5))
    await sub.until(lambda: len(sub.taken) == 10)
    fresh_mqtt.kill()
    await sub.until(lambda: not sub.feed.is_connected)
    fresh_mqtt.start()
    await sub.connected()
    assert (sub.feed.reconnects, sub.feed.sessions_lost) == (1, 1)
    for arrival in sub.taken:
        assert arrival.acknowledge is not None
        arrival.acknowledge()  # committed only now: the broker that sent it is gone
    await publish_bars(fresh_mqtt.link, bars(6))
    await sub.until(lambda: len(sub.taken) == 22)
    assert sub.records == bars(5) + bars(6)
    assert sub.feed.is_connected
    await sub.close()


async def test_a_broker_that_is_not_there_yet_is_waited_for(fresh_mqtt: MqttBroker) -> None:
    """After a power cut everything starts at once, in any order."""
    fresh_mqtt.kill()
    sub = subscriber(fresh_mqtt.link, "early")
    fresh_mqtt.start()
    await sub.connected()
    assert sub.feed.reconnects == 0
    await sub.close()


async def test_a_subscription_that_is_refused_is_asked_for_again(
    mqtt_broker: MqttBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker may learn its access rules after the engine has come: a silent feed is no way to wait."""
    subscribe = aiomqtt.Client.subscribe
    refusals = [ReasonCode(PacketTypes.SUBACK, "Not authorized")]

    async def refused_once(client: aiomqtt.Client, *args: Any, **kwargs: Any) -> Any:
        granted = await subscribe(client, *args, **kwargs)
        return [refusals.pop()] if refusals else granted

    monkeypatch.setattr(aiomqtt.Client, "subscribe", refused_once)
    sub = subscriber(mqtt_broker.link, "refused")
    await sub.until(lambda: sub.feed.reconnects == 1)
    await sub.connected()
    await publish_bars(mqtt_broker.link, bars(1))
    await sub.until(lambda: len(sub.taken) == 2)
    await sub.close()


async def test_a_session_that_was_lost_while_the_engine_was_away_is_counted(mqtt_broker: MqttBroker) -> None:
    """A broker keeps a session for a day only: after a weekend nobody would know that bars are missing."""
    first = subscriber(mqtt_broker.link, "weekend", has_had_bars=True)
    await first.connected()
    await first.close()
    again = subscriber(mqtt_broker.link, "weekend", has_had_bars=True)
    await again.connected()
    await again.close()
    assert (first.feed.sessions_lost, again.feed.sessions_lost) == (1, 0)


async def test_a_flood_without_receipts_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who publishes with QoS 0 cannot be slowed down: memory is bounded, and the loss is no secret."""
    monkeypatch.setattr("feeds.mqtt._UNREAD_MAX", 50)
    feed = MqttBars(MqttOptions(), live_context(MqttLink("127.0.0.1", 9), instance="flood"))
    client = feed._new_client()
    for qos, count in ((0, 80), (1, 20)):  # what the socket brought while nobody was reading
        for mid in range(count):
            client._queue.put_nowait(aiomqtt.Message("astra/bars/AAA", b"?", qos, False, mid, None))
    assert len(client.messages) == 50 + 20
    async with aclosing(feed._batches(client)) as batches:
        batch = await anext(batches)
    assert sum(arrival.record.count for arrival in batch) == 80 + 20
    assert sum(arrival.acknowledge is not None for arrival in batch) == 20


async def test_a_stamp_ahead_of_the_clock_is_refused(mqtt_broker: MqttBroker) -> None:
    """One publisher with a wrong clock must not close everybody's minutes."""
    sub = subscriber(mqtt_broker.link, "future", clock=stopped_clock(T0_NS + MINUTE_NS))
    await sub.connected()
    await publish_bars(mqtt_broker.link, bars(2, ("AAA",)))
    await sub.until(lambda: len(sub.taken) == 2)
    now, ahead = bars(2, ("AAA",))
    assert sub.records == [now, BarRejected(ahead.ts_close_ns, "AAA", Reject.FUTURE, 1, ahead)]
    await sub.close()


async def test_rights_and_wrongs_of_the_log_in(tmp_path: Any) -> None:
    """A broker that knows its users lets the engine in by name and password, and nobody else."""
    with MqttBroker(tmp_path, users={"astra": "secret"}) as broker:
        sub = subscriber(broker.link, "login")
        await sub.connected()
        await sub.close()
        stranger = subscriber(MqttLink(broker.link.host, broker.link.port, "astra", "guess"), "login")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await stranger.connected()
        await stranger.close()


async def test_a_bounded_number_is_taken_and_then_closed(mqtt_broker: MqttBroker) -> None:
    """Closing the generator in the middle leaves neither a task nor a connection behind."""
    sub = subscriber(mqtt_broker.link, "closing")
    await sub.connected()
    await sub.close()
    await publish_bars(mqtt_broker.link, bars(3))
    feed = MqttBars(MqttOptions(), live_context(mqtt_broker.link, instance="closing"))
    async with asyncio.timeout(DEADLINE_S):
        assert len(await receive(feed, 1)) >= 1
    assert not feed.is_connected
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "mqtt-subscribe"] == []
