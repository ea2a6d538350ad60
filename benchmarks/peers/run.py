"""`make bench-peers`: the same strategy on the same tape in other engines, signals checked equal.

Each run is a fresh process; engines take turns, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import bare, tape
from benchmarks.peers.environments import PEERS, Peer, python_of
from benchmarks.run import into_readme, machine, warn_of_load, write_json
from benchmarks.tape import SMALL, WIDE, Size, Tally

ROOT: Final = Path(__file__).resolve().parents[2]
RUN_MAX_S: Final = 240
SIZES: Final = (SMALL, WIDE)
MODES: Final = ("signals", "fills")


class Outcome(NamedTuple):
    """One run of one engine; ``fault`` is why there is none."""

    seconds: float = float("nan")
    version: str = ""
    is_equal: bool = False
    fills: int = 0
    fault: str = ""


def run_once(peer: Peer, python: Path, tape_path: Path, mode: str, expected: Tally) -> Outcome:
    """Run an engine over a tape in a process of its own."""
    command = [str(python), "-m", f"benchmarks.peers.{peer.module}", str(tape_path), mode]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_MAX_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(fault=f"no answer within {RUN_MAX_S} s")
    except OSError as error:
        return Outcome(fault=str(error))
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return Outcome(fault=said[-1] if said else f"exit status {done.returncode}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    is_equal = Tally(*found["tally"]).agrees(expected)
    return Outcome(found["seconds"], found["version"], is_equal, found["fills"])


def compare(
    peers: Sequence[tuple[Peer, Path]], size: Size, scratch: Path, repeats: int
) -> dict[tuple[str, str], list[Outcome]]:
    """Run all engines in turns over one tape; one that fails is not run again."""
    bars = tape.make_bars(size)
    expected = bare.tally(np.ascontiguousarray(bars[:, 3]))
    path = scratch / "tape.npy"
    np.save(path, bars)
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    for turn in range(repeats):
        print(f"measuring: {size}, turn {turn + 1} of {repeats}", flush=True)
        for mode in MODES:
            for peer, python in peers:
                taken = outcomes.setdefault((peer.name, mode), [])
                if mode in peer.modes and not (taken and taken[-1].fault):
                    taken.append(run_once(peer, python, path, mode, expected))
    return outcomes


def table(outcomes: dict[tuple[str, str], list[Outcome]], names: Sequence[str], size: Size) -> str:
    """Return a Markdown table of one size."""
    heads = (
        f"{size}, bars/s",
        *("signals only", "min – max", "with fills", "min – max"),
        *("Astra's times", "fills", "same signals"),
    )
    lines = [f"| {' | '.join(heads)} |", "|---|--:|--:|--:|--:|--:|--:|---|"]
    best = {mode: _median_s(outcomes.get(("Astra", mode), [])) for mode in MODES}
    for name in names:
        runs = {mode: outcomes[name, mode] for mode in MODES}
        taken = [run for mode in MODES for run in runs[mode]]
        faults = {run.fault for run in taken if run.fault}
        versions = next((run.version for run in taken if run.version), "")
        cells = [cell for mode in MODES for cell in _cells(runs[mode], size)]
        ratios = [_median_s(runs[mode]) / best[mode] for mode in MODES if runs[mode]]
        factors = " / ".join(_ratio(ratio) for ratio in ratios)
        fills = max((run.fills for run in taken), default=0)
        same = "; ".join(sorted(faults)) or ("yes" if all(run.is_equal for run in taken) else "**no**")
        counted = f"{fills:,}" if fills else "–"
        lines.append(f"| {name} {versions} | {' | '.join(cells)} | {factors} | {counted} | {same} |")
    return "\n".join(lines)


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _median_s(runs: Sequence[Outcome]) -> float:
    return statistics.median(run.seconds for run in runs) if runs else float("nan")


def _cells(runs: Sequence[Outcome], size: Size) -> tuple[str, str]:
    seconds = [run.seconds for run in runs if not run.fault]
    if not seconds:
        return "–", "–"
    median, slow, fast = (size.n_bars / s for s in (statistics.median(seconds), max(seconds), min(seconds)))
    return f"{median:,.0f}", f"{slow:,.0f} – {fast:,.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Install, run, print, keep."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn of each")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    options = parser.parse_args(arguments)
    pythons = [(peer, python_of(peer)) for peer in PEERS]
    ready = [(peer, python) for peer, python in pythons if isinstance(python, Path)]
    absent = [f"{peer.name}: {python}" for peer, python in pythons if isinstance(python, str)]
    warn_of_load()
    tables: list[str] = []
    kept: dict[str, Any] = {"absent": absent}
    with tempfile.TemporaryDirectory(prefix="astra-peers-") as scratch:
        for size in SIZES:
            outcomes = compare(ready, size, Path(scratch), 1 if options.quick else 3)
            tables.append(table(outcomes, [peer.name for peer, _ in ready], size))
            kept[str(size)] = {
                f"{name}, {mode}": [run._asdict() for run in runs] for (name, mode), runs in outcomes.items()
            }
    text = "\n\n".join([machine(), *tables, *(f"Not measured: {line}" for line in absent)])
    print(f"\n{text}")
    write_json("peers.json", kept)
    if options.readme:
        into_readme("peers", text)


if __name__ == "__main__":
    main()
