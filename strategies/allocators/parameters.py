"""From a plan to the numbers of the compiled program: which spreads get a slot, their bounds, the vector."""

from __future__ import annotations

import msgspec
import numpy as np

from engine.events import BoolArray, FloatArray, IntArray
from engine.ports import AllocationProblem
from strategies.allocators.checks import Limits, Rates, Tail, floors_reached
from strategies.allocators.plan import Plan, Wiring, legs_at, pace_of
from strategies.allocators.program import Program, Structure, disjoint

_BP = 1e4
_PCT = 1e2
#: Price of leaving a broken cap broken, in multiples of the steepest gain or cost.
_EXCESS_PRICE = 100.0


class Method(msgspec.Struct, frozen=True):
    """How an allocator decides: over how many steps, with which further limit, and what it then trades.

    Parameters
    ----------
    steps : int
        Periods of one horizon each that are planned; the first is traded.
    decay_frac : float
        What is left of a forecast after a step.
    ends_flat : bool
        Whether the plan pays for leaving what it holds at its end.
    buffer_frac : float
        Half-width of the band around the solver's sizes in which a spread is left alone.
    n_days : int
        Rows of history that a tail may have; 0 without one.
    n_floors : int
        Floors among the limits.
    """

    steps: int = 1
    decay_frac: float = 1.0
    ends_flat: bool = False
    buffer_frac: float = 0.0
    n_days: int = 0
    n_floors: int = 0


class Slots(msgspec.Struct, frozen=True):
    """The spreads that a program decides, in the order of its slots.

    Parameters
    ----------
    spreads : IntArray
        At most as many as the structure has slots; a slot left over has zero columns.
    symbols : IntArray
        The program's symbols, likewise; -1 for the second leg of an outright, which it has not.
    is_crowded : BoolArray, shape (n_symbols,)
        Symbols of the universe that the structure treats as crowded.
    """

    structure: Structure
    spreads: IntArray
    symbols: IntArray
    is_crowded: BoolArray


class Bounds(msgspec.Struct, frozen=True):
    """Range of v per spread, the book of the mandatory trades, and by how much that book breaks each cap.

    ``ceiling`` is the upper bound of later steps, which participation does not bind.
    """

    low: FloatArray
    high: FloatArray
    ceiling: FloatArray
    anchor_leg_frac: FloatArray
    gross_excess: float
    net_excess: float
    sigma_excess_pct: float
    worst_excess_pct: float
    name_excess: FloatArray
    share_excess: FloatArray


def assign_slots(wiring: Wiring, plan: Plan, method: Method) -> Slots:
    """Choose the program.

    Live spreads that share no symbol, among themselves or with what stays, go into the next larger of a few
    small programs (4, 8, 16, ... slots). Otherwise the program of the whole layout is used; also where it is
    smaller, since all spreads are live and some are outrights, of one symbol and not two.
    """
    symbol = wiring.layout.leg_symbol
    y, x = symbol[wiring.y_leg], symbol[wiring.x_leg]
    live, is_pair = np.flatnonzero(plan.is_live), x != y
    is_used = plan.fixed_leg_frac != 0.0
    is_used[wiring.y_leg[live]] = True
    is_used[wiring.x_leg[live[is_pair[live]]]] = True
    legs_on = np.bincount(symbol, weights=is_used, minlength=wiring.n_symbols)
    n_slots = min(max(4, 1 << (live.size - 1).bit_length()), len(y))
    is_smaller = n_slots < len(y) or bool(is_pair.all())
    if is_smaller and max(legs_on[y[live]].max(), legs_on[x[live]].max()) <= 1.0:
        own = np.column_stack((y[live], np.where(is_pair, x, -1)[live])).ravel()
        structure = _of_method(disjoint(n_slots), method, wiring)
        return Slots(structure, live, own, np.zeros(wiring.n_symbols, dtype=bool))
    crowded = np.flatnonzero(wiring.is_crowded)
    whole = Structure(wiring.n_symbols, tuple(y.tolist()), tuple(x.tolist()), tuple(crowded.tolist()))
    structure = _of_method(whole, method, wiring)
    return Slots(structure, np.arange(len(y)), np.arange(wiring.n_symbols), wiring.is_crowded)


def _of_method(structure: Structure, method: Method, wiring: Wiring) -> Structure:
    return msgspec.structs.replace(
        structure,
        steps=method.steps,
        ends_flat=method.ends_flat,
        n_days=method.n_days,
        n_shares=len(wiring.shares),
        n_floors=method.n_floors,
    )


def find_bounds(
    wiring: Wiring,
    problem: AllocationProblem,
    limits: Limits,
    plan: Plan,
    is_crowded: BoolArray,
    tail: Tail | None,
) -> Bounds:
    """Turn the bounds on the weights of uncrowded symbols into bounds on v; find what is broken anyway.

    A name cap never pushes v below what participation allows to sell.
    """
    symbol = wiring.layout.leg_symbol
    fixed = wiring.layout.net(plan.fixed_leg_frac)
    base = plan.held_frac - fixed
    bottom, top = base - plan.down_frac, base + plan.up_frac
    low, high = np.zeros_like(plan.v_max), plan.v_max.copy()
    by_name = np.full_like(high, np.inf)
    for leg, column in ((wiring.y_leg, plan.column_y), (wiring.x_leg, plan.column_x)):
        i = symbol[leg]
        where = (column != 0.0) & ~is_crowded[i]
        near = np.where(column > 0.0, bottom[i], top[i])
        far = np.where(column > 0.0, top[i], bottom[i])
        left = limits.name_max_frac - np.abs(fixed[i])
        infinite = np.full_like(high, np.inf)
        low = np.maximum(low, np.divide(near, column, out=np.zeros_like(low), where=where))
        high = np.minimum(high, np.divide(far, column, out=infinite.copy(), where=where))
        by_name = np.minimum(by_name, np.divide(left, np.abs(column), out=infinite, where=where))
    low = np.minimum(low, plan.start)  # the start lies within the room; this undoes rounding
    high = np.maximum(np.minimum(high, by_name), low)
    high = _at_their_pace(wiring, plan, fixed, high)
    ceiling = np.maximum(np.minimum(plan.v_max, by_name), 0.0)

    anchor = legs_at(wiring, plan, np.clip(plan.start, low, high))
    w = wiring.layout.net(anchor)
    sigma_pct = _PCT * float(np.linalg.norm(problem.factor_daily.T @ w))
    return Bounds(
        low=low,
        high=high,
        ceiling=ceiling,
        anchor_leg_frac=anchor,
        gross_excess=max(0.0, float(np.abs(w).sum()) - limits.gross_max_frac),
        net_excess=max(0.0, abs(float(w.sum())) - limits.net_max_frac),
        sigma_excess_pct=max(0.0, sigma_pct - _sigma_max_pct(problem)),
        worst_excess_pct=0.0 if tail is None else _PCT * max(0.0, tail.loss_frac(w) - tail.max_loss_frac),
        name_excess=np.maximum(0.0, np.abs(w) - limits.name_max_frac),
        share_excess=np.array(
            [max(0.0, wiring.gross_of(share, anchor) - share.gross_max_frac) for share in wiring.shares]
        ),
    )


def _at_their_pace(wiring: Wiring, plan: Plan, fixed: FloatArray, high: FloatArray) -> FloatArray:
    """Raise bounds that would make spreads sell more of a shared symbol than participation allows."""
    cut = np.maximum(plan.start - high, 0.0)
    if not cut.any():
        return high
    at_start, surplus = fixed.copy(), np.zeros_like(plan.fixed_leg_frac)
    symbol = wiring.layout.leg_symbol
    for leg, column in ((wiring.y_leg, plan.column_y), (wiring.x_leg, plan.column_x)):
        np.add.at(at_start, symbol[leg], column * plan.start)
        surplus[leg] = column * cut
    moved = at_start - plan.held_frac
    up = np.maximum(plan.up_frac - moved, 0.0)
    down = np.maximum(plan.down_frac + moved, 0.0)
    pace = pace_of(wiring, surplus, up, down)[: len(cut)]
    return np.where(pace < 1.0, np.maximum(high, plan.start - pace * cut), high)


def fill_parameters(
    wiring: Wiring,
    problem: AllocationProblem,
    limits: Limits,
    rates: Rates,
    plan: Plan,
    slots: Slots,
    bounds: Bounds,
    program: Program,
    method: Method,
    tail: Tail | None,
) -> FloatArray:
    """Return the parameter vector of the program: ``theta``, ``risk``, and the constant 1."""
    fixed = wiring.layout.net(plan.fixed_leg_frac)
    cost_frac = np.where(slots.symbols >= 0, problem.cost_frac[slots.symbols], np.nan)  # NaN: no trade
    parts = program.statement.parts
    vector = np.zeros(program.statement.theta.size + 2)
    vector[parts["high"]] = 1.0  # a slot without a spread: any v will do
    values = {
        "base": np.where(slots.symbols >= 0, (plan.held_frac - fixed)[slots.symbols], 0.0),
        "cost": _BP * rates.trade_aversion * np.where(cost_frac >= 0.0, cost_frac, 0.0),
        "low": bounds.low[slots.spreads],
        "gross_room": limits.gross_max_frac - np.abs(fixed[~slots.is_crowded]).sum(),
        "net_room_up": limits.net_max_frac - fixed.sum(),
        "net_room_down": limits.net_max_frac + fixed.sum(),
        "sigma_room": _sigma_max_pct(problem),
        "gross_excess": bounds.gross_excess,
        "net_excess": bounds.net_excess,
        "sigma_excess": bounds.sigma_excess_pct,
        **_column_values(wiring, problem, rates, plan, slots, method),
        **_factor_values(wiring, problem, plan, slots, fixed, program),
        **_crowd_values(problem, limits, rates, plan, slots, bounds, fixed),
        **_tail_values(wiring, plan, slots, limits, bounds, fixed, tail),
        **_share_values(wiring, plan, slots, bounds),
        **_floor_values(wiring, problem, limits, plan, slots),
    }
    if method.steps > 1:
        vector[parts["ceiling"]] = 1.0
        values["ceiling"] = np.where(plan.is_live, bounds.ceiling, 1.0)[slots.spreads]
    values["high"] = np.where(plan.is_live, bounds.high, 1.0)[slots.spreads]
    for name, value in values.items():
        start = parts[name].start
        vector[start : start + np.size(value)] = value
    excess = (
        *(bounds.gross_excess, bounds.net_excess, bounds.sigma_excess_pct, bounds.worst_excess_pct),
        *bounds.name_excess,
        *bounds.share_excess,
    )
    is_broken = any(value > 0.0 for value in excess)
    vector[-2] = rates.risk_aversion * rates.horizon_sessions
    steepest = 1.0 + np.abs(vector[parts["gain"]]).max() + vector[parts["cost"]].max()
    if rates.reward == 0.0:  # variance alone is steep: 2 risk sigma^2 of the wildest book there may be
        largest_pct = _PCT * limits.gross_max_frac * np.linalg.norm(problem.factor_daily, axis=1).max()
        steepest += 2.0 * vector[-2] * largest_pct**2
    vector[parts["penalty"]] = _EXCESS_PRICE * method.steps * steepest if is_broken else 1.0
    vector[-1] = 1.0
    return vector


def _sigma_max_pct(problem: AllocationProblem) -> float:
    return _PCT * problem.var_budget_usd / (problem.var_factor * problem.equity_usd)


def _carry_bp(problem: AllocationProblem, rates: Rates) -> tuple[FloatArray, FloatArray]:
    """Return what a long pays and a short receives over the horizon, by symbol, basis points."""
    long_frac, short_frac = problem.carry.over(rates.horizon_days)
    return _BP * long_frac, _BP * short_frac


def _column_values(
    wiring: Wiring, problem: AllocationProblem, rates: Rates, plan: Plan, slots: Slots, method: Method
) -> dict[str, FloatArray]:
    """Columns, and what is linear in v: forecast less carry by step, gross, net."""
    symbol, spreads = wiring.layout.leg_symbol, slots.spreads
    long_bp, short_bp = _carry_bp(problem, rates)
    is_live = plan.is_live[spreads]
    forecast = _BP * problem.side[spreads] * np.where(is_live, problem.expected_return_frac[spreads], 0.0)
    gain = np.zeros((method.steps, len(slots.structure.y)))
    gain[:, : spreads.size] = method.decay_frac ** np.arange(method.steps)[:, None] * forecast
    gross = np.zeros(spreads.size)
    columns = {"column_y": plan.column_y[spreads], "column_x": plan.column_x[spreads]}
    for leg, column in ((wiring.y_leg, columns["column_y"]), (wiring.x_leg, columns["column_x"])):
        i = symbol[leg[spreads]]
        is_crowded = slots.is_crowded[i]
        one_sided_bp = np.where(column > 0.0, long_bp[i], short_bp[i])
        either_bp = 0.5 * (long_bp[i] + short_bp[i])
        gain[:, : spreads.size] -= column * np.where(is_crowded, either_bp, one_sided_bp)
        gross += np.where(is_crowded, 0.0, np.abs(column))
    net = columns["column_y"] + columns["column_x"]
    return {**columns, "gain": rates.reward * gain.ravel(), "gross": gross, "net": net}


def _factor_values(
    wiring: Wiring, problem: AllocationProblem, plan: Plan, slots: Slots, fixed: FloatArray, program: Program
) -> dict[str, FloatArray]:
    """Triangular R with ||R (v, 1)|| = 100 ||L'w||: n_slots rows instead of n_symbols in the cone."""
    symbol, spreads, factor = wiring.layout.leg_symbol, slots.spreads, problem.factor_daily
    y, x = symbol[wiring.y_leg[spreads]], symbol[wiring.x_leg[spreads]]
    n_symbols, width = wiring.n_symbols, len(slots.structure.y) + 1
    exposure = np.zeros((max(n_symbols, width), width))
    by_spread = plan.column_y[spreads, None] * factor[y] + plan.column_x[spreads, None] * factor[x]
    exposure[:n_symbols, : spreads.size] = by_spread.T
    exposure[:n_symbols, -1] = factor.T @ fixed
    triangular = np.asarray(np.linalg.qr(exposure, mode="r"), dtype=np.float64)
    return {"factor": _PCT * triangular[program.triangle], "factor_fixed": _PCT * triangular[:, -1]}


def _crowd_values(
    problem: AllocationProblem,
    limits: Limits,
    rates: Rates,
    plan: Plan,
    slots: Slots,
    bounds: Bounds,
    fixed: FloatArray,
) -> dict[str, FloatArray]:
    """Bounds on the weights of crowded symbols, which stay rows of the program."""
    crowd = np.asarray(slots.structure.crowded, dtype=np.int64)
    if not crowd.size:
        return {}
    long_bp, short_bp = _carry_bp(problem, rates)
    return {
        "crowd_fixed": fixed[crowd],
        "crowd_low": (plan.held_frac - plan.down_frac)[crowd],
        "crowd_high": (plan.held_frac + plan.up_frac)[crowd],
        "crowd_cap": np.full(crowd.size, limits.name_max_frac),
        "crowd_excess": bounds.name_excess[crowd],
        "crowd_carry": rates.reward * 0.5 * (long_bp - short_bp)[crowd],
    }


def _share_values(wiring: Wiring, plan: Plan, slots: Slots, bounds: Bounds) -> dict[str, FloatArray]:
    """Which slots use the share of which strategy, and what its legs that stay have left of it."""
    if not wiring.shares:
        return {}
    members = np.zeros((len(wiring.shares), len(slots.structure.y)))
    members[:, : slots.spreads.size] = [share.is_member[slots.spreads] for share in wiring.shares]
    members[:, : slots.spreads.size] *= plan.is_live[slots.spreads]
    room = [share.gross_max_frac - wiring.gross_of(share, plan.fixed_leg_frac) for share in wiring.shares]
    return {"share": members.ravel(), "share_room": np.array(room), "share_excess": bounds.share_excess}


def _floor_values(
    wiring: Wiring, problem: AllocationProblem, limits: Limits, plan: Plan, slots: Slots
) -> dict[str, FloatArray]:
    """Return what each slot adds to the floors, as fractions of them, and what is left to reach."""
    reached = floors_reached(wiring, problem, limits, plan.fixed_leg_frac)
    if not reached:
        return {}
    spreads, rows = slots.spreads, np.zeros((len(reached), len(slots.structure.y)))
    forecast = problem.side[spreads] * np.nan_to_num(problem.expected_return_frac[spreads])
    per_floor = {
        "invested": (plan.column_y + plan.column_x)[spreads] / (limits.net_min_frac or 1.0),
        "return": np.where(plan.is_live[spreads], forecast, 0.0) / (limits.return_min_frac or 1.0),
    }
    rows[:, : spreads.size] = [per_floor[name] for name in reached]
    room = 1.0 - np.array([*reached.values()])
    return {"floor": rows.ravel(), "floor_room": room, "floor_give": np.ones(room.size)}


def _tail_values(
    wiring: Wiring,
    plan: Plan,
    slots: Slots,
    limits: Limits,
    bounds: Bounds,
    fixed: FloatArray,
    tail: Tail | None,
) -> dict[str, FloatArray]:
    """Return of each day of the history by slot, percent, and of what stays.

    The program has room for more days; a day left over gains more than any other can, and so is never among
    the worst.
    """
    if tail is None:
        return {}
    symbol, spreads = wiring.layout.leg_symbol, slots.spreads
    n_days, n_slots = slots.structure.n_days, len(slots.structure.y)
    history = np.nan_to_num(tail.return_frac)
    y, x = symbol[wiring.y_leg[spreads]], symbol[wiring.x_leg[spreads]]
    largest = float(np.abs(history).max()) * (limits.gross_max_frac + 2.0 * np.abs(fixed).sum() + 1.0)
    day, day_fixed = np.zeros((n_days, n_slots)), np.full(n_days, largest)
    day[: len(history), : spreads.size] = (
        plan.column_y[spreads] * history[:, y] + plan.column_x[spreads] * history[:, x]
    )
    day_fixed[: len(history)] = history @ fixed
    return {
        "day": _PCT * day.ravel(),
        "day_fixed": _PCT * day_fixed,
        "worst_days": np.array([float(tail.worst_days)]),
        "worst_room": np.array([_PCT * tail.worst_days * tail.max_loss_frac]),
        "worst_excess": np.array([tail.worst_days * bounds.worst_excess_pct]),
    }
