"""Pairs whose hedge ratio is a Kalman filter; the z of its innovation triggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.errors import ConfigError
from engine.events import BarSlice, FloatArray, Nanos, Signal, SpreadNoted
from engine.ports import Outlook, State, StrategyContext
from strategies.calibration import BURN_IN, OBSERVATIONS_MIN, Noise, calibrate
from strategies.kalman_kernel import (
    ALPHA_PRIOR,
    BETA_PRIOR,
    OVERNIGHT,
    VE,
    VW_ALPHA,
    VW_BETA,
    E,
    Q,
    Z,
    kalman_step,
    restart,
    start_filters,
)
from strategies.pair_book import PairBook, Reading
from strategies.pair_options import (
    WINDOW_BARS_MIN,
    PairRules,
    has_no_nights,
    pair_legs,
    pair_spreads,
    window_bars,
)
from strategies.pair_tape import HIDE, MARK, OPEN, PLAIN, PairTape, X, Y
from strategies.rolling import RollingZ

_OPEN_MODES = {"inflate": MARK, "skip": HIDE, "none": PLAIN}


class FilterNoise(BaseModel):
    """Noise of the filter, as the user states it: variances per bar, in squared units of the prices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    delta: float = Field(gt=0, allow_inf_nan=False, description="Variance of beta's and alpha's steps.")
    observation_variance: float = Field(gt=0, allow_inf_nan=False, description="Ve.")
    overnight_variance: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Added to alpha's at a session's opening observation."
    )


class KalmanPairsOptions(PairRules):
    """Options of ``kind = "kalman_pairs"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "pairs": ["AAA/BBB", "CCC/DDD"],
                    "noise": {"delta": 1e-9, "observation_variance": 1e-7, "overnight_variance": 1e-5},
                    "warmup_min": 60,
                    "entry_z": 1.5,
                    "forecast_window_min": 60,
                },
                {"pairs": ["AAA/BBB", "DDD/CCC"], "warmup_min": 200, "forecast_window_min": 60},
            ]
        },
    )

    raw_unit: Literal["first_price", "usd"] = Field(
        "first_price",
        description="With prices = raw: noise is stated in units of each leg's first price, or of 1 USD.",
    )
    z: Literal["innovation", "rolling"] = Field(
        "innovation", description="e / sqrt(Q), or the innovation standardised over window_min minutes."
    )
    window_min: int | None = Field(None, ge=2, description='Window of z = "rolling" (default 60).')
    noise: Literal["calibrate"] | FilterNoise = Field(
        "calibrate", description="Maximum likelihood on the warm-up, or {delta, observation_variance}."
    )
    initial_covariance: float = Field(
        1.0, gt=0, le=100.0, description="P before the first minute is this times the identity."
    )
    warmup_min: int | None = Field(
        None, ge=0, description="Minutes that never signal; default three sessions."
    )
    session_open: Literal["inflate", "skip", "none"] | None = Field(
        None,
        description="First observation of a session: inflate alpha's variance, predict only, or like any "
        'other. The first two never signal on it. Default "inflate"; "none" around the clock and with one or '
        "two bars a session.",
    )

    @model_validator(mode="after")
    def _window_belongs_to_rolling(self) -> Self:
        if self.window_min is not None and self.z != "rolling":
            raise ValueError(f'window_min is for z = "rolling", z was "{self.z}"')
        return self

    @model_validator(mode="after")
    def _warmup_carries_calibration(self) -> Self:
        needed = BURN_IN + OBSERVATIONS_MIN
        if self.noise == "calibrate" and self.warmup_min is not None and self.warmup_min < needed:
            raise ValueError(
                f'warmup_min must be at least {needed} for noise = "calibrate", was {self.warmup_min}'
            )
        return self


def _warmup_bars(options: KalmanPairsOptions, context: StrategyContext) -> int:
    """Return the bars that never signal; enough of them to calibrate on."""
    needed = BURN_IN + OBSERVATIONS_MIN if options.noise == "calibrate" else 0
    if options.warmup_min is None:
        return max(3 * context.session_bars, needed if context.bar_min > 1 else 0)
    bars = context.bars(options.warmup_min) if options.warmup_min else 0
    if bars < needed:
        raise ConfigError(
            "C211",
            f"warmup_min = {options.warmup_min} is {bars} bars of {context.bar_min} minutes",
            f"strategy {context.name!r}, key warmup_min",
            f'noise = "calibrate" needs {needed} bars at least. Raise it, or leave it out.',
        )
    return bars


def _rolling_bars(options: KalmanPairsOptions, context: StrategyContext) -> int:
    """Return the window of z in bars; by default 60, whatever their length."""
    if options.window_min is None:
        return WINDOW_BARS_MIN
    return window_bars("window_min", options.window_min, 1, context, 2)


class KalmanPairs:
    """Pair signals from Kalman hedge ratios.

    Parameters
    ----------
    options : KalmanPairsOptions
    context : StrategyContext

    Raises
    ------
    ConfigError
        C210 for a symbol outside the universe, C211 and C222 for a warm-up or window of too few bars.
    """

    def __init__(self, options: KalmanPairsOptions, context: StrategyContext) -> None:
        self.name = context.name
        self.spreads = pair_spreads(options.pairs, context)
        self._options = options
        self._night_bars = context.session_bars
        self._window_bars = window_bars("forecast_window_min", options.forecast_window_min, 1, context)
        mode = options.session_open or ("none" if has_no_nights(context) else "inflate")
        is_calibrated_here = options.noise == "calibrate"
        warmup_bars = _warmup_bars(options, context)
        self._warmup_bars = warmup_bars
        self._tape = PairTape(
            pair_legs(self.spreads, context),
            options.prices,
            _OPEN_MODES[mode],
            max(self._window_bars, warmup_bars) if is_calibrated_here else self._window_bars,
            options.raw_unit,
            context.bar_min,
        )
        n_pairs = len(self.spreads)
        self._prices = self._tape.prices
        self._open = self._prices[OPEN]
        self._filters = start_filters(n_pairs, options.initial_covariance)
        if isinstance(options.noise, FilterNoise):
            self._set_noise(slice(None), options.noise)
        self._innovation = self._filters[E]
        self._rolling = RollingZ(n_pairs, _rolling_bars(options, context)) if options.z == "rolling" else None
        reading = Reading(
            z=self._filters[Z] if self._rolling is None else self._rolling.z,
            beta=self._filters[BETA_PRIOR],
            alpha=self._filters[ALPHA_PRIOR],
            innovation=self._innovation,
            innovation_var=self._filters[Q],
        )
        self._book = PairBook(context, self.spreads, options, self._tape, reading)
        self._is_warming = warmup_bars > 0
        if not self._is_warming:
            self._book.enabled[:] = 1.0

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal | SpreadNoted]:
        """Take one minute; return transitions, and at the end of the warm-up what was calibrated."""
        self._tape.take(slice_)
        kalman_step(self._prices, self._filters)
        if self._rolling is not None:
            # The innovation of an open is of another scale: it stays out of the window.
            self._rolling.push(self._innovation, self._open)
        if self._is_warming:
            return self._end_warmup(slice_.ts_close_ns)
        return self._book.decide(slice_.ts_close_ns)

    def outlook(self) -> Outlook:
        """Return the view after the last slice."""
        return self._book.outlook()

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        rolling = {} if self._rolling is None else {"rolling": self._rolling.state()}
        return {
            "tape": self._tape.state(),
            "book": self._book.state(),
            "filters": self._filters.copy(),
            "is_warming": self._is_warming,
            **rolling,
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self._tape.restore(state["tape"])
        self._book.restore(state["book"])
        self._filters[:] = state["filters"]
        self._is_warming = bool(state["is_warming"])
        if self._rolling is not None:
            self._rolling.restore(state["rolling"])

    def _set_noise(self, pairs: int | slice, noise: FilterNoise | Noise) -> None:
        self._filters[VW_BETA, pairs] = noise.delta
        self._filters[VW_ALPHA, pairs] = noise.delta
        self._filters[VE, pairs] = noise.observation_variance
        self._filters[OVERNIGHT, pairs] = noise.overnight_variance

    def _end_warmup(self, ts_ns: Nanos) -> list[SpreadNoted]:
        """Enable signals from the next slice when the warm-up is over, calibrating first if asked."""
        if self._tape.slices < self._warmup_bars:
            return []
        self._is_warming = False
        self._book.enabled[:] = 1.0
        if self._options.noise != "calibrate":
            return []
        return self._calibrate(ts_ns)

    def _calibrate(self, ts_ns: Nanos) -> list[SpreadNoted]:
        """Set the noise of every pair and run the filters over the warm-up again with it."""
        y, x, opens = self._tape.first(self._warmup_bars)
        found = [
            calibrate(y[k], x[k], opens[k], self._options.initial_covariance, self._night_bars)
            for k in range(len(self.spreads))
        ]
        for k, noise in enumerate(found):
            if noise is None:
                self._book.enabled[k] = 0.0
            else:
                self._set_noise(k, noise)
        z = self._replay(y, x, opens)
        self._tape.trim(self._window_bars)
        notes = []
        for k, noise in enumerate(found):
            if noise is None:
                n_observed = float(np.sum(~np.isnan(y[k] - x[k])))
                notes.append(self._book.note(ts_ns, k, "not_calibrated", {"observations": n_observed}))
                continue
            is_counted = (np.cumsum(~np.isnan(z[k])) > BURN_IN) & (opens[k] == 0.0)
            values = {
                "delta": noise.delta,
                "observation_variance": noise.observation_variance,
                "overnight_variance": noise.overnight_variance,
                "log_likelihood": noise.log_likelihood,
                "sd_z": float(np.nanstd(z[k, is_counted])),
            }
            notes.append(self._book.note(ts_ns, k, "calibrated", values))
            if noise.is_weak:
                notes.append(self._book.note(ts_ns, k, "weakly_identified", values))
        return notes

    def _replay(self, y: FloatArray, x: FloatArray, opens: FloatArray) -> FloatArray:
        """Run the filters again from their start, and return the z of their innovations."""
        restart(self._filters, self._options.initial_covariance)
        if self._rolling is not None:
            self._rolling.reset()
        z = np.empty_like(y)
        for t in range(y.shape[1]):
            self._prices[Y], self._prices[X], self._prices[OPEN] = y[:, t], x[:, t], opens[:, t]
            kalman_step(self._prices, self._filters)
            if self._rolling is not None:
                self._rolling.push(self._innovation, self._open)
            z[:, t] = self._filters[Z]
        return z
