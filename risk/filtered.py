"""Filtered historical simulation: past shocks, under the volatility of now.

Each symbol's daily returns are divided by the volatility that a GARCH(1,1) gave them beforehand; what is left
are shocks of about unit size, in calm years and wild ones. A scenario draws whole past days, the same for all
symbols so that their dependence is kept, and lets each symbol's variance run from its present level:

    εₜ = σₜ zₜ,   σ²ₜ₊₁ = ω + α ε²ₜ + β σ²ₜ,   scenario = exp(Σ εₜ) − 1 over the horizon.

Barone-Adesi, Giannopoulos and Vosper (1999). Fits (``risk/garch.py``) are made at the start of a session,
each symbol's every so many of them and not all in the same one; a symbol whose fit fails, or explodes, is
filtered by exponential weights of 0.94, which is ω = 0, α = 0.06, β = 0.94.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field, field_validator

from engine.events import FloatArray, IntArray
from engine.kernel import kernel
from engine.oversight import Prepared
from risk.garch import fit_garch
from risk.historical import HistoricalVarOptions, ScenarioVar, is_complete

# Rows of the memory: parameters by symbol, and sessions since they were fitted.
_OMEGA, _ALPHA, _BETA, _AGE = 0, 1, 2, 3
_N_ROWS = 4


class FilteredHistoricalVarOptions(HistoricalVarOptions):
    """Options of ``filtered_historical``: the days that shocks are drawn from, and how many draws."""

    scenarios: int = Field(default=5_000, ge=100, le=100_000, description="Simulated paths.")
    seed: int = Field(default=7, ge=0, description="Seed of the paths; fixed over the run.")
    refit_sessions: int = Field(
        default=20, ge=1, description="Sessions between fits; variances follow every session."
    )

    @field_validator("horizon_days")
    @classmethod
    def _whole_days(cls, value: float) -> float:
        if value != int(value):
            raise ValueError(f"must be whole days, the steps of a path, was {value}")
        return value

    @property
    def n_scenarios(self) -> int:
        """Number of simulated paths."""
        return self.scenarios

    def prepare(self, returns_daily: FloatArray, memory: FloatArray) -> Prepared:
        """Fit where it is time, filter, and simulate; NaN for symbols without all the days."""
        n = returns_daily.shape[1]
        scenarios = np.full((n, self.scenarios), np.nan)
        kept = memory.copy() if memory.shape == (_N_ROWS, n) else np.full((_N_ROWS, n), np.nan)
        if len(returns_daily) < self.window_days:
            return Prepared(scenarios, kept)
        window = returns_daily[-self.window_days :]
        complete = np.flatnonzero(is_complete(window))
        is_first = np.isnan(kept[_AGE])
        kept[_AGE] += 1.0
        for i in complete.tolist():
            if not kept[_AGE, i] < self.refit_sessions:
                kept[:_AGE, i] = fit_garch(window[:, i])
                # The first life of a fit differs by symbol: no later session has to make all of them.
                kept[_AGE, i] = i % self.refit_sessions if is_first[i] else 0.0
        returns = np.ascontiguousarray(window[:, complete].T)
        shocks, variance = filter_shocks(returns, kept[:_AGE, complete])
        scenarios[complete] = simulate(shocks, variance, kept[:_AGE, complete], self._days())
        return Prepared(scenarios, kept)

    def _days(self) -> IntArray:
        """Draw the past days of each path, shape (scenarios, horizon_days)."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        return rng.integers(0, self.window_days, (self.scenarios, int(self.horizon_days)))


@kernel
def filter_shocks(returns: FloatArray, garch: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Divide returns by the volatility forecast for their day.

    The first forecast is the mean square of the returns.

    Parameters
    ----------
    returns : FloatArray, shape (n, n_days)
        Oldest first.
    garch : FloatArray, shape (3, n)
        ω, α and β.

    Returns
    -------
    shocks : FloatArray, shape (n, n_days)
    variance : FloatArray, shape (n,)
        Forecast for the day after the last.
    """
    n, n_days = returns.shape
    shocks = np.empty((n, n_days))
    variance = np.empty(n)
    for i in range(n):
        omega, alpha, beta = garch[0, i], garch[1, i], garch[2, i]
        v = 0.0
        for t in range(n_days):
            v += returns[i, t] * returns[i, t]
        v /= n_days
        for t in range(n_days):
            shocks[i, t] = returns[i, t] / np.sqrt(v)
            v = omega + alpha * returns[i, t] * returns[i, t] + beta * v
        variance[i] = v
    return shocks, variance


@kernel
def simulate(shocks: FloatArray, variance: FloatArray, garch: FloatArray, days: IntArray) -> FloatArray:
    """Run the variance of every symbol along paths of past shocks.

    Parameters
    ----------
    shocks : FloatArray, shape (n, n_days)
    variance : FloatArray, shape (n,)
        Of the first step.
    garch : FloatArray, shape (3, n)
        ω, α and β.
    days : IntArray, shape (n_paths, n_steps)
        The past day of each step; one path is the same days for all symbols.

    Returns
    -------
    FloatArray, shape (n, n_paths)
        Simple returns over the path.
    """
    n = variance.size
    n_paths, n_steps = days.shape
    out = np.empty((n, n_paths))
    for i in range(n):
        omega, alpha, beta = garch[0, i], garch[1, i], garch[2, i]
        row = shocks[i]
        for s in range(n_paths):
            v = variance[i]
            total = 0.0
            for t in range(n_steps):
                step = np.sqrt(v) * row[days[s, t]]
                total += step
                v = omega + alpha * step * step + beta * v
            out[i, s] = np.expm1(total)
    return out


def build_filtered_historical(options: FilteredHistoricalVarOptions, symbols: Sequence[str]) -> ScenarioVar:
    """Build the model for a universe."""
    import arch.univariate  # noqa: F401 - it takes a second: now, and not at the opening of a session

    return ScenarioVar(options, len(symbols))
