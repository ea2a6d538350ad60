"""Sending a signed command to a running engine, and hearing what came of it.

The way is the first one that the configuration names: Redis, else MQTT, else the folder ``commands`` beside
the journal. What became of a command is read from the status document, which holds the latest verdicts; a
verdict is known by the nonce of its command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import aiomqtt
from redis.exceptions import RedisError

from engine.app.config.addresses import mqtt_link, redis_link
from engine.app.config.load import Config
from engine.app.live import status_document
from engine.app.live.operator_link import FIELD
from engine.app.live.state_folder import StateFolder
from engine.clock import stopwatch_s
from engine.commands import message_of
from engine.connections import mqtt_client, redis_client
from engine.disk import OS_DISK, write_whole
from engine.errors import ServiceError
from engine.events import Command, CommandJudged, Nanos

Way: TypeAlias = Literal["redis", "mqtt", "spool"]
Document: TypeAlias = dict[str, Any]

_POLL_S: Final = 0.05
#: How long a retained status may take to come.
_RETAINED_S: Final = 1.0
#: Entries that the stream of commands keeps, about.
_STREAM_MAX: Final = 10_000


class Line(Protocol):
    """A way to an engine."""

    name: Way

    async def status(self) -> bytes | None:
        """Return the status document; None if there is none."""
        ...

    async def send(self, message: bytes, nonce: str) -> None:
        """Hand a command over; returns once the other side has it, or has it on disk."""
        ...


class RedisLine:
    """By the stream ``astra:<instance>:commands`` and the key ``astra:<instance>:status``."""

    name: Way = "redis"

    def __init__(self, client: Any, instance: str) -> None:
        self._client = client
        self._instance = instance

    async def status(self) -> bytes | None:
        """Read the key."""
        found: bytes | None = await self._client.get(f"astra:{self._instance}:status")
        return found

    async def send(self, message: bytes, nonce: str) -> None:  # noqa: ARG002 - the stream numbers entries
        """Add to the stream."""
        stream = f"astra:{self._instance}:commands"
        await self._client.xadd(stream, {FIELD: message}, maxlen=_STREAM_MAX, approximate=True)


class MqttLine:
    """By the topic ``<topic>/<instance>/commands`` and the retained ``<topic>/<instance>/status``."""

    name: Way = "mqtt"

    def __init__(self, client: aiomqtt.Client, place: str) -> None:
        self._client = client
        self._place = place
        self._latest: bytes | None = None
        self._came = asyncio.Event()

    async def listen(self) -> None:
        """Keep the latest status, for as long as the connection lasts."""
        await self._client.subscribe(f"{self._place}/status", qos=1)
        async for message in self._client.messages:
            if isinstance(message.payload, bytes | bytearray):
                self._latest = bytes(message.payload)
                self._came.set()

    async def status(self) -> bytes | None:
        """Return the latest; the first time, wait a moment for the retained one."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), _RETAINED_S)
        return self._latest

    async def send(self, message: bytes, nonce: str) -> None:  # noqa: ARG002 - MQTT numbers messages
        """Publish with QoS 1."""
        await self._client.publish(f"{self._place}/commands", message, qos=1)


class SpoolLine:
    """By the folder ``commands`` and the file ``status.json`` of the state folder."""

    name: Way = "spool"

    def __init__(self, state: StateFolder) -> None:
        self._state = state

    async def status(self) -> bytes | None:
        """Read the file."""
        return await asyncio.to_thread(_read, self._state.status)

    async def send(self, message: bytes, nonce: str) -> None:
        """Write a file of its own, whole or not at all."""
        await asyncio.to_thread(_put, self._state.commands, f"{nonce}.json", message)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _put(folder: Path, name: str, message: bytes) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    write_whole(OS_DISK, folder / name, message)


@asynccontextmanager
async def line_to(config: Config, way: Way | None) -> AsyncIterator[Line]:
    """Open the way to the configured engine; ``way`` insists on one.

    Raises
    ------
    ServiceError
        S033 if the way is not configured, S034 if the server cannot be reached.
    """
    redis_, mqtt_ = redis_link(config), mqtt_link(config)
    instance = config.operator.instance
    chosen = way or ("redis" if redis_ is not None else "mqtt" if mqtt_ is not None else "spool")
    try:
        if chosen == "redis" and redis_ is not None:
            client = redis_client(redis_, f"astra-{instance}-operator")
            try:
                yield RedisLine(client, instance)
            finally:
                with suppress(RedisError, OSError):
                    await client.aclose()
        elif chosen == "mqtt" and mqtt_ is not None:
            async with mqtt_client(mqtt_) as connection:
                line = MqttLine(connection, f"{mqtt_.topic}/{instance}")
                listening = asyncio.create_task(line.listen())
                try:
                    yield line
                finally:
                    listening.cancel()
                    with suppress(asyncio.CancelledError, aiomqtt.MqttError):
                        await listening
        elif chosen == "spool":
            yield SpoolLine(_state_folder(config))
        else:
            raise ServiceError(
                "S033", f"[{chosen}] is not configured", "--via", "Its table names the server."
            )
    except (RedisError, aiomqtt.MqttError, OSError) as error:
        hint = "If the engine runs on this machine, go past the server: --via spool"
        raise ServiceError(
            "S034",
            f"cannot reach the engine by {chosen}: {error}",
            f"[{chosen}]",
            hint if chosen != "spool" else "",
        ) from None


def _state_folder(config: Config) -> StateFolder:
    state = StateFolder(config.daemon.state_dir)
    if not state.root.is_dir():
        raise ServiceError(
            "S034",
            f"there is no state folder {state.root}",
            "daemon.state_dir",
            "No engine of this configuration has run on this machine: astra run CONFIG",
        )
    return state


async def read_status(line: Line) -> Document | None:
    """Return the status document; None if there is none, or none that can be read."""
    data = await line.status()
    return None if data is None else status_document.read(data)


async def ask(line: Line, command: Command, nonce: str, timeout_s: float) -> CommandJudged | None:
    """Send a command and wait for the verdict on it; None if there is none in time."""
    await line.send(message_of(command), nonce)
    deadline_s = stopwatch_s() + timeout_s
    while True:
        found = verdict_in(await read_status(line), nonce)
        if found is not None or stopwatch_s() >= deadline_s:
            return found
        await asyncio.sleep(_POLL_S)


def verdict_in(status: Document | None, nonce: str) -> CommandJudged | None:
    """Find the first verdict on a nonce: a later one is of the same command, which came twice."""
    for fields in (status or {}).get("verdicts", ()):
        if fields.get("nonce") == nonce:
            return CommandJudged(**fields)
    return None


def engine_now_ns(status: Document | None, wall_ns: Nanos) -> tuple[Nanos, float]:
    """Return what time it is where commands are judged, and how many of its seconds pass in one.

    It is the wall clock, unless the engine plays a tape: also where the bars close the minutes.

    Examples
    --------
    >>> engine_now_ns({"now_ns": 7, "clock_ns": 1_000, "written_ns": 50_000, "speed": 60.0}, 50_002)
    (1120, 60.0)
    >>> engine_now_ns(None, 7)
    (7, 1.0)
    """
    if status is None:
        return wall_ns, 1.0
    speed = float(status["speed"])
    clock_ns = int(status.get("clock_ns") or status["now_ns"])  # an older engine tells only one of them
    return clock_ns + round((wall_ns - int(status["written_ns"])) * speed), speed
