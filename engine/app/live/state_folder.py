"""The folder a live engine keeps its state in: one engine at a time, one epoch at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from engine.clock import instant_name
from engine.errors import ServiceError
from engine.events import SECOND_NS, Nanos

#: What belongs to one epoch, and is put aside when a new one begins.
_OF_AN_EPOCH: Final = ("journal", "snapshots", "cursors.json", "config.toml")


class StateFolder(msgspec.Struct, frozen=True):
    """Names in ``[daemon] state_dir``; docs/operations.md says what each is."""

    root: Path

    @property
    def journal(self) -> Path:
        """Folder of the segments."""
        return self.root / "journal"

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots."""
        return self.root / "snapshots"

    @property
    def cursors(self) -> Path:
        """How far each sink has got."""
        return self.root / "cursors.json"

    @property
    def marker(self) -> Path:
        """The durable halt."""
        return self.root / "halt.marker"

    @property
    def nonces(self) -> Path:
        """Commands of the epoch before that must not count again; there until the journal has them."""
        return self.root / "nonces.json"

    @property
    def undelivered(self) -> Path:
        """Alerts of the epoch before that a sink never got; there until the journal has them."""
        return self.root / "undelivered.json"

    @property
    def config(self) -> Path:
        """The resolved configuration of the run, without secrets."""
        return self.root / "config.toml"

    @property
    def status(self) -> Path:
        """The status document."""
        return self.root / "status.json"

    @property
    def alerts(self) -> Path:
        """Every alert, one a line."""
        return self.root / "alerts.jsonl"

    @property
    def commands(self) -> Path:
        """Spool of signed commands for an engine without servers."""
        return self.root / "commands"

    def new_epoch(self, now_ns: Nanos) -> str:
        """Name an epoch that begins now; ids are unique in an epoch, so no earlier one may have its name."""
        while (self.root / "archive" / instant_name(now_ns)).exists():
            now_ns += SECOND_NS
        return instant_name(now_ns)

    def put_aside(self, epoch: str) -> Path:
        """Move everything of an epoch to ``archive/EPOCH``; nothing is deleted."""
        archive = self.root / "archive" / epoch
        archive.mkdir(parents=True)
        for name in _OF_AN_EPOCH:
            if (self.root / name).exists():
                shutil.move(self.root / name, archive / name)
        return archive


@contextmanager
def locked(root: Path) -> Iterator[StateFolder]:
    """Hold the folder for as long as the engine runs.

    Raises
    ------
    ServiceError
        S030 if another engine holds it, S031 if it cannot be made or written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)  # journal, status and alerts are nobody else's business
        lock = (root / "lock").open("a")
    except OSError as error:
        raise ServiceError(
            "S031",
            f"cannot use the state folder {root}: {error.strerror}",
            "daemon.state_dir",
            "A live run keeps journal and snapshots there; name a folder that this user may write.",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(
                "S030",
                f"another engine runs in {root}",
                "daemon.state_dir",
                "Two engines would write one journal. Stop the other one, or name another state_dir.",
            ) from None
        yield StateFolder(root)
