"""Paper fills: what was approved at the close of t trades at the open of t+1, or lapses.

The price of a fill is the open; half spread, fee and square-root impact are charged beside it as cost. A
basket fills at one common fraction, that of its tightest leg, so that participation never breaks a hedge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np

from engine import legs
from engine.book import Book
from engine.events import (
    OPEN,
    VOLUME,
    BarSlice,
    Filled,
    FloatArray,
    IntArray,
    Nanos,
    TargetApproved,
    TargetRefused,
    TradingState,
)
from engine.kernel import kernel
from engine.oversight import Change, Gate, Market, Verdict
from engine.sizing import NO_LOT, NO_OPEN, NO_VOLUME, fillable, step_out

#: A scale that the gate grants is tried again, lots and volumes included.
_ROUNDS: Final = 4
#: What lapsed, by the bits of ``fillable``.
_LAPSED: Final = {NO_OPEN: "no_open", NO_VOLUME: "participation", NO_LOT: "lot"}

#: Symbol, sleeve and basket of every leg, how many sleeves, the bars, the share of them, the lots.
_Minute: TypeAlias = tuple[IntArray, IntArray, IntArray, int, FloatArray, float, FloatArray]


class Costs(msgspec.Struct, frozen=True):
    """What trading costs, per USD traded, and how much of a bar may be ours.

    Parameters
    ----------
    half_spread_bps, fee_bps : float
        Charged on every USD traded.
    impact_bps : float
        Times the square root of traded shares over the bar's volume.
    participation_max_frac : float
        Most of a bar's volume that may be traded.
    """

    half_spread_bps: float = 1.0
    fee_bps: float = 0.2
    impact_bps: float = 10.0
    participation_max_frac: float = 0.10

    @property
    def linear_bps(self) -> float:
        """What every USD traded costs, whatever the size."""
        return self.half_spread_bps + self.fee_bps


@kernel
def settle(
    held: FloatArray,
    target: FloatArray,
    leg_symbol: IntArray,
    bars: FloatArray,
    linear_bps: float,
    impact_bps: float,
    trades: FloatArray,
) -> int:
    """Net the trades of a minute by symbol, and price them.

    Cost of a symbol: |q| p (linear + impact sqrt(|q| / volume)) / 10,000, with q the net shares.

    Parameters
    ----------
    held, target : FloatArray, shape (n_legs,)
        Shares before and after.
    leg_symbol : IntArray, shape (n_legs,)
    bars : FloatArray, shape (5, n_symbols)
    linear_bps, impact_bps : float
    trades : FloatArray, shape (n_symbols, 4)
        Written: a row for each symbol that trades, in universe order: its index, net shares, price USD,
        cost USD.

    Returns
    -------
    int
        How many trade.
    """
    n = bars.shape[1]
    net = np.zeros(n)
    for leg in range(held.size):
        net[leg_symbol[leg]] += target[leg] - held[leg]
    count = 0
    for i in range(n):
        shares = abs(net[i])
        if shares > 0.0:
            bps = linear_bps + impact_bps * np.sqrt(shares / bars[VOLUME, i])
            trades[count, 0] = i
            trades[count, 1] = net[i]
            trades[count, 2] = bars[OPEN, i]
            trades[count, 3] = shares * bars[OPEN, i] * bps / 1e4
            count += 1
    return count


@kernel
def opening_prices(open_usd: FloatArray, price_usd: FloatArray, out: FloatArray) -> None:
    """Write the opens of a minute, or the last prices where there is none; all of shape (n_symbols,)."""
    for i in range(out.size):
        out[i] = price_usd[i] if np.isnan(open_usd[i]) else open_usd[i]


def fill(
    approved: TargetApproved,
    by_sleeve: bool,
    slice_: BarSlice,
    book: Book,
    gate: Gate,
    market: Market,
    trading_state: TradingState,
    costs: Costs,
) -> Sequence[Filled | TargetRefused]:
    """Trade an approved target at the opens of ``slice_``; the book is changed in place.

    Parameters
    ----------
    approved : TargetApproved
        The permission; made by the gate alone.
    by_sleeve : bool
        Each sleeve (of a chain, all) is a basket; otherwise the whole rebalance is one.
    slice_ : BarSlice
        The first slice after the decision.
    book : Book
    gate : Gate
        Tests prospective VaR once more, at the prices of the fill.
    market, trading_state
        As they are now; a halt since the approval refuses everything.
    costs : Costs

    Returns
    -------
    sequence of Filled or TargetRefused
        Fills by symbol in universe order, then what lapsed and why.
    """
    layout, held = book.layout, book.leg_quantity
    ts_open_ns = book.opening_ns(slice_)
    prices = np.empty(len(layout.symbols))
    opening_prices(slice_.bars[OPEN], book.price_usd, prices)
    at = layout.leg_symbol, layout.leg_sleeve, book.leg_basket, layout.n_sleeves
    minute: _Minute = (*at, slice_.bars, costs.participation_max_frac, book.lot)

    def judge(reached: FloatArray) -> Verdict:
        change = Change(layout, held, reached, prices, market)
        return gate.recheck(change, trading_state, approved.is_flatten)

    wanted, target = np.array(approved.leg_quantity), np.empty_like(held)
    why, is_apart, further = 0, by_sleeve, ["unsettled"]
    for _ in range(_ROUNDS):
        why |= fillable(held, wanted, *minute, is_apart, target)
        if legs.is_same(target, held):
            further = []
            break
        # The gate has the last word, on exactly what would be filled: cutting one leg may have raised VaR.
        verdict = judge(target)
        if verdict.reason:
            further = [verdict.reason]
            break
        if verdict.is_whole:
            return [*_trade(ts_open_ns, target, slice_, book, costs), *_refusals(ts_open_ns, why)]
        # What is granted unevenly is one basket no longer.
        is_apart |= not legs.is_all(verdict.scale, verdict.scale[0])
        wanted = legs.part_way(held, target, verdict.scale)
    ways = [(True, False), (True, True)] if by_sleeve and why & NO_LOT else []
    ways += [(False, False)] if approved.is_flatten else []
    step = _least_risky(judge, [_step_out(book, approved, minute, *way) for way in ways])
    if step is None:
        return _refusals(ts_open_ns, why, *further)
    return [*_trade(ts_open_ns, step, slice_, book, costs), *_refusals(ts_open_ns, why)]


def _step_out(
    book: Book, approved: TargetApproved, minute: _Minute, by_sleeve: bool, is_ahead: bool
) -> FloatArray:
    """Return the book after a step of an exit that lets a leg go ahead of another; see ``step_out``."""
    reached = np.empty_like(book.leg_quantity)
    step_out(book.leg_quantity, np.array(approved.leg_quantity), *minute, by_sleeve, is_ahead, reached)
    return reached


def _least_risky(judge: Callable[[FloatArray], Verdict], steps: list[FloatArray]) -> FloatArray | None:
    """Of what the gate grants in full, take what leaves the least VaR; where it is unknown, the first."""
    best, least_usd = None, np.inf
    for step in steps:
        verdict = judge(step)
        is_granted = not verdict.reason and verdict.is_whole
        if is_granted and (best is None or verdict.var_upper_usd < least_usd):
            best, least_usd = step, verdict.var_upper_usd
    return best


def _refusals(ts_open_ns: Nanos, why: int, *further: str) -> list[TargetRefused]:
    """Say what lapsed, in any round, and what else kept a target from trading."""
    lapsed = [reason for bit, reason in _LAPSED.items() if why & bit] if why else []
    return [TargetRefused(ts_open_ns, reason) for reason in (*lapsed, *further)]


def _trade(ts_open_ns: Nanos, target: FloatArray, slice_: BarSlice, book: Book, costs: Costs) -> list[Filled]:
    """Book the net trade of every symbol and report it."""
    layout = book.layout
    trades = np.empty((len(layout.symbols), 4))
    n_traded = settle(
        book.leg_quantity,
        target,
        layout.leg_symbol,
        slice_.bars,
        costs.linear_bps,
        costs.impact_bps,
        trades,
    )
    trades = trades[:n_traded]
    book.trade(target, trades, slice_.bars[OPEN])
    symbols = layout.symbols
    return [
        Filled(ts_open_ns, symbols[int(i)], shares, price, cost) for i, shares, price, cost in trades.tolist()
    ]
