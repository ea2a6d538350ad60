"""Announced mergers: long the target below what the deal pays, hedged share for share where that is shares.

A deal is entered when the spread to what it pays is worth its time and its risk: simple return per year above
``entry_annualised_frac``, and the desk's own probability above the break-even one by ``entry_edge``. It is
left when it has converged, before the day of closing, when it is over, or at the price a break would leave.
docs/maths/merger.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.errors import ConfigError
from engine.events import CLOSE, SIDES, BarSlice, BoolArray, FloatArray, IntArray, Signal, SpreadNoted
from engine.layout import ACCOUNT_CURRENCY
from engine.ports import Outlook, Spread, State, StrategyContext
from strategies.deals import (
    Deal,
    annualised_frac,
    breakeven_probability,
    compound_frac,
    day_number,
    read_deals,
    spread_frac,
)

_BP: Final = 1e4
#: Rows of the terms as they are known today, one column a deal.
_CASH: Final = 0
_RATIO: Final = 1
_BROKEN: Final = 2
_DOWNSIDE: Final = 3
_PROBABILITY: Final = 4
_CLOSE_DAY: Final = 5
_TERMS: Final = 6


class MergerOptions(BaseModel):
    """``[[strategy]] kind = "merger"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"deals": "deals.csv", "leave_days": 2}]},
    )

    deals: Path = Field(description="CSV of deals: a row for what became known of one, on its day.")
    entry_annualised_frac: float = Field(
        0.06,
        gt=0.0,
        description="Enter when the spread per year, simple, exceeds this; financing is not in it.",
    )
    entry_edge: float = Field(
        0.05, ge=0.0, lt=1.0, description="Enter when your probability exceeds the break-even one by this."
    )
    exit_frac: float = Field(0.002, ge=0.0, description="Leave when what is left of the spread is no more.")
    exit_edge: float | None = Field(
        None,
        gt=-1.0,
        lt=1.0,
        description="Leave when your probability less the break-even one is below this; absent: never.",
    )
    leave_days: int = Field(
        5, ge=1, le=90, description="Leave so many calendar days before the expected close; enter before."
    )

    @cached_property
    def table(self) -> tuple[Deal, ...]:
        """The deals, read once."""
        return read_deals(self.deals)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Targets and acquirers."""
        legs = [leg for deal in self.table for leg in (deal.target, deal.acquirer) if leg]
        return tuple(dict.fromkeys(legs))


class Merger:
    """The strategy; its spreads are the deals, in the order of the table.

    A deal in cash is an outright of its target. With stock the target is held against the acquirer, share for
    share: b = stock_ratio P_acquirer / P_target, of now, so that no share trades in between. In outlooks
    and signals ``z`` is the spread in basis points of the target's price, ``beta`` the stock ratio, ``alpha``
    what the deal pays and ``innovation`` the spread, both in USD; NaN for a deal that is not known yet.

    Parameters
    ----------
    options : MergerOptions
    context : StrategyContext

    Raises
    ------
    ConfigError
        C210 for a symbol outside the universe, C233 for one that is not quoted in USD; C230 to C232 of the
        table.
    """

    def __init__(self, options: MergerOptions, context: StrategyContext) -> None:
        self.name = context.name
        self._options = options
        self._deals = options.table
        self._legs = _legs(self._deals, context)
        self.spreads = tuple(
            Spread(context.name, deal.name, deal.target, deal.acquirer or None) for deal in self._deals
        )
        self._horizon_days = context.horizon_days
        n = len(self._deals)
        self._is_stock: BoolArray = np.array([bool(deal.acquirer) for deal in self._deals])
        self._terms: FloatArray = np.full((_TERMS, n), np.nan)
        self._row: IntArray = np.full(n, -1)
        self._is_open: BoolArray = np.zeros(n, dtype=np.bool_)
        self._session = -1
        self._prices: FloatArray = np.full((2, n), np.nan)
        self._is_seen: BoolArray = np.zeros(n, dtype=np.bool_)
        self._is_news: BoolArray = np.zeros(n, dtype=np.bool_)
        self._is_given_up: BoolArray = np.zeros(n, dtype=np.bool_)
        self._side: FloatArray = np.zeros(n)

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal | SpreadNoted]:
        """Take one bar; return what became known, and transitions, each with the figures behind it."""
        if slice_.session != self._session:
            self._learn(slice_.session)
        prices = slice_.bars[CLOSE][self._legs]
        self._is_seen = is_seen = np.isfinite(prices).all(axis=0)
        self._prices = np.where(is_seen, prices, self._prices)
        figures = self._figures()
        enters = is_seen & (self._side == 0.0) & self._is_wanted(figures)
        exits = self._exits(figures)
        leaves = is_seen & (self._side != 0.0) & np.logical_or.reduce([*exits.values()])
        is_told = is_seen & self._is_news
        if not (enters | leaves | is_told).any():
            return ()
        self._side = np.where(enters, 1.0, np.where(leaves, 0.0, self._side))
        self._is_given_up |= leaves & exits["at_break_price"]
        self._is_news &= ~is_told
        outlook = self.outlook()
        said: list[Signal | SpreadNoted] = []
        for k in np.flatnonzero(enters | leaves | is_told).tolist():
            if is_told[k]:
                said.append(self._note(slice_, k, f"deal_{self._status(k)}", figures))
            if enters[k] or leaves[k]:
                reasons = (
                    ["spread_open"] if enters[k] else [name for name, holds in exits.items() if holds[k]]
                )
                said += [self._signal(slice_, k, outlook), self._note(slice_, k, reasons[0], figures)]
        return said

    def outlook(self) -> Outlook:
        """Return the view after the last bar; a deal without a price is expected to earn nothing."""
        figures = self._figures()
        shares = self._terms[_RATIO]
        ratio = np.where(self._is_stock, shares * self._prices[1] / self._prices[0], 0.0)
        # What it pays by the desk's own probability, and of that the part that falls into the horizon.
        p, days = figures["probability"], figures["days_to_close"]
        worth = p * figures["deal_usd"] + (1.0 - p) * figures["break_usd"]
        reached = np.clip(self._horizon_days / np.maximum(days, 1.0), 0.0, 1.0)
        earned = (worth / self._prices[0] - 1.0) / (1.0 + ratio) * reached
        is_known = np.isfinite(earned) & (days > 0.0) & self._is_open
        return Outlook(
            side=self._side,
            z=np.where(self._is_seen, _BP * figures["spread_frac"], np.nan),
            beta=shares,
            alpha=figures["deal_usd"],
            innovation=np.where(self._is_seen, figures["spread_usd"], np.nan),
            innovation_var=np.full(len(self.spreads), np.nan),
            usd_ratio=ratio,
            expected_return_frac=np.where(is_known, earned, 0.0),
            frozen_usd_ratio=ratio,
        )

    def state(self) -> State:
        """Return sides, the last prices, and the session whose knowledge counts."""
        return {
            "session": self._session,
            "prices": self._prices.copy(),
            "is_seen": self._is_seen.copy(),
            "is_news": self._is_news.copy(),
            "is_given_up": self._is_given_up.copy(),
            "side": self._side.copy(),
        }

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._learn(int(state["session"]))
        self._prices = state["prices"].copy()
        self._is_seen = state["is_seen"].copy()
        self._is_news = state["is_news"].copy()
        self._is_given_up = state["is_given_up"].copy()
        self._side = state["side"].copy()

    def _learn(self, session: int) -> None:
        """Take the newest row of each deal that was known before a session."""
        self._session = session
        for k, deal in enumerate(self._deals):
            row = int(np.searchsorted(deal.known_days, session)) - 1
            if row == self._row[k]:
                continue
            self._row[k] = row
            self._is_open[k] = row >= 0 and deal.rows[row].status == "open"
            self._terms[:, k] = _terms(deal, row)
            self._is_news[k] = True
            self._is_given_up[k] = False  # the desk has judged anew

    def _figures(self) -> dict[str, FloatArray]:
        """Return what notes say of every deal, each of shape (n_deals,)."""
        target, acquirer = self._prices
        terms = self._terms
        shares_usd = np.where(self._is_stock, terms[_RATIO] * acquirer, 0.0)
        deal_usd = terms[_CASH] + shares_usd
        break_usd = np.where(np.isnan(terms[_BROKEN]), target * (1.0 - terms[_DOWNSIDE]), terms[_BROKEN])
        days = terms[_CLOSE_DAY] - self._session
        spread = spread_frac(target, deal_usd)
        with np.errstate(divide="ignore", invalid="ignore"):
            breakeven = breakeven_probability(target, deal_usd, break_usd)
        return {
            "price_usd": target,
            "deal_usd": deal_usd,
            "break_usd": break_usd,
            "spread_usd": deal_usd - target,
            "spread_frac": spread,
            "annualised_frac": annualised_frac(spread, days),
            "compound_frac": compound_frac(spread, days),
            "breakeven_probability": breakeven,
            "probability": terms[_PROBABILITY],
            "days_to_close": days,
        }

    def _is_wanted(self, figures: dict[str, FloatArray]) -> BoolArray:
        """Whether each deal may be entered; a price not between break and deal says nothing of odds."""
        breakeven = figures["breakeven_probability"]
        return np.asarray(
            (breakeven > 0.0)
            & (breakeven < 1.0)
            & (figures["days_to_close"] > self._options.leave_days)
            & (figures["spread_frac"] > self._options.exit_frac)
            & (figures["annualised_frac"] > self._options.entry_annualised_frac)
            & (figures["probability"] - breakeven > self._options.entry_edge)
            & self._is_open
            & ~self._is_given_up
        )

    def _exits(self, figures: dict[str, FloatArray]) -> dict[str, BoolArray]:
        """Return the reasons to leave and the deals they apply to, the strongest first."""
        options = self._options
        edge = figures["probability"] - figures["breakeven_probability"]
        return {
            "over": ~self._is_open,
            "closing": figures["days_to_close"] <= options.leave_days,
            "converged": figures["spread_frac"] <= options.exit_frac,
            "at_break_price": figures["price_usd"] <= figures["break_usd"],
            "no_edge": edge < (-np.inf if options.exit_edge is None else options.exit_edge),
        }

    def _status(self, k: int) -> str:
        return self._deals[k].rows[int(self._row[k])].status

    def _note(self, slice_: BarSlice, k: int, note: str, figures: dict[str, FloatArray]) -> SpreadNoted:
        values = {name: figure.item(k) for name, figure in figures.items()}
        return SpreadNoted(slice_.ts_close_ns, self.name, self.spreads[k].name, note, values)

    def _signal(self, slice_: BarSlice, k: int, outlook: Outlook) -> Signal:
        return Signal(
            slice_.ts_close_ns,
            self.name,
            self.spreads[k].name,
            SIDES[int(self._side[k])],
            outlook.z.item(k),
            outlook.beta.item(k),
            outlook.expected_return_frac.item(k),
        )


def _terms(deal: Deal, row: int) -> FloatArray:
    """Return the last terms up to a row, shape (_TERMS,); NaN before the first."""
    known = next((one for one in reversed(deal.rows[: row + 1]) if one.status == "open"), None)
    if known is None or known.expected_close is None:
        return np.full(_TERMS, np.nan)
    given = (known.break_price_usd, known.downside_frac, known.probability)
    numbers = [np.nan if value is None else value for value in given]
    return np.array([known.cash_usd, known.stock_ratio, *numbers, day_number(known.expected_close)])


def _legs(deals: tuple[Deal, ...], context: StrategyContext) -> IntArray:
    """Return the columns of target and acquirer, shape (2, n_deals); of a deal in cash the target twice."""
    column = {symbol: i for i, symbol in enumerate(context.symbols)}
    foreign = {one.symbol: one.currency for one in context.instruments if one.currency != ACCOUNT_CURRENCY}
    for deal in deals:
        for symbol in filter(None, (deal.target, deal.acquirer)):
            where = f"strategy {context.name!r}, key deals"
            if symbol not in column:
                raise ConfigError(
                    "C210",
                    f"{symbol!r} of deal {deal.name!r} is not in the universe",
                    where,
                    "A deal needs bars of both symbols. Add it to [universe] symbols, or drop the deal.",
                )
            if symbol in foreign:
                raise ConfigError(
                    "C233",
                    f"{symbol!r} of deal {deal.name!r} is quoted in {foreign[symbol]}",
                    where,
                    "cash_usd and break_price_usd are compared with its quotes, which must be in USD then.",
                )
    pairs = [(column[deal.target], column[deal.acquirer or deal.target]) for deal in deals]
    return np.array(pairs, dtype=np.int64).T.copy()
