"""Why no Treasury book obeys all limits: those that cannot hold together, and how far each has to give.

A flat book breaks only a minimum that is forced, so that is part of every conflict. Each question is a mixed
integer program, a binary for the side of every name:

    minimise    how far one limit gives, or nothing
    subject to  sum w_ki (p_i + q_i) <= b_k,  CVaR <= cvar_max,  p_i <= L l_i s_i,  q_i <= L l_i (1 - s_i),
                p_i <= L l_i,  q_i <= L l_i,  p_i + q_i >= h h_i

with L = h = 1 unless liquidity or minimum is what gives, or is left out.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.events import FloatArray
from strategies.allocators.conflict import Conflict, irreducible
from strategies.allocators.treasury_document import TreasuryCase
from strategies.allocators.treasury_program import TreasuryProblem

#: Caps by their key in the file.
_KEYS: Final = {"gross": "gross_max_musd", "leverage": "leverage_max", "haircut": "equity_musd"}
_MINIMUM, _LIQUIDITY, _CVAR = "min_position_musd", "liquidity_musd", "cvar_max_musd"
_LIQUID_MAX: Final = 1_000.0
_GIVES: Final = {
    _MINIMUM: "minimum positions of at most {:.6g} of what they are",
    _LIQUIDITY: "{:.6g} times the liquidity",
}


def conflicts_of(case: TreasuryCase) -> list[Conflict]:
    """Return the limits of an infeasible problem that cannot hold together, by their keys in the file."""
    problem = case.program
    limits = [*(_KEYS[cap.name] for cap in problem.caps), _CVAR, _LIQUIDITY, _MINIMUM]
    found = irreducible(limits, lambda held: _least(problem, held) is not None)
    return [_conflict(case, limit, frozenset(limits)) for limit in found]


def _conflict(case: TreasuryCase, limit: str, limits: frozenset[str]) -> Conflict:
    problem = case.program
    unit = case.given.equity_musd or 1.0 if limit == "leverage_max" else 1.0
    bounds = {_KEYS[cap.name]: cap.bound / unit for cap in problem.caps} | {_CVAR: problem.cvar_max}
    least = _least(problem, limits - {limit}, limit)
    needed = None if least is None else float(f"{least / unit:.6g}")
    words = _GIVES.get(limit, f"{limit} of at least {{:.6g}}")
    return Conflict(limit, bounds.get(limit, 1.0), needed, "" if needed is None else words.format(needed))


def _least(problem: TreasuryProblem, held: frozenset[str], eased: str = "") -> float | None:
    """Return what the eased limit would have to be while others are held, 0 without one; None if infeasible.

    Columns are p, q, s (n each), the VaR a, the excesses u (m), and the multiples L and h.
    """
    import scipy.optimize

    n, m, liquid = len(problem.names), len(problem.loss), _most_liquid(problem)
    width, tail = 3 * n + m + 3, (1.0 - problem.cvar_level_frac) * m
    uses = {_KEYS[cap.name]: _row(width, {0: cap.weight, n: cap.weight}) for cap in problem.caps}
    uses[_CVAR] = _row(width, {3 * n: np.ones(1), 3 * n + 1: np.full(m, 1.0 / tail)})
    bounds = {_KEYS[cap.name]: cap.bound for cap in problem.caps} | {_CVAR: problem.cvar_max}
    kept = [name for name in uses if name in held]
    is_measured = _CVAR in held or eased == _CVAR
    constraints = [_always(problem, liquid, is_measured=is_measured)]
    if kept:
        caps = np.array([uses[name] for name in kept])
        constraints.append(scipy.optimize.LinearConstraint(caps, ub=[bounds[name] for name in kept]))
    multiples = np.array([_scale(limit, held, eased, liquid) for limit in (_LIQUIDITY, _MINIMUM)])
    lower = np.concatenate([np.zeros(3 * n), [-np.inf], np.zeros(m), multiples[:, 0]])
    upper = np.concatenate([np.full(2 * n, np.inf), np.ones(n), np.full(1 + m, np.inf), multiples[:, 1]])
    aim = uses.get(eased, np.zeros(width)).copy()
    aim[-2:] += [eased == _LIQUIDITY, -(eased == _MINIMUM)]
    answer = scipy.optimize.milp(
        aim,
        integrality=np.concatenate([np.zeros(2 * n), np.ones(n), np.zeros(m + 3)]),
        bounds=scipy.optimize.Bounds(lower, upper),
        constraints=constraints,
    )
    return abs(float(answer.fun)) if answer.success else None


def _always(problem: TreasuryProblem, liquid: float, *, is_measured: bool) -> Any:
    """Return the constraints that every question has, as scipy takes them."""
    import scipy.optimize
    import scipy.sparse

    sparse: Any = scipy.sparse  # its stubs know no blocks of mixed kinds
    n, m = len(problem.names), len(problem.loss)
    eye, loss = sparse.eye_array(n), problem.loss * is_measured
    above, below, least = problem.long_max, problem.short_max, problem.position_min
    rows = sparse.block_array(
        [
            [loss, -loss, None, -np.ones((m, 1)), -sparse.eye_array(m), None, None],
            [eye, None, sparse.diags_array(-liquid * above), None, None, None, None],
            [None, eye, sparse.diags_array(liquid * below), None, None, None, None],
            [eye, None, None, None, None, -above[:, None], None],
            [None, eye, None, None, None, -below[:, None], None],
            [-eye, -eye, None, None, None, None, least[:, None]],
        ],
        format="csr",
    )
    right = np.concatenate([-problem.loss_fixed, np.zeros(n), liquid * below, np.zeros(3 * n)])
    return scipy.optimize.LinearConstraint(rows, ub=right)


def _scale(limit: str, held: frozenset[str], eased: str, liquid: float) -> tuple[float, float]:
    """Return the bounds of the multiple of a limit: 1 if it is held, out of the way if it is left out."""
    if limit in held:
        return 1.0, 1.0
    free = (1.0, liquid) if limit == _LIQUIDITY else (0.0, 1.0)
    out = free[1] if limit == _LIQUIDITY else free[0]
    return free if limit == eased else (out, out)


def _most_liquid(problem: TreasuryProblem) -> float:
    """Return a multiple of liquidity at which every minimum fits; more than that is of no use to a book."""
    side_max = np.maximum(problem.long_max, problem.short_max)
    needed = np.divide(problem.position_min, side_max, out=np.ones_like(side_max), where=side_max > 0.0)
    return float(np.clip(needed.max(), 1.0, _LIQUID_MAX))


def _row(width: int, parts: dict[int, FloatArray]) -> FloatArray:
    row = np.zeros(width)
    for first, values in parts.items():
        row[first : first + values.size] = values
    return row
