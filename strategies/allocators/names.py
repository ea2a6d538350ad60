"""Single names instead of spreads: the problem of ``astra optimise`` and ``astra frontier``, and its check.

Constraints: gross, net, per-name, long-only, fully invested, a least return, and a limit on the mean of the
worst days. Every answer is examined here, from the problem alone, without the solver.
"""

from __future__ import annotations

import msgspec
import numpy as np

from engine.events import FloatArray

#: Constraints hold to this, fractions of equity.
TOLERANCE_FRAC = 1e-6
_BINDING_FRAC = 1e-5


class Weighting(msgspec.Struct, frozen=True):
    """What the objective counts: the levers of the trade-off.

    Parameters
    ----------
    reward : float
        1 counts expected returns; 0 leaves them out (least variance).
    risk_aversion, trade_aversion : float
        gamma (lambda in much of the literature) and tau.
    """

    reward: float
    risk_aversion: float
    trade_aversion: float


class NamesProblem(msgspec.Struct, frozen=True):
    """A problem over n names; returns and covariance share one period, and absent limits are infinite.

    Parameters
    ----------
    symbols : tuple of str
    expected_return_frac, held_frac, cost_frac : FloatArray, shape (n,)
        The cost is one-way, per USD traded.
    covariance : FloatArray, shape (n, n)
        Symmetric and positive semidefinite.
    weighting : Weighting
    gross_max_frac, net_max_frac, name_max_frac : float
    long_only, fully_invested : bool
    return_min_frac : float
        Least expected return of the book; -inf for none.
    history_return_frac : FloatArray, shape (n_days, n)
    worst_days : int
        Days of the history whose mean is limited.
    worst_day_max_loss_frac : float
        Positive.
    steps : int
        Periods that are planned; the first is traded.
    decay_frac : float
        What is left of a forecast after a period.
    ends_flat : bool
        Whether the plan pays for selling what it holds at its end.
    buffer_frac : float
        Half-width of the band around a target weight, as a fraction of it.
    """

    symbols: tuple[str, ...]
    expected_return_frac: FloatArray
    covariance: FloatArray
    held_frac: FloatArray
    cost_frac: FloatArray
    weighting: Weighting
    gross_max_frac: float
    net_max_frac: float
    name_max_frac: float
    long_only: bool
    fully_invested: bool
    return_min_frac: float
    history_return_frac: FloatArray
    worst_days: int
    worst_day_max_loss_frac: float
    steps: int = 1
    decay_frac: float = 1.0
    ends_flat: bool = False
    buffer_frac: float = 0.0

    def mean_worst_frac(self, weights: FloatArray) -> float:
        """Return the mean of the worst days of the history, usually negative; NaN without a history."""
        if not self.worst_days:
            return float("nan")
        days = self.history_return_frac @ weights
        return float(np.partition(days, self.worst_days - 1)[: self.worst_days].mean())

    def variance(self, weights: FloatArray) -> float:
        """Return ``w'Sw``."""
        return float(weights @ self.covariance @ weights)

    def utility(self, plan: FloatArray, weighting: Weighting) -> float:
        """Return what is maximised, of a plan of shape (steps, n).

        Sum over the steps k of ``decay^k mu'w_k - gamma w_k'Sw_k - tau c'|w_k - w_(k-1)|``, less
        ``tau c'|w_last|`` if the plan ends flat.
        """
        total, before = 0.0, self.held_frac
        for k, w in enumerate(plan):
            total += weighting.reward * self.decay_frac**k * float(self.expected_return_frac @ w)
            total -= weighting.risk_aversion * self.variance(w)
            total -= weighting.trade_aversion * float(self.cost_frac @ np.abs(w - before))
            before = w
        if self.ends_flat:
            total -= weighting.trade_aversion * float(self.cost_frac @ np.abs(before))
        return total


class NamesAnswer(msgspec.Struct, frozen=True):
    """``optimal`` with the weights of every step, shape (steps, n), or the reason why there are none."""

    status: str
    plan_frac: FloatArray
    binding: tuple[str, ...] = ()

    @property
    def weights_frac(self) -> FloatArray:
        """The weights to trade to now, shape (n,)."""
        first: FloatArray = self.plan_frac[0]
        return first


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
