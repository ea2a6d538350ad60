"""The AR(1) forecast of a spread, by hand and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.events import FloatArray
from strategies.forecast import announce, forecast, look_ahead


def ring_of(
    y: list[float] | FloatArray, x: list[float] | FloatArray, opens: tuple[int, ...] = ()
) -> FloatArray:
    mark = np.zeros(len(y))
    mark[list(opens)] = 1.0
    return np.array([y, x, mark], dtype=np.float64)


def test_halving_spread_by_hand() -> None:
    """A spread of 8, 4, 2, 1 has phi = 1/2 and mean 0: over one minute half of s is expected back."""
    ring = ring_of([8.0, 4.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0])
    expected, last_y, last_x = forecast(ring, 3, 0, 1.5, 0.0, 1.0, True)
    assert expected == pytest.approx(-0.5 * 1.0 / 2.5, rel=1e-12)
    assert (last_y, last_x) == (1.0, 0.0)
    expected, _, _ = forecast(ring, 3, 0, 1.5, 0.0, 2.0, True)
    assert expected == pytest.approx(-0.75 / 2.5, rel=1e-12)


def test_raw_prices_are_per_usd_of_gross() -> None:
    """With raw prices the gross of one unit is P_y + |b| P_x dollars."""
    x = [10.0, 10.0, 10.0, 10.0]
    y = [28.0, 24.0, 22.0, 21.0]  # s = y - 2 x = 8, 4, 2, 1
    expected, _, _ = forecast(ring_of(y, x), 3, 0, 2.0, 0.0, 1.0, False)
    assert expected == pytest.approx(-0.5 / (21.0 + 2.0 * 10.0), rel=1e-12)


def test_steps_over_night_are_left_out() -> None:
    """The jump 1 -> 8 into the second session is not a step of the process."""
    y = [8.0, 4.0, 2.0, 1.0, 8.0, 4.0, 2.0]
    expected, _, _ = forecast(ring_of(y, [0.0] * 7, (4,)), 6, 0, 0.0, 0.0, 1.0, True)
    assert expected == pytest.approx(-1.0, rel=1e-12)
    with_the_jump, _, _ = forecast(ring_of(y, [0.0] * 7), 6, 0, 0.0, 0.0, 1.0, True)
    assert with_the_jump != pytest.approx(-1.0, rel=1e-3)


def test_steps_beside_a_missing_minute_are_left_out() -> None:
    """8, -, 2, 1, 1/2: two minutes are no step of one minute; the last price may be missing too."""
    nan = float("nan")
    y = [8.0, nan, 2.0, 1.0, 0.5, 0.25]
    expected, last, _ = forecast(ring_of([*y, nan], [0.0] * 7), 6, 0, 0.0, 0.0, 1.0, True)
    assert last == 0.25
    assert expected == 0.0  # three steps of a window of seven are too few
    expected, _, _ = forecast(ring_of(y, [0.0] * 6), 5, 0, 0.0, 0.0, 1.0, True)
    assert expected == pytest.approx(-0.125, rel=1e-12)


def test_the_ring_may_start_anywhere() -> None:
    """The oldest minute follows the newest: a wrapped ring is the same window."""
    rng = np.random.default_rng(3)
    y, x = rng.normal(0, 1, 40), rng.normal(0, 1, 40)
    straight = forecast(ring_of(y, x, (17,)), 39, 0, 0.7, 0.1, 5.0, True)
    rolled = forecast(np.roll(ring_of(y, x, (17,)), 13, axis=1), 12, 0, 0.7, 0.1, 5.0, True)
    # Slot 0's own step has no predecessor in the window, whatever column it is stored in.
    assert straight == rolled


@pytest.mark.parametrize(
    "y",
    [
        np.array([1.0, -1.0] * 20),  # phi < 0
        np.arange(40.0) ** 2,  # phi > 1
        np.full(40, 3.0),  # does not move
        np.linspace(1.0, 0.5, 40) + 1e-3 * np.sin(np.arange(40.0)),  # half-life beyond half the window
        np.full(40, np.nan),
    ],
)
def test_no_reversion_no_forecast(y: FloatArray) -> None:
    """A spread that does not come back within the window promises nothing."""
    assert forecast(ring_of(y, np.zeros(40)), 39, 0, 1.0, 0.0, 30.0, True)[0] == 0.0


@pytest.mark.parametrize("machine", [forecast, forecast.py_func])
def test_against_numpy(machine: object) -> None:
    """The same number from a textbook regression, at 1e-9."""
    rng = np.random.default_rng(11)
    n, b, a, horizon = 200, 1.1, -0.3, 12.0
    s = np.zeros(n)
    for t in range(1, n):
        s[t] = 0.8 * s[t - 1] + rng.normal(0, 1e-3)
    x = 4.0 + np.cumsum(rng.normal(0, 1e-3, n))
    y = b * x + a + 0.02 + s
    values = y - b * x - a
    slope, intercept = np.polyfit(values[:-1], values[1:], 1)
    mean = intercept / (1 - slope)
    oracle = -(1 - math.exp(math.log(slope) * horizon)) * (values[-1] - mean) / (1 + b)
    expected, _, _ = machine(ring_of(y, x), n - 1, 0, b, a, horizon, True)  # type: ignore[operator]
    assert expected == pytest.approx(oracle, rel=1e-9)


def test_a_change_freezes_and_the_outlook_keeps() -> None:
    """While a side is held, forecast and ratio use the coefficients of the entry, not of now."""
    ring = ring_of([8.0, 4.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0])
    frozen, found = np.full((3, 1), np.nan), np.zeros((1, 2))
    announce(ring, 3, np.array([0.5]), np.array([0.0]), np.array([1.0]), frozen, 1.0, False, found)
    assert frozen[:, 0].tolist() == [0.5, 0.0, 0.5]  # USD ratio 0.5 * 1 / 1
    assert found[0, 1] == pytest.approx(-0.5 / 1.5, rel=1e-9)  # mean -1/2, s = 1/2
    out = np.zeros((3, 1))
    now, held, flat = (np.array([0.9]), np.array([0.0])), np.array([1.0]), np.array([0.0])
    look_ahead(ring, 3, *now, held, frozen, 1.0, False, True, out)
    assert out[:, 0] == pytest.approx([found[0, 1], 0.9, 0.5])
    look_ahead(ring, 3, *now, flat, frozen, 1.0, False, True, out)
    assert out[1:, 0] == pytest.approx([0.9, 0.9])


@pytest.mark.parametrize("machine", [look_ahead, look_ahead.py_func])
def test_what_nobody_weighs_is_not_forecast(machine) -> None:
    """An allocator that needs no returns still needs the ratios; what was left out must not look like 0."""
    ring = ring_of([8.0, 4.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0])
    now, frozen = (np.array([0.5]), np.array([0.0])), np.full((3, 1), np.nan)
    weighed, left_out = np.zeros((2, 3, 1))
    machine(ring, 3, *now, np.array([0.0]), frozen, 1.0, False, True, weighed)
    machine(ring, 3, *now, np.array([0.0]), frozen, 1.0, False, False, left_out)
    assert np.isfinite(weighed[0, 0])
    assert np.isnan(left_out[0, 0])
    assert left_out[1:].tolist() == weighed[1:].tolist()
