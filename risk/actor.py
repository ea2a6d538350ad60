"""The risk desk: it keeps the covariance, refreshes its factor on a schedule, and measures books."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.events import BarSlice, FloatArray
from engine.ports import DailyHistory, Market, RiskModel, RiskReport, State
from risk.covariance import EwmaCovariance
from risk.factor import market_of


class CovarianceOptions(BaseModel):
    """How the covariance is estimated and how often its factor is taken anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    half_life_sessions: float = Field(default=5.0, gt=0, description="Half-life of minute returns, sessions.")
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

    Parameters
    ----------
    options : CovarianceOptions
    model : RiskModel
    symbols : tuple of str
        The universe, in the order of every slice.
    session_min : int
        Minutes of a full session (390 for XNYS, 1440 around the clock).
    history : DailyHistory or None
        Adjusted daily closes before the tape, the covariance's prior.
    """

    def __init__(
        self,
        options: CovarianceOptions,
        model: RiskModel,
        symbols: tuple[str, ...],
        session_min: int,
        history: DailyHistory | None = None,
    ) -> None:
        self._model = model
        self._shrink_frac = options.shrink_frac
        self._refresh_min = options.cov_refresh_min
        self._estimate = EwmaCovariance(
            symbols,
            session_min,
            options.half_life_sessions,
            options.half_life_nights,
            options.prior_sessions,
            history,
        )
        self._is_fresh = False
        self.market: Market
        self.covariance_daily: FloatArray
        self.refresh()

    def observe(self, slice_: BarSlice) -> None:
        """Accumulate a minute; refresh covariance, factor and ``market`` when due."""
        opened = self._estimate.add(slice_)
        self._is_fresh = False
        if opened or slice_.minute % self._refresh_min == 0:
            self.refresh()

    def refresh(self) -> None:
        """Bring covariance and factor up to the last slice; nothing is done twice for one slice."""
        if self._is_fresh:
            return
        daily, known = self._estimate.daily(), self._estimate.known()
        # A price that never moved is not a riskless one: nothing is known of it.
        known &= daily.diagonal() != 0.0
        used = market_of(daily, known, self._shrink_frac)
        self.covariance_daily, self.market = used.daily, used.market
        self._is_fresh = True

    def measure(self, holdings_usd: FloatArray) -> RiskReport:
        """Measure a book under the current market."""
        return self._model.measure(holdings_usd, self.market)

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        market = self.market
        return {
            "estimate": self._estimate.state(),
            "is_fresh": self._is_fresh,
            "covariance_daily": self.covariance_daily.copy(),
            "factor_daily": market.factor_daily.copy(),
            "known": market.known.copy(),
            "reason": market.reason,
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self._estimate.restore(state["estimate"])
        self._is_fresh = bool(state["is_fresh"])
        self.covariance_daily = np.array(state["covariance_daily"], dtype=np.float64)
        self.market = Market(
            np.array(state["factor_daily"], dtype=np.float64),
            np.array(state["known"], dtype=np.bool_),
            str(state["reason"]),
        )
