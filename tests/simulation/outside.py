"""What stands outside of the engine: a broker of bars, a channel of commands, and receivers of effects.

They outlive every process of a world. Whatever a process tells them is compared at once with what is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from engine.app.live.operator_link import Admission, Received
from engine.events import Record
from engine.journal_format import encode_record
from engine.ports import Arrival, Effect
from engine.sinks.messages import EffectId, effect_id, id_of
from feeds.bar_messages import decode, judged
from feeds.live_context import LiveContext
from tests.simulation.market import Message

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
_NOTHING: EffectId = (0, 0)


class Broker:
    """Holds messages until they are confirmed, or for ever, with their numbers as positions."""

    def __init__(self, world: World, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.confirmed: set[int] = set()
        self._world = world

    def confirm(self, number: int, record: Record) -> None:
        """Forget a message, which must be on disk by now."""
        if not self._world.machine.is_dead:
            self._world.check_durable(record, "confirmed")
            self.confirmed.add(number)


class FeedError(Exception):
    """A defect in a feed's own code."""


class WorldFeed:
    """A live feed: sends unconfirmed messages again on each connection, or goes on from a position."""

    is_connected = True

    def __init__(self, world: World, context: LiveContext) -> None:
        self._world = world
        self._context = context

    async def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:
        """Yield batches until the world ends."""
        world, broker = self._world, self._world.broker
        sent = int(after or -1)
        while True:
            if (cut := world.machine.active("disconnect")) is not None:
                await asyncio.sleep(cut.until_s - world.machine.now_s)
                continue
            todo = range(sent + 1, len(broker.messages))
            if not world.knobs.is_stream:
                todo = [n for n in range(len(broker.messages)) if n not in broker.confirmed]
            async for batch in self._batches(todo):
                yield [self._arrival(number, record) for number, record in batch]
                sent = max(sent, batch[-1][0])
            if world.machine.active("disconnect") is None:
                await asyncio.Event().wait()

    async def _batches(self, todo: Sequence[int]) -> AsyncIterator[list[tuple[int, Record]]]:
        """Yield what has come, as it comes, until the connection breaks or nothing is left."""
        world, messages = self._world, self._world.broker.messages
        at, most = 0, world.knobs.feed_batch
        while at < len(todo) and world.machine.active("disconnect") is None:
            wait_s = messages[todo[at]].at_s - world.machine.now_s
            if wait_s > 0.0:
                await asyncio.sleep(min(wait_s, world.machine.until_next("disconnect")))
            if world.is_feed_broken:
                world.is_feed_broken = False
                world.met["fault feed_raises"] += 1
                raise FeedError("the code of the feed fails")
            batch = []
            while at < len(todo) and len(batch) < most and messages[todo[at]].at_s <= world.machine.now_s:
                (record,) = judged(decode(messages[todo[at]].body), self._context)
                batch.append((todo[at], record))
                at += 1
            if batch:
                yield batch

    def _arrival(self, number: int, record: Record) -> Arrival:
        position = str(number) if self._world.knobs.is_stream else ""
        return Arrival(record, position, partial(self._world.broker.confirm, number, record))


class Channel:
    """Commands on their way to the engine, each until it is confirmed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sent: list[bytes] = []
        self._confirmed: set[int] = set()
        self.came = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Commands not yet confirmed."""
        return len(self._sent) - len(self._confirmed)

    def send(self, data: bytes) -> None:
        """Send a command."""
        self._sent.append(data)
        self.came.set()

    async def orders(self, admission: Admission) -> AsyncIterator[Received]:
        """Yield commands to a process: first those that the one before has not confirmed."""
        self.came = asyncio.Event()
        number = 0
        while True:
            while number < len(self._sent):
                if number not in self._confirmed:
                    command = admission.admit(self._sent[number])
                    if command is None:
                        self._confirmed.add(number)
                    else:
                        yield command, partial(self._confirm, number, command)
                number += 1
            self.came.clear()
            await self.came.wait()

    def _confirm(self, number: int, record: Record) -> None:
        if not self._world.machine.is_dead:
            self._world.check_durable(record, "confirmed")
            self._confirmed.add(number)


async def trip(world: World, target: str, apply: Callable[[], T]) -> T:
    """Send something to a server and wait for its answer, with all that may come between.

    A process that dies meanwhile may have sent it, or not.
    """
    try:
        slow = world.machine.active("sink_slow", target)
        await asyncio.sleep(0.002 if slow is None else 0.2 + 8.0 * slow.value)
    except asyncio.CancelledError:
        if world.machine.is_dead and world.machine.chance() < 0.5:
            apply()
        raise
    down = world.machine.active("sink_down", target)
    if down is not None:
        await asyncio.sleep(5.0 if down.value < 0.3 else 0.0)
        raise RedisConnectionError("connection refused")
    if world.machine.is_dead:
        raise RedisConnectionError("nobody is there to ask")
    answer = apply()
    if world.machine.active("sink_silent_reply", target) is not None and world.machine.chance() < 0.6:
        await asyncio.sleep(1.0)
        raise TimeoutError("no answer")
    return answer


class RedisServer:
    """Streams, and the one function the engine loads; ids only grow."""

    def __init__(self, world: World) -> None:
        self.streams: dict[str, list[tuple[EffectId, bytes]]] = {}
        self.world = world
        self.has_function = False

    def lose(self, share: float) -> None:
        """Come back with only the oldest part of each stream, as from a file that was not synced."""
        self.has_function = False
        for entries in self.streams.values():
            del entries[int(len(entries) * share) :]

    def newest(self, key: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Answer ``XREVRANGE key + - COUNT 1``."""
        entries = self.streams.get(key, [])
        return [(f"{seq}-{index}".encode(), {b"message": body}) for (seq, index), body in entries[-1:]]

    def call(self, key: str, newest: str, pairs: Sequence[Any]) -> list[int]:
        """Do what the function of ``engine/sinks/redis.py`` does."""
        if not self.has_function:
            raise ResponseError("ERR Function not found")
        entries = self.streams.setdefault(key, [])
        last = entries[-1][0] if entries else _NOTHING
        if last < id_of(newest):
            raise ResponseError("BEHIND the stream has lost entries it had confirmed")
        verdicts = []
        for text, body in zip(pairs[::2], pairs[1::2], strict=True):
            id_ = id_of(text)
            self.world.check_published(id_)
            if id_ > last:
                entries.append((id_, body))
                last = id_
                verdicts.append(1)
            else:
                is_there = any(known == id_ for known, _ in reversed(entries))
                verdicts.append(0 if is_there or id_ < entries[0][0] else -1)
        return verdicts


class RedisClient:
    """As much of ``redis.asyncio.Redis`` as the sink uses."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def function_load(self, _code: str) -> None:
        def load() -> None:
            if self._server.has_function:
                raise ResponseError("ERR Library 'astra_v2' already exists")
            self._server.has_function = True

        await trip(self._server.world, "redis", load)

    def pipeline(self, *, transaction: bool) -> _Pipeline:
        assert not transaction
        return _Pipeline(self._server)

    async def set(self, _key: str, _body: bytes) -> None:
        await trip(self._server.world, "redis", lambda: None)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


class _Pipeline:
    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._calls: list[Callable[[], Any]] = []

    def xrevrange(self, key: str, *, count: int) -> None:
        assert count == 1
        self._calls.append(partial(self._server.newest, key))

    def fcall(
        self, _name: str, _keys: int, key: str, _channel: str, _most: int, newest: str, *pairs: Any
    ) -> None:
        self._calls.append(partial(self._server.call, key, newest, pairs))

    async def execute(self) -> list[Any]:
        def apply() -> list[Any]:
            answers: list[Any] = []
            for call in self._calls:
                try:
                    answers.append(call())
                except ResponseError as error:
                    answers.append(error)
            return answers

        answers = await trip(self._server.world, "redis", apply)
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers


class TopicSink:
    """A sink whose receiver keeps what it is told, again and again: who listens tells repeats by their id."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        await trip(self._world, "mqtt", lambda: None)
        return {}

    async def deliver(self, effects: Sequence[Effect]) -> None:
        def apply() -> None:
            for effect in effects:
                self._world.check_published(effect_id(effect))
                self._world.heard.append(effect)

        await trip(self._world, "mqtt", apply)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


def raw_of(record: Record) -> bytes:
    """Return the bytes of a record in the journal."""
    return encode_record(record)
