"""What the trading desk asks of the package ``risk``: a model, a measure, a gate and a latch.

Of models there are several, in the package's registry and of other packages; there is one gate and one
latch. The protocols stand here so that the core can be read, typed and tested without importing the package
that checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from engine import legs
from engine.events import (
    Alert,
    BarSlice,
    BoolArray,
    FloatArray,
    Nanos,
    TargetApproved,
    TargetRefused,
    TradingState,
    TradingStateChanged,
)
from engine.ports import Layout, State


class Prepared(msgspec.Struct, frozen=True):
    """What a risk model made of daily returns, once a session.

    Parameters
    ----------
    scenarios : FloatArray, shape (n_symbols, n_scenarios)
        Simple returns over the model's horizon; a row of NaN is a symbol that it does not know.
    memory : FloatArray, shape (n_rows, n_symbols)
        What it wants to see again next time (fitted parameters).
    """

    scenarios: FloatArray
    memory: FloatArray

    @property
    def known(self) -> BoolArray:
        """Symbols that the scenarios do not leave out, shape (n_symbols,)."""
        return np.asarray(~np.isnan(self.scenarios).any(axis=1))


def _no_scenarios() -> FloatArray:
    return np.empty((0, 0))


class Market(msgspec.Struct, frozen=True):
    """What a risk model may know of the market besides the holdings.

    Parameters
    ----------
    factor_daily : FloatArray, shape (n_symbols, n_symbols)
        Lower factor L of the covariance of daily returns; zero rows where unknown.
    known : BoolArray, shape (n_symbols,)
        Symbols with a usable covariance, and scenarios if the model makes any.
    reason : str
        Empty, or why no covariance can be trusted (``COV_NOT_PSD``): everything held is then UNKNOWN.
    scenarios : FloatArray, shape (n_symbols, n_scenarios)
        What the model prepared from daily returns; empty for a model that asks for none.
    """

    factor_daily: FloatArray
    known: BoolArray
    reason: str = ""
    scenarios: FloatArray = msgspec.field(default_factory=_no_scenarios)


class RiskReport(msgspec.Struct, frozen=True, gc=False):
    """Loss figures of one book, USD, positive; all NaN and a ``reason`` when UNKNOWN."""

    var_usd: float
    var_analytic_usd: float
    var_mc_usd: float
    var_upper_usd: float
    es_usd: float
    reason: str = ""


class RiskModel(Protocol):
    """A pure measure of loss.

    Attributes
    ----------
    z_horizon : float
        Analytic VaR per USD of daily standard deviation; the optimiser's cone uses it.
    mc_margin : float
        Upper bound of the simulated figure over the figure itself (1.0373 at 5,000 scenarios).
    window_days : int
        Daily returns that ``prepare`` wants to see; 0 if it is never to be asked.
    """

    z_horizon: float
    mc_margin: float
    window_days: int

    def prepare(self, returns_daily: FloatArray, memory: FloatArray) -> Prepared:
        """Make scenarios from log returns ``(n_days, n_symbols)``, oldest first, NaN where unknown.

        Called at the start of a session, with what it remembered the last time (no rows at first).
        """
        ...

    def measure(self, holdings_usd: FloatArray, market: Market) -> RiskReport:
        """Measure the book ``(n_symbols,)``; UNKNOWN is a report with a reason, never an exception."""
        ...

    def marginal(self, holdings_usd: FloatArray, market: Market) -> FloatArray:
        """Return what one more USD of each symbol would add to VaR, shape (n_symbols,); NaN if unknown."""
        ...


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

    def history_return_frac(self) -> FloatArray | None:
        """Return the simple returns of the days it keeps, oldest first, shape (n_days, n_symbols)."""
        ...

    def measure(self, holdings_usd: FloatArray) -> RiskReport:
        """Measure a book under the current market."""
        ...

    def marginal(self, holdings_usd: FloatArray) -> FloatArray:
        """Return what one more USD of each symbol would add to VaR under the current market."""
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

    @property
    def is_whole(self) -> bool:
        """Whether every leg is granted in full."""
        return legs.is_all(self.scale, 1.0)


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

    @property
    def is_state_wrong(self) -> bool:
        """Whether a halt in force says that the state does not follow from the journal."""
        ...

    def on_measured(
        self, ts_ns: Nanos, report: RiskReport, held_suspect: bool, is_fresh: bool
    ) -> Sequence[TradingStateChanged | Alert]:
        """Judge a measure of the held book; ``is_fresh`` says that all its prices are of this slice."""
        ...

    def halt(
        self, ts_ns: Nanos, reason: str, *, by_person: bool = False
    ) -> Sequence[TradingStateChanged | Alert]:
        """Halt now, whatever the measure says; a halt in force takes a new name for a new cause or wish."""
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
