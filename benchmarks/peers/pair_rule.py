"""The rule of the tape for one pair, in plain Python: what the strategies of event-driven peers call."""

from __future__ import annotations

import math

from benchmarks.tape import (
    DELTA,
    ENTRY_Z,
    EXIT_Z,
    INITIAL_COVARIANCE,
    OBSERVATION_VARIANCE,
    UNIT_USD,
    Tally,
)


class PairRule:
    """Kalman hedge ratio, side and shares of one pair.

    Attributes
    ----------
    y_shares, x_shares : int
        Shares to hold now; zero when flat.
    """

    __slots__ = (
        "_alpha",
        "_beta",
        "_p00",
        "_p01",
        "_p11",
        "_side",
        "entries",
        "exits",
        "x_shares",
        "y_shares",
        "z_sum",
    )

    def __init__(self) -> None:
        self._beta = self._alpha = self._p01 = self._side = 0.0
        self._p00 = self._p11 = INITIAL_COVARIANCE
        self.entries = self.exits = self.y_shares = self.x_shares = 0
        self.z_sum = 0.0

    def step(self, y: float, x: float) -> bool:
        """Take the closes of a minute; return whether the side changed."""
        beta, alpha, p01 = self._beta, self._alpha, self._p01
        p00 = self._p00 + DELTA
        p11 = self._p11 + DELTA
        e = y - beta * x - alpha
        h0 = p00 * x + p01
        h1 = p01 * x + p11
        r = 1.0 / (h0 * x + h1 + OBSERVATION_VARIANCE)
        k0 = h0 * r
        k1 = h1 * r
        t00 = p00 - k0 * h0
        t01 = p01 - k0 * h1
        t10 = p01 - k1 * h0
        t11 = p11 - k1 * h1
        g0 = OBSERVATION_VARIANCE * k0 - (t00 * x + t01)
        g1 = OBSERVATION_VARIANCE * k1 - (t10 * x + t11)
        self._beta = beta + k0 * e
        self._alpha = alpha + k1 * e
        self._p00 = t00 + k0 * g0
        self._p01 = t01 + k1 * g0
        self._p11 = t11 + k1 * g1
        z = e * math.sqrt(r)
        self.z_sum += abs(z)
        if self._side == 0.0:
            if abs(z) <= ENTRY_Z:
                return False
            self._side = -1.0 if z > 0.0 else 1.0
            self.entries += 1
            unit = self._side * UNIT_USD / (y + abs(beta) * x)
            self.y_shares, self.x_shares = round(unit), round(-beta * unit)
            return True
        if self._side * z < -EXIT_Z:
            return False
        self._side = 0.0
        self.exits += 1
        self.y_shares = self.x_shares = 0
        return True


def tally(rules: list[PairRule]) -> Tally:
    """Sum up all pairs."""
    return Tally(
        sum(rule.entries for rule in rules),
        sum(rule.exits for rule in rules),
        sum(rule.z_sum for rule in rules),
    )
