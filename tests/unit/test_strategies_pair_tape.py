"""Minutes of pairs: logarithms, references, opens and the ring."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.ports import StrategyContext
from strategies.forecast import forecast
from strategies.pair_options import has_no_nights
from strategies.pair_tape import HIDE, MARK, OPEN, PLAIN, SLOT, PairTape, X, Y, gather
from tests.support.tapes import random_closes, slices_of, tape

LEGS = np.array([[0, 3], [1, 2]], dtype=np.int64)


def test_log_prices_by_hand() -> None:
    """Row y, row x, in the order of the pairs."""
    made = PairTape(LEGS, "log", PLAIN, 5)
    made.take(slices_of(np.array([[math.e, 1.0, math.e**2, 10.0]]))[0])
    np.testing.assert_allclose(made.prices[Y], [1.0, math.log(10.0)])
    np.testing.assert_allclose(made.prices[X], [0.0, 2.0])
    assert made.slices == 1


def test_raw_prices_are_in_units_of_the_first() -> None:
    """The reference is the first price that is seen, however late."""
    made = PairTape(LEGS, "raw", PLAIN, 5, "first_price")
    for row in ([np.nan, 50.0, 120.0, 30.0], [80.0, 51.0, 120.0, 33.0], [88.0, 50.0, 60.0, 30.0]):
        made.take(slices_of(np.array([row]))[0])
    np.testing.assert_allclose(made.prices[Y], [1.1, 1.0])
    np.testing.assert_allclose(made.prices[X], [1.0, 0.5])


def test_the_replayed_minutes_are_those_seen_live() -> None:
    """Calibration reads the ring; the filter read the minutes: both must have seen the same."""
    for mode in (PLAIN, MARK, HIDE):
        made = PairTape(LEGS, "log", mode, 250)
        live = []
        for slice_ in tape(1, 250, missing_frac=0.2):
            made.take(slice_)
            live.append(made.prices[[Y, X, OPEN]].copy())
        y, x, opens = made.first(250)
        np.testing.assert_array_equal(np.stack((y, x, opens)), np.array(live).transpose(1, 2, 0))
        assert opens.any() == (mode != PLAIN)


def test_trim_keeps_the_last_minutes_in_order() -> None:
    """A ring that has wrapped, or is not full, becomes the same window."""
    for n in (7, 25, 30):
        made, straight = PairTape(LEGS, "log", MARK, 25), PairTape(LEGS, "log", MARK, 10)
        for i, slice_ in enumerate(tape(2, n + 13)):
            if i == n:
                made.trim(10)
            made.take(slice_)
            straight.take(slice_)
        wound = [np.roll(t.ring, -int(t.clock[1]) - 1, axis=1) for t in (made, straight)]
        np.testing.assert_array_equal(wound[0], wound[1])


def test_a_bar_that_is_a_session_opens_nothing() -> None:
    """Daily bars: were each step one over night, the forecast would have none to go by, and always be 0."""
    y = np.exp([8.0, 4.0, 2.0, 1.0])
    daily = slices_of(np.stack((y, np.ones(4)), axis=1), session_min=1)
    pair = np.array([[0], [1]], dtype=np.int64)
    made, marked = (
        PairTape(pair, "log", PLAIN, 4, bar_min=1_440),
        PairTape(pair, "log", MARK, 4, bar_min=1_440),
    )
    for slice_ in daily:
        made.take(slice_)
        marked.take(slice_)
    expected, _, _ = forecast(made.ring, int(made.clock[SLOT]), 0, 1.5, 0.0, 1.0, True)
    assert expected == pytest.approx(-0.5 / 2.5, rel=1e-12)  # phi = 1/2, mean 0: half of s = 1 comes back
    assert marked.ring[-1].all()
    assert not made.ring[-1].any()


@pytest.mark.parametrize(("bar_min", "is_special"), [(1, True), (130, True), (195, False), (1_440, False)])
def test_a_night_matters_beside_short_bars(bar_min: int, is_special: bool) -> None:
    """With two bars a session every other step is over night: setting those apart leaves too few."""
    told = StrategyContext("test", ("A", "B"), horizon_min=60.0, session_min=390, bar_min=bar_min)
    assert has_no_nights(told) is not is_special


def test_the_twin_agrees() -> None:
    """Compiled and plain gathering fill the same arrays."""
    results = []
    for machine in (gather, gather.py_func):
        made = PairTape(LEGS, "log", HIDE, 30)
        for s in slices_of(random_closes(3, 120, 0.2)):
            machine(s.bars, made.legs, made.prices, made.ring, made.clock, s.session, s.minute)
        results.append(made.state())
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name])
