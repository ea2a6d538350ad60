"""The program over single names: compiled once per problem, solved again for every pair of aversions.

    maximise    sum_k  reward decay^k mu'w_k - gamma w_k'Sw_k - tau c'|w_k - w_(k-1)|  [- tau c'|w_last|]

under the constraints of ``names``, for each step k of a plan that begins at what is held. One step is the
common case; ``reward``, gamma and tau are parameters, so that every program of docs/maths/trade_offs.md is
this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.events import FloatArray
from strategies.allocators.compiled import ConicAnswer, ConicData, compile_statement
from strategies.allocators.names import NamesAnswer, NamesProblem, Weighting, examine
from strategies.allocators.polish import polish

#: Clarabel's settings, tried in this order: as exact as it gets, then its own defaults.
_ATTEMPTS: tuple[dict[str, float], ...] = (
    {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-10},
    {},
)
_STATUSES = {"Solved": "optimal", "PrimalInfeasible": "infeasible", "DualInfeasible": "unbounded"}
_NONE = np.empty((0, 0))


class NamesProgram:
    """A compiled problem.

    Parameters
    ----------
    problem : NamesProblem
        Its ``weighting`` is the one of the first question; others may follow.
    """

    def __init__(self, problem: NamesProblem) -> None:
        self.problem = problem
        self._statement, parameters, self._plan = state_names(problem)
        self._compiled = compile_statement(self._statement, parameters)

    def solve(self, weighting: Weighting) -> NamesAnswer:
        """Solve, and check the answer.

        Statuses: ``optimal``, ``infeasible``, ``unbounded``, ``solver_failed``, ``check_failed``.
        """
        status, _, answer = self._attempt(weighting)
        return self._judged(self._weights(answer.x)) if status == "optimal" else NamesAnswer(status, _NONE)

    def solve_exactly(self, weighting: Weighting) -> tuple[NamesAnswer, bool]:
        """Solve and polish: weights at a bound are there to the last digits.

        Returns
        -------
        answer : NamesAnswer
            As ``solve`` gives it, if it could not be polished.
        is_exact : bool
        """
        status, data, answer = self._attempt(weighting)
        if status != "optimal":
            return NamesAnswer(status, _NONE), False
        x = polish(self._compiled, data, answer)
        judged = self._judged(self._weights(answer.x if x is None else x))
        return judged, x is not None and judged.status == "optimal"

    def _attempt(self, weighting: Weighting) -> tuple[str, ConicData, ConicAnswer]:
        vector = np.array([weighting.reward, weighting.risk_aversion, weighting.trade_aversion, 1.0])
        data = self._compiled.data(vector)
        for settings in _ATTEMPTS:
            answer = self._compiled.solve(data, settings)
            if answer.status in _STATUSES:
                break
        return _STATUSES.get(answer.status, "solver_failed"), data, answer

    def _weights(self, x: FloatArray) -> FloatArray:
        columns = [self._compiled.first_column[step.id] for step in self._plan]
        return np.stack([x[first : first + len(self.problem.symbols)] for first in columns])

    def _judged(self, plan: FloatArray) -> NamesAnswer:
        found = [examine(self.problem, weights) for weights in plan]
        broken = tuple(dict.fromkeys(name for one, _ in found for name in one))
        if broken:
            return NamesAnswer("check_failed", _NONE, broken)
        return NamesAnswer("optimal", plan, found[0][1])


def state_names(problem: NamesProblem) -> tuple[Any, list[Any], list[Any]]:
    """State the program in cvxpy.

    Returns
    -------
    statement : cvxpy.Problem
    parameters : list of cvxpy.Parameter
        reward, gamma, tau; all nonnegative.
    plan : list of cvxpy.Variable
        Weights of each step.
    """
    import cvxpy

    cp: Any = cvxpy  # its atoms are assembled at import and unknown to type checkers
    reward, gamma, tau = parameters = [cp.Parameter(nonneg=True) for _ in range(3)]
    plan = [cp.Variable(len(problem.symbols)) for _ in range(problem.steps)]
    values, vectors = np.linalg.eigh(problem.covariance)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))  # also serves a singular covariance
    utility: Any = 0.0
    constraints: list[Any] = []
    before: Any = problem.held_frac
    for k, w in enumerate(plan):
        forecast = problem.decay_frac**k * problem.expected_return_frac
        utility += reward * (forecast @ w) - gamma * cp.sum_squares(root.T @ w)
        utility -= tau * (problem.cost_frac @ cp.abs(w - before))
        constraints += constraints_of(problem, w)
        before = w
    if problem.ends_flat:
        utility -= tau * (problem.cost_frac @ cp.abs(before))
    return cp.Problem(cp.Maximize(utility), constraints), parameters, plan


def constraints_of(problem: NamesProblem, w: Any) -> list[Any]:
    """State the limits of a problem on the weights of one step, a cvxpy variable."""
    import cvxpy

    cp: Any = cvxpy
    total = cp.sum(w)
    constraints = []
    if np.isfinite(problem.gross_max_frac):
        constraints.append(cp.norm1(w) <= problem.gross_max_frac)
    if np.isfinite(problem.net_max_frac):
        constraints += [total <= problem.net_max_frac, total >= -problem.net_max_frac]
    if np.isfinite(problem.name_max_frac):
        constraints.append(cp.abs(w) <= problem.name_max_frac)
    if problem.long_only:
        constraints.append(w >= 0.0)
    if problem.fully_invested:
        constraints.append(total == 1.0)
    if np.isfinite(problem.return_min_frac):
        constraints.append(problem.expected_return_frac @ w >= problem.return_min_frac)
    if np.isfinite(problem.worst_day_max_loss_frac):
        worst = cp.sum_smallest(problem.history_return_frac @ w, problem.worst_days)
        constraints.append(worst >= -problem.worst_day_max_loss_frac * problem.worst_days)
    return constraints
