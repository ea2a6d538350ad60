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


def test_fills_are_paid_by_leg_and_costs_of_a_symbol_go_to_the_legs_that_traded_it() -> None:
    """Two legs that traded 30 and 10 shares of one symbol share its cost of $8 as 6 and 2."""
    target, price = np.array([5.0, 30.0, -10.0, 4.0]), np.array([2.0, 10.0, np.nan])
    trades = np.array([[0.0, 5.0, 2.0, 1.0], [1.0, 20.0, 10.0, 8.0]])
    for kernel in (legs.take_fills, legs.take_fills.py_func):
        held, paid, cost = np.array([0.0, 0.0, 0.0, 4.0]), np.full(4, 7.0), np.array([100.0, 0.0, 0.0, 7.0])
        assert kernel(target, trades, price, SYMBOL, held, paid, cost) == (210.0, 9.0)
        assert held.tolist() == target.tolist()
        assert paid.tolist() == [17.0, 307.0, -93.0, 7.0]
        assert cost.tolist() == [101.0, 6.0, 2.0, 7.0]


def test_holdings_part_of_the_way() -> None:
    """A quarter of the way from 10 to 18 is 12; legs of a symbol net; all of the way is the target itself."""
    held, target = np.array([10.0, 0.1, 0.3, 0.0]), np.array([18.0, 0.7, 0.9, 0.0])
    price, found = np.array([2.0, 10.0, np.nan]), np.full(3, -1.0)
    for kernel in (legs.holdings_part_way, legs.holdings_part_way.py_func):
        kernel(held, target, 0.25, SYMBOL, price, found)
        np.testing.assert_allclose(found, [24.0, 7.0, 0.0], rtol=1e-15)
        kernel(held, target, 1.0, SYMBOL, price, found)
        assert found.tolist() == legs.holdings_usd(target, SYMBOL, price).tolist() == [36.0, 16.0, 0.0]


def test_all_of_a_scale_is_granted_or_not() -> None:
    """A leg that is granted less, or something unknown, is not the whole."""
    for kernel in (legs.is_all, legs.is_all.py_func):
        seen = [kernel(np.array(values), 1.0) for values in ([1.0, 1.0], [1.0, 0.999], [np.nan, 1.0])]
        assert seen == [True, False, False]


def test_moves_of_a_rate_count_what_was_held_and_what_was_traded_since() -> None:
    """10 at 2.00 before, 4 of them sold at an open of 3.00; +10% since the last mark, +20% since the open."""
    held, now = np.array([10.0, -5.0, 0.0, 7.0]), np.array([6.0, -5.0, 2.0, 7.0])
    price, opened = np.array([2.0, 4.0, np.nan]), np.array([3.0, 8.0, np.nan])
    move = np.array([[0.1, 0.5, 0.0], [0.2, 0.25, 0.0]])
    for kernel in (legs.moved_usd, legs.moved_usd.py_func):
        found = kernel(held, now, SYMBOL, price, opened, move)
        np.testing.assert_allclose(found, [10 * 0.2 - 4 * 0.6, -5 * 2.0, 2 * 2.0, 0.0], atol=1e-12)
