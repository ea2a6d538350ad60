"""The loop that simulations run on: its time must be exact, and its order fixed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from engine.clock import Clock, stopwatch_s
from tests.support.virtual_time import Gone, StalledError, VirtualClock, VirtualLoop, stopwatches_of

NOON_NS = 1_767_614_400_000_000_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOON_NS)


@pytest.fixture
def loop(clock: VirtualClock) -> Iterator[VirtualLoop]:
    made = VirtualLoop(clock, lambda executor: (0.5, 0.25) if executor is None else (5.0, 0.0))
    yield made
    made.close()


def test_time_jumps_to_the_next_timer(clock: VirtualClock, loop: VirtualLoop) -> None:
    """Hours must cost nothing, and each sleeper must wake at its own instant."""
    woken: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((seconds, clock.now_s))

    async def main() -> None:
        await asyncio.gather(*(sleeper(s) for s in (7_200.0, 0.5, 3_600.0)))

    loop.run_until_complete(main())
    assert woken == [(0.5, 0.5), (3_600.0, 3_600.0), (7_200.0, 7_200.0)]


def test_timeouts_keep_virtual_time(clock: VirtualClock, loop: VirtualLoop) -> None:
    """The couriers' and the stepper's deadlines are timeouts of asyncio."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30.0):
                await asyncio.Event().wait()

    loop.run_until_complete(main())
    assert clock.now_s == 30.0


def test_threads_are_delays(clock: VirtualClock, loop: VirtualLoop) -> None:
    """A function for a thread runs after one delay, and its result or error is told after another."""
    seen: list[float] = []

    async def main() -> None:
        await asyncio.to_thread(lambda: seen.append(clock.now_s))
        seen.append(clock.now_s)
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")

    loop.run_until_complete(main())
    assert seen == [0.5, 0.75]


def test_whoever_is_gone_answers_nobody(loop: VirtualLoop) -> None:
    """A process that dies in a write must not learn that the write failed."""

    def die() -> None:
        raise Gone

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60.0):
                await asyncio.to_thread(die)

    loop.run_until_complete(main())


def test_waiting_for_nothing_is_told(loop: VirtualLoop) -> None:
    """A deadlock must fail at once, not hang the test run."""
    waiting = loop.create_task(asyncio.Event().wait())
    with pytest.raises(StalledError):
        loop.run_until_complete(waiting)
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))


def test_sets_of_tasks_have_one_order(loop: VirtualLoop) -> None:
    """A task group cancels in the order of a set: by address, it would differ from process to process."""
    ended: list[int] = []

    async def one(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def fail() -> None:
        await asyncio.sleep(1.0)
        raise ValueError

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(one(number))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        loop.run_until_complete(main())
    assert ended == sorted(ended)


def test_the_engines_clocks_follow(clock: VirtualClock) -> None:
    """Durations and jumps are measured on the same time; a clock that is set is seen to have jumped."""
    of_engine = Clock(wall=clock.time_ns, monotonic=clock.monotonic)
    with stopwatches_of(clock):
        began_s: Any = stopwatch_s()
        clock.now_s += 12.0
        assert stopwatch_s() - began_s == 12.0
    assert of_engine.jump_s() == 0.0
    clock.offset_ns += 61_000_000_000
    assert of_engine.jump_s() == 61.0
    assert of_engine.now_ns() == NOON_NS + 73_000_000_000
