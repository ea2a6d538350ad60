"""Expected return less costs, where the mean of the worst historical days is limited."""

from __future__ import annotations

from strategies.allocators.names import NamesAnswer, NamesProblem, net_return, solve


def downside(problem: NamesProblem) -> NamesAnswer:
    """Maximise mu'w - tau c'|w - w0| with ``sum_smallest(H w, k) / k >= -worst_day_max_loss_frac``.

    Risk is what the weights would have lost on their worst k days in H; no covariance is assumed.
    """
    import cvxpy as cp

    w = cp.Variable(len(problem.symbols))
    return solve(problem, cp.Maximize(net_return(problem, w)), w)
