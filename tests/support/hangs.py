"""Processes that hang in every way a process can, each under a real watchdog.

Run as a program it forks ``count`` children that hang in the way named, waits for all of them, and prints
what became of each as JSON. ``tests/unit/test_app_watchdog.py`` judges.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numba

from engine.app.live.halt_marker import HaltMarker
from engine.app.live.systemd import Systemd
from engine.app.live.watchdog import Watchdog

AT_ONCE = 25
#: Set by ``main``.
STEP_MAX_S = 0.1


def spin(n: int) -> int:
    """Count for ever: an odd number never becomes even by adding two."""
    while n % 2:
        n += 2
    return n


UNLOCKED = numba.njit("int64(int64)", nogil=True)(spin)
LOCKED = numba.njit("int64(int64)", nogil=False)(spin)


def hang_in_python(_: Watchdog) -> None:
    """Loop in the interpreter."""
    spin(1)


def hang_in_kernel(_: Watchdog) -> None:
    """Loop in compiled code that has released the interpreter's lock, as the engine's kernels do."""
    UNLOCKED(1)


def hang_in_locked_kernel(_: Watchdog) -> None:
    """Loop in compiled code that keeps the lock."""
    LOCKED(1)


def hang_in_c(_: Watchdog) -> None:
    """Wait in C with the lock held: no other Python thread ever runs again."""
    ctypes.PyDLL(None).pause()


def hang_in_deadlock(_: Watchdog) -> None:
    """Wait for a lock that nobody will release."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def hang_in_system_call(_: Watchdog) -> None:
    """Wait for a device that never answers."""
    readable, _writable = os.pipe()
    os.read(readable, 1)


def hang_in_event_loop(watchdog: Watchdog) -> None:
    """Block the event loop outside any step."""
    watchdog.leave()

    async def block() -> None:
        beating = asyncio.ensure_future(watchdog.beat_forever())
        await asyncio.sleep(0)
        threading.Event().wait()
        beating.cancel()

    asyncio.run(block())


def stop_for_a_while(watchdog: Watchdog) -> None:
    """Be well, but be stopped by SIGSTOP (the parent lets go on later)."""
    watchdog.leave()
    os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        watchdog.beat()


def be_well(watchdog: Watchdog) -> None:
    """Step and beat as a healthy engine does, for three times the longest step."""
    watchdog.leave()

    async def live() -> None:
        beating = asyncio.ensure_future(watchdog.beat_forever())
        until_s = time.monotonic() + 3.0 * STEP_MAX_S
        seq = 0
        while time.monotonic() < until_s:
            seq += 1
            watchdog.enter(seq)
            watchdog.leave()
            await asyncio.sleep(0)
        beating.cancel()

    asyncio.run(live())


HANGS: dict[str, Callable[[Watchdog], None]] = {
    f.__name__: f
    for f in (
        hang_in_python,
        hang_in_kernel,
        hang_in_locked_kernel,
        hang_in_c,
        hang_in_deadlock,
        hang_in_system_call,
        hang_in_event_loop,
        stop_for_a_while,
        be_well,
    )
}


def tell_nobody(_: str) -> None:
    """Wait for ever: the pager hangs as well."""
    threading.Event().wait()


def child(kind: str, path: Path, is_pager_hung: bool) -> None:
    """Hang; never return to the caller's code."""
    tell = tell_nobody if is_pager_hung else lambda _: None
    systemd = Systemd({}, os.getpid())
    with Watchdog(HaltMarker(path), STEP_MAX_S, now_ns=lambda: 1, tell=tell, systemd=systemd) as watchdog:
        watchdog.enter(7)
        HANGS[kind](watchdog)
    os._exit(0)


def trial(kind: str, path: Path, is_pager_hung: bool) -> tuple[int, float]:
    """Fork one; return its process id and when it began."""
    began_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            child(kind, path, is_pager_hung)
        finally:
            os._exit(99)
    if kind == "stop_for_a_while":
        os.waitpid(pid, os.WUNTRACED)
        threading.Timer(3.0 * STEP_MAX_S, os.kill, (pid, signal.SIGCONT)).start()
    return pid, began_s


def outcome(path: Path, status: int, seconds: float) -> dict[str, object]:
    """Return what became of a child, and what its marker says to the next process."""
    marker = HaltMarker(path)
    raised = marker.read()
    marker.close()
    return {"status": os.waitstatus_to_exitcode(status), "raised": raised, "seconds": seconds}


def main(kind: str, count: int, folder: Path, step_max_s: float, is_pager_hung: bool) -> None:
    """Try ``count`` times, several at once, and print the outcomes."""
    global STEP_MAX_S  # noqa: PLW0603 - of a process that does nothing else
    STEP_MAX_S = step_max_s
    outcomes = []
    for first in range(0, count, AT_ONCE):
        running = {}
        for i in range(first, min(first + AT_ONCE, count)):
            path = folder / f"{i}.marker"
            pid, began_s = trial(kind, path, is_pager_hung)
            running[pid] = path, began_s
        while running:
            pid, status = os.wait()
            path, began_s = running.pop(pid)
            outcomes.append(outcome(path, status, time.monotonic() - began_s))
    print(json.dumps(outcomes))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), sys.argv[5:] == ["pager"])
