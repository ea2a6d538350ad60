"""The plug-in surface: small protocols and the values they exchange; those of risk are in ``oversight``.

What a plug-in needs is in the argument; what it decides is in the return. There are no base classes and no
lifecycle hooks. A registry is a plain dict from the name used in the configuration to a ``Plugin``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
import numpy as np
from pydantic import BaseModel

from engine.carry import Carry
from engine.events import (
    Bar,
    BarConfirmed,
    BarRejected,
    BarSlice,
    BarSuspended,
    BoolArray,
    Event,
    FloatArray,
    IntArray,
    Nanos,
    Record,
    Signal,
    SpreadNoted,
)
from engine.layout import Instrument as Instrument  # noqa: PLC0414 - of the plug-in surface
from engine.layout import Layout as Layout  # noqa: PLC0414
from engine.layout import Spread as Spread  # noqa: PLC0414
from engine.sessions import Sessions, calendar_days, sessions_per_year

T_co = TypeVar("T_co", covariant=True)
#: What a stateful part gives to a snapshot: arrays and plain values by name.
State = dict[str, Any]
#: Nothing was changed by an operator.
NO_CONTROLS: Final[Mapping[str, float]] = MappingProxyType({})


class Outlook(msgspec.Struct, frozen=True):
    """What a strategy thinks of its spreads after a slice; arrays of shape (n_spreads,), views allowed.

    Parameters
    ----------
    side : FloatArray
        1 LONG, 0 FLAT, -1 SHORT.
    z, beta, alpha, innovation, innovation_var : FloatArray
        Of this slice; NaN where the spread has no observation. ``beta`` and ``alpha`` are those the
        innovation was measured with (posterior of t-1 for a filter).
    usd_ratio : FloatArray
        b: USD of x against 1 USD of y; NaN when unknown (the spread cannot be held then).
    expected_return_frac : FloatArray
        Signed, for LONG, per USD of gross over the allocator's horizon: the change of the prices that are
        held, before costs, financing and income (dividends, coupons): the book accrues both (``Carry``).
    frozen_usd_ratio : FloatArray
        b frozen at entry while a position is wanted, else that of now.
    """

    side: FloatArray
    z: FloatArray
    beta: FloatArray
    alpha: FloatArray
    innovation: FloatArray
    innovation_var: FloatArray
    usd_ratio: FloatArray
    expected_return_frac: FloatArray
    frozen_usd_ratio: FloatArray


class StrategyContext(msgspec.Struct, frozen=True):
    """What a strategy is told when it is built.

    Parameters
    ----------
    name : str
        Unique in the run; the ``strategy`` of its signals.
    symbols : tuple of str
        The universe, in the order of every slice.
    horizon_min : float
        Horizon of expected returns, in session minutes.
    session_min : int
        Minutes in a full session (390 for XNYS, 1440 around the clock).
    bar_min : int
        Minutes of a bar; of a day or more, every session is one bar.
    instruments : tuple of Instrument
        As in ``Layout``.
    is_horizon_weighed, is_return_weighed : bool
        Whether the allocator weighs returns over ``horizon_min``; if not, a strategy that has a horizon of
        its own states them over that. And whether it weighs any: if not, an outlook may leave them NaN.
    history : object or None
        Daily closes before the tape as ``(symbols, dates_days, closes[n_days, n_symbols])`` for admission.
    """

    name: str
    symbols: tuple[str, ...]
    horizon_min: float
    session_min: int
    history: DailyHistory | None = None
    bar_min: int = 1
    instruments: tuple[Instrument, ...] = ()
    is_horizon_weighed: bool = False
    is_return_weighed: bool = True

    @property
    def session_bars(self) -> int:
        """Bars of a full session."""
        return self.bars(self.session_min)

    @property
    def horizon_bars(self) -> float:
        """Horizon of expected returns, in bars."""
        return self.horizon_min / min(self.bar_min, self.session_min)

    @property
    def sessions_per_year(self) -> int:
        """Sessions of a year: 365 around the clock, else 252."""
        return sessions_per_year(self.session_min)

    @property
    def horizon_days(self) -> float:
        """Horizon of expected returns, in calendar days; what accrues does so on those."""
        return calendar_days(self.horizon_min, self.session_min)

    def bars(self, minutes: float) -> int:
        """Return a span of session minutes in bars, at least one."""
        return max(1, math.ceil(minutes / min(self.bar_min, self.session_min)))


class DailyHistory(msgspec.Struct, frozen=True):
    """Daily closes before the tape; ``close_usd`` has shape (n_days, n_symbols), NaN where absent."""

    symbols: tuple[str, ...]
    days: IntArray
    close_usd: FloatArray


class AllocationProblem(msgspec.Struct, frozen=True):
    """Everything an allocator may know, at the close of one slice.

    Arrays ``(n_symbols,)`` are in universe order, ``(n_sleeves,)`` and ``(n_legs,)`` in that of ``layout``.

    Parameters
    ----------
    ts_ns, state_version : int
        Of the slice the problem was taken from.
    layout : Layout
    equity_usd : float
    price_usd : FloatArray, shape (n_symbols,)
        Last good closes; NaN where unknown.
    side, expected_return_frac, usd_ratio, frozen_usd_ratio : FloatArray, shape (n_sleeves,)
        From the strategies' outlooks; a single-name sleeve has side 0, return 0 and ratio NaN.
    changed : tuple of int
        Sleeves whose side changed on this slice.
    held_leg_frac : FloatArray, shape (n_legs,)
        Weights held now.
    covariance_daily : FloatArray, shape (n_symbols, n_symbols)
        Shrunk covariance of daily returns; rows of symbols that are warming up are zero.
    factor_daily : FloatArray, shape (n_symbols, n_symbols)
        L with L L' = covariance.
    known : BoolArray, shape (n_symbols,)
        Symbols that risk can measure; no target may hold another.
    cost_frac : FloatArray, shape (n_symbols,)
        One-way cost per USD traded.
    volume_usd : FloatArray, shape (n_symbols,)
        Expected traded value of the next bar.
    participation_max_frac : float
    var_budget_usd : float
        What ``upper`` may reach: 0.90 of the limit.
    var_factor : float
        z * sqrt(horizon_days) * max(1, mc/analytic) * 1.0373: VaR upper = var_factor * ||L'w|| * E.
    carry : Carry
        What the book pays and receives for what it holds, by symbol.
    is_reducing : bool
        In state REDUCING no position may grow or flip.
    controls : mapping of str to float
        Options of the allocator that an operator may change, as they are now; absent: as configured.
    history_return_frac : FloatArray or None, shape (n_days, n_symbols)
        Daily returns of the last sessions, oldest first; NaN where unknown. As many as the allocator's option
        ``history_days`` asks for; None when it asks for none.
    """

    ts_ns: Nanos
    state_version: int
    layout: Layout
    equity_usd: float
    price_usd: FloatArray
    side: FloatArray
    expected_return_frac: FloatArray
    usd_ratio: FloatArray
    frozen_usd_ratio: FloatArray
    changed: tuple[int, ...]
    held_leg_frac: FloatArray
    covariance_daily: FloatArray
    factor_daily: FloatArray
    known: BoolArray
    cost_frac: FloatArray
    volume_usd: FloatArray
    participation_max_frac: float
    var_budget_usd: float
    var_factor: float
    carry: Carry
    is_reducing: bool
    controls: Mapping[str, float] = NO_CONTROLS
    history_return_frac: FloatArray | None = None


class AllocatorContext(msgspec.Struct, frozen=True):
    """What an allocator is told when it is built; minutes as in ``StrategyContext``.

    ``capital_frac`` is the share of equity that a strategy may use gross, by its name; others share the rest.
    """

    layout: Layout
    session_min: int
    bar_min: int = 1
    capital_frac: Mapping[str, float] = NO_CONTROLS

    @property
    def session_bars(self) -> int:
        """Bars of a full session."""
        return math.ceil(self.session_min / min(self.bar_min, self.session_min))

    @property
    def sessions_per_year(self) -> int:
        """As in ``StrategyContext``."""
        return sessions_per_year(self.session_min)

    def calendar_days(self, minutes: float) -> float:
        """Return a span of session minutes in calendar days, as ``StrategyContext.horizon_days`` is."""
        return calendar_days(minutes, self.session_min)

    @property
    def share_frac(self) -> FloatArray:
        """Even part of its strategy's capital for each spread, shape (n_sleeves,); NaN without a share.

        Spreads of one chain have one part together: no more than one of them is wanted at a time.
        """
        spreads = self.layout.spreads
        chains = {(spread.strategy, spread.chain, "" if spread.chain else spread.name) for spread in spreads}
        parts = Counter(strategy for strategy, _, _ in chains)
        share = np.full(self.layout.n_sleeves, np.nan)
        for k, spread in enumerate(spreads):
            share[k] = self.capital_frac.get(spread.strategy, np.nan) / parts[spread.strategy]
        return share


class Targets(msgspec.Struct, frozen=True):
    """An allocator's decision.

    ``status`` is ``optimal`` or a typed reason, in which case ``leg_frac`` is empty and the book is held.
    """

    status: str
    leg_frac: FloatArray
    objective: float = float("nan")
    binding: tuple[str, ...] = ()
    solver: str = ""
    by_sleeve: bool = False


class Effect(msgspec.Struct, frozen=True, gc=False):
    """An event with the id that makes its delivery effectively once: ``(seq, index)``."""

    seq: int
    index: int
    event: Event


class Feed(Protocol):
    """A source of bars. Columnar feeds yield slices and the verdicts on what did not enter them.

    It knows the whole of its span before the first bar, so that a run can be announced, and counts what it
    has judged, so that a run can be checked.
    """

    @property
    def sessions(self) -> Sessions:
        """Sessions of the span."""
        ...

    @property
    def first_ns(self) -> Nanos:
        """Earliest stamp of the run."""
        ...

    @property
    def last_ns(self) -> Nanos:
        """Latest stamp of the run."""
        ...

    @property
    def received(self) -> int:
        """Bars judged so far."""
        ...

    @property
    def n_rows(self) -> int:
        """Bars of the whole run."""
        ...

    def bars(self) -> AsyncIterator[Bar | BarSlice | BarRejected | BarSuspended | BarConfirmed]:
        """Yield in arrival order until the source ends."""
        ...


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """What a live feed received, and how its receipt is confirmed.

    Parameters
    ----------
    record : Record
        Of a feed: a bar; a tick, the watermark of a source that keeps its own time; or a rejection of
        something that is no bar (undecodable bytes, a stamp too far in the future).
    position : str
        Where the source resumes after this one, if it can; kept in the journal.
    acknowledge : callable or None
        Called once the record is on disk: the source may forget it then. Must not block.
    """

    record: Record
    position: str = ""
    acknowledge: Callable[[], None] | None = None


class LiveFeed(Protocol):
    """A source of bars as they happen. It reconnects by itself, and yields until it is closed."""

    def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:
        """Yield what arrives, in batches; ``after`` is the last position on disk, empty at first."""
        ...


class Strategy(Protocol):
    """A function from slices to signals, with state of its own."""

    name: str
    spreads: tuple[Spread, ...]

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal | SpreadNoted]:
        """Take one minute; return transitions (and notes), usually nothing. The slice is not modified."""
        ...

    def outlook(self) -> Outlook:
        """Return the view after the last slice; cheap, called only when somebody asks."""
        ...

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        ...

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        ...


class Allocator(Protocol):
    """A function from a problem to targets; it may keep compiled problems, but no memory of answers."""

    def due(self, minute: int, n_changed: int) -> bool:
        """Whether to rebalance after this minute of the session, on which ``n_changed`` spreads changed."""
        ...

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Decide. Never raises for a hard problem: it answers with a typed status instead."""
        ...


class Sink(Protocol):
    """Somewhere effects go. Delivery may repeat; de-duplicate by ``(seq, index)``."""

    async def deliver(self, effects: Sequence[Effect]) -> None:
        """Take a batch, in order; return once the receiver has it, raise if it has not."""
        ...

    async def aclose(self) -> None:
        """Flush and release."""
        ...


class Plugin(msgspec.Struct, Generic[T_co], frozen=True):
    """One line of a registry: the options a kind accepts, and how it is built from them.

    ``z_unit`` is for people: the unit of what a strategy calls z, empty for standard deviations.
    ``weighs_returns`` says of an allocator whether it reads expected returns: forecasts take time.
    """

    options: type[BaseModel]
    build: Callable[[Any, Any], T_co]
    z_unit: str = ""
    weighs_returns: bool = True
