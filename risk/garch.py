"""GARCH(1,1) by quasi maximum likelihood: how the volatility of one symbol follows its own returns.

    σ²ₜ₊₁ = ω + α r²ₜ + β σ²ₜ

Bollerslev (1986); normal likelihood whatever the law of the shocks (Bollerslev and Wooldridge, 1992). The
search is that of the package ``arch``: likelihoods of this kind are easy to write almost right.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from engine.events import FloatArray

#: ω, α, β of exponential weights.
EXPONENTIAL: Final = (0.0, 0.06, 0.94)
#: A fit with α + β above this has no long-run variance to speak of.
_PERSISTENCE_MAX: Final = 0.9995
_STEPS: Final = 200


def fit_garch(returns: FloatArray) -> tuple[float, float, float]:
    """Fit a GARCH(1,1) without mean to the daily returns of one symbol: some 8 ms for 500 days.

    Parameters
    ----------
    returns : FloatArray, shape (n_days,)
        Oldest first; not all zero.

    Returns
    -------
    omega, alpha, beta : float
        Exponential weights if the search does not end, or ends where the variance has no level.
    """
    from arch.univariate import GARCH, ZeroMean

    scale = math.sqrt(float(np.mean(returns * returns)))
    model = ZeroMean(returns / scale, volatility=GARCH(p=1, o=0, q=1), rescale=False)
    try:
        with np.errstate(all="ignore"):
            fit = model.fit(disp="off", show_warning=False, options={"maxiter": _STEPS})
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return EXPONENTIAL
    omega, alpha, beta = (float(value) for value in fit.params.to_numpy())
    is_sound = fit.convergence_flag == 0 and math.isfinite(omega + alpha + beta)
    if not is_sound or alpha + beta > _PERSISTENCE_MAX:
        return EXPONENTIAL
    return omega * scale * scale, alpha, beta
