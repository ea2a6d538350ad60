"""Shares of the capital: the spreads of a strategy have at most so much gross together."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.ports import AllocatorContext, Layout, Spread, Targets
from strategies.allocators.direct import Direct, DirectOptions
from strategies.allocators.downside import Downside, DownsideOptions
from strategies.allocators.mean_variance import (
    MeanVariance,
    MeanVarianceOptions,
    MultiPeriodOptions,
    NoTradeBufferOptions,
    multi_period,
    no_trade_buffer,
)
from strategies.allocators.treasury import TreasuryAllocator, TreasuryAllocatorOptions
from tests.support.allocation import layout_of, problem_of, random_problem

SHARE = {"a": 0.4}
#: Nothing but forecasts and caps: the answer is that of a linear program.
PLAIN = {"risk_aversion": 0.0, "trade_aversion": 0.0}


def owned(layout: Layout, *owners: str) -> Layout:
    """Give the spreads of a layout to strategies."""
    spreads = tuple(Spread(o, s.name, s.y, s.x) for o, s in zip(owners, layout.spreads, strict=True))
    return msgspec.structs.replace(layout, spreads=spreads)


THREE = owned(layout_of(["A/B", "C/D", "E/F"]), "a", "a", "b")
CROWDED = owned(layout_of(["A/B", "A/C", "B/C"]), "a", "a", "b")


def wanted(layout: Layout, forecast: list[float], **changes: Any) -> Any:
    n = len(layout.symbols)
    given = {"var_budget_usd": 1e9, "cost_frac": np.zeros(n), "covariance_daily": 1e-4 * np.eye(n)}
    return problem_of(
        layout, side=np.ones(3), expected_return_frac=np.array(forecast), **{**given, **changes}
    )


def gross(layout: Layout, targets: Targets) -> list[float]:
    """Return the gross of each spread."""
    assert targets.status == "optimal"
    return [float(np.abs(targets.leg_frac[layout.leg_sleeve == k]).sum()) for k in range(3)]


def solved(problem: Any, capital_frac: dict[str, float], **options: Any) -> Targets:
    context = AllocatorContext(problem.layout, 390, capital_frac=capital_frac)
    return MeanVariance(MeanVarianceOptions(**{**PLAIN, **options}), context).allocate(problem)


def test_a_share_binds_the_spreads_of_its_strategy_together() -> None:
    """Of 2.0 gross the best two spreads would take all; with a share of 0.4 the third has the other 1.6."""
    problem = wanted(THREE, [30e-4, 20e-4, 10e-4])
    assert gross(THREE, solved(problem, {})) == pytest.approx([2.0, 0.0, 0.0], abs=1e-5)
    targets = solved(problem, SHARE)
    assert gross(THREE, targets) == pytest.approx([0.4, 0.0, 1.6], abs=1e-5)
    assert {"capital:a", "gross"} <= set(targets.binding)
    assert targets.leg_frac[4:] == pytest.approx([0.8, -0.8], abs=1e-5)


def test_a_share_counts_legs_that_net() -> None:
    """A short of A against a long of A nets to nothing, and is two positions nevertheless."""
    problem = wanted(CROWDED, [30e-4, -20e-4, 10e-4])
    problem = msgspec.structs.replace(problem, side=np.array([1.0, -1.0, 1.0]))
    found = gross(CROWDED, solved(problem, SHARE))
    assert found[0] + found[1] == pytest.approx(0.4, abs=1e-5)


def test_what_cannot_be_traded_uses_its_part() -> None:
    """A spread without a price stays as it is: 0.3 of the 0.4 are gone, and 0.1 is left for its fellow."""
    price = np.array([np.nan, 100.0, 100.0, 100.0, 100.0, 100.0])
    held = np.array([0.15, -0.15, 0.0, 0.0, 0.0, 0.0])
    problem = wanted(THREE, [30e-4, 20e-4, 0.0], price_usd=price, held_leg_frac=held)
    assert gross(THREE, solved(problem, SHARE))[:2] == pytest.approx([0.3, 0.1], abs=1e-5)


def test_a_share_that_was_overrun_is_left_as_fast_as_volume_allows() -> None:
    """1.0 held under a share of 0.4: a leg of 0.5 may sell 0.05, so 0.9 remains, and the answer says so."""
    held = np.array([0.5, -0.5, 0.0, 0.0, 0.0, 0.0])
    volume = np.full(6, 1e6)  # 5% of a million a bar: 0.05 of equity
    problem = wanted(THREE, [30e-4, 20e-4, 0.0], held_leg_frac=held, volume_usd=volume)
    targets = solved(problem, SHARE)
    assert gross(THREE, targets)[:2] == pytest.approx([0.9, 0.0], abs=1e-5)
    assert "excess" in targets.binding


@pytest.mark.parametrize(
    ("kind", "used"), [("multi_period", 0.4), ("no_trade_buffer", 0.32), ("downside", 0.4)]
)
def test_its_kin_keep_shares_too(kind: str, used: float) -> None:
    """A limit that depends on the method would be no limit; a buffer of 20% stops at 0.8 of the target."""
    history = np.random.default_rng(3).normal(0.0, 1e-4, (80, 6))
    problem = wanted(THREE, [30e-4, 20e-4, 10e-4], history_return_frac=history)
    context = AllocatorContext(THREE, 390, capital_frac=SHARE)
    built = {
        "multi_period": lambda: multi_period(MultiPeriodOptions(**PLAIN, steps=2), context),
        "no_trade_buffer": lambda: no_trade_buffer(NoTradeBufferOptions(risk_aversion=0.0), context),
        "downside": lambda: Downside(DownsideOptions(worst_day_max_loss_frac=0.5), context),
    }[kind]()
    found = gross(THREE, built.allocate(problem))
    assert found[0] + found[1] == pytest.approx(used, abs=1e-5)


def test_direct_divides_a_share_evenly() -> None:
    """Both spreads of ``a`` enter with half of 0.4; the one without a share with its fixed amount."""
    problem = wanted(THREE, [0.0, 0.0, 0.0], changed=(0, 1, 2))
    context = AllocatorContext(THREE, 390, capital_frac=SHARE)
    assert gross(THREE, Direct(DirectOptions(), context).allocate(problem)) == pytest.approx([0.2, 0.2, 0.1])


def test_an_allocator_that_keeps_no_shares_says_so() -> None:
    """A limit that is ignored in silence is worse than none."""
    with pytest.raises(ConfigError) as caught:
        TreasuryAllocator(TreasuryAllocatorOptions(), AllocatorContext(THREE, 390, capital_frac=SHARE))
    assert caught.value.code == "C250"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.01, 0.2, 1.0]), is_tight=st.booleans())
def test_any_book_keeps_its_share_or_shrinks(seed: int, share: float, is_tight: bool) -> None:
    """Whatever is held and wanted there is an answer, and above its share a strategy never grows."""
    problem = random_problem(seed, is_tight=is_tight)
    layout = problem.layout
    names = ["a" if k % 2 == 0 else "b" for k in range(len(layout.spreads))]
    problem = msgspec.structs.replace(problem, layout=owned(layout, *names))
    context = AllocatorContext(problem.layout, 390, capital_frac={"a": share})
    targets = MeanVariance(MeanVarianceOptions(), context).allocate(problem)
    assert targets.status == "optimal"
    is_member = np.isin(layout.leg_sleeve, [k for k, name in enumerate(names) if name == "a"])
    used, held = (np.abs(legs[is_member]).sum() for legs in (targets.leg_frac, problem.held_leg_frac))
    assert used <= (share if not is_tight else max(share, held)) + 2e-6
