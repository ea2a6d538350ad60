"""The tape of every comparison: seeded pairs whose spread reverts, and the rule that all engines apply to it.

Needs NumPy alone, so that the environments of other engines can import it. Columns are y and x of each pair
in turn. A minute opens at the close before it and trades a million shares, so that no order is too large.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The rule: a Kalman hedge ratio on prices in USD, entered at |z| > ENTRY_Z, left where z crosses EXIT_Z.
DELTA: Final = 1e-10
OBSERVATION_VARIANCE: Final = 7.8e-3
INITIAL_COVARIANCE: Final = 1.0
ENTRY_Z: Final = 2.0
EXIT_Z: Final = 0.5
#: USD of gross in a spread that is not flat.
UNIT_USD: Final = 100_000.0

SEED: Final = 7
_MINUTE_VOLATILITY: Final = 4e-4
_SPREAD_USD: Final = 0.1
_REVERSION: Final = 0.9  # lag-1 autocorrelation of the spread: half-life under seven minutes
_VOLUME: Final = 1e6


class Size(NamedTuple):
    """How many pairs for how many minutes."""

    n_pairs: int
    n_minutes: int

    @property
    def n_symbols(self) -> int:
        """Symbols, two a pair."""
        return 2 * self.n_pairs

    @property
    def n_bars(self) -> int:
        """Symbols times minutes."""
        return self.n_symbols * self.n_minutes

    def __str__(self) -> str:
        """Return symbols x minutes."""
        return f"{self.n_symbols:,} x {self.n_minutes:,}"


SMALL: Final = Size(1, 100_000)
WIDE: Final = Size(20, 10_000)
HUGE: Final = Size(250, 2_000)


class Tally(NamedTuple):
    """What every engine must report alike: entries, exits, and the sum of |z| over all pairs and minutes."""

    entries: int
    exits: int
    z_sum: float

    def agrees(self, other: Tally) -> bool:
        """Whether counts are equal, and the sums but for the rounding of another order of additions."""
        return self[:2] == other[:2] and abs(self.z_sum - other.z_sum) <= 1e-9 * abs(self.z_sum)


def symbols_of(size: Size) -> tuple[str, ...]:
    """Names of the columns: Y000, X000, Y001, ..."""
    return tuple(f"{leg}{k:03d}" for k in range(size.n_pairs) for leg in "YX")


def make_bars(size: Size, seed: int = SEED) -> NDArray[np.float64]:
    """Make the bars of a tape.

    x is a random walk from 100 USD, y = beta x + a spread that is AR(1); prices are rounded to 4 decimals.

    Returns
    -------
    FloatArray, shape (n_minutes, 5, n_symbols)
        Open, high, low, close (USD) and volume (shares) of every minute.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    shape = (size.n_minutes, size.n_pairs)
    x = 100.0 * np.exp(np.cumsum(_MINUTE_VOLATILITY * rng.standard_normal(shape), axis=0))
    beta = rng.uniform(0.7, 1.3, size.n_pairs)
    spread = rng.standard_normal(shape) * _SPREAD_USD * np.sqrt(1.0 - _REVERSION**2)
    for t in range(1, size.n_minutes):
        spread[t] += _REVERSION * spread[t - 1]
    close = np.empty((size.n_minutes, size.n_symbols))
    close[:, 0::2] = np.round(beta * x + spread, 4)
    close[:, 1::2] = np.round(x, 4)
    open_ = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return np.stack((open_, high, low, close, np.full_like(close, _VOLUME)), axis=1)
