"""The read model: what is so, folded from events. Console, command line and metrics read only this."""

from __future__ import annotations

from collections import Counter

from engine.events import (
    Alert,
    AllocationDone,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    BookMarked,
    Event,
    Filled,
    Reject,
    RiskMeasured,
    Signal,
    SpreadNoted,
    TradingState,
    TradingStateChanged,
)


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
        self.alerts = 0
        self.trading_state = TradingState.ACTIVE
        self.halt_id = ""
        self.book: BookMarked | None = None
        self.risk: RiskMeasured | None = None
        self.var_peak_usd = 0.0
        self.notes: dict[str, SpreadNoted] = {}
        self.ts_ns = 0
        self._session = -1

    @property
    def accounted(self) -> int:
        """Bars accepted, rejected or pending."""
        return self.accepted + sum(self.rejected.values()) + self.pending

    def on_slice(self, slice_: BarSlice) -> None:
        """Count a minute."""
        self.slices += 1
        self.accepted += slice_.accepted
        self.ts_ns = slice_.ts_close_ns
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
            else:
                self._fold_rare(event)

    def _fold_rare(self, event: Event) -> None:
        match event:
            case Signal():
                self.signals += 1
            case Filled():
                self.fills += 1
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
                if state is TradingState.HALTED:
                    self.halts += 1
                    self.halt_id = halt_id
            case SpreadNoted(strategy=strategy, spread=spread, note=note):
                self.notes[f"{strategy}/{spread}/{note}"] = event
            case Alert():
                self.alerts += 1
            case _:
                pass
