"""One-off programs over single names: what ``astra optimise`` solves from a file.

An objective, and the constraints that the document asks for: gross, net, per-name, long-only, fully invested,
and those of the allocator. Nothing is compiled ahead, since each document is solved once; every answer is
checked without the solver.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import msgspec
import numpy as np

from engine.events import FloatArray

#: Constraints hold to this, fractions of equity.
TOLERANCE_FRAC = 1e-6
_BINDING_FRAC = 1e-5
#: Clarabel's settings, tried in this order: as exact as it gets, then its own defaults.
_ATTEMPTS: tuple[dict[str, float], ...] = (
    {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-10},
    {},
)


class NamesProblem(msgspec.Struct, frozen=True):
    """A problem over n names; returns and covariance share one period, and absent limits are infinite.

    Parameters
    ----------
    symbols : tuple of str
    expected_return_frac, held_frac, cost_frac : FloatArray, shape (n,)
        The cost is one-way, per USD traded.
    covariance : FloatArray, shape (n, n)
        Symmetric and positive semidefinite.
    risk_aversion, trade_aversion : float
        gamma and tau.
    gross_max_frac, net_max_frac, name_max_frac : float
    long_only, fully_invested : bool
    return_min_frac : float
        Least expected return of the book; -inf for none.
    history_return_frac : FloatArray, shape (n_days, n)
    worst_days : int
        Days of the history whose mean is limited.
    worst_day_max_loss_frac : float
        Positive.
    """

    symbols: tuple[str, ...]
    expected_return_frac: FloatArray
    covariance: FloatArray
    held_frac: FloatArray
    cost_frac: FloatArray
    risk_aversion: float
    trade_aversion: float
    gross_max_frac: float
    net_max_frac: float
    name_max_frac: float
    long_only: bool
    fully_invested: bool
    return_min_frac: float
    history_return_frac: FloatArray
    worst_days: int
    worst_day_max_loss_frac: float

    def mean_worst_frac(self, weights: FloatArray) -> float:
        """Return the mean of the worst days of the history, usually negative; NaN without a history."""
        if not self.worst_days:
            return float("nan")
        days = self.history_return_frac @ weights
        return float(np.partition(days, self.worst_days - 1)[: self.worst_days].mean())

    def net_return_frac(self, weights: FloatArray) -> float:
        """Return ``mu'w - tau c'|w - w0|``."""
        cost = self.cost_frac @ np.abs(weights - self.held_frac)
        return float(self.expected_return_frac @ weights - self.trade_aversion * cost)

    def variance(self, weights: FloatArray) -> float:
        """Return ``w'Sw``."""
        return float(weights @ self.covariance @ weights)


class NamesAnswer(msgspec.Struct, frozen=True):
    """``optimal`` with weights, or the reason why there are none."""

    status: str
    weights_frac: FloatArray
    binding: tuple[str, ...] = ()


def net_return(problem: NamesProblem, w: Any) -> Any:
    """Return the cvxpy expression of expected return less costs."""
    import cvxpy

    cp: Any = cvxpy  # its atoms are assembled at import and unknown to type checkers
    cost = problem.trade_aversion * problem.cost_frac
    return problem.expected_return_frac @ w - cost @ cp.abs(w - problem.held_frac)


def variance(problem: NamesProblem, w: Any) -> Any:
    """Return the cvxpy expression of w'Sw by a symmetric root of S, which also serves a singular S."""
    import cvxpy

    cp: Any = cvxpy
    values, vectors = np.linalg.eigh(problem.covariance)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    return cp.sum_squares(root.T @ w)


def mean_variance(problem: NamesProblem) -> NamesAnswer:
    """Maximise ``mu'w - gamma w'Sw - tau c'|w - w0|`` under the problem's constraints."""
    import cvxpy as cp

    w = cp.Variable(len(problem.symbols))
    utility = net_return(problem, w)
    if problem.risk_aversion > 0.0:
        utility = utility - problem.risk_aversion * variance(problem, w)
    return solve(problem, cp.Maximize(utility), w)


def solve(problem: NamesProblem, objective: Any, w: Any) -> NamesAnswer:
    """Solve a convex objective under the problem's constraints, and check the answer.

    Statuses: ``optimal``, ``infeasible``, ``unbounded``, ``solver_failed``, ``check_failed``.
    """
    import cvxpy

    cp: Any = cvxpy
    statement = cp.Problem(objective, _constraints(problem, w))
    nothing = np.empty(0)
    for settings in _ATTEMPTS:
        with warnings.catch_warnings(), contextlib.suppress(cp.SolverError):
            warnings.simplefilter("ignore")  # "may be inaccurate": the status says it, and is not accepted
            statement.solve(solver=cp.CLARABEL, max_threads=1, **settings)
        if statement.status in {cp.OPTIMAL, cp.INFEASIBLE, cp.UNBOUNDED}:
            break
    else:
        return NamesAnswer("solver_failed", nothing)
    if statement.status != cp.OPTIMAL:
        return NamesAnswer(statement.status, nothing)
    weights = np.asarray(w.value, dtype=np.float64)
    broken, binding = examine(problem, weights)
    if broken:
        return NamesAnswer("check_failed", nothing, broken)
    return NamesAnswer("optimal", weights, binding)


def examine(problem: NamesProblem, weights: FloatArray) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the constraints that weights break, and of those that bind."""
    limits: list[tuple[str, float, float]] = [
        ("gross", float(np.abs(weights).sum()), problem.gross_max_frac),
        ("net", abs(float(weights.sum())), problem.net_max_frac),
        ("return", -float(problem.expected_return_frac @ weights), -problem.return_min_frac),
        ("worst_day", -problem.mean_worst_frac(weights), problem.worst_day_max_loss_frac),
    ]
    if problem.fully_invested:
        limits.append(("fully_invested", abs(float(weights.sum()) - 1.0), 0.0))
    for symbol, weight in zip(problem.symbols, weights.tolist(), strict=True):
        limits.append((f"name:{symbol}", abs(weight), problem.name_max_frac))
        if problem.long_only:
            limits.append((f"long_only:{symbol}", -weight, 0.0))
    limits = [(name, value, bound) for name, value, bound in limits if np.isfinite(bound)]
    broken = tuple(name for name, value, bound in limits if not value <= bound + TOLERANCE_FRAC)
    binding = tuple(name for name, value, bound in limits if value >= bound - _BINDING_FRAC)
    return broken, binding


def _constraints(problem: NamesProblem, w: Any) -> list[Any]:
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
