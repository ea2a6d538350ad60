"""Which bars of a stream were handed on: everything up to a minute, and some symbols of the next."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from engine.events import MINUTE_NS, Bar, Nanos
from feeds.live_context import wrong_position

_POSITION = re.compile(r"([a-z]+) (\d{1,12}) ([0-9a-f]{8}) ([0-9a-f]+)", re.ASCII)


class Delivered:
    """Progress of a source whose bars come minute after minute, in a few bytes.

    A bar of a later minute tells that the earlier ones are complete. So what has to be remembered is one
    stamp, and a bit for each symbol of the minute after it: small enough to be kept with every record.

    Parameters
    ----------
    symbols : sequence of str
        The universe, whose order gives the bits.
    complete_ns : int
        Every bar that closed until then was handed on, or never will be.
    """

    def __init__(self, symbols: Sequence[str], complete_ns: Nanos) -> None:
        self.complete_ns = complete_ns
        self._bit = {symbol: 1 << index for index, symbol in enumerate(symbols)}
        self._checksum = zlib.crc32("\n".join(symbols).encode())
        self._mask = 0

    @classmethod
    def at(cls, position: str, symbols: Sequence[str], kind: str) -> Delivered:
        """Continue from a position; with another universe the minute it stands in is repeated.

        Raises
        ------
        DataError
            D032 if it is none of this kind of feed.
        """
        parts = _POSITION.fullmatch(position)
        if parts is None or parts[1] != kind:
            raise wrong_position(position, kind)
        delivered = cls(symbols, int(parts[2]) * MINUTE_NS)
        if int(parts[3], 16) == delivered._checksum:
            delivered._mask = int(parts[4], 16)
        return delivered

    def position(self, kind: str) -> str:
        """Return what ``at`` continues from."""
        return f"{kind} {self.complete_ns // MINUTE_NS} {self._checksum:08x} {self._mask:x}"

    def has(self, bar: Bar) -> bool:
        """Tell whether a bar of this symbol and minute was handed on."""
        behind_ns = bar.ts_close_ns - self.complete_ns
        return behind_ns <= 0 or (behind_ns == MINUTE_NS and bool(self._mask & self._bit.get(bar.symbol, 0)))

    def add(self, bar: Bar) -> None:
        """Note a bar that is handed on; a stamp within a minute says nothing about minutes."""
        if bar.ts_close_ns <= self.complete_ns or bar.ts_close_ns % MINUTE_NS:
            return
        self.complete(bar.ts_close_ns - MINUTE_NS)
        self._mask |= self._bit.get(bar.symbol, 0)

    def complete(self, ts_ns: Nanos) -> None:
        """Note that nothing is awaited any more that closed until ``ts_ns``, a whole minute."""
        if ts_ns > self.complete_ns:
            self.complete_ns = ts_ns
            self._mask = 0
