"""The files of ``deploy/`` on real servers: each role may do its work, and nothing else.

Redis runs as the Valkey of the extra ``servers`` (and, for TLS, as the distribution's ``redis-server``), the
broker as the distribution's ``mosquitto``; what is not installed is skipped.
"""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import redis
from paho.mqtt.reasoncodes import ReasonCode
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.sinks.messages import KINDS
from tests.support.deployed import (
    INSTANCE,
    REDIS_SERVER,
    authority,
    free_port,
    mqtt_port,
    needs_mosquitto,
    needs_redis_server,
    redis_port,
    started,
)

__all__ = ["authority", "mqtt_port", "redis_port"]  # fixtures


# ------------------------------------------------------------------------------------------------ Redis


@contextmanager
def _as(role: str, port: int, **more: Any) -> Iterator[Any]:
    client = redis.Redis(port=port, username=role, password=f"pw-{role}", retry=Retry(NoBackoff(), 0), **more)
    try:
        yield client
    finally:
        client.close()


LIBRARY = """#!lua name=trial
redis.register_function('trial', function(keys, args)
  local id = redis.call('XADD', keys[1], 'MAXLEN', '~', 1000, '*', 'message', args[1])
  redis.call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)
  redis.call('PUBLISH', args[2], args[1])
  return id
end)
"""
EVENTS = f"astra:{INSTANCE}:20260302T143000Z"
COMMANDS = f"astra:{INSTANCE}:commands"
STATUS = f"astra:{INSTANCE}:status"

Do = Callable[[Any], Any]
MAY: list[tuple[str, str, Do]] = [
    ("feed", "publish bars", lambda r: r.xadd("astra:bars", {"symbol": "KO"})),
    ("operator", "command", lambda r: r.xadd(COMMANDS, {"body": "{}", "signature": "00"})),
    ("engine", "load its function", lambda r: r.function_load(LIBRARY)),
    (
        "engine",
        "add and publish",
        lambda r: r.fcall("trial", 1, f"{EVENTS}:alerts", "x", f"astra:{INSTANCE}:alerts"),
    ),
    ("engine", "add a verdict", lambda r: r.xadd(f"{EVENTS}:verdicts", {"message": "x"})),
    (
        "engine",
        "look at its streams",
        lambda r: (r.xrevrange(f"{EVENTS}:alerts"), r.xinfo_stream(f"{EVENTS}:alerts")),
    ),
    ("engine", "show its status", lambda r: r.set(STATUS, "{}")),
    (
        "engine",
        "read bars",
        lambda r: (
            r.exists("astra:bars"),
            r.xread({"astra:bars": "0"}),
            r.xinfo_stream("astra:bars"),
            r.xrange("astra:bars"),
        ),
    ),
    ("engine", "make its group", lambda r: r.xgroup_create(COMMANDS, "engine", "0", mkstream=True)),
    ("engine", "take commands", lambda r: r.xreadgroup("engine", "one", {COMMANDS: ">"})),
    ("engine", "confirm commands", lambda r: r.xack(COMMANDS, "engine", "1-0")),
    ("operator", "see the status", lambda r: r.get(STATUS)),
    ("operator", "wait for its verdict", lambda r: r.xread({f"{EVENTS}:verdicts": "0"})),
    (
        "dashboard",
        "see everything",
        lambda r: (r.get(STATUS), r.xread({f"{EVENTS}:alerts": "0"}), r.xlen(COMMANDS)),
    ),
    ("dashboard", "listen", lambda r: r.pubsub().psubscribe(f"astra:{INSTANCE}:*")),
]
MAY_NOT: list[tuple[str, str, Do]] = [
    ("feed", "command", lambda r: r.xadd(COMMANDS, {"body": "{}"})),
    ("feed", "forge an alert", lambda r: r.xadd(f"{EVENTS}:alerts", {"message": "x"})),
    ("feed", "read bars back", lambda r: r.xrange("astra:bars")),
    ("feed", "see the status", lambda r: r.get(STATUS)),
    ("operator", "forge a verdict", lambda r: r.xadd(f"{EVENTS}:verdicts", {"message": "x"})),
    ("operator", "forge bars", lambda r: r.xadd("astra:bars", {"symbol": "KO"})),
    ("operator", "read others' commands", lambda r: r.xrange(COMMANDS)),
    ("operator", "see the book", lambda r: r.xread({f"{EVENTS}:book": "0"})),
    ("operator", "set the status", lambda r: r.set(STATUS, "{}")),
    ("dashboard", "command", lambda r: r.xadd(COMMANDS, {"body": "{}"})),
    ("dashboard", "publish", lambda r: r.publish(f"astra:{INSTANCE}:alerts", "x")),
    ("dashboard", "set the status", lambda r: r.set(STATUS, "{}")),
    ("dashboard", "delete", lambda r: r.delete(STATUS)),
    ("dashboard", "see other instances", lambda r: r.get("astra:other:status")),
    ("dashboard", "list all keys", lambda r: r.keys("*")),
    ("dashboard", "run scripts", lambda r: r.eval("return 1", 0)),
    ("engine", "forge bars", lambda r: r.xadd("astra:bars", {"symbol": "KO"})),
    ("engine", "write another instance", lambda r: r.xadd("astra:other:x:alerts", {"message": "x"})),
    ("engine", "write it by function", lambda r: r.fcall("trial", 1, "astra:other:alerts", "x", "c")),
    ("engine", "publish elsewhere", lambda r: r.publish("astra:other:alerts", "x")),
    ("engine", "delete its events", lambda r: r.delete(f"{EVENTS}:alerts")),
    ("engine", "replace functions", lambda r: r.function_flush()),
    ("engine", "run scripts", lambda r: r.eval("return 1", 0)),
    ("engine", "configure", lambda r: r.config_get("*")),
    ("engine", "flush", lambda r: r.flushall()),
    ("engine", "change users", lambda r: r.acl_setuser("mallory", enabled=True)),
    ("engine", "shut it down", lambda r: r.shutdown()),
    ("engine", "watch everybody", lambda r: r.execute_command("MONITOR")),
]


@pytest.mark.parametrize(("role", "what", "do"), MAY, ids=[f"{role} may {what}" for role, what, _ in MAY])
def test_each_redis_role_can_do_its_work(redis_port: int, role: str, what: str, do: Do) -> None:
    """A right too few is found in production, by an alert that does not arrive."""
    with _as(role, redis_port) as client:
        do(client)


@pytest.mark.parametrize(
    ("role", "what", "do"), MAY_NOT, ids=[f"{role} may not {what}" for role, what, _ in MAY_NOT]
)
def test_each_redis_role_can_do_nothing_else(redis_port: int, role: str, what: str, do: Do) -> None:
    """A stolen dashboard password must not move a limit, and a feed's must not forge a verdict."""
    with _as(role, redis_port) as client, pytest.raises(redis.exceptions.NoPermissionError):
        do(client)


def test_redis_knows_nobody_by_default(redis_port: int) -> None:
    """The default user is how an open Redis is emptied within hours; health checks see that it answers."""
    with socket.create_connection(("127.0.0.1", redis_port), timeout=10.0) as nobody:
        nobody.sendall(b"PING\r\n")
        assert nobody.recv(100) == b"-NOAUTH Authentication required.\r\n"
    with _as("engine", redis_port) as right, pytest.raises(redis.exceptions.AuthenticationError):
        right.execute_command("AUTH", "engine", "pw-operator")


@needs_redis_server
def test_redis_speaks_tls_alone(tmp_path: Path, authority: Path) -> None:
    """The snippet must close the plain port and prove who answers, on the original server too."""
    port = free_port()
    (tmp_path / "data").mkdir()
    for name in ("ca.crt", "server.crt", "server.key"):
        shutil.copy(authority / name, tmp_path / "data")
    settings = ("tls.conf", "--tls-port", str(port), "--bind", "127.0.0.1")
    with started("redis", tmp_path, port, {"SERVER": str(REDIS_SERVER)}, *settings):
        with _as("engine", port, ssl=True, ssl_ca_certs=str(authority / "ca.crt")) as client:
            assert client.ping()
        with _as("engine", port) as plain, pytest.raises(redis.exceptions.ConnectionError):
            plain.ping()
        with _as("engine", port, ssl=True) as stranger, pytest.raises(redis.exceptions.ConnectionError):
            stranger.ping()


# ------------------------------------------------------------------------------------------------- MQTT


def _client(role: str | None, port: int, **more: Any) -> aiomqtt.Client:
    login = {} if role is None else {"username": role, "password": f"pw-{role}"}
    return aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, timeout=10.0, **login, **more
    )


class Confirmed(aiomqtt.Client):
    """Keeps what the broker said of the last message."""

    said: ReasonCode | None = None

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        self.said = reason_code
        super()._on_publish(client, userdata, mid, reason_code, properties)


async def _may_write(role: str, port: int, topic: str) -> bool:
    async with Confirmed(
        "127.0.0.1",
        port,
        protocol=aiomqtt.ProtocolVersion.V5,
        username=role,
        password=f"pw-{role}",
        timeout=10.0,
    ) as client:
        await client.publish(topic, b"x", qos=1)
        return client.said is None or not client.said.is_failure


async def _may_read(role: str, port: int, topic: str, writer: str) -> bool:
    """Tell whether a message on ``topic`` reaches ``role``."""
    async with _client(role, port) as reader, _client(writer, port) as one:
        await reader.subscribe(topic, qos=1)
        await one.publish(topic, b"wanted", qos=1)
        # The broker answers in order: what it had for the reader comes before this answer.
        await reader.unsubscribe("none")
        return len(reader.messages) > 0


KIND_TOPICS = sorted(
    {f"astra/{INSTANCE}/{kind}" for kind in {*KINDS.values(), "status", "online", "delivered"}}
)
BARS = "astra/bars/KO"
ORDERS = f"astra/{INSTANCE}/commands"


@needs_mosquitto
async def test_each_mqtt_role_writes_its_topics_alone(mqtt_port: int) -> None:
    """A dashboard that could write commands, or a feed that could write states, would be believed."""
    allowed = {
        "engine": set(KIND_TOPICS),
        "operator": {ORDERS},
        "dashboard": set(),
        "feed": {BARS},
    }
    topics = [*KIND_TOPICS, BARS, ORDERS, "astra/other/state", "elsewhere"]
    for role, expected in allowed.items():
        written = {topic for topic in topics if await _may_write(role, mqtt_port, topic)}
        assert written == expected, role


@needs_mosquitto
@pytest.mark.parametrize(
    ("role", "topic", "writer", "may"),
    [
        ("engine", BARS, "feed", True),
        ("engine", ORDERS, "operator", True),
        ("operator", f"astra/{INSTANCE}/verdicts", "engine", True),
        ("operator", f"astra/{INSTANCE}/book", "engine", False),
        ("operator", ORDERS, "operator", False),
        ("dashboard", f"astra/{INSTANCE}/book", "engine", True),
        ("dashboard", f"astra/{INSTANCE}/alerts", "engine", True),
        ("dashboard", ORDERS, "operator", False),
        ("feed", BARS, "feed", False),
        ("feed", f"astra/{INSTANCE}/state", "engine", False),
    ],
)
async def test_each_mqtt_role_reads_what_it_needs(
    mqtt_port: int, role: str, topic: str, writer: str, may: bool
) -> None:
    """Commands carry signatures, books carry positions: who need not see them does not."""
    assert await _may_read(role, mqtt_port, topic, writer) is may


@needs_mosquitto
async def test_the_broker_lets_no_stranger_in(mqtt_port: int) -> None:
    """An open broker takes bars from anybody, and so orders from anybody."""
    for client in (_client(None, mqtt_port), _client("nobody", mqtt_port)):
        with pytest.raises(aiomqtt.MqttError):
            async with client:
                pytest.fail("was let in")


@needs_mosquitto
@pytest.mark.usefixtures("mqtt_port")
async def test_the_broker_speaks_tls_alone(tmp_path: Path, authority: Path) -> None:
    """The snippet must prove who answers; a password in the clear is everybody's.

    Beside the plain broker, so that one which opens the default port as well fails to start.
    """
    conf = tmp_path / "conf"
    conf.mkdir()
    for name in ("ca.crt", "server.crt", "server.key"):
        shutil.copy(authority / name, conf)
    port = free_port()
    address = {"PORT": str(port), "BIND": "127.0.0.1"}
    with started("mosquitto", tmp_path, port, address, "tls.conf"):
        trusted = ssl.create_default_context(cafile=str(authority / "ca.crt"))
        async with _client("engine", port, tls_context=trusted) as client:
            await client.publish(f"astra/{INSTANCE}/online", b"1", qos=1)
        with socket.create_connection(("127.0.0.1", port), timeout=10.0) as plain:
            plain.sendall(bytes.fromhex("101000044d5154540502003c000003616263"))  # a CONNECT of MQTT 5
            with suppress(ConnectionResetError):
                assert plain.recv(1) in {b"", b"\x15"}  # nothing, or an alert of TLS: never a CONNACK
        with socket.create_connection(("127.0.0.1", port), timeout=10.0) as raw:
            stranger = ssl.create_default_context()
            with pytest.raises(ssl.SSLCertVerificationError):
                stranger.wrap_socket(raw, server_hostname="127.0.0.1")
