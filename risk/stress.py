"""Stress tests of a frozen book: so many sigmas, the worst stretches of its past, hedges that fail.

VaR says what to expect on the worst of a hundred days; a stress test asks what a given day would cost,
without saying how likely it is. Losses are positive; a negative one is a gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from engine.errors import InvariantError
from engine.events import FloatArray, IntArray


class Stress(msgspec.Struct, frozen=True):
    """One stress test.

    Parameters
    ----------
    name : str
    loss_usd : float
    first_day, last_day : int
        Of a stretch of history, days since 1970-01-01: the loss is from the close before the first day to
        the close of the last. -1 without dates.
    """

    name: str
    loss_usd: float
    first_day: int = -1
    last_day: int = -1


def sigma_usd(holdings_usd: FloatArray, covariance_daily: FloatArray) -> float:
    """Return the daily standard deviation √(w'Σw) of a book, w (n,) and Σ (n, n)."""
    held = holdings_usd != 0.0
    weights = holdings_usd[held]
    return math.sqrt(max(float(weights @ covariance_daily[np.ix_(held, held)] @ weights), 0.0))


def k_sigma(
    holdings_usd: FloatArray, covariance_daily: FloatArray, horizon_days: float, sigmas: Sequence[float]
) -> list[Stress]:
    """Return the losses of so many standard deviations over a horizon, k √h √(w'Σw)."""
    scale = math.sqrt(horizon_days) * sigma_usd(holdings_usd, covariance_daily)
    return [Stress(f"{k:g} sigma over {horizon_days:g} days", k * scale) for k in sigmas]


def hedges_fail(
    holdings_usd: FloatArray, covariance_daily: FloatArray, horizon_days: float, quantile: float
) -> list[Stress]:
    """Return VaR, z √h σ, when the correlations are gone and the volatilities stay.

    "All correlations one" is |Σ wᵢσᵢ|: what is long falls, and so does what is short. "Every hedge fails"
    is Σ |wᵢ| σᵢ, correlations of one between all losing sides, the largest that any correlations can make.

    Parameters
    ----------
    holdings_usd : FloatArray, shape (n,)
    covariance_daily : FloatArray, shape (n, n)
    horizon_days, quantile : float
        h and z.
    """
    held = holdings_usd != 0.0
    by_name = holdings_usd[held] * np.sqrt(covariance_daily.diagonal()[held])
    scale = quantile * math.sqrt(horizon_days)
    return [
        Stress("all correlations one", scale * abs(float(by_name.sum()))),
        Stress("every hedge fails", scale * float(np.abs(by_name).sum())),
    ]


def stretch_losses_usd(holdings_usd: FloatArray, returns_daily: FloatArray, length_days: int) -> FloatArray:
    """Return what the book would have lost in every stretch of so many days, each name to its own end.

    Parameters
    ----------
    holdings_usd : FloatArray, shape (n,)
    returns_daily : FloatArray, shape (n_days, n)
        Log returns; NaN where a symbol is not known.
    length_days : int

    Returns
    -------
    FloatArray, shape (n_days - length_days + 1,)
        By the first day; NaN where a held symbol is not known.
    """
    held = holdings_usd != 0.0
    returns = returns_daily[:, held]
    if length_days < 1 or length_days > len(returns):
        return np.empty(0)
    sums = np.lib.stride_tricks.sliding_window_view(returns, length_days, axis=0).sum(axis=-1)
    losses: FloatArray = 0.0 - np.expm1(sums) @ holdings_usd[held]  # no loss is 0, not -0
    return losses


def worst_stretches(
    holdings_usd: FloatArray, returns_daily: FloatArray, days: IntArray, length_days: int, count: int
) -> list[Stress]:
    """Return the worst stretches of history for this book, the worst first, none overlapping another.

    Parameters
    ----------
    holdings_usd, returns_daily, length_days
        As of ``stretch_losses_usd``.
    days : IntArray, shape (n_days,)
        Day that each return ends on, since 1970-01-01.
    count : int
        At most so many.
    """
    losses = stretch_losses_usd(holdings_usd, returns_daily, length_days)
    losses = np.where(np.isnan(losses), -np.inf, losses)
    found: list[Stress] = []
    while len(found) < count and losses.size and losses.max() > -np.inf:
        first = int(np.argmax(losses))
        last = first + length_days - 1
        name = f"worst {length_days} days, {len(found) + 1}"
        found.append(Stress(name, float(losses[first]), int(days[first]), int(days[last])))
        losses[max(first - length_days + 1, 0) : last + 1] = -np.inf
    return found


def named_stretch(
    name: str,
    holdings_usd: FloatArray,
    returns_daily: FloatArray,
    days: IntArray,
    between: tuple[int, int],
) -> Stress:
    """Return the loss over a stretch given by its first and last day, both inclusive.

    Raises
    ------
    InvariantError
        If no day of the history lies between them.
    """
    inside = np.flatnonzero((days >= between[0]) & (days <= between[1]))
    if not inside.size:
        raise InvariantError(f"no day of the history is in {name}")
    stretch = returns_daily[inside]
    loss = float(stretch_losses_usd(holdings_usd, stretch, len(stretch))[0])
    return Stress(name, loss, int(days[inside[0]]), int(days[inside[-1]]))
