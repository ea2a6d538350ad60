"""The few file operations that durability rests on, so that tests can put a worse disk in their place.

What is promised: after ``OpenFile.sync`` the bytes written so far survive a loss of power, and after
``Disk.sync_folder`` so do the names in a folder. Nothing else is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

_UNFINISHED: Final = ".tmp"


class OpenFile(Protocol):
    """A file that is open for appending."""

    def write(self, data: bytes) -> None:
        """Append all of ``data``; when it raises, some of it may have been written."""
        ...

    def truncate(self, size_bytes: int) -> None:
        """Cut the file; what follows is appended there."""
        ...

    def sync(self) -> None:
        """Return once what was written is on disk. After a failure nobody knows what is: never try again."""
        ...

    def close(self) -> None:
        """Release the file; this makes nothing durable."""
        ...


class Disk(Protocol):
    """Files by path. Every method raises ``OSError`` as the operating system does."""

    def make_folder(self, folder: Path) -> None:
        """Create a folder and its parents, durably; do nothing if it is there."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder; none if it does not exist."""
        ...

    def size(self, path: Path) -> int:
        """Return the size of a file in bytes."""
        ...

    def read(self, path: Path, offset: int = 0, size_bytes: int = -1) -> bytes:
        """Read up to ``size_bytes`` from ``offset`` (-1: all), fewer only at the end of the file."""
        ...

    def open(self, path: Path) -> OpenFile:
        """Open for appending; create an absent file."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a folder, replacing ``target``."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in the folder are on disk."""
        ...


class _OsFile:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self._fd, size_bytes)

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class OsDisk:
    """The disk of this machine."""

    def make_folder(self, folder: Path) -> None:
        """Create a folder and its parents, durably; do nothing if it is there."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self.sync_folder(folder.parent)

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder; none if it does not exist."""
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def size(self, path: Path) -> int:
        """Return the size of a file in bytes."""
        return path.stat().st_size

    def read(self, path: Path, offset: int = 0, size_bytes: int = -1) -> bytes:
        """Read up to ``size_bytes`` from ``offset`` (-1: all), fewer only at the end of the file."""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes)

    def open(self, path: Path) -> OpenFile:
        """Open for appending; create an absent file."""
        return _OsFile(path)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a folder, replacing ``target``."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in the folder are on disk."""
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


OS_DISK: Final[Disk] = OsDisk()


def write_whole(disk: Disk, path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the power fails.

    Write beside it, fsync, rename, fsync the folder.
    """
    beside = path.with_name(path.name + _UNFINISHED)
    if beside.name in disk.names(path.parent):
        disk.remove(beside)
    file = disk.open(beside)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    disk.rename(beside, path)
    disk.sync_folder(path.parent)


def remove_unfinished(disk: Disk, folder: Path) -> None:
    """Remove what an interrupted ``write_whole`` left in a folder."""
    for name in disk.names(folder):
        if name.endswith(_UNFINISHED):
            disk.remove(folder / name)
