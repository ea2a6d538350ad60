"""Merging files by time: any batch sizes, any number of files, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from engine.columns import BarColumns
from feeds.merge import joined, merged


def rows(stamps: list[int], file: int) -> BarColumns:
    n = len(stamps)
    values = np.tile(np.arange(n, dtype=np.float64) + 100 * file, (5, 1))
    return BarColumns(np.array(stamps), np.full(n, file), ("A", "B", "C"), values)


def batches(columns: BarColumns, size: int) -> Iterator[BarColumns]:
    for start in range(0, len(columns), size):
        yield columns.take(slice(start, start + size))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_files_are_merged_stably_whatever_the_batches(size: int) -> None:
    """A run must not depend on how much is read at a time; a late row stays where it arrived."""
    tapes = [[1, 1, 2, 5, 5, 9], [1, 3, 2, 5, 6], [8, 9]]
    files = [(tape[0], partial(batches, rows(tape, index), size)) for index, tape in enumerate(tapes)]
    out = joined(list(merged(files)))
    # The 2 of the second file arrived after its 3, and comes out there.
    assert out.ts_close_ns.tolist() == [1, 1, 1, 2, 3, 2, 5, 5, 5, 6, 8, 9, 9]
    assert out.code.tolist() == [0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 2, 0, 2]


def test_a_file_is_opened_when_its_time_comes() -> None:
    """A data set of one file a day must not hold every day in memory."""
    opened: list[int] = []

    def day(index: int) -> Iterator[BarColumns]:
        opened.append(index)
        yield from batches(rows([10 * index + 1, 10 * index + 2], index), 1)

    stream = merged([(10 * index + 1, partial(day, index)) for index in range(3)])
    next(stream)
    assert opened == [0]
    list(stream)
    assert opened == [0, 1, 2]
