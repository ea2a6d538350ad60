"""From a cvxpy problem to the arrays of Clarabel, as affine maps of the problem's parameters.

cvxpy turns a program into a conic one whose data (P, q, A, b) are affine in the parameters; that is what its
DPP rules guarantee. The affine map is taken from the compiled problem, so that a re-solve is one sparse
product and one call of Clarabel, without a millisecond of bookkeeping each time. A test holds the answers
against ``problem.solve()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from engine.errors import InvariantError
from engine.events import FloatArray, IntArray

_SETTINGS: dict[str, Any] = {
    "verbose": False,
    "max_threads": 1,
    "direct_solve_method": "qdldl",
    "presolve_enable": False,
}


class ConicData(msgspec.Struct, frozen=True):
    """Minimise x'Px/2 + q'x subject to Ax + s = b, s in the product of the cones; P and A are sparse."""

    p: Any
    q: FloatArray
    a: Any
    b: FloatArray


class ConicAnswer(msgspec.Struct, frozen=True):
    """Clarabel's status, and its x, slacks s and multipliers z."""

    status: str
    x: FloatArray
    s: FloatArray
    z: FloatArray


class Compiled(msgspec.Struct, frozen=True):
    """A compiled problem: the affine maps from a parameter vector to Clarabel's data.

    The parameter vector holds the parameters one after the other, in the order given, then the constant 1.

    Parameters
    ----------
    n_zero, n_nonnegative : int
        Rows of the zero and of the nonnegative cone; they come first.
    second_order : tuple of int
        Sizes of the second-order cones, which follow.
    first_column : dict of int to int
        Of each variable of the problem, by its id.
    """

    n_zero: int
    n_nonnegative: int
    second_order: tuple[int, ...]
    first_column: dict[int, int]
    p_map: Any
    q_map: Any
    ab_map: Any
    p_index: tuple[Any, Any, Any]
    a_index: tuple[Any, Any, Any]
    b_rows: IntArray

    def data(self, vector: FloatArray) -> ConicData:
        """Return the arrays of the problem at a parameter vector."""
        from scipy.sparse import csc_array

        indices, indptr, shape = self.a_index
        ab = self.ab_map @ vector
        a = csc_array((-ab[: indices.size], indices, indptr), shape=shape)
        b = np.zeros(shape[0])
        b[self.b_rows] = ab[indices.size :]
        indices, indptr, shape = self.p_index
        p = csc_array((self.p_map @ vector, indices, indptr), shape=shape)
        return ConicData(p, (self.q_map @ vector)[:-1], a, b)

    def solve(self, data: ConicData, settings: dict[str, Any]) -> ConicAnswer:
        """Solve from scratch: no warm start, no memory of answers."""
        import clarabel

        options = clarabel.DefaultSettings()
        for name, value in (_SETTINGS | settings).items():
            setattr(options, name, value)
        cones = [clarabel.ZeroConeT(self.n_zero)] if self.n_zero else []
        cones.append(clarabel.NonnegativeConeT(self.n_nonnegative))
        cones += [clarabel.SecondOrderConeT(size) for size in self.second_order]
        answer = clarabel.DefaultSolver(data.p, data.q, data.a, data.b, cones, options).solve()
        return ConicAnswer(str(answer.status), *(np.asarray(part) for part in (answer.x, answer.s, answer.z)))


def compile_statement(problem: Any, parameters: Sequence[Any]) -> Compiled:
    """Compile a cvxpy problem whose quadratic terms are sums of squares.

    Parameters
    ----------
    problem : cvxpy.Problem
    parameters : sequence of cvxpy.Parameter
        All of them, in the order of the parameter vector.

    Raises
    ------
    InvariantError
        If the problem breaks cvxpy's DPP rules, or compiles to another form than is read here.
    """
    import cvxpy as cp
    from cvxpy.settings import PARAM_PROB

    if not problem.is_dcp(dpp=True):
        raise InvariantError("the program is not DPP: its compiled form would ignore the parameters")
    for parameter in parameters:
        parameter.value = np.ones(parameter.shape)
    data, _, _ = problem.get_problem_data(cp.CLARABEL)
    compiled, dims = data[PARAM_PROB], data["dims"]
    columns = compiled.param_id_to_col
    starts = np.cumsum([0, *(parameter.size for parameter in parameters)]).tolist()
    if (
        dims.exp
        or dims.psd
        or any(
            columns.get(parameter.id, start) != start
            for parameter, start in zip(parameters, starts[:-1], strict=True)
        )
    ):
        raise InvariantError(f"the program compiled to an unexpected form: {dims}, {columns}")
    indices, indptr, shape = compiled.reduced_A.problem_data_index
    n_a = indptr[-2]  # the last column is b
    p_indices, p_indptr, p_shape = compiled.reduced_P.problem_data_index
    return Compiled(
        n_zero=int(dims.zero),
        n_nonnegative=int(dims.nonneg),
        second_order=tuple(map(int, dims.soc)),
        first_column=dict(compiled.var_id_to_col),
        p_map=compiled.reduced_P.reduced_mat,
        q_map=compiled.q,
        ab_map=compiled.reduced_A.reduced_mat,
        p_index=(p_indices, p_indptr, tuple(map(int, p_shape))),
        a_index=(indices[:n_a], indptr[:-1], (int(shape[0]), int(shape[1]) - 1)),
        b_rows=indices[n_a:],
    )
