"""Sinks, feeds and operator links as the users of ``deploy/``: the product itself has the rights it needs."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError

from engine.app.live.operator_link import Admission, from_mqtt, from_redis
from engine.app.live.operator_send import MqttLine, RedisLine
from engine.app.live.owner import Owner
from engine.app.live.owner_mqtt import MqttOwner
from engine.clock import Clock
from engine.commands import Keys, message_of
from engine.connections import mqtt_client, redis_client
from engine.events import MINUTE_NS, Bar
from engine.links import MqttLink, RedisLink
from engine.sinks.mqtt import MqttSink
from engine.sinks.redis import RedisSink
from feeds.live_options import MqttOptions, RedisStreamOptions
from feeds.mqtt import MqttBars
from feeds.redis_stream import RedisStreamBars
from tests.support.deployed import INSTANCE, mqtt_port, needs_mosquitto, redis_port
from tests.support.effects import alert, alerts, risk, wire
from tests.support.engines import HALT_KEY, OPERATOR_KEY, command
from tests.support.publish import live_context, publish_bars, receive

__all__ = ["mqtt_port", "redis_port"]

NOON_NS = 1_772_452_800_000_000_000
BARS = [Bar(NOON_NS + i * MINUTE_NS, "AAA", 10.0, 11.0, 9.0, 10.5, 100.0) for i in range(3)]
WAIT_S = 10.0


def _redis(role: str, port: int) -> RedisLink:
    return RedisLink(f"redis://{role}@127.0.0.1:{port}/0", f"pw-{role}")


def _mqtt(role: str, port: int) -> MqttLink:
    return MqttLink("127.0.0.1", port, role, f"pw-{role}")


def _admission() -> Admission:
    return Admission(Keys(OPERATOR_KEY, HALT_KEY), Clock(start_ns=NOON_NS))


async def test_redis_sink_delivers_as_engine(redis_port: int) -> None:
    """It loads a function, asks for what the streams hold, adds, publishes, and shows the status."""
    sink = RedisSink(_redis("engine", redis_port), wire(INSTANCE))
    for lane, effects in (("urgent", alerts([1, 2])), ("routine", [risk(3)])):
        await sink.held(lane)
        await sink.deliver(effects)
        await sink.deliver(effects)  # again, as after a lost answer
    await sink.publish_status(b"{}")
    await sink.aclose()


@pytest.mark.parametrize("role", ["operator", "dashboard", "feed"])
async def test_nobody_else_delivers(redis_port: int, role: str) -> None:
    """An event is the engine's word; who else could write one could announce a resume that never was."""
    sink = RedisSink(_redis(role, redis_port), wire(INSTANCE))
    with pytest.raises(NoPermissionError):
        await sink.deliver([alert(9)])
    await sink.aclose()


async def test_redis_feed_reads_as_engine_what_feed_wrote(redis_port: int) -> None:
    """The engine reads bars it cannot write, the publisher writes bars it cannot read."""
    await publish_bars(_redis("feed", redis_port), BARS)
    options = RedisStreamOptions.model_validate({"begin": "oldest"})
    feed = RedisStreamBars(options, live_context(_redis("engine", redis_port)))
    arrivals = await receive(feed, len(BARS))
    assert [arrival.record for arrival in arrivals] == BARS


async def test_redis_command_goes_from_operator_to_engine(redis_port: int) -> None:
    """The way of a halt: sent by one user, read and confirmed by another, the status seen by the first."""
    sent = command("halt", NOON_NS, key=HALT_KEY, nonce="deployed")
    async with redis_client(_redis("operator", redis_port), "operator") as client:
        line = RedisLine(client, INSTANCE)
        await line.send(message_of(sent), "deployed")
        await line.status()
    link = _redis("engine", redis_port)
    owner = Owner(link, INSTANCE, "here ", pytest.fail)
    await owner.claim()
    await _obeyed(from_redis(link, INSTANCE, _admission(), owner.holds), sent.body)
    await owner.release()


@needs_mosquitto
async def test_mqtt_sink_delivers_as_engine(mqtt_port: int) -> None:
    """Each kind has a topic of its own; a refused one would hold up its lane for ever."""
    sink = MqttSink(_mqtt("engine", mqtt_port), wire(INSTANCE))
    await sink.held("urgent")
    await sink.deliver([*alerts([1, 2]), risk(3)])
    await sink.publish_status(b"{}")
    await sink.aclose()


@needs_mosquitto
async def test_mqtt_feed_reads_as_engine_what_feed_wrote(mqtt_port: int) -> None:
    """The session is made before the bars are sent, as on any day but the first."""
    feed = MqttBars(MqttOptions(), live_context(_mqtt("engine", mqtt_port), instance=INSTANCE))
    receiving = asyncio.create_task(receive(feed, len(BARS)))
    async with asyncio.timeout(WAIT_S):
        while not feed.is_connected:  # noqa: ASYNC110 - the feed offers nothing to wait for
            await asyncio.sleep(0.01)
        await publish_bars(_mqtt("feed", mqtt_port), BARS)
        arrivals = await receiving
    stamps = [arrival.record.ts_close_ns for arrival in arrivals if isinstance(arrival.record, Bar)]
    assert len(stamps) == len(BARS)
    assert all(a < b for a, b in pairwise(stamps))


@needs_mosquitto
async def test_mqtt_command_goes_from_operator_to_engine(mqtt_port: int) -> None:
    """The broker keeps it for an engine that is away; a session must exist for that, so it begins first."""
    sent = command("halt", NOON_NS, key=HALT_KEY, nonce="deployed")
    owner = MqttOwner(_mqtt("engine", mqtt_port), INSTANCE, "here ", pytest.fail)
    await owner.claim()
    source = from_mqtt(_mqtt("engine", mqtt_port), INSTANCE, _admission(), lambda: owner.takes_commands)
    obeying = asyncio.create_task(_obeyed(source, sent.body))
    async with mqtt_client(_mqtt("operator", mqtt_port)) as client:
        line = MqttLine(client, f"astra/{INSTANCE}")
        async with asyncio.timeout(WAIT_S):
            while not obeying.done():
                await line.send(message_of(sent), "deployed")
                await asyncio.sleep(0.05)
    await obeying


async def _obeyed(source, body: str) -> None:
    async with asyncio.timeout(WAIT_S), aclosing(source):
        received, confirm = await anext(source)
        assert received.body == body
        confirm()


async def test_engine_gets_its_secrets_from_files(tmp_path: Path) -> None:
    """Secrets are mounted as files; the engine reads variables, and only the right ones may be set."""
    from tests.support.source import ROOT

    (tmp_path / "ASTRA_HALT_KEY").write_text("with $(echo no) 'quotes'\n")
    (tmp_path / "OTHER").write_text("not ours")
    (tmp_path / "astra").write_text('#!/bin/sh\nprintf "%s|%s|%s" "$ASTRA_HALT_KEY" "${OTHER-}" "$*"\n')
    (tmp_path / "astra").chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        "sh",
        str(ROOT / "deploy/engine/start.sh"),
        "run",
        "a b",
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SECRETS_DIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert (said.decode(), process.returncode) == ("with $(echo no) 'quotes'||run a b", 0)
