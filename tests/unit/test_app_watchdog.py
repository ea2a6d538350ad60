"""Watchdog, halt marker and systemd: a hung engine must end, and must stay halted when it starts again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.app.live.halt_marker import DAMAGED, WATCHDOG, HaltMarker, RaisedHalt
from engine.app.live.systemd import Systemd
from engine.app.live.watchdog import EXIT_HUNG, TELL_MAX_S, Watchdog
from tests.support.source import ROOT

#: ``faulthandler`` ends the process with it.
EXIT_LOCKED = 1
TRIALS = 25


# ------------------------------------------------------------------------------------------- the marker


@pytest.fixture
def marker(tmp_path: Path) -> HaltMarker:
    return HaltMarker(tmp_path / "halt.marker")


def test_marker_tells_the_next_process(marker: HaltMarker, tmp_path: Path) -> None:
    """The halt is for the process that starts after this one has died."""
    assert marker.read() is None
    marker.raise_("WATCHDOG", "record 7", 123)
    assert HaltMarker(tmp_path / "halt.marker").read() == RaisedHalt("WATCHDOG", "record 7", 123)


def test_marker_is_cleared_only_on_demand(marker: HaltMarker, tmp_path: Path) -> None:
    """Opening it must not clear it: the process could die before the halt is in the journal."""
    marker.raise_("WATCHDOG", "", 1)
    again = HaltMarker(tmp_path / "halt.marker")
    assert again.read() is not None
    again.clear()
    assert marker.read() is None


def test_marker_is_overwritten_in_place(marker: HaltMarker, tmp_path: Path) -> None:
    """A full disk must not matter: same file, same size, and all of it allocated beforehand."""
    path = tmp_path / "halt.marker"
    before = path.stat()
    assert before.st_blocks * 512 >= before.st_size == 4096
    marker.raise_("R" * 1_000, "\x00" * 10_000, 2**63 - 1)
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, 4096, before.st_blocks)
    raised = marker.read()
    assert raised is not None
    assert raised.reason == "R" * 64


FILLED_UP = """
import sys
from pathlib import Path
from engine.app.live.halt_marker import HaltMarker
folder = Path(sys.argv[1])
marker = HaltMarker(folder / "halt.marker")
try:
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
except OSError:
    pass
marker.raise_("WATCHDOG", "disk full", 5)
assert HaltMarker(folder / "halt.marker").read() == ("WATCHDOG", "disk full", 5)
print("raised")
"""


def test_marker_is_raised_on_a_full_disk(tmp_path: Path) -> None:
    """Proved on a file system of 64 KiB, where the kernel lets us mount one."""
    mount = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'
    own = ["unshare", "-Urm", "sh", "-c"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this machine")
    if subprocess.run(
        [*own, 'mount -t tmpfs none "$1"', "-", tmp_path], capture_output=True, check=False
    ).returncode:
        pytest.skip("no file system may be mounted here")
    command = [*own, mount, "-", str(tmp_path), sys.executable, FILLED_UP]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("raised\n", "")


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 4096, b"{}", b'{"reason": 1}', b"clear", b"\xff" * 9000, b" " * 4096]
)
def test_damaged_marker_counts_as_raised(tmp_path: Path, content: bytes) -> None:
    """Whatever happened to it, nobody can say any more that there was no halt."""
    path = tmp_path / "halt.marker"
    path.write_bytes(content)
    marker = HaltMarker(path)
    raised = marker.read()
    assert raised is not None
    assert raised.reason == DAMAGED
    marker.clear()
    assert HaltMarker(path).read() is None


# ----------------------------------------------------------------------------------------- the watchdog


def _outcomes(
    kind: str, count: int, folder: Path, step_max_s: float = 0.1, *more: str
) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.support.hangs", kind, str(count), str(folder), str(step_max_s)]
    done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcomes: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(outcomes) == count
    return outcomes


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        ("hang_in_python", EXIT_HUNG, "the step of record 7 took longer than 0.1 s"),
        ("hang_in_kernel", EXIT_HUNG, "the step of record 7"),
        ("hang_in_deadlock", EXIT_HUNG, "the step of record 7"),
        ("hang_in_system_call", EXIT_HUNG, "the step of record 7"),
        ("hang_in_event_loop", EXIT_HUNG, "the event loop did not go round"),
        ("hang_in_locked_kernel", EXIT_LOCKED, "in hang_in_locked_kernel"),
        ("hang_in_c", EXIT_LOCKED, "in hang_in_c"),
    ],
)
def test_a_hung_process_ends_halted(tmp_path: Path, kind: str, status: int, says: str) -> None:
    """Every time, not usually: a core that hangs holds a book that nobody watches."""
    outcomes = _outcomes(kind, TRIALS, tmp_path)
    # A machine that is busy may keep the thread waiting, and then the timer in C is first.
    assert {o["status"] for o in outcomes} <= {status, EXIT_LOCKED}
    assert {o["raised"] and o["raised"][0] for o in outcomes} == {WATCHDOG}
    assert any(says in o["raised"][1] for o in outcomes)
    assert max(o["seconds"] for o in outcomes) < 5.0


def test_a_stopped_process_ends_when_it_goes_on(tmp_path: Path) -> None:
    """While it was stopped prices moved; it must not trade on what it believed before."""
    outcomes = _outcomes("stop_for_a_while", TRIALS, tmp_path)
    assert {o["status"] for o in outcomes} <= {EXIT_HUNG, EXIT_LOCKED}
    assert {o["raised"] and o["raised"][0] for o in outcomes} == {WATCHDOG}


def test_a_healthy_process_lives(tmp_path: Path) -> None:
    """A watchdog that bites the healthy gets switched off by its users."""
    outcomes = _outcomes("be_well", 3, tmp_path, 1.0)
    assert [(o["status"], o["raised"]) for o in outcomes] == [(0, None)] * 3


def test_a_hung_pager_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    """A full pipe of the log may be why it hangs; telling people comes last and is bounded."""
    outcomes = _outcomes("hang_in_python", 3, tmp_path, 0.1, "pager")
    assert [(o["status"], o["raised"][0]) for o in outcomes] == [(EXIT_HUNG, WATCHDOG)] * 3
    assert all(TELL_MAX_S <= o["seconds"] < TELL_MAX_S + 4.0 for o in outcomes)


# ---------------------------------------------------------------------------------------------- systemd


@pytest.fixture
def notified(tmp_path: Path) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10.0)
        yield listening


def test_systemd_hears_what_it_understands(notified: socket.socket) -> None:
    """A service of Type=notify that says nothing is killed after its start timeout."""
    systemd = Systemd({"NOTIFY_SOCKET": notified.getsockname(), "WATCHDOG_USEC": "30000000"}, os.getpid())
    assert systemd.watchdog_s == 30.0
    systemd.ready()
    systemd.pet()
    systemd.stopping()
    heard = [notified.recv(100) for _ in range(3)]
    assert heard == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_abstract_socket_is_understood() -> None:
    """Containers use the abstract name space, where the @ stands for a NUL byte."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0astra-test-{os.getpid()}")
        listening.settimeout(10.0)
        Systemd({"NOTIFY_SOCKET": f"@astra-test-{os.getpid()}"}, os.getpid()).ready()
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    """Most engines run in a terminal or a container; a manager that has gone must not harm one."""
    systemd = Systemd(environment, os.getpid())
    systemd.ready()
    systemd.pet()
    assert systemd.watchdog_s is None


def test_watchdog_pets_systemd_while_healthy(marker: HaltMarker, notified: socket.socket) -> None:
    """The last line is systemd: it must hear from the thread that looks, and in time."""
    systemd = Systemd({"NOTIFY_SOCKET": notified.getsockname(), "WATCHDOG_USEC": "200000"}, os.getpid())
    with Watchdog(marker, 60.0, now_ns=lambda: 1, tell=pytest.fail, systemd=systemd) as watchdog:
        assert [notified.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        assert 0.0 <= watchdog.beat_age_s < 10.0
    assert marker.read() is None
