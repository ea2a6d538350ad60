"""The thread that notices when the core hangs, which a synchronous core cannot notice itself.

Three lines, each for what the one before it cannot see:

1. A thread looks several times in ``step_max_s`` whether a step or the event loop's heartbeat is overdue.
   It raises the halt marker, tells people, and ends the process with status 70. It sees endless loops in
   Python, in kernels (which release the interpreter's lock), and waiting for a device that does not answer.
2. C code that keeps the interpreter's lock stops that thread too. So each look winds up a timer of the C
   runtime (``faulthandler``) that needs no lock: it writes where every thread stands *into the halt marker*,
   which thereby counts as raised, and ends the process with status 1.
3. systemd hears from the thread only while all is well, and kills a service that it does not hear from.

Whoever starts the process again finds the marker, and is halted. A process that was stopped as a whole
(SIGSTOP, a frozen virtual machine) is ended when it goes on: prices moved while nobody looked.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from engine.app.live.halt_marker import WATCHDOG, HaltMarker
from engine.app.live.systemd import Systemd
from engine.clock import stopwatch_s
from engine.events import Nanos

#: What the process ends with when it hung (EX_SOFTWARE): neither a signal, nor a status of the command line.
EXIT_HUNG: Final = 70
#: How long telling people may take; their pager may be why the process hangs.
TELL_MAX_S: Final = 1.0
#: Looks and heartbeats in ``step_max_s``: what is overdue is noticed at most an eighth late.
_LOOKS: Final = 8
_LOOK_MAX_S: Final = 1.0
#: A disk that does not answer must not keep a hung process alive.
_LAST_S: Final = 5.0


class Watchdog:
    """Ends a process that hangs, and leaves a halt for the next one; use as a context manager.

    One a process: the timer of the C runtime exists once.

    Parameters
    ----------
    marker : HaltMarker
    step_max_s : float
        A step, or the time between two heartbeats, that takes longer is hung.
    now_ns : callable
        The time of the run, for the marker.
    tell : callable
        Logs and alerts ``text`` as well as it can, in a thread of its own; given ``TELL_MAX_S``.
    systemd : Systemd
    """

    def __init__(
        self,
        marker: HaltMarker,
        step_max_s: float,
        *,
        now_ns: Callable[[], Nanos],
        tell: Callable[[str], None],
        systemd: Systemd,
    ) -> None:
        self._marker = marker
        self._step_max_s = step_max_s
        self._now_ns = now_ns
        self._tell = tell
        self._systemd = systemd
        self._look_every_s = min(step_max_s / _LOOKS, _LOOK_MAX_S, (systemd.watchdog_s or 2.0) / 2.0)
        self._seq = 0
        self._entered_s = 0.0
        self._beat_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)

    def enter(self, seq: int) -> None:
        """Note that the step of record ``seq`` begins."""
        self._seq = seq
        self._entered_s = stopwatch_s()

    def leave(self) -> None:
        """Note that the step has ended."""
        self._entered_s = 0.0

    def beat(self) -> None:
        """Note that the event loop goes round."""
        self._beat_s = stopwatch_s()

    @property
    def beat_age_s(self) -> float:
        """How long ago the event loop last went round, seconds."""
        return stopwatch_s() - self._beat_s

    async def beat_forever(self) -> None:
        """Beat until cancelled: a task of the event loop that is watched."""
        while True:
            self.beat()
            await asyncio.sleep(self._look_every_s)

    def __enter__(self) -> Self:
        self.beat()
        self._wind_up(self._step_max_s)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _wind_up(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._marker.fd)

    def _look(self) -> None:
        looked_s = stopwatch_s()
        while not self._stop.wait(self._look_every_s):
            now_s = stopwatch_s()
            overdue = self._overdue(now_s, now_s - looked_s)
            if overdue:
                self._bite(overdue)
            looked_s = now_s
            self._wind_up(self._step_max_s)
            self._systemd.pet()

    def _overdue(self, now_s: float, pause_s: float) -> str:
        """Say what takes too long; empty when nothing does."""
        entered_s = self._entered_s  # read once: the core goes on meanwhile
        if entered_s and now_s - entered_s > self._step_max_s:
            return f"the step of record {self._seq} took longer than {self._step_max_s:g} s"
        if pause_s > self._step_max_s:
            return f"the process stood still for {pause_s:.1f} s"
        if now_s - self._beat_s > self._step_max_s:
            return f"the event loop did not go round for {self._step_max_s:g} s"
        return ""

    def _bite(self, text: str) -> None:
        """Make the halt durable, then try to tell people, then end the process, whatever happens."""
        self._wind_up(_LAST_S)
        # A marker that cannot be written is a dead disk, on which no engine starts again.
        with suppress(OSError):
            self._marker.raise_(WATCHDOG, text, self._now_ns())
        telling = threading.Thread(target=self._tell, args=(text,), daemon=True)
        telling.start()
        telling.join(TELL_MAX_S)
        os._exit(EXIT_HUNG)
