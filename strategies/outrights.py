"""Names to hold outright, each on a side that is given: what an allocator may choose sizes for.

There is no timing here. Every symbol is wanted from its first price on, LONG or SHORT, so the side says in
which direction it may be held and not that it will be: an allocator that solves may leave it at zero. The
expected returns are somebody's view, a year, and are stated over the allocator's horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.events import CLOSE, SIDES, BarSlice, FloatArray, Signal
from engine.ports import Outlook, Spread, State, StrategyContext

_BP: Final = 1e4


class OutrightsOptions(BaseModel):
    """``[[strategy]] kind = "outrights"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "long": ["AAA", "BBB"],
                    "short": ["DDD"],
                    "expected_return_annual_frac": {"AAA": 0.08, "DDD": -0.02},
                }
            ]
        },
    )

    long: tuple[str, ...] = Field((), description="Symbols that may be held long.")
    short: tuple[str, ...] = Field((), description="Symbols that may be held short.")
    expected_return_annual_frac: dict[str, float] = Field(
        default_factory=dict, description="Of the price, a year, by symbol; 0 where none is given."
    )

    @property
    def symbols(self) -> tuple[str, ...]:
        """All of them, longs first."""
        return (*self.long, *self.short)

    @model_validator(mode="after")
    def _is_a_list(self) -> Self:
        """Refuse an empty list, a symbol that is there twice, and a return of something else."""
        if not self.symbols:
            raise ValueError("long or short must have a symbol")
        repeated = sorted({symbol for symbol in self.symbols if self.symbols.count(symbol) > 1})
        if repeated:
            raise ValueError(f"{', '.join(repeated)} is listed twice: a symbol has one side")
        others = [symbol for symbol in self.expected_return_annual_frac if symbol not in self.symbols]
        if others:
            raise ValueError(f"expected_return_annual_frac has {', '.join(others)}, neither long nor short")
        return self


class Outrights:
    """The strategy; its spreads are outrights, longs first, in the order given.

    In outlooks and signals ``z`` is the expected return over the allocator's horizon in basis points;
    ``beta`` is 0, as of every outright, and ``alpha`` unknown.

    Parameters
    ----------
    options : OutrightsOptions
    context : StrategyContext
    """

    def __init__(self, options: OutrightsOptions, context: StrategyContext) -> None:
        self.name = context.name
        self.spreads = tuple(Spread(context.name, symbol, symbol) for symbol in options.symbols)
        self._column = [context.symbols.index(symbol) for symbol in options.symbols]
        self._wanted = np.repeat([1.0, -1.0], [len(options.long), len(options.short)])
        years = context.horizon_min / context.session_min / context.sessions_per_year
        annual_frac = [options.expected_return_annual_frac.get(symbol, 0.0) for symbol in options.symbols]
        self._expected_frac = np.array(annual_frac) * years
        self._side: FloatArray = np.zeros(len(self.spreads))

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal]:
        """Return a signal for each symbol that has its first price."""
        is_priced = np.isfinite(slice_.bars[CLOSE, self._column])
        enters = is_priced & (self._side == 0.0)
        if not enters.any():
            return ()
        self._side = np.where(enters, self._wanted, self._side)
        return [
            Signal(
                slice_.ts_close_ns,
                self.name,
                self.spreads[k].name,
                SIDES[int(self._side[k])],
                _BP * float(self._expected_frac[k]),
                0.0,
                float(self._expected_frac[k]),
            )
            for k in np.flatnonzero(enters).tolist()
        ]

    def outlook(self) -> Outlook:
        """Return sides and expected returns."""
        zero, unknown = np.zeros(len(self.spreads)), np.full(len(self.spreads), np.nan)
        return Outlook(
            side=self._side,
            z=_BP * self._expected_frac,
            beta=zero,
            alpha=unknown,
            innovation=unknown,
            innovation_var=unknown,
            usd_ratio=zero,
            expected_return_frac=self._expected_frac,
            frozen_usd_ratio=zero,
        )

    def state(self) -> State:
        """Return the sides."""
        return {"side": self._side.copy()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._side = state["side"].copy()
