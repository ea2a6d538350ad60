"""What one seed does to the engine: a plan, drawn before anything runs, whose parts can be left out.

Each seed draws which kinds of fault it has at all, and how often (swarm testing): a world with everything at
once hides what only shows when one thing goes wrong for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

#: Seconds of the machine before the first session opens.
LEAD_S: Final = 20.0
#: How long nothing goes wrong any more before the end: everything must have arrived by then.
CALM_S: Final = 60.0

#: Kinds of fault by what they strike, and how many a world has on average, if it has the kind.
KINDS: Final[dict[str, float]] = {
    # the process
    "kill": 1.5,
    "kill_io": 2.0,
    "power": 1.0,
    "power_io": 2.0,
    "double_crash": 1.0,
    "hang": 0.7,
    "stop": 0.7,
    "feed_raises": 0.5,
    # the disk
    "disk_full": 0.7,
    "disk_error": 0.8,
    "disk_slow": 1.5,
    "rot_journal": 0.8,
    "rot_snapshot": 1.0,
    # those who listen
    "sink_down": 2.0,
    "sink_slow": 1.5,
    "sink_silent_reply": 2.0,
    "sink_amnesia": 1.0,
    # the clock, the connection to the feed
    "clock_jump": 0.8,
    "disconnect": 2.0,
    # the operator
    "halt": 0.8,
    "halt_signal": 0.6,
    "flatten": 1.0,
    "rebalance": 1.5,
    "limits": 1.2,
    "cut": 0.8,
    "forged": 1.0,
    "expired": 0.7,
    "replayed": 1.0,
    "elsewhere": 0.6,
    "garbage": 0.8,
    # the core
    "risk_raises": 0.5,
    "risk_nan": 0.6,
    "not_psd": 0.5,
    "solve_slow": 1.5,
    "solve_raises": 1.0,
    "infeasible": 1.0,
    "reckless": 1.5,
    "mad": 0.7,
}
#: What may be wrong with the bars, and the share of bars (or times a world) it strikes.
BAR_KINDS: Final[dict[str, float]] = {
    "drop": 0.03,
    "duplicate": 0.03,
    "conflict": 0.02,
    "late": 0.02,
    "jitter": 0.3,
    "undecodable": 0.02,
    "malformed": 0.015,
    "inconsistent": 0.015,
    "unknown": 0.01,
    "off_session": 0.01,
    "future": 0.01,
    "spike": 0.01,
    "shift": 0.004,
    "silence": 0.7,
    "gap": 1.0,
    "flood": 0.7,
}
#: Lengths of faults that last, seconds: least and most.
_LASTS_S: Final = {
    "disk_full": (1.0, 60.0),
    "disk_slow": (5.0, 200.0),
    "sink_down": (1.0, 150.0),
    "sink_slow": (5.0, 200.0),
    "sink_silent_reply": (1.0, 60.0),
    "disconnect": (0.5, 120.0),
    "solve_slow": (30.0, 300.0),
    "solve_raises": (30.0, 300.0),
    "infeasible": (30.0, 300.0),
    "reckless": (60.0, 900.0),
    "mad": (30.0, 300.0),
}
SINKS: Final = ("redis", "mqtt")


class Knobs(msgspec.Struct, frozen=True):
    """How the engine of a world is set, sizes so small that their edges are met included."""

    allocator: str = "direct"
    keeps_time: bool = True
    is_stream: bool = False
    feed_batch: int = 20
    look_every_s: float = 10.0
    inbox_max: int = 20_000
    turn: int = 16
    ahead_max: int = 20_000
    minutes_max: int = 1_000
    snapshot_every_s: float = 60.0
    snapshot_every_records: int = 50_000
    segment_bytes: int = 64 << 20
    retain_min: int = 0
    outbox_bound: int = 100_000
    outbox_lot: int = 1_024
    courier_batch: int = 500
    idle_s: float = 45.0
    grace_s: float = 5.0
    feed_silence_max_min: int = 5
    sinks_silence_max_s: float = 60.0
    solve_max_s: float = 5.0
    var_limit_usd: float = 40_000.0
    holds_at_start: bool = False
    restart_s: float = 3.0
    sessions_min: tuple[int, ...] = (120,)
    resume_every_s: float = 60.0


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong, or that somebody does.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    at_s : float
        When, in seconds of the machine.
    until_s : float
        For what lasts.
    target : str
        Of a sink, its name.
    value : float
        In [0, 1); what it decides depends on the kind.
    """

    kind: str
    at_s: float
    until_s: float = 0.0
    target: str = ""
    value: float = 0.0


class BarFault(msgspec.Struct, frozen=True):
    """Something wrong with bars: of one symbol and minute, or from ``minute`` to ``until``."""

    kind: str
    minute: int
    symbol: int
    until: int = 0
    value: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """One world."""

    seed: int
    minutes: int
    knobs: Knobs
    faults: tuple[Fault, ...]
    bar_faults: tuple[BarFault, ...]
    #: Messages that are not published after all, by their place: a smaller world that fails as well.
    left_out: frozenset[int] = frozenset()

    @property
    def calm_from_s(self) -> float:
        """When the last fault is over."""
        return LEAD_S + 60.0 * self.minutes + 10.0


def draw(seed: int) -> Plan:
    """Draw the world of a seed."""
    rng = np.random.default_rng([seed, 20_260_105])
    minutes = int(rng.integers(6, 20))
    knobs = _knobs(rng, minutes)
    level = float(rng.choice([0.04, 0.12, 0.3, 0.5]))
    faults: list[Fault] = []
    end_s = LEAD_S + 60.0 * minutes
    for kind, often in KINDS.items():
        if rng.random() < level:
            faults += [_fault(rng, kind, end_s) for _ in range(1 + int(rng.poisson(often)))]
    if rng.random() < 0.15:  # only the gate stands between such an allocator and the market
        faults.append(Fault("reckless", 1.0, end_s))
    if rng.random() < 0.85:
        at_s = float(rng.uniform(60.0, 180.0))
        while at_s < end_s:
            faults.append(Fault("resume", at_s, value=float(rng.random())))
            at_s += float(rng.uniform(0.3, 1.7)) * knobs.resume_every_s
    bar_faults = _bar_faults(rng, minutes, level)
    return Plan(seed, minutes, knobs, tuple(sorted(faults, key=lambda f: f.at_s)), tuple(bar_faults))


def _fault(rng: np.random.Generator, kind: str, end_s: float) -> Fault:
    at_s = float(rng.uniform(1.0, end_s))
    until_s = at_s
    if kind in _LASTS_S:
        low, high = _LASTS_S[kind]
        until_s = min(at_s + float(np.exp(rng.uniform(np.log(low), np.log(high)))), end_s)
    target = str(rng.choice(SINKS)) if kind.startswith("sink_") else ""
    return Fault(kind, at_s, until_s, target, float(rng.random()))


def _bar_faults(rng: np.random.Generator, minutes: int, level: float) -> list[BarFault]:
    faults: list[BarFault] = []
    for kind, share in BAR_KINDS.items():
        if rng.random() >= level:
            continue
        if kind in {"silence", "gap", "flood"}:
            for _ in range(1 + int(rng.poisson(share))):
                start = int(rng.integers(1, minutes + 1))
                length = int(rng.integers(3, 9))
                faults.append(
                    BarFault(kind, start, int(rng.integers(0, 4)), start + length, float(rng.random()))
                )
            continue
        struck = np.argwhere(rng.random((minutes, 4)) < share * float(rng.uniform(0.5, 2.0)))
        faults += [
            BarFault(kind, minute + 1, symbol, value=float(rng.random()))
            for minute, symbol in struck.tolist()
        ]
    return faults


def _knobs(rng: np.random.Generator, minutes: int) -> Knobs:
    """Mostly what a user has; each size now and then so small that its edge is met all the time."""

    def often(usual: object, *rare: object) -> object:
        return usual if rng.random() < 0.55 else rare[int(rng.integers(len(rare)))]

    first = int(rng.integers(5, minutes + 5))
    shapes: Sequence[tuple[int, ...]] = ((240,), (first, 240), (240,), (max(2, minutes - 3),))
    values = {
        "allocator": often("direct", "mean_variance"),
        "keeps_time": bool(rng.random() < 0.7),
        "is_stream": bool(rng.random() < 0.5),
        "feed_batch": often(20, 1, 500),
        "look_every_s": often(10.0, 1.0, 5.0),
        "inbox_max": often(20_000, 1, 3),
        "turn": often(16, 1),
        "ahead_max": often(20_000, 1, 10),
        "minutes_max": often(1_000, 1, 2),
        "snapshot_every_s": often(60.0, 1e9, 5.0),
        "snapshot_every_records": often(50_000, 3, 40),
        "segment_bytes": often(64 << 20, 400, 2_048, 20_000),
        "retain_min": often(0, 2, 10),
        "outbox_bound": often(100_000, 10),
        "outbox_lot": often(1_024, 1),
        "courier_batch": often(500, 1, 7),
        "idle_s": often(45.0, 10.0),
        "grace_s": often(5.0, 0.0, 30.0),
        "feed_silence_max_min": often(5, 2),
        "sinks_silence_max_s": often(60.0, 15.0),
        "solve_max_s": often(5.0, 0.5, 45.0),
        "var_limit_usd": often(40_000.0, 9_000.0, 15_000.0),
        "holds_at_start": bool(rng.random() < 0.15),
        "restart_s": often(3.0, 0.5, 40.0, 150.0),
        "sessions_min": shapes[int(rng.integers(len(shapes)))],
        "resume_every_s": often(60.0, 25.0, 120.0),
    }
    return msgspec.convert(values, Knobs)
