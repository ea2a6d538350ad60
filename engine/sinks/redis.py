"""Effects to Redis: a stream for each kind, and a channel beside it for who is listening now.

The id of an effect is the id of its stream entry, so that Redis itself refuses a duplicate. One function on
the server adds an entry and publishes it, in one step, and publishes nothing it did not add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError, ResponseError

from engine.connections import answered, redis_client
from engine.errors import ServiceError
from engine.links import RedisLink
from engine.ports import Effect
from engine.sinks.messages import KINDS, URGENT, EffectId, Wire, effect_id, id_of, id_text

_NOTHING: Final = (0, 0)
_ADDED: Final = 1
_FOUND: Final = 0

#: The name has a version: engines of two versions may share a server. KEYS: the stream. ARGV: the channel,
#: how many entries to keep, the entry the stream must have come to, then id and message of each effect.
#: Returns 1 added, 0 already there or trimmed since, -1 refused. Effects of a kind come in the order of their
#: ids: what is before the oldest entry has been there, if that entry is one of ours and names itself.
_DELIVER: Final = "astra_deliver_v2"
_LIBRARY: Final = f"""#!lua name=astra_v2
local function is_before(a, b)
  local a_seq, a_index = string.match(a, '(%d+)-(%d+)')
  local b_seq, b_index = string.match(b, '(%d+)-(%d+)')
  if a_seq ~= b_seq then return tonumber(a_seq) < tonumber(b_seq) end
  return tonumber(a_index) < tonumber(b_index)
end

local function was_trimmed(key, id)
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if not oldest or not is_before(id, oldest[1]) then return false end
  local own = '{{"id":"' .. oldest[1] .. '",'
  return oldest[2][1] == 'message' and string.sub(oldest[2][2], 1, #own) == own
end

redis.register_function('{_DELIVER}', function(keys, args)
  local newest = redis.call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)[1]
  if is_before(newest and newest[1] or '0-0', args[3]) then
    return redis.error_reply('BEHIND the stream has lost entries it had confirmed')
  end
  local verdicts = {{}}
  for i = 4, #args, 2 do
    local id, message = args[i], args[i + 1]
    local added = redis.pcall('XADD', keys[1], 'MAXLEN', '~', args[2], id, 'message', message)
    if type(added) ~= 'table' then
      redis.call('PUBLISH', args[1], message)
      verdicts[#verdicts + 1] = {_ADDED}
    elseif not string.find(added.err, 'equal or smaller', 1, true) then
      return added
    elseif #redis.call('XRANGE', keys[1], id, id) == 1 or was_trimmed(keys[1], id) then
      verdicts[#verdicts + 1] = {_FOUND}
    else
      verdicts[#verdicts + 1] = -1
    end
  end
  return verdicts
end)
"""


class RedisSink:
    """Streams ``astra:<instance>:<epoch>:<kind>`` and channels ``astra:<instance>:<kind>``.

    Parameters
    ----------
    link : RedisLink
    wire : Wire
    stream_max : int
        Entries each stream keeps, about.
    """

    def __init__(self, link: RedisLink, wire: Wire, stream_max: int = 100_000) -> None:
        self._client = redis_client(link, f"astra-{wire.instance}")
        self._wire = wire
        self._stream_max = stream_max
        #: By kind: the last entry the stream must have, and the last that was ever confirmed.
        self._newest: dict[str, EffectId] = {}
        self._acknowledged: dict[str, EffectId] = {}

    def stream(self, kind: str) -> str:
        """Return the key of the stream of a kind."""
        return f"astra:{self._wire.instance}:{self._wire.epoch}:{kind}"

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        """Connect, and return the id of the last entry of each stream of a lane.

        Also loads the function, which a server that lost its data has lost too.

        Raises
        ------
        redis.exceptions.RedisError, OSError
            If the server is away, or does not let us.
        """
        with suppress(ResponseError):
            await answered(self._client.function_load(_LIBRARY))
        kinds = sorted({kind for kind in KINDS.values() if (kind in URGENT) == (lane == "urgent")})
        pipeline = self._client.pipeline(transaction=False)
        for kind in kinds:
            pipeline.xrevrange(self.stream(kind), count=1)
        answers = await answered(pipeline.execute())
        newest = {
            kind: id_of(entries[0][0].decode()) if entries else _NOTHING
            for kind, entries in zip(kinds, answers, strict=True)
        }
        self._newest |= newest
        return newest

    async def deliver(self, effects: Sequence[Effect]) -> None:
        """Add effects to their streams and publish those that were not there yet.

        Raises
        ------
        redis.exceptions.RedisError, OSError
            If the server has not taken them all, or has lost some that it had (``BEHIND``).
        ServiceError
            S012 if a stream has gone beyond an effect that it never had: somebody else wrote to it.
        """
        by_kind: dict[str, list[Effect]] = {}
        for effect in effects:
            by_kind.setdefault(KINDS[type(effect.event)], []).append(effect)
        pipeline = self._client.pipeline(transaction=False)
        for kind, batch in by_kind.items():
            newest = id_text(self._newest.get(kind, _NOTHING))
            channel = f"astra:{self._wire.instance}:{kind}"
            arguments: list[str | int | bytes] = [channel, self._stream_max, newest]
            for effect in batch:
                arguments += (id_text(effect_id(effect)), self._wire.encode(effect))
            pipeline.fcall(_DELIVER, 1, self.stream(kind), *arguments)
        answers = await answered(pipeline.execute())
        for (kind, batch), verdicts in zip(by_kind.items(), answers, strict=True):
            self._check(kind, batch, verdicts)

    def _check(self, kind: str, batch: Sequence[Effect], verdicts: Sequence[int]) -> None:
        """Take a refusal for delivery only of what was confirmed before (and then removed by somebody)."""
        before = self._acknowledged.get(kind, _NOTHING)
        for effect, verdict in zip(batch, verdicts, strict=True):
            if verdict in {_ADDED, _FOUND}:
                self._newest[kind] = effect_id(effect)
            elif effect_id(effect) > before:
                raise ServiceError(
                    "S012",
                    f"the stream has gone beyond {id_text(effect_id(effect))}, which it never had",
                    self.stream(kind),
                    "Somebody else writes to it: give every engine an instance of its own ([operator]).",
                )
        self._acknowledged[kind] = max(before, effect_id(batch[-1]))

    async def publish_status(self, body: bytes) -> None:
        """Set ``astra:<instance>:status``."""
        await answered(self._client.set(f"astra:{self._wire.instance}:status", body))

    async def aclose(self) -> None:
        """Close the connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose()
