"""The Treasury allocator on the bus: sizes of wanted outrights under CVaR, volumes and minima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.ports import AllocationProblem, AllocatorContext, Layout, Spread, Targets
from strategies.allocators import REGISTRY
from strategies.allocators.treasury import TreasuryAllocator, TreasuryAllocatorOptions
from tests.support.allocation import problem_of

LAYOUT = Layout(
    symbols=("UST5Y", "UST10Y"),
    spreads=(Spread("t", "UST5Y", "UST5Y"), Spread("t", "UST10Y", "UST10Y")),
    leg_symbol=np.array([0, 0, 1, 1]),
    leg_sleeve=np.array([0, 0, 1, 1]),
    n_sleeves=2,
)
COVARIANCE = np.diag([0.002**2, 0.004**2])


def problem(**changes: Any) -> AllocationProblem:
    """Long 5-year, short 10-year, each worth 5 bp over the horizon at a cost of 0.2 bp."""
    fields: dict[str, Any] = {
        "side": np.array([1.0, -1.0]),
        "usd_ratio": np.zeros(2),
        "frozen_usd_ratio": np.zeros(2),
        "expected_return_frac": np.array([5e-4, -5e-4]),
        "cost_frac": np.full(2, 2e-5),
        "covariance_daily": COVARIANCE,
        "participation_max_frac": 1.0,
        "volume_usd": np.array([3e6, 2e6]),
    }
    return problem_of(LAYOUT, **{**fields, **changes})


def answer_to(given: AllocationProblem, **options: Any) -> Targets:
    allocator = TreasuryAllocator(TreasuryAllocatorOptions(**options), AllocatorContext(LAYOUT, 390, 1_440))
    return allocator.allocate(given)


def test_liquidity_caps_a_position() -> None:
    """A day's volume of $3M and $2M on $1M of equity; CVaR is far away, so both are full."""
    targets = answer_to(problem(), cvar_max_frac=0.5)
    assert targets.status == "optimal"
    assert targets.leg_frac == pytest.approx([3.0, 0.0, -2.0, 0.0])
    assert {"liquidity:UST5Y", "liquidity:UST10Y"} <= set(targets.binding)
    assert targets.objective == pytest.approx(5.0 * (5e-4 - 2e-5))


def test_cvar_is_kept_on_the_scenarios_of_the_engine_s_covariance() -> None:
    """The limit is of the net book: it is recomputed here from the covariance and the seed alone."""
    targets = answer_to(problem(), cvar_max_frac=0.008)
    shocks = np.random.Generator(np.random.PCG64(2024)).standard_normal((1_000, 2))
    losses = -(shocks * [0.002, 0.004]) @ targets.leg_frac[[0, 2]]
    assert np.sort(losses)[-50:].mean() == pytest.approx(0.008, abs=1e-9)
    assert "cvar" in targets.binding


def test_do_not_trade_what_does_not_pay() -> None:
    """Less than the cost of a trade: the book stays as it is, flat or not."""
    small = problem(expected_return_frac=np.array([1e-5, -1e-5]))
    assert answer_to(small).leg_frac.tolist() == [0.0] * 4
    held = np.array([1.0, 0.0, -0.5, 0.0])
    kept = answer_to(problem(expected_return_frac=np.array([1e-5, -1e-5]), held_leg_frac=held))
    assert kept.leg_frac.tolist() == held.tolist()


def test_nothing_or_the_minimum() -> None:
    """The CVaR left for the riskier tenor is under the minimum: it is left out, not rounded up."""
    free = answer_to(problem(), cvar_max_frac=0.013, minimum="none")
    assert 0.0 < abs(free.leg_frac[2]) < 1.0
    targets = answer_to(problem(), cvar_max_frac=0.013, min_position_usd=1_500_000.0)
    assert targets.status == "optimal"
    sizes = np.abs(targets.leg_frac[[0, 2]])
    assert ((sizes == 0.0) | (sizes >= 1.5 - 1e-9)).all()


def test_margin_is_kept() -> None:
    """At a haircut of a quarter, equity carries four times itself."""
    targets = answer_to(problem(volume_usd=np.full(2, 1e9)), haircut_frac=0.25, cvar_max_frac=0.5)
    assert np.abs(targets.leg_frac).sum() == pytest.approx(4.0)
    assert "haircut" in targets.binding


def test_a_cap_that_was_cut_is_reached_as_fast_as_volume_allows() -> None:
    """Held far beyond every cap: what can be sold is sold, and the problem is not infeasible."""
    held = np.array([9.0, 0.0, -6.0, 0.0])
    targets = answer_to(problem(held_leg_frac=held, participation_max_frac=0.5), gross_max_frac=1.0)
    assert targets.status == "optimal"
    assert targets.leg_frac == pytest.approx([7.5, 0.0, -5.0, 0.0])
    assert "excess" in targets.binding


def test_a_history_can_be_the_scenarios() -> None:
    """On 60 days the worst three count; too short a history is no answer, and a hole in it no zero."""
    days = np.random.default_rng(5).normal(0.0, 0.002, (80, 2))
    days[::4, 0] = np.nan
    given = problem(history_return_frac=days)
    targets = answer_to(given, history_days=80, cvar_max_frac=0.004)
    whole = days[np.isfinite(days[:, 0])]
    losses = np.sort(-whole @ targets.leg_frac[[0, 2]])
    assert losses[-3:].mean() == pytest.approx(0.004, abs=1e-9)
    short = answer_to(problem(history_return_frac=days[:40]), history_days=80)
    assert (short.status, short.binding) == ("bad_input", ("history_return_frac",))


@pytest.mark.parametrize("bar_min", [1, 60, 1_440])
def test_liquidity_is_of_a_session_whatever_the_bars(bar_min: int) -> None:
    """A cap in days that counts one minute's volume would be 390 times too small."""
    context = AllocatorContext(LAYOUT, 390, bar_min)
    volume = np.array([3e6, 2e6]) / context.session_bars
    options = TreasuryAllocatorOptions(cvar_max_frac=0.5)
    given = problem(volume_usd=volume, participation_max_frac=1e3)  # the cap alone is looked at
    assert TreasuryAllocator(options, context).allocate(given).leg_frac == pytest.approx(
        [3.0, 0.0, -2.0, 0.0]
    )


@pytest.mark.parametrize("kind", ["mean_variance", "downside", "treasury"])
def test_a_rebalance_that_never_comes_is_refused(kind: str) -> None:
    """Without a word it would be a run that trades nothing."""
    plugin = REGISTRY[kind]
    plugin.build(plugin.options(every_min=390), AllocatorContext(LAYOUT, 390, 1_440))
    with pytest.raises(ConfigError, match="every_min = 391 never comes: a session has 390 minutes") as caught:
        plugin.build(plugin.options(every_min=391), AllocatorContext(LAYOUT, 390, 1_440))
    assert caught.value.code == "C251"


def test_one_book_a_session() -> None:
    """Half days are sessions: a daily bar of 210 minutes is due as well; minute bars have one such minute."""
    allocator = TreasuryAllocator(TreasuryAllocatorOptions(), AllocatorContext(LAYOUT, 390, 1_440))
    assert allocator.due(390, 0)
    assert allocator.due(210, 0)
    minutes = TreasuryAllocator(TreasuryAllocatorOptions(), AllocatorContext(LAYOUT, 390))
    assert [minute for minute in range(1, 391) if minutes.due(minute, 1)] == [210]


def test_a_minimum_lets_no_more_be_sold_than_a_bar_trades() -> None:
    """Wanted out, with 1.0 to trade of 3.0 held: 2.0 stay, though nothing at all would be allowed too."""
    held = np.array([3.0, 0.0, 0.0, 0.0])
    losing = problem(
        expected_return_frac=np.array([-5e-4, 0.0]), held_leg_frac=held, volume_usd=np.array([1e6, 1e6])
    )
    targets = answer_to(losing, liquidity_days=9.0, min_position_usd=500_000.0, cvar_max_frac=0.5)
    assert targets.status == "optimal"
    assert targets.leg_frac == pytest.approx([2.0, 0.0, 0.0, 0.0])
    assert "participation:UST5Y" in targets.binding
