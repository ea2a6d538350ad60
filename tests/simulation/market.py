"""The bars of a world, as messages on their way to the engine, with what is wrong with them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec
import numpy as np

from engine.events import MINUTE_NS, Nanos
from engine.sessions import Sessions
from tests.simulation.plan import LEAD_S, BarFault, Plan
from tests.support.core import T0_NS
from tests.support.live import DAY

SYMBOLS: Final = ("A", "B", "C", "D")
#: What the wall clock shows when the machine starts.
START_NS: Final[Nanos] = T0_NS - round(LEAD_S * 1e9)
#: Session minutes between two sessions of a world.
_PAUSE_MIN: Final = 2
_NS_PER_S: Final = 1e9


class Message(msgspec.Struct, frozen=True):
    """Something published, and when it comes to the broker; ``fault`` names what is wrong with it."""

    at_s: float
    body: bytes
    fault: str = ""


def sessions_of(plan: Plan) -> Sessions:
    """Sessions on consecutive days that follow each other within minutes."""
    return _sessions(plan.knobs.sessions_min)


@cache
def _sessions(lengths_min: tuple[int, ...]) -> Sessions:
    opens, closes, at_ns = [], [], T0_NS
    for length_min in lengths_min:
        opens.append(at_ns)
        closes.append(at_ns + length_min * MINUTE_NS)
        at_ns = closes[-1] + _PAUSE_MIN * MINUTE_NS
    days = DAY + np.arange(len(opens), dtype=np.int64)
    return Sessions(days, np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64))


def messages_of(plan: Plan) -> list[Message]:
    """Make the messages of a world, in the order in which they come."""
    rng = np.random.default_rng([plan.seed, 7])
    closes = _closes(rng, plan.minutes, plan.bar_faults)
    delays = rng.uniform(0.1, 2.5, (plan.minutes, 4))
    volumes = np.round(np.exp(rng.normal(np.log(20_000.0), 0.5, (plan.minutes, 4))))
    by_place: dict[tuple[int, int], list[BarFault]] = {}
    for fault in plan.bar_faults:
        by_place.setdefault((fault.minute, fault.symbol), []).append(fault)
    blackouts = [fault for fault in plan.bar_faults if fault.kind in {"silence", "gap"}]
    out: list[Message] = []
    previous = closes[0]
    for minute in range(1, plan.minutes + 1):
        row = closes[minute - 1]
        for symbol in range(4):
            if any(_is_dark(fault, minute, symbol) for fault in blackouts):
                continue
            fields = _bar(minute, symbol, float(previous[symbol]), float(row[symbol]))
            fields["volume"] = float(volumes[minute - 1, symbol])
            at_s = LEAD_S + 60.0 * minute + float(delays[minute - 1, symbol])
            out += _published(fields, at_s, by_place.get((minute, symbol), ()), rng)
        previous = row
    out += _floods(plan, out)
    in_time = [msgspec.structs.replace(m, at_s=min(m.at_s, plan.calm_from_s)) for m in out]
    in_order = sorted(in_time, key=lambda message: message.at_s)
    return [message for place, message in enumerate(in_order) if place not in plan.left_out]


def _is_dark(fault: BarFault, minute: int, symbol: int) -> bool:
    is_in = fault.minute <= minute < fault.until
    return is_in and (fault.kind == "silence" or fault.symbol == symbol)


def _closes(rng: np.random.Generator, minutes: int, faults: tuple[BarFault, ...]) -> Any:
    """Two pairs that revert quickly; a ``shift`` moves one name for good."""
    common = np.cumsum(rng.normal(0.0, 8e-4, (minutes, 2)), axis=0)
    shocks = rng.normal(0.0, 2e-3, (minutes, 2))
    spread = np.zeros((minutes, 2))
    spread[0] = shocks[0]
    for t in range(1, minutes):
        spread[t] = 0.75 * spread[t - 1] + shocks[t]
    logs = np.log([80.0, 50.0, 120.0, 30.0]) + np.stack(
        (common[:, 0] + spread[:, 0], common[:, 0], common[:, 1] + spread[:, 1], common[:, 1]), 1
    )
    for fault in faults:
        if fault.kind == "shift":
            logs[fault.minute - 1 :, fault.symbol] += np.log(1.35 if fault.value < 0.5 else 0.6)
    return np.round(np.exp(logs), 4)


def _bar(minute: int, symbol: int, open_: float, close: float) -> dict[str, Any]:
    # A jump is one of close and open alike: nobody traded on the way.
    open_ = open_ if abs(open_ / close - 1.0) < 0.1 else close
    return {
        "ts": T0_NS + minute * MINUTE_NS,
        "symbol": SYMBOLS[symbol],
        "open": open_,
        "high": max(open_, close),
        "low": min(open_, close),
        "close": close,
    }


def _published(
    fields: dict[str, Any],
    at_s: float,
    faults: tuple[BarFault, ...] | list[BarFault],
    rng: np.random.Generator,
) -> list[Message]:
    """Turn one bar into the messages that come of it: usually one."""
    fault = next((fault for fault in faults if fault.kind not in {"shift", "silence", "gap", "flood"}), None)
    sound = msgspec.json.encode(fields)
    if fault is None:
        return [Message(at_s, sound)]
    name, value = fault.kind, fault.value
    match name:
        case "drop":
            return []
        case "duplicate":
            return [Message(at_s, sound), Message(at_s + 90.0 * value, sound, name)]
        case "conflict":
            other = msgspec.json.encode(fields | {"volume": fields["volume"] + 1.0})
            return [Message(at_s, sound), Message(at_s + 90.0 * value, other, name)]
        case "late":
            return [Message(at_s + 15.0 + 150.0 * value, sound, name)]
        case "jitter":
            return [Message(at_s + 8.0 * value, sound, name)]
        case "undecodable":
            cut = sound[: int(len(sound) * value)] + bytes([int(256 * value)]) * 3
            return [Message(at_s, cut, name), Message(at_s + 0.1, sound)]
    return [Message(at_s, msgspec.json.encode(fields | _spoilt(fields, name, value)), name)]


def _spoilt(fields: dict[str, Any], name: str, value: float) -> dict[str, Any]:
    match name:
        case "malformed":
            return {"close": -1.0} if value < 0.5 else {"ts": fields["ts"] + 1}
        case "inconsistent":
            return {"high": fields["low"] * 0.99}
        case "unknown":
            return {"symbol": "ZZZ"}
        case "off_session":
            return {"ts": T0_NS - 30 * MINUTE_NS}
        case "future":
            return {"ts": fields["ts"] + round((5.0 + 1e4 * value) * _NS_PER_S)}
        case "spike":
            factor = 100.0 if value < 0.5 else 1.5
            return {key: fields[key] * factor for key in ("open", "high", "low", "close")}
        case _:
            raise ValueError(name)


def _floods(plan: Plan, sound: list[Message]) -> list[Message]:
    """Send everything of some minutes again, many times, in one instant."""
    out = []
    for fault in plan.bar_faults:
        if fault.kind == "flood" and sound:
            at_s = LEAD_S + 60.0 * fault.minute + 30.0 * fault.value
            of_late = [m.body for m in sound if at_s - 200.0 < m.at_s < at_s][-8:]
            out += [Message(at_s, body, "flood") for body in of_late * 12]
    return out
