"""Pairs whose hedge ratio is a trailing regression; the rolling z of its residual triggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from engine.events import BarSlice, Nanos, Signal, SpreadNoted
from engine.ports import Outlook, State, StrategyContext
from strategies.admission import OBSERVATIONS_MIN, engle_granger, history_of, tested_every_bars
from strategies.pair_book import PairBook, Reading
from strategies.pair_options import PairName, PairRules, has_no_nights, pair_legs, pair_spreads, window_bars
from strategies.pair_tape import HIDE, OPEN, PLAIN, PairTape, X, Y
from strategies.rolling import RollingFit, RollingZ


class ZscorePairsOptions(PairRules):
    """Options of ``kind = "zscore_pairs"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "pairs": ["AAA/BBB", "CCC/DDD"],
                    "admission": "off",
                    "hedge_window_min": 60,
                    "window_min": 30,
                    "forecast_window_min": 60,
                },
                {
                    "pairs": ["AAA/BBB", "DDD/CCC"],
                    "prices": "raw",
                    "hedge_ratio": {"DDD/CCC": 0.5},
                    "hedge_window_min": 60,
                    "window_min": 30,
                    "admission_min": 200,
                    "significance": 0.5,
                    "forecast_window_min": 60,
                },
            ]
        },
    )

    hedge_ratio: dict[PairName, float] = Field(
        default_factory=dict,
        description="Hedge ratio of a pair, instead of the regression: USD of X per USD of Y with log "
        "prices, shares of X per share of Y with raw ones.",
    )
    hedge_window_min: int | None = Field(
        None, ge=10, description="Trailing minutes of the regression; default three sessions."
    )
    window_min: int | None = Field(
        None, ge=3, description="Trailing minutes that standardise the residual; default one session."
    )
    session_open: Literal["skip", "none"] | None = Field(
        None,
        description="Whether the first observation of a session is left out of regression, z and signals. "
        'Default "skip"; "none" around the clock and with one or two bars a session.',
    )
    admission: Literal["engle_granger", "off"] = Field(
        "engle_granger", description="Only pairs that a cointegration test admits may signal."
    )
    admission_min: int | None = Field(
        None,
        ge=150,
        description="Minutes of the tape to test, for pairs without 250 days of history; default three "
        "sessions.",
    )
    significance: float = Field(0.05, gt=0, lt=1, description="Largest p-value that is admitted.")

    @model_validator(mode="after")
    def _ratios_belong_to_pairs(self) -> Self:
        for pair in self.hedge_ratio:
            if pair not in self.pairs:
                raise ValueError(f"hedge_ratio names {pair!r}, which is not among pairs")
        return self


class ZscorePairs:
    """Pair signals from trailing regressions.

    Parameters
    ----------
    options : ZscorePairsOptions
    context : StrategyContext

    Raises
    ------
    ConfigError
        C210 for a symbol outside the universe, C222 for a window of too few bars.
    """

    def __init__(self, options: ZscorePairsOptions, context: StrategyContext) -> None:
        self.name = context.name
        self.spreads = pair_spreads(options.pairs, context)
        self._options = options
        self._history = context.history
        self._forecast_bars = window_bars("forecast_window_min", options.forecast_window_min, 1, context)
        self._test_every = tested_every_bars(context.bar_min)
        least = OBSERVATIONS_MIN * self._test_every
        self._admission_bars = window_bars("admission_min", options.admission_min, 3, context, least)
        self._is_admitting = True
        mode = options.session_open or ("none" if has_no_nights(context) else "skip")
        self._tape = PairTape(
            pair_legs(self.spreads, context),
            options.prices,
            HIDE if mode == "skip" else PLAIN,
            self._forecast_bars
            if options.admission == "off"
            else max(self._forecast_bars, self._admission_bars),
            bar_min=context.bar_min,
        )
        fixed = [options.hedge_ratio.get(spread.name, np.nan) for spread in self.spreads]
        fit_bars = window_bars("hedge_window_min", options.hedge_window_min, 3, context, 10)
        self._fit = RollingFit(fit_bars, np.array(fixed))
        self._rolling = RollingZ(len(self.spreads), window_bars("window_min", options.window_min, 1, context))
        self._y = self._tape.prices[Y]
        self._x = self._tape.prices[X]
        self._open = self._tape.prices[OPEN]
        reading = Reading(
            z=self._rolling.z,
            beta=self._fit.beta,
            alpha=self._fit.alpha,
            innovation=self._fit.residual,
            innovation_var=self._rolling.variance,
        )
        self._book = PairBook(context, self.spreads, options, self._tape, reading)

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal | SpreadNoted]:
        """Take one minute; return transitions, and what the admission test said when it was made."""
        self._tape.take(slice_)
        self._fit.push(self._y, self._x)
        self._rolling.push(self._fit.residual, self._open)
        signals = self._book.decide(slice_.ts_close_ns)
        if self._is_admitting:
            return [*signals, *self._admit(slice_.ts_close_ns)]
        return signals

    def outlook(self) -> Outlook:
        """Return the view after the last slice."""
        return self._book.outlook()

    def state(self) -> State:
        """Return everything that the next slice depends on."""
        return {
            "tape": self._tape.state(),
            "fit": self._fit.state(),
            "rolling": self._rolling.state(),
            "book": self._book.state(),
            "is_admitting": self._is_admitting,
        }

    def restore(self, state: State) -> None:
        """Continue from what ``state`` returned, bit for bit."""
        self._tape.restore(state["tape"])
        self._fit.restore(state["fit"])
        self._rolling.restore(state["rolling"])
        self._book.restore(state["book"])
        self._is_admitting = bool(state["is_admitting"])

    def _admit(self, ts_ns: Nanos) -> list[SpreadNoted]:
        """Test what can be tested now: history on the first slice, the tape at the end of its stretch."""
        n_slices = self._tape.slices
        if self._options.admission == "off":
            self._is_admitting = False
            self._book.enabled[:] = 1.0
            return [self._book.note(ts_ns, k, "admission_off", {}) for k in range(len(self.spreads))]
        if n_slices not in (1, self._admission_bars):
            return []
        tested = [self._judge(ts_ns, k) for k in range(len(self.spreads))]
        if n_slices == self._admission_bars:
            self._is_admitting = False
            self._tape.trim(self._forecast_bars)
        return [note for note in tested if note is not None]

    def _judge(self, ts_ns: Nanos, k: int) -> SpreadNoted | None:
        """Test one pair on its history (first slice), or without one on the tape (end of the stretch)."""
        sample = history_of(self.spreads[k].name, self._history)
        is_first = self._tape.slices == 1
        if is_first == (sample is None):
            return None
        if sample is None:
            y, x, _ = self._tape.first(self._admission_bars)
            every = slice(self._test_every - 1, None, self._test_every)
            both = np.stack((y[k, every], x[k, every]))
            both = both[:, ~np.isnan(both).any(axis=0)]
            sample = (
                (both[0], both[1]) if self._options.prices == "log" else (np.log(both[0]), np.log(both[1]))
            )
        p_value = engle_granger(*sample)
        is_admitted = p_value <= self._options.significance
        self._book.enabled[k] = float(is_admitted)
        values = {"p_value": p_value, "observations": float(sample[0].size)}
        return self._book.note(ts_ns, k, "admitted" if is_admitted else "not_admitted", values)
