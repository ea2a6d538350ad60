"""The halt latch under every order of measures, commands and restarts: no illegal transition, ever."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.events import Alert, TradingState, TradingStateChanged
from engine.ports import RiskReport
from risk.limits import HaltLatch

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
amounts = st.sampled_from([0.0, 50.0, 79.0, 80.0, 94.9, 95.0, 95.1, 99.99, 99.999, 100.0, 101.0, 300.0])
unknowns = st.sampled_from([math.nan, math.inf])


class LatchMachine(RuleBasedStateMachine):
    """Drive the latch, and check every step against the rules said in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.latch = HaltLatch(100.0)
        self.ts_ns = 0
        self.calm = 0
        self.ids: list[str] = []
        self.last: RiskReport | None = None

    def _check(self, before: TradingState, events: object, allowed: set[TradingState]) -> None:
        moves = [e for e in events if isinstance(e, TradingStateChanged)]  # type: ignore[attr-defined]
        alerts = [e for e in events if isinstance(e, Alert)]  # type: ignore[attr-defined]
        after = self.latch.trading_state
        assert after in allowed
        assert len(moves) == (before is not after)
        if moves:
            assert (moves[0].previous, moves[0].state) == (before, after)
            assert alerts or after is REDUCING
        if after is HALTED and before is not HALTED:
            assert self.latch.halt_id not in self.ids
            assert [a.severity for a in alerts] == ["critical"]
            self.ids.append(self.latch.halt_id)
        if before is not after:
            self.calm = 0

    @rule(
        var=amounts | unknowns, over=st.sampled_from([1.0, 1.0373]), suspect=st.booleans(), dark=st.booleans()
    )
    def measure(self, var: float, over: float, suspect: bool, dark: bool) -> None:
        self.ts_ns += 1
        before = self.latch.trading_state
        upper, limit = var * over, self.latch.var_limit_usd
        reason = "PRICE_STALE" if dark and var > 99.0 else ""
        self.last = RiskReport(var, var, var, upper, var, reason)
        events = self.latch.on_measured(self.ts_ns, self.last, suspect)
        is_breach = bool(reason) or not round(var, 2) < limit or not math.isfinite(var)
        is_danger = suspect or not round(upper, 2) < limit
        if before is HALTED or is_breach:
            expected = HALTED
        elif before is ACTIVE:
            expected = REDUCING if is_danger else ACTIVE
        else:
            self.calm = self.calm + 1 if upper <= 0.95 * limit and not suspect else 0
            expected = ACTIVE if self.calm == 3 else REDUCING
        self._check(before, events, {expected})

    @rule(reason=st.sampled_from(["operator", "WATCHDOG"]))
    def halt(self, reason: str) -> None:
        before = self.latch.trading_state
        self._check(before, self.latch.halt(self.ts_ns, reason), {HALTED})

    @rule(right=st.booleans())
    def resume(self, right: bool) -> None:
        before, name = self.latch.trading_state, self.latch.halt_id
        answer = self.latch.resume(self.ts_ns, name if right else (self.ids[0] if self.ids[1:] else "x"))
        healthy = (
            self.last is not None and not self.last.reason and math.isfinite(self.last.var_usd)
        ) and round(self.last.var_usd, 2) < self.latch.var_limit_usd
        if before is HALTED and right and healthy:
            assert isinstance(answer, TradingStateChanged)
            self._check(before, [answer], {REDUCING})
        else:
            assert isinstance(answer, str)
            assert self.latch.trading_state is before

    @rule(limit=st.sampled_from([60.0, 100.0, 200.0]))
    def change_limit(self, limit: float) -> None:
        before = self.latch.trading_state
        events = self.latch.set_limit(self.ts_ns, limit)
        order = [ACTIVE, REDUCING, HALTED]
        self.calm = 0
        self._check(before, events, set(order[order.index(before) :]))

    @precondition(lambda self: self.ts_ns > 0)
    @rule()
    def restart(self) -> None:
        again = HaltLatch(1.0)
        again.restore(self.latch.state())
        assert repr(again.state()) == repr(self.latch.state())
        self.latch = again

    @invariant()
    def halted_has_a_name(self) -> None:
        assert bool(self.latch.halt_id) is (self.latch.trading_state is HALTED)


LatchMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestLatchMachine = LatchMachine.TestCase
