"""Mean-variance with costs, funding and a VaR cone, over spreads: the default allocator.

    maximise    alpha's - gamma w'(h Sigma)w - tau sum c|w - w0| - funding(w) h/360
    subject to  gross, net, per-name and participation caps, the wanted sides, VaR upper <= budget

with w = Bs and column k of B equal to (1, -b)/(1 + |b|), so that the solver cannot break a hedge. The
formulas are explained in docs/maths/mean_variance.md; ``plan`` settles what is mandatory, ``parameters`` and
``program`` hold the compiled program, ``checks`` judges every answer again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.events import FloatArray
from engine.ports import AllocationProblem, AllocatorContext, Targets
from strategies.allocators.checks import Limits, Rates, bad_inputs, examine, utility
from strategies.allocators.parameters import assign_slots, fill_parameters, find_bounds
from strategies.allocators.plan import Plan, legs_at, make_plan, wire
from strategies.allocators.program import ATTEMPTS, compile_program

#: Differences under this (a dollar on a million) are the solver's noise, not a wish to trade.
NOISE_FRAC = 1e-6
_NONE = np.empty(0)
T = TypeVar("T", bound=msgspec.Struct)


class MeanVarianceOptions(BaseModel):
    """``[allocator] kind = "mean_variance"``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_min: int = Field(30, ge=1, description="Rebalance every so many minutes of the session.")
    gross_max_frac: float = Field(2.0, gt=0.0, le=20.0, description="Cap on the sum of |weights|.")
    net_max_frac: float = Field(0.05, gt=0.0, le=20.0, description="Cap on |sum of weights|.")
    name_max_frac: float = Field(1.0, gt=0.0, le=20.0, description="Cap on the |weight| of any symbol.")
    risk_aversion: float = Field(
        15.0, ge=0.0, allow_inf_nan=False, description="gamma; 0.5 bets like Kelly, larger bets less."
    )
    trade_aversion: float = Field(
        1.0, ge=0.0, allow_inf_nan=False, description="tau; 1 counts true costs, larger trades less."
    )
    horizon_min: float = Field(
        60.0, gt=0.0, allow_inf_nan=False, description="Horizon of forecasts, risk and funding, minutes."
    )


class MeanVariance:
    """The allocator; it keeps nothing but its options and index arrays.

    Caps and aversions are those of the problem's ``controls`` where it has them. A cap that is cut below what
    is held is reached as fast as participation allows, and never makes a problem infeasible.

    Parameters
    ----------
    options : MeanVarianceOptions
    context : AllocatorContext
    """

    def __init__(self, options: MeanVarianceOptions, context: AllocatorContext) -> None:
        self._every_min = options.every_min
        self._limits = Limits(options.gross_max_frac, options.net_max_frac, options.name_max_frac)
        self._rates = Rates(
            options.risk_aversion, options.trade_aversion, options.horizon_min / context.session_min
        )
        self._wiring = wire(context.layout)

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - the clock alone decides here
        """Rebalance on every ``every_min``-th minute of the session."""
        return minute % self._every_min == 0

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Solve, check, and answer ``optimal`` or the reason why the book is held.

        Statuses: ``optimal``; ``bad_input`` (``binding`` names the fields); ``infeasible``;
        ``solver_failed``; ``check_failed`` (``binding`` names the broken constraints).
        """
        faults = bad_inputs(problem)
        if faults:
            return Targets("bad_input", _NONE, binding=faults)
        if not (problem.side.any() or problem.held_leg_frac.any()):
            return Targets("optimal", np.zeros(problem.held_leg_frac.size), objective=0.0, solver="none")
        wiring = self._wiring
        limits, rates = self._in_force(problem.controls)
        plan = make_plan(wiring, problem, limits.gross_max_frac)
        if not plan.is_live.any():
            # Exits and re-hedges are all there is to do: no solver needed, nor loaded.
            legs = _settle(plan.fixed_leg_frac, problem)
            return self._judged(problem, limits, rates, plan, plan.fixed_leg_frac, legs, "none")

        slots = assign_slots(wiring, plan)
        bounds = find_bounds(wiring, problem, limits, plan, slots.is_crowded)
        program = compile_program(slots.structure)
        vector = fill_parameters(wiring, problem, limits, rates, plan, slots, bounds, program)
        answer = Targets("solver_failed", _NONE)
        for solver, settings in ATTEMPTS:
            solver_status, v_slots = program.solve(vector, settings)
            if solver_status == "PrimalInfeasible":
                return Targets("infeasible", _NONE, solver=solver)
            if solver_status != "Solved":
                continue
            v = np.zeros(len(wiring.y_leg))
            v[slots.spreads] = v_slots[: slots.spreads.size]
            legs = _settle(legs_at(wiring, plan, _quiet(v, plan)), problem)
            answer = self._judged(problem, limits, rates, plan, bounds.anchor_leg_frac, legs, solver)
            if answer.status == "optimal":
                break
        return answer

    def _in_force(self, controls: Mapping[str, float]) -> tuple[Limits, Rates]:
        """Return caps and rates as configured, but for what an operator has changed."""
        if not controls:
            return self._limits, self._rates
        return _changed(self._limits, controls), _changed(self._rates, controls)

    def _judged(
        self,
        problem: AllocationProblem,
        limits: Limits,
        rates: Rates,
        plan: Plan,
        anchor: FloatArray,
        legs: FloatArray,
        solver: str,
    ) -> Targets:
        broken, binding = examine(self._wiring, problem, limits, plan, anchor, legs)
        if broken:
            return Targets("check_failed", _NONE, binding=broken, solver=solver)
        objective = utility(self._wiring, problem, plan, rates, legs)
        return Targets("optimal", legs, objective, binding, solver)


def _changed(given: T, controls: Mapping[str, float]) -> T:
    fields = {name: controls[name] for name in given.__struct_fields__ if name in controls}
    return msgspec.structs.replace(given, **fields)


def _quiet(v: FloatArray, plan: Plan) -> FloatArray:
    v = np.where(np.abs(v - plan.start) < NOISE_FRAC, plan.start, v)
    return np.where(v < NOISE_FRAC, 0.0, v)


def _settle(legs: FloatArray, problem: AllocationProblem) -> FloatArray:
    """Keep a leg to the last bit where the difference is noise, so that nothing trades on rounding."""
    held = problem.held_leg_frac
    return np.where((np.abs(legs - held) < NOISE_FRAC) & (legs != 0.0), held, legs)
