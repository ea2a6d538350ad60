"""Clients of the servers, made from their links in one way for feeds, sinks and operators.

The one file beside the packages ``sinks`` and ``app`` that knows a network; the core never imports it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from engine.links import MqttLink, RedisLink

if TYPE_CHECKING:
    import redis.asyncio

T = TypeVar("T")

#: How long a server may take to answer.
ANSWER_MAX_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 2.0


async def answered(asked: Awaitable[T], timeout_s: float = ANSWER_MAX_S) -> T:
    """Wait for a server's answer, within bounds.

    ``asyncio.wait_for``, which clients use, forgets a cancellation that comes together with the result
    (Python 3.11): a task that is told to stop would then go on.

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


def mqtt_arguments(link: MqttLink) -> dict[str, Any]:
    """Return what ``aiomqtt.Client`` needs to reach the broker: MQTT 5, log-in, TLS."""
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
    }
