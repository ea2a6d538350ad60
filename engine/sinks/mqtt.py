"""Effects to an MQTT broker, at least once: each is published again until the broker has confirmed it.

A broker confirms what it has in memory, and one that is killed forgets: some of it, or everything. So the id
of the last urgent message is retained beside them. On each connection the broker is asked for it, and what
it has lost is published again, also by an engine that was itself restarted. Who listens tells repetitions
apart by ``id``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import aiomqtt
import msgspec

from engine.clock import stopwatch_s
from engine.connections import ANSWER_MAX_S, mqtt_arguments, mqtt_client, mqtt_session
from engine.errors import ServiceError
from engine.links import MqttLink
from engine.ports import Effect
from engine.sinks.messages import KINDS, URGENT, EffectId, Mark, Wire, effect_id, id_of, id_text

#: A broker that dies before it has answered is only noticed by this.
_CONNECT_TIMEOUT_S: Final = 2.0
#: Publishing is pipelined, but not so deep that paho's own queue holds more than a broker takes at once.
_IN_FLIGHT: Final = 20
#: How long a broker remembers that it knows this engine.
_SESSION_S: Final = 7 * 86_400
#: How long it may take to say what was retained; it sends nothing if nothing was.
_SAYS_WITHIN_S: Final = 1.0
#: Who listened to a broker that forgot everything is taken to be back by then.
_BACK_S: Final = 10.0
_REFUSED: Final = 0x80
_NOTHING: Final = (0, 0)


class _Client(aiomqtt.Client):
    """A client that notices a confirmation that says no, and a connection that broke.

    aiomqtt takes the first for a yes, and waits for a confirmation even after the second.
    """

    refusal = ""
    #: Whether the broker knew this engine when it connected.
    is_known = False
    #: The last urgent message that the broker has.
    has: EffectId = _NOTHING
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

    def _on_connect(self, client: Any, userdata: Any, flags: Any, *answer: Any) -> None:
        self.is_known = bool(flags.session_present)
        super()._on_connect(client, userdata, flags, *answer)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if reason_code is not None and reason_code.value >= _REFUSED:
            self.refusal = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)


class MqttSink:
    """Topics ``<topic>/<instance>/<kind>``; ``state``, ``status``, ``online`` and ``delivered`` are retained.

    ``online`` is ``1`` while the engine is connected; the broker itself sets it to ``0`` when it is not.
    ``delivered`` is the id of the last urgent message, with its epoch.

    Parameters
    ----------
    link : MqttLink
    wire : Wire
    """

    def __init__(self, link: MqttLink, wire: Wire) -> None:
        self._link = link
        self._wire = wire
        self._name = f"astra-{wire.instance}"
        self._place = f"{link.topic}/{wire.instance}"
        self._client: _Client | None = None
        self._connecting = asyncio.Lock()
        #: The last urgent message that a broker must have, or urgent ones are given to it again.
        self._confirmed: EffectId = _NOTHING
        #: When to say once more what a broker had forgotten.
        self._again_s: float | None = None

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        """Make sure of the connection; return the id of the last urgent message that the broker has.

        One that did not know this engine has none, and is asked to pass all of late on a second time when
        those who listened to it have had time to come back.

        Raises
        ------
        aiomqtt.MqttError
            If the broker is away.
        ServiceError
            S013 if the broker refuses a message.
        """
        if lane != "urgent":
            return {}
        client = await self._connected()
        await self._publish(client, [self._online(b"1")])
        if self._again_s is not None and stopwatch_s() >= self._again_s:
            self._again_s, client.has = None, _NOTHING
        self._confirmed = client.has
        return dict.fromkeys(URGENT, client.has)

    async def deliver(self, effects: Sequence[Effect]) -> None:
        """Publish effects in order; return when the broker has confirmed each.

        Raises
        ------
        aiomqtt.MqttError
            If the broker is away, or has lost urgent messages that it had confirmed.
        ServiceError
            S013 if the broker refuses a message.
        """
        kinds = [KINDS[type(effect.event)] for effect in effects]
        urgent = [effect_id(effect) for kind, effect in zip(kinds, effects, strict=True) if kind in URGENT]
        client = await self._connected()
        if urgent and client.has < self._confirmed:
            raise aiomqtt.MqttError("the broker has lost messages that it had confirmed")
        messages = [
            (f"{self._place}/{kind}", self._wire.encode(effect), kind == "state")
            for kind, effect in zip(kinds, effects, strict=True)
        ]
        await self._publish(client, messages)
        if urgent:
            await self._publish(client, [self._delivered(urgent[-1])])
            client.has = self._confirmed = urgent[-1]

    async def publish_status(self, body: bytes) -> None:
        """Retain the status on ``<topic>/<instance>/status``; the broker has it when this returns."""
        await self._publish(await self._connected(), [(f"{self._place}/status", body, True)])

    async def aclose(self) -> None:
        """Say that the engine is no longer online, and disconnect."""
        client = self._client
        if client is not None:
            with suppress(aiomqtt.MqttError, ServiceError):
                await client.publish_all([self._online(b"0")])
            await self._drop(client)

    def _online(self, body: bytes) -> tuple[str, bytes, bool]:
        return f"{self._place}/online", body, True

    def _delivered(self, last: EffectId) -> tuple[str, bytes, bool]:
        mark = Mark(self._wire.epoch, id_text(last))
        return f"{self._place}/delivered", msgspec.json.encode(mark), True

    async def _publish(self, client: _Client, messages: Sequence[tuple[str, bytes, bool]]) -> None:
        try:
            await client.publish_all(messages)
        except (aiomqtt.MqttError, ServiceError):
            await self._drop(client)
            raise

    async def _connected(self) -> _Client:
        """Return the connection; on a new one, find out what the broker has."""
        async with self._connecting:
            if self._client is not None:
                if not self._client.is_lost:
                    return self._client
                await self._drop(self._client)
            client = _Client(
                **mqtt_arguments(self._link),
                **mqtt_session(_SESSION_S),
                identifier=self._name,
                will=aiomqtt.Will(*self._online(b"0")[:2], qos=1, retain=True),
            )
            client.pending_calls_threshold = 2 * _IN_FLIGHT
            await client.enter()
            try:
                if client.is_known:
                    client.has = await self._retained_id()
                else:
                    self._again_s = stopwatch_s() + _BACK_S
                await client.publish_all([self._online(b"1"), self._delivered(client.has)])
            except BaseException:
                await client.leave()
                raise
            self._client = client
            return client

    async def _retained_id(self) -> EffectId:
        """Ask the broker for the last urgent message of this epoch; nothing if it does not say."""
        # By a connection of its own: to one whose session is kept, some brokers send nothing retained.
        reader = mqtt_client(self._link, identifier=f"{self._name}-delivered")
        reader.timeout = _CONNECT_TIMEOUT_S
        with suppress(aiomqtt.MqttError, TimeoutError, ValueError):
            async with reader:
                await reader.subscribe(self._delivered(_NOTHING)[0])
                async with asyncio.timeout(_SAYS_WITHIN_S):
                    message = await anext(reader.messages)
            body = message.payload if isinstance(message.payload, bytes | bytearray) else b""
            mark = msgspec.json.decode(body, type=Mark)
            return id_of(mark.id) if mark.epoch == self._wire.epoch else _NOTHING
        return _NOTHING

    async def _drop(self, client: _Client) -> None:
        if self._client is client:
            self._client = None
        await client.leave()
