"""Arithmetic on legs: the few sums that execution, desk and gate all need, compiled.

A leg belongs to one symbol and one sleeve (``ports.Layout``); legs that share a symbol net.
"""

from __future__ import annotations

import numpy as np

from engine.events import FloatArray, IntArray
from engine.kernel import kernel


@kernel
def net(leg_values: FloatArray, leg_symbol: IntArray, n_symbols: int) -> FloatArray:
    """Sum legs by symbol, in the order of the legs.

    Parameters
    ----------
    leg_values : FloatArray, shape (n_legs,)
    leg_symbol : IntArray, shape (n_legs,)
    n_symbols : int

    Returns
    -------
    FloatArray, shape (n_symbols,)
    """
    total = np.zeros(n_symbols)
    for leg in range(leg_values.size):
        total[leg_symbol[leg]] += leg_values[leg]
    return total


def holdings_usd(leg_quantity: FloatArray, leg_symbol: IntArray, price_usd: FloatArray) -> FloatArray:
    """Net USD by symbol, shape (n_symbols,), of shares by leg, shape (n_legs,)."""
    total = np.empty(price_usd.size)
    holdings_part_way(leg_quantity, leg_quantity, 1.0, leg_symbol, price_usd, total)
    return total


@kernel
def holdings_part_way(
    held: FloatArray,
    target: FloatArray,
    fraction: float,
    leg_symbol: IntArray,
    price_usd: FloatArray,
    out: FloatArray,
) -> None:
    """Net USD by symbol, one fraction of the way from held to target; all of it is the target itself.

    The price of a symbol that is not held does not matter (0 times NaN is NaN).

    Parameters
    ----------
    held, target : FloatArray, shape (n_legs,)
        Shares.
    fraction : float
    leg_symbol : IntArray, shape (n_legs,)
    price_usd : FloatArray, shape (n_symbols,)
    out : FloatArray, shape (n_symbols,)
        Written.
    """
    out[:] = 0.0
    for leg in range(held.size):
        step = held[leg] + (target[leg] - held[leg]) * fraction
        out[leg_symbol[leg]] += target[leg] if fraction == 1.0 else step
    for i in range(out.size):
        if out[i] != 0.0:
            out[i] *= price_usd[i]


@kernel
def usd(leg_quantity: FloatArray, leg_symbol: IntArray, price_usd: FloatArray) -> FloatArray:
    """USD by leg, shape (n_legs,); the price of a leg without shares does not matter."""
    value = np.zeros(leg_quantity.size)
    for leg in range(leg_quantity.size):
        if leg_quantity[leg] != 0.0:
            value[leg] = leg_quantity[leg] * price_usd[leg_symbol[leg]]
    return value


@kernel
def moved_usd(
    held: FloatArray,
    now: FloatArray,
    leg_symbol: IntArray,
    price_usd: FloatArray,
    open_usd: FloatArray,
    move_frac: FloatArray,
) -> FloatArray:
    """Return what a bar's moves of exchange rates alone make of prices, by leg, shape (n_legs,).

    Parameters
    ----------
    held, now : FloatArray, shape (n_legs,)
        Shares before the bar, and since its open.
    leg_symbol : IntArray, shape (n_legs,)
    price_usd, open_usd : FloatArray, shape (n_symbols,)
        Of the last mark, and of the bar's open; those that no rate has moved do not matter.
    move_frac : FloatArray, shape (2, n_symbols)
        Moves of the rates since the last mark and since the open.
    """
    value = np.zeros(held.size)
    for leg in range(held.size):
        symbol = leg_symbol[leg]
        step = now[leg] - held[leg]
        if held[leg] != 0.0 and move_frac[0, symbol] != 0.0:
            value[leg] += held[leg] * price_usd[symbol] * move_frac[0, symbol]
        if step != 0.0 and move_frac[1, symbol] != 0.0:
            value[leg] += step * open_usd[symbol] * move_frac[1, symbol]
    return value


@kernel
def take_fills(
    target: FloatArray,
    trades: FloatArray,
    price_usd: FloatArray,
    leg_symbol: IntArray,
    leg_quantity: FloatArray,
    leg_paid_usd: FloatArray,
    leg_costs_usd: FloatArray,
) -> tuple[float, float]:
    """Move every leg to its target: what it was paid for, and its share of what its symbol cost.

    The cost of a symbol is shared among its legs in proportion to what each traded.

    Parameters
    ----------
    target : FloatArray, shape (n_legs,)
        Shares.
    trades : FloatArray, shape (n_traded, 4)
        A row for each symbol that trades: its index, net shares, price USD, cost USD.
    price_usd : FloatArray, shape (n_symbols,)
        Of the fills; legs of a symbol that net to nothing change hands at it too.
    leg_symbol : IntArray, shape (n_legs,)
    leg_quantity, leg_paid_usd, leg_costs_usd : FloatArray, shape (n_legs,)
        Shares held, paid and cost so far; written.

    Returns
    -------
    paid_usd, cost_usd : float
        Of all trades.
    """
    paid_usd = 0.0
    cost_usd = 0.0
    symbol_cost_usd = np.zeros(price_usd.size)
    for row in range(trades.shape[0]):
        paid_usd += trades[row, 1] * trades[row, 2]
        cost_usd += trades[row, 3]
        symbol_cost_usd[int(trades[row, 0])] = trades[row, 3]
    traded = np.zeros(price_usd.size)
    for leg in range(target.size):
        traded[leg_symbol[leg]] += abs(target[leg] - leg_quantity[leg])
    for leg in range(target.size):
        step, symbol = target[leg] - leg_quantity[leg], leg_symbol[leg]
        if step != 0.0:
            leg_paid_usd[leg] += step * price_usd[symbol]
            leg_costs_usd[leg] += symbol_cost_usd[symbol] * abs(step) / traded[symbol]
        leg_quantity[leg] = target[leg]
    return paid_usd, cost_usd


@kernel
def part_way(held: FloatArray, target: FloatArray, fraction: FloatArray) -> FloatArray:
    """Go a fraction of the way from held to target; all of it is the target itself, to the last bit.

    ``held + (target - held)`` may miss the target: a full exit must leave exactly nothing. All arrays have
    the shape (n_legs,).
    """
    reached = np.empty_like(held)
    for leg in range(held.size):
        step = held[leg] + (target[leg] - held[leg]) * fraction[leg]
        reached[leg] = target[leg] if fraction[leg] == 1.0 else step
    return reached


@kernel
def is_same(a: FloatArray, b: FloatArray) -> bool:
    """Whether two arrays are equal, element by element; NaN equals nothing."""
    equal = True
    for k in range(a.size):
        equal &= a[k] == b[k]
    return equal


@kernel
def is_all(values: FloatArray, value: float) -> bool:
    """Whether every element is ``value``; NaN is none."""
    equal = True
    for k in range(values.size):
        equal &= values[k] == value
    return equal


@kernel
def unwanted(leg_quantity: FloatArray, wanted: FloatArray, found: IntArray) -> int:
    """Find the spreads that are held on a side other than the wanted one.

    Parameters
    ----------
    leg_quantity : FloatArray, shape (n_legs,)
        Shares; legs 2k and 2k + 1 are y and x of spread k.
    wanted : FloatArray, shape (n_spreads,)
        1 LONG, 0 FLAT, -1 SHORT.
    found : IntArray, shape (n_spreads,)
        Output: the spreads, ascending.

    Returns
    -------
    int
        How many.
    """
    count = 0
    for k in range(wanted.size):
        held = leg_quantity[2 * k] if leg_quantity[2 * k] != 0.0 else -leg_quantity[2 * k + 1]
        if held != 0.0 and np.sign(held) != wanted[k]:
            found[count] = k
            count += 1
    return count
