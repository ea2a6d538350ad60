"""An event loop whose time is a number: it jumps to the next timer instead of waiting for it.

Nothing in it depends on threads, sockets or the machine's clock: what is handed to a thread elsewhere runs on
the loop itself, after a delay that the simulation chooses. The same coroutines do the same things in the same
order in every process, whatever the hash seed.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeAlias

from engine import clock as engine_clock
from engine.events import Nanos

#: Given what would have run it, how long until a function runs elsewhere, and until its result is known.
Delays: TypeAlias = Callable[[Executor | None], tuple[float, float]]

_NS_PER_S = 1_000_000_000


class StalledError(Exception):
    """Nothing is scheduled: whoever waits would wait for ever."""


class Gone(BaseException):
    """The process is gone in the middle of what it did; no code of the product may catch it."""


class VirtualClock:
    """Time of a simulated machine; a wall clock that can be set, and a monotonic one that cannot.

    Parameters
    ----------
    start_ns : int
        What the wall clock shows at 0 s.

    Attributes
    ----------
    now_s : float
        Monotonic seconds.
    offset_ns : int
        By how much the wall clock was set.
    """

    def __init__(self, start_ns: Nanos) -> None:
        self.now_s = 0.0
        self.offset_ns = 0
        self._start_ns = start_ns

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self.now_s

    perf_counter = monotonic

    def time_ns(self) -> Nanos:
        """Return what the wall clock shows."""
        return self._start_ns + self.offset_ns + round(self.now_s * _NS_PER_S)


class _NoSockets(selectors.BaseSelector):
    """Waits for nothing but time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StalledError
        if timeout > 0.0:
            self._clock.now_s += timeout
        return []


class _NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks have one order everywhere."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop.

    Parameters
    ----------
    clock : VirtualClock
        Moved by this loop while it runs.
    delays : callable
    """

    def __init__(self, clock: VirtualClock, delays: Delays) -> None:
        super().__init__(_NoSockets(clock))
        self._virtual = clock
        self._delays = delays
        self._numbered = 0
        self.set_task_factory(self._number)  # type: ignore[arg-type]

    def time(self) -> float:
        """Return virtual seconds."""
        return self._virtual.now_s

    def run_in_executor(self, executor: Executor | None, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run ``func`` on this loop after a delay, and tell its result after another."""
        future: asyncio.Future[Any] = self.create_future()
        until_s, after_s = self._delays(executor)

        def run() -> None:
            try:
                result = func(*args)
            except Gone:
                pass  # nobody is there to be told
            except Exception as error:  # noqa: BLE001 - handed to whoever awaits it
                self.call_later(after_s, _settle, future, None, error)
            else:
                self.call_later(after_s, _settle, future, result, None)

        self.call_later(until_s, run)
        return future

    def _number(self, loop: Any, coroutine: Coroutine[Any, Any, Any], **options: Any) -> _NumberedTask:
        self._numbered += 1
        return _NumberedTask(self._numbered, coroutine, loop=loop, **options)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


@contextmanager
def stopwatches_of(clock: VirtualClock) -> Iterator[None]:
    """Let ``engine.clock`` measure durations on a virtual clock."""
    real, engine_clock.time = engine_clock.time, clock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        engine_clock.time = real  # type: ignore[attr-defined]
