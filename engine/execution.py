"""Paper fills: what was approved at the close of t trades at the open of t+1, or lapses.

The price of a fill is the open; half spread, fee and square-root impact are charged beside it as cost. A
basket fills at one common fraction, that of its tightest leg, so that participation never breaks a hedge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from engine import legs
from engine.book import Book
from engine.events import (
    OPEN,
    VOLUME,
    BarSlice,
    BoolArray,
    Filled,
    FloatArray,
    IntArray,
    Nanos,
    TargetApproved,
    TargetRefused,
    TradingState,
)
from engine.kernel import kernel
from engine.oversight import Change, Gate, Market

#: A scale that the gate grants is tried again, lots and volumes included; True for the first trial.
_ROUNDS: Final = (True, False, False, False)
#: Why something lapsed at the fill, in the order in which ``fillable`` says it.
_LAPSED: Final = ("no_open", "participation", "lot")
#: Of a lot: what a step may differ from whole lots, for sums of decimal lots are not exact.
_LOT_TOLERANCE_FRAC: Final = 1e-9


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
def fillable(
    held: FloatArray,
    target: FloatArray,
    leg_symbol: IntArray,
    leg_sleeve: IntArray,
    n_sleeves: int,
    bars: FloatArray,
    participation_max_frac: float,
    lot: FloatArray,
    by_sleeve: bool,
) -> tuple[FloatArray, BoolArray]:
    """Cut a target to what the opens, the volumes and the lots of one minute allow.

    A sleeve that wants to trade but lacks the open of a leg fills no leg at all. If net trades do not fit, a
    basket is cut by one fraction, that of its tightest leg, so that participation never breaks a hedge.
    Sleeves that are baskets of their own share a symbol's room in proportion to what they want in the same
    direction: nothing that nets away today may be counted on, since the other side may be cut as well.

    Parameters
    ----------
    held, target : FloatArray, shape (n_legs,)
        Shares.
    leg_symbol, leg_sleeve : IntArray, shape (n_legs,)
    n_sleeves : int
    bars : FloatArray, shape (5, n_symbols)
        The minute.
    participation_max_frac : float
    lot : FloatArray, shape (n_symbols,)
        See ``round_to_lots``.
    by_sleeve : bool
        Each sleeve is a basket; otherwise all are one.

    Returns
    -------
    target : FloatArray, shape (n_legs,)
    lapsed : BoolArray, shape (3,)
        Whether anything lapsed for want of an open, of volume, of a lot: in the order of ``_LAPSED``.
    """
    lacks = np.zeros(n_sleeves, dtype=np.bool_)
    wants = np.zeros(n_sleeves, dtype=np.bool_)
    for leg in range(held.size):
        lacks[leg_sleeve[leg]] |= np.isnan(bars[OPEN, leg_symbol[leg]])
        wants[leg_sleeve[leg]] |= target[leg] != held[leg]
    open_target = target.copy()
    for leg in range(held.size):
        if lacks[leg_sleeve[leg]]:
            open_target[leg] = held[leg]
    room = participation_max_frac * bars[VOLUME]
    lapsed = np.array([np.any(lacks & wants), False, False])
    reached, lapsed[1] = cut(held, open_target, leg_symbol, leg_sleeve, n_sleeves, room, by_sleeve, True)
    if lot.max() > 0.0:
        lapsed[2] = round_to_lots(held, reached, leg_symbol, leg_sleeve, n_sleeves, lot)
        flow = flow_of(held, reached, leg_symbol, room.size)
        if np.any(np.abs(flow[0] - flow[1]) > room):  # what was to net has been lost to a lot
            reached, lapsed[1] = cut(held, open_target, leg_symbol, leg_sleeve, n_sleeves, room, True, False)
            lapsed[2] |= round_to_lots(held, reached, leg_symbol, leg_sleeve, n_sleeves, lot)
    return reached, lapsed


@kernel
def flow_of(held: FloatArray, target: FloatArray, leg_symbol: IntArray, n_symbols: int) -> FloatArray:
    """Sum what the legs buy (row 0) and sell (row 1), by symbol: shape (2, n_symbols)."""
    flow = np.zeros((2, n_symbols))
    for leg in range(held.size):
        step = target[leg] - held[leg]
        flow[0 if step > 0.0 else 1, leg_symbol[leg]] += abs(step)
    return flow


@kernel
def cut(
    held: FloatArray,
    target: FloatArray,
    leg_symbol: IntArray,
    leg_sleeve: IntArray,
    n_sleeves: int,
    room: FloatArray,
    by_sleeve: bool,
    may_net: bool,
) -> tuple[FloatArray, bool]:
    """Go as far towards a target as the room of its symbols allows; return that, and whether it is less.

    With ``may_net`` nothing is cut where the net trades fit.
    """
    flow = flow_of(held, target, leg_symbol, room.size)
    fraction = np.ones(n_sleeves)
    least = 1.0
    for leg in range(held.size):
        symbol = leg_symbol[leg]
        wanted = abs(flow[0, symbol] - flow[1, symbol]) if may_net else max(flow[0, symbol], flow[1, symbol])
        if target[leg] != held[leg] and wanted > room[symbol]:
            least = min(least, room[symbol] / wanted)
    if least == 1.0:
        return target.copy(), False
    if not by_sleeve:
        fraction[:] = least
    for leg in range(held.size):
        step = target[leg] - held[leg]
        wanted = flow[0 if step > 0.0 else 1, leg_symbol[leg]]
        if by_sleeve and step != 0.0 and wanted > room[leg_symbol[leg]]:
            sleeve = leg_sleeve[leg]
            fraction[sleeve] = min(fraction[sleeve], room[leg_symbol[leg]] / wanted)
    reached = held.copy()
    for leg in range(held.size):
        share = fraction[leg_sleeve[leg]]
        if target[leg] != held[leg]:
            reached[leg] = target[leg] if share == 1.0 else held[leg] + (target[leg] - held[leg]) * share
    return reached, True


@kernel
def round_to_lots(
    held: FloatArray,
    reached: FloatArray,
    leg_symbol: IntArray,
    leg_sleeve: IntArray,
    n_sleeves: int,
    lot: FloatArray,
) -> bool:
    """Round the steps of ``reached`` to whole lots, in place; whether a sleeve was left as it is.

    The leg of a sleeve that loses the largest part of its step is rounded towards none. The others go the
    same part of their way, to the nearest lot (never beyond what was wanted). So the hedge is off by less
    than one lot of the finer leg, and half a lot of the coarser, at their USD. A sleeve of which a leg would
    not trade does not trade at all, and one that goes flat does so in full: odd lots could never be left.
    """
    fraction = np.ones(n_sleeves)
    goes_flat = np.ones(n_sleeves, dtype=np.bool_)
    for leg in range(held.size):
        goes_flat[leg_sleeve[leg]] &= reached[leg] == 0.0
    for leg in range(held.size):
        size, sleeve = lot[leg_symbol[leg]], leg_sleeve[leg]
        if size > 0.0 and not goes_flat[sleeve]:
            # 0.3 / 0.1 is not 3: a step of whole lots but for its last bits is one of whole lots.
            lots = abs(reached[leg] - held[leg]) / size
            whole = np.rint(lots) if abs(lots - np.rint(lots)) <= _LOT_TOLERANCE_FRAC else np.trunc(lots)
            if whole == 0.0 and lots <= _LOT_TOLERANCE_FRAC:
                reached[leg] = held[leg]
            elif lots - whole > _LOT_TOLERANCE_FRAC:
                fraction[sleeve] = min(fraction[sleeve], whole / lots)
    is_lost = False
    for leg in range(held.size):
        size, share = lot[leg_symbol[leg]], fraction[leg_sleeve[leg]]
        if share < 1.0:
            step = (reached[leg] - held[leg]) * share
            reached[leg] = held[leg] + (np.rint(step / size) * size if size > 0.0 else step)
            is_lost |= share == 0.0
    return is_lost


@kernel
def settle(
    held: FloatArray,
    target: FloatArray,
    leg_symbol: IntArray,
    bars: FloatArray,
    linear_bps: float,
    impact_bps: float,
) -> FloatArray:
    """Net the trades of a minute by symbol, and price them.

    Cost of a symbol: |q| p (linear + impact sqrt(|q| / volume)) / 10,000, with q the net shares.

    Parameters
    ----------
    held, target : FloatArray, shape (n_legs,)
        Shares before and after.
    leg_symbol : IntArray, shape (n_legs,)
    bars : FloatArray, shape (5, n_symbols)
    linear_bps, impact_bps : float

    Returns
    -------
    FloatArray, shape (n_traded, 4)
        A row for each symbol that trades, in universe order: symbol, net shares, price USD, cost USD.
    """
    n = bars.shape[1]
    net = np.zeros(n)
    for leg in range(held.size):
        net[leg_symbol[leg]] += target[leg] - held[leg]
    trades = np.empty((n, 4))
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
    return trades[:count]


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
        Each sleeve is a basket; otherwise the whole rebalance is one.
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
    opens = slice_.bars[OPEN]
    prices = np.where(np.isnan(opens), book.price_usd, opens)
    target = np.array(approved.leg_quantity)
    why = np.zeros(len(_LAPSED), dtype=np.bool_)
    for is_first in _ROUNDS:
        target, lapsed = fillable(
            held,
            target,
            layout.leg_symbol,
            layout.leg_sleeve,
            layout.n_sleeves,
            slice_.bars,
            costs.participation_max_frac,
            book.lot,
            by_sleeve or not is_first,
        )
        why |= lapsed
        if legs.is_same(target, held):
            return _refusals(ts_open_ns, why)
        # The gate has the last word, on exactly what would be filled: cutting one leg may have raised VaR.
        change = Change(layout, held, target, prices, market)
        verdict = gate.recheck(change, trading_state, approved.is_flatten)
        if verdict.reason:
            return _refusals(ts_open_ns, why, verdict.reason)
        if (verdict.scale == 1.0).all():
            return [*_trade(target, slice_, book, costs), *_refusals(ts_open_ns, why)]
        target = legs.part_way(held, target, verdict.scale)
    return _refusals(ts_open_ns, why, "unsettled")


def _refusals(ts_open_ns: Nanos, why: BoolArray, *further: str) -> list[TargetRefused]:
    """Say what lapsed, in any round, and what else kept a target from trading."""
    lapsed = [reason for reason, is_so in zip(_LAPSED, why.tolist(), strict=True) if is_so]
    return [TargetRefused(ts_open_ns, reason) for reason in (*lapsed, *further)]


def _trade(target: FloatArray, slice_: BarSlice, book: Book, costs: Costs) -> list[Filled]:
    """Book the net trade of every symbol and report it."""
    trades = settle(
        book.leg_quantity, target, book.layout.leg_symbol, slice_.bars, costs.linear_bps, costs.impact_bps
    ).tolist()
    book.trade(target, trades, slice_.bars[OPEN])
    ts_open_ns, symbols = book.opening_ns(slice_), book.layout.symbols
    return [Filled(ts_open_ns, symbols[int(i)], shares, price, cost) for i, shares, price, cost in trades]
