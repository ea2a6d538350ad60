"""An independent check of a proposed book: every constraint again, from the problem, without the solver.

Solvers have returned weights of gross 2.3 under a cap of 1 without raising; so no answer counts because of
its status alone. Nothing here looks at the compiled program or its parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from engine.events import BoolArray, FloatArray
from engine.ports import AllocationProblem
from strategies.allocators.plan import Plan, Wiring

#: A constraint holds if it is broken by less than this fraction of equity: a dollar on a million.
TOLERANCE_FRAC = 1e-6
#: A constraint binds if what is left of it is under this fraction of equity.
BINDING_FRAC = 1e-5
#: A floor is met to this fraction of itself; it is a wish, and no limit.
FLOOR_TOLERANCE = 1e-4


class Limits(msgspec.Struct, frozen=True):
    """Caps on the book, fractions of equity, and floors, which give way to caps.

    ``net_min_frac`` and ``return_min_frac`` (expected, over the horizon) are positive, or absent.
    """

    gross_max_frac: float
    net_max_frac: float
    name_max_frac: float
    net_min_frac: float | None = None
    return_min_frac: float | None = None


class Rates(msgspec.Struct, frozen=True):
    """Weights of the terms of the utility, over one horizon.

    Variance grows with its sessions, carry with its calendar days. ``reward`` of 1 counts forecasts and
    carry; 0 leaves both out (least variance).
    """

    risk_aversion: float
    trade_aversion: float
    horizon_sessions: float
    horizon_days: float
    reward: float = 1.0


class Tail(msgspec.Struct, frozen=True):
    """A limit on what a book would have lost, on the mean of its worst days in a history.

    Parameters
    ----------
    return_frac : FloatArray, shape (n_days, n_symbols)
        Finite for the symbols of the book; days in no particular order.
    worst_days : int
        At least 1, at most n_days.
    max_loss_frac : float
        Positive.
    """

    return_frac: FloatArray
    worst_days: int
    max_loss_frac: float

    def loss_frac(self, weights: FloatArray) -> float:
        """Return the mean loss of the worst days; negative if even they gained."""
        held = weights != 0.0  # a symbol that is not held may have no history
        days = self.return_frac[:, held] @ weights[held]
        return -float(np.partition(days, self.worst_days - 1)[: self.worst_days].mean())


class Finding(msgspec.Struct, frozen=True):
    """One scalar constraint ``value <= bound``; fractions of equity."""

    name: str
    value: float
    bound: float


def bad_inputs(problem: AllocationProblem) -> tuple[str, ...]:
    """Name the fields of a problem that no answer can be based on.

    An unknown price, ratio or volume is no fault: it freezes the spreads it concerns.
    """
    wanted, is_priceless = problem.side != 0.0, ~(problem.price_usd > 0.0)
    margin = problem.carry.long_frac - problem.carry.short_frac
    tests = {
        "equity_usd": 0.0 < problem.equity_usd < np.inf,
        "side": ((problem.side == 0.0) | (np.abs(problem.side) == 1.0)).all(),
        "expected_return_frac": np.isfinite(problem.expected_return_frac[wanted]).all(),
        "held_leg_frac": np.isfinite(problem.held_leg_frac).all(),
        "factor_daily": np.isfinite(problem.factor_daily).all(),
        "cost_frac": (is_priceless | (np.isfinite(problem.cost_frac) & (problem.cost_frac >= 0.0))).all(),
        "participation_max_frac": 0.0 <= problem.participation_max_frac < np.inf,
        "var_budget_usd": 0.0 <= problem.var_budget_usd < np.inf,
        "var_factor": 0.0 < problem.var_factor < np.inf,
        # a short that receives more than a long pays would reward being gross
        "carry": bool(np.isfinite(margin).all() and (margin >= 0.0).all()),
    }
    return tuple(name for name, is_good in tests.items() if not is_good)


def examine(
    wiring: Wiring,
    problem: AllocationProblem,
    limits: Limits,
    plan: Plan,
    anchor_leg_frac: FloatArray,
    leg_frac: FloatArray,
    tail: Tail | None = None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Check a book against every constraint.

    Parameters
    ----------
    wiring, problem, limits, plan
    anchor_leg_frac : FloatArray, shape (n_legs,)
        The book after the mandatory trades alone. A cap that it breaks (prices drifted, and participation
        does not let the book back under it) becomes the level it leaves.
    leg_frac : FloatArray, shape (n_legs,)
        The proposed book.
    tail : Tail or None

    Returns
    -------
    broken, binding : tuple of str
        Names of constraints: ``gross``, ``net``, ``var``, ``worst_days``, ``name:SYM``, ``capital:STRATEGY``,
        ``participation:SYM``, ``reducing:SYM``, ``unknown:SYM``, ``hedge:SPREAD``; and, binding only,
        ``side:SPREAD`` for a wanted spread of size zero, ``excess`` if a cap is left broken; of floors
        ``return`` and ``invested`` where they bind, ``short:return`` and ``short:invested`` where missed.
    """
    if not np.isfinite(leg_frac).all():
        return ("finite",), ()
    caps = _caps(wiring, problem, limits, leg_frac, tail)
    left = {finding.name: finding.value for finding in _caps(wiring, problem, limits, anchor_leg_frac, tail)}
    findings = [
        *(Finding(cap.name, cap.value, max(cap.bound, left.get(cap.name, 0.0))) for cap in caps),
        *_trade_findings(wiring, problem, leg_frac),
    ]
    broken = [f.name for f in findings if f.value > f.bound + TOLERANCE_FRAC]
    binding = [f.name for f in findings if abs(f.value - f.bound) <= BINDING_FRAC and f.name not in broken]
    if any(cap.value > cap.bound + TOLERANCE_FRAC for cap in caps):
        binding.append("excess")
    is_hedged = _is_hedged(wiring, problem, leg_frac) | _has_not_grown(wiring, problem, leg_frac)
    spreads = wiring.layout.spreads
    broken += [f"hedge:{spreads[k].name}" for k in np.flatnonzero(~is_hedged)]
    for name, share in floors_reached(wiring, problem, limits, leg_frac).items():
        if share <= 1.0 + FLOOR_TOLERANCE:
            binding.append(name if share >= 1.0 - FLOOR_TOLERANCE else f"short:{name}")
    is_empty = plan.is_live & (np.abs(leg_frac[wiring.y_leg]) <= BINDING_FRAC)
    binding += [f"side:{spreads[k].name}" for k in np.flatnonzero(is_empty)]
    return tuple(broken), tuple(binding)


def floors_reached(
    wiring: Wiring, problem: AllocationProblem, limits: Limits, leg_frac: FloatArray
) -> dict[str, float]:
    """Return how much of each floor a book has, as a fraction of it.

    The expected return is that of all spreads that are held, on the side they are held.
    """
    found = {}
    if limits.net_min_frac is not None:
        found["invested"] = float(leg_frac.sum()) / limits.net_min_frac
    if limits.return_min_frac is not None:
        y, x = leg_frac[wiring.y_leg], leg_frac[wiring.x_leg]
        forecast = np.nan_to_num(problem.expected_return_frac[: y.size])
        found["return"] = float(forecast @ (np.sign(y) * (np.abs(y) + np.abs(x)))) / limits.return_min_frac
    return found


def utility(
    wiring: Wiring, problem: AllocationProblem, plan: Plan, rates: Rates, leg_frac: FloatArray
) -> float:
    """Return what the program maximises, as a fraction of equity over the horizon.

    ``alpha's - gamma w'(h Sigma)w - tau sum c|w - w0| - carry(w)``, with alpha counted on the spreads whose
    side is wanted, h in sessions, and carry over the calendar days of the horizon.
    """
    w = wiring.layout.net(leg_frac)
    n_spreads = len(wiring.y_leg)
    size = np.abs(leg_frac[wiring.y_leg]) + np.abs(leg_frac[wiring.x_leg])
    wanted = np.where(plan.is_live, problem.side[:n_spreads], 0.0)
    forecast = np.where(plan.is_live, problem.expected_return_frac[:n_spreads], 0.0)
    variance = float(np.sum((problem.factor_daily.T @ w) ** 2))
    moved = np.abs(w - plan.held_frac)
    cost = float(np.where(moved > 0.0, problem.cost_frac, 0.0) @ moved)
    return (
        rates.reward * float((wanted * forecast) @ size)
        - rates.risk_aversion * rates.horizon_sessions * variance
        - rates.trade_aversion * cost
        + rates.reward * float(problem.carry.daily(w).sum()) * rates.horizon_days
    )


def _caps(
    wiring: Wiring, problem: AllocationProblem, limits: Limits, leg_frac: FloatArray, tail: Tail | None
) -> list[Finding]:
    w = wiring.layout.net(leg_frac)
    var_frac = problem.var_factor * float(np.linalg.norm(problem.factor_daily.T @ w))
    symbols = wiring.layout.symbols
    return [
        Finding("gross", float(np.abs(w).sum()), limits.gross_max_frac),
        Finding("net", abs(float(w.sum())), limits.net_max_frac),
        Finding("var", var_frac, problem.var_budget_usd / problem.equity_usd),
        *([] if tail is None else [Finding("worst_days", tail.loss_frac(w), tail.max_loss_frac)]),
        *(
            Finding(f"name:{symbols[i]}", abs(float(w[i])), limits.name_max_frac)
            for i in np.flatnonzero(np.abs(w) >= limits.name_max_frac - BINDING_FRAC)
        ),
        *(
            Finding(f"capital:{share.strategy}", wiring.gross_of(share, leg_frac), share.gross_max_frac)
            for share in wiring.shares
        ),
    ]


def _trade_findings(wiring: Wiring, problem: AllocationProblem, leg_frac: FloatArray) -> Iterator[Finding]:
    """Yield the limits on single trades that are broken or binding, and perhaps some that are neither."""
    layout = wiring.layout
    w, w0 = layout.net(leg_frac), layout.net(problem.held_leg_frac)
    traded = np.abs(w - w0)
    volume = np.where(problem.volume_usd > 0.0, problem.volume_usd, 0.0)
    room = problem.participation_max_frac * volume / problem.equity_usd
    room = np.where(problem.price_usd > 0.0, room, 0.0)
    is_full = (traded > BINDING_FRAC) & (traded >= room - BINDING_FRAC)
    for i in np.flatnonzero(is_full | (traded > room + TOLERANCE_FRAC)):
        yield Finding(f"participation:{layout.symbols[i]}", float(traded[i]), float(room[i]))

    held_side = np.sign(w0)
    outside = np.maximum(w * held_side - np.abs(w0), np.where(w0 != 0.0, -w * held_side, np.abs(w)))
    is_shrink_only = ~problem.known | problem.is_reducing
    is_edge = is_shrink_only & (np.abs(w) > BINDING_FRAC) & (outside >= -BINDING_FRAC)
    for i in np.flatnonzero(is_edge | (is_shrink_only & (outside > TOLERANCE_FRAC))):
        kind = "unknown" if not problem.known[i] else "reducing"
        yield Finding(f"{kind}:{layout.symbols[i]}", float(outside[i]), 0.0)


def _is_hedged(wiring: Wiring, problem: AllocationProblem, leg_frac: FloatArray) -> BoolArray:
    """Tell which spreads lie along their column, on the wanted side: y = side v, x = -b y, v >= 0."""
    n_spreads = len(wiring.y_leg)
    y, x = leg_frac[wiring.y_leg], leg_frac[wiring.x_leg]
    b, side = problem.usd_ratio[:n_spreads], problem.side[:n_spreads]
    is_flat = np.abs(y) + np.abs(x) <= TOLERANCE_FRAC
    is_on_ratio = np.abs(x + b * y) <= TOLERANCE_FRAC * (1.0 + np.abs(b))
    result: BoolArray = is_flat | (is_on_ratio & (side != 0.0) & (y * side >= -TOLERANCE_FRAC))
    return result


def _has_not_grown(wiring: Wiring, problem: AllocationProblem, leg_frac: FloatArray) -> BoolArray:
    """Tell which spreads have both legs between what is held and zero."""
    held = problem.held_leg_frac
    signed = leg_frac * np.where(held < 0.0, -1.0, 1.0)
    is_within = (signed >= -TOLERANCE_FRAC) & (signed <= np.abs(held) + TOLERANCE_FRAC)
    result: BoolArray = is_within[wiring.y_leg] & is_within[wiring.x_leg]
    return result
