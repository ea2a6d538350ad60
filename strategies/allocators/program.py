"""The convex program of the book: stated in cvxpy, compiled once per structure, solved by Clarabel.

cvxpy turns the program into a conic one whose data (P, q, A, b) are affine in the parameters; that is what
its DPP rules guarantee. The affine map is taken from the compiled problem, so that a re-solve is one sparse
product and one call of Clarabel, without a millisecond of bookkeeping each time. A test holds the answers
against ``problem.solve()``.

Units: sizes, weights and caps are fractions of equity; returns and costs are in basis points; sigma, the
daily volatility of the book, is in percent, so that risk * sigma^2 is in basis points as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from engine.errors import InvariantError
from engine.events import FloatArray, IntArray

#: Clarabel's settings, tried in this order. No time limit: an answer may not depend on the clock. The gap is
#: in basis points of equity, so even the second attempt is far finer than a cent on a million.
ATTEMPTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("clarabel", {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}),
    (
        "clarabel_patient",
        {
            "tol_gap_abs": 1e-7,
            "tol_gap_rel": 1e-7,
            "tol_feas": 1e-8,
            "max_step_fraction": 0.9,
            "iterative_refinement_max_iter": 50,
            "max_iter": 500,
        },
    ),
)
_SETTINGS: dict[str, Any] = {
    "verbose": False,
    "max_threads": 1,
    "direct_solve_method": "qdldl",
    "presolve_enable": False,
}


class Structure(msgspec.Struct, frozen=True):
    """What a compiled program depends on: the symbols of each spread's legs, and the crowded symbols.

    A crowded symbol may carry more than the one leg of a live spread, so the sign of its weight is open:
    |w| needs a variable, and its bounds need rows. Everywhere else |w| is linear in v, and bounds on w are
    bounds on v.
    """

    n_symbols: int
    y: tuple[int, ...]
    x: tuple[int, ...]
    crowded: tuple[int, ...] = ()


def disjoint(n_spreads: int) -> Structure:
    """Spreads that share no symbol: 0/1, 2/3, ..."""
    return Structure(2 * n_spreads, tuple(range(0, 2 * n_spreads, 2)), tuple(range(1, 2 * n_spreads, 2)))


class Statement(msgspec.Struct, frozen=True):
    """The cvxpy problem and its parameters; ``parts`` are the slices of ``theta`` by name."""

    problem: Any
    theta: Any
    risk: Any
    v: Any
    parts: dict[str, slice]


class Program(msgspec.Struct, frozen=True):
    """A compiled statement: the affine maps from a parameter vector to Clarabel's data.

    The parameter vector is ``theta``, then ``risk``, then the constant 1. ``triangle`` holds the rows and
    columns of the part ``factor``.
    """

    statement: Statement
    triangle: tuple[IntArray, IntArray]
    cone_sizes: tuple[int, int]
    p_map: Any
    q_map: Any
    ab_map: Any
    p_index: tuple[Any, Any, Any]
    a_index: tuple[Any, Any, Any]
    b_rows: IntArray
    v_columns: slice

    def solve(self, vector: FloatArray, settings: dict[str, Any]) -> tuple[str, FloatArray]:
        """Solve from scratch: no warm start, no memory of answers.

        Returns
        -------
        status : str
            Clarabel's: ``Solved``, ``PrimalInfeasible``, ...; all others are failures.
        v : FloatArray, shape (n_spreads,)
        """
        import clarabel
        from scipy.sparse import csc_array

        indices, indptr, shape = self.a_index
        ab = self.ab_map @ vector
        a = csc_array((-ab[: indices.size], indices, indptr), shape=shape)
        b = np.zeros(shape[0])
        b[self.b_rows] = ab[indices.size :]
        indices, indptr, shape = self.p_index
        p = csc_array((self.p_map @ vector, indices, indptr), shape=shape)
        q = (self.q_map @ vector)[:-1]
        options = clarabel.DefaultSettings()
        for name, value in (_SETTINGS | settings).items():
            setattr(options, name, value)
        cones = [
            clarabel.NonnegativeConeT(self.cone_sizes[0]),
            clarabel.SecondOrderConeT(self.cone_sizes[1]),
        ]
        answer = clarabel.DefaultSolver(p, q, a, b, cones, options).solve()
        return str(answer.status), np.asarray(answer.x)[self.v_columns]


def state_program(structure: Structure) -> Statement:
    """State the program of docs/maths/mean_variance.md for a structure.

    ``slack`` relaxes every cap that the mandatory trades already break, in proportion, at a high price; where
    nothing is broken the excesses are zero and so is its effect.
    """
    import cvxpy

    cp: Any = cvxpy  # its atoms are assembled at import and unknown to type checkers
    n, crowd = len(structure.y), list(structure.crowded)
    parts = _parts(n, structure.n_symbols, len(crowd))
    theta = cp.Parameter(max(where.stop for where in parts.values()))
    risk = cp.Parameter(nonneg=True)
    part = {name: theta[where] for name, where in parts.items() if where.stop > where.start}

    v, traded = cp.Variable(n), cp.Variable(structure.n_symbols)
    sigma, slack = cp.Variable(1), cp.Variable(1)
    to_y, to_x = _selector(structure.y, structure.n_symbols), _selector(structure.x, structure.n_symbols)
    w = to_y @ cp.multiply(part["column_y"], v) + to_x @ cp.multiply(part["column_x"], v)
    rows, columns = triangle_of(n)
    spread_v = _selector(columns, n).T @ v
    exposure = _selector(rows, n + 1) @ cp.multiply(part["factor"], spread_v) + part["factor_fixed"]
    gross, net = part["gross"] @ v, part["net"] @ v
    utility = part["gain"] @ v - part["cost"] @ traded - cp.multiply(part["penalty"], slack)
    constraints = [
        traded >= w - part["base"],
        traded >= part["base"] - w,
        v >= part["low"],
        v <= part["high"],
        net <= part["net_room_up"] + cp.multiply(part["net_excess"], slack),
        -net <= part["net_room_down"] + cp.multiply(part["net_excess"], slack),
        sigma <= part["sigma_room"] + cp.multiply(part["sigma_excess"], slack),
        slack >= 0,
        cp.SOC(sigma[0], exposure),
    ]
    if crowd:
        size, crowd_w = cp.Variable(len(crowd)), w[crowd] + part["crowd_fixed"]
        constraints += [
            size >= crowd_w,
            size >= -crowd_w,
            size <= part["crowd_cap"] + part["crowd_excess"] * slack[0],
            crowd_w >= part["crowd_low"],
            crowd_w <= part["crowd_high"],
        ]
        gross = gross + cp.sum(size)
        utility = utility - part["crowd_carry"] * cp.sum(size)
    constraints.append(gross <= part["gross_room"] + cp.multiply(part["gross_excess"], slack))
    objective = cp.Maximize(cp.sum(utility) - risk * cp.sum_squares(sigma))
    return Statement(cp.Problem(objective, constraints), theta, risk, v, parts)


@lru_cache(maxsize=64)
def compile_program(structure: Structure) -> Program:
    """Compile the program of a structure, once per process.

    Raises
    ------
    InvariantError
        If the statement breaks cvxpy's DPP rules, or compiles to other cones than it states.
    """
    import cvxpy as cp
    from cvxpy.settings import PARAM_PROB

    statement = state_program(structure)
    if not statement.problem.is_dcp(dpp=True):
        raise InvariantError("the book's program is not DPP: its compiled form would ignore the parameters")
    statement.theta.value = np.ones(statement.theta.size)
    statement.risk.value = 1.0
    data, _, _ = statement.problem.get_problem_data(cp.CLARABEL)
    compiled, dims = data[PARAM_PROB], data["dims"]
    columns = compiled.param_id_to_col
    if (
        dims.zero
        or dims.exp
        or len(dims.soc) != 1
        or (columns[statement.theta.id], columns[statement.risk.id]) != (0, statement.theta.size)
    ):
        raise InvariantError(f"the book's program compiled to an unexpected form: {dims}, {columns}")
    indices, indptr, shape = compiled.reduced_A.problem_data_index
    n_a = indptr[-2]  # the last column is b
    p_indices, p_indptr, p_shape = compiled.reduced_P.problem_data_index
    first = compiled.var_id_to_col[statement.v.id]
    return Program(
        statement=statement,
        triangle=triangle_of(len(structure.y)),
        cone_sizes=(int(dims.nonneg), int(dims.soc[0])),
        p_map=compiled.reduced_P.reduced_mat,
        q_map=compiled.q,
        ab_map=compiled.reduced_A.reduced_mat,
        p_index=(p_indices, p_indptr, tuple(map(int, p_shape))),
        a_index=(indices[:n_a], indptr[:-1], (int(shape[0]), int(shape[1]) - 1)),
        b_rows=indices[n_a:],
        v_columns=slice(first, first + len(structure.y)),
    )


def triangle_of(n_spreads: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of the upper triangle of a (n_spreads + 1, n_spreads) factor."""
    rows, columns = np.triu_indices(n_spreads)
    return rows.astype(np.int64), columns.astype(np.int64)


def _parts(n_spreads: int, n_symbols: int, n_crowded: int) -> dict[str, slice]:
    sizes = {
        **dict.fromkeys(("column_y", "column_x", "gain", "low", "high", "gross", "net"), n_spreads),
        **dict.fromkeys(("base", "cost"), n_symbols),
        "factor": n_spreads * (n_spreads + 1) // 2,
        "factor_fixed": n_spreads + 1,
        **dict.fromkeys(("gross_room", "net_room_up", "net_room_down", "sigma_room"), 1),
        **dict.fromkeys(("gross_excess", "net_excess", "sigma_excess", "penalty"), 1),
        **dict.fromkeys(("crowd_fixed", "crowd_low", "crowd_high", "crowd_cap", "crowd_excess"), n_crowded),
        "crowd_carry": min(n_crowded, 1),
    }
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


def _selector(positions: Sequence[int] | IntArray, n_rows: int) -> Any:
    """Return the 0/1 matrix, shape (n_rows, len(positions)), that sends entry j to row ``positions[j]``."""
    from scipy.sparse import csr_array

    n = len(positions)
    return csr_array((np.ones(n), (np.asarray(positions), np.arange(n))), shape=(n_rows, n))
