"""Noise of a Kalman hedge ratio by maximum likelihood of its innovations (docs/maths/kalman.md).

The likelihood is profiled over the observation variance: a ladder of values of Ve, and for each the best
delta and overnight variance by golden section. All rungs run side by side, which is what makes it quick.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from engine.events import FloatArray
from engine.kernel import kernel

#: Rungs of the ladder; a constant, so that the compiler sees fixed rows and vectorises over rungs.
RUNGS: Final = 32

#: Boxes, as log10 of a variance per minute (overnight: per night).
DELTA_LO: Final = -12.0
DELTA_HI: Final = -5.0
VE_LO: Final = -10.0
VE_HI: Final = -4.0
NIGHT_LO: Final = -12.0
NIGHT_HI: Final = -2.0

#: Observations that let P forget its start, before any counts; and how many must follow.
BURN_IN: Final = 60
OBSERVATIONS_MIN: Final = 120

#: Log units of likelihood that tell two values apart, and the span of log10 Ve that makes a profile flat.
TELLING: Final = 2.0
FLAT_DECADES: Final = 1.0

#: Closer than this (log10) to an edge of its box, delta is at the edge.
EDGE: Final = 0.05

_GOLDEN: Final = 0.6180339887498949
_COARSE: Final = 9
#: Rows of the search: natural parameters, then what the likelihood returns.
_DELTA: Final = 0
_VE: Final = 1
_NIGHT: Final = 2
_BOX: Final = {_DELTA: (DELTA_LO, DELTA_HI), _NIGHT: (NIGHT_LO, NIGHT_HI)}


class Sample(msgspec.Struct, frozen=True):
    """Minutes of one pair (see `log_likelihood`), and the variance that beta and alpha start with."""

    y: FloatArray
    x: FloatArray
    opens: FloatArray
    start: float


class Noise(msgspec.Struct, frozen=True):
    """Calibrated noise of one pair, variances in squared units of its prices.

    Parameters
    ----------
    delta : float
        Of beta and of alpha, per minute.
    observation_variance : float
        Ve.
    overnight_variance : float
        Added to that of alpha at the opening observation of a session.
    log_likelihood : float
        Of the innovations after the burn-in.
    is_weak : bool
        Ve cannot be told from values a decade apart, or lies (or delta does) at an edge of its box.
    """

    delta: float
    observation_variance: float
    overnight_variance: float
    log_likelihood: float
    is_weak: bool


@kernel
def log_likelihood(
    y: FloatArray, x: FloatArray, opens: FloatArray, noise: FloatArray, start: float, out: FloatArray
) -> None:
    r"""Gaussian log likelihood of the innovations, for every rung of noise at once.

    :math:`-\frac12 \sum_t [\ln 2\pi Q_t + e_t^2 / Q_t]` over observations after the burn-in, with the
    recursion of ``strategies.kalman_kernel`` from theta = 0, P = ``start`` I.

    Parameters
    ----------
    y, x, opens : FloatArray, shape (n_minutes,)
        Model prices, NaN where missing; 1 at opening observations (hidden ones are NaN).
    noise : FloatArray, shape (3, RUNGS)
        delta, Ve and overnight variance.
    start : float
        Initial variance of beta and alpha.
    out : FloatArray, shape (RUNGS,)
        Written.
    """
    s = np.zeros((8, RUNGS))
    for k in range(RUNGS):
        s[2, k] = start
        s[4, k] = start
        s[5, k] = 1.0
    n = 0
    for t in range(y.size):
        yt = y[t]
        xt = x[t]
        night = opens[t]
        if math.isnan(yt) or math.isnan(xt):
            for k in range(RUNGS):
                s[2, k] += noise[0, k]
                s[4, k] += noise[0, k] + noise[2, k] * night
            continue
        n += 1
        weight = 1.0 if n > BURN_IN else 0.0
        for k in range(RUNGS):
            ve = noise[1, k]
            p00 = s[2, k] + noise[0, k]
            p01 = s[3, k]
            p11 = s[4, k] + (noise[0, k] + noise[2, k] * night)
            e = yt - s[0, k] * xt - s[1, k]
            h0 = p00 * xt + p01
            h1 = p01 * xt + p11
            q = h0 * xt + h1 + ve
            r = 1.0 / q
            k0 = h0 * r
            k1 = h1 * r
            t00 = p00 - k0 * h0
            t01 = p01 - k0 * h1
            t10 = p01 - k1 * h0
            t11 = p11 - k1 * h1
            g0 = ve * k0 - (t00 * xt + t01)
            g1 = ve * k1 - (t10 * xt + t11)
            s[0, k] += k0 * e
            s[1, k] += k1 * e
            s[2, k] = t00 + k0 * g0
            s[3, k] = t01 + k1 * g0
            s[4, k] = t11 + k1 * g1
            # Logarithms of products of 16 Q: one a step would cost more than all else.
            s[5, k] *= q if n > BURN_IN else 1.0
            s[6, k] += weight * (e * e * r)
        if n % 16 == 0:
            for k in range(RUNGS):
                s[7, k] += math.log(s[5, k])
                s[5, k] = 1.0
    counted = max(n - BURN_IN, 0)
    for k in range(RUNGS):
        s[7, k] += math.log(s[5, k])
        out[k] = -0.5 * (counted * math.log(2.0 * math.pi) + s[7, k] + s[6, k])


@kernel
def search_row(
    y: FloatArray,
    x: FloatArray,
    opens: FloatArray,
    noise: FloatArray,
    row: int,
    lo: FloatArray,
    hi: FloatArray,
    n_steps: int,
    start: float,
    best: FloatArray,
) -> None:
    """Maximise the likelihood over one row of ``noise``, each rung within its own bracket.

    Parameters
    ----------
    y, x, opens, start
        See `log_likelihood`.
    noise : FloatArray, shape (3, RUNGS)
        Row ``row`` is written: the best value of each rung.
    row : int
        Row to search: delta or overnight variance.
    lo, hi : FloatArray, shape (RUNGS,)
        Brackets, log10; used up.
    n_steps : int
        Golden sections; each shrinks the brackets by 0.618.
    best : FloatArray, shape (RUNGS,)
        Written: the likelihood there.
    """
    a = np.empty(RUNGS)
    b = np.empty(RUNGS)
    fa = np.empty(RUNGS)
    fb = np.empty(RUNGS)
    for k in range(RUNGS):
        a[k] = hi[k] - _GOLDEN * (hi[k] - lo[k])
        b[k] = lo[k] + _GOLDEN * (hi[k] - lo[k])
        noise[row, k] = 10.0 ** a[k]
    log_likelihood(y, x, opens, noise, start, fa)
    for k in range(RUNGS):
        noise[row, k] = 10.0 ** b[k]
    log_likelihood(y, x, opens, noise, start, fb)
    for _ in range(n_steps):
        for k in range(RUNGS):
            if fa[k] >= fb[k]:
                hi[k] = b[k]
                b[k] = a[k]
                fb[k] = fa[k]
                a[k] = hi[k] - _GOLDEN * (hi[k] - lo[k])
                noise[row, k] = 10.0 ** a[k]
            else:
                lo[k] = a[k]
                a[k] = b[k]
                fa[k] = fb[k]
                b[k] = lo[k] + _GOLDEN * (hi[k] - lo[k])
                noise[row, k] = 10.0 ** b[k]
        log_likelihood(y, x, opens, noise, start, best)
        for k in range(RUNGS):
            if noise[row, k] == 10.0 ** a[k]:
                fa[k] = best[k]
            else:
                fb[k] = best[k]
    for k in range(RUNGS):
        is_first = fa[k] >= fb[k]
        noise[row, k] = 10.0 ** (a[k] if is_first else b[k])
        best[k] = fa[k] if is_first else fb[k]


@kernel
def bracket_row(
    y: FloatArray,
    x: FloatArray,
    opens: FloatArray,
    noise: FloatArray,
    row: int,
    lo: FloatArray,
    hi: FloatArray,
    start: float,
) -> None:
    """Shrink the brackets of `search_row` to the neighbours of the best of ``_COARSE`` equal steps."""
    top = np.full(RUNGS, -np.inf)
    at = np.zeros(RUNGS)
    value = np.empty(RUNGS)
    for i in range(_COARSE):
        for k in range(RUNGS):
            noise[row, k] = 10.0 ** (lo[k] + (hi[k] - lo[k]) * i / (_COARSE - 1))
        log_likelihood(y, x, opens, noise, start, value)
        for k in range(RUNGS):
            if value[k] > top[k]:
                top[k] = value[k]
                at[k] = i
    for k in range(RUNGS):
        step = (hi[k] - lo[k]) / (_COARSE - 1)
        centre = lo[k] + step * at[k]
        lo[k] = max(lo[k], centre - step)
        hi[k] = min(hi[k], centre + step)


def calibrate(
    y: FloatArray, x: FloatArray, opens: FloatArray, initial_covariance: float, night_min: int
) -> Noise | None:
    """Maximum-likelihood noise of one pair.

    Parameters
    ----------
    y, x, opens : FloatArray, shape (n_minutes,)
        Model prices, NaN where missing; 1 at opening observations (which may be hidden: NaN).
    initial_covariance : float
        P at the start is this times I.
    night_min : int
        Without any night in the sample, a night counts as this many minutes of the random walk.

    Returns
    -------
    Noise or None
        None when there are fewer than ``BURN_IN + OBSERVATIONS_MIN`` observations.
    """
    observed = ~(np.isnan(y) | np.isnan(x))
    if observed.sum() < BURN_IN + OBSERVATIONS_MIN:
        return None
    sample = Sample(y, x, opens, initial_covariance)
    has_nights = bool((opens[np.cumsum(observed) > BURN_IN] == 1.0).any())
    log_ve = np.linspace(VE_LO, VE_HI, RUNGS)
    noise, best = _profile(sample, has_nights, log_ve)
    telling = np.flatnonzero(best >= best.max() - TELLING)
    first, last = int(telling[0]), int(telling[-1])
    is_weak = first == 0 or last == RUNGS - 1 or float(log_ve[last] - log_ve[first]) >= FLAT_DECADES
    k = last
    if not is_weak:
        top = int(best.argmax())
        noise[:] = noise[:, top : top + 1]
        noise[_VE] = 10.0 ** np.linspace(log_ve[top - 1], log_ve[top + 1], RUNGS)
        best = _polish(sample, has_nights, noise)
        k = int(best.argmax())
    delta, ve, night = (float(v) for v in noise[:, k])
    is_weak = is_weak or not DELTA_LO + EDGE < math.log10(delta) < DELTA_HI - EDGE
    return Noise(delta, ve, night if has_nights else night_min * delta, float(best[k]), is_weak)


def _profile(sample: Sample, has_nights: bool, log_ve: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the noise of every rung of a ladder of Ve, shape (3, RUNGS), and its profile likelihood."""
    noise = np.zeros((3, RUNGS))
    noise[_VE] = 10.0**log_ve
    noise[_NIGHT] = 1e-6 if has_nights else 0.0
    for row in (_DELTA, _NIGHT) if has_nights else (_DELTA,):
        lo, hi = (np.full(RUNGS, edge) for edge in _BOX[row])
        bracket_row(sample.y, sample.x, sample.opens, noise, row, lo, hi, sample.start)
        _search(sample, noise, row, lo, hi, 6)
    return noise, _polish(sample, has_nights, noise)


def _polish(sample: Sample, has_nights: bool, noise: FloatArray) -> FloatArray:
    """Search once more around ``noise``, in place, and return the likelihood of every rung."""
    best = np.empty(RUNGS)
    for row, half in ((_NIGHT, 1.0), (_DELTA, 0.5)) if has_nights else ((_DELTA, 0.5),):
        centre = np.log10(noise[row])
        lo, hi = np.maximum(centre - half, _BOX[row][0]), np.minimum(centre + half, _BOX[row][1])
        best = _search(sample, noise, row, lo, hi, 8)
    return best


def _search(
    sample: Sample, noise: FloatArray, row: int, lo: FloatArray, hi: FloatArray, n_steps: int
) -> FloatArray:
    best = np.empty(RUNGS)
    search_row(sample.y, sample.x, sample.opens, noise, row, lo, hi, n_steps, sample.start, best)
    return best
