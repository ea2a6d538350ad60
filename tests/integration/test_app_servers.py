"""The servers of ``--with-servers``: they come up, come back, and leave with whoever started them."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from engine.app.live.servers import MqttBroker, RedisServer
from engine.clock import stopwatch_s
from engine.errors import ServiceError

PASSWORD = "correct-horse"  # noqa: S105 - of servers that live for a second
_STARTS_AND_IS_KILLED = """
import os, signal
from engine.app.live.servers import MqttBroker, RedisServer
redis, mqtt = RedisServer().start(), MqttBroker().start()
print(redis.port, mqtt.port, redis.folder, mqtt.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_servers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """A server left over by a killed engine holds the port, and answers for one that is gone."""
    done = subprocess.run(
        [sys.executable, "-c", _STARTS_AND_IS_KILLED],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    ports = [int(word) for word in done.stdout.split()[:2]]
    deadline_s = stopwatch_s() + 10.0
    while any(map(is_listening, ports)):
        assert stopwatch_s() < deadline_s, "a server has outlived its parent"


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    """What Redis confirmed has to survive kill -9, else it is no place for alerts."""
    with RedisServer(tmp_path / "redis", password=PASSWORD) as server:
        with Redis(port=server.port, password=PASSWORD) as client:
            client.set("key", "value")
        server.kill()
        assert not is_listening(server.port)
        server.start()
        with Redis(port=server.port, password=PASSWORD) as client:
            assert client.get("key") == b"value"
        server.kill()
        server.lose_data()
        server.start()
        with Redis(port=server.port, password=PASSWORD) as client:
            assert client.get("key") is None


def test_passwords_are_for_the_owner_only(tmp_path: Path) -> None:
    """A password on the command line or in a readable file is everybody's on a shared machine."""
    server = RedisServer(tmp_path / "redis", password=PASSWORD)
    broker = MqttBroker(tmp_path / "mqtt", users={"engine": PASSWORD})
    with server, broker:
        for path in (tmp_path / "redis/server.conf", tmp_path / "mqtt/broker.toml"):
            assert path.stat().st_mode & 0o077 == 0
            assert PASSWORD in path.read_text()
        shown = [
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _mentions(path, tmp_path)
        ]
        assert shown
        assert not [line for line in shown if PASSWORD.encode() in line]


def _mentions(path: Path, folder: Path) -> bool:
    try:
        return str(folder).encode() in path.read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("kind", [RedisServer, MqttBroker])
def test_a_taken_port_is_an_error_that_names_it(kind: type, tmp_path: Path) -> None:
    """Otherwise the engine would talk to whatever happens to listen there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port}") as raised:
            kind(tmp_path / "server", port=port).start()
    assert raised.value.code == "S011"


@pytest.mark.parametrize("kind", [RedisServer, MqttBroker])
def test_without_the_extra_the_error_says_what_to_install(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ImportError would send a newcomer to the source code."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ServiceError, match="extra `servers`") as raised:
        kind(tmp_path / "server").start()
    assert raised.value.code == "S010"
    assert "astra-quant[servers]" in raised.value.detail


def test_a_server_that_dies_at_once_shows_its_log(tmp_path: Path) -> None:
    """The reason stands in the server's own log, and nobody knows where that is."""
    users = tmp_path / "users.acl"
    users.write_text("user nonsense what\n")
    with pytest.raises(ServiceError, match="did not come up") as raised:
        RedisServer(tmp_path / "redis", acl_file=users).start()
    assert raised.value.code == "S011"
    assert "acl" in raised.value.detail.lower()
