"""The halt latch under every order of measures, commands and restarts: no illegal transition, ever."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.events import Alert, TradingState, TradingStateChanged
from engine.oversight import RiskReport
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
        self.causes: set[str] = set()
        self.last: RiskReport | None = None

    def _check(
        self, before: TradingState, events: object, allowed: set[TradingState], cause: str = ""
    ) -> None:
        """Check a step; ``cause`` is why it must halt, ``person`` for somebody's wish."""
        moves = [e for e in events if isinstance(e, TradingStateChanged)]  # type: ignore[attr-defined]
        alerts = [e for e in events if isinstance(e, Alert)]  # type: ignore[attr-defined]
        after = self.latch.trading_state
        assert after in allowed
        is_named = bool(cause) and cause not in self.causes
        assert len(moves) == (is_named if after is HALTED else before is not after)
        if moves:
            assert (moves[0].previous, moves[0].state) == (before, after)
            assert alerts or after is REDUCING
        if is_named:
            assert self.latch.halt_id == moves[0].halt_id
            assert self.latch.halt_id not in self.ids
            assert [a.severity for a in alerts] == ["critical"]
            self.ids.append(self.latch.halt_id)
            self.causes |= {cause} - {"person"}
        if after is not HALTED:
            self.causes.clear()
        if before is not after:
            self.calm = 0

    @rule(
        var=amounts | unknowns,
        over=st.sampled_from([1.0, 1.0373]),
        suspect=st.booleans(),
        dark=st.booleans(),
        fresh=st.booleans(),
    )
    def measure(self, var: float, over: float, suspect: bool, dark: bool, fresh: bool) -> None:
        self.ts_ns += 1
        before = self.latch.trading_state
        upper, limit = var * over, self.latch.var_limit_usd
        reason = "PRICE_STALE" if dark and var > 99.0 else ""
        self.last = RiskReport(var, var, var, upper, var, reason)
        events = self.latch.on_measured(self.ts_ns, self.last, suspect, fresh)
        is_breach = bool(reason) or not round(var, 2) < limit or not math.isfinite(var)
        is_danger = suspect or not round(upper, 2) < limit
        if before is HALTED or is_breach:
            expected = HALTED
        elif before is ACTIVE:
            expected = REDUCING if is_danger else ACTIVE
        else:
            is_calm = upper <= 0.95 * limit and not suspect
            self.calm = self.calm + (1 if fresh else 0) if is_calm else 0
            expected = ACTIVE if self.calm == 3 else REDUCING
        cause = reason or ("VAR_LIMIT" if math.isfinite(var) else "VAR_NOT_FINITE")
        self._check(before, events, {expected}, cause if is_breach else "")

    @rule(cause=st.sampled_from(["person", "WATCHDOG", "FEED_SILENT"]), detail=st.sampled_from(["a", "b"]))
    def halt(self, cause: str, detail: str) -> None:
        before = self.latch.trading_state
        events = self.latch.halt(self.ts_ns, f"{cause}: {detail}", by_person=cause == "person")
        self._check(before, events, {HALTED}, cause)

    @rule(right=st.booleans())
    def resume(self, right: bool) -> None:
        before, name = self.latch.trading_state, self.latch.halt_id
        answer = self.latch.resume(self.ts_ns, name if right else (self.ids[-2] if self.ids[1:] else "x"))
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
        cause = self._cause_under(limit)
        self._check(before, events, {HALTED} if cause else set(order[order.index(before) :]), cause)

    def _cause_under(self, limit: float) -> str:
        """Return why the last measure halts under a limit; empty if it does not."""
        last = self.last
        if last is None or (
            not last.reason and round(last.var_usd, 2) < limit and math.isfinite(last.var_usd)
        ):
            return ""
        return last.reason or ("VAR_LIMIT" if math.isfinite(last.var_usd) else "VAR_NOT_FINITE")

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
