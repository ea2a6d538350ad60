"""The trading side of the engine, in the order a slice passes through it.

execution (fills of what was approved last minute) -> book (marks, funding) -> risk (VaR of what is held) ->
limits (trading state). Strategies and the allocator come after, in ``engine/bus.py``; their target comes back
through ``propose``, where the gate approves it, scales it down, or refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from engine import legs
from engine.book import PRICE_STALE, VOLUME_MEAN, Book
from engine.events import (
    AllocationDone,
    BarSlice,
    Event,
    FloatArray,
    Nanos,
    RiskMeasured,
    TargetApproved,
    TargetRefused,
    TargetsProposed,
    TradingState,
    TradingStateChanged,
)
from engine.execution import Costs, fill
from engine.oversight import Change, Gate, Latch, RiskDesk, RiskReport
from engine.ports import NO_CONTROLS, AllocationProblem, Outlook, State
from engine.quotes import Quotes
from engine.sizing import held_frac, sized, trading_terms

_FLAT = RiskReport(0.0, 0.0, 0.0, 0.0, 0.0)
#: Events of a minute in which nothing happens: the book is marked, its risk measured.
ROUTINE_EVENTS: Final = 2
#: A rebalance trades about this much of equity in a name: the size at which impact is made linear.
_TYPICAL_TRADE_FRAC = 0.10


class RiskRule(msgspec.Struct, frozen=True):
    """The numbers that turn a limit into a budget.

    Parameters
    ----------
    budget_frac : float
        Share of the limit that gate and optimiser may use (0.90).
    z_horizon : float
        z of the confidence times the square root of the horizon in days.
    mc_margin : float
        1 + 1.645 standard errors of the Monte-Carlo quantile (1.0373 at 5,000 scenarios).
    var_max_age_min : int
        Session minutes after which a measure no longer counts: the lease of the gate.
    """

    budget_frac: float
    z_horizon: float
    mc_margin: float
    var_max_age_min: int = 3


class TradingDesk:
    """Execution, book, risk, limits and gate of one run.

    Parameters
    ----------
    book, risk, gate, latch
        The parts; the desk owns their order.
    costs : Costs
    rule : RiskRule
    """

    def __init__(
        self,
        book: Book,
        risk: RiskDesk,
        gate: Gate,
        latch: Latch,
        costs: Costs,
        rule: RiskRule,
    ) -> None:
        self._quotes = Quotes(book.layout, book.price_age_max_min, book.bar_min)
        self.book = book
        self.risk = risk
        self.gate = gate
        self.latch = latch
        self.costs = costs
        self._rule = rule
        self._report = _FLAT
        self._pending: TargetApproved | None = None
        self._pending_by_sleeve = False
        self._due = -1
        self._jumped = False

    def on_jump(self) -> None:
        """Note that a jump beyond the collar was confirmed: risk is refreshed on the next slice."""
        self._jumped = True

    def on_slice(self, slice_: BarSlice) -> list[Event]:
        """Take one minute: fill, mark, measure, judge."""
        events: list[Event] = []
        quoted, slice_ = slice_, self._quotes.to_usd(slice_)
        self._due = -1  # whoever has not answered by now is late
        if 0 <= self.book.session != slice_.session and self.book.layout.n_sleeves:
            events.append(self.book.sleeves())
        if self._pending is not None:
            events += self._fill(self._pending, slice_)
        events.append(self.book.mark(slice_, self._quotes.rate_move_frac))
        report = self._measure(self._quotes.at_constant_rates(quoted, slice_))
        events.append(
            RiskMeasured(
                slice_.ts_close_ns,
                report.var_usd,
                report.var_analytic_usd,
                report.var_mc_usd,
                report.var_upper_usd,
                report.es_usd,
                report.reason,
            )
        )
        held_suspect = bool(slice_.suspect) and self._holds_any(slice_.suspect)
        changes = self.latch.on_measured(slice_.ts_close_ns, report, held_suspect, self.book.is_fresh)
        if changes:
            events += changes
            self._react(slice_.ts_close_ns, changes, events)
        return events

    def _measure(self, slice_: BarSlice) -> RiskReport:
        """Measure what is held; a risk desk that fails leaves VaR unknown, and unknown halts."""
        book = self.book
        try:
            self.risk.observe(slice_)
            if self._jumped:
                # The jump is in the sums now; three calm measures under the old factor would be no proof.
                self._jumped = False
                self.risk.refresh()
            if book.is_flat:
                self._report = _FLAT
            elif reason := self.price_reason:
                self._report = _unknown(reason)
            else:
                self._report = self.risk.measure(book.holdings_usd)
        except Exception as error:  # noqa: BLE001 - whatever it is, the gate closes
            self._report = _unknown(_failure(error))
        return self._report

    @property
    def price_reason(self) -> str:
        """What is wrong with a price of what is held, its exchange rate included; empty for nothing."""
        stale = self._quotes.stale
        return self.book.price_reason or (PRICE_STALE if stale and self._holds_any(stale) else "")

    def check_lease(self, ts_ns: Nanos, age_min: int) -> list[Event]:
        """Halt when the last measure is older than ``var_max_age_min`` session minutes."""
        if age_min <= self._rule.var_max_age_min:
            return []
        return self.halt(ts_ns, f"VAR_STALE: no VaR for {age_min} session minutes")

    def _holds_any(self, symbols: tuple[int, ...]) -> bool:
        return any(self.book.quantity[i] != 0.0 for i in symbols)

    def _fill(self, approved: TargetApproved, slice_: BarSlice) -> Sequence[Event]:
        self._pending = None
        try:
            return fill(
                approved,
                self._pending_by_sleeve,
                slice_,
                self.book,
                self.gate,
                self.risk.market,
                self.latch.trading_state,
                self.costs,
            )
        except Exception as error:  # noqa: BLE001 - the gate is asked before anything is booked
            return self._closed(slice_.ts_close_ns, error)

    def _closed(self, ts_ns: Nanos, error: Exception) -> list[Event]:
        """Halt: a gate that cannot judge lets nothing pass."""
        halted = self.halt(ts_ns, _failure(error))
        return [TargetRefused(ts_ns, "risk_failed"), *halted]

    def _react(self, ts_ns: Nanos, changes: Sequence[Event], events: list[Event]) -> None:
        """Entering HALTED cancels what is unfilled; entering REDUCING sends it through the gate again."""
        for change in changes:
            pending = self._pending
            if not isinstance(change, TradingStateChanged) or pending is None or pending.is_flatten:
                continue
            if change.state is TradingState.HALTED:
                self._pending = None
                events.append(TargetRefused(ts_ns, "halted", pending.weight_frac))
            elif change.state is TradingState.REDUCING:
                self._judge(ts_ns, np.asarray(pending.leg_quantity), False, events)

    def _judge(self, ts_ns: Nanos, leg_quantity: FloatArray, is_flatten: bool, events: list[Event]) -> None:
        book = self.book
        change = Change(book.layout, book.leg_quantity, leg_quantity, book.price_usd, self.risk.market)
        self._pending = None
        try:
            verdict = self.gate.judge(ts_ns, change, book.equity_usd, self.latch.trading_state, is_flatten)
        except Exception as error:  # noqa: BLE001 - whatever it is, the gate closes
            events += self._closed(ts_ns, error)
            return
        self._pending = verdict if isinstance(verdict, TargetApproved) else None
        events.append(verdict)

    def problem(
        self,
        slice_: BarSlice,
        version: int,
        outlooks: Sequence[Outlook],
        changed: tuple[int, ...],
        controls: Mapping[str, float] = NO_CONTROLS,
    ) -> AllocationProblem | None:
        """State everything an allocator may know at this close; None when risk cannot say.

        Parameters
        ----------
        slice_ : BarSlice
        version : int
            Sequence number of the slice's record.
        outlooks : sequence of Outlook
            Of the strategies, in the order of the layout's spreads.
        changed : tuple of int
            Sleeves whose side changed on this slice.
        controls : mapping of str to float
            The allocator's numbers in force, by name.
        """
        try:
            self.risk.refresh()
        except Exception:  # noqa: BLE001 - nothing is traded on it, and the next measure halts with the reason
            return None
        book, layout, report = self.book, self.book.layout, self._report
        self._due = version
        singles = layout.n_sleeves - len(layout.spreads)
        mc_ratio = report.var_mc_usd / report.var_analytic_usd if report.var_analytic_usd > 0.0 else 1.0
        price_usd = book.price_usd
        cost_frac, volume_usd = np.empty_like(price_usd), np.empty_like(price_usd)
        trading_terms(
            price_usd,
            book.marks[VOLUME_MEAN],
            self.costs.linear_bps,
            self.costs.impact_bps,
            self.costs.participation_max_frac,
            _TYPICAL_TRADE_FRAC * book.equity_usd,
            cost_frac,
            volume_usd,
        )
        held_leg_frac = np.empty_like(book.leg_quantity)
        held_frac(book.leg_quantity, layout.leg_symbol, price_usd, book.equity_usd, held_leg_frac)
        return AllocationProblem(
            ts_ns=slice_.ts_close_ns,
            state_version=version,
            layout=layout,
            equity_usd=book.equity_usd,
            price_usd=price_usd.copy(),
            side=_by_sleeve([outlook.side for outlook in outlooks], singles, 0.0),
            expected_return_frac=_by_sleeve([o.expected_return_frac for o in outlooks], singles, 0.0),
            usd_ratio=_by_sleeve([o.usd_ratio for o in outlooks], singles, np.nan),
            frozen_usd_ratio=_by_sleeve([o.frozen_usd_ratio for o in outlooks], singles, np.nan),
            changed=changed,
            held_leg_frac=held_leg_frac,
            covariance_daily=self.risk.covariance_daily,
            factor_daily=self.risk.market.factor_daily,
            known=self.risk.market.known,
            cost_frac=cost_frac,
            volume_usd=volume_usd,
            participation_max_frac=self.costs.participation_max_frac,
            var_budget_usd=self._budget_usd,
            var_factor=self._rule.z_horizon * max(1.0, mc_ratio) * self._rule.mc_margin,
            carry=book.carry,
            is_reducing=self.latch.trading_state is TradingState.REDUCING,
            controls=controls,
            history_return_frac=self.risk.history_return_frac(),
        )

    @property
    def pending_leg_quantity(self) -> FloatArray:
        """The book that the next open would make: what is approved and unfilled, or else what is held."""
        return self.book.leg_quantity if self._pending is None else np.array(self._pending.leg_quantity)

    def await_nothing(self) -> None:
        """Count an answer that is under way as late."""
        self._due = -1

    @property
    def _budget_usd(self) -> float:
        return self._rule.budget_frac * self.latch.var_limit_usd

    def awaits(self, problem: AllocationProblem) -> bool:
        """Whether an answer to this problem would still be in time: no slice has come, nor another answer."""
        return problem.state_version == self._due

    def propose(self, proposed: TargetsProposed) -> list[Event]:
        """Gate an allocator's answer; a late one, or one without targets, leaves the book as it is."""
        ts_ns = proposed.ts_ns
        if proposed.state_version != self._due:
            return [TargetRefused(ts_ns, "optimiser_late")]
        self._due = -1
        book, layout = self.book, self.book.layout
        if proposed.status != "optimal":
            done = AllocationDone(ts_ns, proposed.status, 0.0, 0.0, 0.0, proposed.binding, proposed.solver)
            return [done, TargetRefused(ts_ns, proposed.status)]
        quantity = np.empty_like(book.leg_quantity)
        gross_frac, net_frac, turnover_frac = sized(
            np.array(proposed.leg_frac),
            book.leg_quantity,
            layout.leg_symbol,
            book.price_usd,
            book.equity_usd,
            quantity,
        )
        events: list[Event] = [
            AllocationDone(
                ts_ns,
                proposed.status,
                gross_frac,
                net_frac,
                turnover_frac,
                proposed.binding,
                proposed.solver,
            )
        ]
        self._pending_by_sleeve = proposed.by_sleeve
        if not legs.is_same(quantity, book.leg_quantity):
            self._judge(ts_ns, quantity, False, events)
        return events

    def flatten(self, ts_ns: Nanos) -> list[Event]:
        """Ask the gate for a flat book; it must lower VaR, and is the only thing that trades when HALTED."""
        events: list[Event] = []
        self.await_nothing()  # an answer under way was asked for another book
        if self._pending is not None:
            events.append(TargetRefused(ts_ns, "superseded", self._pending.weight_frac))
        self._pending_by_sleeve = True
        self._judge(ts_ns, np.zeros_like(self.book.leg_quantity), True, events)
        return events

    def halt(self, ts_ns: Nanos, reason: str, *, by_person: bool = False) -> list[Event]:
        """Halt now; what is unfilled is cancelled. What a person asks for counts each time."""
        events: list[Event] = list(self.latch.halt(ts_ns, reason, by_person=by_person))
        self._react(ts_ns, list(events), events)
        return events

    def set_limit(self, ts_ns: Nanos, var_limit_usd: float) -> list[Event]:
        """Change the VaR limit; the budget follows, and the last measure is judged by it at once."""
        events: list[Event] = list(self.latch.set_limit(ts_ns, var_limit_usd))
        self.gate.set_budget(self._budget_usd)
        self._react(ts_ns, list(events), events)
        return events

    def state(self) -> State:
        """Return everything that the next record depends on."""
        pending = self._pending
        return {
            "quotes": self._quotes.state(),
            "book": self.book.state(),
            "risk": self.risk.state(),
            "latch": self.latch.state(),
            "report": msgspec.structs.astuple(self._report),
            "pending": None if pending is None else msgspec.structs.astuple(pending),
            "pending_by_sleeve": self._pending_by_sleeve,
            "due": self._due,
            "jumped": self._jumped,
        }

    def restore(self, state: State) -> None:
        """Continue from ``state``, bit for bit."""
        self._quotes.restore(state["quotes"])
        self.book.restore(state["book"])
        self.risk.restore(state["risk"])
        self.latch.restore(state["latch"])
        self._report = RiskReport(*state["report"])
        self._pending = self.gate.reissue(state["pending"]) if state["pending"] is not None else None
        self._pending_by_sleeve = state["pending_by_sleeve"]
        self._due = state["due"]
        self._jumped = state["jumped"]
        self.gate.set_budget(self._budget_usd)


def _failure(error: Exception) -> str:
    return f"RISK_FAILED: {type(error).__name__}: {error}"


def _unknown(reason: str) -> RiskReport:
    nan = math.nan
    return RiskReport(nan, nan, nan, nan, nan, reason)


def _by_sleeve(arrays: list[FloatArray], singles: int, fill_value: float) -> FloatArray:
    """Join what the strategies say, and fill up for the names outside any spread."""
    if len(arrays) == 1 and singles == 0:
        return arrays[0].copy()
    return np.concatenate([*arrays, np.full(singles, fill_value)])
