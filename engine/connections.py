"""Clients of the servers, made from their links in one way for feeds, sinks and operators.

Also how they wait for each other. The core never imports it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from engine.clock import stopwatch_s
from engine.links import MqttLink, RedisLink

if TYPE_CHECKING:
    import aiomqtt
    import redis.asyncio

T = TypeVar("T")

#: How long a server may take to answer.
ANSWER_MAX_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 2.0
_KEEPALIVE_S: Final = 10
_WAIT_FIRST_S: Final = 0.05
_REMIND_S: Final = 60.0

#: The client logs every lost connection with a traceback; whoever uses it says so in a line.
_mqtt_log = logging.getLogger("astra.mqtt")


def waits_s(longest_s: float = 3.0) -> Iterator[float]:
    """Yield the waits between attempts to connect, seconds, without end: soon at first, then doubled."""
    wait_s = _WAIT_FIRST_S
    while True:
        yield min(wait_s, longest_s)
        wait_s = min(2.0 * wait_s, longest_s)


class Complaints:
    """Failures that repeat themselves: decides of which to write, so that an outage does not fill the log.

    Parameters
    ----------
    monotonic_s : callable
        Tells the time.
    """

    def __init__(self, monotonic_s: Callable[[], float] = stopwatch_s) -> None:
        self._monotonic_s = monotonic_s
        self._written_s: dict[str, float] = {}
        self._unwritten = 0

    def due(self, reason: str) -> int:
        """Count a failure; return how many to write of now, this one included, or 0.

        A reason is due when it is new, and once a minute while it lasts.
        """
        now_s = self._monotonic_s()
        self._unwritten += 1
        lately = {past: at_s for past, at_s in self._written_s.items() if now_s - at_s < _REMIND_S}
        if reason in lately:
            return 0
        self._written_s = lately | {reason: now_s}
        count, self._unwritten = self._unwritten, 0
        return count


def is_cancelled() -> bool:
    """Tell whether this task was told to end.

    A client library may have swallowed the exception that says so: ``asyncio.wait_for`` forgets one that
    comes together with the result (Python 3.11).
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def answered(asked: Awaitable[T], timeout_s: float = ANSWER_MAX_S) -> T:
    """Wait for a server's answer, within bounds, and never forget a cancellation (see ``is_cancelled``).

    Raises
    ------
    TimeoutError
        Which is an ``OSError``, as other failures of a connection are.
    """
    async with asyncio.timeout(timeout_s):
        return await asked


def redis_client(link: RedisLink, name: str, **options: Any) -> redis.asyncio.Redis:
    """Return a client that fails at once when the server is away: whoever uses it decides what to do then.

    It has no time limit of its own: await its answers through ``answered``.

    Parameters
    ----------
    link : RedisLink
    name : str
        What the server lists the connection as.
    **options
        Of ``redis.asyncio.ConnectionPool``.
    """
    import redis.asyncio
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    pool: redis.asyncio.ConnectionPool = redis.asyncio.ConnectionPool.from_url(
        link.url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        client_name=name,
        **options,
    )
    # Of its keyword arguments, an address overrules what it names itself: these are to overrule the address.
    if link.password:
        pool.connection_kwargs["password"] = link.password
    if link.ca_file is not None:
        pool.connection_kwargs["ssl_ca_certs"] = str(link.ca_file)
    return redis.asyncio.Redis.from_pool(pool)


def mqtt_client(link: MqttLink, **options: Any) -> aiomqtt.Client:
    """Return a client of MQTT 5 that is not connected yet; ``options`` are those of ``aiomqtt.Client``."""
    import aiomqtt

    return aiomqtt.Client(**mqtt_arguments(link) | options)


def mqtt_subscriber(
    link: MqttLink, name: str, *, kept_s: int, in_flight_max: int, packet_max_bytes: int, **options: Any
) -> aiomqtt.Client:
    """Return a client for whom the broker keeps what it was not told to forget: it acknowledges by hand.

    Parameters
    ----------
    link : MqttLink
    name : str
        Of the session, unique at the broker.
    kept_s : int
        How long the session outlives a connection, seconds.
    in_flight_max : int
        Messages the broker may send ahead of their acknowledgement.
    packet_max_bytes : int
        The broker keeps to itself what is longer.
    **options
        Of ``aiomqtt.Client``.
    """
    session = mqtt_session(kept_s, ReceiveMaximum=in_flight_max, MaximumPacketSize=packet_max_bytes)
    client = mqtt_client(link, identifier=name, **session, **options)
    client._client.manual_ack_set(True)  # what the wrapper does not pass on
    return client


def mqtt_session(kept_s: int, **limits: int) -> dict[str, Any]:
    """Return the arguments of an ``aiomqtt.Client`` whose session outlives its connections.

    Parameters
    ----------
    kept_s : int
        How long it does, seconds.
    **limits
        Further properties of CONNECT, by their names in paho.
    """
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    for name, value in {"SessionExpiryInterval": kept_s, **limits}.items():
        setattr(properties, name, value)
    return {"clean_start": False, "properties": properties}


def mqtt_arguments(link: MqttLink) -> dict[str, Any]:
    """Return what every ``aiomqtt.Client`` is made with: MQTT 5, log-in, TLS, and how long it waits."""
    import aiomqtt

    tls = None
    if link.ca_file is not None:
        tls = aiomqtt.TLSParameters(
            ca_certs=str(link.ca_file),
            certfile=str(link.cert_file) if link.cert_file else None,
            keyfile=str(link.key_file) if link.key_file else None,
        )
    return {
        "hostname": link.host,
        "port": link.port,
        "username": link.username or None,
        "password": link.password or None,
        "protocol": aiomqtt.ProtocolVersion.V5,
        "tls_params": tls,
        "timeout": ANSWER_MAX_S,
        "keepalive": _KEEPALIVE_S,
        "logger": _mqtt_log,
    }
