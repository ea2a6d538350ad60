"""Dispatch: one record in, its events out, in an order that never varies.

For a slice: desk (execution, book, risk, limits) -> strategies, in configured order -> allocator, when due.
An allocator's answer and an operator's command are records of their own. Nothing here awaits, reads a clock,
draws a number or does I/O; the same records give the same events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from engine import legs
from engine.commands import TIME_MAX_NS, CommandBody, Verifier
from engine.desk import ROUTINE_EVENTS, TradingDesk
from engine.events import (
    Alert,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    Command,
    CommandJudged,
    Event,
    LimitChanged,
    Nanos,
    Record,
    Reject,
    Side,
    Signal,
    TargetsProposed,
    TradingState,
    TradingStateChanged,
)
from engine.ports import AllocationProblem, Allocator, State, Strategy, Targets

_SIGN: Final = {Side.LONG: 1.0, Side.FLAT: 0.0, Side.SHORT: -1.0}


class Bus:
    """The synchronous core.

    Parameters
    ----------
    strategies : sequence of Strategy
        Their spreads, concatenated, are the spreads of the desk's layout.
    desk : TradingDesk or None
        None for a run of signals only: then there is nothing that could trade.
    allocator : Allocator or None
        Asked only when it is due; the answer comes back as ``TargetsProposed``.
    verifier : Verifier
        Judges operator commands.
    """

    def __init__(
        self,
        strategies: Sequence[Strategy],
        desk: TradingDesk | None,
        allocator: Allocator | None,
        verifier: Verifier,
    ) -> None:
        self.strategies = tuple(strategies)
        self.desk = desk
        self._now_ns = 0
        self._allocator = allocator
        self._verifier = verifier
        self._problem: AllocationProblem | None = None
        self._rebalance_asked = False
        self._standing_limit_usd = desk.latch.var_limit_usd if desk is not None else 0.0
        self._revert_ns = 0
        spreads = [spread for strategy in self.strategies for spread in strategy.spreads]
        self._sleeve_of = {(spread.strategy, spread.name): k for k, spread in enumerate(spreads)}
        self._wanted = np.zeros(len(spreads))
        self._found = np.zeros(len(spreads), dtype=np.int64)
        self._unwanted: tuple[int, ...] = ()
        self._was_commanded = False

    def dispatch(self, seq: int, record: Record) -> list[Event]:
        """Hand one record to everyone it concerns; return what happened, in order."""
        if type(record) is BarSlice:
            return self._on_slice(seq, record)
        match record:
            case TargetsProposed():
                return self.desk.propose(record) if self.desk is not None else []
            case Command():
                return self._on_command(record)
            case BarRejected(reason=Reject.CONFLICT | Reject.COLLAR):
                text = f"{record.symbol}: bar rejected, {record.reason.value}"
                return [record, Alert(record.ts_close_ns, "warning", "bar_rejected", text)]
            case BarSuspended():
                change_frac = record.close_usd / record.reference_usd - 1.0
                text = f"{record.symbol}: a jump of {change_frac:+.1%} waits for confirmation"
                return [record, Alert(record.ts_close_ns, "warning", "bar_suspended", text)]
            case BarConfirmed():
                if self.desk is not None:
                    self.desk.on_jump()
                text = (
                    f"{record.symbol}: the jump is confirmed; if it was a split, the position is not adjusted"
                )
                return [record, Alert(record.ts_close_ns, "warning", "bar_confirmed", text)]
            case BarRejected():
                return [record]
            case _:
                raise TypeError(f"{type(record).__name__} is not handled by this bus")

    def take_problem(self) -> AllocationProblem | None:
        """Return the problem an allocator should answer now, once."""
        problem = self._problem
        if problem is not None:
            self._problem = None
        return problem

    def answer(self, problem: AllocationProblem) -> Targets:
        """Ask the allocator; not part of dispatch, since it takes its time and is a record of its own."""
        assert self._allocator is not None  # noqa: S101 - who states problems has one
        return self._allocator.allocate(problem)

    def _on_slice(self, seq: int, slice_: BarSlice) -> list[Event]:
        self._now_ns = slice_.ts_close_ns
        desk = self.desk
        events: list[Event] = []
        if 0 < self._revert_ns <= self._now_ns:
            events += self._set_limit(self._standing_limit_usd, 0, "timer")
        if desk is not None:
            events += desk.on_slice(slice_)
        for strategy in self.strategies:
            said = strategy.on_slice(slice_)
            if said:
                events += said
        if desk is None or self._allocator is None:
            return events
        # Sides and holdings change only in minutes with more than the routine events (marked, measured).
        is_routine = len(events) == ROUTINE_EVENTS and not self._was_commanded
        changed = self._unwanted if is_routine else self._changed(events, desk)
        self._was_commanded = False
        if self._allocator.due(slice_.minute, len(changed)) or self._rebalance_asked:
            self._rebalance_asked = False
            outlooks = [strategy.outlook() for strategy in self.strategies]
            self._problem = desk.problem(slice_, seq, outlooks, changed)
        return events

    def _changed(self, events: list[Event], desk: TradingDesk) -> tuple[int, ...]:
        """Sleeves to decide on: new transitions, and those held on a side that is not wanted any longer.

        The latter are exits that could not be filled or were refused; they are tried again, since nothing
        may be kept by accident.
        """
        transitions = []
        for event in events:
            if isinstance(event, Signal):
                sleeve = self._sleeve_of[event.strategy, event.spread]
                self._wanted[sleeve] = _SIGN[event.side]
                transitions.append(sleeve)
        count = 0
        if desk.latch.trading_state is not TradingState.HALTED:
            count = legs.unwanted(desk.book.leg_quantity, self._wanted, self._found)
        self._unwanted = tuple(self._found[:count].tolist()) if count else ()
        return tuple(sorted({*transitions, *self._unwanted}))

    def _on_command(self, command: Command) -> list[Event]:
        self._now_ns = max(self._now_ns, command.ts_ns)
        self._was_commanded = True
        reason, body = self._verifier.judge(command)
        kind, principal = (body.kind, body.principal) if body is not None else ("unknown", "")
        if reason or body is None or self.desk is None:
            text = f"command {kind!r} of {principal!r} refused: {reason or 'nothing trades in this run'}"
            return [
                CommandJudged(command.ts_ns, kind, principal, "refused", reason or "no_desk"),
                Alert(command.ts_ns, "warning", "command_refused", text),
            ]
        verdict, events = self._obey(command.ts_ns, body, self.desk)
        judged = "refused" if verdict else "accepted"
        return [CommandJudged(command.ts_ns, kind, principal, judged, verdict or body.reason), *events]

    def _obey(self, ts_ns: int, body: CommandBody, desk: TradingDesk) -> tuple[str, list[Event]]:
        """Do what an authenticated command asks; a reason when it cannot be done now."""
        match body.kind:
            case "halt":
                return "", desk.halt(ts_ns, f"operator {body.principal}: {body.reason}")
            case "resume":
                answer = desk.latch.resume(ts_ns, body.halt_id)
                if not isinstance(answer, TradingStateChanged):
                    return answer, []
                text = f"resumed by {body.principal}: only trades that lower VaR pass until it is calm"
                return "", [answer, Alert(ts_ns, "warning", "reducing", text)]
            case "flatten":
                return "", desk.flatten(ts_ns)
            case "rebalance":
                self._rebalance_asked = True
                return "", []
            case _:
                return self._change_limit(ts_ns, body)

    def _change_limit(self, ts_ns: Nanos, body: CommandBody) -> tuple[str, list[Event]]:
        limit_usd = body.args.get("var_limit_usd", float("nan"))
        revert_ns = body.args.get("revert_ns", 0.0)
        if not 0.0 < limit_usd < float("inf"):
            return "var_limit_usd must be a positive amount", []
        if not (revert_ns == 0.0 or ts_ns < revert_ns < TIME_MAX_NS):
            return "revert_ns must be 0 or lie ahead", []
        if limit_usd > self._standing_limit_usd and revert_ns == 0.0:
            return "a raised limit must say when it reverts", []
        return "", self._set_limit(limit_usd, int(revert_ns), body.principal)

    def _set_limit(self, limit_usd: float, revert_ns: int, principal: str) -> list[Event]:
        """Change the limit, until ``revert_ns`` if positive; the last word replaces earlier ones."""
        assert self.desk is not None  # noqa: S101 - callers have checked
        self._revert_ns = revert_ns
        if revert_ns == 0:
            self._standing_limit_usd = limit_usd
        previous_usd = self.desk.latch.var_limit_usd
        changed = LimitChanged(self._now_ns, "var_limit_usd", limit_usd, previous_usd, revert_ns, principal)
        return [changed, *self.desk.set_limit(self._now_ns, limit_usd)]

    def state(self) -> State:
        """Return everything that the next record depends on."""
        return {
            "now_ns": self._now_ns,
            "strategies": [strategy.state() for strategy in self.strategies],
            "desk": None if self.desk is None else self.desk.state(),
            "verifier": self._verifier.state(),
            "rebalance_asked": self._rebalance_asked,
            "standing_limit_usd": self._standing_limit_usd,
            "revert_ns": self._revert_ns,
            "wanted": self._wanted.copy(),
            "unwanted": list(self._unwanted),
            "was_commanded": self._was_commanded,
        }

    def restore(self, state: State) -> None:
        """Continue from ``state``, bit for bit."""
        self._now_ns = state["now_ns"]
        for strategy, part in zip(self.strategies, state["strategies"], strict=True):
            strategy.restore(part)
        if self.desk is not None:
            self.desk.restore(state["desk"])
        self._verifier.restore(state["verifier"])
        self._rebalance_asked = state["rebalance_asked"]
        self._standing_limit_usd = state["standing_limit_usd"]
        self._revert_ns = state["revert_ns"]
        self._wanted[:] = state["wanted"]
        self._unwanted = tuple(state["unwanted"])
        self._was_commanded = state["was_commanded"]
