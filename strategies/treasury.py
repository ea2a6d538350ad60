"""Treasury relative value: each tenor outright, long or short where carry and roll-down beat repo and cost.

The yields come from quotes, ``100 - yield_pct`` (``UST5Y.Q`` beside ``UST5Y``), and so may repo
(``UST5Y.R``): then it is what the feed charges, day by day. What a long $1 of a tenor is
expected to earn over the horizon, on an unchanged curve, with duration D of a par bond:

    edge = y h/365 - D (y(T - h) - y(T)) - repo h/360

A tenor is entered long when the edge exceeds its one-way cost, short when its negative does, and left when
the edge has changed its sign: the cost of getting in is sunk by then. docs/maths/treasury.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.errors import ConfigError
from engine.events import CLOSE, SIDES, BarSlice, FloatArray, Signal
from engine.ports import Outlook, Spread, State, StrategyContext
from strategies.treasury_curve import par_duration_years, roll_pct

_MONEY_MARKET_DAYS: Final = 360.0
_BP: Final = 1e4


class TreasuryOptions(BaseModel):
    """``[[strategy]] kind = "treasury"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "tenors": {"AAA": 5, "BBB": 10, "CCC": 20, "DDD": 30},
                    "quote_suffix": "",
                    "repo_pct": 50.0,
                    "horizon_days": 30,
                    "cost_bp": 10.0,
                }
            ]
        },
    )

    tenors: dict[str, float] = Field(min_length=1, description="Symbol and maturity in years: UST5Y = 5.")
    quote_suffix: str = Field(
        ".Q", description='Of the symbol that quotes 100 - yield; "": the tenor itself, as of rate futures.'
    )
    repo_pct: float | dict[str, float] | None = Field(
        None, description="Rate of financing, percent a year, actual/360: of every tenor, or by symbol."
    )
    repo_suffix: str | None = Field(
        None,
        min_length=1,
        description='Instead of repo_pct: of the symbol that quotes 100 - repo; ".R" of the feed "yields".',
    )
    horizon_days: float = Field(gt=0.0, le=3_660.0, description="Calendar days that carry accrues.")
    cost_bp: float = Field(ge=0.0, description="One-way cost that an edge must beat, basis points.")
    yield_day_count: Literal[360, 365] = Field(365, description="Days of the year that yields accrue on.")
    roll_down: bool = Field(True, description="Count the roll down the curve.")

    @property
    def symbols(self) -> tuple[str, ...]:
        """Tenors, and their quotes."""
        ends = ["", self.quote_suffix, *([self.repo_suffix] if self.repo_suffix else [])]
        return tuple(dict.fromkeys(name + end for end in ends for name in self.tenors))

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        """Refuse what is no curve: two tenors of one maturity, or a table of rates that does not fit."""
        years = list(self.tenors.values())
        if min(years) <= 0.0 or len(set(years)) < len(years):
            raise ValueError(f"tenors must have different, positive maturities, was {years}")
        if (self.repo_pct is None) == (self.repo_suffix is None):
            said = "both were given" if self.repo_suffix else "neither was given"
            raise ValueError(f"financing needs repo_pct or repo_suffix, one of the two: {said}")
        if isinstance(self.repo_pct, dict) and set(self.repo_pct) != set(self.tenors):
            raise ValueError(f"repo_pct must have one rate a tenor ({', '.join(self.tenors)})")
        return self


class Treasury:
    """The strategy; its spreads are outrights, one a tenor, shortest first.

    In outlooks and signals ``z`` is the edge in basis points over ``horizon_days``, and ``alpha`` the yield
    in percent; ``beta`` is 0, as of every outright. The expected return is the edge, too, unless the
    allocator weighs returns over a horizon of its own: then it is the part of the edge that falls into that.

    Parameters
    ----------
    options : TreasuryOptions
    context : StrategyContext
    """

    def __init__(self, options: TreasuryOptions, context: StrategyContext) -> None:
        tenors = sorted(options.tenors, key=lambda name: options.tenors[name])
        missing = [symbol for symbol in options.symbols if symbol not in context.symbols]
        if missing:
            what = f"{', '.join(missing)} is not in the universe"
            raise ConfigError(
                "C011", what, "strategy.tenors", "Yields are read from the quotes of the tenors."
            )
        self.name = context.name
        self.spreads = tuple(Spread(context.name, name, name) for name in tenors)
        self._options = options
        self._price = [context.symbols.index(name) for name in tenors]
        self._quote = [context.symbols.index(name + options.quote_suffix) for name in tenors]
        self._years = np.array([options.tenors[name] for name in tenors])
        self._repo_quote = [context.symbols.index(name + (options.repo_suffix or "")) for name in tenors]
        self._repo_pct = _rates(options, tenors)
        self._to_horizon = context.horizon_days / options.horizon_days if context.is_horizon_weighed else 1.0
        self._side: FloatArray = np.zeros(len(tenors))
        self._yield_pct: FloatArray = np.full(len(tenors), np.nan)

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal]:
        """Take one curve and return the transitions, shortest tenor first."""
        close = slice_.bars[CLOSE]
        is_priced = np.isfinite(close[self._price])
        self._yield_pct = np.where(is_priced, 100.0 - close[self._quote], np.nan)
        if self._options.repo_suffix is not None:
            quoted = 100.0 - close[self._repo_quote]
            self._repo_pct = np.where(np.isfinite(quoted), quoted, self._repo_pct)
        edge, side = self._edge_frac(), self._side
        is_seen, cost = np.isfinite(edge), self._options.cost_bp / _BP
        enters = is_seen & (side == 0.0) & (np.abs(edge) > cost)
        leaves = is_seen & (side != 0.0) & ~(side * edge > 0.0)
        self._side = np.where(enters, np.sign(edge), np.where(leaves, 0.0, side))
        return [
            Signal(
                slice_.ts_close_ns,
                self.name,
                self.spreads[k].name,
                SIDES[int(self._side[k])],
                _BP * float(edge[k]),
                0.0,
                float(edge[k]) * self._to_horizon,
            )
            for k in np.flatnonzero(enters | leaves).tolist()
        ]

    def outlook(self) -> Outlook:
        """Return the view after the last curve; a tenor without a yield is expected to earn nothing."""
        edge, zero = self._edge_frac(), np.zeros(len(self.spreads))
        unknown = np.full(len(self.spreads), np.nan)
        return Outlook(
            side=self._side,
            z=_BP * edge,
            beta=zero,
            alpha=self._yield_pct,
            innovation=unknown,
            innovation_var=unknown,
            usd_ratio=zero,
            expected_return_frac=np.where(np.isfinite(edge), edge * self._to_horizon, 0.0),
            frozen_usd_ratio=zero,
        )

    def state(self) -> State:
        """Return sides, the last curve and the repo rates."""
        kept = {"side": self._side, "yield_pct": self._yield_pct, "repo_pct": self._repo_pct}
        return {name: value.copy() for name, value in kept.items()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._side = state["side"].copy()
        self._yield_pct = state["yield_pct"].copy()
        self._repo_pct = state["repo_pct"].copy()

    def _edge_frac(self) -> FloatArray:
        """Return what a long $1 is expected to earn over the horizon; NaN without a yield."""
        options, y = self._options, self._yield_pct
        carry = y / 100.0 * options.horizon_days / options.yield_day_count
        if options.roll_down:
            duration = par_duration_years(y, self._years)
            carry = carry - duration * roll_pct(y, self._years, options.horizon_days) / 100.0
        repo = self._repo_pct / 100.0 * options.horizon_days / _MONEY_MARKET_DAYS
        return np.asarray(carry - repo, dtype=np.float64)


def _rates(options: TreasuryOptions, tenors: Sequence[str]) -> FloatArray:
    """Return the given rate of each tenor, percent; NaN where it is still to be quoted."""
    given = options.repo_pct
    if given is None:
        return np.full(len(tenors), np.nan)
    return np.array([given[name] if isinstance(given, dict) else given for name in tenors], dtype=np.float64)
