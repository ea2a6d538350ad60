"""A disk in memory that forgets what was not synced, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

#: What power loss may leave of bytes that were written and not synced.
TAILS = ("nothing", "half", "garbage", "swapped", "whole")
_SECTOR_BYTES = 512


class PowerLoss(BaseException):
    """The machine goes dark; no code of the product may catch it."""


class Inode:
    """Content of a file: as the system shows it, and as it is on disk."""

    def __init__(self, shown: bytes = b"", durable: bytes = b"") -> None:
        self.shown = shown
        self.durable = durable

    def after_power_loss(self, tail: str) -> bytes:
        """Return what is found afterwards."""
        if tail == "nothing" or self.shown == self.durable:
            return self.durable
        if not self.shown.startswith(self.durable):  # a cut that was not synced
            return self.shown
        kept, lost = self.durable, self.shown[len(self.durable) :]
        half = len(lost) // 2
        return (
            kept
            + {
                "half": lost[:half],
                "garbage": bytes((37 * k + len(kept)) % 256 for k in range(_SECTOR_BYTES)),
                "swapped": bytes(half) + lost[half:],  # the second page reached the disk, the first did not
                "whole": lost,
            }[tail]
        )


class BadDisk:
    """Files in memory; every changing operation is numbered from 0 and may be made to fail.

    Parameters
    ----------
    fault : callable or None
        Called with the number and the name of each operation before it is done; may raise. For a write that
        raises ``OSError``, half of the data is written first.

    Attributes
    ----------
    done : list of str
        The operations so far.
    """

    def __init__(self, fault: Callable[[int, str], None] | None = None) -> None:
        self.fault = fault
        self.done: list[str] = []
        self._shown: dict[Path, dict[str, Inode]] = {}
        self._durable: dict[Path, dict[str, Inode]] = {}

    def after_power_loss(self, tail: str, *, are_names_kept: bool) -> BadDisk:
        """Return the disk that is found afterwards; names that were not synced are kept or not."""
        after = BadDisk()
        for folder, names in (self._shown if are_names_kept else self._durable).items():
            found = {name: inode.after_power_loss(tail) for name, inode in names.items()}
            after._shown[folder] = {name: Inode(data, data) for name, data in found.items()}
            after._durable[folder] = dict(after._shown[folder])
        return after

    def after_kill(self) -> BadDisk:
        """Return the disk as the next process sees it: nothing is lost, and nothing more is durable."""
        after = BadDisk()
        copies = {id(i): Inode(i.shown, i.durable) for names in self._shown.values() for i in names.values()}
        copies |= {
            id(i): copies.get(id(i), Inode(i.shown, i.durable))
            for names in self._durable.values()
            for i in names.values()
        }
        for mine, other in ((self._shown, after._shown), (self._durable, after._durable)):
            for folder, names in mine.items():
                other[folder] = {name: copies[id(inode)] for name, inode in names.items()}
        return after

    def _do(self, name: str) -> None:
        self.done.append(name)
        if self.fault is not None:
            self.fault(len(self.done) - 1, name)

    def make_folder(self, folder: Path) -> None:
        if folder not in self._shown:
            self._do("make_folder")
            self._shown[folder] = {}
            self._durable[folder] = {}

    def names(self, folder: Path) -> list[str]:
        return sorted(self._shown.get(folder, {}))

    def size(self, path: Path) -> int:
        return len(self._inode(path).shown)

    def read(self, path: Path, offset: int = 0, size_bytes: int = -1) -> bytes:
        data = self._inode(path).shown[offset:]
        return data if size_bytes < 0 else data[:size_bytes]

    def open(self, path: Path) -> BadFile:
        if path.name not in self._shown[path.parent]:
            self._do("create")
            self._shown[path.parent][path.name] = Inode()
        return BadFile(self, self._inode(path))

    def rename(self, source: Path, target: Path) -> None:
        self._do("rename")
        names = self._shown[source.parent]
        names[target.name] = names.pop(source.name)

    def remove(self, path: Path) -> None:
        self._do("remove")
        del self._shown[path.parent][path.name]

    def sync_folder(self, folder: Path) -> None:
        self._do("sync_folder")
        self._durable[folder] = dict(self._shown[folder])

    def _inode(self, path: Path) -> Inode:
        try:
            return self._shown[path.parent][path.name]
        except KeyError:
            raise FileNotFoundError(str(path)) from None


class BadFile:
    """An open file of a ``BadDisk``."""

    def __init__(self, disk: BadDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, data: bytes) -> None:
        try:
            self._disk._do("write")
        except OSError:
            self._inode.shown += bytes(data[: len(data) // 2])
            raise
        self._inode.shown += bytes(data)
        self._disk._do("written")  # a place to lose power between the write and the sync

    def truncate(self, size_bytes: int) -> None:
        self._disk._do("truncate")
        self._inode.shown = self._inode.shown[:size_bytes]

    def sync(self) -> None:
        self._disk._do("sync")
        self._inode.durable = self._inode.shown

    def close(self) -> None:
        pass
