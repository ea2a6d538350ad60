"""Student's t instead of the normal law: the same covariance, fatter tails.

Returns over the horizon are multivariate t with d degrees of freedom, scaled to the covariance Σ: one
chi-square stretches all names of a scenario at once, so that large losses come together. A ten-day sum of
daily t returns has thinner tails than this, hence the figure is on the safe side (docs/maths/risk_models.md).
Towards d = 2 the variance moves into jumps too rare for any quantile, so that VaR falls to nothing: d is at
least 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from engine.events import FloatArray
from risk.var import EllipticalVar, GaussianVarOptions, Law


class StudentTVarOptions(GaussianVarOptions):
    """Options of ``student_t``: those of ``gaussian``, and how fat the tails are."""

    freedom: float = Field(
        default=5.0,
        ge=3,
        le=1_000,
        description="Degrees of freedom. Under 3 at unit variance the 99% quantile falls, towards 0 at 2.",
    )

    def law(self) -> Law:
        """Return the tail at unit variance; s = f(t)/(1 − c) (d + t²)/(d − 1) before scaling."""
        from scipy.special import stdtrit

        d, tail = self.freedom, 1.0 - self.confidence
        quantile = -float(stdtrit(d, tail))
        density = math.exp(
            math.lgamma((d + 1.0) / 2.0)
            - math.lgamma(d / 2.0)
            - 0.5 * math.log(d * math.pi)
            - (d + 1.0) / 2.0 * math.log1p(quantile * quantile / d)
        )
        scale = math.sqrt((d - 2.0) / d)
        shortfall = density / tail * (d + quantile * quantile) / (d - 1.0)
        return Law(quantile * scale, density / scale, shortfall * scale)

    def draw(self, n_symbols: int) -> FloatArray:
        """Draw normal scenarios as ``gaussian`` does, each stretched by √((d − 2)/χ²(d))."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        normal = rng.standard_normal((self.scenarios, n_symbols))
        stretch = np.sqrt((self.freedom - 2.0) / rng.chisquare(self.freedom, self.scenarios))
        return np.ascontiguousarray((normal * stretch[:, None]).T)


def build_student_t(options: StudentTVarOptions, symbols: Sequence[str]) -> EllipticalVar:
    """Build the model for a universe."""
    return EllipticalVar(options, len(symbols))
