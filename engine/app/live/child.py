"""Processes beside the engine: each ends when the engine does, in whatever way that ends.

Servers of a trial run are such processes, and so are commands of ``astra`` that look at the engine's files
while it goes on: in a process of their own they hold up neither its event loop nor its interpreter.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from typing import Final, NamedTuple, Self

#: Keys of operators and vendors are nobody else's business.
_PRIVATE: Final = ("ASTRA_", "APCA_")
#: Priority of what nobody waits for: a busy engine goes first, and on a busy machine it still gets done.
_NICE: Final = 10


class Leash:
    """Kills a process when this one is gone: a shell waits on a pipe whose other end only this one has.

    Both are in sessions of their own, so that Ctrl-C in a terminal reaches only the engine, which still has
    to hand over what it knows.

    Parameters
    ----------
    pid : int
        Of a child of this process. As a context manager it lets go at the end.
    """

    def __init__(self, pid: int) -> None:
        self._shell = subprocess.Popen(  # noqa: S603 - our own command line
            ["/bin/sh", "-c", 'read -r _; kill -9 "$1"', "watchdog", str(pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go: before the process is waited for, since somebody else may have its number after that."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()


class Ended(NamedTuple):
    """What became of a command."""

    status: int
    out: bytes
    err: bytes


def public_environment() -> dict[str, str]:
    """Return the environment of this process without the secrets in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}


async def astra(*arguments: str, seconds: float, is_awaited: bool = False) -> Ended:
    """Run a command of ``astra``; it has no keys, and ends when this is cancelled.

    Parameters
    ----------
    *arguments : str
    seconds : float
        How long it may take.
    is_awaited : bool
        Somebody waits for it: it gets the priority of the engine, and not a lower one.

    Raises
    ------
    TimeoutError
        If it took longer than ``seconds``; it has been killed then.
    OSError
        If no process can be started.
    """
    process = await asyncio.create_subprocess_exec(
        # -P: a folder of the user's that is named like a package must not hide it.
        *(sys.executable, "-P", "-m", "engine.app.main", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=public_environment(),
    )
    try:
        with Leash(process.pid):
            if not is_awaited:
                with suppress(OSError):  # it has ended already, or a service is not let
                    os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
            async with asyncio.timeout(seconds):
                out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode or 0, out, err)
