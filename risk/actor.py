"""The risk desk: it keeps what a model needs of the past, refreshes it on a schedule, and measures books."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from engine.events import BarSlice, FloatArray
from engine.oversight import Market, Prepared, RiskModel, RiskReport
from engine.ports import DailyHistory, State
from engine.sessions import is_due
from risk.covariance import EwmaCovariance
from risk.daily import DailyReturns
from risk.factor import market_of

_NOTHING: Final = Prepared(np.empty((0, 0)), np.empty((0, 0)))


class CovarianceOptions(BaseModel):
    """How the covariance is estimated and how often its factor is taken anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    half_life_sessions: float = Field(
        default=5.0, gt=0, description="Half-life of minute returns, sessions; 60 by default for daily bars."
    )
    half_life_nights: float = Field(default=20.0, gt=0, description="Half-life of overnight returns, nights.")
    prior_sessions: float = Field(default=20.0, gt=0, description="Weight of the daily history, in sessions.")
    shrink_frac: float = Field(
        default=1e-6, ge=1e-6, le=1, description="Shrinkage of the covariance to its mean variance."
    )
    cov_refresh_min: int = Field(
        default=30, ge=1, description="Refresh covariance and factor every so many minutes."
    )


class RiskActor:
    """The ``RiskDesk`` of a run.

    The sums take every bar. Covariance and factor follow at the first slice of a session, at every minute of
    the session that ``cov_refresh_min`` divides, and on ``refresh``; between these VaR uses the last factor.
    Of a model that asks for daily returns the scenarios are prepared anew when a session has ended, at the
    first slice of the next; a symbol they leave out is not known, as if it had no covariance.

    Parameters
    ----------
    options : CovarianceOptions
    model : RiskModel
    symbols : tuple of str
        The universe, in the order of every slice.
    session_min : int
        Minutes of a full session (390 for XNYS, 1440 around the clock).
    history : DailyHistory or None
        Adjusted daily closes before the tape: the covariance's prior, and a model's first days.
    bar_min : int
        Minutes of a bar.
    keep_days : int
        Days of returns that are kept for the allocator.
    """

    def __init__(
        self,
        options: CovarianceOptions,
        model: RiskModel,
        symbols: tuple[str, ...],
        session_min: int,
        history: DailyHistory | None = None,
        bar_min: int = 1,
        keep_days: int = 0,
    ) -> None:
        self._model = model
        self._shrink_frac = options.shrink_frac
        self._refresh_min = options.cov_refresh_min
        self._bar_min = bar_min
        self._estimate = EwmaCovariance(
            symbols,
            math.ceil(session_min / min(session_min, bar_min)),
            options.half_life_sessions,
            options.half_life_nights,
            options.prior_sessions,
            history,
        )
        self._keep_days = keep_days
        days = max(model.window_days, keep_days)
        self._returns = DailyReturns(symbols, history, days) if days else None
        self._prepared = _NOTHING
        self._prepare()
        self._is_fresh = False
        self.market: Market
        self.covariance_daily: FloatArray
        self.refresh()

    def observe(self, slice_: BarSlice) -> None:
        """Accumulate a minute; refresh covariance, factor and ``market`` when due."""
        opened = self._estimate.add(slice_)
        self._is_fresh = False
        if self._returns is not None and self._returns.observe(slice_):
            self._prepare()
        if opened or is_due(slice_.minute, self._bar_min, self._refresh_min):
            self.refresh()

    def _prepare(self) -> None:
        window = self._model.window_days
        if self._returns is not None and window:
            self._prepared = self._model.prepare(self._returns.returns[-window:], self._prepared.memory)

    def refresh(self) -> None:
        """Bring covariance and factor up to the last slice; nothing is done twice for one slice."""
        if self._is_fresh:
            return
        daily, known = self._estimate.daily(), self._estimate.known()
        # A price that never moved is not a riskless one: nothing is known of it.
        known &= daily.diagonal() != 0.0
        if self._model.window_days:
            known &= self._prepared.known
        used = market_of(daily, known, self._shrink_frac)
        self.covariance_daily = used.daily
        self.market = replace(used.market, scenarios=self._prepared.scenarios)
        self._is_fresh = True

    def history_return_frac(self) -> FloatArray | None:
        """Return the last ``keep_days`` simple returns, oldest first, (n_days, n_symbols); None without any.

        A model may keep more for itself. NaN where unknown.
        """
        if self._returns is None or not self._keep_days:
            return None
        return np.expm1(self._returns.returns[-self._keep_days :])

    def measure(self, holdings_usd: FloatArray) -> RiskReport:
        """Measure a book under the current market."""
        return self._model.measure(holdings_usd, self.market)

    def marginal(self, holdings_usd: FloatArray) -> FloatArray:
        """Return what one more USD of each symbol would add to VaR under the current market."""
        return self._model.marginal(holdings_usd, self.market)

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        market = self.market
        state: State = {
            "estimate": self._estimate.state(),
            "is_fresh": self._is_fresh,
            "covariance_daily": self.covariance_daily.copy(),
            "factor_daily": market.factor_daily.copy(),
            "known": market.known.copy(),
            "reason": market.reason,
        }
        if self._returns is not None:
            state["returns_daily"] = self._returns.state()
            state["scenarios"] = self._prepared.scenarios.copy()
            state["memory"] = self._prepared.memory.copy()
        return state

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self._estimate.restore(state["estimate"])
        self._is_fresh = bool(state["is_fresh"])
        self.covariance_daily = np.array(state["covariance_daily"], dtype=np.float64)
        if self._returns is not None:
            self._returns.restore(state["returns_daily"])
            self._prepared = Prepared(
                np.array(state["scenarios"], dtype=np.float64), np.array(state["memory"], dtype=np.float64)
            )
        self.market = Market(
            np.array(state["factor_daily"], dtype=np.float64),
            np.array(state["known"], dtype=np.bool_),
            str(state["reason"]),
            self._prepared.scenarios,
        )
