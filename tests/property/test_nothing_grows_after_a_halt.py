"""No order after a halt raises VaR: none, whatever comes and in whatever order, late answers included."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import legs
from engine.events import (
    OPEN,
    BarSlice,
    Filled,
    FloatArray,
    HaltRequested,
    Record,
    TargetApproved,
    TargetsProposed,
    TradingState,
    TradingStateChanged,
)
from engine.loop import Loop, proposal
from tests.support.engines import HALT_KEY, Recorder, command
from tests.support.live import instant_of, is_accounted, kalman_engine, live_records

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED


class Trade(msgspec.Struct):
    """What a fill did to the book, measured at its prices."""

    state: TradingState
    is_flatten: bool
    before: FloatArray
    after: FloatArray
    upper_before_usd: float
    upper_after_usd: float

    @property
    def shrinks(self) -> bool:
        """Whether no net position grew or changed its side."""
        along = self.after * np.sign(self.before)
        return bool(np.all((along >= -1e-6) & (along <= np.abs(self.before) + 1e-6)))


def witnessed(loop: Loop) -> list[Trade]:
    """Watch every fill of an engine, from beside it."""
    desk = loop.bus.desk
    assert desk is not None
    fill, layout, trades = desk._fill, desk.book.layout, []

    def upper_usd(leg_quantity: FloatArray, prices: FloatArray) -> float:
        return desk.risk.measure(legs.holdings_usd(leg_quantity, layout.leg_symbol, prices)).var_upper_usd

    def watched(approved: TargetApproved, slice_: BarSlice) -> Any:
        before, state = desk.book.leg_quantity.copy(), desk.latch.trading_state
        opens = slice_.bars[OPEN]
        prices = np.where(np.isnan(opens), desk.book.price_usd, opens)
        events = fill(approved, slice_)
        after = desk.book.leg_quantity.copy()
        if any(isinstance(event, Filled) for event in events):
            uppers = upper_usd(before, prices), upper_usd(after, prices)
            trades.append(Trade(state, approved.is_flatten, layout.net(before), layout.net(after), *uppers))
        return events

    desk._fill = watched  # type: ignore[method-assign]
    return trades


def interference(loop: Loop, rng: np.random.Generator, ts_ns: int) -> Record | None:
    """Draw what an operator or an edge does between two bars; mostly nothing."""
    desk = loop.bus.desk
    assert desk is not None
    match int(rng.integers(0, 120)):
        case 0:
            return HaltRequested(ts_ns, "FEED_SILENT")
        case 1:
            return command("halt", ts_ns, key=HALT_KEY)
        case 2 | 3:
            return command("flatten", ts_ns)
        case 4:
            cut_usd = float(rng.uniform(0.5, 1.2)) * max(loop.status.var_peak_usd, 100.0)
            return command("limits", ts_ns, args={"var_limit_usd": min(cut_usd, 40_000.0)})
        case 5:
            return command("rebalance", ts_ns)
        case 6 | 7 | 8 | 9 | 10:
            return command("resume", ts_ns, halt_id=desk.latch.halt_id or "none")
        case _:
            return None


def turbulent_run(seed: int, order_seed: int) -> tuple[Loop, Recorder, list[Trade]]:
    """Run bars with halts, resumes, flattens and limits in between, and an allocator that takes its time."""
    rng = np.random.default_rng(order_seed)
    loop, seen = kalman_engine()
    trades = witnessed(loop)
    on_the_way: list[tuple[int, TargetsProposed]] = []
    for place, bar in enumerate(live_records(seed, order_seed, 1.9)):
        for record in (bar, interference(loop, rng, instant_of(bar))):
            if record is None:
                continue
            loop.take(record)
            assert is_accounted(loop)
            while (problem := loop.bus.take_problem()) is not None:
                answer = proposal(problem, loop.bus.answer(problem))
                on_the_way.append((place + int(rng.choice([0, 0, 2, 6])), answer))
                if on_the_way[-1][0] == place:
                    loop.take(on_the_way.pop()[1])
        while on_the_way and on_the_way[0][0] <= place:
            loop.take(on_the_way.pop(0)[1])
    return loop, seen, trades


def check(seen: Recorder, trades: list[Trade]) -> Counter[str]:
    """Judge every fill; return what was met, so that nothing is proved about nothing."""
    met = Counter[str]()
    state, may_flatten = ACTIVE, False
    for event in seen.events(TradingStateChanged, TargetApproved, Filled):
        if isinstance(event, TradingStateChanged):
            met[event.state] += 1
            state = event.state
        elif isinstance(event, TargetApproved):
            assert state is not HALTED or event.is_flatten
            may_flatten = event.is_flatten
        else:
            assert state is not HALTED or may_flatten
    for trade in trades:
        met[f"filled in {trade.state}"] += 1
        if trade.state is HALTED:
            assert trade.is_flatten
        if trade.state is not ACTIVE or trade.is_flatten:
            assert trade.shrinks
            assert trade.upper_after_usd < trade.upper_before_usd
    return met


@settings(max_examples=30)
@given(seed=st.integers(0, 50), order_seed=st.integers(0, 2**32 - 1))
def test_no_order_after_a_halt_raises_var(seed: int, order_seed: int) -> None:
    """Halted, only a signed flatten fills; halted or reducing, every fill lowers VaR and grows nothing."""
    _, seen, trades = turbulent_run(seed, order_seed)
    check(seen, trades)


def test_these_runs_meet_what_they_must() -> None:
    """The property above would be empty if nothing ever halted, or nothing ever filled in between."""
    met = Counter[str]()
    for seed in range(12):
        _, seen, trades = turbulent_run(seed, seed)
        met += check(seen, trades)
    for name in (
        "HALTED",
        "REDUCING",
        "ACTIVE",
        "filled in ACTIVE",
        "filled in REDUCING",
        "filled in HALTED",
    ):
        assert met[name] > 0, name


def test_a_gate_left_open_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is no formality: an engine whose gate ignores the state fails it."""
    from risk.gate import RiskGate

    decide = RiskGate._decide
    monkeypatch.setattr(RiskGate, "_decide", lambda gate, change, _, flat: decide(gate, change, ACTIVE, flat))
    runs = [turbulent_run(seed, seed) for seed in range(12)]
    with pytest.raises(AssertionError):
        _ = [check(seen, trades) for _, seen, trades in runs]
