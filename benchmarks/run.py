"""`make bench`: measure everything on this machine, and print one table.

`--readme` also puts the table into README.md, `--quick` takes one turn of each (for a look, not for figures).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import kernels, loops, replays, risks, solves
from benchmarks.replays import Memory
from benchmarks.tape import Size
from benchmarks.timing import Row, table

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE / "results"
README: Final = HERE / "README.md"
#: A load above this before the start means that somebody else is using the machine.
LOAD_MAX: Final = 0.7
_MARKS: Final = "<!-- {name} -->", "<!-- end of {name} -->"


def machine() -> str:
    """Return what kind of machine this is: cores, processor, Python."""
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text(encoding="utf-8").splitlines() if "model name" in line]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{os.cpu_count()} cores, {model}, {platform.system()}, Python {platform.python_version()}"


def warn_of_load() -> None:
    """Say so when the machine is busy: figures would be too slow, ratios still fair."""
    load = os.getloadavg()[0]
    if load > LOAD_MAX:
        print(f"note: load average is {load:.2f}; other work slows these figures, ratios less so", flush=True)


def everything(repeats: int, scratch: Path) -> tuple[list[Row], Memory]:
    """Measure all groups, telling which one is running."""
    rows: list[Row] = []
    groups: dict[str, Callable[[], list[Row]]] = {
        "kernels": partial(kernels.measure, repeats),
        "VaR": partial(risks.measure, repeats),
        "optimiser": partial(solves.measure, repeats),
        **{f"loop, {size}": partial(_loop, size, repeats) for size in replays.SIZES},
        **{
            f"replay, {size}": partial(replays.measure, size, scratch, min(repeats, 3))
            for size in replays.SIZES
        },
    }
    for name, group in groups.items():
        print(f"measuring: {name}", flush=True)
        rows += group()
    print("measuring: memory", flush=True)
    return rows, replays.measure_memory(scratch)


def _loop(size: Size, repeats: int) -> list[Row]:
    return loops.measure(size, repeats)[0]


def memory_line(memory: Memory) -> str:
    """Return one line on memory."""
    verdict = "flat: yes" if memory.is_flat else "flat: **no**"
    return (
        f"Peak memory of a whole replay: {memory.peak_mb:,.0f} MB over {memory.size}, "
        f"{memory.peak_tenfold_mb:,.0f} MB over ten times the minutes; {verdict}."
    )


def write_json(name: str, content: dict[str, Any]) -> Path:
    """Keep the figures of this run, for programs; git ignores them."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    path.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n", encoding="utf-8")
    return path


def into_readme(name: str, text: str) -> None:
    """Replace the part of README.md between the two marks of a name."""
    start, end = (mark.format(name=name) for mark in _MARKS)
    head, _, rest = README.read_text(encoding="utf-8").partition(start)
    _, _, tail = rest.partition(end)
    README.write_text(f"{head}{start}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


def as_dict(row: Row) -> dict[str, Any]:
    """Return a row for programs."""
    return {
        "what": row.what,
        "n_bars": row.n_bars,
        "slice_s": row.slice_s,
        "median_s": row.median_s,
        "bare_s": row.bare_s,
        "goal": row.goal.text if row.goal is not None else None,
        "is_reached": row.is_reached,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn of each")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args(arguments)
    warn_of_load()
    with tempfile.TemporaryDirectory(prefix="astra-bench-") as scratch:
        rows, memory = everything(1 if options.quick else 5, Path(scratch))
    text = f"{machine()}\n\n{table(rows)}\n\n{memory_line(memory)}"
    print(f"\n{text}")
    path = write_json("latest.json", {"rows": [as_dict(row) for row in rows], "memory": memory._asdict()})
    print(f"\nkept: {path.relative_to(HERE.parent)}")
    if options.readme:
        into_readme("bench", text)


if __name__ == "__main__":
    main()
