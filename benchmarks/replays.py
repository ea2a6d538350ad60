"""A whole replay: a Parquet file in front, every table and the report behind; and the memory it takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks import arrays, bare, tape
from benchmarks.tape import HUGE, SMALL, WIDE, Size
from benchmarks.timing import Goal, Row, bars_goal, rows_of, stopwatch
from engine.app.replay.run import replay
from engine.app.terminal import Silent
from engine.events import CLOSE

_GOALS: dict[Size, float] = {WIDE: 500e3, HUGE: 500e3}
#: A tape that fills every buffer once (batch of the reader, chunk of a table): more of it may add nothing.
MEMORY_SIZE: Final = Size(5, 20_000)
#: Peak memory may differ by this much between tapes of one and ten lengths, and still be called flat.
FLAT_MAX_FRAC: Final = 0.05


class Memory(NamedTuple):
    """Peak resident memory of two replays, one over ten times the minutes of the other."""

    size: Size
    peak_mb: float
    peak_tenfold_mb: float

    @property
    def is_flat(self) -> bool:
        """Whether the longer tape took no more than rounding."""
        return self.peak_tenfold_mb <= (1.0 + FLAT_MAX_FRAC) * self.peak_mb


def prepare(folder: Path, size: Size) -> Path:
    """Write the bars and daily closes of a tape into a new folder."""
    folder.mkdir(parents=True)
    arrays.write_bars(folder / "bars.parquet", size)
    arrays.write_history(folder / "daily.parquet", size)
    return folder


def run(folder: Path, size: Size) -> dict[str, object]:
    """Replay the bars of a folder into its ``run``; return the summary."""
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    result = replay(
        arrays.config(size, folder),
        out=out,
        commands=None,
        argv=["bench"],
        listener=Silent(),
    )
    return result.summary


def measure(size: Size, scratch: Path, repeats: int) -> list[Row]:
    """Measure a replay from file to report."""
    folder = prepare(scratch / f"{size.n_symbols}x{size.n_minutes}", size)
    close = np.ascontiguousarray(tape.make_bars(size)[:, CLOSE])
    name = f"replay, {size}: file to report"
    rate = _GOALS.get(size)
    goals: dict[str, Goal] = {}
    if rate is not None:
        goals[name] = bars_goal(f"> {rate / 1e3:g}k bars/s", size.n_symbols, rate)

    def whole() -> float:
        return stopwatch(_checked(folder, size), size.n_minutes)

    rows = rows_of(
        {name: whole},
        lambda: stopwatch(lambda: bare.tally(close), size.n_minutes),
        size.n_symbols,
        goals,
        repeats,
    )
    shutil.rmtree(folder)
    return rows


def _checked(folder: Path, size: Size) -> Callable[[], None]:
    def work() -> None:
        summary = run(folder, size)
        assert summary["bars"] == size.n_bars, summary
        assert summary["halts"] == 0, summary

    return work


def measure_memory(scratch: Path, size: Size = MEMORY_SIZE) -> Memory:
    """Replay a tape and one of ten times its minutes, each in a process of its own."""
    tenfold = Size(size.n_pairs, 10 * size.n_minutes)
    return Memory(size, _peak_mb(scratch / "once", size), _peak_mb(scratch / "tenfold", tenfold))


def _peak_mb(folder: Path, size: Size) -> float:
    prepare(folder, size)
    command = [sys.executable, "-m", "benchmarks.replays", str(folder), *map(str, size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shutil.rmtree(folder)
    return float(json.loads(done.stdout)["peak_mb"])


def peak_mb() -> float:
    """Peak resident memory of this process, MB.

    Read from the process table: ``getrusage`` would carry over the peak of the parent that started it.
    """
    text = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024.0


SIZES: Final = (SMALL, WIDE, HUGE)

if __name__ == "__main__":
    run(Path(sys.argv[1]), Size(int(sys.argv[2]), int(sys.argv[3])))
    print(json.dumps({"peak_mb": peak_mb()}))
