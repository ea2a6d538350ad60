"""Value-at-Risk and expected shortfall of a linear book under Gaussian returns.

Two numbers every bar: the analytic one, exact for this model, and a Monte Carlo over a *fixed* scenario
matrix. Fresh scenarios every minute would make a limit a coin toss (standard error 2.27% at 5,000); common
random numbers move only when the book or the market does. Formulas and error bars: docs/maths/var.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.errors import InvariantError
from engine.events import BoolArray, FloatArray
from engine.kernel import kernel
from engine.ports import Market, RiskReport

PRICE_NOT_FINITE: Final = "PRICE_NOT_FINITE"
COV_MISSING_SYMBOL: Final = "COV_MISSING_SYMBOL"
VAR_NOT_FINITE: Final = "VAR_NOT_FINITE"

#: Standard errors between the Monte-Carlo VaR and its one-sided 95% upper bound.
UPPER_Z: Final = 1.645

_BLOCK = 512
_FLAT_CODE, _OK_CODE, _NOT_FINITE_CODE, _MISSING_CODE = 0, 1, 2, 3
_FLAT_REPORT = RiskReport(0.0, 0.0, 0.0, 0.0, 0.0)


def unknown(reason: str) -> RiskReport:
    """Return the report of a book that cannot be measured: all NaN, with a reason."""
    nan = math.nan
    return RiskReport(nan, nan, nan, nan, nan, reason)


@kernel
def scenario_pnl(scenarios: FloatArray, coefficient: FloatArray, pnl: FloatArray) -> None:
    """Sum scenarios: pnl = coefficient' scenarios, in a fixed order of additions.

    Blocks of ``pnl`` stay in the first-level cache while four rows of scenarios stream past. Zero
    coefficients are skipped.

    Parameters
    ----------
    scenarios : FloatArray, shape (n, n_scenarios)
    coefficient : FloatArray, shape (n,)
    pnl : FloatArray, shape (n_scenarios,)
        Output.
    """
    n, n_scenarios = scenarios.shape
    used = np.empty(n + 3, dtype=np.int64)
    count = 0
    for i in range(n):
        if coefficient[i] != 0.0:
            used[count] = i
            count += 1
    for start in range(0, n_scenarios, _BLOCK):
        stop = min(start + _BLOCK, n_scenarios)
        block = pnl[start:stop]
        block[:] = 0.0
        whole = count - count % 4
        for group in range(0, whole, 4):
            i, j, k, m = used[group], used[group + 1], used[group + 2], used[group + 3]
            a, b, c, d = coefficient[i], coefficient[j], coefficient[k], coefficient[m]
            za, zb = scenarios[i, start:stop], scenarios[j, start:stop]
            zc, zd = scenarios[k, start:stop], scenarios[m, start:stop]
            for s in range(block.size):
                block[s] = block[s] + a * za[s] + b * zb[s] + c * zc[s] + d * zd[s]
        for last in range(whole, count):
            a = coefficient[used[last]]
            za = scenarios[used[last], start:stop]
            for s in range(block.size):
                block[s] += a * za[s]


@kernel
def order_statistic(values: FloatArray, rank: int) -> float:
    """Return the element of that rank (0 is the smallest), through a heap of the smallest ``rank + 1``.

    Parameters
    ----------
    values : FloatArray, shape (n,)
        Finite.
    rank : int
        Below n. Cheap when it is small: most values are turned away by one comparison.
    """
    size = rank + 1
    heap = np.empty(size)
    for i in range(size):
        value = values[i]
        child = i
        while child > 0 and heap[(child - 1) // 2] < value:
            heap[child] = heap[(child - 1) // 2]
            child = (child - 1) // 2
        heap[child] = value
    for i in range(size, values.size):
        value = values[i]
        if value >= heap[0]:
            continue
        hole = 0
        child = 1
        while child < size:
            if child + 1 < size and heap[child + 1] > heap[child]:
                child += 1
            if heap[child] <= value:
                break
            heap[hole] = heap[child]
            hole = child
            child = 2 * hole + 1
        heap[hole] = value
    return float(heap[0])


@kernel
def measure_book(
    holdings_usd: FloatArray, known: BoolArray, factor: FloatArray, scenarios: FloatArray, rank: int
) -> tuple[int, float, float]:
    """Measure one day of a book.

    Only held symbols enter, so that 0 x NaN of a symbol not held cannot poison the sum.

    Parameters
    ----------
    holdings_usd : FloatArray, shape (n,)
    known : BoolArray, shape (n,)
    factor : FloatArray, shape (n, n)
        L with L L' = Σ.
    scenarios : FloatArray, shape (n, n_scenarios)
    rank : int
        Of the worst-but-``rank`` scenario.

    Returns
    -------
    code : int
        0 flat, 1 measured, 2 a holding is not finite, 3 a held symbol is not known.
    sigma_usd : float
        sqrt(w'Σw).
    loss_usd : float
        One-day loss in that scenario.
    """
    n = holdings_usd.size
    code = _FLAT_CODE
    for i in range(n):
        if holdings_usd[i] == 0.0:
            continue
        if not np.isfinite(holdings_usd[i]):
            return _NOT_FINITE_CODE, np.nan, np.nan
        if not known[i]:
            code = _MISSING_CODE
        elif code == _FLAT_CODE:
            code = _OK_CODE
    if code != _OK_CODE:
        return code, np.nan, np.nan
    coefficient = np.zeros(n)
    for i in range(n):
        weight = holdings_usd[i]
        if weight != 0.0:
            row = factor[i]
            for k in range(n):
                coefficient[k] += weight * row[k]
    variance = 0.0
    for k in range(n):
        variance += coefficient[k] * coefficient[k]
    pnl = np.empty(scenarios.shape[1])
    scenario_pnl(scenarios, coefficient, pnl)
    return code, np.sqrt(variance), -order_statistic(pnl, rank)


class GaussianVarOptions(BaseModel):
    """Options of ``gaussian``: what part of the loss distribution is read off, and from how many draws."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(
        default=0.99, gt=0.5, lt=1, description="Confidence of VaR and ES, whole basis points."
    )
    horizon_days: float = Field(default=10, gt=0, le=365, description="Horizon of VaR, sessions.")
    scenarios: int = Field(default=5_000, ge=100, le=1_000_000, description="Monte Carlo scenarios.")
    seed: int = Field(default=7, ge=0, description="Seed of the scenarios; fixed over the run.")

    @field_validator("confidence")
    @classmethod
    def _whole_basis_points(cls, value: float) -> float:
        if abs(value * 10_000 - round(value * 10_000)) > 1e-6:
            raise ValueError(f"confidence must be a whole number of basis points, was {value}")
        return value

    @property
    def rank(self) -> int:
        """Index of the VaR scenario from the worst, 0-based; in integers, since 0.01 x 5,000 is not 50."""
        tail_bp = 10_000 - round(self.confidence * 10_000)
        return (self.scenarios * tail_bp + 9_999) // 10_000 - 1


class GaussianVar:
    """Value-at-Risk of a linear book, analytic and by Monte Carlo with common random numbers.

    VaR = z √h √(w'Σw), and the k-th worst of √h Z (L'w) with Z drawn once from PCG64(seed). ``upper`` is the
    one-sided 95% bound of the Monte-Carlo figure, never below the analytic one. ES = φ(z)/(1−c) √h √(w'Σw),
    never below VaR.

    Parameters
    ----------
    options : GaussianVarOptions
    n_symbols : int
        Size of the universe; scenario column i belongs to symbol i.
    """

    def __init__(self, options: GaussianVarOptions, n_symbols: int) -> None:
        normal = NormalDist()
        tail = 1.0 - options.confidence
        z = normal.inv_cdf(options.confidence)
        density = normal.pdf(z)
        self.options = options
        #: Analytic VaR per USD of daily standard deviation: z √h.
        self.z_horizon = z * math.sqrt(options.horizon_days)
        #: Relative standard error of the Monte-Carlo quantile: √(a(1−a)/N) / (φ(z) z).
        self.mc_error_frac = math.sqrt(tail * options.confidence / options.scenarios) / (density * z)
        self.mc_margin = 1.0 + UPPER_Z * self.mc_error_frac
        self._root_horizon = math.sqrt(options.horizon_days)
        self._es_factor = density / tail * self._root_horizon
        self._rank = options.rank
        self._shape = (n_symbols,)
        rng = np.random.Generator(np.random.PCG64(options.seed))
        self._scenarios = np.ascontiguousarray(rng.standard_normal((options.scenarios, n_symbols)).T)

    def measure(self, holdings_usd: FloatArray, market: Market) -> RiskReport:
        """Measure a book ``(n_symbols,)``; a flat one is 0.0 even without a covariance.

        Raises
        ------
        InvariantError
            If the book is not of this universe.
        """
        if holdings_usd.shape != self._shape or market.known.shape != self._shape:
            raise InvariantError(f"book of shape {holdings_usd.shape} in a universe of {self._shape}")
        if market.reason:
            return unknown(market.reason) if holdings_usd.any() else _FLAT_REPORT
        code, sigma_usd, loss_usd = measure_book(
            holdings_usd, market.known, market.factor_daily, self._scenarios, self._rank
        )
        if code == _OK_CODE:
            analytic = self.z_horizon * sigma_usd
            mc = self._root_horizon * loss_usd
            if not (math.isfinite(analytic) and math.isfinite(mc)):
                return unknown(VAR_NOT_FINITE)
            var = max(analytic, mc)
            upper = max(mc * self.mc_margin, analytic)
            return RiskReport(var, analytic, mc, upper, max(self._es_factor * sigma_usd, var))
        if code == _FLAT_CODE:
            return _FLAT_REPORT
        return unknown(PRICE_NOT_FINITE if code == _NOT_FINITE_CODE else COV_MISSING_SYMBOL)

    def components(self, holdings_usd: FloatArray, market: Market) -> FloatArray:
        """Split the analytic VaR by symbol: z √h wᵢ(Σw)ᵢ / √(w'Σw), shape (n_symbols,); they sum to it.

        NaN where the book cannot be measured, zero when it is flat.
        """
        report = self.measure(holdings_usd, market)
        if report.reason or report.var_analytic_usd == 0.0:
            return np.full(self._shape, math.nan if report.reason else 0.0)
        held = holdings_usd != 0.0
        coefficient = holdings_usd[held] @ market.factor_daily[held]
        sigma_usd = report.var_analytic_usd / self.z_horizon
        parts = np.zeros(self._shape)
        marginal = market.factor_daily[held] @ coefficient
        parts[held] = self.z_horizon / sigma_usd * holdings_usd[held] * marginal
        return parts


def build_gaussian(options: GaussianVarOptions, symbols: Sequence[str]) -> GaussianVar:
    """Build the model for a universe."""
    return GaussianVar(options, len(symbols))
