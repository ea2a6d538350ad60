"""R's default random stream, so that published examples that draw from it can be repeated.

``set.seed`` fills a Mersenne Twister by a linear congruential generator; ``rnorm`` inverts the normal
distribution function at a uniform number made of two draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

_BIG = 134_217_728.0  # 2^27


class RStream:
    """``set.seed(seed)``, then ``rnorm``."""

    def __init__(self, seed: int) -> None:
        words = []
        for _ in range(50 + 625):
            seed = (69_069 * seed + 1) & 0xFFFFFFFF
            words.append(seed)
        self._twister = np.random.MT19937()
        key = np.array(words[-624:], dtype=np.uint32)  # the word before them is R's position, set to 624
        self._twister.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": 624}}

    def normal(self, count: int, mean: float = 0.0, sd: float = 1.0) -> NDArray[np.float64]:
        """``rnorm(count, mean, sd)``."""
        uniform = self._twister.random_raw(2 * count) * 2.3283064365386963e-10
        whole = np.floor(_BIG * uniform[0::2])
        return np.asarray(mean + sd * ndtri((whole + uniform[1::2]) / _BIG), dtype=np.float64)

    def matrix(self, rows: int, columns: int, mean: float, sd: float) -> NDArray[np.float64]:
        """``matrix(rnorm(rows * columns, mean, sd), rows, columns)``, filled by columns."""
        return self.normal(rows * columns, mean, sd).reshape((columns, rows)).T
