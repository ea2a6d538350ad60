"""Bars to a server, as a publisher in the field sends them: some twice, and in any order within a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, cast

import aiomqtt
import msgspec
import numpy as np

from engine.clock import Clock
from engine.columns import BarColumns
from engine.connections import mqtt_client, redis_client
from engine.events import Bar, Nanos
from engine.links import MqttLink, RedisLink
from engine.ports import Arrival, LiveFeed
from feeds.live_context import LiveContext
from tests.support.waiting import until

#: Messages that wait for the broker together; they keep their order.
_TOGETHER = 10


def bars_of(columns: Iterable[BarColumns]) -> list[Bar]:
    """Return the bars of a tape: of ``RecordedBars.columns()``."""
    return [batch.bar(row) for batch in columns for row in range(len(batch))]


def fields_of(bar: Bar) -> dict[str, Any]:
    """Return the fields of a message, as the CSV names them."""
    return {
        "ts": bar.ts_close_ns,
        "symbol": bar.symbol,
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
        "volume": bar.volume,
    }


def arranged(
    bars: Sequence[Bar], *, duplicates: float = 0.0, shuffle: bool = False, seed: int = 7
) -> list[Bar]:
    """Repeat a share of the bars, and mix those of each minute; minutes stay in order."""
    rng = np.random.default_rng(seed)
    twice = rng.random(len(bars)) < duplicates
    sent = [bar for bar, again in zip(bars, twice, strict=True) for _ in range(2 if again else 1)]
    if shuffle:
        keys = rng.random(len(sent)).tolist()
        order = sorted(range(len(sent)), key=lambda i: (sent[i].ts_close_ns, keys[i]))
        sent = [sent[i] for i in order]
    return sent


async def publish_bars(
    link: RedisLink | MqttLink,
    bars: Sequence[Bar],
    *,
    duplicates: float = 0.0,
    shuffle: bool = False,
    seed: int = 7,
    stream: str = "astra:bars",
) -> int:
    """Publish bars one a message, confirmed by the server; return how many messages that were.

    Parameters
    ----------
    link : RedisLink or MqttLink
        To the stream, or to ``<topic>/bars/<symbol>`` with QoS 1.
    bars : sequence of Bar
    duplicates : float
        Share of bars that are sent twice.
    shuffle : bool
        Mix the bars of each minute.
    seed : int
    stream : str
        Key of the Redis stream.
    """
    sent = arranged(bars, duplicates=duplicates, shuffle=shuffle, seed=seed)
    if isinstance(link, RedisLink):
        server = redis_client(link, "publisher")
        async with server, server.pipeline(transaction=False) as pipeline:
            for bar in sent:
                pipeline.xadd(stream, cast("dict[Any, Any]", fields_of(bar)))
            await pipeline.execute()
    else:
        async with mqtt_client(link) as client:
            for start in range(0, len(sent), _TOGETHER):
                await asyncio.gather(
                    *(_publish(client, link, bar) for bar in sent[start : start + _TOGETHER])
                )
    return len(sent)


async def _publish(client: aiomqtt.Client, link: MqttLink, bar: Bar) -> None:
    await client.publish(f"{link.topic}/bars/{bar.symbol}", msgspec.msgpack.encode(fields_of(bar)), qos=1)


def stopped_clock(now_ns: Nanos = 2_000_000_000_000_000_000) -> Clock:
    """Return a clock that stands still."""
    return Clock(start_ns=now_ns, monotonic=lambda: 0.0)


def live_context(
    link: RedisLink | MqttLink | None, *, clock: Clock | None = None, **changes: Any
) -> LiveContext:
    """Return the context of a run on one server; by default its clock stands after any test's bars."""
    values: dict[str, Any] = {
        "symbols": ("AAA", "BBB"),
        "calendar": "24/7",
        "clock": clock or stopped_clock(),
        "redis": link if isinstance(link, RedisLink) else None,
        "mqtt": link if isinstance(link, MqttLink) else None,
    }
    return LiveContext(**(values | changes))


async def receive(
    feed: LiveFeed,
    count: int,
    *,
    after: str = "",
    acknowledge: bool = True,
    on_arrival: Callable[[Arrival], None] = lambda _: None,
) -> list[Arrival]:
    """Take at least ``count`` arrivals, acknowledge each as if it were on disk, and close the feed."""
    taken: list[Arrival] = []
    async with aclosing(batches_of(feed, after)) as batches:
        async for batch in batches:
            for arrival in batch:
                taken.append(arrival)
                on_arrival(arrival)
                if acknowledge and arrival.acknowledge is not None:
                    arrival.acknowledge()
            if len(taken) >= count:
                break
    return taken


async def batches_of(feed: LiveFeed, after: str) -> Any:
    """Yield what a feed yields, as a generator that can be closed."""
    batches: AsyncIterator[Sequence[Arrival]] = feed.arrivals(after)
    async with aclosing(batches) as closing:  # type: ignore[type-var]
        async for batch in closing:
            yield batch


class Running:
    """A feed that runs in a task, as the daemon runs it.

    Parameters
    ----------
    feed : LiveFeed
    after : str
        Where it resumes.
    acknowledge : bool
        Whether each arrival is acknowledged, as if it were on disk.
    """

    def __init__(self, feed: Any, after: str = "", *, acknowledge: bool = True) -> None:
        self.feed = feed
        self.taken: list[Arrival] = []
        self._acknowledge = acknowledge
        self._task = asyncio.create_task(self._run(after))

    async def _run(self, after: str) -> None:
        async with aclosing(batches_of(self.feed, after)) as batches:
            async for batch in batches:
                self.taken += batch
                for arrival in batch:
                    if self._acknowledge and arrival.acknowledge is not None:
                        arrival.acknowledge()

    @property
    def records(self) -> list[Any]:
        """What was received."""
        return [arrival.record for arrival in self.taken]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; what ended the feed is raised."""
        await until(lambda: condition() or self._task.done())
        if self._task.done():
            self._task.result()

    async def connected(self) -> None:
        """Wait until the feed has its connection."""
        await self.until(lambda: self.feed.is_connected)

    async def close(self) -> None:
        """End it, as a daemon that is told to stop."""
        self._task.cancel()
        await asyncio.wait([self._task])
        assert self._task.cancelled()
