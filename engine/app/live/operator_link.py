"""How signed commands reach a running engine: a Redis stream, an MQTT topic, a folder.

Each source yields commands stamped with the engine's clock, and for each a function to call once the command
is on disk: only then does the sender's side forget it (XACK, PUBACK, the file is removed). What comes again
because that was lost is yielded again, and the core refuses it as replayed.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiomqtt
import msgspec
import structlog
from paho.mqtt.subscribeoptions import SubscribeOptions
from redis.exceptions import RedisError, ResponseError

from engine.clock import Clock, stopwatch_s
from engine.commands import MESSAGE_BYTES_MAX, NOBODY, Keys, attributed, read_message
from engine.connections import answered, is_cancelled, mqtt_subscriber, redis_client, waits_s
from engine.events import Command
from engine.links import MqttLink, RedisLink

#: A command, and what to call once it is on disk.
Received: TypeAlias = tuple[Command, Callable[[], None]]

#: Field of an entry of the Redis stream; group and consumer that read it.
FIELD: Final = b"command"
GROUP: Final = "engine"
_REDIS: Final = "redis"
_MQTT: Final = "mqtt"
_BLOCK_MS: Final = 250
_POLL_S: Final = 0.2
_BATCH: Final = 50
_SESSION_S: Final = 3600
_PACKET_MAX: Final = MESSAGE_BYTES_MAX + 4096
_IN_FLIGHT: Final = 20

#: Messages that are no signed commands: so many at once, and one more every so often, are recorded.
_BURST: Final = 10
_REFILL_S: Final = 10.0
#: Characters of a message that are recorded when it is none.
_KEPT: Final = 2_000
_REMEMBERED: Final = 1_000

_log = structlog.get_logger("astra.operator")


class Admission:
    """Decides what enters the log: signed commands, and a bounded number of other messages.

    Whoever can reach a transport can send rubbish, or one command again and again; neither journal nor alerts
    may grow by it. The core still judges everything that enters.

    Parameters
    ----------
    keys : Keys
    clock : Clock
        Stamps commands.
    monotonic_s : callable
        Measures how fast rubbish comes.
    """

    def __init__(self, keys: Keys, clock: Clock, monotonic_s: Callable[[], float] = stopwatch_s) -> None:
        #: Messages that were not recorded.
        self.dropped = 0
        #: Whether commands sent by each server reach the engine.
        self.links: dict[str, bool] = {}
        self._keys = keys
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._tokens, self._filled_s = float(_BURST), monotonic_s()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def admit(self, data: bytes) -> Command | None:
        """Return a message as the command to record, stamped; None if it is only counted."""
        now_ns = self._clock.now_ns()
        command = read_message(data, now_ns) or Command(now_ns, data[:_KEPT].decode(errors="replace"), "")
        command = attributed(command, self._keys)
        if command.signed_by != NOBODY and self._is_new(command):
            return command
        if not self._takes_token():
            self.dropped += 1
            return None
        return msgspec.structs.replace(command, body=command.body[:_KEPT])

    def _is_new(self, command: Command) -> bool:
        """Whether it was not seen lately."""
        if command.signature in self._seen:
            return False
        self._seen[command.signature] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _takes_token(self) -> bool:
        now_s = self._monotonic_s()
        self._tokens = min(float(_BURST), self._tokens + (now_s - self._filled_s) / _REFILL_S)
        self._filled_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def from_redis(
    link: RedisLink, instance: str, admission: Admission, may_read: Callable[[Any], Awaitable[bool]]
) -> AsyncIterator[Received]:
    """Yield the commands of the stream ``astra:<instance>:commands``, until closed; reconnects for ever.

    A consumer group keeps what was read and not confirmed: it is read again after a restart. ``may_read``
    is asked before each reading, with the client: whether they are for this engine (``live.owner``).
    """
    return _RedisCommands(link, instance, admission, may_read).commands()


def from_mqtt(
    link: MqttLink, instance: str, admission: Admission, may_read: Callable[[], bool]
) -> AsyncIterator[Received]:
    """Yield the commands of the topic ``<topic>/<instance>/commands``, until closed; reconnects for ever.

    QoS 1, and the session outlives the connection: what is sent while the engine is away waits at the broker.
    Retained messages are not asked for: a command counts once. ``may_read`` is asked before each connection,
    which would end that of another engine of this name, and before each command (``live.owner_mqtt``).
    """
    return _MqttCommands(link, instance, admission, may_read).commands()


def from_spool(folder: Path, admission: Admission) -> AsyncIterator[Received]:
    """Yield the commands put into a folder as ``*.json``, in order of their names, until closed.

    The folder is made private: who cannot write there cannot send. A file goes once its command is on disk.
    """
    return _SpoolCommands(folder, admission).commands()


class _RedisCommands:
    def __init__(
        self, link: RedisLink, instance: str, admission: Admission, may_read: Callable[[Any], Awaitable[bool]]
    ) -> None:
        self._may_read = may_read
        self._link = link
        self._name = f"astra-{instance}-commands"
        self._key = f"astra:{instance}:commands"
        self._admission = admission
        #: Entries yielded and not confirmed, and those of them that may be.
        self._under_way: set[bytes] = set()
        self._durable: list[bytes] = []

    async def commands(self) -> AsyncIterator[Received]:
        waits, is_told = waits_s(), False
        self._admission.links[_REDIS] = False
        while True:
            client: Any = redis_client(self._link, self._name)
            try:
                await self._make_group(client)
                self._admission.links[_REDIS] = True
                after = b"0"  # first what was read before and never confirmed
                while True:
                    await self._confirm(client)
                    if not await self._may_read(client):
                        await asyncio.sleep(_BLOCK_MS / 1_000)
                        continue
                    entries = await self._read(client, after)
                    waits, is_told = waits_s(), False
                    for id_, fields in entries:
                        if (received := self._received(id_, fields)) is not None:
                            yield received
                    if after != b">":
                        after = entries[-1][0] if entries else b">"
                    elif not entries:
                        after = b"0"  # a connection that died may have been given some at its end
            except (RedisError, OSError) as error:
                self._admission.links[_REDIS] = False
                is_told = is_told or _tell_lost(_REDIS, error)
            finally:
                with suppress(RedisError, OSError):
                    await client.aclose()
            await asyncio.sleep(next(waits))

    async def _make_group(self, client: Any) -> None:
        """Make stream and group where they are not; a server that lost its data has lost them too."""
        try:
            await answered(client.xgroup_create(self._key, GROUP, id="0", mkstream=True))
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _read(self, client: Any, after: bytes) -> list[tuple[bytes, dict[bytes, bytes] | None]]:
        """Read new entries (``>``, waiting a while), or those that were read before, after an id."""
        block_ms = _BLOCK_MS if after == b">" else None
        asked = client.xreadgroup(GROUP, GROUP, {self._key: after}, count=_BATCH, block=block_ms)
        found = await answered(asked)
        entries: list[tuple[bytes, dict[bytes, bytes] | None]] = found[0][1] if found else []
        return entries

    def _received(self, id_: bytes, fields: dict[bytes, bytes] | None) -> Received | None:
        if id_ in self._under_way:
            return None
        self._under_way.add(id_)
        command = self._admission.admit((fields or {}).get(FIELD, b""))
        if command is None:
            self._durable.append(id_)
            return None
        return command, partial(self._durable.append, id_)

    async def _confirm(self, client: Any) -> None:
        ids = self._durable.copy()
        if ids:
            await answered(client.xack(self._key, GROUP, *ids))
            del self._durable[: len(ids)]
            self._under_way.difference_update(ids)


class _MqttCommands:
    def __init__(
        self, link: MqttLink, instance: str, admission: Admission, may_read: Callable[[], bool]
    ) -> None:
        self._may_read = may_read
        self._link = link
        self._name = f"astra-{instance}-commands"
        self._topic = f"{link.topic}/{instance}/commands"
        self._admission = admission

    async def commands(self) -> AsyncIterator[Received]:
        waits, is_told = waits_s(), False
        self._admission.links[_MQTT] = False
        while True:
            if not self._may_read():
                self._admission.links[_MQTT] = False
                await asyncio.sleep(_POLL_S)
                continue
            client = self._new_client()
            try:
                async with client:
                    await self._subscribe(client)
                    if is_cancelled():  # connecting and subscribing may have forgotten it
                        raise asyncio.CancelledError
                    waits, is_told = waits_s(), False
                    self._admission.links[_MQTT] = True
                    async for message in client.messages:
                        if not self._may_read():
                            break  # not acknowledged: the broker keeps it for whoever may
                        if (received := self._received(client, message)) is not None:
                            yield received
            except (aiomqtt.MqttError, OSError) as error:
                self._admission.links[_MQTT] = False
                is_told = is_told or _tell_lost(_MQTT, error)
            await asyncio.sleep(next(waits))

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        """Subscribe, or raise ``MqttError``: a broker refuses in its answer, and then delivers nothing."""
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        granted: Any = await client.subscribe(self._topic, options=options)
        if granted[0].value != 1:
            raise aiomqtt.MqttError(f"the broker refused the subscription to {self._topic}: {granted[0]}")

    def _new_client(self) -> aiomqtt.Client:
        return mqtt_subscriber(
            self._link, self._name, kept_s=_SESSION_S, in_flight_max=_IN_FLIGHT, packet_max_bytes=_PACKET_MAX
        )

    def _received(self, client: aiomqtt.Client, message: aiomqtt.Message) -> Received | None:
        body = message.payload if isinstance(message.payload, bytes | bytearray) else b""
        command = self._admission.admit(bytes(body))
        if command is None:
            _acknowledge(client, message)
            return None
        return command, partial(_acknowledge, client, message)


def _acknowledge(client: aiomqtt.Client, message: aiomqtt.Message) -> None:
    """Send the PUBACK; on a connection that is gone nothing happens, and the message comes again."""
    client._client.ack(message.mid, message.qos)


class _SpoolCommands:
    def __init__(self, folder: Path, admission: Admission) -> None:
        self._folder = folder
        self._admission = admission
        self._under_way: set[str] = set()

    async def commands(self) -> AsyncIterator[Received]:
        await asyncio.to_thread(_make_private, self._folder)
        while True:
            for name, data in await asyncio.to_thread(_waiting, self._folder, frozenset(self._under_way)):
                self._under_way.add(name)
                command = self._admission.admit(data)
                if command is None:
                    self._remove(name)
                else:
                    yield command, partial(self._remove, name)
            await asyncio.sleep(_POLL_S)

    def _remove(self, name: str) -> None:
        with suppress(OSError):  # what cannot be removed is not read again, either
            (self._folder / name).unlink(missing_ok=True)
            self._under_way.discard(name)


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def _waiting(folder: Path, but: frozenset[str]) -> list[tuple[str, bytes]]:
    """Read what waits: plain files only, no more of each than a command may have."""
    found: list[tuple[str, bytes]] = []
    with suppress(OSError):
        for path in sorted(folder.glob("*.json")):
            if path.name in but or len(found) == _BATCH:
                continue
            with suppress(OSError):
                found.append((path.name, _read_plain(path)))
    return found


def _read_plain(path: Path) -> bytes:
    if not stat.S_ISREG(path.lstat().st_mode):
        return b""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MESSAGE_BYTES_MAX + 1)


def _tell_lost(server: str, error: Exception) -> bool:
    """Tell that operators cannot be heard by a server; True, since it is told once an outage."""
    _log.warning("operator link lost", server=server, error=str(error))
    return True
