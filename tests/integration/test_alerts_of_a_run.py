"""Alerts of a whole engine: heard through kill -9 of everything, and required before it trades."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest

from engine.app.config.load import load
from engine.app.live.servers import MqttBroker, RedisServer
from engine.app.replay.journal_tools import rebuild
from engine.connections import mqtt_client, mqtt_session
from engine.events import Alert, Event, Record
from engine.journal import JournalReader
from engine.recovery import identity_of
from engine.sinks.courier import read_cursors
from tests.support import small_engine
from tests.support.children import halts, nursery, wait_for
from tests.support.nursery import Child, Nursery
from tests.support.servers import fresh_mqtt, fresh_redis
from tests.support.waiting import background, until
from tests.support.webhook import Webhook, webhook

__all__ = ["fresh_mqtt", "fresh_redis", "nursery", "webhook"]

CONFIG = small_engine.CONFIG.replace(
    "start = 2024-01-08\n", "start = 2024-01-08\nfaults = {conflict_frac = 0.4}\n"
).replace('"keeper"', '"told"')
MQTT = '[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
REDIS = '[redis]\nurl = "redis://127.0.0.1:{port}"\n'
REQUIRED = "[alerts]\nrequired = true\nsilence_max_s = 0.5\n"
KILLS = 3
PATIENCE_S = 30.0


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Callable[..., Child]:
    def started(more: str, **options: str) -> Child:
        (tmp_path / "astra.toml").write_text(CONFIG + more)
        return nursery.start(tmp_path, "run", "astra.toml", "--quiet", "--speed=6000", **options)

    return started


class Listener:
    """Somebody who listens to alerts with a session of his own, and comes back after every interruption."""

    def __init__(self, broker: MqttBroker) -> None:
        self._broker = broker
        self.is_there = asyncio.Event()
        self.heard: dict[str, bytes] = {}

    async def run(self) -> None:
        self.is_there.clear()
        while True:
            client = mqtt_client(self._broker.link, identifier="listener", **mqtt_session(3_600))
            client.timeout = 0.5  # a broker that is killed while it greets us says nothing more
            with suppress(aiomqtt.MqttError, OSError):
                async with client:
                    await client.subscribe("astra/told/alerts", qos=1)
                    self.is_there.set()
                    async for message in client.messages:
                        self._note(bytes(message.payload))
            self.is_there.clear()
            await asyncio.sleep(0.02)

    def _note(self, body: bytes) -> None:
        known = self.heard.setdefault(json.loads(body)["id"], body)
        assert known == body, "one id, two messages"


def alerts_of(folder: Path) -> list[str]:
    """Return the ids of the alerts that follow from the journal."""
    identity = identity_of(folder / "state")
    assert identity is not None
    ids: list[str] = []

    def listen(seq: int, _record: Record, events: list[Event]) -> None:
        ids.extend(f"{seq}-{index}" for index, event in enumerate(events) if isinstance(event, Alert))

    loop = rebuild(load(folder / "astra.toml"), identity, 0)
    loop.listener = listen
    loop.recover(JournalReader(folder / "state/journal"))
    return ids


def confirmed(folder: Path) -> int:
    """Return the record up to which the engine will remember that the broker confirmed its alerts."""
    epoch = identity_of(folder / "state")
    found = {} if epoch is None else read_cursors(folder / "state/cursors.json", epoch.epoch)
    return found["mqtt"]["urgent"][0] if found else 0


async def test_who_listens_hears_every_alert_of_an_engine_that_is_killed(
    start: Callable[..., Child], fresh_mqtt: MqttBroker, tmp_path: Path
) -> None:
    """Kill -9 while it publishes and nobody is there, and the broker with it: all is heard in the end."""
    listener, more = Listener(fresh_mqtt), MQTT.format(port=fresh_mqtt.port)
    for kill in range(KILLS):
        async with background(listener.run()):
            await listener.is_there.wait()
            child, known = start(more), len(listener.heard)
            await until(lambda: len(listener.heard) > known + 10, PATIENCE_S)  # noqa: B023
        # Some are waiting at the broker alone, and the engine knows that they are there.
        left = confirmed(tmp_path)
        await until(lambda: confirmed(tmp_path) > left + 20, PATIENCE_S)  # noqa: B023
        child.send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        if kill % 2 == 0:
            fresh_mqtt.kill()
            fresh_mqtt.start()
    async with background(listener.run()):
        await listener.is_there.wait()
        child, known = start(more), len(listener.heard)
        await until(lambda: len(listener.heard) > known, PATIENCE_S)
        child.send(signal.SIGTERM)
        assert await asyncio.to_thread(child.wait) == 0
        expected = alerts_of(tmp_path)
        await until(lambda: len(listener.heard) >= len(expected))
    assert len(expected) > 100
    assert set(listener.heard) == set(expected)


def test_an_engine_that_nobody_hears_does_not_start(
    start: Callable[..., Child], fresh_redis: RedisServer, tmp_path: Path
) -> None:
    """Trading unheard is what `required` forbids."""
    fresh_redis.kill()
    child = start(
        REQUIRED + REDIS.format(port=fresh_redis.port), prepare="tests.support.broken_runs:impatient"
    )
    assert child.wait() == 5
    assert "error[S032] alerts are required and cannot be delivered: redis (" in child.said
    assert halts(tmp_path) == []


def test_a_server_that_goes_away_halts_an_engine_that_must_be_heard(
    start: Callable[..., Child], fresh_redis: RedisServer, tmp_path: Path
) -> None:
    """An engine that goes on while nobody hears it trades unwatched; the next alert could be the halt."""
    child = start(REQUIRED + REDIS.format(port=fresh_redis.port))
    wait_for(lambda: '"event":"running"' in child.said, child)
    fresh_redis.kill()
    wait_for(lambda: halts(tmp_path), child)
    assert halts(tmp_path) == ["SINKS_SILENT"]
    fresh_redis.start()
    wait_for(lambda: '"event":"sink is back"' in child.said, child)
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    status = json.loads((tmp_path / "state/status.json").read_bytes())
    assert status["trading_state"] == "HALTED"
    assert status["halt_reason"].startswith("SINKS_SILENT: a required alert is undelivered")


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_people_alone_are_heard_from_before_it_trades(
    start: Callable[..., Child], webhook: Webhook, tmp_path: Path
) -> None:
    """An address with a typing error looks like any other until the first alert."""
    pytest.importorskip("apprise")
    webhook.answer = 403
    urls = {"ASTRA_APPRISE_URLS": webhook.url}
    refused = start(REQUIRED, prepare="tests.support.broken_runs:impatient", **urls)
    assert refused.wait() == 5
    assert "error[S032]" in refused.said
    assert "notify-1 (" in refused.said
    webhook.answer = 200
    child = start(REQUIRED, **urls)
    wait_for(lambda: '"event":"running"' in child.said, child)
    assert webhook.posts[0]["title"] == "told: INFO started"
    child.send(signal.SIGTERM)
    assert child.wait() == 0
