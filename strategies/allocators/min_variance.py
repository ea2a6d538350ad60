"""The least variance: fully invested and long-only, or at a target return."""

from __future__ import annotations

from strategies.allocators.names import NamesAnswer, NamesProblem, solve, variance


def min_variance(problem: NamesProblem) -> NamesAnswer:
    """Minimise w'Sw under the problem's constraints.

    With caps alone the optimum is the empty book, for any S. What makes the question one are
    ``fully_invested`` or ``return_min_frac``.
    """
    import cvxpy as cp

    w = cp.Variable(len(problem.symbols))
    return solve(problem, cp.Minimize(variance(problem, w)), w)
