"""The crash campaign: ``python -m tests.campaign --kills 1000 --seed 7``.

A real engine lives through a day again and again, and is killed at random times and in every critical window.
After each kill its journal and what it has published are judged, and at the end of the day everything it left
is compared with the same day without a kill. Engines broken on purpose must be found out. It ends with 1 and
the seed if a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

#: In memory: kill -9 does not test a disk, and the campaign of power losses has one of its own.
_TMPFS = Path("/dev/shm")  # noqa: S108 - a folder with a name of its own is made there

#: Records of each commit; the longest log in which power is lost at every operation.
_LONG_DAY = (1, 3, 2, 5) * 8


def main(arguments: list[str]) -> int:
    """Run the campaign, or one case of it; return the exit status."""
    options = _options(arguments)
    # One BLAS thread, as in the engine: read when NumPy is first imported, which the next lines do.
    for library in ("OPENBLAS", "OMP", "MKL", "VECLIB", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    from engine.clock import stopwatch_s
    from tests.campaign.shop import Shop
    from tests.campaign.table import table_of
    from tests.support import power_loss

    folder = options.folder or (_TMPFS if _TMPFS.is_dir() else None)
    began_s = stopwatch_s()
    with tempfile.TemporaryDirectory(prefix="astra-campaign-", dir=folder) as root:
        shop = Shop(Path(root), options.seed, options.per_day)
        if options.case is not None:
            result = shop.case(options.variant, options.case, tell=lambda line: _say(f"{line}\n"))
            _say(f"{result.wrong or 'every promise held'}\n")
            return 1 if result.wrong else 0
        results = shop.run(options.kills, options.workers, mutants=options.mutants)
    text, is_good = table_of(results, options.seed)
    _say(text)
    if options.power_days:
        is_good = power_loss.main(options.power_days) == 0 and is_good
        losses, broken = power_loss.violations(
            power_loss.Plan(_LONG_DAY, snapshot_every=4, segment_bytes=900)
        )
        _say("".join(f"{line}\n" for line in broken))
        _say(f"a day of {len(_LONG_DAY)} commits, {losses:,} power losses, {len(broken)} violations\n")
        is_good = is_good and not broken
    _say(f"{stopwatch_s() - began_s:.0f} s\n")
    return 0 if is_good else 1


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="at least so many of correct engines")
    parser.add_argument("--per-day", type=int, default=12, help="kills in a day, at most")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--variant", default="mean_variance", help="of --case")
    parser.add_argument("--case", type=int, help="repeat this case alone")
    parser.add_argument("--folder", type=Path, help="where states are kept; by default in memory")
    parser.add_argument("--mutants", type=int, default=99, help="engines broken on purpose, at most")
    parser.add_argument("--power-days", type=int, default=60, help="days of power losses in the journal")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
