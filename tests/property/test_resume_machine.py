"""The whole core under every order of minutes, commands and restarts: no illegal way out of a halt.

The model below says the rules of halting and resuming a second time, from what the engine reported of VaR.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.commands import read_body, sign
from engine.events import (
    Command,
    CommandJudged,
    Event,
    Filled,
    HaltRequested,
    LimitChanged,
    Record,
    RiskMeasured,
    TradingState,
    TradingStateChanged,
)
from engine.state import from_bytes, to_bytes
from tests.support.core import slice_of
from tests.support.engines import HALT_KEY, OPERATOR_KEY, command, engine_of

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
LIMIT_USD = 150_000.0
KINDS = ("halt", "resume", "limits", "flatten", "rebalance")


class ResumeMachine(RuleBasedStateMachine):
    """Drive an engine that opens with a million in A: VaR lies near the limit, and prices push it over."""

    def __init__(self) -> None:
        super().__init__()
        self.loop, self.seen = self._engine()
        self.minute = 0
        self.commands = 0
        self.calm = 0
        self.measured: RiskMeasured | None = None
        self.may_flatten = False
        self.used: list[Command] = []
        self.halt_ids: list[str] = []
        self._minute(97.0)

    @staticmethod
    def _engine() -> Any:
        return engine_of(
            ["A/B"],
            {(1, m): {"A/B": (1, 0, -1)[m % 3]} for m in range(2, 200, 2)},
            limit_usd=LIMIT_USD,
            positions={"A": 9_000.0},
            scenarios=100,
        )

    @property
    def state(self) -> TradingState:
        return self.loop.bus.desk.latch.trading_state

    @property
    def now_ns(self) -> int:
        return slice_of([1.0], minute=self.minute, session=1).ts_close_ns + self.commands

    def _step(self, record: Record) -> list[Event]:
        before, n = self.state, len(self.seen.steps)
        self.loop.step(record)
        events = [event for _, _, events in self.seen.steps[n:] for event in events]
        self._check_moves(before, events, record)
        return events

    def _check_moves(self, before: TradingState, events: list[Event], record: Record) -> None:
        for move in (e for e in events if isinstance(e, TradingStateChanged)):
            assert move.previous is before
            assert (move.previous, move.state) != (HALTED, ACTIVE)
            if (move.previous, move.state) == (HALTED, REDUCING):
                assert isinstance(record, Command)
            if move.state is HALTED:
                assert move.halt_id not in self.halt_ids
                self.halt_ids.append(move.halt_id)
            before = move.state
            self.calm = 0
        assert self.state is before

    # ------------------------------------------------------------------------------------- minutes

    @rule(
        price=st.sampled_from([20.0, 80.0, 96.0, 97.0, 98.0, 104.0, 140.0, math.nan]), suspect=st.booleans()
    )
    def minute_passes(self, price: float, suspect: bool) -> None:
        self._minute(price, suspect)

    @rule()
    def three_calm_minutes(self) -> None:
        """Halts are rarely left by chance alone."""
        for _ in range(3):
            self._minute(20.0)

    def _minute(self, price: float, suspect: bool = False) -> None:
        before, calm = self.state, self.calm
        self.minute, self.commands = self.minute + 1, 0
        hidden = (0,) if suspect else ()
        closes = [math.nan if suspect else price, 50.0]
        events = self._step(slice_of(closes, minute=self.minute, session=1, suspect=hidden))
        fills = [e for e in events if isinstance(e, Filled)]
        assert before is not HALTED or self.may_flatten or not fills
        self.may_flatten = False
        held = bool(self.loop.bus.desk.book.quantity[0])
        (self.measured,) = [e for e in events if isinstance(e, RiskMeasured)]
        for event in events[: events.index(self.measured)]:  # a limit may have returned first
            if isinstance(event, LimitChanged | TradingStateChanged):
                calm = 0
            if isinstance(event, TradingStateChanged):
                before = event.state
        # B has a bar in every minute.
        is_old = held and math.isnan(closes[0])
        self._expect(before, calm, is_suspect=suspect and held, is_old=is_old)

    def _expect(self, before: TradingState, calm: int, *, is_suspect: bool, is_old: bool) -> None:
        assert self.measured is not None
        limit, upper = self.loop.bus.desk.latch.var_limit_usd, self.measured.var_upper_usd
        if before is HALTED or not self._is_under():
            assert self.state is HALTED
        elif before is ACTIVE:
            is_near = not upper < limit - 0.005
            assert self.state is (REDUCING if is_near or is_suspect else ACTIVE)
        else:
            is_calm = upper <= 0.95 * limit and not is_suspect
            self.calm = (calm if is_old else calm + 1) if is_calm else 0
            assert self.state is (ACTIVE if self.calm == 3 else REDUCING)
            self.calm %= 3

    def _is_under(self) -> bool:
        measured, limit = self.measured, self.loop.bus.desk.latch.var_limit_usd
        assert measured is not None
        return not measured.reason and measured.var_usd < limit - 0.005

    # ------------------------------------------------------------------------------------ commands

    def _command(self, kind: str, **fields: Any) -> Command:
        self.commands += 1
        if kind == "resume":
            fields.setdefault("halt_id", self.loop.bus.desk.latch.halt_id)
        if kind == "limits":
            fields.setdefault("args", {"var_limit_usd": 1_000.0})
        return command(kind, self.now_ns, nonce=f"n{self.minute}-{self.commands}", **fields)

    def _judged(self, record: Command) -> CommandJudged:
        (judged,) = [e for e in self._step(record) if isinstance(e, CommandJudged)]
        return judged

    @rule(
        kind=st.sampled_from(KINDS),
        how=st.sampled_from(["key", "halt_key", "body", "instance", "late", "early"]),
    )
    def forge(self, kind: str, how: str) -> None:
        """Whatever is wrong with it: no bit of the engine's state may change."""
        good = self._command(kind)
        body = read_body(good.body)
        assert body is not None
        match how:
            case "key":
                bad = sign(body, b"guess", self.now_ns)
            case "halt_key":
                if kind == "halt":
                    return
                bad = sign(body, HALT_KEY, self.now_ns)
            case "body":
                bad = Command(self.now_ns, good.body.replace('"ada"', '"eve"'), good.signature)
            case "instance":
                other = msgspec.structs.replace(body, instance="other")
                bad = sign(other, OPERATOR_KEY, self.now_ns)
            case "late":
                bad = Command(body.expires_ns + 1, good.body, good.signature)
            case _:
                bad = Command(body.issued_ns - 1, good.body, good.signature)
        before = to_bytes(self.loop.bus.state())
        assert self._judged(bad).verdict == "refused"
        assert to_bytes(self.loop.bus.state()) == before

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def replay(self, data: Any) -> None:
        """Send again what counted once: it never counts again, restarts in between or not."""
        old = data.draw(st.sampled_from(self.used))
        self.commands += 1
        before = to_bytes(self.loop.bus.desk.state()), self.loop.bus.controls.state()
        judged = self._judged(Command(self.now_ns, old.body, old.signature))
        assert judged.reason in {"replayed", "expired"}
        assert (to_bytes(self.loop.bus.desk.state()), self.loop.bus.controls.state()) == before

    @rule(data=st.data())
    def resume_another_halt(self, data: Any) -> None:
        """Name another halt: that lifts nothing."""
        now = self.loop.bus.desk.latch.halt_id
        names = [name for name in ["", "halt-x", *self.halt_ids] if name != now or not now]
        before = to_bytes(self.loop.bus.desk.state())
        order = self._command("resume", halt_id=data.draw(st.sampled_from(names)))
        assert self._judged(order).verdict == "refused"
        assert to_bytes(self.loop.bus.desk.state()) == before
        self.used.append(order)

    @rule()
    def resume(self) -> None:
        """Name the halt in force: REDUCING, never ACTIVE, and only while VaR is known and under the limit."""
        before, is_under = self.state, self._is_under()
        order = self._command("resume")
        judged = self._judged(order)
        self.used.append(order)
        if before is HALTED and is_under:
            assert (judged.verdict, self.state) == ("accepted", REDUCING)
        else:
            assert (judged.verdict, self.state) == ("refused", before)

    @rule(by_key=st.booleans())
    def halt(self, by_key: bool) -> None:
        """Halt: in the same step, with either key."""
        order, known = self._command("halt", key=HALT_KEY if by_key else OPERATOR_KEY), len(self.halt_ids)
        assert self._judged(order).verdict == "accepted"
        self.used.append(order)
        assert self.state is HALTED
        assert len(self.halt_ids) == known + 1  # halted before or not: a resume must name this one

    @rule(reason=st.sampled_from(["FEED_SILENT", "CLOCK_JUMP", "WATCHDOG"]))
    def edge_halts(self, reason: str) -> None:
        self.commands += 1
        self._step(HaltRequested(self.now_ns, reason, "test"))
        assert self.state is HALTED

    @rule(frac=st.sampled_from([0.2, 0.9, 1.0, 2.0]), for_good=st.booleans())
    def change_limit(self, frac: float, for_good: bool) -> None:
        """Move the limit: the state goes down at once if it must, and never up."""
        before = self.state
        revert_ns = 0.0 if for_good else float(self.now_ns + 150_000_000_000)
        order = self._command("limits", args={"var_limit_usd": frac * LIMIT_USD, "revert_ns": revert_ns})
        judged = self._judged(order)
        self.used.append(order)
        if judged.verdict == "refused":
            assert for_good
            assert self.state is before
        else:
            self.calm = 0
            order_of = (ACTIVE, REDUCING, HALTED)
            assert order_of.index(self.state) >= order_of.index(before)
            assert self._is_under() or self.state is HALTED

    @rule(kind=st.sampled_from(["flatten", "rebalance"]))
    def trade(self, kind: str) -> None:
        order = self._command(kind)
        before = self.state
        assert self._judged(order).verdict == "accepted"
        self.used.append(order)
        assert self.state is before
        self.may_flatten |= kind == "flatten"

    @rule()
    def restart(self) -> None:
        """Continue from a snapshot: halt, its name, calm measures, limits, timers and nonces are kept."""
        before = to_bytes(self.loop.state())
        self.loop, self.seen = self._engine()
        self.loop.restore(from_bytes(before))
        assert to_bytes(self.loop.state()) == before

    @invariant()
    def a_halt_has_a_name(self) -> None:
        latch = self.loop.bus.desk.latch
        assert bool(latch.halt_id) is (latch.trading_state is HALTED)
        assert self.loop.status.trading_state is latch.trading_state
        assert self.loop.status.halt_id == latch.halt_id
        assert latch.halt_id in {"", *self.halt_ids[-1:]}


ResumeMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestResumeMachine = ResumeMachine.TestCase
