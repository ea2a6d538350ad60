"""Treasury relative value on the bus: the program of ``treasury_program`` over the wanted sides.

What each spread is expected to earn comes from its strategy, after repo and over the strategy's own horizon;
costs, volumes, the covariance and what may trade come with the problem. Losses are those of normal scenarios
with the engine's covariance, or the days of its history. ``plan`` settles what is mandatory, as for every
allocator, and ``checks`` judges the answer again. VaR is left to the gate. docs/maths/treasury.md.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.errors import ConfigError
from engine.events import FloatArray, IntArray
from engine.ports import AllocationProblem, AllocatorContext, Targets
from engine.sessions import is_due
from strategies.allocators.checks import Limits, Rates, bad_inputs, examine
from strategies.allocators.parameters import Bounds, find_bounds
from strategies.allocators.plan import Plan, legs_at, make_plan, wire
from strategies.allocators.rebalance import NOISE_FRAC, checked_every_min, in_force
from strategies.allocators.treasury_program import Cap, TreasuryProblem, solve
from strategies.allocators.treasury_scenarios import normal_shocks

#: Fewer days than this have no worst twentieth to speak of.
_HISTORY_DAYS_MIN: Final = 60
_NONE: Final = np.empty(0)


class TreasuryAllocatorOptions(BaseModel):
    """``[allocator] kind = "treasury"``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    every_min: int = Field(
        210,
        ge=1,
        description="Rebalance every so many minutes of the session; 210 come on a half day of XNYS, too.",
    )
    gross_max_frac: float = Field(
        10.0, gt=0.0, le=100.0, description="Leverage: cap on the sum of |weights|."
    )
    name_max_frac: float = Field(10.0, gt=0.0, le=100.0, description="Cap on the |weight| of any symbol.")
    liquidity_days: float = Field(
        1.0, gt=0.0, description="Cap on a position, in full sessions of its expected volume."
    )
    haircut_frac: float = Field(0.0, ge=0.0, le=1.0, description="Margin per USD of position, of equity.")
    cvar_max_frac: float = Field(0.02, gt=0.0, le=1.0, description="Cap on CVaR, fraction of equity.")
    cvar_level_frac: float = Field(0.95, gt=0.0, lt=1.0, description="0.95 averages the worst twentieth.")
    cvar_horizon_days: int = Field(1, ge=1, le=250, description="Trading days that a loss is measured over.")
    history_days: int = Field(
        0, ge=0, le=5_000, description="Last days that are the scenarios; 0: normal ones, of the covariance."
    )
    n_scenarios: int = Field(1_000, ge=20, le=50_000, description="Normal scenarios.")
    seed: int = Field(2024, ge=0, description="Of the normal scenarios: the same in every solve.")
    minimum: Literal["semicontinuous", "none"] = Field(
        "semicontinuous", description="Nothing or at least min_position_usd; or any size."
    )
    min_position_usd: float = Field(0.0, ge=0.0, description="Smallest position that is worth having.")


class _Live(msgspec.Struct, frozen=True):
    """The spreads that the solver decides: their index, and weights by symbol at size 1, shape (n, k)."""

    spreads: IntArray
    column: FloatArray


class TreasuryAllocator:
    """The allocator; it keeps nothing but its options, index arrays and the fixed shocks.

    Parameters
    ----------
    options : TreasuryAllocatorOptions
    context : AllocatorContext

    Raises
    ------
    ConfigError
        C250 for a strategy with a share of the capital, which this program has no row for; C251 for an
        ``every_min`` longer than a session.
    """

    def __init__(self, options: TreasuryAllocatorOptions, context: AllocatorContext) -> None:
        if context.capital_frac:
            raise ConfigError(
                "C250",
                "allocator treasury keeps no shares of the capital",
                f"[[strategy]] capital_frac of {', '.join(context.capital_frac)}",
                "A share that is not kept would be a limit that is none. Cap the book with gross_max_frac, "
                "or choose another allocator.",
            )
        self._options, self._bar_min = options, context.bar_min
        self._every_min = checked_every_min(options.every_min, context)
        self._liquidity_bars = options.liquidity_days * context.session_bars
        self._limits = Limits(options.gross_max_frac, np.inf, options.name_max_frac)
        self._wiring = wire(context.layout)
        self._shocks = normal_shocks(options.n_scenarios, options.seed, None, len(context.layout.symbols))

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - the clock alone decides here
        """Rebalance in every bar that a multiple of ``every_min`` minutes of the session lies in."""
        return is_due(minute, self._bar_min, self._every_min)

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Solve, check, and answer ``optimal`` or the reason why the book is held.

        Statuses: ``optimal``, which may be to trade nothing; ``bad_input`` (``binding`` names the fields; a
        history that is too short is one); ``infeasible``; ``solver_failed``; ``check_failed``.
        """
        wiring = self._wiring
        faults = bad_inputs(problem)
        returns = _NONE.reshape(0, 0) if faults else self._returns(problem)
        if not faults and not len(returns):
            faults = ("history_return_frac",)
        if faults:
            return Targets("bad_input", _NONE, binding=faults)
        limits, _ = in_force(problem.controls, self._limits, Rates(0.0, 1.0, 0.0, 0.0))
        plan = make_plan(wiring, problem, limits.gross_max_frac)
        bounds = find_bounds(wiring, problem, limits, plan, np.zeros_like(wiring.is_crowded), None)
        legs, solver, objective = bounds.anchor_leg_frac, "none", 0.0
        binding: tuple[str, ...] = ()
        if plan.is_live.any():
            live = _live(self._wiring.layout.leg_symbol, wiring.y_leg, wiring.x_leg, plan, wiring.n_symbols)
            program = self._program(problem, limits, plan, bounds, live, returns)
            answer = solve(program)
            if answer.status not in {"optimal", "do_not_trade"}:
                return Targets(answer.status, _NONE, binding=answer.binding, solver="highs")
            v = np.zeros(len(wiring.y_leg))
            v[live.spreads] = answer.x
            legs, solver, binding = legs_at(wiring, plan, v), "highs", answer.binding
            is_rounding = (legs != 0.0) & (np.abs(legs - problem.held_leg_frac) < NOISE_FRAC)
            legs = np.where(is_rounding, problem.held_leg_frac, legs)
            objective = program.net(answer.x)
        unlimited = msgspec.structs.replace(problem, var_budget_usd=1e300)  # VaR is the gate's to judge
        broken, also = examine(wiring, unlimited, limits, plan, bounds.anchor_leg_frac, legs)
        if broken:
            return Targets("check_failed", _NONE, binding=broken, solver=solver)
        return Targets("optimal", legs, objective, tuple(dict.fromkeys((*binding, *also))), solver)

    def _returns(self, problem: AllocationProblem) -> FloatArray:
        """Return the scenarios of all symbols over the horizon of CVaR, shape (m, n_symbols)."""
        options = self._options
        scale = np.sqrt(options.cvar_horizon_days)
        if not options.history_days:
            return np.asarray(scale * (self._shocks @ problem.factor_daily.T), dtype=np.float64)
        history = problem.history_return_frac
        layout = problem.layout
        if history is None:
            return np.empty((0, len(layout.symbols)))
        is_used = (problem.side[layout.leg_sleeve] != 0.0) | (problem.held_leg_frac != 0.0)
        used = np.unique(layout.leg_symbol[is_used])
        whole = history[np.isfinite(history[:, used]).all(axis=1)]
        if len(whole) < _HISTORY_DAYS_MIN:
            return np.empty((0, len(layout.symbols)))
        return np.asarray(scale * np.where(np.isfinite(whole), whole, 0.0), dtype=np.float64)

    def _program(
        self,
        problem: AllocationProblem,
        limits: Limits,
        plan: Plan,
        bounds: Bounds,
        live: _Live,
        returns: FloatArray,
    ) -> TreasuryProblem:
        """State the program over the sizes of the live spreads, fractions of equity.

        A cap that the mandatory trades leave broken becomes the level they leave.
        """
        options, layout, k = self._options, self._wiring.layout, live.spreads
        fixed = layout.net(plan.fixed_leg_frac)
        size, cost = np.abs(live.column), np.where(problem.cost_frac >= 0.0, problem.cost_frac, 0.0)
        low, anchor = bounds.low[k], np.abs(bounds.anchor_leg_frac)
        anchor_v = np.clip(plan.start, bounds.low, bounds.high)[k]
        volume = np.where(problem.volume_usd > 0.0, problem.volume_usd, 0.0) / problem.equity_usd
        room = np.divide(volume[:, None], size, out=np.full(size.shape, np.inf), where=size > 0.0)
        high = np.maximum(np.minimum(bounds.high[k], self._liquidity_bars * room.min(axis=0)), low)
        least = np.full(k.size, options.min_position_usd / problem.equity_usd)
        # One that cannot leave at once, and is under the minimum, has none until it is gone.
        least = np.where((low > 0.0) & (anchor_v < least), 0.0, least)

        gross_fixed = float(np.abs(plan.fixed_leg_frac).sum())
        caps = [Cap("gross", size.sum(axis=0), max(limits.gross_max_frac, float(anchor.sum())) - gross_fixed)]
        if options.haircut_frac > 0.0:
            margin = max(1.0, options.haircut_frac * float(anchor.sum()))
            weight = options.haircut_frac * size.sum(axis=0)
            caps.append(Cap("haircut", weight, margin - options.haircut_frac * gross_fixed))
        program = TreasuryProblem(
            names=tuple(layout.spreads[i].name for i in k),
            edge=problem.side[k] * problem.expected_return_frac[k],
            cost=cost @ size,
            held=plan.start[k],
            long_max=high,
            short_max=np.zeros(k.size),
            minimum=options.minimum,
            position_min=least,
            caps=tuple(caps),
            loss=-returns @ live.column,
            loss_fixed=-returns @ fixed,
            trade_max=np.maximum(plan.start[k] - low, high - plan.start[k]),
            cvar_max=options.cvar_max_frac,
            cvar_level_frac=options.cvar_level_frac,
        )
        return msgspec.structs.replace(program, cvar_max=max(program.cvar_max, program.cvar(anchor_v)))


def _live(leg_symbol: IntArray, y_leg: IntArray, x_leg: IntArray, plan: Plan, n_symbols: int) -> _Live:
    spreads = np.flatnonzero(plan.is_live)
    column = np.zeros((n_symbols, spreads.size))
    each = np.arange(spreads.size)
    np.add.at(column, (leg_symbol[y_leg[spreads]], each), plan.column_y[spreads])
    np.add.at(column, (leg_symbol[x_leg[spreads]], each), plan.column_x[spreads])
    return _Live(spreads, column)
