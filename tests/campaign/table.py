"""The result of a campaign as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tests.campaign.cases import Result
from tests.campaign.life import Ending

_OUTSIDE = ("at a random time", "step after")


def table_of(results: dict[str, list[Result]], seed: int) -> tuple[str, bool]:
    """Write the table; tell whether every promise held and every broken engine was found out."""
    results = dict(results)
    mutants = results.pop("mutants", [])
    cases = [result for variant in results.values() for result in variant]
    endings = [ending for result in cases for ending in result.endings]
    kills = [ending for ending in endings if ending.crash]
    wrong = [(name, result) for name, variant in results.items() for result in variant if result.wrong]
    missed = [mutant for mutant in mutants if not mutant.wrong]
    lines = [
        *_by_crash(kills),
        "",
        *(_of_variant(name, variant) for name, variant in results.items()),
        "",
        *_of_recovery(endings),
        "",
        *(_of_mutant(mutant) for mutant in mutants),
        "",
        *(f"VIOLATION {name} case {result.case}: {result.wrong}" for name, result in wrong),
        *(f"repeat: --seed {seed} --variant {name} --case {result.case}" for name, result in wrong),
        f"seed {seed}: {len(kills)} kills, {len(cases)} days, {len(endings)} lives, {len(wrong)} violations",
        f"{len(mutants) - len(missed)} of {len(mutants)} broken engines found out",
        "",
    ]
    return "\n".join(lines), bool(kills) and not wrong and not missed


def _by_crash(kills: Sequence[Ending]) -> list[str]:
    """Count kills by where and when; those under loss of power in a column of their own."""
    plain: Counter[str] = Counter()
    power: Counter[str] = Counter()
    for ending in kills:
        name, _, is_power = ending.crash.partition(", ")
        (power if is_power else plain)[name] += 1
    points = sorted({name.rpartition(" ")[0] for name in plain | power if name not in _OUTSIDE})
    lines = [f"{'killed':<20}{'before':>9}{'middle':>9}{'after':>9}{'power lost':>12}"]
    for point in points:
        figures = [plain[f"{point} {phase}"] for phase in ("before", "middle", "after")]
        lost = sum(power[f"{point} {phase}"] for phase in ("before", "middle", "after"))
        lines.append(f"{point:<20}" + "".join(f"{n or '':>9}" for n in figures) + f"{lost or '':>12}")
    outside = [plain[name] + power[name] for name in _OUTSIDE]
    inside = len(kills) - sum(outside)
    lines.append(f"{'at a random time':<20}{outside[0]:>9}")
    lines.append(f"{'after any record':<20}{outside[1]:>9}")
    lines.append(f"in critical windows {inside:>9} of {len(kills)}, {inside / max(1, len(kills)):.0%}")
    return lines


def _of_variant(name: str, cases: Sequence[Result]) -> str:
    n_kills = sum(len(result.kills) for result in cases)
    n_records = sum(result.records for result in cases)
    n_wrong = sum(bool(result.wrong) for result in cases)
    return f"{name:<16}{len(cases):>5} days{n_kills:>7} kills{n_records:>10,} records{n_wrong:>4} violations"


def _of_recovery(endings: Sequence[Ending]) -> list[str]:
    started = [ending for ending in endings if ending.recover_s is not None]
    torn = sum(ending.torn_bytes > 0 for ending in started)
    posed = sum(ending.had_problem for ending in started)
    return [
        f"recoveries {len(started)}: {torn} behind a torn commit, {posed} with an unanswered problem",
        _spread_ms("snapshot and tail", [ending.recover_s for ending in started]),
        _spread_ms("fork to first record", [ending.ready_s for ending in endings]),
        f"{'records replayed':<21}p50 {_at(50, started)}, p99 {_at(99, started)}, most {_at(100, started)}",
    ]


def _at(percent: int, endings: Sequence[Ending]) -> int:
    return int(np.percentile([ending.replayed for ending in endings] or [0], percent))


def _spread_ms(name: str, seconds: Sequence[float | None]) -> str:
    known = [1e3 * one for one in seconds if one is not None] or [float("nan")]
    p50, p99 = np.percentile(known, [50, 99])
    return f"{name:<21}p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {max(known):.1f} ms"


def _of_mutant(mutant: Result) -> str:
    verdict = (
        f"found out after {len(mutant.kills)} kills: {mutant.wrong}" if mutant.wrong else "NOT FOUND OUT"
    )
    return f"broken: {mutant.allocator}: {verdict}".replace("\n", " ")[:160]
