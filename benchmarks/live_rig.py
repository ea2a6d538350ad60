"""A daemon and its servers for a benchmark: real ones, as child processes, on this machine's disk."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiomqtt
import msgspec

from benchmarks import arrays, tape
from benchmarks.tape import Size
from engine.app.live.operator_send import Line
from engine.app.live.servers import MqttBroker, RedisServer
from engine.clock import wall_ns
from engine.commands import VALID_MAX_NS, CommandBody, message_of, sign
from engine.controls import REVERT
from engine.events import Nanos

INSTANCE: Final = "bench"
KEY: Final = "a key of the benchmark alone, worth nothing"
_ROOT: Final = Path(__file__).resolve().parents[1]
_YEAR_NS: Final = 365 * 86_400 * 10**9
_VALID_NS: Final = 60 * 10**9
_POLL_S: Final = 0.05
_START_S: Final = 120.0
_STOP_S: Final = 60.0
_LOG_TAIL: Final = 2_000

_CONFIG: Final = """
[feed]
kind = "{feed}"
{begin}

[universe]
calendar = "24/7"
symbols = {symbols}

[book]
positions = {{ {positions} }}

[costs]
participation_max_frac = 1e-6 # the opening book stays: what is sold of it are crumbs

[risk]
var_limit_usd = 1e9
history = "daily.parquet"
prior_sessions = 1e9 # the history alone: dear minutes are to move prices, not the covariance

[operator]
instance = "{instance}"
var_limit_max_usd = 1e9

[[strategy]]
kind = "kalman_pairs"
pairs = {pairs}
prices = "raw"
raw_unit = "usd"
noise = {{ delta = {delta}, observation_variance = {variance} }}
initial_covariance = {initial}
warmup_min = 0
session_open = "none"
entry_z = 1.0
exit_z = 0.5

[allocator]
kind = "mean_variance"
every_min = 30

[daemon]
state_dir = "state"
clock = "bars"

[redis]
url = "{redis_url}"

[mqtt]
host = "{mqtt_host}"
port = {mqtt_port}
"""


class Servers(NamedTuple):
    """A Redis that writes everything to disk before it answers, and a broker."""

    redis: RedisServer
    mqtt: MqttBroker


def write_config(folder: Path, feed: str, n_symbols: int, servers: Servers) -> Path:
    """Write configuration and daily closes of a daemon."""
    size = Size(n_symbols // 2, 1)
    symbols = tape.symbols_of(size)
    arrays.write_history(folder / "daily.parquet", size)
    text = _CONFIG.format(
        feed="redis_stream" if feed == "redis" else "mqtt",
        begin='begin = "oldest"' if feed == "redis" else "",
        symbols=list(symbols),
        positions=", ".join(f"{symbol} = {round(5_000 / n_symbols, 2)}" for symbol in symbols),
        pairs=[f"{y}/{x}" for y, x in zip(symbols[0::2], symbols[1::2], strict=True)],
        instance=INSTANCE,
        delta=tape.DELTA,
        variance=tape.OBSERVATION_VARIANCE,
        initial=tape.INITIAL_COVARIANCE,
        redis_url=servers.redis.link.url,
        mqtt_host=servers.mqtt.link.host,
        mqtt_port=servers.mqtt.port,
    )
    path = folder / "astra.toml"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def child(config: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon beside its configuration; it is ended in good order, and has ended afterwards."""
    log = config.parent / "daemon.log"
    command = [sys.executable, "-m", "benchmarks.live_child", str(config), *options]
    environment = os.environ | {"ASTRA_OPERATOR_KEY": KEY}
    with (
        log.open("ab") as out,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=environment, cwd=_ROOT
        ) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def until_running(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    """Wait until a daemon says that its feed is connected; return its status document."""
    path = folder / "state" / "status.json"
    async with asyncio.timeout(_START_S):
        while True:
            if process.poll() is not None:
                log = (folder / "daemon.log").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"the daemon ended with status {process.returncode}:\n{log[-_LOG_TAIL:]}")
            with suppress(FileNotFoundError):
                document = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
                if document["feed"]["is_connected"]:
                    return document
            await asyncio.sleep(_POLL_S)


def mqtt_client(broker: MqttBroker, **options: Any) -> aiomqtt.Client:
    """Return a client of the broker."""
    return aiomqtt.Client(broker.link.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5, **options)


class Operator:
    """Sends signed commands to a daemon.

    Parameters
    ----------
    line : Line
        The way to it.
    now_ns : int or None
        What time it is for the daemon; None for the wall clock.
    speed : float
        How many of its seconds pass in one.
    """

    def __init__(self, line: Line, now_ns: Nanos | None = None, speed: float = 1.0) -> None:
        self._line = line
        self._now_ns = now_ns
        self._valid_ns = min(round(_VALID_NS * speed), VALID_MAX_NS // 2)

    async def command(self, kind: str, *, halt_id: str = "", **values: float) -> str:
        """Sign and send one, and return its nonce; numbers that it loosens stay so for a year."""
        now_ns, nonce = self._now_ns or wall_ns(), secrets.token_hex(16)
        body = CommandBody(
            kind=kind,
            instance=INSTANCE,
            principal="benchmark",
            issued_ns=now_ns - self._valid_ns,
            expires_ns=now_ns + self._valid_ns,
            nonce=nonce,
            reason="measuring",
            halt_id=halt_id,
            args={**values, REVERT: float(now_ns + _YEAR_NS)} if values else {},
        )
        await self._line.send(message_of(sign(body, KEY.encode(), now_ns)), nonce)
        return nonce
