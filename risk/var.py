"""Value-at-Risk and expected shortfall of a linear book under elliptical returns: normal, or Student's t.

Two numbers every bar: the analytic one, exact for this model, and a Monte Carlo over a *fixed* scenario
matrix. Fresh scenarios every minute would make a limit a coin toss (standard error 2.27% at 5,000); common
random numbers move only when the book or the market does. Formulas and error bars: docs/maths/var.md; what
each model can and cannot know: docs/maths/risk_models.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.errors import InvariantError
from engine.events import BoolArray, FloatArray
from engine.kernel import kernel
from engine.oversight import Market, Prepared, RiskReport

PRICE_NOT_FINITE: Final = "PRICE_NOT_FINITE"
COV_MISSING_SYMBOL: Final = "COV_MISSING_SYMBOL"
VAR_NOT_FINITE: Final = "VAR_NOT_FINITE"

#: Standard errors between the Monte-Carlo VaR and its one-sided 95% upper bound.
UPPER_Z: Final = 1.645

_BLOCK = 512
FLAT_CODE, OK_CODE, NOT_FINITE_CODE, MISSING_CODE = 0, 1, 2, 3
FLAT_REPORT: Final = RiskReport(0.0, 0.0, 0.0, 0.0, 0.0)
#: Reasons by the code of a kernel.
REASONS: Final = {NOT_FINITE_CODE: PRICE_NOT_FINITE, MISSING_CODE: COV_MISSING_SYMBOL}


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
def smallest(values: FloatArray, count: int) -> FloatArray:
    """Return the ``count`` smallest values as a heap: the largest of them is the first.

    Parameters
    ----------
    values : FloatArray, shape (n,)
        Finite.
    count : int
        At most n. Cheap when it is small: most values are turned away by one comparison.
    """
    heap = np.empty(count)
    for i in range(count):
        value = values[i]
        child = i
        while child > 0 and heap[(child - 1) // 2] < value:
            heap[child] = heap[(child - 1) // 2]
            child = (child - 1) // 2
        heap[child] = value
    for i in range(count, values.size):
        value = values[i]
        if value >= heap[0]:
            continue
        hole = 0
        child = 1
        while child < count:
            if child + 1 < count and heap[child + 1] > heap[child]:
                child += 1
            if heap[child] <= value:
                break
            heap[hole] = heap[child]
            hole = child
            child = 2 * hole + 1
        heap[hole] = value
    return heap


@kernel
def order_statistic(values: FloatArray, rank: int) -> float:
    """Return the element of that rank, 0 being the smallest, of finite ``values`` of shape (n,)."""
    return float(smallest(values, rank + 1)[0])


@kernel
def exposure(holdings_usd: FloatArray, known: BoolArray, factor: FloatArray) -> tuple[int, FloatArray]:
    """Return what a book has of each factor, L'w; only held symbols enter, since 0 x NaN is NaN.

    Parameters
    ----------
    holdings_usd : FloatArray, shape (n,)
    known : BoolArray, shape (n,)
    factor : FloatArray, shape (n, n)
        L with L L' = Σ.

    Returns
    -------
    code : int
        0 flat, 1 measured, 2 a holding is not finite, 3 a held symbol is not known.
    coefficient : FloatArray, shape (n,)
        Zero unless measured.
    """
    n = holdings_usd.size
    code = FLAT_CODE
    coefficient = np.zeros(n)
    for i in range(n):
        if holdings_usd[i] == 0.0:
            continue
        if not np.isfinite(holdings_usd[i]):
            return NOT_FINITE_CODE, coefficient
        if not known[i]:
            code = MISSING_CODE
        elif code == FLAT_CODE:
            code = OK_CODE
    if code == OK_CODE:
        for i in range(n):
            weight = holdings_usd[i]
            if weight != 0.0:
                row = factor[i]
                for k in range(n):
                    coefficient[k] += weight * row[k]
    return code, coefficient


@kernel
def measure_book(
    holdings_usd: FloatArray, known: BoolArray, factor: FloatArray, scenarios: FloatArray, rank: int
) -> tuple[int, float, float]:
    """Measure one day of a book under scenarios of the factors.

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
        As of ``exposure``.
    sigma_usd : float
        sqrt(w'Σw).
    loss_usd : float
        One-day loss in that scenario.
    """
    code, coefficient = exposure(holdings_usd, known, factor)
    if code != OK_CODE:
        return code, np.nan, np.nan
    variance = 0.0
    for k in range(coefficient.size):
        variance += coefficient[k] * coefficient[k]
    pnl = np.empty(scenarios.shape[1])
    scenario_pnl(scenarios, coefficient, pnl)
    return code, np.sqrt(variance), -order_statistic(pnl, rank)


@kernel
def measure_scenarios(
    holdings_usd: FloatArray, known: BoolArray, factor: FloatArray, scenarios: FloatArray, count: int
) -> tuple[int, float, FloatArray]:
    """Measure a book under scenarios of the symbols' own returns.

    Parameters
    ----------
    holdings_usd : FloatArray, shape (n,)
    known : BoolArray, shape (n,)
    factor : FloatArray, shape (n, n)
        L with L L' = Σ.
    scenarios : FloatArray, shape (n, n_scenarios)
        Simple returns; rows of symbols that are not held are not read.
    count : int
        How many of the worst scenarios to return.

    Returns
    -------
    code : int
        As of ``exposure``.
    sigma_usd : float
        sqrt(w'Σw).
    losses_usd : FloatArray, shape (count,)
        The worst first.
    """
    code, coefficient = exposure(holdings_usd, known, factor)
    if code != OK_CODE:
        return code, np.nan, np.empty(0)
    variance = 0.0
    for k in range(coefficient.size):
        variance += coefficient[k] * coefficient[k]
    pnl = np.empty(scenarios.shape[1])
    scenario_pnl(scenarios, holdings_usd, pnl)
    return code, np.sqrt(variance), -np.sort(smallest(pnl, count))


class VarOptions(BaseModel):
    """What part of the loss distribution is read off: options of every model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(
        default=0.99, gt=0.5, lt=1, description="Confidence of VaR and ES, whole basis points."
    )
    horizon_days: float = Field(default=10, gt=0, le=365, description="Horizon of VaR, sessions.")

    @field_validator("confidence")
    @classmethod
    def _whole_basis_points(cls, value: float) -> float:
        points = round(value * 10_000)
        if abs(value * 10_000 - points) > 1e-6 or points == 10_000:
            raise ValueError(f"confidence must be a whole number of basis points, was {value}")
        return value

    def worst(self, n_scenarios: int) -> int:
        """Count the scenarios up to the one that is VaR; in integers, since 0.01 x 5,000 is not 50."""
        tail_bp = 10_000 - round(self.confidence * 10_000)
        return (n_scenarios * tail_bp + 9_999) // 10_000


class Law(msgspec.Struct, frozen=True):
    """Tail of an elliptical law of unit variance at one confidence.

    Parameters
    ----------
    quantile, density : float
        z, and the density there.
    shortfall : float
        Mean loss beyond z.
    """

    quantile: float
    density: float
    shortfall: float


class GaussianVarOptions(VarOptions):
    """Options of ``gaussian``: normal returns, and how many draws."""

    scenarios: int = Field(default=5_000, ge=100, le=1_000_000, description="Monte Carlo scenarios.")
    seed: int = Field(default=7, ge=0, description="Seed of the scenarios; fixed over the run.")

    @property
    def rank(self) -> int:
        """Index of the VaR scenario from the worst, 0-based."""
        return self.worst(self.scenarios) - 1

    def law(self) -> Law:
        """Return the tail: z = Φ⁻¹(c), and a mean loss of φ(z)/(1 − c) beyond it."""
        normal = NormalDist()
        z = normal.inv_cdf(self.confidence)
        density = normal.pdf(z)
        return Law(z, density, density / (1.0 - self.confidence))

    def draw(self, n_symbols: int) -> FloatArray:
        """Draw the scenarios of the factors, shape (n_symbols, scenarios), from PCG64(seed)."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        return np.ascontiguousarray(rng.standard_normal((self.scenarios, n_symbols)).T)


class EllipticalVar:
    """Value-at-Risk of a linear book, analytic and by Monte Carlo with common random numbers.

    VaR = z √h √(w'Σw), and the k-th worst of √h Z (L'w) with Z drawn once. ``upper`` is the one-sided 95%
    bound of the Monte-Carlo figure, never below the analytic one. ES = s √h √(w'Σw) with s the mean loss
    beyond z, never below VaR.

    Parameters
    ----------
    options : GaussianVarOptions
        Of the law: the normal one, or that of ``risk.student_t``.
    n_symbols : int
        Size of the universe; scenario column i belongs to symbol i.
    """

    def __init__(self, options: GaussianVarOptions, n_symbols: int) -> None:
        law = options.law()
        tail = 1.0 - options.confidence
        self.options = options
        #: Analytic VaR per USD of daily standard deviation: z √h.
        self.z_horizon = law.quantile * math.sqrt(options.horizon_days)
        #: Relative standard error of the Monte-Carlo quantile: √(a(1−a)/N) / (f(z) z).
        self.mc_error_frac = math.sqrt(tail * options.confidence / options.scenarios) / (
            law.density * law.quantile
        )
        self.mc_margin = 1.0 + UPPER_Z * self.mc_error_frac
        self.window_days = 0
        self._root_horizon = math.sqrt(options.horizon_days)
        self._es_factor = law.shortfall * self._root_horizon
        self._rank = options.rank
        self._shape = (n_symbols,)
        self._scenarios = options.draw(n_symbols)

    def prepare(self, returns_daily: FloatArray, memory: FloatArray) -> Prepared:
        """Return nothing: Σ is all that this model asks of the past."""
        return Prepared(np.empty((returns_daily.shape[1], 0)), memory)

    def measure(self, holdings_usd: FloatArray, market: Market) -> RiskReport:
        """Measure a book ``(n_symbols,)``; a flat one is 0.0 even without a covariance.

        Raises
        ------
        InvariantError
            If the book is not of this universe.
        """
        must_fit(holdings_usd, market, self._shape)
        if market.reason:
            return unknown(market.reason) if holdings_usd.any() else FLAT_REPORT
        code, sigma_usd, loss_usd = measure_book(
            holdings_usd, market.known, market.factor_daily, self._scenarios, self._rank
        )
        if code == OK_CODE:
            analytic = self.z_horizon * sigma_usd
            mc = self._root_horizon * loss_usd
            if not (math.isfinite(analytic) and math.isfinite(mc)):
                return unknown(VAR_NOT_FINITE)
            var = max(analytic, mc)
            upper = max(mc * self.mc_margin, analytic)
            return RiskReport(var, analytic, mc, upper, max(self._es_factor * sigma_usd, var))
        return FLAT_REPORT if code == FLAT_CODE else unknown(REASONS[code])

    def marginal(self, holdings_usd: FloatArray, market: Market) -> FloatArray:
        """Return what one more USD of each symbol would add to the analytic VaR: z √h Σw / √(w'Σw).

        Shape (n_symbols,); NaN for a symbol that is not known, and throughout where the book cannot be
        measured; zero when the book is flat.
        """
        report = self.measure(holdings_usd, market)
        if report.reason or report.var_analytic_usd == 0.0:
            return np.full(self._shape, math.nan if report.reason else 0.0)
        held = holdings_usd != 0.0
        coefficient = holdings_usd[held] @ market.factor_daily[held]
        sigma_usd = report.var_analytic_usd / self.z_horizon
        marginal = np.full(self._shape, math.nan)
        marginal[market.known] = (
            self.z_horizon / sigma_usd * (market.factor_daily[market.known] @ coefficient)
        )
        return marginal


def must_fit(holdings_usd: FloatArray, market: Market, shape: tuple[int]) -> None:
    """Raise ``InvariantError`` if a book or a market is not of a universe of this shape."""
    if holdings_usd.shape != shape or market.known.shape != shape:
        raise InvariantError(f"book of shape {holdings_usd.shape} in a universe of {shape}")


def build_gaussian(options: GaussianVarOptions, symbols: Sequence[str]) -> EllipticalVar:
    """Build the model for a universe."""
    return EllipticalVar(options, len(symbols))
