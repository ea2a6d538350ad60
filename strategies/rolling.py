"""Statistics of trailing windows that stay exact: z-scores and hedge ratios (docs/maths/zscore.md).

Both slide Welford's recursions and recompute them from the window each time it has been filled anew; without
that a single bad print never leaves the sums. NaN is skipped: it neither enters a window nor moves it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from engine.events import FloatArray
from engine.kernel import kernel
from engine.ports import State

#: Rows of the moments of `rolling_z`, one column a series.
COUNT: Final = 0
SLOT: Final = 1
MEAN: Final = 2
M2: Final = 3
Z_ROWS: Final = 4

#: Further rows of the moments of `rolling_fit` (COUNT and SLOT are shared).
MEAN_Y: Final = 2
MEAN_X: Final = 3
SXX: Final = 4
SXY: Final = 5
FIT_ROWS: Final = 6

#: Variation below this fraction of the level is rounding, not movement.
ROUNDING: Final = 1e-13
#: A sum of squares that falls below this fraction of itself in one step has lost too many digits to keep.
CANCELLED: Final = 1e-6


@kernel
def rolling_z(
    values: FloatArray,
    skipped: FloatArray,
    window: FloatArray,
    moments: FloatArray,
    out: FloatArray,
) -> None:
    """Push one value per series and standardise it over its trailing window.

    z = (v - mean) / sd with ddof 1, the current value included, so |z| <= (W - 1)/sqrt(W).

    Parameters
    ----------
    values : FloatArray, shape (n,)
        NaN is skipped.
    skipped : FloatArray, shape (n,)
        Not 0 where a value is skipped though it is a number.
    window : FloatArray, shape (n, W)
        The last W values of each series; read and written.
    moments : FloatArray, shape (Z_ROWS, n)
        Read and written; zeros at the start.
    out : FloatArray, shape (2, n)
        Written: z and the variance of the window; NaN for skipped values, before it is full, and for a
        constant window.
    """
    size = window.shape[1]
    for k in range(values.size):
        v = values[k]
        out[0, k] = math.nan
        out[1, k] = math.nan
        if math.isnan(v) or skipped[k] != 0.0:
            continue
        slot = int(moments[SLOT, k])
        mean = moments[MEAN, k]
        before = moments[M2, k]
        if moments[COUNT, k] < size:
            moments[COUNT, k] += 1.0
            fresh = mean + (v - mean) / moments[COUNT, k]
            moments[M2, k] += (v - mean) * (v - fresh)
        else:
            old = window[k, slot]
            fresh = mean + (v - old) / size
            moments[M2, k] += (v - old) * (v - fresh + old - mean)
        moments[MEAN, k] = fresh
        window[k, slot] = v
        slot += 1
        # Digits that a far larger value took with it when it left are found again at once.
        is_cancelled = moments[COUNT, k] == size and moments[M2, k] < CANCELLED * before
        if slot == size:
            slot = 0
        if slot == 0 or is_cancelled:
            total = 0.0
            for i in range(size):
                total += window[k, i]
            fresh = total / size
            squares = 0.0
            for i in range(size):
                squares += (window[k, i] - fresh) * (window[k, i] - fresh)
            moments[MEAN, k] = fresh
            moments[M2, k] = squares
        moments[SLOT, k] = slot
        if moments[COUNT, k] == size and moments[M2, k] > 0.0:
            sd = math.sqrt(moments[M2, k] / (size - 1))
            if sd > ROUNDING * abs(moments[MEAN, k]):
                out[0, k] = (v - moments[MEAN, k]) / sd
                out[1, k] = sd * sd


@kernel
def rolling_fit(
    y: FloatArray,
    x: FloatArray,
    fixed: FloatArray,
    window: FloatArray,
    moments: FloatArray,
    out: FloatArray,
) -> None:
    """Measure y = a + b x with coefficients of *before* this observation, then let it into the window.

    b and a are those of ordinary least squares over the W observations before this one, or b is given and
    a is 0.

    Parameters
    ----------
    y, x : FloatArray, shape (n,)
        Skipped where either is NaN.
    fixed : FloatArray, shape (n,)
        b where it is given, NaN where it is fitted.
    window : FloatArray, shape (2, n, W)
        The last W observations of y and of x; read and written.
    moments : FloatArray, shape (FIT_ROWS, n)
        Read and written; zeros at the start.
    out : FloatArray, shape (3, n)
        Written: b, a and the residual y - b x - a; NaN before the window is full and where x does not move.
    """
    size = window.shape[2]
    for k in range(y.size):
        is_full = moments[COUNT, k] == size
        level = moments[MEAN_X, k]
        out[0, k] = fixed[k]
        out[1, k] = 0.0
        if math.isnan(fixed[k]):
            out[1, k] = math.nan
            if is_full and moments[SXX, k] > size * (ROUNDING * level) * (ROUNDING * level):
                out[0, k] = moments[SXY, k] / moments[SXX, k]
                out[1, k] = moments[MEAN_Y, k] - out[0, k] * level
        out[2, k] = y[k] - out[0, k] * x[k] - out[1, k]
        if math.isnan(y[k]) or math.isnan(x[k]):
            continue
        slot = int(moments[SLOT, k])
        n = moments[COUNT, k]
        mean_y = moments[MEAN_Y, k]
        if is_full:
            old_y = window[0, k, slot]
            old_x = window[1, k, slot]
            n -= 1.0
            rest_x = level - (old_x - level) / n
            moments[SXX, k] -= (old_x - rest_x) * (old_x - level)
            moments[SXY, k] -= (old_x - rest_x) * (old_y - mean_y)
            mean_y -= (old_y - mean_y) / n
            level = rest_x
        n += 1.0
        fresh_x = level + (x[k] - level) / n
        fresh_y = mean_y + (y[k] - mean_y) / n
        moments[SXX, k] += (x[k] - level) * (x[k] - fresh_x)
        moments[SXY, k] += (x[k] - level) * (y[k] - fresh_y)
        moments[COUNT, k] = n
        moments[MEAN_Y, k] = fresh_y
        moments[MEAN_X, k] = fresh_x
        window[0, k, slot] = y[k]
        window[1, k, slot] = x[k]
        slot += 1
        if slot == size:
            slot = 0
            refresh(window, moments, k)
        moments[SLOT, k] = slot


@kernel
def refresh(window: FloatArray, moments: FloatArray, k: int) -> None:
    """Recompute the moments of series ``k`` of `rolling_fit` from its full window, in two passes."""
    size = window.shape[2]
    mean_y = 0.0
    mean_x = 0.0
    for i in range(size):
        mean_y += window[0, k, i]
        mean_x += window[1, k, i]
    mean_y /= size
    mean_x /= size
    sxx = 0.0
    sxy = 0.0
    for i in range(size):
        dx = window[1, k, i] - mean_x
        sxx += dx * dx
        sxy += dx * (window[0, k, i] - mean_y)
    moments[MEAN_Y, k] = mean_y
    moments[MEAN_X, k] = mean_x
    moments[SXX, k] = sxx
    moments[SXY, k] = sxy


class RollingZ:
    """Trailing z-scores of ``n`` series over ``window_min`` observations each.

    Parameters
    ----------
    n, window_min : int

    Attributes
    ----------
    z, variance : FloatArray, shape (n,)
        Of the last push; the same arrays for life.
    """

    def __init__(self, n: int, window_min: int) -> None:
        self._out: FloatArray = np.full((2, n), np.nan)
        self._window: FloatArray = np.full((n, window_min), np.nan)
        self._moments: FloatArray = np.zeros((Z_ROWS, n))
        self.z: FloatArray = self._out[0]
        self.variance: FloatArray = self._out[1]

    def push(self, values: FloatArray, skipped: FloatArray) -> None:
        """Take one value per series, but for NaN and where ``skipped`` is not 0."""
        rolling_z(values, skipped, self._window, self._moments, self._out)

    def reset(self) -> None:
        """Forget everything."""
        self._out[:] = np.nan
        self._window[:] = np.nan
        self._moments[:] = 0.0

    def state(self) -> State:
        """Return window, moments and the last z."""
        return {"window": self._window.copy(), "moments": self._moments.copy(), "out": self._out.copy()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._window[:] = state["window"]
        self._moments[:] = state["moments"]
        self._out[:] = state["out"]


class RollingFit:
    """Trailing hedge ratios of ``n`` pairs over ``window_min`` observations each.

    Parameters
    ----------
    window_min : int
    fixed : FloatArray, shape (n,)
        Given hedge ratios, NaN where they are fitted.

    Attributes
    ----------
    beta, alpha, residual : FloatArray, shape (n,)
        Of the last push; the same arrays for life.
    """

    def __init__(self, window_min: int, fixed: FloatArray) -> None:
        n = fixed.size
        self._fixed = fixed
        self._out: FloatArray = np.full((3, n), np.nan)
        self._window: FloatArray = np.full((2, n, window_min), np.nan)
        self._moments: FloatArray = np.zeros((FIT_ROWS, n))
        self.beta: FloatArray = self._out[0]
        self.alpha: FloatArray = self._out[1]
        self.residual: FloatArray = self._out[2]

    def push(self, y: FloatArray, x: FloatArray) -> None:
        """Measure one observation per pair, and let it into the window; NaN is skipped."""
        rolling_fit(y, x, self._fixed, self._window, self._moments, self._out)

    def state(self) -> State:
        """Return window, moments and the last coefficients."""
        return {"window": self._window.copy(), "moments": self._moments.copy(), "out": self._out.copy()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._window[:] = state["window"]
        self._moments[:] = state["moments"]
        self._out[:] = state["out"]
