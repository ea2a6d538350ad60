"""Which pairs of a universe move together: every pair tested, and false discoveries held at a rate.

docs/maths/screening.md says what the figures mean, and what a screen cannot know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Final

import msgspec
import numpy as np

from engine.events import FloatArray
from strategies.admission import DAYS_MIN, benjamini_hochberg, best_order
from strategies.dickey_fuller import residuals

#: Observations that a pair needs in common, whatever their distance.
COMMON_MIN: Final = DAYS_MIN


class ScreenedPair(msgspec.Struct, frozen=True):
    """What a screen found of one pair.

    Parameters
    ----------
    pair : str
        ``"Y/X"``: the order whose residuals look more stationary.
    n_observations : int
        Closes that both legs have.
    correlation : float
        Of their log returns.
    p_value : float
        Engle-Granger, both orders paid for.
    is_discovery : bool
        Whether it passes at the rate of false discoveries.
    usd_ratio : float
        USD of x against 1 USD of y: slope of log y on log x.
    ratio_drift_frac : float
        Change of that slope from the first half of the sample to the second, as a share of it.
    half_life_steps : float
        Of the spread, an AR(1); 0 if it is back within a step, infinite if it does not revert.
    capacity_usd : float
        Gross that one bar's participation fills; NaN without volumes.
    """

    pair: str
    n_observations: int
    correlation: float
    p_value: float
    is_discovery: bool
    usd_ratio: float
    ratio_drift_frac: float
    half_life_steps: float
    capacity_usd: float


def screen(
    symbols: Sequence[str],
    log_close: FloatArray,
    volume_usd: FloatArray,
    participation_frac: float,
    q: float = 0.10,
) -> list[ScreenedPair]:
    """Test every pair of a universe, controlling the false discovery rate (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    symbols : sequence of str, length n
    log_close : FloatArray, shape (n_steps, n)
        Log closes at equal distances; NaN where there is none.
    volume_usd : FloatArray, shape (n,)
        USD that trade in a usual bar; NaN where unknown.
    participation_frac : float
        Share of it that one fill may take.
    q : float
        False discoveries allowed among all discoveries, on average.

    Returns
    -------
    list of ScreenedPair
        By p-value, then by capacity. A pair of fewer than ``COMMON_MIN`` common closes is not in it, and not
        among the hypotheses.
    """
    is_known = ~np.isnan(log_close)
    found: list[ScreenedPair] = []
    for i, j in combinations(range(len(symbols)), 2):
        both = is_known[:, i] & is_known[:, j]
        if np.count_nonzero(both) < COMMON_MIN:
            continue
        legs = np.ascontiguousarray(log_close[both][:, [i, j]].T)
        p_value, is_in_order = best_order(legs[0], legs[1])
        y, x = (i, j) if is_in_order else (j, i)
        volumes = volume_usd[[y, x]] * participation_frac
        name = f"{symbols[y]}/{symbols[x]}"
        found.append(_describe(name, legs if is_in_order else legs[::-1], p_value, volumes))
    passed = benjamini_hochberg(np.array([one.p_value for one in found]), q)
    judged = [
        msgspec.structs.replace(one, is_discovery=bool(is_passed))
        for one, is_passed in zip(found, passed, strict=True)
    ]
    return sorted(judged, key=lambda one: (one.p_value, -_or_zero(one.capacity_usd), one.pair))


def _describe(name: str, legs: FloatArray, p_value: float, volumes: FloatArray) -> ScreenedPair:
    y, x = np.ascontiguousarray(legs[0]), np.ascontiguousarray(legs[1])
    n = y.size
    spread = np.empty(n)
    slope, _ = residuals(y, x, spread)
    scratch = np.empty(n)
    halves = [residuals(y[part], x[part], scratch)[0] for part in (slice(0, n // 2), slice(n // 2, n))]
    steps = np.diff(y), np.diff(x)
    is_moving = all(np.ptp(step) > 0.0 for step in steps)
    return ScreenedPair(
        name,
        n,
        float(np.corrcoef(*steps)[0, 1]) if is_moving else math.nan,
        p_value,
        False,
        slope,
        abs(halves[1] - halves[0]) / abs(slope) if slope else math.nan,
        half_life_steps(spread),
        capacity_usd(slope, volumes),
    )


def half_life_steps(spread: FloatArray) -> float:
    """Return the steps in which a spread's distance from its mean halves: ln 2 / -ln phi of an AR(1).

    Parameters
    ----------
    spread : FloatArray, shape (n,)

    Returns
    -------
    float
        0 for phi <= 0, which is back within a step; infinite for phi >= 1.
    """
    scratch = np.empty(spread.size - 1)
    phi, _ = residuals(spread[1:], spread[:-1], scratch)
    if phi <= 0.0:
        return 0.0
    return -math.log(2.0) / math.log(phi) if phi < 1.0 else math.inf


def capacity_usd(usd_ratio: float, volumes_usd: FloatArray) -> float:
    """Return the gross of a spread whose tighter leg takes all that it may.

    Legs of a gross G weigh G / (1 + abs(b)) and abs(b) G / (1 + abs(b)).

    Parameters
    ----------
    usd_ratio : float
        b, USD of x against 1 USD of y.
    volumes_usd : FloatArray, shape (2,)
        What may be traded of y and of x.

    Examples
    --------
    >>> capacity_usd(3.0, np.array([100.0, 150.0]))
    200.0
    """
    ratio = abs(usd_ratio)
    whole = 1.0 + ratio
    y_usd, x_usd = float(volumes_usd[0]), float(volumes_usd[1])
    return min(y_usd * whole, x_usd * whole / ratio) if ratio > 0.0 else y_usd


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
