"""The bare compiled loop, as one more line of the comparison: no engine can be faster."""

from __future__ import annotations

import time
from importlib.metadata import version

import numpy as np

from benchmarks import bare
from benchmarks.peers.answer import Task, answer, read_task


def run(task: Task) -> None:
    """Run the tape twice: the first time compiles."""
    close = np.ascontiguousarray(task.bars[:, 3])
    bare.tally(close)
    started = time.perf_counter()
    said = bare.tally(close)
    answer(version("numba"), time.perf_counter() - started, 0.0, said, 0)


if __name__ == "__main__":
    run(read_task())
