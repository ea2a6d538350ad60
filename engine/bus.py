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
from engine.book import Book
from engine.commands import SIGNAL, CommandBody, Verifier
from engine.controls import VAR_LIMIT, Controls
from engine.desk import ROUTINE_EVENTS, TradingDesk
from engine.errors import InvariantError
from engine.events import (
    Alert,
    Bar,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    Command,
    CommandJudged,
    Event,
    HaltRequested,
    LimitChanged,
    LimitsDue,
    Nanos,
    NoncesUsed,
    Record,
    Reject,
    Side,
    Signal,
    SliceClosed,
    TargetsProposed,
    Tick,
    TradingState,
    TradingStateChanged,
)
from engine.intake import Intake
from engine.ports import AllocationProblem, Allocator, State, Strategy, Targets

#: Minutes that one record may close: after a long silence the rest follows with the next records.
_MINUTES_MAX: Final = 1_000
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
    intake : Intake or None
        Makes slices of live bars; None where the feed yields slices.
    controls : Controls or None
        The numbers that a command may change; by default there is none.
    """

    def __init__(
        self,
        strategies: Sequence[Strategy],
        desk: TradingDesk | None,
        allocator: Allocator | None,
        verifier: Verifier,
        intake: Intake | None = None,
        controls: Controls | None = None,
    ) -> None:
        self.strategies = tuple(strategies)
        self.desk = desk
        self.intake = intake
        self._measured_ns = 0
        self._allocator = allocator
        self._verifier = verifier
        self._problem: AllocationProblem | None = None
        self._rebalance_asked = False
        self.controls = controls if controls is not None else Controls(())
        spreads = [spread for strategy in self.strategies for spread in strategy.spreads]
        self._sleeve_of = {(spread.strategy, spread.name): k for k, spread in enumerate(spreads)}
        self._wanted = np.zeros(len(spreads))
        self._found = np.zeros(len(spreads), dtype=np.int64)
        self._unwanted: tuple[int, ...] = ()
        self._was_commanded = False

    def dispatch(self, seq: int, record: Record) -> list[Event]:
        """Hand one record to everyone it concerns; return what happened, in order."""
        if type(record) is BarSlice:  # the way of a replay: matched first, since it is nearly every record
            return self._on_slice(seq, record)
        match record:
            case TargetsProposed():
                answered = self.desk.propose(record) if self.desk is not None else []
                return answered + self._drain(seq)
            case Bar() | Tick():
                return self._on_live(seq, record)
            case Command() | NoncesUsed() | LimitsDue():
                return self._on_command(record)
            case HaltRequested() | Alert():
                return self._on_seen(record)
            case BarRejected():
                if self.intake is not None:
                    self.intake.note(record)
                return _told(record)
            case BarSuspended() | BarConfirmed():
                return self._on_jump(record)
            case BarSlice():
                return self._on_slice(seq, record)

    def _on_live(self, seq: int, record: Bar | Tick) -> list[Event]:
        if self.intake is None:
            raise InvariantError("bars came one by one to a bus that was built for slices")
        if isinstance(record, Bar):
            rejected = self.intake.offer(record)
            return self._drain(seq) if rejected is None else _told(rejected)
        self.intake.advance(record.ts_ns)
        return self._drain(seq) + self._check_lease(record.ts_ns)

    def _drain(self, seq: int) -> list[Event]:
        """Close the minutes that are over, in order, up to the next one that poses a problem.

        The rest waits for the answer, so that each minute sees the decisions of the minutes before it, as it
        does when a file is replayed. A bar or tick does not wait: then the answer will be late.
        """
        events: list[Event] = []
        if self.intake is None:
            return events
        for _ in range(_MINUTES_MAX):
            closed = self.intake.close_minute()
            for item in closed:
                if isinstance(item, BarSlice):
                    events.append(
                        SliceClosed(item.ts_close_ns, item.session, item.minute, item.accepted, item.suspect)
                    )
                    events += self._on_slice(seq, item)
                else:
                    events += _told(item) if isinstance(item, BarRejected) else self._on_jump(item)
            if not closed or self._problem is not None:
                break
        return events

    def _check_lease(self, ts_ns: Nanos) -> list[Event]:
        """Halt when the sessions have gone on without a measure of risk (``VAR_STALE``)."""
        assert self.intake is not None  # noqa: S101 - only live records come here
        if self.desk is None or not self.is_quiet:
            return []
        sessions = self.intake.slicer.sessions
        self._measured_ns = self._measured_ns or ts_ns
        return self.desk.check_lease(ts_ns, sessions.elapsed_min(self._measured_ns, ts_ns))

    def _on_jump(self, record: BarSuspended | BarConfirmed) -> list[Event]:
        if isinstance(record, BarSuspended):
            change_frac = record.close_usd / record.reference_usd - 1.0
            text = f"{record.symbol}: a jump of {change_frac:+.1%} waits for confirmation"
            return [record, Alert(record.ts_close_ns, "warning", "bar_suspended", text)]
        if self.desk is not None:
            self.desk.on_jump()
        text = f"{record.symbol}: the jump is confirmed; if it was a split, the position is not adjusted"
        return [record, Alert(record.ts_close_ns, "warning", "bar_confirmed", text)]

    def _on_seen(self, record: HaltRequested | Alert) -> list[Event]:
        """Take what the edge has seen."""
        if isinstance(record, Alert):
            return [record]
        self._was_commanded = True
        text = f"{record.reason}: {record.detail}" if record.detail else record.reason
        if self.desk is None:
            return [Alert(record.ts_ns, "critical", "halt_requested", text)]
        return self.desk.halt(record.ts_ns, text, by_person=record.reason == SIGNAL)

    @property
    def book(self) -> Book | None:
        """The book; None when nothing trades."""
        return None if self.desk is None else self.desk.book

    @property
    def is_quiet(self) -> bool:
        """Whether every closed minute has been handled, so that ``state`` can be continued from."""
        return self._problem is None and (self.intake is None or not self.intake.due_ns)

    def take_problem(self) -> AllocationProblem | None:
        """Return the problem an allocator should answer now, once."""
        problem = self._problem
        if problem is not None:
            self._problem = None
        return problem

    def awaits(self, problem: AllocationProblem) -> bool:
        """Whether an answer to this problem would still be in time."""
        return self.desk is not None and self.desk.awaits(problem)

    def answer(self, problem: AllocationProblem) -> Targets:
        """Ask the allocator; not part of dispatch, since it takes its time and is a record of its own."""
        assert self._allocator is not None  # noqa: S101 - who states problems has one
        return self._allocator.allocate(problem)

    def _on_slice(self, seq: int, slice_: BarSlice) -> list[Event]:
        self._measured_ns = now_ns = slice_.ts_close_ns
        self._problem = None  # one that nobody has taken by now would be answered too late
        desk = self.desk
        events: list[Event] = []
        if desk is not None:
            events += self._revert(now_ns)
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
            self._problem = desk.problem(slice_, seq, outlooks, changed, self.controls.of_allocator)
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

    def _on_command(self, command: Command | NoncesUsed | LimitsDue) -> list[Event]:
        if isinstance(command, LimitsDue):
            return self._revert(command.ts_ns)
        if isinstance(command, NoncesUsed):
            self._verifier.inherit(command)
            return []
        reason, body = self._verifier.judge(command, self._measured_ns)
        kind, principal, nonce = _named(body)
        if reason or body is None or self.desk is None:
            text = f"command {kind!r} of {principal!r} refused: {reason or 'nothing trades in this run'}"
            return [
                CommandJudged(command.ts_ns, kind, principal, "refused", reason or "no_desk", nonce),
                Alert(command.ts_ns, "warning", "command_refused", text),
            ]
        verdict, events = self._obey(command.ts_ns, body, self.desk)
        judged = "refused" if verdict else "accepted"
        judged_event = CommandJudged(command.ts_ns, kind, principal, judged, verdict or body.reason, nonce)
        return [judged_event, *events]

    def _obey(self, ts_ns: int, body: CommandBody, desk: TradingDesk) -> tuple[str, list[Event]]:
        """Do what an authenticated command asks; a reason when it cannot be done now."""
        self._was_commanded = True
        match body.kind:
            case "halt":
                return "", desk.halt(ts_ns, f"operator {body.principal}: {body.reason}", by_person=True)
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
                changes = self.controls.change(ts_ns, body.args, body.principal)
                return (changes, []) if isinstance(changes, str) else ("", self._apply(changes, desk))

    def _revert(self, now_ns: Nanos) -> list[Event]:
        """Let numbers return whose time has come: by a minute that closes, or by the clock of the edge."""
        if self.desk is None or not 0 < self.controls.revert_ns <= now_ns:
            return []
        self._was_commanded = True
        return self._apply(self.controls.revert(now_ns), self.desk)

    def _apply(self, changes: list[LimitChanged], desk: TradingDesk) -> list[Event]:
        """Let changed numbers take effect: the VaR limit at once, the allocator's at the next minute."""
        events: list[Event] = list(changes)
        for change in changes:
            if change.name == VAR_LIMIT:
                events += desk.set_limit(change.ts_ns, change.value)
            else:
                desk.await_nothing()  # an answer under way was found under the old numbers
                self._rebalance_asked = True
        return events

    def state(self) -> State:
        """Return everything that the next record depends on.

        Raises
        ------
        InvariantError
            While a problem awaits its answer: such a moment cannot be continued from.
        """
        if not self.is_quiet:
            raise InvariantError("the state of a bus is taken between problems, not within one")
        return {
            "measured_ns": self._measured_ns,
            "intake": None if self.intake is None else self.intake.state(),
            "strategies": [strategy.state() for strategy in self.strategies],
            "desk": None if self.desk is None else self.desk.state(),
            "verifier": self._verifier.state(),
            "rebalance_asked": self._rebalance_asked,
            "controls": self.controls.state(),
            "wanted": self._wanted.copy(),
            "unwanted": list(self._unwanted),
            "was_commanded": self._was_commanded,
        }

    def restore(self, state: State) -> None:
        """Continue from ``state``, bit for bit."""
        self._measured_ns = state["measured_ns"]
        if self.intake is not None:
            self.intake.restore(state["intake"])
        for strategy, part in zip(self.strategies, state["strategies"], strict=True):
            strategy.restore(part)
        if self.desk is not None:
            self.desk.restore(state["desk"])
        self._verifier.restore(state["verifier"])
        self._rebalance_asked = state["rebalance_asked"]
        self.controls.restore(state["controls"])
        self._wanted[:] = state["wanted"]
        self._unwanted = tuple(state["unwanted"])
        self._was_commanded = state["was_commanded"]


def _named(body: CommandBody | None) -> tuple[str, str, str]:
    """Return kind, principal and nonce of a command, as far as it could be read."""
    return (body.kind, body.principal, body.nonce) if body is not None else ("unknown", "", "")


def _told(rejected: BarRejected) -> list[Event]:
    """Say that bars were not accepted; a person hears of those that contradict or frighten."""
    if rejected.reason not in {Reject.CONFLICT, Reject.COLLAR}:
        return [rejected]
    text = f"{rejected.symbol}: bar rejected, {rejected.reason.value}"
    return [rejected, Alert(rejected.ts_close_ns, "warning", "bar_rejected", text)]
