"""Between weights and shares: what an allocator is told, what its answer means, and what of it may trade."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.events import OPEN, VOLUME, FloatArray, IntArray
from engine.kernel import kernel

#: Bits of what ``fillable`` returns: something lapsed for want of an open, of volume, of a lot.
NO_OPEN: Final = 1
NO_VOLUME: Final = 2
NO_LOT: Final = 4
#: Of a lot: what a step may differ from whole lots, for sums of decimal lots are not exact.
LOT_TOLERANCE_FRAC: Final = 1e-9
#: Of a symbol's room: what net trades that were cut to it may differ from it.
ROOM_TOLERANCE_FRAC: Final = 1e-9


@kernel
def trading_terms(
    price_usd: FloatArray,
    volume_mean: FloatArray,
    linear_bps: float,
    impact_bps: float,
    participation_max_frac: float,
    typical_usd: float,
    cost_frac: FloatArray,
    volume_usd: FloatArray,
) -> None:
    """Expect a one-way cost per USD, and a traded value of the next bar, by symbol.

    The impact of an order grows with its size; the optimiser's program is linear in size, so impact is taken
    at a typical order, capped by participation.

    Parameters
    ----------
    price_usd, volume_mean : FloatArray, shape (n_symbols,)
        Last good closes, and shares a minute; NaN where unknown.
    linear_bps, impact_bps, participation_max_frac : float
        Of ``Costs``.
    typical_usd : float
        Size of a typical order.
    cost_frac, volume_usd : FloatArray, shape (n_symbols,)
        Written.
    """
    for i in range(price_usd.size):
        value_usd = price_usd[i] * volume_mean[i]
        share_of_bar = participation_max_frac
        volume_usd[i] = 0.0
        if value_usd > 0.0:
            volume_usd[i] = value_usd
            share_of_bar = min(share_of_bar, typical_usd / value_usd)
        cost_frac[i] = (linear_bps + impact_bps * np.sqrt(share_of_bar)) / 1e4


@kernel
def held_frac(
    leg_quantity: FloatArray, leg_symbol: IntArray, price_usd: FloatArray, equity_usd: float, out: FloatArray
) -> None:
    """Write weights held now, fraction of equity by leg, shape (n_legs,); 0 where there is no price."""
    for leg in range(leg_quantity.size):
        price = price_usd[leg_symbol[leg]]
        out[leg] = leg_quantity[leg] * price / equity_usd if price > 0.0 else 0.0


@kernel
def sized(
    frac: FloatArray,
    leg_quantity: FloatArray,
    leg_symbol: IntArray,
    price_usd: FloatArray,
    equity_usd: float,
    quantity: FloatArray,
) -> tuple[float, float, float]:
    """Turn target weights into shares; a leg whose weight stands keeps its shares to the last bit.

    Parameters
    ----------
    frac : FloatArray, shape (n_legs,)
        Weights wanted.
    leg_quantity : FloatArray, shape (n_legs,)
        Shares held now.
    leg_symbol : IntArray, shape (n_legs,)
    price_usd : FloatArray, shape (n_symbols,)
    equity_usd : float
    quantity : FloatArray, shape (n_legs,)
        Written: shares wanted.

    Returns
    -------
    gross_frac, net_frac, turnover_frac : float
        Of the target, by net symbol weights.
    """
    held = np.empty(frac.size)
    held_frac(leg_quantity, leg_symbol, price_usd, equity_usd, held)
    quantity[:] = leg_quantity
    net = np.zeros(price_usd.size)
    change = np.zeros(price_usd.size)
    for leg in range(frac.size):
        symbol = leg_symbol[leg]
        net[symbol] += frac[leg]
        change[symbol] += frac[leg] - held[leg]
        if frac[leg] != held[leg] and price_usd[symbol] > 0.0:
            quantity[leg] = frac[leg] * equity_usd / price_usd[symbol]
    return np.abs(net).sum(), net.sum(), np.abs(change).sum()


@kernel
def fillable(  # noqa: PLR0913, PLR0917 - arrays, since a kernel knows no structs
    held: FloatArray,
    target: FloatArray,
    leg_symbol: IntArray,
    leg_sleeve: IntArray,
    leg_basket: IntArray,
    n_sleeves: int,
    bars: FloatArray,
    participation_max_frac: float,
    lot: FloatArray,
    by_sleeve: bool,
    reached: FloatArray,
) -> int:
    """Cut a target to what the opens, the volumes and the lots of one minute allow.

    A basket of which a sleeve wants to trade but lacks the open of a leg fills no leg at all. If net trades
    do not fit, a basket is cut by one fraction, that of its tightest leg, so that participation never breaks
    a hedge. Several baskets share a symbol's room in proportion to what they want in the same direction:
    nothing that nets away today may be counted on, since the other side may be cut as well. Nor may it be
    once a lot has taken some of it away.

    Parameters
    ----------
    held, target : FloatArray, shape (n_legs,)
        Shares.
    leg_symbol, leg_sleeve, leg_basket : IntArray, shape (n_legs,)
        See ``Layout``.
    n_sleeves : int
    bars : FloatArray, shape (5, n_symbols)
        The minute.
    participation_max_frac : float
    lot : FloatArray, shape (n_symbols,)
        See ``round_to_lots``.
    by_sleeve : bool
        Each sleeve is a basket, or each chain of them; otherwise all are one.
    reached : FloatArray, shape (n_legs,)
        Written: what is left of the target.

    Returns
    -------
    int
        What lapsed: the sum of NO_OPEN, NO_VOLUME and NO_LOT.
    """
    wants = np.zeros(n_sleeves, dtype=np.bool_)
    for leg in range(held.size):
        wants[leg_sleeve[leg]] |= target[leg] != held[leg]
    lacks = np.zeros(n_sleeves, dtype=np.bool_)
    for leg in range(held.size):
        if wants[leg_sleeve[leg]]:
            lacks[leg_basket[leg]] |= np.isnan(bars[OPEN, leg_symbol[leg]])
    open_target = target.copy()
    for leg in range(held.size):
        if lacks[leg_basket[leg]]:
            open_target[leg] = held[leg]
    room = participation_max_frac * bars[VOLUME]
    lapsed = NO_OPEN if lacks.any() else 0
    is_cut = cut(held, open_target, leg_symbol, leg_basket, n_sleeves, room, by_sleeve, True, reached)
    if lot.max() > 0.0:
        net = net_trades(held, reached, leg_symbol, room.size)
        if round_to_lots(held, reached, leg_symbol, leg_sleeve, n_sleeves, lot):
            lapsed |= NO_LOT
        grown = net_trades(held, reached, leg_symbol, room.size)
        if np.any(grown > np.maximum(net, room)):  # what was to net has been lost to a lot
            is_cut = cut(
                held, open_target, leg_symbol, leg_basket, n_sleeves, room, by_sleeve, False, reached
            )
            if round_to_lots(held, reached, leg_symbol, leg_sleeve, n_sleeves, lot):
                lapsed |= NO_LOT
    return lapsed | NO_VOLUME if is_cut else lapsed


@kernel
def flow_of(held: FloatArray, target: FloatArray, leg_symbol: IntArray, n_symbols: int) -> FloatArray:
    """Sum what the legs buy (row 0) and sell (row 1), by symbol: shape (2, n_symbols)."""
    flow = np.zeros((2, n_symbols))
    for leg in range(held.size):
        step = target[leg] - held[leg]
        flow[0 if step > 0.0 else 1, leg_symbol[leg]] += abs(step)
    return flow


@kernel
def net_trades(held: FloatArray, target: FloatArray, leg_symbol: IntArray, n_symbols: int) -> FloatArray:
    """Return the shares that would reach the market, by symbol, whichever way: shape (n_symbols,)."""
    flow = flow_of(held, target, leg_symbol, n_symbols)
    return np.asarray(np.abs(flow[0] - flow[1]))


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
    reached: FloatArray,
) -> bool:
    """Write to ``reached`` how far the room of its symbols lets a target go; return whether it is less.

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
        reached[:] = target
        return False
    if not by_sleeve:
        fraction[:] = least
    for leg in range(held.size):
        step = target[leg] - held[leg]
        wanted = flow[0 if step > 0.0 else 1, leg_symbol[leg]]
        if by_sleeve and step != 0.0 and wanted > room[leg_symbol[leg]]:
            sleeve = leg_sleeve[leg]
            fraction[sleeve] = min(fraction[sleeve], room[leg_symbol[leg]] / wanted)
    for leg in range(held.size):
        share = fraction[leg_sleeve[leg]]
        reached[leg] = held[leg]
        if target[leg] != held[leg]:
            reached[leg] = target[leg] if share == 1.0 else held[leg] + (target[leg] - held[leg]) * share
    return True


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
            whole = np.rint(lots) if abs(lots - np.rint(lots)) <= LOT_TOLERANCE_FRAC else np.trunc(lots)
            if whole == 0.0 and lots <= LOT_TOLERANCE_FRAC:
                reached[leg] = held[leg]
            elif lots - whole > LOT_TOLERANCE_FRAC:
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
def step_out(  # noqa: PLR0913, PLR0917 - arrays, since a kernel knows no structs
    held: FloatArray,
    target: FloatArray,
    leg_symbol: IntArray,
    leg_sleeve: IntArray,
    leg_basket: IntArray,
    n_sleeves: int,
    bars: FloatArray,
    participation_max_frac: float,
    lot: FloatArray,
    by_sleeve: bool,
    is_ahead: bool,
    reached: FloatArray,
) -> None:
    """Bring exits on of which no lot of every leg fits the minute: each leg is rounded for itself.

    A leg that would go less than a lot waits, unless ``is_ahead``: then it goes one, before its turn. What is
    no exit stays as it is, and so does a sleeve of which such a leg lacks the room for a lot, or its rest,
    and, ``by_sleeve``, one that needs no such step. The parameters are those of ``fillable``.
    """
    room = participation_max_frac * bars[VOLUME]
    none = np.zeros_like(lot)
    fillable(
        held,
        target,
        leg_symbol,
        leg_sleeve,
        leg_basket,
        n_sleeves,
        bars,
        participation_max_frac,
        none,
        by_sleeve,
        reached,
    )
    waits = np.zeros(n_sleeves, dtype=np.bool_)
    stays = np.zeros(n_sleeves, dtype=np.bool_)
    for leg in range(held.size):
        symbol, sleeve = leg_symbol[leg], leg_sleeve[leg]
        least = min(lot[symbol], abs(held[leg]))
        stays[sleeve] |= target[leg] != 0.0
        if abs(reached[leg] - held[leg]) < least * (1.0 - LOT_TOLERANCE_FRAC):
            waits[sleeve] = True
            stays[sleeve] |= not room[symbol] >= least
    for leg in range(held.size):
        size, sleeve = lot[leg_symbol[leg]], leg_sleeve[leg]
        if stays[sleeve] or (by_sleeve and not waits[sleeve]):
            reached[leg] = held[leg]
        elif size > 0.0 and reached[leg] != 0.0:
            lots = np.trunc(abs(reached[leg] - held[leg]) / size + LOT_TOLERANCE_FRAC)
            lots = max(lots, 1.0) if is_ahead else lots
            left = max(abs(held[leg]) - lots * size, 0.0)
            reached[leg] = np.sign(held[leg]) * left if left > 0.0 else 0.0
    if np.any(net_trades(held, reached, leg_symbol, room.size) > room * (1.0 + ROOM_TOLERANCE_FRAC)):
        reached[:] = held  # what was to net has been lost to a lot
