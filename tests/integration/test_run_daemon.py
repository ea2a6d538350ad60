"""``astra run`` as its keepers know it: signals, a second start, kill -9, a full disk, a hang."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.app.config.load import load
from engine.app.live.halt_marker import HaltMarker
from engine.app.replay.journal_tools import rebuild
from engine.events import HaltRequested, TradingState
from engine.journal import JournalReader
from engine.loop import Loop
from engine.recovery import identity_of
from tests.support.children import halts, nursery, records, start, wait_for
from tests.support.nursery import Child
from tests.support.small_engine import CONFIG, FAST, SLOW

__all__ = ["nursery", "start"]


def recovered(folder: Path) -> Loop:
    """Return the engine that the journal gives."""
    identity = identity_of(folder / "state")
    assert identity is not None
    loop = rebuild(load(folder / "astra.toml"), identity, 0)
    loop.recover(JournalReader(folder / "state/journal"))
    return loop


def started_with(child: Child) -> dict[str, Any]:
    """Return what a child said of its recovery."""
    wait_for(lambda: '"event":"running"' in child.said, child)
    line = next(line for line in child.said.splitlines() if '"event":"running"' in line)
    return msgspec.json.decode(line)


def test_sigterm_leaves_nothing_to_replay(start, tmp_path) -> None:
    """A restart for an update must cost no minute and no doubt."""
    first = start()
    wait_for(lambda: len(records(tmp_path)) > 100, first)
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    seq = len(records(tmp_path))
    second = start()
    found = started_with(second)
    assert (found["seq"], found["snapshot_seq"], found["replayed"], found["torn_bytes"]) == (seq, seq, 0, 0)
    wait_for(lambda: len(records(tmp_path)) > seq, second)
    second.send(signal.SIGINT)
    assert second.wait() == 130


def test_a_kill_replays_the_tail(start, tmp_path) -> None:
    """What was on disk is there, and the next record follows it."""
    first = start("--set", "daemon.snapshot_every_records=70", SLOW)
    wait_for(lambda: len(records(tmp_path)) > 200, first)
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    seq = len(records(tmp_path))
    second = start("--set", "daemon.snapshot_every_records=70", SLOW)
    found = started_with(second)
    assert found["seq"] == seq
    assert 0 < found["snapshot_seq"] <= seq
    assert found["replayed"] == seq - found["snapshot_seq"]
    wait_for(lambda: len(records(tmp_path)) > seq, second)


def test_sigusr1_halts_and_the_halt_outlives_kill_9(start, tmp_path) -> None:
    """The button that always works: no key, no server, and no restart undoes it."""
    first = start()
    wait_for(lambda: len(records(tmp_path)) > 50, first)
    first.send(signal.SIGUSR1)
    wait_for(lambda: halts(tmp_path) == ["SIGNAL"], first)
    first.send(signal.SIGKILL)
    first.wait()
    seq = len(records(tmp_path))
    second = start()
    wait_for(lambda: len(records(tmp_path)) > seq, second)
    second.send(signal.SIGTERM)
    assert second.wait() == 0
    # Killed before its mark was taken back, the halt is asked for once more; never for another reason.
    assert halts(tmp_path) in (["SIGNAL"], ["SIGNAL", "SIGNAL"])
    status = msgspec.json.decode((tmp_path / "state/status.json").read_bytes())
    assert (status["trading_state"], status["halt_reason"]) == ("HALTED", "SIGNAL: SIGUSR1")
    assert recovered(tmp_path).status.trading_state is TradingState.HALTED


def test_a_second_engine_is_refused(start, tmp_path) -> None:
    """Two writers of one journal would destroy it."""
    first = start()
    wait_for(lambda: len(records(tmp_path)) > 0, first)
    second = start()
    assert second.wait() == 5
    assert "error[S030] another engine runs" in second.said
    seq = len(records(tmp_path))
    wait_for(lambda: len(records(tmp_path)) > seq, first)


def test_another_configuration_needs_a_new_epoch_and_inherits_the_halt(start, tmp_path) -> None:
    """A halt cannot be lifted by editing a file, nor can a command that has counted count again."""
    first = start()
    wait_for(lambda: len(records(tmp_path)) > 50, first)
    first.send(signal.SIGUSR1)
    wait_for(lambda: halts(tmp_path), first)
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    old = identity_of(tmp_path / "state")
    (tmp_path / "astra.toml").write_text(CONFIG.replace("window_min = 40", "window_min = 41"))
    refused = start()
    assert refused.wait() == 3
    assert "J011" in refused.said
    (tmp_path / "state/nonces.json").write_text('{"used": {"n1": 4000000000000000000}}')  # of a start before
    again = start("--new-epoch", SLOW)
    assert started_with(again)["seq"] == 0
    wait_for(lambda: len(records(tmp_path)) > 20, again)
    again.send(signal.SIGTERM)
    assert again.wait() == 0
    new = identity_of(tmp_path / "state")
    assert old is not None
    assert new is not None
    assert new.epoch != old.epoch
    assert (tmp_path / "state/archive" / old.epoch / "journal").is_dir()
    assert isinstance(records(tmp_path)[0], HaltRequested)
    assert halts(tmp_path) == ["NEW_EPOCH"]
    assert not (tmp_path / "state/nonces.json").exists()
    loop = recovered(tmp_path)
    assert loop.status.trading_state is TradingState.HALTED
    assert loop.bus.state()["verifier"]["used"] == {"n1": 4_000_000_000_000_000_000}


def children_of(pid: int) -> dict[int, str]:
    """Return the processes that a process has started, and what they are called."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == pid:
                found[int(folder.name)] = name
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_servers_leave_with_it(start, tmp_path, number) -> None:
    """A server that stays holds the port, and answers for an engine that is gone."""
    child = start("--with-servers", SLOW)
    wait_for(lambda: len(records(tmp_path)) > 20, child)
    servers = children_of(child.pid)
    assert any("valkey" in name for name in servers.values()), servers
    assert len(servers) == 4, servers  # two servers, and a watchdog for each
    child.send(number)
    assert child.wait() == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_for(lambda: not any(Path(f"/proc/{pid}").is_dir() for pid in servers), child)


def test_a_full_disk_stops_it_halted(start, tmp_path) -> None:
    """Nothing may follow from a record that is not on disk: not now, and not after the next start."""
    child = start(FAST, prepare="tests.support.broken_runs:fill_disk")
    assert child.wait() == 5
    assert "S020" in child.said
    _starts_halted(start, tmp_path, "JOURNAL")


def test_a_full_file_system_stops_it_halted(nursery, start, tmp_path) -> None:
    """The same with a disk that is really full, where that can be had."""
    (tmp_path / "state").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(tmp_path / "state")],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount")
    try:
        child = start(FAST)
        assert child.wait() == 5
        assert "S020" in child.said or "S021" in child.said
        marker = HaltMarker(tmp_path / "state/halt.marker")
        raised = marker.read()
        marker.close()
        assert raised is not None
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "state")], check=True)


def test_a_hung_core_ends_and_starts_halted(start, tmp_path) -> None:
    """A synchronous core cannot notice that it hangs; somebody must, and must not just go on."""
    began_s = time.monotonic()
    child = start("--set", "daemon.step_max_s=0.5", SLOW, prepare="tests.support.broken_runs:hang")
    assert child.wait() == 70
    assert time.monotonic() - began_s < 15.0
    _starts_halted(start, tmp_path, "WATCHDOG", "--set", "daemon.step_max_s=0.5")


def _starts_halted(start, folder: Path, reason: str, *arguments: str) -> None:
    """Check that the next start is halted, says why, and clears the marker only then."""
    known = len(records(folder))
    child = start(*arguments, SLOW)
    wait_for(lambda: len(records(folder)) > known + 10, child)
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    assert halts(folder) == [reason]
    assert isinstance(records(folder)[known], HaltRequested)
    marker = HaltMarker(folder / "state/halt.marker")
    raised = marker.read()
    marker.close()
    assert raised is None
    assert recovered(folder).status.trading_state is TradingState.HALTED
