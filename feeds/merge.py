"""Several files as one arrival log: each in its own order, merged by time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from engine.columns import BarColumns
from engine.events import IntArray


class _Stream:
    """The unread part of one file. A row that is late in its file stays where it arrived.

    ``keys`` is the running maximum of the stamps: the time at which a row turns up.
    """

    def __init__(self, batches: Iterator[BarColumns]) -> None:
        self._batches = batches
        self._parts: list[BarColumns] = []
        self._keys: IntArray = np.zeros(0, np.int64)
        self._newest = np.iinfo(np.int64).min
        self.is_done = False
        self.refill()

    def refill(self) -> None:
        """Read one batch more."""
        batch = next(self._batches, None)
        if batch is None:
            self.is_done = True
            return
        keys = np.maximum.accumulate(np.maximum(batch.ts_close_ns, self._newest))
        self._newest = int(keys[-1])
        self._keys = np.concatenate([self._keys, keys])
        self._parts.append(batch)

    @property
    def edge(self) -> int:
        """The stamp up to which everything before it is at hand."""
        return self._newest

    def __len__(self) -> int:
        return len(self._keys)

    def take_before(self, horizon: int | None) -> tuple[IntArray, BarColumns | None]:
        """Remove and return the rows whose key is before the horizon; all of them if there is none."""
        stop = len(self) if horizon is None else int(np.searchsorted(self._keys, horizon))
        if stop == 0:
            return self._keys[:0], None
        rows = joined(self._parts)
        keys, self._keys = self._keys[:stop], self._keys[stop:]
        self._parts = [rows.take(slice(stop, None))] if len(self._keys) else []
        return keys, rows.take(slice(0, stop))


def joined(parts: Sequence[BarColumns]) -> BarColumns:
    """Concatenate batches of one decoder; the names of the last one cover all of them."""
    if len(parts) == 1:
        return parts[0]
    return BarColumns(
        np.concatenate([part.ts_close_ns for part in parts]),
        np.concatenate([part.code for part in parts]),
        max((part.names for part in parts), key=len),
        np.concatenate([part.values for part in parts], axis=1),
    )


def merged(files: Sequence[tuple[int, Callable[[], Iterator[BarColumns]]]]) -> Iterator[BarColumns]:
    """Merge files by time; at the same minute, in the order given.

    Parameters
    ----------
    files : sequence of (int, callable)
        Stamp of the first row, and a function that opens the file. A file is opened when its time comes,
        so a data set of one file a day has one or two open at once.

    Yields
    ------
    BarColumns
    """
    if len(files) == 1:
        yield from files[0][1]()
        return
    waiting = sorted(range(len(files)), key=lambda index: (files[index][0], index))
    streams: dict[int, _Stream] = {}
    while streams or waiting:
        edges = [stream.edge for stream in streams.values() if not stream.is_done]
        if waiting:
            edges.append(files[waiting[0]][0])
        horizon = min(edges) if edges else None
        taken = [streams[index].take_before(horizon) for index in sorted(streams)]
        parts = [rows for _, rows in taken if rows is not None]
        if parts:
            rows = joined(parts)
            order = np.argsort(np.concatenate([keys for keys, _ in taken]), kind="stable")
            yield rows if len(parts) == 1 else rows.take(order)
        while waiting and files[waiting[0]][0] == horizon:
            index = waiting.pop(0)
            streams[index] = _Stream(files[index][1]())
        for stream in streams.values():
            if not stream.is_done and stream.edge == horizon:
                stream.refill()
        streams = {index: stream for index, stream in streams.items() if len(stream) or not stream.is_done}
