"""Bars from an MQTT 5 broker: one topic a symbol, QoS 1, acknowledged only once a bar is on disk.

The broker keeps a session for this engine, so what is published while it is away waits there, and what was
sent and not acknowledged is sent again. docs/feeds-live.md says how to publish.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import aiomqtt
import structlog
from paho.mqtt.subscribeoptions import SubscribeOptions

from engine.connections import Complaints, is_cancelled, mqtt_subscriber, waits_s
from engine.events import BarRejected, Reject
from engine.links import MqttLink
from engine.ports import Arrival
from feeds.bar_messages import BYTES_MAX, decode, judged
from feeds.live_context import LiveContext, linked
from feeds.live_options import MqttOptions

_log = structlog.get_logger("astra.feeds.mqtt")
#: Messages handed on together at most.
_BATCH_MAX: Final = 500
#: Messages the broker may send ahead of their acknowledgement: this bounds what waits here.
_UNACKNOWLEDGED_MAX: Final = 1_000
#: Messages without acknowledgement (QoS 0) that may wait; the broker cannot be told to hold them.
_UNREAD_MAX: Final = 20_000
#: The broker keeps to itself what is longer; anything between this and ``BYTES_MAX`` is counted here.
_PACKET_MAX: Final = 16 * BYTES_MAX


class MqttBars:
    """Bars as they are published on ``<topic>/bars/<symbol>``; lists of several symbols on ``<topic>/bars``.

    Parameters
    ----------
    options : MqttOptions
    context : LiveContext

    Attributes
    ----------
    is_connected : bool
        There is a connection and a subscription.
    reconnects : int
        Connections after the first.
    sessions_lost : int
        Times the broker had forgotten this engine when it came back, also after a restart: what it kept for
        us is gone.
    """

    def __init__(self, options: MqttOptions, context: LiveContext) -> None:
        self.is_connected = False
        self.reconnects = 0
        self.sessions_lost = 0
        self._options = options
        self._context = context
        self._link: MqttLink = linked(context.mqtt, "mqtt", "mqtt")
        self._client: aiomqtt.Client | None = None
        self._is_known = False
        self._discarded = 0
        self._complaints = Complaints()

    async def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:  # noqa: ARG002 - the broker knows
        """Yield messages as they come, connecting again for ever; ``after`` is not needed.

        An arrival's ``acknowledge`` sends the PUBACK of its message, if the connection is still the one it
        came by; otherwise the broker sends the message again.
        """
        waits = waits_s()
        while True:
            try:
                async with self._connection() as client, aclosing(self._batches(client)) as batches:
                    self._client = client
                    async for batch in batches:
                        yield batch
            except aiomqtt.MqttError as error:
                reason = str(error)
                if count := self._complaints.due(reason):
                    _log.warning("mqtt feed disconnected", link=repr(self._link), error=reason, count=count)
            finally:
                waits = waits_s() if self.is_connected else waits
                self.is_connected, self._client = False, None
            await asyncio.sleep(next(waits))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        client = self._new_client()
        try:
            await client.__aenter__()
        except asyncio.CancelledError:
            client._client.disconnect()
            raise
        # In the background: a broker may put what it kept for us in front of its answer.
        subscribing = asyncio.create_task(self._subscribe(client), name="mqtt-subscribe")
        try:
            if is_cancelled():  # the wait for a connection may have forgotten it
                raise asyncio.CancelledError
            yield client
        finally:
            # A broker that does not answer a good-bye must not turn a cancellation into a reconnection.
            with suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)
            subscribing.cancel()
            await asyncio.wait([subscribing])

    async def _batches(self, client: aiomqtt.Client) -> AsyncGenerator[list[Arrival]]:
        messages = client.messages
        async for message in messages:
            batch = self._arrivals_of(client, message)
            for _ in range(min(len(messages), _BATCH_MAX)):
                batch += self._arrivals_of(client, await anext(messages))
            if self._discarded:
                batch.append(self._report_discarded())
            yield batch

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        topic = f"{self._link.topic}/bars/#"
        try:
            granted: Any = await client.subscribe(topic, options=options, timeout=math.inf)
        except aiomqtt.MqttError:
            return  # the connection is gone, and whoever reads from it will notice
        if granted[0].value == 1:
            self.is_connected = True
            _log.info("mqtt feed subscribed", link=repr(self._link), topic=topic)
        else:
            reason = str(granted[0])
            if count := self._complaints.due(reason):
                _log.error(
                    "mqtt feed refused", link=repr(self._link), topic=topic, reason=reason, count=count
                )
            client._client.disconnect()

    def _new_client(self) -> aiomqtt.Client:
        client = mqtt_subscriber(
            self._link,
            f"astra-{self._context.instance}-bars",
            kept_s=60 * self._options.session_expiry_min,
            in_flight_max=_UNACKNOWLEDGED_MAX,
            packet_max_bytes=_PACKET_MAX,
            queue_type=partial(_Unread, self._on_discard),
        )
        paho = client._client  # the wrapper does not pass on whether the session was kept
        on_connect: Callable[..., None] = paho.on_connect  # type: ignore[assignment]

        def note_session(paho_client: Any, data: Any, flags: Any, reason: Any, *rest: Any) -> None:
            if not reason.is_failure:
                self._on_session(is_kept=flags.session_present)
            on_connect(paho_client, data, flags, reason, *rest)

        paho.on_connect = note_session
        return client

    def _on_session(self, *, is_kept: bool) -> None:
        self.reconnects += self._is_known
        if (self._is_known or self._context.has_had_bars) and not is_kept:
            self.sessions_lost += 1
            _log.warning("mqtt feed session lost", link=repr(self._link))
        # A session that was kept has its subscription, whenever the answer to the new one comes.
        self._is_known, self.is_connected = True, is_kept

    def _arrivals_of(self, client: aiomqtt.Client, message: aiomqtt.Message) -> list[Arrival]:
        """One arrival for each bar of a message; the last one carries its acknowledgement."""
        body = message.payload if isinstance(message.payload, bytes | bytearray) else b""
        symbol = str(message.topic).removeprefix(f"{self._link.topic}/bars").removeprefix("/")
        records = judged(decode(bytes(body)), self._context, symbol)
        if message.retain:
            # Kept by the broker for whoever comes: of yesterday, as likely as not.
            records = [
                record
                if isinstance(record, BarRejected)
                else BarRejected(record.ts_close_ns, record.symbol, Reject.LATE, 1, record)
                for record in records
            ]
        *others, last = records
        acknowledge = partial(self._acknowledge, client, message.mid) if message.qos else None
        return [*map(Arrival, others), Arrival(last, "", acknowledge)]

    def _acknowledge(self, client: aiomqtt.Client, message_id: int) -> None:
        if client is self._client:
            client._client.ack(message_id, 1)

    def _on_discard(self) -> None:
        self._discarded += 1

    def _report_discarded(self) -> Arrival:
        count, self._discarded = self._discarded, 0
        _log.error("mqtt feed flooded", discarded=count, hint="publish bars with QoS 1")
        return Arrival(BarRejected(self._context.clock.now_ns(), "", Reject.UNDECODABLE, count))


class _Unread(asyncio.Queue[aiomqtt.Message]):
    """Messages not read yet: bounded also where no acknowledgement slows a publisher down."""

    def __init__(self, on_discard: Callable[[], None], maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._on_discard = on_discard

    def put_nowait(self, message: aiomqtt.Message) -> None:
        """Take a message, unless it is one too many of those that the broker does not hold back."""
        if message.qos == 0 and self.qsize() >= _UNREAD_MAX:
            self._on_discard()
        else:
            super().put_nowait(message)
