"""The bytes of a text file, made UTF-8 where they are none."""

from __future__ import annotations

import codecs
from pathlib import Path

import pyarrow as pa


class Utf8Stream:
    """A file, unpacked, in which bytes that are no UTF-8 are U+FFFD, so that they spoil their cell alone.

    Arrow's reader cannot tell of a row with too few cells if these are no text, and refuses a whole file for
    one such cell.

    Parameters
    ----------
    path : Path
        Plain, or packed as its suffix says.
    """

    def __init__(self, path: Path) -> None:
        self._stream = pa.input_stream(str(path))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ahead = b""

    @property
    def closed(self) -> bool:
        """Whether it is."""
        return bool(self._stream.closed)

    def read(self, size: int) -> bytes:
        """Return some bytes, ``size`` at most, or none at the end."""
        while not self._ahead:
            data = self._stream.read(size)
            if data.isascii() and not self._decoder.getstate()[0]:  # nearly always, and at the end
                return bytes(data)
            self._ahead = self._decoder.decode(data, final=not data).encode()
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
