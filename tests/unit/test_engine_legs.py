"""Sums over legs, by hand and against their Python twins."""

from __future__ import annotations

import numpy as np

from engine import legs

SYMBOL = np.array([0, 1, 1, 2])


def test_value_by_leg_ignores_prices_of_what_is_not_held() -> None:
    """0 shares times NaN is NaN: one unknown price would make every sleeve unknown."""
    quantity, price = np.array([10.0, -5.0, 0.0, 0.0]), np.array([2.0, 4.0, np.nan])
    assert legs.usd(quantity, SYMBOL, price).tolist() == [20.0, -20.0, 0.0, 0.0]
    assert legs.usd.py_func(quantity, SYMBOL, price).tolist() == [20.0, -20.0, 0.0, 0.0]


def test_costs_of_a_symbol_go_to_the_legs_that_traded_it() -> None:
    """Two legs that traded 30 and 10 shares of one symbol share its cost of $8 as 6 and 2."""
    step, cost = np.array([5.0, 30.0, -10.0, 0.0]), np.array([1.0, 8.0, 0.0])
    for kernel in (legs.cost_of_legs, legs.cost_of_legs.py_func):
        so_far = np.array([100.0, 0.0, 0.0, 7.0])
        kernel(step, SYMBOL, cost, so_far)
        assert so_far.tolist() == [101.0, 6.0, 2.0, 7.0]


def test_moves_of_a_rate_count_what_was_held_and_what_was_traded_since() -> None:
    """10 at 2.00 before, 4 of them sold at an open of 3.00; +10% since the last mark, +20% since the open."""
    held, now = np.array([10.0, -5.0, 0.0, 7.0]), np.array([6.0, -5.0, 2.0, 7.0])
    price, opened = np.array([2.0, 4.0, np.nan]), np.array([3.0, 8.0, np.nan])
    move = np.array([[0.1, 0.5, 0.0], [0.2, 0.25, 0.0]])
    for kernel in (legs.moved_usd, legs.moved_usd.py_func):
        found = kernel(held, now, SYMBOL, price, opened, move)
        np.testing.assert_allclose(found, [10 * 0.2 - 4 * 0.6, -5 * 2.0, 2 * 2.0, 0.0], atol=1e-12)
