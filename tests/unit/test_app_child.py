"""Commands beside the engine: what they say, and that none stays."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys

import pytest

from engine.app.build import installed_version
from engine.app.live.child import astra
from tests.support.waiting import until


async def test_a_command_answers_without_the_keys(monkeypatch) -> None:
    """It reads what the engine wrote, and needs no secret for that."""
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", "secret")
    ended = await astra("--version", seconds=30.0)
    assert (ended.status, ended.out, ended.err) == (0, f"astra {installed_version()}\n".encode(), b"")
    refused = await astra("journal", "verify", "/nowhere", seconds=30.0)
    assert refused.status == 3
    assert b"error[J002]" in refused.err


@pytest.mark.parametrize("seconds", [0.02, 60.0])
async def test_one_that_takes_too_long_or_is_not_wanted_any_more_is_gone(monkeypatch, seconds) -> None:
    """A check that goes on after the engine has ended would read a folder that is being changed."""
    started: list[asyncio.subprocess.Process] = []
    plain = asyncio.create_subprocess_exec

    async def noted(*arguments, **options):
        started.append(await plain(sys.executable, "-c", "import signal; signal.pause()", **options))
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    running = asyncio.create_task(astra("journal", seconds=seconds))
    await until(lambda: bool(started))
    if seconds > 1.0:
        assert os.getpriority(os.PRIO_PROCESS, started[0].pid) == 10
        running.cancel()
    with pytest.raises((TimeoutError, asyncio.CancelledError)):
        await running
    assert started[0].returncode == -signal.SIGKILL


def test_a_process_on_a_leash_goes_with_its_owner() -> None:
    """Killed, the engine can end nothing itself."""
    script = (
        "import subprocess, sys, signal; from engine.app.live.child import Leash; "
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
        "leash = Leash(child.pid); print(child.pid, flush=True); signal.pause()"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    watched = os.pidfd_open(int(owner.stdout.readline()))
    try:
        assert select.select([watched], [], [], 0.0)[0] == []
        owner.kill()
        assert select.select([watched], [], [], 20.0)[0] == [watched]
    finally:
        os.close(watched)
        owner.wait()
        owner.stdout.close()
