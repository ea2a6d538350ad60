"""Correlation regimes: short both of two assets while their returns go together.

The correlation of the last W returns (simple, of both at once) is measured bar by bar. Above ``entry_corr``
both are sold, below ``exit_corr`` both are bought back; in between what is held is held. This is a bet that
both fall, not a hedge: net exposure is -100% of gross, and a correlation does not say which way prices go.
docs/maths/correlation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.events import CLOSE, SIDES, BarSlice, BoolArray, FloatArray, IntArray, Signal, SpreadNoted
from engine.ports import Outlook, State, StrategyContext
from strategies.pair_options import PairNames, has_no_nights, pair_legs, pair_spreads, window_bars

#: USD of x for 1 USD of y, minus because both are held on the same side.
SAME_SIDE: Final = -1.0
_SHORT: Final = -1.0
#: Returns that differ by no more than this are rounding, not movement.
_ROUNDING: Final = 1e-13


class CorrelationOptions(BaseModel):
    """``[[strategy]] kind = "correlation"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "pairs": ["AAA/BBB", "CCC/DDD"],
                    "window_min": 20,
                    "entry_corr": 0.65,
                    "exit_corr": 0.5,
                }
            ]
        },
    )

    pairs: PairNames = Field(description='Two assets as "Y/X", both short while they go together: "SPY/TLT".')
    window_min: int | None = Field(
        None,
        ge=3,
        description="Trailing minutes of returns; default one session, of larger bars 60 at least.",
    )
    entry_corr: float = Field(
        0.3, gt=-1.0, lt=1.0, description="Short both when the correlation exceeds this."
    )
    exit_corr: float = Field(
        0.0, gt=-1.0, lt=1.0, description="Close when it is below this; below entry_corr."
    )

    @model_validator(mode="after")
    def _levels_are_ordered(self) -> Self:
        if not self.exit_corr < self.entry_corr:
            raise ValueError(
                f"exit_corr must be below entry_corr ({self.entry_corr:g}), was {self.exit_corr:g}"
            )
        return self


class Correlation:
    """The strategy; its spreads hold both legs on one side: the ratio of USD is -1.

    In outlooks and signals ``z`` is the correlation and ``beta`` is -1. No return is expected, so allocators
    that weigh returns hold nothing of it.

    Parameters
    ----------
    options : CorrelationOptions
    context : StrategyContext

    Raises
    ------
    ConfigError
        C210 for a symbol outside the universe, C222 for a window of fewer than three bars.
    """

    def __init__(self, options: CorrelationOptions, context: StrategyContext) -> None:
        self.name = context.name
        self.spreads = pair_spreads(options.pairs, context)
        self._options = options
        self._legs = pair_legs(self.spreads, context)
        self._skips_nights = not has_no_nights(context)
        n, window = len(self.spreads), window_bars("window_min", options.window_min, 1, context)
        self._returns: FloatArray = np.full((2, n, window), np.nan)
        self._slot: IntArray = np.zeros(n, dtype=np.int64)
        self._closes: FloatArray = np.full((2, n), np.nan)
        self._session = -1
        self._corr: FloatArray = np.full(n, np.nan)
        self._side: FloatArray = np.zeros(n)
        self._has_warned = False

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal | SpreadNoted]:
        """Take one bar; return transitions, and once, at the beginning, that this is not neutral."""
        self._corr = np.where(self._push(slice_), correlation(self._returns), np.nan)
        enters = (self._side == 0.0) & (self._corr > self._options.entry_corr)
        leaves = (self._side != 0.0) & (self._corr < self._options.exit_corr)
        self._side = np.where(enters, _SHORT, np.where(leaves, 0.0, self._side))
        said: list[Signal | SpreadNoted] = [] if self._has_warned else self._warnings(slice_)
        said += [self._signal(slice_, k) for k in np.flatnonzero(enters | leaves).tolist()]
        return said

    def outlook(self) -> Outlook:
        """Return the view after the last bar."""
        n = len(self.spreads)
        same, unknown = np.full(n, SAME_SIDE), np.full(n, np.nan)
        return Outlook(
            side=self._side,
            z=self._corr,
            beta=same,
            alpha=unknown,
            innovation=unknown,
            innovation_var=unknown,
            usd_ratio=same,
            expected_return_frac=np.zeros(n),
            frozen_usd_ratio=same,
        )

    def state(self) -> State:
        """Return sides, the window of returns and the last closes."""
        return {
            "returns": self._returns.copy(),
            "slot": self._slot.copy(),
            "closes": self._closes.copy(),
            "session": self._session,
            "corr": self._corr.copy(),
            "side": self._side.copy(),
            "has_warned": self._has_warned,
        }

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._returns = state["returns"].copy()
        self._slot = state["slot"].copy()
        self._closes = state["closes"].copy()
        self._session = int(state["session"])
        self._corr = state["corr"].copy()
        self._side = state["side"].copy()
        self._has_warned = bool(state["has_warned"])

    def _push(self, slice_: BarSlice) -> BoolArray:
        """Let this bar's returns into the windows; return which pairs had one.

        A return is from the last bar that both had, so that both span the same time. Where the market closes
        it does not span a night: one night would outweigh the minutes of a session.
        """
        if self._skips_nights and slice_.session != self._session:
            self._closes = np.full_like(self._closes, np.nan)
        self._session = slice_.session
        closes = slice_.bars[CLOSE][self._legs]
        is_seen = np.isfinite(closes).all(axis=0)
        moved = closes / self._closes - 1.0
        is_new = is_seen & np.isfinite(moved).all(axis=0)
        at = np.flatnonzero(is_new)
        self._returns[:, at, self._slot[at]] = moved[:, at]
        self._slot[at] = (self._slot[at] + 1) % self._returns.shape[2]
        self._closes = np.where(is_seen, closes, self._closes)
        return np.asarray(is_new)

    def _warnings(self, slice_: BarSlice) -> list[Signal | SpreadNoted]:
        self._has_warned = True
        net = {"net_frac_of_gross": -1.0}
        return [SpreadNoted(slice_.ts_close_ns, self.name, s.name, "not_neutral", net) for s in self.spreads]

    def _signal(self, slice_: BarSlice, k: int) -> Signal:
        side = SIDES[int(self._side[k])]
        return Signal(
            slice_.ts_close_ns, self.name, self.spreads[k].name, side, self._corr.item(k), SAME_SIDE, 0.0
        )


def correlation(returns: FloatArray) -> FloatArray:
    """Correlate two sets of windows.

    Two passes over every window, so nothing is left of what has gone out of it.

    Parameters
    ----------
    returns : FloatArray, shape (2, n, window)
        Any order in time; NaN while a window is not full.

    Returns
    -------
    FloatArray, shape (n,)
        In [-1, 1]; NaN for a window that is not full, or of which a leg does not move.
    """
    centred = returns - returns.mean(axis=2, keepdims=True)
    sd = np.sqrt((centred**2).mean(axis=2))
    covariance = (centred[0] * centred[1]).mean(axis=1)
    is_moving = (sd > _ROUNDING).all(axis=0)
    found = np.divide(covariance, sd[0] * sd[1], out=np.full_like(covariance, np.nan), where=is_moving)
    return np.asarray(np.clip(found, -1.0, 1.0), dtype=np.float64)
