"""Outrights: sides as given, from the first price on, and returns over the allocator's horizon."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.events import BarSlice, Side
from engine.ports import StrategyContext
from strategies.outrights import Outrights, OutrightsOptions

OPTIONS: dict[str, Any] = {
    "long": ["GS", "GOOGL"],
    "short": ["MSFT"],
    "expected_return_annual_frac": {"GS": 0.252, "MSFT": -0.0252},
}


def strategy_of(session_min: int = 390) -> Outrights:
    context = StrategyContext("book", ("MSFT", "GS", "GOOGL"), horizon_min=39.0, session_min=session_min)
    return Outrights(OutrightsOptions.model_validate(OPTIONS), context)


def slice_of(minute: int, *closes: float) -> BarSlice:
    return BarSlice(minute, 0, minute, np.stack([np.array(closes)] * 5))


def test_each_is_wanted_from_its_first_price_on() -> None:
    """One signal a symbol; a bar that is missing later is no reason to leave."""
    strategy, unknown = strategy_of(), np.nan
    first = strategy.on_slice(slice_of(1, 400.0, 900.0, unknown))
    assert [(one.spread, one.side) for one in first] == [("GS", Side.LONG), ("MSFT", Side.SHORT)]
    assert strategy.outlook().side.tolist() == [1.0, 0.0, -1.0]
    later = strategy.on_slice(slice_of(2, unknown, unknown, 300.0))
    assert [(one.spread, one.side) for one in later] == [("GOOGL", Side.LONG)]
    assert not strategy.on_slice(slice_of(3, 400.0, 900.0, 300.0))
    assert [(spread.y, spread.x) for spread in strategy.spreads] == [
        ("GS", None),
        ("GOOGL", None),
        ("MSFT", None),
    ]


def test_returns_are_stated_over_the_horizon() -> None:
    """39 minutes are a tenth of a session, 1/2520 of a year: 25.2% are 1 bp; the side changes no sign."""
    strategy = strategy_of()
    [gs, msft] = strategy.on_slice(slice_of(1, 400.0, 900.0, np.nan))
    assert strategy.outlook().expected_return_frac == pytest.approx([1e-4, 0.0, -1e-5])
    assert (gs.z, gs.expected_return_frac) == pytest.approx((1.0, 1e-4))
    assert (msft.z, msft.expected_return_frac) == pytest.approx((-0.1, -1e-5))
    around_the_clock = strategy_of(session_min=1_440).outlook().expected_return_frac
    assert around_the_clock[0] == pytest.approx(0.252 * 39.0 / 1_440.0 / 365.0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"long": ["A", "A"]},
        {"long": ["A"], "short": ["A"]},
        {"long": ["A"], "expected_return_annual_frac": {"B": 0.1}},
        {"long": ["A"], "expected_return_annual_frac": {"A": float("nan")}},
    ],
)
def test_a_list_that_means_nothing_is_refused(options: dict[str, Any]) -> None:
    """A symbol on both sides, or a return of a name that is not held, is a mistake in a table."""
    with pytest.raises(ValidationError):
        OutrightsOptions.model_validate(options)
