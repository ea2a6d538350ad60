"""Between weights and shares, by hand and against the Python twins."""

from __future__ import annotations

import numpy as np

from engine.sizing import held_frac, sized, trading_terms

SYMBOL = np.array([0, 1, 1, 2])
PRICE = np.array([2.0, 4.0, np.nan])


def test_weights_held_by_hand() -> None:
    """10 shares at $2 are 2% of $1,000; what has no price weighs nothing, and must not make the rest NaN."""
    for kernel in (held_frac, held_frac.py_func):
        found = np.full(4, 9.0)
        kernel(np.array([10.0, -5.0, 0.0, 3.0]), SYMBOL, PRICE, 1_000.0, found)
        assert found.tolist() == [0.02, -0.02, 0.0, 0.0]


def test_shares_of_a_target_by_hand() -> None:
    """A weight that stands keeps its shares to the last bit; turnover is of net weights by symbol."""
    held = np.array([10.0 / 3.0, -5.0, 0.0, 3.0])
    now = np.empty(4)
    held_frac(held, SYMBOL, PRICE, 1_000.0, now)
    wanted = now.copy()
    wanted[1:3] = 0.04, -0.08  # of one symbol: from -2% to a net of -4%
    for kernel in (sized, sized.py_func):
        quantity = np.empty(4)
        gross, net, turnover = kernel(wanted, held, SYMBOL, PRICE, 1_000.0, quantity)
        assert quantity.tolist() == [held[0], 10.0, -20.0, 3.0]
        np.testing.assert_allclose([gross, net, turnover], [now[0] + 0.04, now[0] - 0.04, 0.02], atol=1e-15)


def test_costs_of_a_typical_order_by_hand() -> None:
    """$100 of a bar of $400 are a quarter: 1 + 10 sqrt(0.25) = 6 bp; a thin or unknown bar costs the cap."""
    price, volume = np.array([2.0, 2.0, np.nan]), np.array([200.0, 1.0, 5.0])
    for kernel in (trading_terms, trading_terms.py_func):
        cost, value = np.full((2, 3), 9.0)
        kernel(price, volume, 1.0, 10.0, 0.36, 100.0, cost, value)
        np.testing.assert_allclose(cost, [6e-4, 7e-4, 7e-4], rtol=1e-14)
        assert value.tolist() == [400.0, 2.0, 0.0]
