"""Options that every strategy of pairs shares, and what they mean as arrays."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from engine.errors import ConfigError
from engine.events import FloatArray, IntArray
from engine.ports import Spread, StrategyContext


def split_pair(pair: str) -> tuple[str, str]:
    """Return y and x of ``"Y/X"``.

    Raises
    ------
    ValueError
        The text is not two different symbols with one slash between them.

    Examples
    --------
    >>> split_pair("JPM/C")
    ('JPM', 'C')
    """
    legs = pair.split("/")
    if len(legs) != 2 or not all(leg and leg == leg.strip() for leg in legs):
        raise ValueError(f'a pair is written "Y/X", was {pair!r}')
    if legs[0] == legs[1]:
        raise ValueError(f"a pair needs two different symbols, was {pair!r}")
    return legs[0], legs[1]


def _checked_pair(pair: str) -> str:
    split_pair(pair)
    return pair


def _without_repeats(pairs: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[tuple[str, ...]] = set()
    for pair in pairs:
        legs = tuple(sorted(split_pair(pair)))
        if legs in seen:
            raise ValueError(f"{pair!r} appears twice (either way round it is the same spread)")
        seen.add(legs)
    return pairs


#: A pair as the configuration writes it, and a list of them without repeats.
PairName = Annotated[str, AfterValidator(_checked_pair)]
PairNames = Annotated[tuple[PairName, ...], Field(min_length=1), AfterValidator(_without_repeats)]


class PairRules(BaseModel):
    """Which pairs, and when a spread changes its side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: PairNames = Field(description='Pairs as "Y/X": LONG is long Y and short X.')
    prices: Literal["log", "raw"] = Field(
        "log", description="Model logarithms of prices (the ratio is of USD) or prices (of shares)."
    )
    entry_z: float = Field(2.0, gt=0, allow_inf_nan=False, description="Enter when |z| exceeds this.")
    exit_z: float = Field(
        0.5, ge=0, description="LONG exits at z >= -exit_z, SHORT at z <= exit_z; below entry_z."
    )
    exit_rule: Literal["cross", "abs"] = Field(
        "cross", description='"cross" also exits on a jump across zero; "abs" exits at |z| <= exit_z only.'
    )
    stop_z: float | None = Field(
        None, description="Close when |z| exceeds this, and stay out until |z| <= exit_z; above entry_z."
    )
    hold_max_min: int | None = Field(
        None, ge=1, description="Close after this many minutes, and stay out until |z| <= exit_z."
    )
    forecast_window_min: int | None = Field(
        None, ge=20, description="Trailing minutes of the AR(1) that forecasts; default one session."
    )

    @model_validator(mode="after")
    def _thresholds_are_ordered(self) -> Self:
        if not self.exit_z < self.entry_z:
            raise ValueError(f"exit_z must be below entry_z ({self.entry_z:g}), was {self.exit_z:g}")
        if self.stop_z is not None and not self.stop_z > self.entry_z:
            raise ValueError(f"stop_z must be above entry_z ({self.entry_z:g}), was {self.stop_z:g}")
        return self


def rules_array(rules: PairRules, context: StrategyContext) -> FloatArray:
    """Return the rules as ``strategies.transitions.decide`` reads them."""
    return np.array(
        [
            rules.entry_z,
            rules.exit_z,
            np.inf if rules.stop_z is None else rules.stop_z,
            np.inf if rules.hold_max_min is None else context.bars(rules.hold_max_min),
            rules.exit_rule == "abs",
        ],
        dtype=np.float64,
    )


#: Bars that a window has at least by default, so that a session of one bar is not taken for a sample.
WINDOW_BARS_MIN = 60


def window_bars(
    key: str, minutes: int | None, sessions: int, context: StrategyContext, needed: int = 3
) -> int:
    """Return a trailing window in bars; by default so many sessions, and ``WINDOW_BARS_MIN`` bars at least.

    Parameters
    ----------
    key : str
        Of the option.
    minutes : int or None
        As configured; None for the default.
    sessions : int
        Of the default.
    context : StrategyContext
    needed : int
        Bars under which nothing would ever be known.

    Raises
    ------
    ConfigError
        C222 for a window that is configured shorter than that.
    """
    if minutes is None:
        return max(sessions * context.session_bars, WINDOW_BARS_MIN if context.bar_min > 1 else 1)
    bars = context.bars(minutes)
    if bars < needed:
        raise ConfigError(
            "C222",
            f"{key} = {minutes} is {bars} of this run's bars",
            f"strategy {context.name!r}, key {key}",
            f"It needs {needed}, and means little below some dozens. A session has {context.session_min} "
            f"minutes; leave {key} out for the default.",
        )
    return bars


def has_no_nights(context: StrategyContext) -> bool:
    """Whether no step between bars differs much from the others: around the clock, or with long bars.

    A night matters beside a minute. The step into a bar that is a session, or half of one, is a night and
    that bar: setting it apart would set every step apart, or every other one.
    """
    return context.session_min >= 1440 or context.session_bars <= 2


def pair_spreads(pairs: tuple[str, ...], context: StrategyContext) -> tuple[Spread, ...]:
    """Return one spread per pair, in the order of the configuration."""
    return tuple(Spread(context.name, pair, *split_pair(pair)) for pair in pairs)


def pair_legs(spreads: tuple[Spread, ...], context: StrategyContext) -> IntArray:
    """Return the columns of y and x in every slice, shape (2, n_pairs).

    Raises
    ------
    ConfigError
        A symbol is not in the universe.
    """
    column = {symbol: i for i, symbol in enumerate(context.symbols)}
    pairs = [split_pair(spread.name) for spread in spreads]
    for spread, pair in zip(spreads, pairs, strict=True):
        for symbol in pair:
            if symbol not in column:
                raise ConfigError(
                    "C210",
                    f"{symbol!r} of pair {spread.name!r} is not in the universe",
                    f"strategy {context.name!r}, key pairs",
                    "A pair needs bars of both symbols. Add it to [universe] symbols, or drop the pair.",
                )
    return np.array([[column[y] for y, _ in pairs], [column[x] for _, x in pairs]], dtype=np.int64)
