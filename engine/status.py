"""The read model: what is so, folded from events. Console, command line and metrics read only this."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import msgspec

from engine.events import (
    Alert,
    AllocationDone,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    BookMarked,
    CommandJudged,
    Event,
    Filled,
    Reject,
    RiskMeasured,
    Signal,
    SliceClosed,
    SpreadNoted,
    TargetApproved,
    TradingState,
    TradingStateChanged,
)
from engine.ports import State

#: Verdicts on commands that are kept for those who ask.
VERDICTS_KEPT: Final = 32


class Status:
    """Counts, last values and peaks of a run; ``received`` of the feed must equal ``accounted``."""

    def __init__(self) -> None:
        self.slices = 0
        self.sessions = 0
        self.accepted = 0
        self.pending = 0
        self.rejected: Counter[str] = Counter()
        self.signals = 0
        self.fills = 0
        self.rebalances = 0
        self.halts = 0
        #: When trading was first halted (0: never), and the equity then and when the last halt began (None
        #: before the first mark); what was earned in halts that have been lifted.
        self.first_halt_ns = 0
        self.first_halt_equity_usd: float | None = None
        self.halt_equity_usd: float | None = None
        self.pnl_halted_usd = 0.0
        self.alerts = 0
        self.trading_state = TradingState.ACTIVE
        self.halt_id = ""
        self.halt_reason = ""
        self.book: BookMarked | None = None
        self.risk: RiskMeasured | None = None
        self.var_peak_usd = 0.0
        self.notes: dict[str, SpreadNoted] = {}
        self.verdicts: deque[CommandJudged] = deque(maxlen=VERDICTS_KEPT)
        self.ts_ns = 0
        self.last_bar_ns = 0
        self._session = -1

    @property
    def accounted(self) -> int:
        """Bars accepted, rejected or pending."""
        return self.accepted + sum(self.rejected.values()) + self.pending

    def on_slice(self, slice_: BarSlice | SliceClosed) -> None:
        """Count a minute."""
        self.slices += 1
        self.accepted += slice_.accepted
        self.ts_ns = slice_.ts_close_ns
        if slice_.accepted:
            self.last_bar_ns = slice_.ts_close_ns
        if slice_.session != self._session:
            self._session = slice_.session
            self.sessions += 1

    def fold(self, events: list[Event]) -> None:
        """Take the events of one record."""
        for event in events:
            kind = type(event)
            if kind is BookMarked:
                self.book = event  # type: ignore[assignment]
            elif kind is RiskMeasured:
                self.risk = event  # type: ignore[assignment]
                # The peak comes first: max() keeps it when the measure is NaN.
                self.var_peak_usd = max(self.var_peak_usd, event.var_usd)  # type: ignore[union-attr]
            elif kind is Signal:
                self.signals += 1
            elif kind is Filled:
                self.fills += 1
            elif kind is not TargetApproved:
                self._fold_rare(event)

    def _fold_rare(self, event: Event) -> None:
        match event:
            case SliceClosed():
                self.on_slice(event)
            case AllocationDone(turnover_frac=turnover_frac):
                self.rebalances += turnover_frac > 0.0
            case BarRejected(reason=reason, count=count):
                self.rejected[reason.value] += count
                if reason is Reject.COLLAR:
                    self.pending -= count
            case BarSuspended():
                self.pending += 1
            case BarConfirmed():
                self.pending -= 1
                self.accepted += 1
            case TradingStateChanged(state=state, halt_id=halt_id):
                self.trading_state = state
                self.halt_id = halt_id if state is TradingState.HALTED else ""
                self.halt_reason = event.reason if state is TradingState.HALTED else ""
                self._fold_halt(event)
            case SpreadNoted(strategy=strategy, spread=spread, note=note):
                self.notes[f"{strategy}/{spread}/{note}"] = event
            case CommandJudged():
                self.verdicts.append(event)
            case Alert():
                self.alerts += 1
            case _:
                pass

    def _fold_halt(self, event: TradingStateChanged) -> None:
        """Note where halts begin and end; a further cause renames the one in force, and is no other."""
        is_halted, was_halted = (one is TradingState.HALTED for one in (event.state, event.previous))
        if is_halted == was_halted:
            return
        equity_usd = None if self.book is None else self.book.equity_usd
        if is_halted:
            self.halts += 1
            if not self.first_halt_ns:
                self.first_halt_ns, self.first_halt_equity_usd = event.ts_ns, equity_usd
            self.halt_equity_usd = equity_usd
        elif equity_usd is not None and self.halt_equity_usd is not None:
            self.pnl_halted_usd += equity_usd - self.halt_equity_usd

    def state(self) -> State:
        """Return the read model as plain values."""
        plain = {name: value for name, value in vars(self).items() if isinstance(value, str | int | float)}
        return {
            "plain": plain | {"trading_state": self.trading_state.value},
            "rejected": dict(self.rejected),
            "book": None if self.book is None else msgspec.structs.astuple(self.book),
            "risk": None if self.risk is None else msgspec.structs.astuple(self.risk),
            "notes": {key: msgspec.structs.astuple(note) for key, note in self.notes.items()},
            "verdicts": [msgspec.structs.astuple(verdict) for verdict in self.verdicts],
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned."""
        vars(self).update(state["plain"])
        self.trading_state = TradingState(state["plain"]["trading_state"])
        self.rejected = Counter(state["rejected"])
        self.book = None if state["book"] is None else BookMarked(*state["book"])
        self.risk = None if state["risk"] is None else RiskMeasured(*state["risk"])
        self.notes = {key: SpreadNoted(*note) for key, note in state["notes"].items()}
        self.verdicts = deque((CommandJudged(*v) for v in state["verdicts"]), maxlen=VERDICTS_KEPT)
