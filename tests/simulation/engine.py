"""The engine of a world: everything real, with a risk desk and an allocator that can be made to fail.

What fails inside the core fails by the minute of the bar it handles, so that it does so again in recovery and
in the reference. What is expensive and has no memory is made once in a process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np

from engine.app.wiring import layout_of
from engine.book import Book
from engine.bus import Bus
from engine.carry import Funding
from engine.commands import Keys, Verifier
from engine.controls import AVERSIONS, CAPS, VAR_LIMIT, Control, Controls
from engine.desk import RiskRule, TradingDesk
from engine.events import MINUTE_NS, BarSlice, FloatArray, Nanos
from engine.execution import Costs
from engine.intake import Intake
from engine.loop import Listener, Loop
from engine.oversight import Market, RiskModel, RiskReport
from engine.ports import (
    AllocationProblem,
    Allocator,
    AllocatorContext,
    DailyHistory,
    Layout,
    State,
    Strategy,
    StrategyContext,
    Targets,
)
from engine.slices import Slicer
from risk.actor import CovarianceOptions, RiskActor
from risk.factor import market_of
from risk.gate import RiskGate
from risk.limits import HaltLatch
from risk.var import GaussianVarOptions, build_gaussian
from strategies import REGISTRY
from strategies.allocators import REGISTRY as ALLOCATORS
from tests.simulation.market import START_NS, SYMBOLS, sessions_of
from tests.simulation.plan import Knobs, Plan
from tests.support.engines import HALT_KEY, OPERATOR_KEY, history_of

INSTANCE: Final = "desk"
KEYS: Final = Keys(OPERATOR_KEY, HALT_KEY)
_EQUITY_USD: Final = 1_000_000.0
_SESSION_MIN: Final = 120
_KALMAN: Final = {
    "pairs": ["A/B", "C/D"],
    "noise": {"delta": 1e-9, "observation_variance": 1e-6, "overnight_variance": 1e-5},
    "warmup_min": 3,
    "entry_z": 1.0,
    "exit_z": 0.2,
    "forecast_window_min": 20,
}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "direct": {"unit_usd": 150_000.0},
    "mean_variance": {"every_min": 3, "risk_aversion": 1.0, "trade_aversion": 0.2, "horizon_min": 10},
}


@cache
def _model() -> RiskModel:
    return build_gaussian(GaussianVarOptions(scenarios=500), SYMBOLS)


@cache
def _history() -> DailyHistory:
    return history_of(SYMBOLS)


@cache
def _first_actor() -> RiskActor:
    return RiskActor(CovarianceOptions(cov_refresh_min=5), _model(), SYMBOLS, _SESSION_MIN, _history())


def _actor() -> RiskActor:
    """Return a risk desk that has seen nothing; what cannot change is shared."""
    return deepcopy(_first_actor(), {id(part): part for part in (_model(), _history())})


@cache
def _strategy_options() -> Any:
    return REGISTRY["kalman_pairs"].options.model_validate(_KALMAN)


def strategy() -> Strategy:
    """Build the strategy of every world."""
    context = StrategyContext("kalman", SYMBOLS, horizon_min=10.0, session_min=_SESSION_MIN)
    built: Strategy = REGISTRY["kalman_pairs"].build(_strategy_options(), context)
    return built


@cache
def _layout(holds_at_start: bool) -> Layout:
    return layout_of(SYMBOLS, strategy().spreads, ("A", "B") if holds_at_start else ())


@cache
def _allocator(kind: str, holds_at_start: bool) -> tuple[Allocator, Mapping[str, float]]:
    plugin = ALLOCATORS[kind]
    options = plugin.options(**_OPTIONS[kind])
    values = options.model_dump(include={*CAPS, *AVERSIONS})
    return plugin.build(options, AllocatorContext(_layout(holds_at_start), _SESSION_MIN)), values


class FailingRisk:
    """A risk desk that raises, does not know, or finds a covariance that is none, in given minutes.

    Parameters
    ----------
    desk : RiskActor
    faults : mapping
        Kind of fault by the close of the minute.
    """

    def __init__(self, desk: RiskActor, faults: Mapping[Nanos, str]) -> None:
        self._desk = desk
        self._faults = faults
        self._fault = ""

    @property
    def market(self) -> Market:
        return self._desk.market

    @property
    def covariance_daily(self) -> FloatArray:
        return self._desk.covariance_daily

    def observe(self, slice_: BarSlice) -> None:
        self._fault = self._faults.get(slice_.ts_close_ns, "")
        if self._fault == "risk_raises":
            raise RuntimeError("the risk desk fails")
        self._desk.observe(slice_)
        if self._fault == "not_psd":
            bad = np.full((len(SYMBOLS), len(SYMBOLS)), 4e-4) - 3e-4 * np.eye(len(SYMBOLS))
            bad[0, 1] = bad[1, 0] = -4e-4
            self._desk.market = market_of(bad, self._desk.market.known, 1e-6).market

    def refresh(self) -> None:
        self._desk.refresh()

    def history_return_frac(self) -> FloatArray | None:
        return self._desk.history_return_frac()

    def measure(self, holdings_usd: FloatArray) -> RiskReport:
        report = self._desk.measure(holdings_usd)
        return msgspec.structs.replace(report, var_usd=math.nan) if self._fault == "risk_nan" else report

    def state(self) -> State:
        return self._desk.state()

    def restore(self, state: State) -> None:
        self._desk.restore(state)


class FailingAllocator:
    """Answers as it is told by ``mood``, asked for at every problem: empty for an honest answer."""

    def __init__(self, honest: Allocator, mood: Any) -> None:
        self._honest = honest
        self._mood = mood

    def due(self, minute: int, n_changed: int) -> bool:
        return self._honest.due(minute, n_changed)

    def allocate(self, problem: AllocationProblem) -> Targets:
        mood = self._mood()
        if mood == "solve_raises":
            raise RuntimeError("the solver fails")
        if mood == "infeasible":
            return Targets("infeasible", np.empty(0), solver="CLARABEL")
        if mood in {"reckless", "mad"}:
            return Targets("optimal", _asked_by(mood, problem), by_sleeve=problem.state_version % 2 == 0)
        return self._honest.allocate(problem)


def _asked_by(mood: str, problem: AllocationProblem) -> FloatArray:
    """Ask for more of everything, the other side, or what is no number: the gate has to know better."""
    legs = problem.held_leg_frac.copy()
    spin = problem.state_version
    if mood == "mad":
        legs[spin % legs.size] = (math.nan, math.inf, -1e9, 1e300)[spin % 4]
        return legs
    push = np.array([(-1.0) ** (spin + k // 2) if k % 2 else 1.0 for k in range(legs.size)])
    return 1.5 * legs + 0.2 * push if spin % 3 else -2.0 * legs


def risk_faults(plan: Plan) -> dict[Nanos, str]:
    """Return the minutes in which risk fails."""
    kinds = {"risk_raises", "risk_nan", "not_psd"}
    return {
        (START_NS + round(fault.at_s * 1e9)) // MINUTE_NS * MINUTE_NS: fault.kind
        for fault in plan.faults
        if fault.kind in kinds
    }


def build(plan: Plan, listener: Listener, mood: Any = lambda: "") -> Loop:
    """Build the engine of a world, ready for its first record."""
    knobs: Knobs = plan.knobs
    layout, model, spread_maker = _layout(knobs.holds_at_start), _model(), strategy()
    honest, of_allocator = _allocator(knobs.allocator, knobs.holds_at_start)
    funding = Funding(0.036, 50.0, 25.0, 40.0)
    opening = np.zeros(len(layout.leg_symbol))
    if knobs.holds_at_start:
        opening[-2:] = (200.0, -300.0)
    desk = TradingDesk(
        Book(layout, _EQUITY_USD, opening, funding, 3),
        FailingRisk(_actor(), risk_faults(plan)),
        RiskGate(model, 0.9 * knobs.var_limit_usd),
        HaltLatch(knobs.var_limit_usd),
        Costs(),
        RiskRule(0.9, model.z_horizon, model.mc_margin),
    )
    values = {VAR_LIMIT: knobs.var_limit_usd, **of_allocator}
    bounds = {name: (value / 10 if name in AVERSIONS else 1e-6, value * 10) for name, value in values.items()}
    controls = Controls([Control(name, value, *bounds[name]) for name, value in values.items()])
    bus = Bus(
        [spread_maker],
        desk,
        FailingAllocator(honest, mood),
        Verifier(INSTANCE, KEYS),
        Intake(Slicer(SYMBOLS, sessions_of(plan))),
        controls,
    )
    return Loop(bus, listener)


def anatomy(loop: Loop) -> dict[str, Any]:
    """Return everything the next record depends on, also where a snapshot could not be taken."""
    bus = loop.bus
    assert bus.intake is not None
    assert bus.desk is not None
    return {
        "seq": loop.seq,
        "status": loop.status.state(),
        "measured_ns": bus._measured_ns,
        "intake": bus.intake.state(),
        "strategies": [strategy.state() for strategy in bus.strategies],
        "desk": bus.desk.state(),
        "verifier": bus._verifier.state(),
        "rebalance_asked": bus._rebalance_asked,
        "controls": bus.controls.state(),
        "wanted": bus._wanted.copy(),
        "unwanted": list(bus._unwanted),
        "was_commanded": bus._was_commanded,
    }
