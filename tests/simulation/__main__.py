"""The simulation: ``python -m tests.simulation --worlds 10000 --workers 2``.

Thousands of machines, each with faults of its own, on virtual time. It ends with 1 if a promise was broken,
if something never came to pass, or if an engine broken on purpose was not found out. ``--seed N`` lives
through one world again, exactly as it was.
"""

from __future__ import annotations

import argparse
import os
import sys


def main(arguments: list[str]) -> int:
    """Run a campaign, or one world of it; return the exit status."""
    options = _options(arguments)
    # One BLAS thread, as in the engine: read when NumPy is first imported, which the next lines do.
    for library in ("OPENBLAS", "OMP", "MKL", "VECLIB", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    from tests.simulation.mutants import MUTANTS, caught
    from tests.simulation.plan import draw
    from tests.simulation.report import simulate_many
    from tests.simulation.world import simulate

    if options.seed is not None and options.digest:
        _say(simulate(draw(options.seed)).digest)
        return 0
    if options.mutants:
        is_good = True
        for name in MUTANTS:
            count, fault = caught(name, range(options.first, options.first + options.worlds))
            _say(f"{name:40s} {f'world {count}: {fault}' if count else 'NOT CAUGHT'}")
            is_good = is_good and count > 0
        return 0 if is_good else 1
    if options.seed is not None:
        report = simulate_many([options.seed])
        _say("\n".join(failure.text() for failure in report.failures) or "every promise held")
        return 1 if report.failures else 0
    seeds = range(options.first, options.first + options.worlds)
    report = simulate_many(seeds, options.workers)
    _say(report.text())
    return 0 if report.is_good else 1


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--worlds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="one world")
    parser.add_argument("--digest", action="store_true", help="print the digest of one world alone")
    parser.add_argument("--mutants", action="store_true", help="see whether broken engines are found out")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
