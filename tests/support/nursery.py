"""Command lines of ``astra`` without their start-up time: forks of one process that has everything loaded.

``Nursery`` starts ``python -m tests.support.nursery`` once; each ``Child`` is a fork of that process, a real
process of its own that can be signalled and killed, and runs the real command line.
"""

from __future__ import annotations

import importlib
import os
import select
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

_WAIT_S = 30.0
_DEFECT = 98


class Request(msgspec.Struct):
    """Start a command line, or (with ``pid``) wait for one."""

    argv: list[str] = []
    folder: str = ""
    log: str = ""
    environment: dict[str, str] = {}
    prepare: str = ""
    pid: int = 0
    seconds: float = _WAIT_S


class Child:
    """A command line that runs."""

    def __init__(self, nursery: Nursery, pid: int, log: Path) -> None:
        self.pid = pid
        self._nursery = nursery
        self._log = log

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = _WAIT_S) -> int:
        """Return the exit status, negative for a signal."""
        status = self._nursery.ask(Request(pid=self.pid, seconds=seconds))
        assert status is not None, f"it did not end: {self.said[-2_000:]}"
        return int(status)


class Nursery:
    """Starts command lines; use as a context manager, which ends those that still run."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        )
        self._children: list[Child] = []

    def __enter__(self) -> Nursery:
        """Wait until everything is loaded."""
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever still runs, and the nursery."""
        for child in self._children:
            if self.ask(Request(pid=child.pid, seconds=0.0)) is None:
                child.send(9)
                child.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_WAIT_S)
        self._process.stdout.close()

    def start(self, folder: Path, *argv: str, prepare: str = "", **environment: str) -> Child:
        """Start ``astra`` with arguments in a folder.

        ``prepare`` names a function (``module:name``) that the child calls first.
        """
        log = folder / f"log-{len(self._children)}"
        request = Request(list(argv), str(folder), str(log), environment, prepare)
        child = Child(self, int(self.ask(request)), log)
        self._children.append(child)
        return child

    def ask(self, request: Request) -> Any:
        """Send a request; return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has ended"
        return msgspec.json.decode(line)


# --------------------------------------------------------------------------------------- in the nursery


def serve() -> None:
    """Load everything, then fork what is asked for until nobody asks any more."""
    from engine.app.live import run
    from engine.app.live.sinks import sinks_of  # noqa: F401 - loads the clients of every server
    from engine.app.live.warm_up import warm_up

    del run
    warm_up()
    ended: dict[int, int] = {}
    _say(0)
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=Request)
        _say(_wait(request, ended) if request.pid else _fork(request))


def _say(answer: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def _wait(request: Request, ended: dict[int, int]) -> int | None:
    """Wait for a child; None if it has not ended in time."""
    if request.pid not in ended:
        watched = os.pidfd_open(request.pid)
        try:
            if not select.select([watched], [], [], request.seconds)[0]:
                return None
        finally:
            os.close(watched)
        ended[request.pid] = os.waitstatus_to_exitcode(os.waitpid(request.pid, 0)[1])
    return ended[request.pid]


def _fork(request: Request) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = _DEFECT
    try:
        status = _child(request)
    except BaseException:  # noqa: BLE001 - whatever it is, it must not return into the parent's code
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _child(request: Request) -> int:
    from engine.app import main

    os.chdir(request.folder)
    os.environ.update(request.environment)
    output = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)
    if request.prepare:
        module, _, name = request.prepare.partition(":")
        getattr(importlib.import_module(module), name)()
    status = main.run(request.argv)
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    serve()
