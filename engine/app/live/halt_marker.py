"""The halt that outlives a hung process: one small file that is either exactly clear, or raised.

The journal belongs to the core, and a hung core cannot write to it. The marker can be raised from another
thread, or by the C runtime when no Python can run, and turns into a halt when the engine starts again. Its
one block is on disk from the beginning and is overwritten in place, so a full disk does not keep it from
being raised. (A copy-on-write file system may still need room for the new block.)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec

from engine.disk import OS_DISK, write_whole
from engine.events import Nanos

_SIZE: Final = 4096
_CLEAR: Final = b"clear: no halt was raised outside the journal\n".ljust(_SIZE)
#: What the C runtime writes begins with this (``faulthandler``).
_TRACEBACK: Final = b"Timeout ("
#: Every character takes at most six bytes in JSON: both texts always fit.
_REASON_MAX: Final = 64
_DETAIL_MAX: Final = 500

WATCHDOG: Final = "WATCHDOG"
DAMAGED: Final = "MARKER_DAMAGED"


class RaisedHalt(NamedTuple):
    """What a raised marker says; ``ts_ns`` is 0 where the one who raised it could not tell."""

    reason: str
    detail: str
    ts_ns: Nanos


class _Content(msgspec.Struct):
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=_REASON_MAX)]
    detail: Annotated[str, msgspec.Meta(max_length=_DETAIL_MAX)]
    ts_ns: int


class HaltMarker:
    """``halt.marker`` in the state folder, kept open for as long as the engine runs.

    Parameters
    ----------
    path : Path
        Made if it does not exist. Whatever it holds is kept until ``clear``.

    Attributes
    ----------
    fd : int
        Its descriptor, at offset 0: whoever writes anything there has raised the halt.

    Raises
    ------
    OSError
        If the file can be neither made nor opened for writing.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_whole(OS_DISK, path, _CLEAR)  # a half-written one would count as raised
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def raise_(self, reason: str, detail: str, ts_ns: Nanos) -> None:
        """Raise the halt in place and wait until it is on disk; long texts are cut."""
        content = _Content(reason[:_REASON_MAX], detail[:_DETAIL_MAX], ts_ns)
        self._overwrite(msgspec.json.encode(content) + b"\n")

    def read(self) -> RaisedHalt | None:
        """Return what was raised, or None; anything but an exactly clear file counts as raised."""
        raw = os.pread(self.fd, 1 << 16, 0)
        if raw == _CLEAR:
            return None
        if raw.startswith(_TRACEBACK):
            return RaisedHalt(WATCHDOG, _of_traceback(raw.decode(errors="replace")), 0)
        try:
            content = msgspec.json.decode(raw[:_SIZE].rstrip(), type=_Content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return RaisedHalt(DAMAGED, repr(raw[:80]), 0)
        return RaisedHalt(content.reason, content.detail, content.ts_ns)

    def clear(self) -> None:
        """Make it clear again: once the halt is on disk in the journal, and not before."""
        os.ftruncate(self.fd, _SIZE)
        self._overwrite(_CLEAR)
        os.lseek(self.fd, 0, os.SEEK_SET)

    def close(self) -> None:
        """Release the file."""
        os.close(self.fd)

    def _overwrite(self, content: bytes) -> None:
        os.pwrite(self.fd, content.ljust(_SIZE), 0)
        os.fsync(self.fd)


def _of_traceback(text: str) -> str:
    """Return where the main thread stood, which the C runtime writes last."""
    frames = " ".join(text.rpartition("Thread 0x")[2].split())
    return f"no Python could run; main thread 0x{frames}"[:_DETAIL_MAX]
