"""Z-score pairs from slices to signals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from strategies.zscore_pairs import ZscorePairs, ZscorePairsOptions
from tests.support.tapes import context, random_closes, slices_of


def build(**options: Any) -> ZscorePairs:
    base = {"pairs": ["AAA/BBB"], "admission": "off", "hedge_window_min": 50, "window_min": 20}
    return ZscorePairs(ZscorePairsOptions.model_validate({**base, **options}), context())


def test_residual_and_z_against_numpy() -> None:
    """The regression ends a minute before; the residual is standardised over its own trailing window."""
    closes = random_closes(1, 200, 0.0)
    y, x = np.log(closes[:, 0]), np.log(closes[:, 1])
    residual = np.full(200, np.nan)
    for t in range(50, 200):
        slope, intercept = np.polyfit(x[t - 50 : t], y[t - 50 : t], 1)
        residual[t] = y[t] - slope * x[t] - intercept
    strategy = build(session_open="none")
    for t, slice_ in enumerate(slices_of(closes)):
        strategy.on_slice(slice_)
        outlook = strategy.outlook()
        part = residual[t - 19 : t + 1] if t >= 69 else np.full(20, np.nan)
        z = (part[-1] - part.mean()) / part.std(ddof=1)
        np.testing.assert_allclose(outlook.z[0], z, atol=1e-6)
        np.testing.assert_allclose(outlook.innovation[0], residual[t], atol=1e-9)
        np.testing.assert_allclose(outlook.innovation_var[0], part.var(ddof=1), rtol=1e-6)


@pytest.mark.parametrize(("prices", "expected"), [("log", 0.5), ("raw", 0.5 * 50.0 / 80.0)])
def test_a_given_ratio_is_of_usd_or_of_shares(prices: str, expected: float) -> None:
    """With log prices b is USD of x per USD of y, with raw ones shares: 0.5 * Px / Py in USD."""
    strategy = build(prices=prices, hedge_ratio={"AAA/BBB": 0.5})
    strategy.on_slice(slices_of(np.array([[80.0, 50.0, 1.0, 1.0]]), first_minute=2)[0])
    assert strategy.outlook().usd_ratio[0] == pytest.approx(expected)


def test_the_open_is_left_out_by_default() -> None:
    """The first observation of a session enters neither window and cannot signal."""
    closes = random_closes(2, 220, 0.0)
    strategy, plain = build(), build(session_open="none")
    for t, slice_ in enumerate(slices_of(closes)):
        strategy.on_slice(slice_)
        plain.on_slice(slice_)
        if t in (100, 200):
            assert np.isnan(strategy.outlook().z[0])
            assert np.isfinite(plain.outlook().z[0])


def test_a_ratio_for_a_pair_that_is_not_there_is_refused() -> None:
    """A typing error in a hedge ratio would otherwise be a regression nobody asked for."""
    with pytest.raises(ValidationError, match="hedge_ratio names 'AAA/CCC'"):
        build(hedge_ratio={"AAA/CCC": 1.0})


def test_every_option_is_described() -> None:
    """The reference of the configuration is made from these descriptions."""
    for name, field in ZscorePairsOptions.model_fields.items():
        assert field.description, name
