"""One life of the engine: a fork of a process that has everything imported and compiled, until it ends.

Forking needs a parent without threads; the one exception is a thread of Arrow's allocator, which has handlers
for forks of its own.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.app import assembly
from engine.app.config.load import Config
from engine.app.live import live_run, run
from engine.app.live.run import RunOptions
from engine.app.terminal import Silent
from engine.bus import Bus
from engine.clock import stopwatch_s
from engine.errors import AstraError
from engine.sinks.redis import RedisSink
from tests.support.crash import Crash, arm

_LIFE_MAX_S: Final = 60.0
_SPEED: Final = 60_000.0
_MAY_RUN: Final = frozenset({"jemalloc_bg_thd"})
_DEFECT: Final = 98
_SOLVE_S: Final = 0.02


class Life(msgspec.Struct, frozen=True):
    """How a life is to end.

    Parameters
    ----------
    crashes : tuple of Crash
        What the process does to itself; the first that is reached counts.
    kill_after_s : float or None
        When its parent kills it.
    is_deaf : bool
        Redis takes nothing: what should go there waits in the outbox, and in snapshots.
    is_slow : bool
        The allocator takes so long that its problem is on disk before its answer.
    """

    crashes: tuple[Crash, ...] = ()
    kill_after_s: float | None = None
    is_deaf: bool = False
    is_slow: bool = False


class Ending(msgspec.Struct):
    """How a life ended, and what it told.

    Parameters
    ----------
    status : int
        Exit status; negative the signal.
    crash : str
        Name of the crash; "at a random time" if the parent killed it.
    recover_s, ready_s : float or None
        Duration of the recovery, and time from the fork until it took records; None if it did not get there.
    replayed : int
        Records taken from the journal.
    torn_bytes : int
        Found at the end of the journal, and cut off.
    had_problem : bool
        The journal ended with a problem that nobody had answered.
    is_hung : bool
        It had to be killed because it did not end.
    """

    status: int
    crash: str = ""
    recover_s: float | None = None
    ready_s: float | None = None
    replayed: int = 0
    torn_bytes: int = 0
    had_problem: bool = False
    is_hung: bool = False


def live(config: Config, life: Life, log: Path, change: Callable[[], None] | None = None) -> Ending:
    """Fork, run the engine in the child, and wait for its end.

    Parameters
    ----------
    config : Config
    life : Life
    log : Path
        What it prints is added there.
    change : callable or None
        Called in the child first: breaks the engine on purpose.
    """
    _check_threads()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            os._exit(_child(config, life, log, writer, change))
        except BaseException:  # noqa: BLE001 - whatever it is, it must not return into the parent's code
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(_DEFECT)
    os.close(writer)
    is_killed, is_hung = _await(pid, life.kill_after_s)
    _, status = os.waitpid(pid, 0)
    ending = Ending(os.waitstatus_to_exitcode(status), is_hung=is_hung)
    if is_killed and ending.status == -signal.SIGKILL:
        ending.crash = "at a random time"
    with os.fdopen(reader, "rb") as told:
        for line in told.read().splitlines():
            for name, value in msgspec.json.decode(line, type=dict[str, Any]).items():
                setattr(ending, name, value)
    return ending


def _check_threads() -> None:
    """Refuse to fork beside threads: a lock that one of them holds would stay locked in the child."""
    names = {(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
    mine = Path("/proc/self/comm").read_text().strip()
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if threads > 1 + len(names & _MAY_RUN):
        raise RuntimeError(f"threads run beside {mine}: {sorted(names)}")


def _await(pid: int, kill_after_s: float | None) -> tuple[bool, bool]:
    """Wait for the end of a child, or for the time to kill it; return whether, and whether it had hung."""
    watched = os.pidfd_open(pid)
    try:
        if select.select([watched], [], [], _LIFE_MAX_S if kill_after_s is None else kill_after_s)[0]:
            return False, False
        os.kill(pid, signal.SIGKILL)
        return True, kill_after_s is None
    finally:
        os.close(watched)


def _child(config: Config, life: Life, log: Path, writer: int, change: Callable[[], None] | None) -> int:
    began_s = stopwatch_s()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)

    def tell(**said: Any) -> None:
        os.write(writer, msgspec.json.encode(said) + b"\n")

    if change is not None:
        change()
    if life.is_deaf:
        _deafen()
    if life.is_slow:
        _slow_down()
    _watch(tell, began_s)
    arm(life.crashes, lambda name: tell(crash=name))
    try:
        return run.run(config, RunOptions(speed=_SPEED), Silent())
    except AstraError as error:
        print(f"{error.code} {error.what} {error.where}", file=sys.stderr, flush=True)  # noqa: T201
        return error.exit_code


def _watch(tell: Callable[..., None], began_s: float) -> None:
    """Tell how long the recovery took, and when the first record is taken."""
    recover, announce = assembly.recover, live_run.announce

    def timed(*args: Any, **kwargs: Any) -> Any:
        started_s = stopwatch_s()
        found = recover(*args, **kwargs)
        tell(
            recover_s=stopwatch_s() - started_s,
            replayed=found.replayed,
            torn_bytes=found.torn_bytes,
            had_problem=found.problem is not None,
        )
        return found

    def announced(*args: Any) -> None:
        announce(*args)
        tell(ready_s=stopwatch_s() - began_s)

    assembly.recover = timed
    live_run.announce = announced


def _slow_down() -> None:
    plain = Bus.answer

    def answer(self: Any, problem: Any) -> Any:
        time.sleep(_SOLVE_S)
        return plain(self, problem)

    Bus.answer = answer  # type: ignore[method-assign]


def _deafen() -> None:
    """Let Redis be connected to, and take nothing."""

    async def deliver(*_: Any) -> None:
        raise ConnectionError("the server takes nothing in this life")

    RedisSink.deliver = deliver  # type: ignore[method-assign]
    live_run._DRAIN_S = 0.1  # type: ignore[misc]
