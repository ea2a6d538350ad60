"""Feeds and sinks over TLS, on real servers: the right authority is believed, every other one refused."""

from __future__ import annotations

import gc
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.events import MINUTE_NS, Bar
from engine.links import MqttLink, RedisLink
from engine.sinks.mqtt import MqttSink
from engine.sinks.redis import RedisSink
from feeds.live_options import MqttOptions, RedisStreamOptions
from feeds.mqtt import MqttBars
from feeds.redis_stream import RedisStreamBars
from tests.support.deployed import (
    INSTANCE,
    REDIS_SERVER,
    authority,
    free_port,
    needs_mosquitto,
    needs_redis_server,
    started,
)
from tests.support.effects import alerts, wire
from tests.support.publish import Running, live_context, publish_bars

__all__ = ["authority"]  # a fixture

T0_NS = 1_767_623_400_000_000_000
BARS = [Bar(T0_NS + n * MINUTE_NS, "AAA", 10.0, 11.0, 9.0, 10.5, 100.0 + n) for n in range(1, 11)]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an authority of which no server here has a certificate."""
    folder = tmp_path_factory.mktemp("stranger")
    request = "openssl req -x509 -newkey rsa:2048 -nodes -batch -days 2 -subj /CN=stranger"
    subprocess.run(
        [*request.split(), "-keyout", "ca.key", "-out", "ca.crt"], cwd=folder, check=True, capture_output=True
    )
    return folder / "ca.crt"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Callable[..., MqttLink]]:
    """Give links to Mosquitto under deploy/mosquitto with TLS, by role."""
    folder, port = tmp_path_factory.mktemp("mqtt"), free_port()
    (folder / "conf").mkdir()
    for name in ("ca.crt", "server.crt", "server.key"):
        shutil.copy(authority / name, folder / "conf")

    def link(role: str, ca_file: Path | None) -> MqttLink:
        return MqttLink("127.0.0.1", port, role, f"pw-{role}", ca_file=ca_file)

    with started("mosquitto", folder, port, {"PORT": str(port), "BIND": "127.0.0.1"}, "tls.conf"):
        yield link


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Callable[..., RedisLink]]:
    """Give links to Redis under deploy/redis with TLS, by role."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    (folder / "data").mkdir()
    for name in ("ca.crt", "server.crt", "server.key"):
        shutil.copy(authority / name, folder / "data")

    def link(role: str, ca_file: Path | None) -> RedisLink:
        scheme = "redis" if ca_file is None else "rediss"
        return RedisLink(f"{scheme}://{role}@127.0.0.1:{port}", f"pw-{role}", ca_file)

    settings = ("tls.conf", "--tls-port", str(port), "--bind", "127.0.0.1")
    with started("redis", folder, port, {"SERVER": str(REDIS_SERVER)}, *settings):
        yield link


def mqtt_feed(link: MqttLink) -> MqttBars:
    return MqttBars(MqttOptions(), live_context(link, instance=INSTANCE))


def redis_feed(link: RedisLink) -> RedisStreamBars:
    options = RedisStreamOptions.model_validate({"stream": "astra:bars", "begin": "oldest"})
    return RedisStreamBars(options, live_context(link, instance=INSTANCE))


async def takes(feed: Any, link: Any) -> None:
    """Check that bars that are published over a link arrive."""
    running = Running(feed)
    await running.connected()
    assert await publish_bars(link, BARS) == len(BARS)
    await running.until(lambda: len(running.taken) == len(BARS))
    assert running.records == BARS
    await running.close()


async def refuses(feed: Any) -> str:
    """Return why a feed does not connect, as it says in the log after some attempts; it says so once."""
    with capture_logs() as logs:
        running = Running(feed)
        await running.until(lambda: feed._complaints._unwritten >= 2)
        assert not feed.is_connected
        await running.close()
    del running
    gc.collect()  # what a failed handshake has left open goes here, and not in the midst of another test
    [line] = [line for line in logs if line["event"].endswith("feed disconnected")]
    return str(line["error"])


@needs_mosquitto
async def test_bars_come_from_a_broker_with_tls(broker: Callable[..., MqttLink], authority: Path) -> None:
    """A password and an order of magnitude of a book are read by whoever shares the line, without it."""
    ca_file = authority / "ca.crt"
    await takes(mqtt_feed(broker("engine", ca_file)), broker("feed", ca_file))


@needs_mosquitto
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # paho, after a handshake that failed
async def test_a_broker_that_cannot_prove_itself_is_refused(
    broker: Callable[..., MqttLink], stranger: Path
) -> None:
    """Whoever answers in the broker's place would be given the password, and believed his bars."""
    assert "certificate verify failed" in await refuses(mqtt_feed(broker("engine", stranger)))


@needs_redis_server
async def test_bars_come_from_a_stream_with_tls(server: Callable[..., RedisLink], authority: Path) -> None:
    """The same for the other kind of server."""
    ca_file = authority / "ca.crt"
    await takes(redis_feed(server("engine", ca_file)), server("feed", ca_file))


@needs_redis_server
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # asyncio, after a handshake that failed
async def test_a_server_that_cannot_prove_itself_is_refused(
    server: Callable[..., RedisLink], stranger: Path
) -> None:
    """As above; its reason must be readable, or somebody will switch the check off."""
    assert "certificate verify failed" in await refuses(redis_feed(server("engine", stranger)))


@needs_mosquitto
@needs_redis_server
async def test_alerts_go_out_with_tls(
    broker: Callable[..., MqttLink], server: Callable[..., RedisLink], authority: Path
) -> None:
    """Sinks use the same links; under the rights of deploy/ they can do what they must."""
    mqtt = MqttSink(broker("engine", authority / "ca.crt"), wire(INSTANCE))
    redis = RedisSink(server("engine", authority / "ca.crt"), wire(INSTANCE))
    for sink in (mqtt, redis):
        await sink.held("urgent")
        await sink.deliver(alerts([1, 2]))
        assert (await sink.held("urgent"))["alerts"] == (2, 0)
        await sink.aclose()
    again = MqttSink(broker("engine", authority / "ca.crt"), wire(INSTANCE))
    async with aclosing(again):
        assert (await again.held("urgent"))["alerts"] == (2, 0)
