"""A screen of pairs: its figures by hand, its order, and what it leaves out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strategies.admission import engle_granger
from strategies.screening import COMMON_MIN, capacity_usd, half_life_steps, screen


def walks(seed: int, n: int, n_symbols: int) -> np.ndarray:
    """Random walks of log prices; the first follows the second with a ratio of 0.8."""
    rng = np.random.default_rng(seed)
    paths = np.cumsum(rng.normal(0.0, 0.01, (n, n_symbols)), axis=0)
    paths[:, 0] = 0.8 * paths[:, 1] + rng.normal(0.0, 0.01, n)
    return paths


def test_half_life_of_a_halving_spread() -> None:
    """A spread that keeps 0.81 of its distance in two steps halves in ln 2 / -ln 0.9 = 6.58 steps."""
    assert half_life_steps(np.power(0.9, np.arange(20.0))) == pytest.approx(6.5788, abs=1e-4)
    assert half_life_steps(np.arange(20.0)) == math.inf
    assert half_life_steps(np.power(-1.0, np.arange(20.0))) == 0.0


def test_the_tighter_leg_is_the_capacity() -> None:
    """1 USD of y takes 0.5 of x: of 100 and 40 the second is used up first, at a gross of 80 + 40."""
    assert capacity_usd(0.5, np.array([100.0, 40.0])) == pytest.approx(120.0)
    assert capacity_usd(-0.5, np.array([30.0, 40.0])) == pytest.approx(45.0)
    assert capacity_usd(0.0, np.array([30.0, 40.0])) == 30.0


def test_figures_of_a_pair() -> None:
    """What the table shows of the one true pair: ratio near 0.8 in both halves, quick reversion, capacity."""
    paths = walks(5, 500, 3)
    found = screen(("AAA", "BBB", "CCC"), paths, np.array([1e6, 5e6, 1e6]), 0.10)
    best = found[0]
    assert {*best.pair.split("/")} == {"AAA", "BBB"}
    assert best.is_discovery
    assert best.p_value == engle_granger(paths[:, 0], paths[:, 1])
    y, x = (0, 1) if best.pair == "AAA/BBB" else (1, 0)
    slope, constant = np.polyfit(paths[:, x], paths[:, y], 1)
    assert best.usd_ratio == pytest.approx(slope)
    halves = [np.polyfit(paths[part, x], paths[part, y], 1)[0] for part in (slice(250), slice(250, 500))]
    assert best.ratio_drift_frac == pytest.approx(abs(halves[1] - halves[0]) / slope)
    spread = paths[:, y] - slope * paths[:, x] - constant
    phi = np.polyfit(spread[:-1], spread[1:], 1)[0]
    expected = -math.log(2.0) / math.log(phi) if phi > 0.0 else 0.0
    assert best.half_life_steps == pytest.approx(expected)
    assert best.correlation == pytest.approx(np.corrcoef(np.diff(paths[:, 0]), np.diff(paths[:, 1]))[0, 1])
    volumes = np.array([1e5, 5e5])[[y, x]]
    assert best.capacity_usd == pytest.approx(capacity_usd(slope, volumes))


def test_the_best_come_first_and_the_untested_not_at_all() -> None:
    """A pair without enough common closes is no hypothesis: counting it would excuse the others."""
    paths = walks(5, COMMON_MIN + 50, 4)
    paths[:51, 3] = np.nan
    found = screen(("AAA", "BBB", "CCC", "DDD"), paths, np.full(4, np.nan), 0.10)
    assert len(found) == 3
    assert not [one for one in found if "DDD" in one.pair]
    assert [one.p_value for one in found] == sorted(one.p_value for one in found)
    assert all(math.isnan(one.capacity_usd) for one in found)
    assert screen(("AAA", "BBB"), paths[:10, :2], np.ones(2), 0.10) == []


def test_names_that_never_move_pass_nothing() -> None:
    """A suspended share, or one listed twice, is not cointegrated with anything."""
    paths = walks(5, 300, 4)
    paths[:, 2] = 4.0
    paths[:, 3] = paths[:, 1]
    found = screen(("AAA", "BBB", "CCC", "DDD"), paths, np.ones(4), 0.10)
    by_pair = {frozenset(one.pair.split("/")): one for one in found}
    assert by_pair[frozenset({"BBB", "DDD"})].p_value == 1.0
    assert by_pair[frozenset({"AAA", "CCC"})].p_value == 1.0
    assert math.isnan(by_pair[frozenset({"AAA", "CCC"})].correlation)
