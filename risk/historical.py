"""VaR from scenarios of the symbols' own returns: what today's book would have lost on the days of a window.

No distribution is assumed: the scenarios are prepared once a session (``Prepared``), and a bar costs one
product and a selection. ``historical`` takes the days as they were, ``filtered_historical`` simulates from
them (``risk/filtered.py``). Formulas and limits: docs/maths/risk_models.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Final, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from engine.events import FloatArray
from engine.oversight import Market, Prepared, RiskReport
from risk.student_t import StudentTVarOptions
from risk.var import (
    FLAT_CODE,
    FLAT_REPORT,
    OK_CODE,
    REASONS,
    VAR_NOT_FINITE,
    VarOptions,
    measure_scenarios,
    must_fit,
    scenario_pnl,
    unknown,
)

#: Probability that the upper bound of a quantile is one.
BOUND_CONFIDENCE: Final = 0.95


def bound_rank(n_scenarios: int, tail: float) -> int:
    """Return which worst scenario bounds the quantile from above with 95%; 0 if there are too few for any.

    The j-th worst of n is at or beyond the true quantile if at least j of n are, and their number is
    binomial: j is the largest with P(B(n, tail) ≥ j) ≥ 0.95, whatever the distribution.

    Examples
    --------
    >>> bound_rank(298, 0.01), bound_rank(299, 0.01), bound_rank(500, 0.01), bound_rank(5_000, 0.01)
    (0, 1, 2, 39)
    """
    from scipy.special import bdtrc

    rank = 0
    while float(bdtrc(rank, n_scenarios, tail)) >= BOUND_CONFIDENCE:
        rank += 1
    return rank


class ScenarioOptions(Protocol):
    """What ``ScenarioVar`` asks of the options of a model."""

    confidence: float
    horizon_days: float
    window_days: int

    @property
    def n_scenarios(self) -> int:
        """Number of scenarios once the window is full."""
        ...

    def worst(self, n_scenarios: int) -> int:
        """Count the scenarios up to the one that is VaR."""
        ...

    def prepare(self, returns_daily: FloatArray, memory: FloatArray) -> Prepared:
        """Make scenarios from log returns, oldest first; see ``engine.oversight.RiskModel``."""
        ...


class HistoricalVarOptions(VarOptions):
    """Options of ``historical``: the days that are scenarios."""

    window_days: int = Field(
        default=500, ge=20, le=5_000, description="Daily returns that are looked back on; all must be there."
    )

    @model_validator(mode="after")
    def _can_be_bounded(self) -> Self:
        if bound_rank(self.n_scenarios, 1.0 - self.confidence) == 0:
            least = math.ceil(math.log(1.0 - BOUND_CONFIDENCE) / math.log(self.confidence))
            raise ValueError(
                f"window_days must be at least {least} to bound a {self.confidence:.4g} quantile, "
                f"was {self.window_days}"
            )
        return self

    @property
    def n_scenarios(self) -> int:
        """One for each day."""
        return self.window_days

    def prepare(self, returns_daily: FloatArray, memory: FloatArray) -> Prepared:
        """Take each day as it was, times √h for the horizon; NaN for symbols without all the days."""
        scenarios = np.full((returns_daily.shape[1], self.n_scenarios), np.nan)
        if len(returns_daily) >= self.window_days:
            window = returns_daily[-self.window_days :]
            complete = is_complete(window)
            scenarios[complete] = math.sqrt(self.horizon_days) * np.expm1(window[:, complete]).T
        return Prepared(scenarios, memory)


def is_complete(window: FloatArray) -> Any:
    """Whether a symbol has a return on every day, and ever moved: shape (n_days, n) to (n,)."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(window).all(axis=0) & (np.abs(window).max(axis=0, initial=0.0) > 0.0)


class ScenarioVar:
    """Value-at-Risk of a linear book as a loss that was, or was simulated: the k-th worst scenario.

    VaR is that loss (never below 0), ES the mean of the k worst, ``upper`` the order statistic that bounds
    the quantile with 95% whatever the distribution. Beside them stands the normal figure z √h √(w'Σw): the
    optimiser's cone is drawn by it, stretched by how much worse the scenarios are for the book as held, and
    by ``mc_margin``, the ratio of bound to VaR under Student's t with five degrees of freedom.

    Parameters
    ----------
    options : HistoricalVarOptions or FilteredHistoricalVarOptions
    n_symbols : int
        Size of the universe.
    """

    def __init__(self, options: ScenarioOptions, n_symbols: int) -> None:
        tail, n = 1.0 - options.confidence, options.n_scenarios
        self.options = options
        self.window_days = options.window_days
        self.z_horizon = NormalDist().inv_cdf(options.confidence) * math.sqrt(options.horizon_days)
        self._worst = options.worst(n)
        self._bound = max(bound_rank(n, tail), 1)
        self.mc_margin = _margin(self._bound, self._worst, n)
        self._shape = (n_symbols,)

    def prepare(self, returns_daily: FloatArray, memory: FloatArray) -> Prepared:
        """Make the scenarios of a session."""
        return self.options.prepare(returns_daily, memory)

    def measure(self, holdings_usd: FloatArray, market: Market) -> RiskReport:
        """Measure a book ``(n_symbols,)`` under the market's scenarios; a flat one is 0.0.

        Raises
        ------
        InvariantError
            If the book is not of this universe.
        """
        must_fit(holdings_usd, market, self._shape)
        if market.reason or not market.scenarios.size:
            reason = market.reason or REASONS[3]
            return unknown(reason) if holdings_usd.any() else FLAT_REPORT
        code, sigma_usd, losses_usd = measure_scenarios(
            holdings_usd, market.known, market.factor_daily, market.scenarios, self._worst
        )
        if code == OK_CODE:
            analytic = self.z_horizon * sigma_usd
            var, upper = float(losses_usd[-1]), float(losses_usd[self._bound - 1])
            shortfall = float(losses_usd.sum()) / len(losses_usd)
            if not (math.isfinite(analytic) and math.isfinite(upper) and math.isfinite(shortfall)):
                return unknown(VAR_NOT_FINITE)
            var, upper = max(var, 0.0), max(upper, 0.0)
            return RiskReport(var, analytic, var, upper, max(shortfall, var))
        return FLAT_REPORT if code == FLAT_CODE else unknown(REASONS[code])

    def marginal(self, holdings_usd: FloatArray, market: Market) -> FloatArray:
        """Return what one more USD of each symbol would add to VaR: its mean loss where VaR is decided.

        The derivative of a quantile is the conditional mean −E[rᵢ | loss = VaR]. One scenario is a noisy
        mean, so those of ranks k/2 to 3k/2 are averaged, and scaled so that components sum to VaR.

        Shape (n_symbols,); NaN for a symbol that is not known, and throughout where the book cannot be
        measured; zero when the book is flat or VaR is 0.
        """
        report = self.measure(holdings_usd, market)
        if report.reason or report.var_usd == 0.0:
            return np.full(self._shape, math.nan if report.reason else 0.0)
        pnl = np.empty(market.scenarios.shape[1])
        scenario_pnl(market.scenarios, holdings_usd, pnl)
        half = self._worst // 2
        near = np.argsort(pnl, kind="stable")[self._worst - 1 - half : self._worst + half]
        loss_usd = -float(pnl[near].mean())
        marginal = np.full(self._shape, math.nan)
        mean = -market.scenarios[market.known][:, near].mean(axis=1)
        marginal[market.known] = mean * (report.var_usd / loss_usd) if loss_usd > 0.0 else 0.0
        return marginal


def _margin(bound: int, worst: int, n: int) -> float:
    """Ratio of bound to VaR where tails are those of t(5)."""

    def quantile(rank: int) -> float:
        level = 1.0 - rank / (n + 1.0)
        return StudentTVarOptions.model_construct(confidence=level, freedom=5.0).law().quantile

    return quantile(bound) / quantile(worst)


def build_historical(options: HistoricalVarOptions, symbols: Sequence[str]) -> ScenarioVar:
    """Build the model for a universe."""
    return ScenarioVar(options, len(symbols))
