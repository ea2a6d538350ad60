"""Between weights and shares: what an allocator is told, and what its answer means."""

from __future__ import annotations

import numpy as np

from engine.events import FloatArray, IntArray
from engine.kernel import kernel


@kernel
def trading_terms(
    price_usd: FloatArray,
    volume_mean: FloatArray,
    linear_bps: float,
    impact_bps: float,
    participation_max_frac: float,
    typical_usd: float,
) -> tuple[FloatArray, FloatArray]:
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

    Returns
    -------
    cost_frac, volume_usd : FloatArray, shape (n_symbols,)
    """
    n = price_usd.size
    cost_frac = np.empty(n)
    volume_usd = np.zeros(n)
    for i in range(n):
        value_usd = price_usd[i] * volume_mean[i]
        share_of_bar = participation_max_frac
        if value_usd > 0.0:
            volume_usd[i] = value_usd
            share_of_bar = min(share_of_bar, typical_usd / value_usd)
        cost_frac[i] = (linear_bps + impact_bps * np.sqrt(share_of_bar)) / 1e4
    return cost_frac, volume_usd


@kernel
def held_frac(
    leg_quantity: FloatArray, leg_symbol: IntArray, price_usd: FloatArray, equity_usd: float
) -> FloatArray:
    """Weights held now, fraction of equity by leg; 0 where there is no price."""
    frac = np.zeros(leg_quantity.size)
    for leg in range(leg_quantity.size):
        price = price_usd[leg_symbol[leg]]
        if price > 0.0:
            frac[leg] = leg_quantity[leg] * price / equity_usd
    return frac


@kernel
def sized(
    frac: FloatArray,
    held: FloatArray,
    leg_quantity: FloatArray,
    leg_symbol: IntArray,
    price_usd: FloatArray,
    equity_usd: float,
) -> tuple[FloatArray, float, float, float]:
    """Turn target weights into shares; a leg whose weight stands keeps its shares to the last bit.

    Parameters
    ----------
    frac, held : FloatArray, shape (n_legs,)
        Weights wanted, and held now as ``held_frac`` gives them.
    leg_quantity : FloatArray, shape (n_legs,)
        Shares held now.
    leg_symbol : IntArray, shape (n_legs,)
    price_usd : FloatArray, shape (n_symbols,)
    equity_usd : float

    Returns
    -------
    quantity : FloatArray, shape (n_legs,)
    gross_frac, net_frac, turnover_frac : float
        Of the target, by net symbol weights.
    """
    quantity = leg_quantity.copy()
    net = np.zeros(price_usd.size)
    change = np.zeros(price_usd.size)
    for leg in range(frac.size):
        symbol = leg_symbol[leg]
        net[symbol] += frac[leg]
        change[symbol] += frac[leg] - held[leg]
        if frac[leg] != held[leg] and price_usd[symbol] > 0.0:
            quantity[leg] = frac[leg] * equity_usd / price_usd[symbol]
    return quantity, np.abs(net).sum(), net.sum(), np.abs(change).sum()
