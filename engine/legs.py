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


@kernel
def holdings_usd(leg_quantity: FloatArray, leg_symbol: IntArray, price_usd: FloatArray) -> FloatArray:
    """Net USD by symbol; the price of a symbol that is not held does not matter (0 times NaN is NaN).

    Parameters
    ----------
    leg_quantity : FloatArray, shape (n_legs,)
        Shares.
    leg_symbol : IntArray, shape (n_legs,)
    price_usd : FloatArray, shape (n_symbols,)

    Returns
    -------
    FloatArray, shape (n_symbols,)
    """
    total = np.zeros(price_usd.size)
    for leg in range(leg_quantity.size):
        total[leg_symbol[leg]] += leg_quantity[leg]
    for i in range(price_usd.size):
        if total[i] != 0.0:
            total[i] *= price_usd[i]
    return total


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
def cost_of_legs(
    step: FloatArray, leg_symbol: IntArray, symbol_cost_usd: FloatArray, out: FloatArray
) -> None:
    """Share what trading each symbol cost among its legs, in proportion to what each traded; adds to ``out``.

    Parameters
    ----------
    step, out : FloatArray, shape (n_legs,)
        Shares traded, and costs so far.
    leg_symbol : IntArray, shape (n_legs,)
    symbol_cost_usd : FloatArray, shape (n_symbols,)
    """
    traded = np.zeros(symbol_cost_usd.size)
    for leg in range(step.size):
        traded[leg_symbol[leg]] += abs(step[leg])
    for leg in range(step.size):
        if step[leg] != 0.0:
            symbol = leg_symbol[leg]
            out[leg] += symbol_cost_usd[symbol] * abs(step[leg]) / traded[symbol]


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
