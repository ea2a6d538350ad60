"""The three engines whose loops are measured: signals only; with fills, costs and a book; with everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import arrays, tape
from benchmarks.tape import Size, Tally
from engine.app.config.load import Config
from engine.app.wiring import build_loop, layout_of
from engine.book import Book
from engine.bus import Bus
from engine.carry import Funding
from engine.commands import Keys, Verifier
from engine.desk import RiskRule, TradingDesk
from engine.events import BarSlice, Event, FloatArray, Record, Side, Signal
from engine.execution import Costs
from engine.loop import Listener, Loop
from engine.oversight import Market, RiskReport
from engine.ports import AllocatorContext, State, StrategyContext
from feeds.calendars import minutes_per_session
from risk.gate import RiskGate
from risk.limits import HaltLatch
from strategies import REGISTRY as STRATEGIES
from strategies.allocators.direct import Direct, DirectOptions

_FLAT = RiskReport(0.0, 0.0, 0.0, 0.0, 0.0)
_LIMIT_USD = 150_000.0


def ignore(seq: int, record: Record, events: list[Event]) -> None:
    """Listen to nothing."""


class ZeroRisk:
    """A risk desk, and its model, for which nothing can be lost: what trading costs without measuring risk.

    Parameters
    ----------
    n_symbols : int
    """

    def __init__(self, n_symbols: int) -> None:
        self.covariance_daily: FloatArray = np.zeros((n_symbols, n_symbols))
        self.market = Market(self.covariance_daily, np.ones(n_symbols, dtype=np.bool_))

    def observe(self, slice_: BarSlice) -> None:
        """Learn nothing."""

    def refresh(self) -> None:
        """Have nothing to bring up to date."""

    def history_return_frac(self) -> FloatArray | None:
        """Keep no returns."""
        return None

    def measure(self, holdings_usd: FloatArray, market: Market | None = None) -> RiskReport:  # noqa: ARG002
        """Call every book riskless."""
        return _FLAT

    def state(self) -> State:
        """Return nothing."""
        return {}

    def restore(self, state: State) -> None:
        """Continue from nothing."""


def signals_only(size: Size, listener: Listener = ignore) -> Loop:
    """Build an engine without a desk: strategies, bus and loop."""
    config = arrays.config(size, Path.cwd(), allocator="none")
    return build_loop(config, None, Keys(), listener)


def with_fills(size: Size, listener: Listener = ignore) -> Loop:
    """Build an engine that trades on every transition, with costs, a book and the real gate, but no VaR."""
    config = arrays.config(size, Path.cwd(), allocator="direct")
    session_min = minutes_per_session(config.universe.calendar)
    table = config.strategy[0]
    context = StrategyContext(table.name, config.symbols, 60.0, session_min, is_return_weighed=False)
    strategy = STRATEGIES[table.kind].build(table.options, context)
    layout = layout_of(config.symbols, strategy.spreads, ())
    funding = Funding(**config.funding.model_dump())
    risk = ZeroRisk(len(config.symbols))
    opening = np.zeros(len(layout.leg_symbol))
    desk = TradingDesk(
        Book(layout, config.book.equity_usd, opening, funding, config.risk.price_max_age_min),
        risk,
        RiskGate(risk, _LIMIT_USD),
        HaltLatch(_LIMIT_USD),
        Costs(**config.costs.model_dump(exclude={"preset"})),
        RiskRule(1.0, 1.0, 1.0),
    )
    allocator = Direct(DirectOptions(unit_usd=tape.UNIT_USD), AllocatorContext(layout, session_min))
    return Loop(Bus([strategy], desk, allocator, Verifier("bench", Keys())), listener)


def with_everything(size: Size, listener: Listener = ignore) -> Loop:
    """Build the whole engine: the optimiser every 30 minutes, VaR and gate on every bar."""
    config: Config = arrays.config(size, Path.cwd())
    return build_loop(config, arrays.history(size), Keys(), listener)


def tally(size: Size, slices: list[BarSlice]) -> Tally:
    """Return what the engine says of a tape; the sum of |z| is taken from outlooks, which costs extra."""
    sides: list[Side] = []

    def note(_seq: int, _record: Record, events: list[Event]) -> None:
        sides.extend(event.side for event in events if type(event) is Signal)

    loop = signals_only(size, note)
    z_sum = 0.0
    for slice_ in slices:
        loop.step(slice_)
        z_sum += float(np.abs(loop.bus.strategies[0].outlook().z).sum())
    exits = sides.count(Side.FLAT)
    return Tally(len(sides) - exits, exits, z_sum)
