"""Least variance on the bus, fully invested or at a return target, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.ports import AllocationProblem, AllocatorContext, Targets
from strategies.allocators.min_variance import MinVariance, MinVarianceOptions
from tests.support.allocation import E, layout_of, problem_of

TWO = layout_of(["A", "B"])
YEARS = 60.0 / 390.0 / 252.0
#: 1% and 2% a day, covariance 0.5e-4 (correlation 0.25).
SIGMA = 1e-4 * np.array([[1.0, 0.5], [0.5, 4.0]])
ALONE = 1e-4 * np.diag([1.0, 4.0])


def problem(
    annual_frac: tuple[float, float] = (0.0, 0.0),
    held: tuple[float, float] = (0.0, 0.0),
    side: tuple[float, float] = (1.0, 1.0),
    **fields: Any,
) -> AllocationProblem:
    """State two outrights; ``held`` are the weights of A and B."""
    legs = np.zeros(4)
    legs[::2] = held
    return problem_of(
        TWO,
        **{
            "side": np.array(side),
            "usd_ratio": np.zeros(2),
            "expected_return_frac": np.array(annual_frac) * YEARS,
            "held_leg_frac": legs,
            "covariance_daily": SIGMA,
            **fields,
        },
    )


def allocate(given: AllocationProblem, **options: Any) -> Targets:
    return MinVariance(MinVarianceOptions(**options), AllocatorContext(TWO, 390)).allocate(given)


def weights(targets: Targets) -> list[float]:
    assert targets.status == "optimal"
    assert targets.leg_frac[1::2].tolist() == [0.0, 0.0]  # an outright has no second leg
    return targets.leg_frac[::2].tolist()


def test_fully_invested_is_in_proportion_to_the_inverse() -> None:
    """S^-1 1 ~ (4 - 0.5, 1 - 0.5): weights 7/8 and 1/8; the objective is a year's variance."""
    targets = allocate(problem(), fully_invested=True)
    assert weights(targets) == pytest.approx([0.875, 0.125], abs=2e-5)
    assert targets.objective == pytest.approx(-252e-4 * (0.875**2 + 0.875 * 0.125 + 4 * 0.125**2), rel=1e-6)
    assert "invested" in targets.binding


def test_a_target_by_its_closed_form() -> None:
    """The book is r S^-1 mu / (mu'S^-1 mu): with 10% and 20% a year and a target of 6%, 0.3 and 0.15."""
    given = problem((0.10, 0.20), covariance_daily=ALONE)
    targets = allocate(given, return_min_annual_frac=0.06, net_max_frac=1.0)
    assert weights(targets) == pytest.approx([0.3, 0.15], abs=2e-5)
    assert "return" in targets.binding


def test_a_short_hedges_where_it_is_wanted() -> None:
    """B earns nothing and hedges A: -0.5/4 of it if B may be short, nothing if it may only be long."""
    options = {"return_min_annual_frac": 0.06, "net_max_frac": 1.0}
    hedged = allocate(problem((0.10, 0.0), side=(1.0, -1.0)), **options)
    assert weights(hedged) == pytest.approx([0.6, -0.075], abs=2e-5)
    assert weights(allocate(problem((0.10, 0.0)), **options)) == pytest.approx([0.6, 0.0], abs=2e-5)


def test_both_caps_bind_as_in_the_deck() -> None:
    """Gross 2 and net 0.05 leave one way to earn 0.10 x 1.025: 1.025 long, and (2 - 0.05) / 2 short."""
    given = problem((0.10, 0.0), side=(1.0, -1.0), var_budget_usd=1e6)
    targets = allocate(given, return_min_annual_frac=0.1025, name_max_frac=2.0)
    assert weights(targets) == pytest.approx([1.025, -0.975], abs=1e-5)
    assert {"gross", "net", "return"} <= set(targets.binding)


def test_a_floor_is_met_whatever_it_costs() -> None:
    """Ten basis points of return against ten times the risk: a floor with a price would be missed."""
    given = problem((0.100, 0.101), covariance_daily=1e-4 * np.diag([1.0, 100.0]), var_budget_usd=1e6)
    targets = allocate(given, fully_invested=True, return_min_annual_frac=0.1005)
    assert weights(targets) == pytest.approx([0.5, 0.5], abs=1e-4)
    assert {"return", "invested"} <= set(targets.binding)


def test_without_a_floor_the_best_book_is_empty() -> None:
    """Under caps alone nothing has less variance than nothing: what is held is sold."""
    w = weights(allocate(problem((0.1, 0.2), held=(0.3, 0.2)), net_max_frac=1.0))
    assert w == pytest.approx([0.0, 0.0], abs=1e-5)


def test_caps_come_before_the_target() -> None:
    """A target out of reach is approached under the caps, and said to be missed; it never widens one."""
    targets = allocate(
        problem((0.10, 0.20)), return_min_annual_frac=0.5, gross_max_frac=0.2, net_max_frac=1.0
    )
    assert weights(targets) == pytest.approx([0.0, 0.2], abs=1e-4)
    assert {"gross", "short:return"} <= set(targets.binding)


def test_volume_comes_before_the_target() -> None:
    """Of a bar of $1M 5% may be traded: as much of both as that, until the target is reached."""
    options = {"return_min_annual_frac": 0.06, "net_max_frac": 1.0}
    thin = {"covariance_daily": ALONE, "volume_usd": np.full(2, 1e6)}
    first = allocate(problem((0.10, 0.20), **thin), **options)
    assert weights(first) == pytest.approx([0.05, 0.05], abs=1e-5)
    assert "short:return" in first.binding
    last = allocate(problem((0.10, 0.20), held=(0.29, 0.14), **thin), **options)
    assert weights(last) == pytest.approx([0.3, 0.15], abs=2e-5)


def test_a_target_out_of_reach_leaves_no_dust() -> None:
    """All of A earns most; room in the missed target would buy 20 USD of B, to be traded for ever after."""
    targets = allocate(problem((0.05, 0.02)), fully_invested=True, return_min_annual_frac=0.10)
    assert targets.leg_frac[2] == 0.0
    assert targets.leg_frac[0] == pytest.approx(1.0, abs=1e-6)
    assert "short:return" in targets.binding


def test_a_broken_cap_is_mended_before_a_target_is_met() -> None:
    """Held at 2.2 under a cap of 2 and in thin volume: gross falls as far as may be traded, return or not."""
    given = problem((0.10, 0.20), held=(1.1, 1.1), volume_usd=np.full(2, 1e6))
    options = {"return_min_annual_frac": 0.4, "net_max_frac": 3.0, "name_max_frac": 2.0}
    targets = allocate(given, **options)
    assert weights(targets) == pytest.approx([1.05, 1.05], abs=1e-4)
    assert {"excess", "short:return"} <= set(targets.binding)


def test_a_net_that_an_operator_cut_is_kept() -> None:
    """Fully invested is a wish: with net cut to 0.5 the book halves instead of being held as it is."""
    given = problem(held=(0.875, 0.125), controls={"net_max_frac": 0.5})
    targets = allocate(given, fully_invested=True)
    assert sum(weights(targets)) == pytest.approx(0.5, abs=1e-5)
    assert "short:invested" in targets.binding


def test_reducing_never_grows() -> None:
    """In REDUCING the target cannot be met, and no position may grow for it."""
    given = problem((0.10, 0.20), held=(0.1, 0.1), is_reducing=True)
    w = weights(allocate(given, return_min_annual_frac=0.06, net_max_frac=1.0))
    assert w == pytest.approx([0.1, 0.1], abs=1e-5)


def test_a_year_is_that_of_the_market() -> None:
    """Around the clock a year has 365 sessions of 1,440 minutes."""
    context = AllocatorContext(TWO, 1_440)
    options = MinVarianceOptions(return_min_annual_frac=0.06, net_max_frac=1.0)
    forecast = np.array([0.10, 0.20]) * 60.0 / 1_440.0 / 365.0
    given = problem(covariance_daily=ALONE, expected_return_frac=forecast, equity_usd=E)
    assert weights(MinVariance(options, context).allocate(given)) == pytest.approx([0.3, 0.15], abs=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"fully_invested": True, "net_max_frac": 0.05},
        {"fully_invested": True, "gross_max_frac": 0.9},
        {"return_min_annual_frac": 12.0},  # percent
        {"return_min_annual_frac": 0.0},
    ],
)
def test_options_that_no_book_obeys_are_refused(options: dict[str, Any]) -> None:
    """A book that can never be invested would be found in the run instead."""
    with pytest.raises(ValidationError):
        MinVarianceOptions(**options)
