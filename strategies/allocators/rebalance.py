"""From a problem to targets: what every allocator that solves has in common.

``plan`` settles what is mandatory, ``parameters`` and ``program`` hold the compiled program, ``checks``
judges every answer again. The kinds differ in the ``Method``, in a limit on the worst days, and in options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
import numpy as np

from engine.errors import ConfigError
from engine.events import FloatArray
from engine.ports import AllocationProblem, AllocatorContext, Targets
from strategies.allocators.buffer import nearest_allowed, to_edge
from strategies.allocators.checks import Limits, Rates, Tail, bad_inputs, examine, utility
from strategies.allocators.parameters import Bounds, Method, Slots, assign_slots, fill_parameters, find_bounds
from strategies.allocators.plan import Plan, Wiring, legs_at, make_plan
from strategies.allocators.program import ATTEMPTS, compile_program

#: Differences under this (a dollar on a million) are the solver's noise, not a wish to trade.
NOISE_FRAC = 1e-6
#: What mean-variance does.
ONE_STEP = Method()
_NONE = np.empty(0)
T = TypeVar("T", bound=msgspec.Struct)


class _Case(msgspec.Struct, frozen=True):
    """A problem with all that judges an answer to it."""

    wiring: Wiring
    problem: AllocationProblem
    limits: Limits
    rates: Rates
    plan: Plan
    tail: Tail | None


def checked_every_min(every_min: int, context: AllocatorContext) -> int:
    """Return how often to rebalance, in minutes of the session, once there is such a minute.

    Raises
    ------
    ConfigError
        C251 if no session is that long.
    """
    if every_min > context.session_min:
        raise ConfigError(
            "C251",
            f"every_min = {every_min} never comes: a session has {context.session_min} minutes",
            "[allocator] every_min",
            "Minutes are counted from each session's opening, so nothing would ever be traded. Take a number "
            "no longer than the shortest session (210 for a half day of XNYS) to trade in all of them.",
        )
    return every_min


def in_force(controls: Mapping[str, float], limits: Limits, rates: Rates) -> tuple[Limits, Rates]:
    """Return caps and rates as configured, but for what an operator has changed."""
    return (_changed(limits, controls), _changed(rates, controls)) if controls else (limits, rates)


def rebalance(
    wiring: Wiring,
    problem: AllocationProblem,
    limits: Limits,
    rates: Rates,
    method: Method = ONE_STEP,
    tail: Tail | None = None,
) -> Targets:
    """Solve, check, and answer ``optimal`` or the reason why the book is held.

    Statuses: ``optimal``; ``bad_input`` (``binding`` names the fields); ``infeasible``; ``solver_failed``;
    ``check_failed`` (``binding`` names the broken constraints).

    Parameters
    ----------
    wiring, problem, limits, rates, method
        A cap that is cut below what is held is reached as fast as participation allows, and never makes a
        problem infeasible.
    tail : Tail or None
        With at most ``method.n_days`` days.
    """
    faults = bad_inputs(problem)
    if faults:
        return Targets("bad_input", _NONE, binding=faults)
    if not (problem.side.any() or problem.held_leg_frac.any()):
        return Targets("optimal", np.zeros(problem.held_leg_frac.size), objective=0.0, solver="none")
    plan = make_plan(wiring, problem, limits.gross_max_frac)
    case = _Case(wiring, problem, limits, rates, plan, tail)
    if not plan.is_live.any():
        # Exits and re-hedges are all there is to do: no solver needed, nor loaded.
        return _judged(case, plan.fixed_leg_frac, _settle(plan.fixed_leg_frac, problem), "none")

    slots = assign_slots(wiring, plan, method)
    bounds = find_bounds(wiring, problem, limits, plan, slots.is_crowded, tail)
    program = compile_program(slots.structure)
    vector = fill_parameters(wiring, problem, limits, rates, plan, slots, bounds, program, method, tail)
    reachable = program.within_reach(vector) if method.n_floors else vector
    answer = Targets("solver_failed", _NONE)
    if reachable is None:
        return answer
    for solver, settings in ATTEMPTS:
        solver_status, v_slots = program.solve(reachable, settings)
        if solver_status == "PrimalInfeasible":
            return Targets("infeasible", _NONE, solver=solver)
        if solver_status != "Solved":
            continue
        legs = _legs_of(case, slots, bounds, v_slots, method.buffer_frac)
        answer = _judged(case, bounds.anchor_leg_frac, legs, solver)
        if answer.status == "optimal":
            break
    return answer


def _legs_of(
    case: _Case, slots: Slots, bounds: Bounds, v_slots: FloatArray, buffer_frac: float
) -> FloatArray:
    """Return the legs of the solver's sizes, or of the edge of the band around them."""
    wiring, plan = case.wiring, case.plan
    v = np.zeros(len(wiring.y_leg))
    v[slots.spreads] = v_slots[: slots.spreads.size]
    v = _quiet(v, plan)
    if buffer_frac > 0.0 and np.isfinite(v).all():
        target = legs_at(wiring, plan, v)  # a cap may be exceeded as far as it does, and no further
        edge = np.clip(to_edge(plan.start, v, buffer_frac), bounds.low, bounds.high)
        v = nearest_allowed(edge, v, lambda sizes: not _broken(case, target, legs_at(wiring, plan, sizes))[0])
    return _settle(legs_at(wiring, plan, v), case.problem)


def _broken(case: _Case, anchor: FloatArray, legs: FloatArray) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return examine(case.wiring, case.problem, case.limits, case.plan, anchor, legs, case.tail)


def _judged(case: _Case, anchor: FloatArray, legs: FloatArray, solver: str) -> Targets:
    broken, binding = _broken(case, anchor, legs)
    if broken:
        return Targets("check_failed", _NONE, binding=broken, solver=solver)
    objective = utility(case.wiring, case.problem, case.plan, case.rates, legs)
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
