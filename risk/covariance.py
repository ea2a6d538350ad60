"""Covariance of daily returns from one-minute bars, kept up to date bar by bar.

Σ = minutes of a session x EWMA(u u'/2) + EWMA(o o'), uncentred; u is the sum of two neighbouring minute
returns, o the overnight return. The first term is the lag-1 Newey-West estimate with Bartlett weight 1/2,
rr' + (r₁r₀' + r₀r₁')/2, written as a sum of squares so that it cannot lose positive semi-definiteness: minute
returns of two names are not synchronous, and bare rr' misses what one name owes to the other's last minute.
Every choice is argued in docs/maths/covariance.md.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from engine.errors import InvariantError
from engine.events import CLOSE, OPEN, BarSlice, BoolArray, FloatArray
from engine.kernel import kernel
from engine.ports import DailyHistory, State
from risk.daily import log_returns

# Rows of the state by symbol.
_LAST_CLOSE: Final = 0  # USD; 0 before the first bar
_LAST_RETURN: Final = 1  # of the previous minute
_MINUTE_WEIGHT: Final = 2  # decayed count of minutes since the first bar
_NIGHT_WEIGHT: Final = 3  # decayed count of nights with a close before them
_NIGHT_RETURN: Final = 4  # of the night before this session; 0 until the first bar after it
_HAS_TRADED: Final = 5  # in this session
_SESSIONS: Final = 6  # completed sessions with a bar
_NIGHTS: Final = 7  # overnight returns seen
_N_ROWS: Final = 8

#: A symbol without history can be measured after this many sessions, and one night ...
SESSIONS_NEEDED: Final = 2
#: ... that have this many bars, which daily bars reach later; a daily history of fewer returns is none.
RETURNS_NEEDED: Final = 20


@kernel
def accumulate(
    bars: FloatArray,
    is_first: bool,
    state: FloatArray,
    minute_sum: FloatArray,
    night_sum: FloatArray,
    minute_decay: float,
    night_decay: float,
) -> None:
    """Add one slice to the decayed sums of outer products.

    A symbol without a bar keeps its price (return 0) and catches up on arrival. The first bar a symbol has in
    a session, whichever minute it is, ends its night: o = log(open / last close), r = log(close / open); a
    latecomer's o completes the outer product that the others have begun.

    Parameters
    ----------
    bars : FloatArray, shape (5, n)
    is_first : bool
        First slice of a session.
    state : FloatArray, shape (8, n)
        Changed in place, as are the sums.
    minute_sum, night_sum : FloatArray, shape (n, n)
        Decayed sums of u u'/2 and o o'; lower triangles.
    minute_decay, night_decay : float
    """
    n = bars.shape[1]
    if is_first:
        for i in range(n):
            state[_SESSIONS, i] += state[_HAS_TRADED, i]
            state[_HAS_TRADED, i] = 0.0
            state[_NIGHT_RETURN, i] = 0.0
            if state[_LAST_CLOSE, i] > 0.0:
                state[_NIGHT_WEIGHT, i] = state[_NIGHT_WEIGHT, i] * night_decay + 1.0
            row = night_sum[i, : i + 1]
            for j in range(row.size):
                row[j] *= night_decay
    u = np.empty(n)
    for i in range(n):
        close = bars[CLOSE, i]
        r = 0.0
        if not np.isnan(close):
            base = state[_LAST_CLOSE, i]
            if state[_HAS_TRADED, i] == 0.0:
                state[_HAS_TRADED, i] = 1.0
                if base > 0.0:
                    o = np.log(bars[OPEN, i] / base)
                    state[_NIGHT_RETURN, i] = o
                    state[_NIGHTS, i] += 1.0
                    for j in range(n):  # zero for those still to come
                        night_sum[max(i, j), min(i, j)] += o * state[_NIGHT_RETURN, j]
                base = bars[OPEN, i]
            r = np.log(close / base)
            state[_LAST_CLOSE, i] = close
        if state[_LAST_CLOSE, i] > 0.0:
            state[_MINUTE_WEIGHT, i] = state[_MINUTE_WEIGHT, i] * minute_decay + 1.0
        u[i] = r + state[_LAST_RETURN, i]
        state[_LAST_RETURN, i] = r
    for i in range(n):
        scaled = 0.5 * u[i]
        row = minute_sum[i, : i + 1]
        for j in range(row.size):
            row[j] = minute_decay * row[j] + scaled * u[j]


@kernel
def blend(
    minute_sum: FloatArray,
    night_sum: FloatArray,
    prior: FloatArray,
    minute_scale: FloatArray,
    night_scale: FloatArray,
    prior_scale: FloatArray,
    out: FloatArray,
) -> None:
    """Add up three matrices, each scaled as D S D, from their lower triangles.

    Parameters
    ----------
    minute_sum, night_sum, prior : FloatArray, shape (n, n)
    minute_scale, night_scale, prior_scale : FloatArray, shape (n,)
        Diagonals of the D's.
    out : FloatArray, shape (n, n)
        Output, both triangles.
    """
    for i in range(out.shape[0]):
        m, o, p = minute_scale[i], night_scale[i], prior_scale[i]
        for j in range(i + 1):
            value = (
                minute_sum[i, j] * m * minute_scale[j]
                + night_sum[i, j] * o * night_scale[j]
                + prior[i, j] * p * prior_scale[j]
            )
            out[i, j] = value
            out[j, i] = value


class EwmaCovariance:
    """The estimator: sums, weights and the daily prior of a universe.

    Parameters
    ----------
    symbols : tuple of str
    session_bars : int
        Bars of a full session.
    half_life_sessions, half_life_nights : float
        Of the minute and the overnight terms.
    prior_sessions : float
        Weight of the daily history at the start, in sessions; it fades with the minutes' half-life.
    history : DailyHistory or None
        Adjusted daily closes before the tape.
    """

    def __init__(
        self,
        symbols: tuple[str, ...],
        session_bars: int,
        half_life_sessions: float,
        half_life_nights: float,
        prior_sessions: float,
        history: DailyHistory | None,
    ) -> None:
        n = len(symbols)
        self._session_bars = session_bars
        # Of fewer bars than these a mean variance is noise, and some hedge looks riskless.
        self._sessions_needed = max(SESSIONS_NEEDED, math.ceil(RETURNS_NEEDED / session_bars))
        self._minute_decay = 0.5 ** (1.0 / (half_life_sessions * session_bars))
        self._night_decay = 0.5 ** (1.0 / half_life_nights)
        self._state = np.zeros((_N_ROWS, n))
        self._minute_sum = np.zeros((n, n))
        self._night_sum = np.zeros((n, n))
        self._session = -1
        self._prior, self._has_prior = prior_covariance(symbols, history)
        self._prior_weight = prior_sessions

    def add(self, slice_: BarSlice) -> bool:
        """Take one minute; return whether it opened a session."""
        if slice_.bars.shape[1] != self._state.shape[1]:
            raise InvariantError(f"slice of {slice_.bars.shape[1]} symbols, not {self._state.shape[1]}")
        is_first = slice_.session != self._session
        self._session = slice_.session
        accumulate(
            slice_.bars,
            is_first,
            self._state,
            self._minute_sum,
            self._night_sum,
            self._minute_decay,
            self._night_decay,
        )
        self._prior_weight *= self._minute_decay
        return is_first

    def known(self) -> BoolArray:
        """Symbols that can be measured, shape (n,).

        Those with a history, or with a night and two sessions: more, where these have less than 20 bars.
        """
        state = self._state
        seen = (state[_SESSIONS] >= self._sessions_needed) & (state[_NIGHTS] >= 1.0)
        return np.asarray(self._has_prior | seen)

    def daily(self) -> FloatArray:
        """Covariance of daily returns, shape (n, n); zero rows where nothing is known.

        Tape and prior are mixed symbol by symbol with weights in days, wᵢ = min(sessions, nights) for the
        tape. Sums are scaled as D S D with a diagonal D: variances have exactly their weights, and the result
        stays positive semi-definite whatever a latecomer's weights are.
        """
        state = self._state
        minute, night = state[_MINUTE_WEIGHT], state[_NIGHT_WEIGHT]
        d_minute = np.sqrt(_inverse(minute) * self._session_bars)
        d_night = np.sqrt(_inverse(night))
        tape_days = np.minimum(minute / self._session_bars, night)
        prior_days = np.where(self._has_prior, self._prior_weight, 0.0)
        share = _inverse(tape_days + prior_days)
        tape, prior = np.sqrt(tape_days * share), np.sqrt(prior_days * share)
        out = np.empty_like(self._prior)
        blend(self._minute_sum, self._night_sum, self._prior, d_minute * tape, d_night * tape, prior, out)
        return out

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        return {
            "state": self._state.copy(),
            "minute_sum": self._minute_sum.copy(),
            "night_sum": self._night_sum.copy(),
            "session": self._session,
            "prior_weight": self._prior_weight,
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self._state[:] = state["state"]
        self._minute_sum[:] = state["minute_sum"]
        self._night_sum[:] = state["night_sum"]
        self._session = int(state["session"])
        self._prior_weight = float(state["prior_weight"])


def _inverse(weights: FloatArray) -> FloatArray:
    return np.divide(1.0, weights, out=np.zeros_like(weights), where=weights > 0.0)


def prior_covariance(symbols: tuple[str, ...], history: DailyHistory | None) -> tuple[FloatArray, BoolArray]:
    """Uncentred covariance of close-to-close log returns, in the order of ``symbols``.

    Parameters
    ----------
    symbols : tuple of str
    history : DailyHistory or None
        A missing day keeps the last close; days before a symbol's first close do not count for it.

    Returns
    -------
    covariance_daily : FloatArray, shape (n, n)
        Zero where there is no history.
    has_history : BoolArray, shape (n,)
        At least 20 returns, not all zero.
    """
    n = len(symbols)
    covariance, has_history = np.zeros((n, n)), np.zeros(n, dtype=np.bool_)
    if history is None:
        return covariance, has_history
    column = {symbol: k for k, symbol in enumerate(history.symbols)}
    inside = np.array([i for i, symbol in enumerate(symbols) if symbol in column], dtype=np.int64)
    if not inside.size:
        return covariance, has_history
    products, enough = covariance_of_days(log_returns(symbols, history)[:, inside])
    covariance[np.ix_(inside, inside)] = products
    has_history[inside] = enough
    return covariance, has_history


def covariance_of_days(returns_daily: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Uncentred covariance of daily log returns, shape (n_days, n), every day weighing the same.

    Returns
    -------
    covariance_daily : FloatArray, shape (n, n)
        Zero for a symbol without enough days; days on which it is NaN do not count for it.
    is_enough : BoolArray, shape (n,)
        At least 20 returns, not all zero.
    """
    count = np.isfinite(returns_daily).sum(axis=0).astype(np.float64)
    returns = np.nan_to_num(returns_daily, nan=0.0)
    scaled = returns * np.sqrt(_inverse(count))
    products: FloatArray = np.einsum("ti,tj->ij", scaled, scaled)
    enough: BoolArray = (count >= RETURNS_NEEDED) & (products.diagonal() > 0.0)
    products *= np.multiply.outer(enough, enough)
    return products, enough


def close_to_close_ratio(
    covariance_daily: FloatArray, returns_daily: FloatArray, weights: FloatArray
) -> FloatArray:
    """Volatility of portfolios from daily closes over what a covariance says of them.

    Below 1 the covariance overstates: minute returns of a hedged spread carry noise that is gone by the
    close. Of n days the standard error is ``1 / sqrt(2 n)`` of the ratio.

    Parameters
    ----------
    covariance_daily : FloatArray, shape (n, n)
    returns_daily : FloatArray, shape (n_days, n)
        Log returns from close to close, of the days the covariance was taken from; NaN where unknown.
    weights : FloatArray, shape (n_portfolios, n)
        Holdings, one portfolio a row (unit vectors for names, (1, -b) for spreads); no scale matters.

    Returns
    -------
    FloatArray, shape (n_portfolios,)
        Over the days on which all that is held is known; NaN without any, or where the covariance says zero.
    """
    counts = np.isnan(returns_daily).astype(np.float64) @ (weights != 0.0).T == 0.0
    squares = np.where(counts, np.nan_to_num(returns_daily, nan=0.0) @ weights.T, 0.0) ** 2
    n_days = counts.sum(axis=0)
    said = np.einsum("pi,ij,pj->p", weights, covariance_daily, weights)
    nothing = np.full(len(weights), np.nan)
    realised = np.divide(squares.sum(axis=0), n_days, out=nothing.copy(), where=n_days > 0)
    ratio: FloatArray = np.sqrt(np.divide(realised, said, out=nothing, where=said > 0.0))
    return ratio
