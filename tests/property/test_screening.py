"""What a screen promises on average: few false discoveries, and the true ones."""

from __future__ import annotations

import numpy as np

from strategies.screening import screen

Q = 0.10


def test_independent_walks_seldom_yield_a_discovery() -> None:
    """Among 28 pairs of walks one always looks good: without the control more than half of screens would hit.

    Where nothing is true, the false discovery rate is the share of screens with any discovery: at most q, and
    not far below, since both orders of a pair are paid for in full. Three standard errors of 200 screens.
    """
    rng = np.random.default_rng(20)
    symbols = [f"S{k}" for k in range(8)]
    hits = naive = 0
    for _ in range(200):
        paths = np.cumsum(rng.normal(0.0, 0.01, (300, 8)), axis=0)
        found = screen(symbols, paths, np.ones(8), 0.10, Q)
        hits += found[0].is_discovery
        naive += found[0].p_value <= Q
    margin = 3.0 * (Q * (1.0 - Q) / 200) ** 0.5
    assert 0.02 < hits / 200 < Q + margin
    assert naive / 200 > 0.5


def test_true_pairs_are_found_among_few_false_ones() -> None:
    """Five pairs of a half-life of four days among 45: all in every screen, and false shares of q on average.

    The share of one screen varies by some 0.2, since false pairs share legs with true ones; hence 60 of them.
    """
    rng = np.random.default_rng(21)
    symbols = [f"S{k}" for k in range(10)]
    wanted = {frozenset({f"S{2 * k}", f"S{2 * k + 1}"}) for k in range(5)}
    false_frac = []
    for _ in range(60):
        paths = np.cumsum(rng.normal(0.0, 0.01, (500, 10)), axis=0)
        spread, shocks = np.zeros((500, 5)), rng.normal(0.0, 0.003, (500, 5))
        for t in range(1, 500):
            spread[t] = 0.84 * spread[t - 1] + shocks[t]
        paths[:, 0::2] = 0.5 + 0.8 * paths[:, 1::2] + spread
        screened = screen(symbols, paths, np.ones(10), 0.10, Q)
        found = {frozenset(one.pair.split("/")) for one in screened if one.is_discovery}
        assert wanted <= found
        false_frac.append(len(found - wanted) / len(found))
    assert np.mean(false_frac) < Q + 3.0 * 0.2 / 60**0.5
