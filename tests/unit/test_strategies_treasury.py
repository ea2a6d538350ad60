"""Treasury relative value as a strategy: the edge of each tenor, and when it is held."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import ConfigError
from engine.events import BarSlice, Side
from engine.ports import StrategyContext
from strategies.treasury import Treasury, TreasuryOptions

SYMBOLS = ("UST10Y", "UST5Y", "UST10Y.Q", "UST5Y.Q")
OPTIONS: dict[str, Any] = {
    "tenors": {"UST10Y": 10, "UST5Y": 5},
    "repo_pct": {"UST5Y": 2.0, "UST10Y": 2.5},
    "horizon_days": 36.5,
    "cost_bp": 1.0,
    "roll_down": False,
}


def strategy_of(**changes: Any) -> Treasury:
    context = StrategyContext("rates", SYMBOLS, horizon_min=390.0, session_min=390, bar_min=1_440)
    return Treasury(TreasuryOptions.model_validate({**OPTIONS, **changes}), context)


def curve(five_pct: float, ten_pct: float) -> BarSlice:
    close = np.array([101.0, 100.0, 100.0 - ten_pct, 100.0 - five_pct])
    return BarSlice(390, 0, 390, np.stack([close] * 4 + [np.ones(4)]))


def test_the_edge_by_hand() -> None:
    """36.5 days at 2.6% are 26 bp, repo of 2.5% costs 25.347; a tenth of a year rolls 1.2 bp of yield."""
    strategy = strategy_of()
    strategy.on_slice(curve(2.0, 2.6))
    outlook = strategy.outlook()
    carry = np.array([0.020, 0.026]) / 10.0 - np.array([0.020, 0.025]) * 36.5 / 360.0
    assert [spread.name for spread in strategy.spreads] == ["UST5Y", "UST10Y"]
    assert outlook.expected_return_frac == pytest.approx(carry)
    assert outlook.alpha == pytest.approx([2.0, 2.6])
    assert outlook.usd_ratio.tolist() == [0.0, 0.0]
    rolling = strategy_of(roll_down=True)
    rolling.on_slice(curve(2.0, 2.6))
    y = np.array([0.020, 0.026])
    duration = (1.0 - (1.0 + y / 2.0) ** -np.array([10.0, 20.0])) / y
    assert rolling.outlook().expected_return_frac == pytest.approx(carry + duration * 0.0012 * 0.1)


def test_an_allocator_with_a_horizon_gets_its_part_of_the_edge() -> None:
    """A month of carry, weighed against the risk of an hour, would be a bet a hundred times too large."""
    context = StrategyContext("rates", SYMBOLS, 390.0 * 10, 390, bar_min=1_440, is_horizon_weighed=True)
    strategy, whole = Treasury(TreasuryOptions.model_validate(OPTIONS), context), strategy_of()
    signals, of_whole = strategy.on_slice(curve(2.2, 2.5347)), whole.on_slice(curve(2.2, 2.5347))
    # Ten sessions are fourteen of the 36.5 days.
    expected = whole.outlook().expected_return_frac * 14.0 / 36.5
    assert strategy.outlook().expected_return_frac == pytest.approx(expected)
    assert strategy.outlook().z.tolist() == whole.outlook().z.tolist()
    assert signals[0].expected_return_frac == pytest.approx(of_whole[0].expected_return_frac * 14.0 / 36.5)


def test_sides_follow_the_edge_and_its_cost() -> None:
    """In beyond the cost, out when the edge has gone, and never from one side to the other on one curve."""
    strategy = strategy_of()
    sides = []
    # Break-even of the 5-year is 2.0278%; 1 bp of cost over 36.5 days is 0.1% a year more.
    for five in (2.10, 2.20, 2.05, 1.90, 1.90, 2.05):
        signals = strategy.on_slice(curve(five, 2.5347))
        sides.append([(signal.spread, signal.side) for signal in signals])
    assert sides == [
        [],
        [("UST5Y", Side.LONG)],
        [],
        [("UST5Y", Side.FLAT)],
        [("UST5Y", Side.SHORT)],
        [("UST5Y", Side.FLAT)],
    ]


def test_without_a_curve_nothing_changes() -> None:
    """A blank cell is no opinion: the side stays, and nothing is expected of it."""
    strategy = strategy_of()
    strategy.on_slice(curve(2.3, 2.5347))
    assert strategy.on_slice(curve(np.nan, 2.5347)) == []
    outlook = strategy.outlook()
    assert outlook.side.tolist() == [1.0, 0.0]
    assert outlook.expected_return_frac[0] == 0.0


def test_a_tenor_that_is_not_priced_is_not_entered() -> None:
    """The quote may be there while the index is not: then there is nothing to trade."""
    strategy = strategy_of()
    given = curve(2.3, 2.5347)
    bars = given.bars.copy()
    bars[:, SYMBOLS.index("UST5Y")] = np.nan
    assert strategy.on_slice(msgspec.structs.replace(given, bars=bars)) == []


@pytest.mark.parametrize(
    "changes",
    [{"tenors": {"A": 5, "B": 5}}, {"tenors": {"A": -1}}, {"repo_pct": {"UST5Y": 2.0}}, {"cost_bp": -1.0}],
)
def test_senseless_options(changes: dict[str, Any]) -> None:
    """Two tenors of one maturity have no slope between them, and a rate that is missing is not zero."""
    with pytest.raises(ValidationError):
        TreasuryOptions.model_validate({**OPTIONS, **changes})


@pytest.mark.parametrize("missing", ["horizon_days", "repo_pct", "cost_bp"])
def test_what_the_edge_hangs_on_has_no_default(missing: str) -> None:
    """Carry without a horizon cannot be set against a cost."""
    with pytest.raises(ValidationError, match=missing):
        TreasuryOptions.model_validate({key: value for key, value in OPTIONS.items() if key != missing})


def test_quotes_must_be_in_the_universe() -> None:
    """The universe of a run holds them by itself; a list of symbols may leave them out."""
    context = StrategyContext("rates", ("UST5Y", "UST10Y"), horizon_min=390.0, session_min=390)
    with pytest.raises(ConfigError, match=r"UST10Y\.Q"):
        Treasury(TreasuryOptions.model_validate(OPTIONS), context)


def test_repo_of_its_quotes_is_that_of_the_day() -> None:
    """A rate may fall as yields do; without a quote the last one holds, also after a restart."""
    symbols = ("UST5Y", "UST5Y.Q", "UST5Y.R")
    context = StrategyContext("rates", symbols, horizon_min=390.0, session_min=390, bar_min=1_440)
    changes = {"tenors": {"UST5Y": 5}, "repo_pct": None, "repo_suffix": ".R"}
    options = TreasuryOptions.model_validate({**OPTIONS, **changes})
    strategy, again = Treasury(options, context), Treasury(options, context)
    edges = []
    for yield_pct, repo_pct in ((2.0, 2.5), (1.0, 0.5), (1.0, np.nan)):
        close = np.array([100.0, 100.0 - yield_pct, 100.0 - repo_pct])
        strategy.on_slice(BarSlice(390, 0, 390, np.stack([close] * 4 + [np.ones(3)])))
        edges.append(float(strategy.outlook().expected_return_frac[0]))
    low = 0.010 / 10.0 - 0.005 * 36.5 / 360.0
    assert edges == pytest.approx([0.020 / 10.0 - 0.025 * 36.5 / 360.0, low, low])
    again.restore(strategy.state())
    assert again.outlook().z.tolist() == strategy.outlook().z.tolist()
