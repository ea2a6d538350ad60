"""An event loop whose time is a number: it jumps to the next timer instead of waiting for it.

Nothing in it depends on threads, sockets or the machine's clock: what is handed to a thread elsewhere runs on
the loop itself, after a delay that the simulation chooses. The same coroutines do the same things in the same
order in every process, whatever the hash seed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import Context, copy_context
from heapq import heappop, heappush
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


class _Call:
    """Something to be called, unless it is cancelled before; as much of ``asyncio.Handle`` as is used."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback = callback
        self.args = args
        self.context = context or copy_context()
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.args = ()


class _NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks have one order everywhere."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop; without sockets, threads and checks it is several times as fast as the real one.

    Parameters
    ----------
    clock : VirtualClock
        Moved by this loop while it runs.
    delays : callable
    """

    def __init__(self, clock: VirtualClock, delays: Delays) -> None:
        super().__init__()
        self._virtual = clock
        self._delays = delays
        self._numbered = 0
        self._soon: deque[_Call] = deque()
        self._later: list[tuple[float, int, _Call]] = []
        self.set_task_factory(self._number)  # type: ignore[arg-type]

    def time(self) -> float:
        """Return virtual seconds."""
        return self._virtual.now_s

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Call it in the next turn."""
        call = _Call(callback, args, context)
        self._soon.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Call it at an instant, behind what was to be called then before."""
        call = _Call(callback, args, context)
        self._numbered += 1
        heappush(self._later, (when, self._numbered, call))
        return call

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Call it after a while."""
        return self.call_at(self._virtual.now_s + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """Let time jump if nothing is to be done now, and take one turn."""
        soon, later, clock = self._soon, self._later, self._virtual
        if not soon:
            while later and later[0][2].is_cancelled:
                heappop(later)
            if not later:
                raise StalledError
            clock.now_s = max(clock.now_s, later[0][0])
        while later and later[0][0] <= clock.now_s:
            soon.append(heappop(later)[2])
        for _ in range(len(soon)):
            call = soon.popleft()
            if not call.is_cancelled:
                try:
                    call.context.run(call.callback, *call.args)
                except BaseException as error:  # noqa: BLE001 - as the real loop does
                    self.call_exception_handler({"message": f"in {call.callback}", "exception": error})

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
