"""Bars from a Redis stream, read in order from the last entry that is on disk here.

The place is kept by the journal, not by the server: each bar carries the id of its entry, so a restart goes
on with the very next bar. docs/feeds-live.md says how to publish.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, Self, TypeAlias

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from engine.connections import Complaints, answered, redis_client, waits_s
from engine.links import RedisLink
from engine.ports import Arrival
from feeds.bar_messages import decode_fields, judged
from feeds.live_context import LiveContext, linked, wrong_position
from feeds.live_options import RedisStreamOptions

_log = structlog.get_logger("astra.feeds.redis_stream")
#: Entries asked for at a time.
_BATCH_MAX: Final = 500
#: How long the server waits for an entry before it says that there is none.
_BLOCK_MS: Final = 2_000

_Entry: TypeAlias = tuple[bytes, Mapping[bytes, bytes]]


class EntryId(NamedTuple):
    """Id of an entry; they grow along a stream.

    Parameters
    ----------
    ms : int
        Usually the time of the entry, milliseconds.
    seq : int
    """

    ms: int
    seq: int

    @classmethod
    def of(cls, text: bytes | str) -> Self:
        """Read ``ms-seq``."""
        ms, _, seq = (text.decode() if isinstance(text, bytes) else text).partition("-")
        return cls(int(ms), int(seq))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


class Place(NamedTuple):
    """How far a stream has been read.

    Parameters
    ----------
    entry : EntryId
        The last entry of which anything was read.
    n_bars : int
        How many of its bars, if not all of them; else 0.
    """

    entry: EntryId
    n_bars: int = 0

    @classmethod
    def of(cls, position: str) -> Self:
        """Read a position: ``ms-seq``, or ``ms-seq/n`` within an entry.

        Raises
        ------
        DataError
            D032 if it is none.
        """
        if not re.fullmatch(r"\d{1,20}-\d{1,20}(/\d{1,5})?", position, re.ASCII):
            raise wrong_position(position, "redis_stream")
        entry, _, n_bars = position.partition("/")
        return cls(EntryId.of(entry), int(n_bars or "0"))

    def __str__(self) -> str:
        return f"{self.entry}/{self.n_bars}" if self.n_bars else str(self.entry)


_START: Final = EntryId(0, 0)


class RedisStreamBars:
    """The entries of a stream, each a bar or a list of bars.

    Parameters
    ----------
    options : RedisStreamOptions
    context : LiveContext

    Attributes
    ----------
    is_connected : bool
    reconnects : int
        Connections after the first.
    gaps : int
        Times the server no longer had the entry that was read last: entries may have been trimmed before
        they were read.
    rewinds : int
        Times the stream ended before the place it was read to, because the server lost data; it is then read
        from its beginning, and what comes twice is refused as DUPLICATE or LATE.
    """

    def __init__(self, options: RedisStreamOptions, context: LiveContext) -> None:
        self.is_connected = False
        self.reconnects = 0
        self.gaps = 0
        self.rewinds = 0
        self._options = options
        self._context = context
        self._link: RedisLink = linked(context.redis, "redis_stream", "redis")
        self._place: Place | None = None
        self._was_read = False
        self._is_known = False
        self._complaints = Complaints()

    async def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:
        """Yield entries as they come, connecting again for ever.

        Raises
        ------
        DataError
            D032 if ``after`` is no position in a stream.
        """
        self._place = Place.of(after) if after else None
        self._was_read = bool(after)
        waits = waits_s()
        while True:
            try:
                async with _new_client(self._link) as client, aclosing(self._batches(client)) as batches:
                    async for batch in batches:
                        yield batch
            except (RedisError, OSError) as error:
                reason = str(error) or type(error).__name__
                if count := self._complaints.due(reason):
                    stream = self._options.stream
                    _log.warning("redis feed disconnected", stream=stream, error=reason, count=count)
            finally:
                waits = waits_s() if self.is_connected else waits
                self.is_connected = False
            await asyncio.sleep(next(waits))

    async def _batches(self, client: redis.asyncio.Redis) -> AsyncGenerator[list[Arrival]]:
        last = await self._last_id(client)
        self.reconnects += self._is_known
        self._is_known = self.is_connected = True
        place = self._place or Place(last if self._options.begin == "new" else _START)
        self._place = place = self._rewound(place, last)
        if place.n_bars:
            found: Any = await answered(
                client.xrange(self._options.stream, str(place.entry), str(place.entry))
            )
            if found:
                yield self._arrivals_of(found[0], place.n_bars)
        while True:
            entries = await self._next(client, place)
            if entries:
                yield [arrival for entry in entries for arrival in self._arrivals_of(entry)]
                self._place = place = Place(EntryId.of(entries[-1][0]))
                self._was_read = True
            else:
                self._place = place = self._rewound(place, await self._last_id(client))

    async def _next(self, client: redis.asyncio.Redis, place: Place) -> list[_Entry]:
        """Wait a while for entries, and look whether any went missing before them."""
        stream, after = self._options.stream, str(place.entry)
        # In one go: a server that syncs what others write would make a second question wait for its disk. It
        # answers in order: if the last entry is still there, nothing behind it can have been trimmed.
        both = client.pipeline(transaction=False)
        both.xread({stream: after}, _BATCH_MAX, _BLOCK_MS)
        both.xrange(stream, after, after)
        answer, last = await answered(both.execute())
        entries: list[_Entry] = answer[0][1] if answer else []
        if entries and self._was_read and not last:
            self.gaps += 1
            _log.error("redis feed gap", stream=stream, after=after, first=entries[0][0].decode())
        return entries

    def _rewound(self, place: Place, last: EntryId) -> Place:
        """Return where to go on: at the beginning, if the stream ends before the place it was read to."""
        if last >= place.entry:
            return place
        self.rewinds += 1
        self._was_read = False
        _log.error("redis feed rewound", stream=self._options.stream, after=str(place), last=str(last))
        return Place(_START)

    async def _last_id(self, client: redis.asyncio.Redis) -> EntryId:
        """Return the last id the stream has given; zero if there is no stream."""
        if not await answered(client.exists(self._options.stream)):
            return _START
        answer: Any = await answered(client.xinfo_stream(self._options.stream))
        return EntryId.of(answer["last-generated-id"])

    def _arrivals_of(self, entry: _Entry, n_done: int = 0) -> list[Arrival]:
        """One arrival for each bar of an entry, without those that are done; the last completes the entry."""
        entry_id, fields = EntryId.of(entry[0]), entry[1]
        records = judged(decode_fields(fields), self._context)
        n_bars = len(records)
        places = [Place(entry_id, n % n_bars) for n in range(1, n_bars + 1)]
        return [Arrival(record, str(place)) for record, place in zip(records, places, strict=True)][n_done:]


def _new_client(link: RedisLink) -> redis.asyncio.Redis:
    """Return a client in whose protocol XREAD answers with lists of pairs."""
    return redis_client(link, "astra-bars", protocol=2)
