"""From an interior-point answer to the exact one: zero becomes zero, and a cap is met to the last digits.

An interior-point method ends near the solution, with every weight a little off its bound; where a weight is
about to leave zero it cannot tell the two apart. But it tells which constraints are active. Given these, the
solution is that of a linear system (Karush, Kuhn and Tucker), which is solved here, and verified.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.events import BoolArray, FloatArray
from strategies.allocators.compiled import Compiled, ConicAnswer, ConicData

#: Corrections of the active set; one is usual, near a kink two.
_CHANGES_MAX = 20
#: Slacks and multipliers of the scaled problem that count as zero.
_ZERO = 1e-12
_REGULARISATION = 1e-9
_REFINEMENTS_MAX = 30


def polish(compiled: Compiled, data: ConicData, answer: ConicAnswer) -> FloatArray | None:
    """Return the exact x of a quadratic or linear program, or None if no active set near the answer verifies.

    Parameters
    ----------
    compiled : Compiled
        Without second-order cones.
    data : ConicData
    answer : ConicAnswer
        As solved by Clarabel.

    Notes
    -----
    x and multipliers solve P x + q + A'z = 0, A x = b on the active rows, z = 0 on the others. A row whose
    slack comes out negative joins the active ones, one whose multiplier does leaves them. The correction
    starts at the answer, so directions that nothing determines stay where they are. Verified: A x <= b and
    z >= 0 to 1e-12 of the data's size.
    """
    if compiled.second_order:
        return None
    if not data.p.data.any():
        return _vertex(compiled, data)
    scale = max(1.0, float(np.abs(data.b).max(initial=0.0)))
    price = max(float(np.abs(data.q).max(initial=0.0)), float(np.abs(data.p.data).max(initial=0.0)), 1e-300)
    is_equal = np.arange(data.b.size) < compiled.n_zero
    is_active = is_equal | (answer.z / price > answer.s / scale)
    x, z = answer.x, answer.z
    system = _system(data, price)
    for _ in range(_CHANGES_MAX):
        x, z = _stationary(data, system, is_active, x, np.where(is_active, z, 0.0), price)
        slack = data.b - data.a @ x
        residual = data.p @ x + data.q + data.a.T @ z
        if not (np.isfinite(x).all() and np.abs(residual).max() <= 1e3 * _ZERO * price):
            return None
        is_wrong = np.where(is_active, ~is_equal & (z < -_ZERO * price), slack < -_ZERO * scale)
        if not is_wrong.any():
            is_met = np.abs(slack[is_active]).max(initial=0.0) <= 1e2 * _ZERO * scale
            return x if is_met else None
        is_active = is_active ^ is_wrong
    return None


def _vertex(compiled: Compiled, data: ConicData) -> FloatArray | None:
    """Solve a linear program by the simplex method, whose answers are vertices: exact, also next to a tie."""
    from scipy.optimize import linprog

    n = compiled.n_zero
    found = linprog(
        data.q / max(float(np.abs(data.q).max(initial=0.0)), 1e-300),
        A_ub=data.a[n:],
        b_ub=data.b[n:],
        A_eq=data.a[:n] if n else None,
        b_eq=data.b[:n] if n else None,
        bounds=(None, None),
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return np.asarray(found.x) if found.status == 0 else None


def _system(data: ConicData, price: float) -> tuple[Any, Any]:
    """Return the matrix of the conditions with all rows active, and the same with a lifted diagonal."""
    from scipy.sparse import block_array, csc_array, diags_array

    full = csc_array(block_array([[data.p / price, data.a.T], [data.a, None]]))
    sign = np.concatenate([np.ones(data.q.size), -np.ones(data.b.size)])
    return full, csc_array(full + diags_array(_REGULARISATION * sign))


def _stationary(
    data: ConicData,
    system: tuple[Any, Any],
    is_active: BoolArray,
    x: FloatArray,
    z: FloatArray,
    price: float,
) -> tuple[FloatArray, FloatArray]:
    """Solve the linear system of an active set: a regularised factor, and refinement from ``x`` and ``z``."""
    from scipy.sparse.linalg import splu

    n = x.size
    kept = np.concatenate([np.arange(n), n + np.flatnonzero(is_active)])
    full, lifted = (matrix[:, kept][kept] for matrix in system)
    factor = splu(lifted)
    right = np.concatenate([-data.q / price, data.b[is_active]])
    both = np.concatenate([x, z[is_active] / price])
    for _ in range(_REFINEMENTS_MAX):
        residual = right - full @ both
        if np.abs(residual).max(initial=0.0) <= 1e-15:
            break
        both += factor.solve(residual)
    out = np.zeros_like(z)
    out[is_active] = price * both[n:]
    return both[:n], out
