"""Was the VaR right? Tests of how often, and when, losses went beyond it.

All of them are about one-day VaR at a close, against what the frozen book earned to the next close, without
costs: ten-day windows overlap and are not independent. Days without positions are left out.

References: Kupiec (1995); Christoffersen (1998); Basel Committee (1996), supervisory framework for
backtesting; Acerbi and Szekely (2014).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from scipy.special import bdtr, bdtrc

from engine.events import BoolArray, FloatArray

#: Fewer days than this say little: print the power beside the verdict.
FULL_YEAR_DAYS: Final = 250

_PLUS_FACTOR: Final = (0.0, 0.0, 0.0, 0.0, 0.0, 0.40, 0.50, 0.65, 0.75, 0.85)
_YELLOW_FROM = 0.95
_RED_FROM = 0.9999


class LikelihoodRatio(msgspec.Struct, frozen=True):
    """A likelihood-ratio test; reject at 5% if ``p_value`` is below 0.05."""

    statistic: float
    p_value: float


class BaselZone(msgspec.Struct, frozen=True):
    """Traffic light of a count of exceptions.

    ``plus_factor`` is the regulator's addition to the capital multiplier, defined for 250 days;
    ``cumulative_probability`` that of at most this many exceptions under a right model.
    """

    zone: str
    plus_factor: float
    cumulative_probability: float


class Backtest(msgspec.Struct, frozen=True):
    """Verdict on a series of one-day VaRs; ``power_at_2x`` is NaN from 250 days on.

    Parameters
    ----------
    days, exceptions : int
    unknown_days : int
        Left out because VaR or P&L was not known.
    kupiec, christoffersen, conditional_coverage : LikelihoodRatio
        Right count; no clustering; both at once.
    basel : BaselZone
    power_at_2x : float
        Probability that a model whose true exception rate is twice the nominal would leave green here.
    """

    days: int
    exceptions: int
    unknown_days: int
    kupiec: LikelihoodRatio
    christoffersen: LikelihoodRatio
    conditional_coverage: LikelihoodRatio
    basel: BaselZone
    power_at_2x: float


def kupiec(exceptions: int, days: int, tail: float) -> LikelihoodRatio:
    """Test the proportion of failures.

    Parameters
    ----------
    exceptions, days : int
    tail : float
        Nominal rate of exceptions, 1 − confidence.

    Examples
    --------
    >>> round(kupiec(7, 250, 0.01).statistic, 4)
    5.497
    """
    rate = exceptions / days if days else 0.0
    likely = _log_likelihood(exceptions, days - exceptions, rate)
    return _ratio(2.0 * (likely - _log_likelihood(exceptions, days - exceptions, tail)))


def christoffersen(is_exception: BoolArray) -> LikelihoodRatio:
    """Test whether exceptions are independent of the day before, shape (days,)."""
    before, after = is_exception[:-1], is_exception[1:]
    n00, n01, n10, n11 = (
        int(np.count_nonzero((before == a) & (after == b))) for a in (False, True) for b in (False, True)
    )
    first = n01 / (n00 + n01) if n00 + n01 else 0.0
    second = n11 / (n10 + n11) if n10 + n11 else 0.0
    total = n00 + n01 + n10 + n11
    pooled = (n01 + n11) / total if total else 0.0
    likely = _log_likelihood(n01, n00, first) + _log_likelihood(n11, n10, second)
    return _ratio(2.0 * (likely - _log_likelihood(n01 + n11, n00 + n10, pooled)))


def conditional_coverage(coverage: LikelihoodRatio, independence: LikelihoodRatio) -> LikelihoodRatio:
    """Join ``kupiec`` and ``christoffersen``: their statistics add up to a χ² with two degrees of freedom."""
    statistic = coverage.statistic + independence.statistic
    return LikelihoodRatio(statistic, math.exp(-0.5 * statistic))


def basel_zone(exceptions: int, days: int, tail: float = 0.01) -> BaselZone:
    """Return the traffic light: green under 95% cumulative probability, red from 99.99%.

    At 250 days and 99% this is 0–4 green, 5–9 yellow, 10 and more red.
    """
    cumulative = float(bdtr(exceptions, days, tail))
    is_green = exceptions == 0 or cumulative < _YELLOW_FROM  # of few days, none is as good as it gets
    zone = "green" if is_green else "yellow" if cumulative < _RED_FROM else "red"
    plus = _PLUS_FACTOR[exceptions] if exceptions < len(_PLUS_FACTOR) else 1.0
    return BaselZone(zone, plus, cumulative)


def power(days: int, true_rate: float, at_least: int) -> float:
    """Probability of ``at_least`` exceptions in ``days`` when each day has ``true_rate``."""
    return float(bdtrc(at_least - 1, days, true_rate)) if at_least > 0 else 1.0


def acerbi_szekely(pnl_usd: FloatArray, var_usd: FloatArray, es_usd: FloatArray, tail: float) -> float:
    """Return Z₂ = Σ Xₜ Iₜ / (T α ESₜ) + 1: about 0 for a right ES, negative where it is too small.

    Parameters
    ----------
    pnl_usd : FloatArray, shape (days,)
        Profits are positive here.
    var_usd, es_usd : FloatArray, shape (days,)
        Positive losses.
    tail : float
        α; critical values at 2.5% and 250 days are -0.70 (5%) and -1.8 (0.01%).
    """
    beyond = pnl_usd < -var_usd
    return float((pnl_usd[beyond] / es_usd[beyond]).sum() / (len(pnl_usd) * tail)) + 1.0


def backtest(var_1d_usd: FloatArray, pnl_usd: FloatArray, confidence: float) -> Backtest:
    """Judge one-day VaRs by what the frozen books earned on the next day.

    Parameters
    ----------
    var_1d_usd : FloatArray, shape (days,)
        Positive; 0 on a flat day, which is left out, as is a day whose VaR or P&L is not finite.
    pnl_usd : FloatArray, shape (days,)
        Mark-to-market from that close to the next, without costs.
    confidence : float
    """
    counts = np.isfinite(var_1d_usd) & (var_1d_usd > 0.0) & np.isfinite(pnl_usd)
    is_exception = pnl_usd[counts] < -var_1d_usd[counts]
    tail = 1.0 - confidence
    days, exceptions = len(is_exception), int(is_exception.sum())
    yellow = next(k for k in range(1, days + 2) if basel_zone(k, max(days, 1), tail).zone != "green")
    coverage, independence = kupiec(exceptions, days, tail), christoffersen(is_exception)
    return Backtest(
        days,
        exceptions,
        int(np.count_nonzero(~(np.isfinite(var_1d_usd) & np.isfinite(pnl_usd)))),
        coverage,
        independence,
        conditional_coverage(coverage, independence),
        basel_zone(exceptions, max(days, 1), tail),
        power(max(days, 1), 2.0 * tail, yellow) if days < FULL_YEAR_DAYS else math.nan,
    )


def _log_likelihood(hits: int, misses: int, rate: float) -> float:
    """Bernoulli log-likelihood with 0 log 0 = 0."""
    total = hits * math.log(rate) if hits else 0.0
    return total + (misses * math.log1p(-rate) if misses else 0.0)


def _ratio(statistic: float) -> LikelihoodRatio:
    statistic = max(statistic, 0.0)
    return LikelihoodRatio(statistic, math.erfc(math.sqrt(0.5 * statistic)))
