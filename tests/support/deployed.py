"""Servers started with the very files of ``deploy/``: every role ``r`` has the password ``pw-r``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from engine.app.live.servers import _redis_binary
from engine.clock import stopwatch_s
from tests.support.source import ROOT

ROLES = ("engine", "operator", "dashboard", "feed")
INSTANCE = "desk"
MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
REDIS_SERVER = shutil.which("redis-server")
START_S = 15.0
POLL_S = 0.01

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
needs_redis_server = pytest.mark.skipif(REDIS_SERVER is None, reason="redis-server is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a throw-away authority and a certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("ca")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    script = """
    new="openssl req -newkey rsa:2048 -nodes -batch"
    $new -x509 -days 2 -subj /CN=throw-away -keyout ca.key -out ca.crt
    $new -subj /CN=127.0.0.1 -keyout server.key -out server.csr
    sign="openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial"
    $sign -in server.csr -days 2 -extfile san -out server.crt
    """
    subprocess.run(["sh", "-ec", script], cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def started(
    name: str, folder: Path, port: int, environment: dict[str, str], *arguments: str
) -> Iterator[None]:
    """Run ``deploy/<name>/start.sh`` in ``folder`` until the port answers, and end it afterwards."""
    conf = shutil.copytree(ROOT / "deploy" / name, folder / "conf", dirs_exist_ok=True)
    for part in ("run", "data", "secrets"):
        (folder / part).mkdir(exist_ok=True)
    for role in ROLES:
        (folder / "secrets" / f"{'mqtt' if name == 'mosquitto' else 'redis'}_{role}").write_text(
            f"pw-{role}\n"
        )
    paths = {f"{part.upper()}_DIR": str(folder / part) for part in ("run", "data", "secrets")}
    log = folder / "log"
    path = os.environ["PATH"] + ":/usr/sbin"
    with log.open("wb") as out:
        child = subprocess.Popen(
            ["sh", str(conf / "start.sh"), *arguments],
            env={"PATH": path, "ASTRA_INSTANCE": INSTANCE, **paths, **environment},
            stdout=out,
            stderr=out,
        )
    try:
        deadline_s = stopwatch_s() + START_S
        while not _answers(port):
            assert child.poll() is None, log.read_text()
            assert stopwatch_s() < deadline_s, log.read_text()
            threading.Event().wait(POLL_S)
        yield
    finally:
        child.terminate()
        child.wait(10.0)


def free_port() -> int:
    """Find a port below those the kernel hands out: a client that polls one of them may connect to itself."""
    first = 20_000 + os.getpid() % 8_000
    for port in range(first, 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a Redis under deploy/redis, shared by the tests of a file."""
    port = free_port()
    settings = ("--port", str(port), "--bind", "127.0.0.1")
    server = {"SERVER": str(_redis_binary())}
    with started("redis", tmp_path_factory.mktemp("redis"), port, server, *settings):
        yield port


@pytest.fixture(scope="module")
def mqtt_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a broker under deploy/mosquitto, shared by the tests of a file."""
    port = free_port()
    address = {"PORT": str(port), "BIND": "127.0.0.1"}
    with started("mosquitto", tmp_path_factory.mktemp("mqtt"), port, address):
        yield port
