"""Whose instance it is at an MQTT broker: what ``engine.app.live.owner`` promises, as far as a broker can.

A broker compares nothing before it sets. So the topic ``<topic>/<instance>/owner`` is listened to first: the
owner says its name there every second, retained, and whoever hears another one's is not the owner. A name
that is heard once only, and then not again for a lease, is that of an engine which has ended. Whoever claims
waits until its own claim has come back, and a while longer: of two that claim together each hears the other
(it listened before it spoke), and the name that sorts first stays.

A broker that was restarted may have forgotten what it retained, and its owner takes a moment to be back. So
whoever did not own the name before listens for longer than an owner takes (``_NEWCOMER_S``), and hears it.

This rests on time, as a comparison would not: a claim must reach the others within ``_SETTLE_S``. Where that
failed both believe for a second that they own the name; then each hears the other, and both halt.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import aiomqtt
import structlog

from engine.app.live.owner import LEASE_S, PATIENCE, shown, taken_name
from engine.clock import stopwatch_s
from engine.connections import is_cancelled, mqtt_client, waits_s
from engine.links import MqttLink

#: How often the owner says its name.
_RENEW_S: Final = 1.0
#: How long a broker may take to answer, and to pass on what is retained, or what others publish.
_SETTLE_S: Final = 1.0
#: Between attempts to reach a broker that is away, at most.
_RETRY_S: Final = 1.0
#: How long a newcomer listens. An owner that lost the broker may wait in vain for an answer of the broker
#: that went, then for its next attempt; it is back, listens, and is heard.
_NEWCOMER_S: Final = _SETTLE_S + _RETRY_S + _SETTLE_S + _SETTLE_S
_RELEASE_MAX_S: Final = 1.0

_log = structlog.get_logger("astra.operator")


class MqttOwner:
    """The claim of this process to an instance at an MQTT broker.

    Parameters
    ----------
    link : MqttLink
    instance : str
    place : str
        Of ``engine.app.live.owner.place_of``: an owner from there has ended.
    on_taken : callable
        Is told, once each time, what happened when another engine has taken the name.
    """

    def __init__(self, link: MqttLink, instance: str, place: str, on_taken: Callable[[str], None]) -> None:
        self._link = link
        self._instance = instance
        self._topic = f"{link.topic}/{instance}/owner"
        self._place = place
        self._token = secrets.token_hex(8)
        self._name = place + self._token
        self._on_taken = on_taken
        self._keeping: asyncio.Task[None] | None = None
        #: Whether it is known by now whose name it is, or that the broker is away.
        self._has_asked = asyncio.Event()
        self._client: aiomqtt.Client | None = None
        #: Who else had the name when it was last heard; empty if nobody.
        self._other = ""
        #: How long to listen before the name is claimed.
        self._listen_s = _NEWCOMER_S
        self.takes_commands = False

    @property
    def is_taken(self) -> bool:
        """Whether another engine had the name when one was last heard."""
        return bool(self._other)

    async def claim(self) -> None:
        """Claim the instance, and keep it until ``release``; a broker that is away is no owner.

        Raises
        ------
        ServiceError
            S037 if its owner lives.
        """
        self._keeping = asyncio.create_task(self._keep(), name="owner")
        await self._has_asked.wait()
        if self._keeping.done():
            self._keeping.result()
        if self._other:
            raise taken_name(self._instance, self._other)

    async def release(self) -> None:
        """Give the claim back: another machine need not wait for its end."""
        if self._keeping is None:
            return
        if self.takes_commands and self._client is not None:
            with suppress(aiomqtt.MqttError, OSError):
                async with asyncio.timeout(_RELEASE_MAX_S):
                    await self._client.publish(self._topic, b"", qos=1, retain=True)
        self._keeping.cancel()
        await asyncio.wait([self._keeping], timeout=_RELEASE_MAX_S)

    async def _keep(self) -> None:
        """Claim and renew for ever; after each interruption the claim is made anew."""
        try:
            await self._connect_for_ever()
        finally:
            self._has_asked.set()  # also by a defect: whoever waits is to hear of it

    async def _connect_for_ever(self) -> None:
        waits, is_told = waits_s(_RETRY_S), False
        while not is_cancelled():
            try:
                async with self._new_client() as client:
                    await self._listen(client)
                    waits, is_told = waits_s(_RETRY_S), False
                    await self._own(client)
            except (aiomqtt.MqttError, OSError) as error:
                if not is_told:
                    _log.warning("whether the instance is free is not known", error=str(error))
                is_told = True
            finally:
                self._client, self.takes_commands = None, False
            self._has_asked.set()
            await asyncio.sleep(next(waits))

    def _new_client(self) -> aiomqtt.Client:
        """Return a client under a name of this process alone: a broker ends the older of two of one name."""
        identifier = f"astra-{self._instance}-owner-{self._token}"
        return mqtt_client(self._link, identifier=identifier, timeout=_SETTLE_S)

    async def _listen(self, client: aiomqtt.Client) -> None:
        granted = await client.subscribe(self._topic, qos=1)
        if not granted or getattr(granted[0], "value", granted[0]) != 1:
            raise aiomqtt.MqttError(f"the broker refused the subscription to {self._topic}: {granted[0]}")

    async def _own(self, client: aiomqtt.Client) -> None:
        """Wait until the name is free, claim it, keep it until somebody else has it, and so on."""
        other = await self._heard(client, self._listen_s)
        while True:
            while other:  # retained by one that has ended, it is not heard again
                if other := await self._heard(client, PATIENCE * LEASE_S):
                    self._lose(other)
            if other := await self._rival(client):
                continue
            self._client, self.takes_commands, self._other = client, True, ""
            self._listen_s = _SETTLE_S
            self._has_asked.set()
            while not other:
                await self._say(client)
                other = await self._heard(client, _RENEW_S)
            self._lose(other)

    async def _rival(self, client: aiomqtt.Client) -> str:
        """Claim the name; return one that was claimed at the same time and sorts before it, or nothing.

        Raises
        ------
        aiomqtt.MqttError
            If the claim did not come back: others do not hear it, either.
        """
        await self._say(client)
        end_s, is_back = stopwatch_s() + _SETTLE_S, False
        while (left_s := end_s - stopwatch_s()) > 0.0:
            name = await self._next(client, left_s)
            is_back = is_back or name == self._name
            if name and name < self._name and not name.startswith(self._place):
                return name
        if not is_back:
            raise aiomqtt.MqttError(f"the broker does not pass on what is said on {self._topic}")
        return ""

    def _lose(self, other: str) -> None:
        self.takes_commands, self._listen_s = False, _NEWCOMER_S
        if not self._other and self._has_asked.is_set():
            self._on_taken(f"{self._instance!r} is also the name of the engine in {shown(other)}")
        self._other = other
        self._has_asked.set()

    async def _say(self, client: aiomqtt.Client) -> None:
        await client.publish(self._topic, self._name.encode(), qos=1, retain=True)

    async def _heard(self, client: aiomqtt.Client, within_s: float) -> str:
        """Return the next name from another place; empty if none came."""
        end_s = stopwatch_s() + within_s
        while (left_s := end_s - stopwatch_s()) > 0.0:
            name = await self._next(client, left_s)
            if name and not name.startswith(self._place):
                return name
        return ""

    async def _next(self, client: aiomqtt.Client, within_s: float) -> str:
        """Return what is said next; empty if nothing, or that the name was given back."""
        if is_cancelled():  # publishing may have forgotten it
            raise asyncio.CancelledError
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                async for message in client.messages:
                    body = message.payload
                    return body.decode(errors="replace") if isinstance(body, bytes | bytearray) else ""
        return ""
