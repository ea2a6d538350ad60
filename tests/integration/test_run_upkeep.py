"""What a run does beside trading: its state is checked, its folder renewed; and it ends whatever hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.app.config.load import load
from engine.app.live.halt_marker import HaltMarker
from engine.app.replay.journal_tools import rebuild, verify_files
from engine.disk import OS_DISK
from engine.events import HaltRequested, TradingState
from engine.journal import JournalReader
from engine.journal_format import segments
from engine.recovery import identity_of
from tests.support.children import halts, nursery, records, start, wait_for
from tests.support.nursery import Child
from tests.support.small_engine import CONFIG, FAST, SLOW

__all__ = ["nursery", "start"]


def status(folder: Path) -> dict[str, Any]:
    """Return the status document."""
    return dict(msgspec.json.decode((folder / "state/status.json").read_bytes()))


def said(child: Child, event: str) -> list[dict[str, Any]]:
    """Return the lines of the log about an event."""
    lines = [line for line in child.said.splitlines() if f'"event":"{event}"' in line]
    return [msgspec.json.decode(line) for line in lines]


OFTEN = ("--set", "daemon.snapshot_every_records=200", "--set", "daemon.verify_every_s=0.2")


def test_a_state_that_does_not_follow_from_the_journal_halts(start, tmp_path) -> None:
    """A flipped bit, or an order that is not repeatable: the book in memory is not the one of the records."""
    first = start(SLOW, *OFTEN, prepare="tests.support.broken_runs:miscount")
    wait_for(lambda: said(first, "snapshot set aside"), first)
    wait_for(lambda: halts(tmp_path) == ["STATE_MISMATCH"], first)
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    assert status(tmp_path)["halt_reason"].startswith("STATE_MISMATCH: the state at record ")
    kept = sorted(path.name for path in (tmp_path / "state/snapshots").iterdir())
    assert kept[-1].endswith(".snapshot.mismatch")
    second = start(SLOW, *OFTEN)
    wait_for(lambda: said(second, "snapshot verified"), second)
    wait_for(lambda: status(tmp_path)["verified_seq"] > 0, second)
    (found,) = said(second, "running")
    assert found["snapshot_seq"] < int(kept[-1].partition(".")[0])
    assert status(tmp_path)["trading_state"] == "HALTED"
    second.send(signal.SIGTERM)
    assert second.wait() == 0
    assert halts(tmp_path) == ["STATE_MISMATCH", "STATE_RECOMPUTED"]


def test_a_check_that_cannot_be_done_is_told(start, tmp_path) -> None:
    """An engine whose state nobody checks any more looks like one that is well."""
    child = start(SLOW, *OFTEN, prepare="tests.support.broken_runs:cannot_check")
    alerts = tmp_path / "state/alerts.jsonl"
    wait_for(alerts.exists, child)
    wait_for(lambda: '"kind":"unverified"' in alerts.read_text(), child)
    seq = status(tmp_path)["seq"]
    wait_for(lambda: status(tmp_path)["seq"] > seq + 400, child)
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    assert alerts.read_text().count('"kind":"unverified"') == 1
    assert halts(tmp_path) == []


def test_a_halt_by_signal_is_kept_while_the_disk_hangs(start, tmp_path) -> None:
    """That disk may be why somebody pressed the button; killing the process must not undo it."""
    hung = start(SLOW, prepare="tests.support.broken_runs:hang_disk")
    wait_for((tmp_path / "state/status.json").exists, hung)
    wait_for(lambda: status(tmp_path)["seq"] > status(tmp_path)["durable_seq"] + 100, hung)
    hung.send(signal.SIGUSR1)
    wait_for(lambda: status(tmp_path)["trading_state"] == "HALTED", hung)
    marker = HaltMarker(tmp_path / "state/halt.marker")
    wait_for(lambda: marker.read() is not None, hung)
    marker.close()
    hung.send(signal.SIGKILL)
    hung.wait()
    _starts_halted(start, tmp_path, len(records(tmp_path)), "SIGNAL")


def test_the_run_folder_is_renewed_after_a_session_and_at_the_end(start, tmp_path) -> None:
    """What a replay would have left of the same bars, without a command, and never half of it."""
    child = start("--speed=60000", "--set", "output.live=true")
    wait_for(lambda: said(child, "run folder renewed"), child)
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    renewed = said(child, "run folder renewed")
    assert renewed[0]["seq"] < renewed[-1]["seq"] == len(records(tmp_path))
    folder = Path(renewed[-1]["folder"])
    summary = json.loads((folder / "summary.json").read_text())
    identity = identity_of(tmp_path / "state")
    assert identity is not None
    loop = rebuild(load(tmp_path / "state/config.toml"), identity, 0)
    loop.recover(JournalReader(tmp_path / "state/journal"))
    assert summary["digest"] == loop.digest.hexdigest()
    assert summary["exit_reason"] == "exported"
    assert (tmp_path / "runs/latest").resolve() == folder.resolve()
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {folder.name, "latest"}


def test_what_is_old_goes_while_it_runs(start, tmp_path) -> None:
    """A disk is finite; what a start needs must stay."""
    small = ("--set", "daemon.segment_mb=0.05", "--set", "daemon.snapshot_every_records=500")
    first = start(FAST, *small)
    wait_for(lambda: len(records(tmp_path)) > 10_000, first)
    first.send(signal.SIGKILL)
    first.wait()
    second = start(SLOW, *small, "--set", "daemon.keep_days=1")
    wait_for(lambda: said(second, "segment deleted"), second)
    wait_for(lambda: len(records(tmp_path)) > 0, second)
    second.send(signal.SIGTERM)
    assert second.wait() == 0
    found = segments(tmp_path / "state/journal", OS_DISK)
    assert found[0].path.name > "00000001.journal"
    assert [finding.fault for finding in verify_files(tmp_path / "state") if finding.fault] == []
    third = start(SLOW, *small)
    wait_for(lambda: said(third, "running"), third)


@pytest.mark.parametrize(
    ("number", "exit_status", "reason"), [(signal.SIGTERM, 5, "JOURNAL"), (signal.SIGKILL, -9, "DISK_HUNG")]
)
def test_a_hung_disk_is_told_and_keeps_nobody(start, tmp_path, number, exit_status, reason) -> None:
    """It neither fails nor answers: trading stops in memory, and the next start knows."""
    hung = start(SLOW, "--set", "daemon.commit_max_s=0.4", prepare="tests.support.broken_runs:hang_disk")
    wait_for(lambda: '"reason":"DISK_HUNG"' in hung.said, hung)
    wait_for(lambda: status(tmp_path)["trading_state"] == "HALTED", hung)
    assert status(tmp_path)["durable_seq"] < status(tmp_path)["seq"]
    marker = HaltMarker(tmp_path / "state/halt.marker")
    wait_for(lambda: marker.read() is not None, hung)
    marker.close()
    began_s = time.monotonic()
    hung.send(number)
    assert hung.wait() == exit_status
    assert time.monotonic() - began_s < 10.0
    known = len(records(tmp_path))
    _starts_halted(start, tmp_path, known, reason)


def test_a_marker_that_cannot_be_read_halts(start, tmp_path) -> None:
    """Nobody knows whether there was a reason to stand still."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/halt.marker").write_bytes(b"cle\x00r")
    _starts_halted(start, tmp_path, 0, "MARKER_DAMAGED")


def _starts_halted(start, folder: Path, known: int, reason: str) -> None:
    child = start(SLOW)
    wait_for(lambda: len(records(folder)) > known + 5, child)
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    assert halts(folder) == [reason]
    assert isinstance(records(folder)[known], HaltRequested)
    assert status(folder)["trading_state"] == TradingState.HALTED


def spawned(folder: Path, *command: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the command line as a process of its own; return it and its log."""
    log = folder / "log"
    with log.open("wb") as sink:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=sink, stderr=sink, env=environment
        )
    return process, log


def until_said(log: Path, text: str, process: subprocess.Popen[bytes], deadline_s: float = 60.0) -> None:
    """Wait for a line of the log."""
    end_s = time.monotonic() + deadline_s
    while text not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text()[-2_000:]
        assert time.monotonic() < end_s, log.read_text()[-2_000:]
        time.sleep(0.02)


def test_an_allocator_that_never_answers_does_not_keep_the_process(tmp_path) -> None:
    """A thread cannot be ended; whoever waits for it would never be restarted."""
    (tmp_path / "astra.toml").write_text(CONFIG)
    arguments = ("run", "astra.toml", "--quiet", SLOW, "--set", "daemon.solve_max_s=0.5")
    process, log = spawned(tmp_path, "-m", "tests.support.broken_runs", "hang_allocator", *arguments)
    try:
        until_said(log, '"event":"running"', process)
        end_s = time.monotonic() + 20.0
        while "ALLOCATOR_HUNG" not in halts(tmp_path):  # it has been asked, twice
            assert time.monotonic() < end_s, log.read_text()[-2_000:]
            time.sleep(0.05)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15.0) == 0
        assert time.monotonic() - began_s < 10.0
        assert log.read_text().splitlines()[-1].startswith("stopped; state in ")
    finally:
        process.kill()
        process.wait()


def test_the_demo_trades_on_paper(tmp_path) -> None:
    """The first command of a newcomer: it says what it is, shows something, and goes when it is told to."""
    process, log = spawned(tmp_path, "-m", "engine.app.main", "run", "--demo", "--speed=36000")
    try:
        until_said(log, "PAPER", process)
        until_said(log, "FILL", process)
        end_s = time.monotonic() + 20.0
        while status(tmp_path / "astra-demo")["bars"]["accepted"] <= 6 * 180:
            assert time.monotonic() < end_s, log.read_text()[-2_000:]
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20.0) == 0
        text = log.read_text()
        assert "demo/" in text
        assert "6 symbols" in text
        found = msgspec.json.decode((tmp_path / "astra-demo/state/status.json").read_bytes())
        assert (found["mode"], found["phase"]) == ("PAPER", "stopped")
        assert found["counts"]["fills"] > 0
    finally:
        process.kill()
        process.wait()
