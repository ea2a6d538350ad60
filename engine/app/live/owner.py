"""Whose instance it is: of the engines of one name at one Redis server, one at a time takes commands.

The state folder has a lock of its own; but two engines with two folders may bear one name by mistake, during
a change from one machine to another for example. Then a halt that was meant for one would reach the other. So
the key ``astra:<instance>:owner`` belongs to one process, for some seconds, and whoever reads commands first
makes sure of it again.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from redis.exceptions import RedisError, ResponseError

from engine.clock import stopwatch_s
from engine.connections import answered, redis_client
from engine.errors import ServiceError
from engine.links import RedisLink

#: Halts an engine whose name another one has taken.
INSTANCE_TAKEN: Final = "INSTANCE_TAKEN"
#: How long the key outlives its owner's last word: whoever reads commands renews it several times a second.
LEASE_S: Final = 5.0
#: Leases that a start waits for the end of one that is not its own.
PATIENCE: Final = 1.2
_POLL_S: Final = 0.1
_RELEASE_MAX_S: Final = 1.0

#: KEYS: the owner. ARGV: who asks, for how long in ms, and how the name of whoever may be replaced begins.
#: Returns the owner if it is somebody else, empty once it is the one who asks.
_OWN: Final = "astra_own_v1"
_LIBRARY: Final = f"""#!lua name=astra_owner_v1
redis.register_function('{_OWN}', function(keys, args)
  local owner = redis.call('GET', keys[1])
  if owner and string.sub(owner, 1, #args[3]) ~= args[3] then return owner end
  redis.call('SET', keys[1], args[1], 'PX', args[2])
  return ''
end)
"""

_log = structlog.get_logger("astra.operator")


def place_of(folder: Path) -> str:
    """Name a state folder among all machines: whoever holds its lock has outlived the owner before."""
    stat = folder.stat()
    return f"{platform.node()}:{folder.resolve()}:{stat.st_dev}:{stat.st_ino} "


def shown(owner: str) -> str:
    """Return machine and folder of an owner."""
    return ":".join(owner.split(":")[:2])[:200]


def taken_name(instance: str, owner: str) -> ServiceError:
    """Return the error of an instance whose owner lives (S037)."""
    return ServiceError(
        "S037",
        f"the instance {instance!r} is taken by another engine: {shown(owner)}",
        "operator.instance",
        "Two engines of one name would take each other's commands. Stop the other one, or give each an "
        "instance of its own.",
    )


class Owner:
    """The claim of this process to an instance at a Redis server.

    Parameters
    ----------
    link : RedisLink
    instance : str
    place : str
        Of ``place_of``: an owner from there has ended.
    on_taken : callable
        Is told, once each time, what happened when another engine has taken the name.
    """

    def __init__(
        self,
        link: RedisLink,
        instance: str,
        place: str,
        on_taken: Callable[[str], None],
    ) -> None:
        self._link = link
        self._instance = instance
        self._name = place + secrets.token_hex(8)
        self._replaces = place
        self._on_taken = on_taken
        #: Whether another engine had the name when it was last asked for.
        self.is_taken = False

    @property
    def takes_commands(self) -> bool:
        """Whether commands of any server are for this engine, as far as is known."""
        return not self.is_taken

    async def claim(self) -> None:
        """Claim the instance, and wait for an owner that has ended; a server that is away is no owner.

        Raises
        ------
        ServiceError
            S037 if its owner lives.
        """
        client: Any = redis_client(self._link, f"astra-{self._instance}-owner")
        deadline_s = stopwatch_s() + PATIENCE * LEASE_S
        try:
            while other := await self._ask(client, LEASE_S):
                if stopwatch_s() >= deadline_s:
                    raise taken_name(self._instance, other)
                await asyncio.sleep(_POLL_S)
        except (RedisError, OSError) as error:
            _log.warning("whether the instance is free is not known", error=str(error))
        finally:
            await _close(client)

    async def holds(self, client: Any) -> bool:
        """Renew the claim, before commands are read.

        Raises
        ------
        redis.exceptions.RedisError, OSError
            If the server is away, or does not let us.
        """
        other = await self._ask(client, LEASE_S)
        if other and not self.is_taken:
            self._on_taken(f"{self._instance!r} is also the name of the engine in {shown(other)}")
        self.is_taken = bool(other)
        return not other

    async def release(self) -> None:
        """Give the claim back, if it is still there: another machine need not wait for its end."""
        client: Any = redis_client(self._link, f"astra-{self._instance}-owner")
        with suppress(RedisError, OSError):
            async with asyncio.timeout(_RELEASE_MAX_S):
                await self._ask(client, 0.001)
        await _close(client)

    async def _ask(self, client: Any, lease_s: float) -> str:
        """Claim or renew for so long; return the owner if it is another."""
        words = (f"astra:{self._instance}:owner", self._name, round(1_000 * lease_s), self._replaces)
        try:
            other: bytes = await answered(client.fcall(_OWN, 1, *words))
        except ResponseError as error:
            if "not found" not in str(error):
                raise
            with suppress(ResponseError):  # another engine was faster
                await answered(client.function_load(_LIBRARY))
            other = await answered(client.fcall(_OWN, 1, *words))
        if not other:
            self._replaces = self._name  # from now on only this process may
        return other.decode(errors="replace")


async def _close(client: Any) -> None:
    with suppress(RedisError, OSError):
        await client.aclose()
