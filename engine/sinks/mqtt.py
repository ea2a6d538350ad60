"""Effects to an MQTT broker, at least once: each is published again until the broker has confirmed it.

A broker confirms what it has in memory. One that is killed may forget what it had confirmed but not yet
passed on, so urgent messages confirmed shortly before a connection broke are published again on the next one.
Who listens tells them apart by ``id``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import aiomqtt

from engine.clock import stopwatch_s
from engine.connections import ANSWER_MAX_S, mqtt_arguments
from engine.errors import ServiceError
from engine.links import MqttLink
from engine.ports import Effect
from engine.sinks.messages import KINDS, URGENT, EffectId, Wire

#: A broker that dies before it has answered is only noticed by this.
_CONNECT_TIMEOUT_S: Final = 2.0
#: Publishing is pipelined, but not so deep that paho's own queue holds more than a broker takes at once.
_IN_FLIGHT: Final = 20
#: What was confirmed this long before a connection broke is taken to have reached who listens.
_SETTLED_S: Final = 30.0
_RECENT_MAX: Final = 1_000
_REFUSED: Final = 0x80


class _Client(aiomqtt.Client):
    """A client that notices a confirmation that says no, and a connection that broke.

    aiomqtt takes the first for a yes, and waits for a confirmation even after the second.
    """

    refusal = ""
    _lost: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Connect."""
        self.timeout = _CONNECT_TIMEOUT_S
        await self.__aenter__()
        self.timeout = ANSWER_MAX_S
        self._lost = asyncio.create_task(self._until_lost(), name="mqtt connection")

    async def leave(self) -> None:
        """Disconnect, if that is still to be done."""
        if self._lost is not None:
            self._lost.cancel()
            await asyncio.gather(self._lost, return_exceptions=True)
        with suppress(aiomqtt.MqttError):
            await self.__aexit__(None, None, None)

    @property
    def is_lost(self) -> bool:
        """Whether the connection has broken."""
        return self._lost is None or self._lost.done()

    async def publish_all(self, messages: Sequence[tuple[str, bytes, bool]]) -> None:
        """Publish (topic, body, retain) in order; return when the broker has confirmed each.

        Raises
        ------
        aiomqtt.MqttError
            If it does not, or the connection breaks.
        ServiceError
            S013 if it refuses one.
        """
        for start in range(0, len(messages), _IN_FLIGHT):
            await self._publish_some(messages[start : start + _IN_FLIGHT])
        if self.refusal:
            raise ServiceError(
                "S013",
                f"the broker refuses what it is sent: {self.refusal}",
                messages[0][0],
                "May this user publish there? See the access list of the broker.",
            )

    async def _publish_some(self, messages: Sequence[tuple[str, bytes, bool]]) -> None:
        sending = asyncio.create_task(self._confirmations(messages))
        watched: set[asyncio.Task[Any]] = {sending} | ({self._lost} if self._lost is not None else set())
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise aiomqtt.MqttError("the connection broke before the broker had confirmed")
        finally:
            sending.cancel()  # does nothing to what is done
        for answer in sending.result():
            if answer is not None:
                raise answer

    async def _confirmations(self, messages: Sequence[tuple[str, bytes, bool]]) -> list[BaseException | None]:
        # Each coroutine hands its message to the connection before it first waits: the order is kept.
        return await asyncio.gather(
            *(self.publish(topic, body, qos=1, retain=retain) for topic, body, retain in messages),
            return_exceptions=True,
        )

    async def _until_lost(self) -> None:
        with suppress(aiomqtt.MqttError):
            async for _ in self.messages:
                pass  # nothing is subscribed to

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if reason_code is not None and reason_code.value >= _REFUSED:
            self.refusal = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)


class MqttSink:
    """Topics ``<topic>/<instance>/<kind>``; ``state``, ``status`` and ``online`` are retained.

    ``online`` is ``1`` while the engine is connected; the broker itself sets it to ``0`` when it is not.

    Parameters
    ----------
    link : MqttLink
    wire : Wire
    """

    def __init__(self, link: MqttLink, wire: Wire) -> None:
        self._link = link
        self._wire = wire
        self._place = f"{link.topic}/{wire.instance}"
        self._client: _Client | None = None
        self._connecting = asyncio.Lock()
        #: When it was confirmed, topic and body of what was lately confirmed.
        self._recent: deque[tuple[float, str, bytes]] = deque(maxlen=_RECENT_MAX)
        self._retained: dict[str, bytes] = {}

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        """Make sure of the connection; a broker cannot say what it has, so no kind is questioned."""
        if lane == "urgent":
            await self._publish([(f"{self._place}/online", b"1", True)])
        return {}

    async def deliver(self, effects: Sequence[Effect]) -> None:
        """Publish effects in order; return when the broker has confirmed each.

        Raises
        ------
        aiomqtt.MqttError
            If the broker is away.
        ServiceError
            S013 if the broker refuses a message.
        """
        kinds = [KINDS[type(effect.event)] for effect in effects]
        messages = [
            (f"{self._place}/{kind}", self._wire.encode(effect), kind == "state")
            for kind, effect in zip(kinds, effects, strict=True)
        ]
        await self._publish(messages)
        now_s = stopwatch_s()
        for kind, (topic, body, is_retained) in zip(kinds, messages, strict=True):
            if kind in URGENT:
                self._recent.append((now_s, topic, body))
            if is_retained:
                self._retained[topic] = body

    async def publish_status(self, body: bytes) -> None:
        """Retain the status on ``<topic>/<instance>/status``; the broker has it when this returns."""
        topic = f"{self._place}/status"
        self._retained[topic] = body
        await self._publish([(topic, body, True)])

    async def aclose(self) -> None:
        """Say that the engine is no longer online, and disconnect."""
        client = self._client
        if client is not None:
            with suppress(aiomqtt.MqttError, ServiceError):
                await client.publish_all([(f"{self._place}/online", b"0", True)])
            await self._drop(client)

    async def _publish(self, messages: Sequence[tuple[str, bytes, bool]]) -> None:
        client = await self._connected()
        try:
            await client.publish_all(messages)
        except (aiomqtt.MqttError, ServiceError):
            await self._drop(client)
            raise

    async def _connected(self) -> _Client:
        """Return the connection; on a new one, everything that may have been forgotten goes first."""
        async with self._connecting:
            if self._client is not None:
                if not self._client.is_lost:
                    return self._client
                await self._drop(self._client)
            online = f"{self._place}/online"
            client = _Client(
                **mqtt_arguments(self._link),
                identifier=f"astra-{self._wire.instance}",
                will=aiomqtt.Will(online, b"0", qos=1, retain=True),
            )
            client.pending_calls_threshold = 2 * _IN_FLIGHT
            await client.enter()
            settled_s = stopwatch_s() - _SETTLED_S
            again = [(topic, body, False) for at_s, topic, body in self._recent if at_s > settled_s]
            kept = [(topic, body, True) for topic, body in self._retained.items()]
            try:
                await client.publish_all([(online, b"1", True), *again, *kept])
            except BaseException:
                await client.leave()
                raise
            self._client = client
            return client

    async def _drop(self, client: _Client) -> None:
        if self._client is client:
            self._client = None
        await client.leave()
