"""Shadow models: VaR under fatter tails than the normal, to hold beside the one that halts."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from engine.events import FloatArray


def student_t_var_usd(
    sigma_usd: float, confidence: float, horizon_days: float, freedom: float = 5.0
) -> float:
    """VaR if the return over the horizon is Student-t of unit variance: −t⁻¹(1−c) √((d−2)/d) √h σ.

    Parameters
    ----------
    sigma_usd : float
        Daily standard deviation of the book.
    confidence, horizon_days : float
    freedom : float
        Degrees of freedom d, above 2. A ten-day *sum* of daily t returns has thinner tails than this.
    """
    quantile = -float(stdtrit(freedom, 1.0 - confidence))
    return quantile * math.sqrt((freedom - 2.0) / freedom) * math.sqrt(horizon_days) * sigma_usd


def filtered_historical_var_usd(
    pnl_usd: FloatArray, confidence: float, horizon_days: float = 1.0, half_life_days: float = 20.0
) -> float:
    """VaR from past P&L of today's book, each day divided by the volatility forecast for it.

    σₜ² is the EWMA of squared P&L up to t−1; the quantile of pnl/σ is scaled by today's forecast and √h.

    Parameters
    ----------
    pnl_usd : FloatArray, shape (days,)
        What today's holdings would have earned, oldest first. The first half-life starts the filter.
    confidence, horizon_days, half_life_days : float

    Returns
    -------
    float
        NaN under one half-life plus one day, or when the volatility is zero.
    """
    start = math.ceil(half_life_days)
    if len(pnl_usd) <= start:
        return math.nan
    decay = 0.5 ** (1.0 / half_life_days)
    variance = float(np.mean(pnl_usd[:start] ** 2))
    standardised = np.empty(len(pnl_usd) - start)
    for t, pnl in enumerate(pnl_usd[start:].tolist()):
        if not variance > 0.0:
            return math.nan
        standardised[t] = pnl / math.sqrt(variance)
        variance = decay * variance + (1.0 - decay) * pnl * pnl
    tail_bp = 10_000 - round(confidence * 10_000)
    rank = (len(standardised) * tail_bp + 9_999) // 10_000 - 1
    worst = float(np.partition(standardised, rank)[rank])
    return -worst * math.sqrt(variance * horizon_days)
