"""Futures against funds: buy what is cheap against the other, and wait until expiry makes them one.

Of a fund at S, a future at F, a quote ratio q (index points for 1 of the fund: 10 for ES and SPY), a rate r,
a dividend yield d and n calendar days to expiry, with simple interest as money markets count it:

    fair = q S (1 + (r - d) n/360),   mispricing = F - fair (points) = (F - fair)/(q S) (fraction of the fund)

LONG is long the fund and short the future: the future is dear. docs/maths/basis.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, Self

import numpy as np
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from engine.errors import ConfigError
from engine.events import CLOSE, SIDES, BarSlice, BoolArray, FloatArray, IntArray, Signal, SpreadNoted
from engine.ports import Instrument, Outlook, Spread, State, StrategyContext
from strategies.pair_options import PairName, PairNames, pair_legs, pair_spreads

_BP: Final = 1e4


class BasisOptions(BaseModel):
    """``[[strategy]] kind = "basis"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "pairs": ["AAA/BBB", "CCC/DDD"],
                    "quote_ratio": {"AAA/BBB": 0.625, "CCC/DDD": 0.25},
                    "rate_frac": 0.0,
                    "entry_frac": 0.001,
                    "exit_frac": 0.0002,
                }
            ]
        },
    )

    pairs: PairNames = Field(
        description='Fund and future as "Y/X": "SPY/ESH6". LONG is long the fund and short the future.'
    )
    quote_ratio: PositiveFloat | dict[PairName, PositiveFloat] = Field(
        description="Points of the future for 1 of the fund (ES/SPY: 10): of all pairs, or by pair."
    )
    rate_frac: float = Field(ge=-0.1, le=1.0, description="Rate of financing the fund, per year, simple.")
    dividend_frac: float = Field(
        0.0, ge=0.0, le=1.0, description="Dividends of the fund until expiry, per year, as a yield."
    )
    day_count: Literal[360, 365] = Field(360, description="Days of the year that rate and yield accrue on.")
    entry_frac: float = Field(
        0.003, gt=0.0, description="Enter beyond this mispricing; keep it above what a round trip costs."
    )
    exit_frac: float = Field(
        0.0005, ge=0.0, description="Leave when what is left of the mispricing is no more than this."
    )
    mispricing_max_frac: float = Field(
        0.05, gt=0.0, le=1.0, description="Beyond this the ratio is wrong (a split?), and nothing is entered."
    )
    roll_days: int = Field(
        5,
        ge=1,
        le=90,
        description="Leave when expiry is this many calendar days away, or less; enter before.",
    )

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if not self.exit_frac < self.entry_frac < self.mispricing_max_frac:
            raise ValueError(
                "must be exit_frac < entry_frac < mispricing_max_frac, was "
                f"{self.exit_frac:g}, {self.entry_frac:g}, {self.mispricing_max_frac:g}"
            )
        if isinstance(self.quote_ratio, dict) and set(self.quote_ratio) != set(self.pairs):
            raise ValueError(f"quote_ratio must have one ratio a pair ({', '.join(self.pairs)})")
        return self


def fair_value(
    fund: FloatArray, quote_ratio: FloatArray, carry_frac: float, days: FloatArray, day_count: int
) -> FloatArray:
    """Return what a future is worth by its fund, in points.

    Parameters
    ----------
    fund : FloatArray
        Quotes.
    quote_ratio : FloatArray
        Points for 1 of the fund.
    carry_frac : float
        Rate less dividend yield, per year.
    days : FloatArray
        Calendar days to expiry; after it there is nothing to carry.
    day_count : int
        Days of the year.

    Examples
    --------
    >>> fair_value(np.array([240.0]), np.array([10.0]), 0.0375, np.array([4.0]), 360).tolist()
    [2401.0]
    """
    growth = 1.0 + carry_frac * np.maximum(days, 0.0) / day_count
    return np.asarray(quote_ratio * fund * growth, dtype=np.float64)


class Basis:
    """The strategy; its spreads are the contracts, in the order of the configuration.

    Of the contracts of a fund only the front one is entered: the first to expire in more than ``roll_days``.
    The contracts of a fund are a chain: none is entered on a bar that does not leave the one that is held.
    The hedge is unit for unit, so that both legs are the same thing at expiry: b = F/(q S), frozen at entry.
    In outlooks and signals ``z`` is the mispricing in basis points of the fund, ``beta`` the quote ratio,
    ``alpha`` the fair value and ``innovation`` the mispricing, both in points.

    Parameters
    ----------
    options : BasisOptions
    context : StrategyContext
        Its instruments know when each future expires.

    Raises
    ------
    ConfigError
        C210 for a symbol outside the universe, C220 for a future without an expiry, C221 for a fund in
        another currency, C223 for a roll that would be filled after expiry.
    """

    def __init__(self, options: BasisOptions, context: StrategyContext) -> None:
        self.name = context.name
        spreads = pair_spreads(options.pairs, context)
        self._options = options
        self._legs = pair_legs(spreads, context)
        self._futures = _futures(spreads, self._legs, context)
        self.spreads = _chained(spreads, self._futures)
        _require_time_to_leave(self._futures, options.roll_days, context)
        ratio = options.quote_ratio
        self._ratio = np.array([ratio[p] if isinstance(ratio, dict) else ratio for p in options.pairs])
        self._expiry_day: IntArray = np.array([future.expiry_day for future in self._futures])
        is_same_fund = self._legs[0] == self._legs[0][:, np.newaxis]
        self._is_ahead = is_same_fund & (self._expiry_day < self._expiry_day[:, np.newaxis])
        chains = np.array([spread.chain for spread in self.spreads])
        self._is_same_chain: BoolArray = chains == chains[:, np.newaxis]
        self._horizon_days = context.horizon_days
        n = len(self.spreads)
        self._quotes: FloatArray = np.full((2, n), np.nan)
        self._is_seen: BoolArray = np.zeros(n, dtype=np.bool_)
        self._days: FloatArray = np.full(n, np.nan)
        self._side: FloatArray = np.zeros(n)
        self._frozen: FloatArray = np.full(n, np.nan)

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal | SpreadNoted]:
        """Take one bar; return transitions, each with a note of the figures behind it."""
        options, side = self._options, self._side
        quotes = slice_.bars[CLOSE][self._legs]
        self._is_seen = is_seen = np.isfinite(quotes).all(axis=0)
        self._quotes = np.where(is_seen, quotes, self._quotes)
        self._days = (self._expiry_day - slice_.session).astype(np.float64)
        mispriced = self._mispricing_points() / (self._ratio * self._quotes[0])
        size = np.abs(mispriced)
        may_hold = self._days > options.roll_days
        is_front = may_hold & ~(self._is_ahead & may_hold).any(axis=1)
        is_wide = (size > options.entry_frac) & (size <= options.mispricing_max_frac)
        is_wanted = side * mispriced > options.exit_frac
        leaves = is_seen & (side != 0.0) & ~(is_wanted & may_hold)
        # What is to be rolled has to wait for a bar, and the next contract of the chain with it.
        stays = (side != 0.0) & ~leaves & (self._days >= 0.0)
        is_free = ~(self._is_same_chain & stays).any(axis=1)
        enters = is_seen & (side == 0.0) & is_front & is_wide & is_free
        if not (enters | leaves).any():
            return ()
        self._side = np.where(enters, np.sign(mispriced), np.where(leaves, 0.0, side))
        self._frozen = np.where(enters, self._usd_ratio(), np.where(leaves, np.nan, self._frozen))
        outlook = self.outlook()
        said: list[Signal | SpreadNoted] = []
        for k in np.flatnonzero(enters | leaves).tolist():
            why = "mispriced" if enters[k] else "rolled" if is_wanted[k] else "converged"
            said += [self._signal(slice_, k, outlook), self._note(slice_, k, why)]
        return said

    def outlook(self) -> Outlook:
        """Return the view after the last bar; a contract that was never seen is expected to earn nothing."""
        options, points = self._options, self._mispricing_points()
        mispriced = points / (self._ratio * self._quotes[0])
        ratio = self._usd_ratio()
        ahead_days = np.minimum(self._horizon_days, np.maximum(self._days, 1.0))
        reached = ahead_days / np.maximum(self._days, 1.0)
        # Before financing: what is fair leaves the fund's holder the carry to pay it with.
        carry = (options.rate_frac - options.dividend_frac) * ahead_days / options.day_count
        earned = np.where(self._days > 0.0, (mispriced * reached + carry) / (1.0 + ratio), 0.0)
        return Outlook(
            side=self._side,
            z=np.where(self._is_seen, _BP * mispriced, np.nan),
            beta=self._ratio,
            alpha=np.where(self._is_seen, self._fair_points(), np.nan),
            innovation=np.where(self._is_seen, points, np.nan),
            innovation_var=np.full(len(self.spreads), np.nan),
            usd_ratio=ratio,
            expected_return_frac=np.where(np.isfinite(earned), earned, 0.0),
            frozen_usd_ratio=np.where(self._side != 0.0, self._frozen, ratio),
        )

    def state(self) -> State:
        """Return sides, ratios at entry, and the last quotes."""
        return {
            "quotes": self._quotes.copy(),
            "is_seen": self._is_seen.copy(),
            "days": self._days.copy(),
            "side": self._side.copy(),
            "frozen": self._frozen.copy(),
        }

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._quotes = state["quotes"].copy()
        self._is_seen = state["is_seen"].copy()
        self._days = state["days"].copy()
        self._side = state["side"].copy()
        self._frozen = state["frozen"].copy()

    def _fair_points(self) -> FloatArray:
        carry_frac = self._options.rate_frac - self._options.dividend_frac
        return fair_value(self._quotes[0], self._ratio, carry_frac, self._days, self._options.day_count)

    def _mispricing_points(self) -> FloatArray:
        return np.asarray(self._quotes[1] - self._fair_points(), dtype=np.float64)

    def _usd_ratio(self) -> FloatArray:
        """USD of the future for 1 USD of the fund, unit for unit."""
        return np.asarray(self._quotes[1] / (self._ratio * self._quotes[0]), dtype=np.float64)

    def _signal(self, slice_: BarSlice, k: int, outlook: Outlook) -> Signal:
        return Signal(
            slice_.ts_close_ns,
            self.name,
            self.spreads[k].name,
            SIDES[int(self._side[k])],
            outlook.z.item(k),
            self._ratio.item(k),
            outlook.expected_return_frac.item(k),
        )

    def _note(self, slice_: BarSlice, k: int, why: str) -> SpreadNoted:
        """Say the mispricing in its three units: points, money for a contract, and fraction of the fund."""
        points, future = self._mispricing_points().item(k), self._futures[k]
        figures = {
            "fair_points": self._fair_points().item(k),
            "mispricing_points": points,
            f"mispricing_{future.currency.lower()}": points * future.multiplier,
            "mispricing_frac": points / (self._ratio.item(k) * self._quotes.item((0, k))),
            "days_to_expiry": self._days.item(k),
        }
        return SpreadNoted(slice_.ts_close_ns, self.name, self.spreads[k].name, why, figures)


def _futures(spreads: tuple[Spread, ...], legs: IntArray, context: StrategyContext) -> tuple[Instrument, ...]:
    """Return the future of every spread, once it is known when it expires and in what it is quoted."""
    listed = context.instruments or tuple(Instrument(symbol) for symbol in context.symbols)
    for spread, y, x in zip(spreads, *legs.tolist(), strict=True):
        fund, future = listed[y], listed[x]
        if future.expiry_day < 0:
            raise ConfigError(
                "C220",
                f"{future.symbol!r} of pair {spread.name!r} has no expiry",
                f"strategy {context.name!r}, key pairs",
                "Its fair value depends on the days to run, and it must be left in time. "
                f"Give its last day: [instruments.{future.symbol}] expiry = 2026-03-20",
            )
        if fund.currency != future.currency:
            raise ConfigError(
                "C221",
                f"pair {spread.name!r} is quoted in {fund.currency} and {future.currency}",
                f"strategy {context.name!r}, key pairs",
                "The difference of two currencies is no mispricing. Take a fund in the future's currency.",
            )
    return tuple(listed[x] for x in legs[1].tolist())


def _chained(spreads: tuple[Spread, ...], futures: tuple[Instrument, ...]) -> tuple[Spread, ...]:
    """Put the contracts of each fund into a chain; of contracts that expire together each has its own."""
    beside: Counter[tuple[str, int]] = Counter()
    chained = []
    for spread, future in zip(spreads, futures, strict=True):
        place = spread.y, future.expiry_day
        chained.append(replace(spread, chain=f"{spread.y}-{beside[place]}"))
        beside[place] += 1
    return tuple(chained)


def _require_time_to_leave(futures: tuple[Instrument, ...], roll_days: int, context: StrategyContext) -> None:
    """Refuse a roll that is decided at the close of the last day: where a bar is a session, it fills later.

    Holidays are not known here; they need more days still.
    """
    if context.session_bars > 1 or context.session_min >= 1_440:
        return
    for future in futures:
        expiry = np.datetime64(future.expiry_day, "D")
        last = np.busday_offset(expiry, 0, roll="backward")
        needed = int((expiry - np.busday_offset(last, -1)).astype(np.int64))
        if roll_days < needed:
            raise ConfigError(
                "C223",
                f"roll_days = {roll_days} is too late for {future.symbol!r}, which expires on {expiry}",
                f"strategy {context.name!r}, key roll_days",
                "A bar is a session: what is decided at a close fills at the next session's open, and by "
                f"then it has expired. It needs {needed} at least; 5 allows for a holiday.",
            )
