"""Random tapes with everything that goes wrong, and the policy for bars written a second time, plainly."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import strategies as st

from engine.events import MINUTE_NS, Bar, BarConfirmed, BarRejected, BarSlice, BarSuspended, Reject
from engine.intake import Intake
from engine.sessions import Sessions

SYMBOLS = ("A", "B", "C")
DAY = 18_000
OPEN_NS = DAY * 86_400_000_000_000 + 570 * MINUTE_NS
#: Three sessions of 7, 3 and 6 minutes; the last two touch.
STARTS_MIN, LENGTHS_MIN = (0, 1_440, 1_443), (7, 3, 6)


def small_sessions() -> Sessions:
    opens = OPEN_NS + np.array(STARTS_MIN) * MINUTE_NS
    return Sessions(np.array([DAY, DAY + 1, DAY + 2]), opens, opens + np.array(LENGTHS_MIN) * MINUTE_NS)


def at(minute: int) -> int:
    """End of the minute, counted from the first opening."""
    return OPEN_NS + minute * MINUTE_NS


def flat_bar(ts_close_ns: int, symbol: str, price: float, volume: float = 10.0) -> Bar:
    return Bar(ts_close_ns, symbol, price, price, price, price, volume)


_PRICES = st.sampled_from([100.0, 100.5, 101.0, 115.0, 119.0, 121.0, 130.0, 128.0, 75.0, 77.0, 10_000.0])
_BAD = st.sampled_from([math.nan, math.inf, 0.0, -5.0])


@st.composite
def _bars(draw: st.DrawFn) -> Bar:
    minute = draw(st.integers(1, 8) | st.integers(1_440, 1_450))
    symbol = draw(st.sampled_from(["A", "A", "B", "B", "C", "Z", ""]))
    price = draw(_PRICES)
    kind = draw(st.sampled_from(["ok"] * 12 + ["bad", "crossed", "offbeat", "volume", "open"]))
    bar = flat_bar(at(minute), symbol, price, draw(st.sampled_from([0.0, 10.0])))
    values = {
        "ok": {},
        "bad": {draw(st.sampled_from(["open", "high", "low", "close"])): draw(_BAD)},
        "crossed": {"high": price - 1.0},
        "offbeat": {"ts_close_ns": bar.ts_close_ns + 1},
        "volume": {"volume": draw(st.sampled_from([-1.0, math.nan]))},
        "open": {"open": 100.0, "high": max(price, 100.0), "low": min(price, 100.0)},
    }[kind]
    return Bar(**{name: values.get(name, getattr(bar, name)) for name in bar.__struct_fields__})


@st.composite
def tapes(draw: st.DrawFn) -> list[Bar]:
    """Bars mostly in time order, with repeats, late ones and everything ``_bars`` knows."""
    bars = draw(st.lists(_bars(), max_size=60))
    if draw(st.integers(0, 3)):
        bars.sort(key=lambda bar: bar.ts_close_ns // MINUTE_NS)
    for repeat in draw(st.lists(st.integers(0, 59), max_size=8)):
        if repeat < len(bars):
            bars.insert(draw(st.integers(repeat, len(bars))), bars[repeat])
    return bars


def closed_by(intake: Intake) -> list[object]:
    """Everything that closing the minutes that are over says."""
    out: list[object] = []
    while closed := intake.close_minute():
        out += closed
    return out


def verdicts_and_slices(items: list[object]) -> tuple[list[tuple[object, ...]], Counter[tuple[str, str]]]:
    """Slices and verdicts on jumps in their order, and rejections by symbol and reason."""
    ordered: list[tuple[object, ...]] = []
    refused: Counter[tuple[str, str]] = Counter()
    for item in items:
        if isinstance(item, BarSlice):
            head = (item.ts_close_ns, item.session, item.minute, item.suspect, item.accepted)
            ordered.append((*head, item.bars.tobytes()))
        elif isinstance(item, BarRejected):
            refused[item.symbol, item.reason] += item.count
            if item.reason is Reject.COLLAR:
                ordered.append(("COLLAR", item.ts_close_ns, item.symbol))
        else:
            assert isinstance(item, BarSuspended | BarConfirmed)
            ordered.append((type(item).__name__, item.ts_close_ns, item.symbol))
    return ordered, refused


def _own_fault(bar: Bar) -> Reject | None:
    values = (bar.open, bar.high, bar.low, bar.close)
    if bar.symbol not in SYMBOLS:
        return Reject.UNKNOWN_SYMBOL
    is_sound = all(math.isfinite(value) and value > 0 for value in values)
    if bar.ts_close_ns % MINUTE_NS or not is_sound or not (math.isfinite(bar.volume) and bar.volume >= 0):
        return Reject.MALFORMED
    if bar.high < bar.low or not all(bar.low <= value <= bar.high for value in (bar.open, bar.close)):
        return Reject.INCONSISTENT
    return None


def _far(bar: Bar, price: float) -> float:
    return max(abs(bar.open / price - 1.0), abs(bar.close / price - 1.0))


class _Jumps:
    """The collar of 20%, without sigmas."""

    def __init__(self) -> None:
        self.good: dict[str, float] = {}
        self.held: dict[str, Bar] = {}

    def judge(self, bar: Bar) -> tuple[bool, list[object]]:
        reference = self.good.get(bar.symbol, bar.close)
        is_near = bar.symbol not in self.good or _far(bar, reference) <= 0.20
        out: list[object] = []
        old = self.held.pop(bar.symbol, None)
        if old is not None:
            is_nearer = abs(bar.close / old.close - 1.0) < abs(bar.close / reference - 1.0)
            if _far(bar, old.close) <= 0.20 and (not is_near or is_nearer):
                out.append(BarConfirmed(old.ts_close_ns, old.symbol))
                is_near = True
            else:
                out.append(BarRejected(old.ts_close_ns, old.symbol, Reject.COLLAR, 1, old))
        if is_near:
            self.good[bar.symbol] = bar.close
        else:
            self.held[bar.symbol] = bar
            out.append(BarSuspended(bar.ts_close_ns, bar.symbol, reference, bar.close))
        return is_near, out


def plain_policy(bars: list[Bar]) -> list[object]:
    """Judge a tape with dictionaries and nothing clever: the oracle."""
    sessions = small_sessions()
    minutes = [at(s + m + 1) for s, n in zip(STARTS_MIN, LENGTHS_MIN, strict=True) for m in range(n)]
    taken: dict[int, dict[str, Bar]] = {}  # by minute: what stands in each slot
    jumps = _Jumps()
    out: list[object] = []
    open_at, columns = 0, np.full((5, 3), np.nan)

    def emit(ts: int, values: np.ndarray) -> None:
        located = sessions.locate(ts)
        assert located is not None
        suspect = tuple(sorted(SYMBOLS.index(symbol) for symbol in jumps.held))
        accepted = int(np.isfinite(values[0]).sum())
        out.append(BarSlice(ts, DAY + located[0], located[1], values, suspect, accepted))

    for bar in bars:
        ts = bar.ts_close_ns
        fault = _own_fault(bar)
        if fault is None and ts not in minutes:
            fault = Reject.OFF_SESSION
        if fault is None:
            first = taken.get(ts, {}).get(bar.symbol)
            if first is not None and ts in sorted(taken)[-2:]:
                fault = Reject.DUPLICATE if first == bar else Reject.CONFLICT
            elif ts < open_at:
                fault = Reject.LATE
        if fault is not None:
            out.append(BarRejected(ts, bar.symbol, fault, 1, bar))
            continue
        if ts > open_at:
            if open_at:
                emit(open_at, columns)
                for empty in minutes[minutes.index(open_at) + 1 : minutes.index(ts)]:
                    emit(empty, np.full((5, 3), np.nan))
            open_at, columns = ts, np.full((5, 3), np.nan)
        taken.setdefault(ts, {})[bar.symbol] = bar
        is_accepted, events = jumps.judge(bar)
        out += events
        if is_accepted:
            columns[:, SYMBOLS.index(bar.symbol)] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    if open_at:
        emit(open_at, columns)
    return out
