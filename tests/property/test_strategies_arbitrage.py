"""What must hold of the basis and of correlations, whatever the prices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.events import BarSlice
from engine.ports import Instrument, StrategyContext
from strategies.basis import Basis, BasisOptions
from strategies.correlation import correlation

PRICES = st.floats(1.0, 1e4)


@given(fund=PRICES, settles=PRICES, ratio=st.floats(0.01, 100.0), mispriced=st.floats(-0.04, 0.04))
def test_what_is_locked_in_does_not_depend_on_where_it_settles(
    fund: float, settles: float, ratio: float, mispriced: float
) -> None:
    """Unit for unit, 1 USD of the fund earns the basis, be the index halved or doubled by expiry."""
    instruments = (Instrument("Y"), Instrument("X", expiry_day=10))
    context = StrategyContext("s", ("Y", "X"), 3_900.0, 390, bar_min=1_440, instruments=instruments)
    strategy = Basis(BasisOptions(pairs=("Y/X",), quote_ratio=ratio, rate_frac=0.0), context)
    future = ratio * fund * (1.0 + mispriced)
    close = np.array([fund, future])
    strategy.on_slice(BarSlice(1, 0, 390, np.stack([close] * 4 + [np.ones(2)])))
    outlook = strategy.outlook()
    b = outlook.usd_ratio[0]
    earned = (settles / fund - 1.0) - b * (ratio * settles / future - 1.0)
    assert earned == pytest.approx(mispriced, abs=1e-9)
    # Ten sessions are fourteen days, more than the ten to expiry: all of it is expected.
    assert outlook.expected_return_frac[0] * (1.0 + b) == pytest.approx(mispriced, abs=1e-9)


@given(
    returns=arrays(np.float64, (2, 3, 8), elements=st.integers(-500, 500).map(lambda n: n / 1e4)),
    scale=st.floats(0.01, 100.0),
)
def test_a_correlation_is_one(returns: np.ndarray, scale: float) -> None:
    """Within [-1, 1], the same either way round and at any scale, and that of numpy where there is one."""
    found = correlation(returns)
    assert np.all((np.abs(found) <= 1.0) | np.isnan(found))
    np.testing.assert_allclose(correlation(returns[::-1]), found, atol=1e-12)
    np.testing.assert_allclose(correlation(returns * scale), found, atol=1e-9)
    for k in range(3):
        moves = np.ptp(returns[:, k], axis=1) > 0.0
        assert np.isfinite(found[k]) == moves.all()
        if moves.all():
            assert found[k] == pytest.approx(np.corrcoef(returns[:, k])[0, 1], abs=1e-9)
