"""From what was noted on both sides to figures and tables. All instants are of one monotonic clock.

A percentile is a value that was measured: the smallest that at least so many of a hundred do not exceed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.live_driver import Heard, Phase, Tape
from engine.events import FloatArray, IntArray, TradingState

_NS_PER_MS: Final = 1e6
#: Phases of calm bars.
STEADY: Final = frozenset({"normal", "load", "at once"})
#: Where the time goes from a bar that completes a minute to its signal in the stream, one after the other.
STAGES: Final = (
    "in the inbox",
    "step",
    "to the thread",
    "write, fsync",
    "to the outbox",
    "to the courier",
    "to the reader",
)
#: Ways by which a sink is heard; ``file`` has alerts only.
WAYS: Final = ("xread", "publish", "mqtt", "file")


class Spread(NamedTuple):
    """How some durations are spread, milliseconds."""

    n: int
    p50: float
    p99: float
    max: float

    def __str__(self) -> str:
        """Return median / p99 / most."""
        return " / ".join(_shown(value) for value in self[1:])


class Goal(NamedTuple):
    """What a p99 should stay under, in phases of calm bars or in the others."""

    text: str
    what: str
    p99_ms: float
    is_of_steady: bool = False
    is_in_memory: bool = False


GOALS: Final = (
    Goal("breach bar taken in → gate closed", "gate", 20.0),
    Goal("breach bar sent → HALTED in every sink", "all", 250.0),
    Goal("bar accepted → signal in Redis", "accepted", 10.0, is_of_steady=True),
    Goal("the same, but for the journal's own fsync", "accepted less fsync", 10.0, is_of_steady=True),
    Goal("the same, journal and Redis in memory", "accepted", 10.0, is_of_steady=True, is_in_memory=True),
    Goal("1,000 bars at once → on disk", "group commit", 10.0),
)


class Case(NamedTuple):
    """A universe, and the way its bars come; ``down`` is a server that is killed for a last phase.

    In memory there is no disk to wait for: what is left is the engine's own.
    """

    n_symbols: int
    feed: str
    down: str = ""
    is_in_memory: bool = False

    def __str__(self) -> str:
        """Return the name of the case."""
        return f"{self.n_symbols}-{self.feed}{'-memory' if self.is_in_memory else ''}"


class Run(NamedTuple):
    """Everything that was noted in the run of one case.

    Parameters
    ----------
    case : Case
    tape : Tape
        What was sent, and when.
    heard : list of Heard
    phases : list of Phase
    bars, commits, handed, deliveries : IntArray
        Of ``benchmarks.live_child.Times``.
    machine : IntArray, shape (n, 5)
        When, how long an fsync took (ns), and ticks of all processors: busy, busy for the benchmark, in all.
    """

    case: Case
    tape: Tape
    heard: list[Heard]
    phases: list[Phase]
    bars: IntArray
    commits: IntArray
    handed: IntArray
    deliveries: IntArray
    machine: IntArray


class BehindError(RuntimeError):
    """The engine did not keep up with what it was sent."""


class Figures(NamedTuple):
    """What one phase came to.

    Parameters
    ----------
    case : Case
    phase : str
    bars : int
    bars_per_s : float
    spreads : dict of str to Spread
        By what was measured.
    own_frac, others_frac : float
        Of all processors, what driver, daemon and servers used, and what everybody else did.
    """

    case: Case
    phase: str
    bars: int
    bars_per_s: float
    spreads: dict[str, Spread]
    own_frac: float
    others_frac: float


def spread(durations_ns: IntArray | FloatArray) -> Spread | None:
    """Return how durations are spread; None when there are none.

    Examples
    --------
    >>> spread(np.arange(1, 201) * 1e6)
    Spread(n=200, p50=100.0, p99=198.0, max=200.0)
    """
    ms = np.sort(np.asarray(durations_ns, dtype=np.float64)) / _NS_PER_MS
    n = len(ms)
    if not n:
        return None
    p50, p99 = (float(ms[math.ceil(q * n / 100) - 1]) for q in (50, 99))
    return Spread(n, p50, p99, float(ms[-1]))


def figures_of(run: Run) -> list[Figures]:
    """Return the figures of every phase.

    Raises
    ------
    BehindError
        If not every bar that was sent was stepped: latencies of the others would look too well.
    """
    return [_figures(run, phase) for phase in run.phases]


def _figures(run: Run, phase: Phase) -> Figures:
    tape, minute = run.tape, run.tape.minute_at(run.bars[:, 0])
    rows = run.bars[(minute >= phase.first) & (minute < phase.last)]
    minute = run.tape.minute_at(rows[:, 0])
    sent_ns, due_ns = tape.sent_ns[minute, rows[:, 1]], tape.due_ns[minute, rows[:, 1]]
    expected = (phase.last - phase.first) * run.case.n_symbols
    if len(rows) != expected:
        raise BehindError(
            f"{run.case}, {phase.name}: {expected} bars were sent, {len(rows)} were stepped by the end"
        )
    came_ns, began_ns, ended_ns, seq = rows[:, 2], rows[:, 3], rows[:, 4], rows[:, 5]
    durable_ns = run.commits[np.searchsorted(run.commits[:, 0], seq), 2]
    looks = run.machine[(run.machine[:, 0] >= phase.began_ns) & (run.machine[:, 0] < phase.ended_ns)]
    is_breach = rows[:, 6] == 1
    durations = {
        "late": sent_ns - due_ns,
        "transport": came_ns - sent_ns,
        "wait": began_ns - came_ns,
        "step": ended_ns - began_ns,
        "commit": durable_ns - ended_ns,
        "durable": durable_ns - sent_ns,
        "gate": (ended_ns - came_ns)[is_breach],
        "fsync": looks[:, 1],
        **_heard(run, phase),
        **_stages(run, phase),
    }
    found = {name: spread(values) for name, values in durations.items()}
    busy, own, total = looks[-1, 2:] - looks[0, 2:] if len(looks) else (0, 0, 0)
    seconds = (phase.ended_ns - phase.began_ns) / 1e9
    return Figures(
        run.case,
        phase.name,
        len(rows),
        len(rows) / seconds,
        {name: one for name, one in found.items() if one is not None},
        float(own / total) if total else 0.0,
        float((busy - own) / total) if total else 0.0,
    )


def _heard(run: Run, phase: Phase) -> dict[str, IntArray]:
    """From the last bar of a minute to what was heard of it: signals by way, and halts by way and in all."""
    closing_ns = run.tape.sent_ns.max(axis=1)
    signals: dict[str, list[int]] = {way: [] for way in WAYS}
    halts: dict[int, dict[str, int]] = {}
    for way, topic, message, at_ns in run.heard:
        minute = run.tape.minute_of(message.ts)
        if not phase.first <= minute < phase.last:
            continue
        took_ns = at_ns - int(closing_ns[minute])
        if topic == "signals":
            signals[way].append(took_ns)
        elif message.state == TradingState.HALTED or (way == "file" and message.kind == "halted"):
            halts.setdefault(minute, {}).setdefault(way, took_ns)
    ways = {way for by_way in halts.values() for way in by_way}
    by_way = {f"halt {way}": [one[way] for one in halts.values() if way in one] for way in WAYS}
    everywhere = [max(one.values()) for one in halts.values() if one.keys() == ways]
    lists = signals | by_way | {"all": everywhere, "missed": [0] * (len(halts) - len(everywhere))}
    return {name: np.array(values, dtype=np.int64) for name, values in lists.items()}


def _stages(run: Run, phase: Phase) -> dict[str, IntArray]:
    """From the bar that completed a minute to each of its signals: the stages, and all of them together."""
    found = [
        (int(message.id.partition("-")[0]), at_ns)
        for way, topic, message, at_ns in run.heard
        if (way, topic) == ("xread", "signals") and phase.first <= run.tape.minute_of(message.ts) < phase.last
    ]
    seq, heard_ns = np.array(found, dtype=np.int64).reshape(-1, 2).T
    bar = run.bars[np.searchsorted(run.bars[:, 5], seq)]
    commit = run.commits[np.searchsorted(run.commits[:, 0], seq)]
    handed = run.handed[np.searchsorted(run.handed[:, 0], seq)]
    routine = run.deliveries[run.deliveries[:, 1] == 0]
    delivery = routine[np.searchsorted(routine[:, 0], seq)]
    instants = (
        bar[:, 2],
        bar[:, 3],
        bar[:, 4],
        commit[:, 1],
        commit[:, 2],
        handed[:, 1],
        delivery[:, 2],
        heard_ns,
    )
    stages = dict(zip(STAGES, np.diff(np.stack(instants), axis=0), strict=True))
    accepted_ns = heard_ns - bar[:, 2]
    return stages | {"accepted": accepted_ns, "accepted less fsync": accepted_ns - stages["write, fsync"]}


# ------------------------------------------------------------------------------------------------ tables


def bars_table(figures: Sequence[Figures]) -> str:
    """Return what became of calm bars: on disk, and signals by each way."""
    head = ("symbols", "bars by", "bars/s", "signals", "on disk", "XREAD", "PUBLISH", "MQTT", "fsync", "CPU")
    rows = [
        (
            one.case.n_symbols,
            _way(one),
            _pace(one),
            _count(one, "xread"),
            *(_cell(one, name) for name in ("durable", "xread", "publish", "mqtt", "fsync")),
            f"{one.own_frac:.0%} + {one.others_frac:.0%}",
        )
        for one in figures
        if one.phase in STEADY
    ]
    return markdown(head, rows, left=2)


def parts_table(figures: Sequence[Figures]) -> str:
    """Return where the time of calm bars goes."""
    head = ("symbols", "bars by", "bars/s", "sent late", "to the inbox", "in it", "step", "to disk")
    rows = [
        (
            one.case.n_symbols,
            _way(one),
            _pace(one),
            *(_cell(one, name) for name in ("late", "transport", "wait", "step", "commit")),
        )
        for one in figures
        if one.phase in STEADY
    ]
    return markdown(head, rows, left=2)


def stages_table(figures: Sequence[Figures]) -> str:
    """Return where the time goes between a bar in the inbox and its signal in the stream."""
    names = ("accepted", "accepted less fsync", *STAGES)
    head = ("symbols", "bars by", "bars/s", "bar accepted → XREAD", "less the journal's fsync", *STAGES)
    rows = [
        (one.case.n_symbols, _way(one), _pace(one), *(_cell(one, name) for name in names))
        for one in figures
        if one.phase in STEADY
    ]
    return markdown(head, rows, left=2)


def halts_table(figures: Sequence[Figures]) -> str:
    """Return how soon a breach closed the gate, and was known."""
    head = (
        "symbols", "bars by", "away", "halts", "gate closed", "XREAD", "PUBLISH", "MQTT", "alerts file",
        "every sink", "fsync", "CPU",
    )  # fmt: skip
    names = ("gate", "halt xread", "halt publish", "halt mqtt", "halt file", "all", "fsync")
    rows = [
        (
            one.case.n_symbols,
            _way(one),
            one.phase.partition(" away")[0] if "away" in one.phase else "–",
            _halts(one),
            *(_cell(one, name) for name in names),
            f"{one.own_frac:.0%} + {one.others_frac:.0%}",
        )
        for one in figures
        if one.phase == "halts" or "away" in one.phase
    ]
    return markdown(head, rows, left=3)


def goals_table(figures: Sequence[Figures], commits: Spread) -> str:
    """Return each goal with the best and the worst p99 of the phases it is judged in."""
    rows = []
    for goal in GOALS:
        found = [
            (one.spreads[goal.what].p99, f"{one.case}, {one.phase}")
            for one in figures
            if goal.what in one.spreads
            and (one.phase in STEADY) is goal.is_of_steady
            and one.case.is_in_memory is goal.is_in_memory
        ]
        if goal.what == "group commit":
            found = [(commits.p99, "the journal alone")]
        if found:
            worst, where = max(found)
            reached = sum(p99 < goal.p99_ms for p99, _ in found)
            verdict = "yes" if reached == len(found) else f"**no**: in {reached} of {len(found)}"
            row = (
                goal.text,
                f"< {goal.p99_ms:g}",
                _shown(min(found)[0]),
                f"{_shown(worst)} ({where})",
                verdict,
            )
            rows.append(row)
    disk = [
        one.spreads["fsync"].p99 for one in figures if "fsync" in one.spreads and not one.case.is_in_memory
    ]
    if disk:
        rows.append(
            ("half a kilobyte → on this disk, meanwhile", "–", _shown(min(disk)), _shown(max(disk)), "–")
        )
    return markdown(("p99 of", "goal", "best", "worst", "reached"), rows, left=1)


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int) -> str:
    """Return a Markdown table whose first columns are aligned to the left."""
    lines = [" | ".join(map(str, row)) for row in (head, *rows)]
    align = "|".join(["---"] * left + ["--:"] * (len(head) - left))
    return "\n".join([f"| {lines[0]} |", f"|{align}|", *(f"| {line} |" for line in lines[1:])])


def _way(figures: Figures) -> str:
    return figures.case.feed + (", in memory" if figures.case.is_in_memory else "")


def _pace(figures: Figures) -> str:
    return f"{figures.bars_per_s:,.0f}" + (", minutes at once" if figures.phase == "at once" else "")


def _cell(figures: Figures, name: str) -> str:
    found = figures.spreads.get(name)
    return "–" if found is None else str(found)


def _halts(figures: Figures) -> str:
    missed = figures.spreads.get("missed")
    return _count(figures, "gate") + (f", {missed.n:,} not heard everywhere" if missed is not None else "")


def _count(figures: Figures, name: str) -> str:
    found = figures.spreads.get(name)
    return "0" if found is None else f"{found.n:,}"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
