"""A campaign over many seeds, and what it has shown: what broke, and what never came to pass.

A campaign in which some kind of fault never struck, or some way of recovery was never gone, has shown nothing
about it: it is void, and says what is missing.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

import msgspec

from engine.clock import stopwatch_s
from engine.events import Reject
from engine.journal_format import decode_record
from tests.simulation.plan import BAR_KINDS, KINDS, Knobs, Plan, draw
from tests.simulation.shrink import smallest
from tests.simulation.world import Outcome, simulate
from tests.support.bad_disk import TAILS

_CHUNK: Final = 10
_RECORDS_SHOWN: Final = 40
#: These are seen by the halt they lead to, or are a share of many bars.
_SEEN_OTHERWISE: Final = {"risk_raises", "risk_nan", "not_psd"}
_SILENT_BARS: Final = {"drop", "silence", "gap", "shift"}
_HALTS: Final = (
    "VAR_LIMIT VAR_NOT_FINITE PRICE_STALE PRICE_NOT_FINITE COV_NOT_PSD RISK_FAILED VAR_STALE FEED_SILENT "
    "CLOCK_JUMP SINKS_SILENT OUTBOX_FULL ALLOCATOR_HUNG CALENDAR_END SIGNAL WATCHDOG JOURNAL ENGINE_FAILED "
    "OPERATOR"
)
_RECOVERIES: Final = (
    "torn tail,from a snapshot,without snapshot,past a damaged snapshot,after an orderly end,of a problem,"
    "halted,crashed,refused J003,refused J004,refused by the disk"
)
_COMMANDS_REFUSED: Final = "malformed bad_signature other_instance not_yet_issued expired replayed"
_TARGETS_REFUSED: Final = "halted optimiser_late allocator_failed infeasible reducing"
#: What must have come to pass in a campaign.
SOMETIMES: Final = frozenset(
    [f"fault {kind}" for kind in KINDS if kind not in _SEEN_OTHERWISE]
    + [f"bars {kind}" for kind in BAR_KINDS if kind not in _SILENT_BARS]
    + [f"reject {reason.value}" for reason in Reject]
    + [f"halt {reason}" for reason in _HALTS.split()]
    + [f"recovery {way}" for way in _RECOVERIES.split(",")]
    + [f"power loss leaves {tail}" for tail in TAILS]
    + [f"state {state}" for state in ("ACTIVE", "REDUCING", "HALTED")]
    + [f"filled in {state}" for state in ("ACTIVE", "REDUCING", "HALTED")]
    + [f"command accepted {kind}" for kind in ("halt", "resume", "limits", "flatten", "rebalance")]
    + [f"command refused: {reason}" for reason in _COMMANDS_REFUSED.split()]
    + [f"refused {reason}" for reason in _TARGETS_REFUSED.split()]
    + ["life finished", "life stopped", "segment deleted", "halt while halted"]
)


class Failure(msgspec.Struct, frozen=True):
    """A seed that broke a promise, and the smallest world that breaks it too."""

    seed: int
    fault: str
    smaller: Plan
    smaller_fault: str
    records: list[bytes]

    def text(self) -> str:
        """Tell how to see it again, and what is left of the world."""
        usual, plan = Knobs(), self.smaller
        set_ = {
            name: value
            for name, value in msgspec.structs.asdict(plan.knobs).items()
            if value != getattr(usual, name)
        }
        faults = [
            f"  {f.at_s:8.2f} s  {f.kind} {f.target}"
            + (f" until {f.until_s:.2f} s" if f.until_s > f.at_s else "")
            + f" ({f.value:.3f})"
            for f in plan.faults
        ]
        bars = [
            f"  minute {f.minute:3d}  {f.kind} of {'ABCD'[f.symbol]} ({f.value:.3f})" for f in plan.bar_faults
        ]
        first = max(0, len(self.records) - _RECORDS_SHOWN)
        records = [f"  {k + 1:5d}  {decode_record(raw)}" for k, raw in enumerate(self.records)][first:]
        return "\n".join(
            [
                f"seed {self.seed}: {self.fault}",
                f"again: python -m tests.simulation --seed {self.seed}",
                f"smaller: {self.smaller_fault}",
                f"set: {set_ or 'as usual'}; {len(plan.left_out)} messages left out",
                "faults:",
                *faults,
                *bars,
                f"records (the last {len(records)} of {len(self.records)}):",
                *records,
            ]
        )


class Report(msgspec.Struct):
    """What a campaign has shown."""

    seeds: int = 0
    elapsed_s: float = 0.0
    virtual_s: float = 0.0
    records: int = 0
    met: dict[str, int] = {}
    failures: list[Failure] = []

    @property
    def missing(self) -> list[str]:
        """What never came to pass."""
        return sorted(SOMETIMES - {name for name, count in self.met.items() if count})

    @property
    def is_good(self) -> bool:
        """Whether nothing broke, and everything that should have come to pass did."""
        return not self.failures and not self.missing

    def text(self) -> str:
        """Tell it on a page."""
        rate = 60.0 * self.seeds / self.elapsed_s if self.elapsed_s else 0.0
        lines = [
            f"{self.seeds:,} worlds in {self.elapsed_s:.0f} s ({rate:,.0f} a minute)",
            f"{self.virtual_s / 3600.0:,.0f} hours of virtual time, {self.records:,} records",
            *(f"  {name:36s} {count:9,d}" for name, count in sorted(self.met.items())),
            *(failure.text() for failure in self.failures),
            f"{len(self.failures)} broken promises",
        ]
        if self.missing:
            lines.append(f"void: never came to pass: {', '.join(self.missing)}")
        return "\n".join(lines)


def simulate_many(seeds: Sequence[int], workers: int = 1, shrink: bool = True) -> Report:
    """Simulate worlds.

    Parameters
    ----------
    seeds : sequence of int
    workers : int
        Processes; 1 for none but this.
    shrink : bool
        Look for the smallest world of each failure.

    Returns
    -------
    Report
        Not good if a promise was broken, or if something never came to pass.
    """
    began_s = stopwatch_s()
    chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
    if workers == 1:
        report = _joined(map(partial(_chunk, shrink), chunks))
    else:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            report = _joined(pool.map(partial(_chunk, shrink), chunks))
    report.elapsed_s = stopwatch_s() - began_s
    return report


def _chunk(shrink: bool, seeds: Sequence[int]) -> Report:
    report = Report(seeds=len(seeds))
    met: Counter[str] = Counter()
    for seed in seeds:
        plan = draw(seed)
        outcome = simulate(plan)
        met.update(outcome.met)
        report.virtual_s += outcome.virtual_s
        report.records += len(outcome.records)
        if outcome.fault:
            report.failures = [*report.failures, _failure(plan, outcome, shrink)]
    report.met = dict(met)
    return report


def _failure(plan: Plan, outcome: Outcome, shrink: bool) -> Failure:
    smaller, became = smallest(plan, outcome) if shrink else (plan, outcome)
    return Failure(plan.seed, outcome.fault, smaller, became.fault, became.records)


def _joined(reports: Iterable[Report]) -> Report:
    whole, met = Report(), Counter[str]()
    for part in reports:
        whole.seeds += part.seeds
        whole.virtual_s += part.virtual_s
        whole.records += part.records
        whole.failures = [*whole.failures, *part.failures]
        met.update(part.met)
    whole.met = dict(met)
    return whole
