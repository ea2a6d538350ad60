"""What the trading desk asks of the package ``risk``: a measure, a gate and a latch.

These are no plug-ins: there is one gate and one latch. The protocols stand here so that the core can be read,
typed and tested without importing the package that checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from engine.events import (
    Alert,
    BarSlice,
    FloatArray,
    Nanos,
    TargetApproved,
    TargetRefused,
    TradingState,
    TradingStateChanged,
)
from engine.ports import Layout, Market, RiskReport, State


class RiskDesk(Protocol):
    """What the bus asks of ``risk/actor.py``: the covariance it keeps, and the measure of a book."""

    market: Market
    covariance_daily: FloatArray

    def observe(self, slice_: BarSlice) -> None:
        """Accumulate a minute; refresh factor and ``market`` when due (every N minutes, session opens)."""
        ...

    def refresh(self) -> None:
        """Bring covariance and factor up to the last slice: before each solve."""
        ...

    def measure(self, holdings_usd: FloatArray) -> RiskReport:
        """Measure a book under the current market."""
        ...

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        ...

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        ...


class Change(msgspec.Struct, frozen=True):
    """A change of book under one set of prices.

    Parameters
    ----------
    layout : Layout
    held, target : FloatArray, shape (n_legs,)
        Shares.
    price_usd : FloatArray, shape (n_symbols,)
    market : Market
    """

    layout: Layout
    held: FloatArray
    target: FloatArray
    price_usd: FloatArray
    market: Market


class Verdict(msgspec.Struct, frozen=True):
    """What the gate makes of a change of book.

    ``scale`` is the λ granted to each leg, shape (n_legs,): all equal when the whole basket passes, 0 for
    the legs of sleeves that may not trade; ``reason`` is empty unless every leg is refused.
    """

    scale: FloatArray
    var_upper_usd: float
    reason: str = ""


class Gate(Protocol):
    """What the bus asks of ``risk/gate.py``: prospective VaR before any order, and again at the fill."""

    def judge(
        self, ts_ns: Nanos, change: Change, equity_usd: float, trading_state: TradingState, is_flatten: bool
    ) -> TargetApproved | TargetRefused:
        """Approve, scale down, or refuse a target decided at the close ``ts_ns``."""
        ...

    def recheck(self, change: Change, trading_state: TradingState, is_flatten: bool) -> Verdict:
        """Test an approved target once more, at the prices of the fill."""
        ...

    def reissue(self, fields: Sequence[Any]) -> TargetApproved:
        """Make again the approval that a snapshot of this engine recorded, from its fields in order."""
        ...

    def set_budget(self, var_budget_usd: float) -> None:
        """Follow a change of the limit."""
        ...


class Latch(Protocol):
    """What the bus asks of ``risk/limits.py``: the state machine ACTIVE / REDUCING / HALTED."""

    trading_state: TradingState
    halt_id: str
    var_limit_usd: float

    def on_measured(
        self, ts_ns: Nanos, report: RiskReport, held_suspect: bool
    ) -> Sequence[TradingStateChanged | Alert]:
        """Judge a fresh measure of the held book."""
        ...

    def halt(self, ts_ns: Nanos, reason: str) -> Sequence[TradingStateChanged | Alert]:
        """Halt now, whatever the measure says (operator, dead part, unwritable journal)."""
        ...

    def resume(self, ts_ns: Nanos, halt_id: str) -> str | TradingStateChanged:
        """Lift the named halt to REDUCING, or say why not; the caller has authenticated the command."""
        ...

    def set_limit(self, ts_ns: Nanos, var_limit_usd: float) -> Sequence[TradingStateChanged | Alert]:
        """Change the limit and judge the last measure against it at once."""
        ...

    def state(self) -> State:
        """Return everything that the next step depends on."""
        ...

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        ...
