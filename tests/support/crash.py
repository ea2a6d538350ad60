"""A process that ends itself with kill -9 at a chosen moment: before, amid, or after an operation.

``arm`` wraps the operations that durability rests on. At the chosen one the process first, if it is told to,
loses what was written and not synced, as it would with the power; then it kills itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.app import assembly
from engine.app.live.daemon import Daemon
from engine.bus import Bus
from engine.disk import OsDisk, _OsFile
from engine.sinks import courier
from engine.sinks.alert_file import AlertFile
from engine.sinks.outbox import Outbox
from engine.sinks.redis import RedisSink

BEFORE, MIDDLE, AFTER = "before", "middle", "after"
#: The critical windows: where, in which phases, and how often it is passed in a short life, about.
WINDOWS: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "journal.write": ((BEFORE, MIDDLE, AFTER), 12),
    "journal.sync": ((BEFORE, AFTER), 12),
    "segment.write": ((BEFORE, MIDDLE, AFTER), 1),
    "segment.sync": ((BEFORE, AFTER), 1),
    "segment.rename": ((BEFORE, AFTER), 1),
    "folder.sync": ((BEFORE, AFTER), 2),
    "snapshot.take": ((BEFORE, AFTER), 1),
    "snapshot.write": ((BEFORE, MIDDLE, AFTER), 1),
    "snapshot.sync": ((BEFORE, AFTER), 1),
    "snapshot.rename": ((BEFORE, AFTER), 1),
    "snapshot.remove": ((BEFORE, AFTER), 1),
    "commit": ((BEFORE, AFTER), 12),
    "outbox.add": ((BEFORE, AFTER), 12),
    "redis.deliver": ((BEFORE, AFTER), 16),
    "alerts.append": ((BEFORE, MIDDLE, AFTER), 2),
    "cursors.write": ((BEFORE, AFTER), 1),
    "solve": ((BEFORE, AFTER), 3),
}
#: The windows of a recovery; the truncation is there only after a torn commit.
RECOVERY: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "recover": ((BEFORE, AFTER), 1),
    "journal.truncate": ((BEFORE, AFTER), 1),
    "journal.sync": ((BEFORE, AFTER), 12),
}
#: What loss of power may leave of bytes that were not synced.
TAILS: Final = ("nothing", "half", "garbage")
#: How long the disk takes for what it will not finish: long enough to publish what must not be published.
_DISK_S: Final = 0.02


class Crash(msgspec.Struct, frozen=True):
    """When to end: the ``count``-th time that ``point`` is passed; with ``tail``, as if power had failed."""

    point: str
    phase: str
    count: int = 1
    tail: str = ""

    @property
    def name(self) -> str:
        """Name of the kind of crash."""
        return f"{self.point} {self.phase}" + (", power lost" if self.tail else "")


class Bomb:
    """Counts, and ends the process when it is time.

    Parameters
    ----------
    crashes : sequence of Crash
        The first whose time comes is the one.
    tell : callable
        Told the name of the crash, before it happens.
    """

    def __init__(self, crashes: Sequence[Crash], tell: Callable[[str], None]) -> None:
        self._left = {crash: crash.count for crash in crashes}
        self._tell = tell
        self._files: dict[Path, int] = {}

    def synced(self, path: Path, size_bytes: int) -> None:
        """Note how much of a file is on disk; of one just opened, that is all."""
        self._files[path] = size_bytes

    def renamed(self, source: Path, target: Path) -> None:
        """Note another name of a file."""
        if source in self._files:
            self._files[target] = self._files.pop(source)

    def is_due(self, point: str, phase: str) -> bool:
        """Count a passage; tell whether it is the one."""
        due = False
        for crash in self._left:
            if (crash.point, crash.phase) == (point, phase):
                self._left[crash] -= 1
                due = due or self._left[crash] == 0
        return due

    def passed(self, point: str, phase: str) -> None:
        """Count a passage, and end the process if it is the one."""
        if self.is_due(point, phase):
            self.end(point, phase)

    def end(self, point: str, phase: str) -> None:
        """End the process; a disk is slow first, while the rest of the process goes on."""
        crash = next(one for one in self._left if (one.point, one.phase) == (point, phase))
        if point.partition(".")[0] in {"journal", "segment", "snapshot"}:
            time.sleep(_DISK_S)
        if crash.tail:
            for path, synced in self._files.items():
                _lose(path, synced, crash.tail)
        self._tell(crash.name)
        os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, point: str, phases: Sequence[str] = (BEFORE, AFTER)) -> None:
        """Wrap a function or method, so that its beginning and end are passed."""
        plain = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.passed(point, BEFORE)
            result = plain(*args, **kwargs)
            self.passed(point, AFTER)
            return result

        setattr(owner, name, wrapped)

    def around_async(self, owner: Any, name: str, point: str) -> None:
        """Wrap a coroutine function."""
        plain = getattr(owner, name)

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.passed(point, BEFORE)
            result = await plain(*args, **kwargs)
            self.passed(point, AFTER)
            return result

        setattr(owner, name, wrapped)


def _lose(path: Path, synced: int, tail: str) -> None:
    """Leave of what was not synced: nothing, the first half, or a sector of garbage."""
    lost = (path.stat().st_size if path.exists() else 0) - synced
    if lost > 0:
        os.truncate(path, synced + (lost // 2 if tail == "half" else 0))
        if tail == "garbage":
            with path.open("ab") as end:
                end.write(bytes((37 * k + synced) % 256 for k in range(512)))


def arm(crashes: Sequence[Crash], tell: Callable[[str], None]) -> Bomb:
    """Wrap every operation of this process that a crash may hit."""
    bomb = Bomb(crashes, tell)
    _wrap_files(bomb)
    _wrap_names(bomb)
    bomb.around_async(Daemon, "_commit", "commit")
    bomb.around_async(Daemon, "snapshot", "snapshot.take")
    bomb.around(Outbox, "add", "outbox.add")
    bomb.around_async(RedisSink, "deliver", "redis.deliver")
    bomb.around(courier, "write_cursors", "cursors.write")
    bomb.around(Bus, "answer", "solve")
    bomb.around(Daemon, "_step", "step")
    bomb.around(assembly, "recover", "recover")
    _wrap_alerts(bomb)
    return bomb


def _wrap_files(bomb: Bomb) -> None:
    kinds = {
        ".journal": "journal",
        ".journal.tmp": "segment",
        ".snapshot.tmp": "snapshot",
        ".marker.tmp": "marker",
    }
    plain_init, plain_write, plain_sync = _OsFile.__init__, _OsFile.write, _OsFile.sync
    plain_truncate = _OsFile.truncate

    def init(self: Any, path: Path) -> None:
        plain_init(self, path)
        self.kind, self.path = kinds["".join(path.suffixes)], path
        bomb.synced(path, path.stat().st_size)

    def write(self: Any, data: bytes) -> None:
        point = f"{self.kind}.write"
        bomb.passed(point, BEFORE)
        if bomb.is_due(point, MIDDLE):
            plain_write(self, data[: max(1, len(data) // 2)])
            bomb.end(point, MIDDLE)
        plain_write(self, data)
        bomb.passed(point, AFTER)

    def sync(self: Any) -> None:
        bomb.passed(f"{self.kind}.sync", BEFORE)
        plain_sync(self)
        bomb.synced(self.path, self.path.stat().st_size)
        bomb.passed(f"{self.kind}.sync", AFTER)

    def truncate(self: Any, size_bytes: int) -> None:
        bomb.passed(f"{self.kind}.truncate", BEFORE)
        plain_truncate(self, size_bytes)
        bomb.passed(f"{self.kind}.truncate", AFTER)

    cls: Any = _OsFile
    cls.__init__, cls.write, cls.sync, cls.truncate = init, write, sync, truncate


def _wrap_names(bomb: Bomb) -> None:
    plain_rename, plain_remove, cls = OsDisk.rename, OsDisk.remove, OsDisk
    kinds = {".journal": "segment", ".snapshot": "snapshot", ".marker": "marker", ".tmp": "unfinished"}

    def rename(self: Any, source: Path, target: Path) -> None:
        bomb.passed(f"{kinds[target.suffix]}.rename", BEFORE)
        plain_rename(self, source, target)
        bomb.renamed(source, target)
        bomb.passed(f"{kinds[target.suffix]}.rename", AFTER)

    def remove(self: Any, path: Path) -> None:
        bomb.passed(f"{kinds[path.suffix]}.remove", BEFORE)
        plain_remove(self, path)
        bomb.passed(f"{kinds[path.suffix]}.remove", AFTER)

    cls.rename, cls.remove = rename, remove  # type: ignore[method-assign]
    bomb.around(OsDisk, "sync_folder", "folder.sync")


def _wrap_alerts(bomb: Bomb) -> None:
    plain, cls = AlertFile._append, AlertFile

    def append(self: Any, lines: bytes, last: Any) -> None:
        bomb.passed("alerts.append", BEFORE)
        if bomb.is_due("alerts.append", MIDDLE):
            self._file.write(lines[: len(lines) // 2])
            self._file.flush()
            bomb.end("alerts.append", MIDDLE)
        plain(self, lines, last)
        bomb.passed("alerts.append", AFTER)

    cls._append = append  # type: ignore[method-assign]
