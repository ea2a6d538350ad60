"""Paper fills: what was approved at the close of t trades at the open of t+1, or lapses.

The price of a fill is the open; half spread, fee and square-root impact are charged beside it as cost. A
basket fills at one common fraction, that of its tightest leg, so that participation never breaks a hedge.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from engine.book import Book
from engine.events import (
    MINUTE_NS,
    OPEN,
    VOLUME,
    BarSlice,
    BoolArray,
    Filled,
    FloatArray,
    TargetApproved,
    TargetRefused,
    TradingState,
)
from engine.oversight import Gate
from engine.ports import Layout, Market


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
    lot : float
        Shares trade in multiples of it; 0 for fractional shares.
    """

    half_spread_bps: float = 1.0
    fee_bps: float = 0.2
    impact_bps: float = 10.0
    participation_max_frac: float = 0.10
    lot: float = 0.0

    def of_fill(self, quantity: FloatArray, price_usd: FloatArray, volume: FloatArray) -> FloatArray:
        """Cost in USD of trading ``quantity`` shares at ``price_usd`` in bars of ``volume`` shares.

        Examples
        --------
        >>> costs = Costs(half_spread_bps=1.0, fee_bps=0.2, impact_bps=10.0)
        >>> one = np.ones(1)
        >>> float(costs.of_fill(-100 * one, 50 * one, 10_000 * one).round(6)[0])
        1.1
        """
        shares = np.abs(quantity)
        share_of_bar = np.divide(shares, volume, out=np.zeros_like(shares), where=shares > 0.0)
        bps = self.half_spread_bps + self.fee_bps + self.impact_bps * np.sqrt(share_of_bar)
        return shares * np.where(shares > 0.0, price_usd, 0.0) * bps / 1e4

    def expected_frac(self, price_usd: FloatArray, volume_mean: FloatArray, traded_usd: float) -> FloatArray:
        """One-way cost per USD by symbol, for an order of ``traded_usd`` capped by participation."""
        volume_usd = np.nan_to_num(price_usd * volume_mean, nan=0.0)
        share_of_bar = np.full_like(volume_usd, self.participation_max_frac)
        np.divide(traded_usd, volume_usd, out=share_of_bar, where=volume_usd > 0.0)
        np.minimum(share_of_bar, self.participation_max_frac, out=share_of_bar)
        return (self.half_spread_bps + self.fee_bps + self.impact_bps * np.sqrt(share_of_bar)) / 1e4


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
    layout = book.layout
    opens = slice_.bars[OPEN]
    ts_open_ns = slice_.ts_close_ns - MINUTE_NS
    held = book.leg_quantity
    target = np.asarray(approved.leg_quantity)
    wanted = target - held
    closed_sleeve = _sleeves_without_open(layout, wanted, opens)
    target = np.where(closed_sleeve[layout.leg_sleeve], held, target)
    lapsed = [TargetRefused(ts_open_ns, "no_open")] if closed_sleeve.any() else []
    if np.array_equal(target, held):
        return lapsed

    fraction = _fillable_fraction(layout, target - held, slice_.bars[VOLUME], costs, by_sleeve)
    if (fraction < 1.0).any():
        lapsed.append(TargetRefused(ts_open_ns, "participation"))
    target = _part_way(held, target, fraction)
    # The gate has the last word, on what can really be filled: cutting one leg may have raised VaR.
    prices = np.where(np.isnan(opens), book.price_usd, opens)
    verdict = gate.recheck(layout, held, target, prices, market, trading_state, approved.is_flatten)
    if verdict.reason:
        return [*lapsed, TargetRefused(ts_open_ns, verdict.reason)]
    target = _part_way(held, target, verdict.scale)
    if costs.lot > 0.0:
        target = held + np.trunc((target - held) / costs.lot) * costs.lot
    return [*_trade(target, slice_, book, costs), *lapsed]


def _part_way(held: FloatArray, target: FloatArray, fraction: FloatArray) -> FloatArray:
    """Go a fraction of the way; all of it is the target itself, which held + (target - held) may miss."""
    return np.where(fraction == 1.0, target, held + (target - held) * fraction)


def _sleeves_without_open(layout: Layout, wanted: FloatArray, opens: FloatArray) -> BoolArray:
    """Sleeves that want to trade but lack the open of a leg: they fill no leg at all."""
    no_open = np.isnan(opens)[layout.leg_symbol]
    lacks = np.bincount(layout.leg_sleeve, weights=no_open, minlength=layout.n_sleeves) > 0
    wants = np.bincount(layout.leg_sleeve, weights=wanted != 0.0, minlength=layout.n_sleeves) > 0
    return np.asarray(lacks & wants)


def _fillable_fraction(
    layout: Layout, delta: FloatArray, volume: FloatArray, costs: Costs, by_sleeve: bool
) -> FloatArray:
    """Fraction of every leg that participation allows: the least of its basket."""
    n = len(layout.symbols)
    net = np.abs(layout.net(delta))
    room = costs.participation_max_frac * np.nan_to_num(volume, nan=0.0)
    by_symbol = np.minimum(1.0, np.divide(room, net, out=np.ones(n), where=net > 0.0))
    by_leg = np.where(delta != 0.0, by_symbol[layout.leg_symbol], 1.0)
    if not by_sleeve:
        return np.full(len(delta), by_leg.min(initial=1.0))
    least = np.ones(layout.n_sleeves)
    np.minimum.at(least, layout.leg_sleeve, by_leg)
    return np.asarray(least[layout.leg_sleeve])


def _trade(target: FloatArray, slice_: BarSlice, book: Book, costs: Costs) -> list[Filled]:
    """Book the net trade of every symbol and report it."""
    layout = book.layout
    opens = slice_.bars[OPEN]
    net = layout.net(target - book.leg_quantity)
    traded = np.flatnonzero(net)
    cost_usd = costs.of_fill(net, opens, slice_.bars[VOLUME])
    traded_usd = float((net[traded] * opens[traded]).sum())
    book.trade(target, traded_usd, float(cost_usd[traded].sum()))
    ts_open_ns = slice_.ts_close_ns - MINUTE_NS
    return [
        Filled(ts_open_ns, layout.symbols[i], float(net[i]), float(opens[i]), float(cost_usd[i]))
        for i in traded.tolist()
    ]
