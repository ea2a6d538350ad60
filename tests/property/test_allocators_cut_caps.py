"""Caps and aversions moved by an operator while a book is held: always an answer, and one that obeys."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ports import AllocationProblem, AllocatorContext, Targets
from strategies.allocators.mean_variance import MeanVariance, MeanVarianceOptions
from tests.support.allocation import random_problem

SEEDS = st.integers(0, 10**6)
CUTS = st.fixed_dictionaries(
    {
        "gross_max_frac": st.sampled_from([0.02, 0.1, 0.5, 2.0]),
        "net_max_frac": st.sampled_from([0.005, 0.05]),
        "name_max_frac": st.sampled_from([0.01, 0.1, 1.0]),
        "risk_aversion": st.sampled_from([1.0, 15.0, 1_000.0]),
        "trade_aversion": st.sampled_from([0.5, 1.0, 100.0]),
    }
)
TOLERANCE_FRAC = 2e-6


def solve(problem: AllocationProblem, options: MeanVarianceOptions | None = None) -> Targets:
    allocator = MeanVariance(options or MeanVarianceOptions(), AllocatorContext(problem.layout, 390))
    return allocator.allocate(problem)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, cuts=CUTS)
def test_cut_caps_are_met_at_once_where_volume_allows(seed: int, cuts: dict[str, float]) -> None:
    """Whoever cuts leverage wants less of it with the next rebalance, not a refusal."""
    problem = msgspec.structs.replace(random_problem(seed, is_tight=False), controls=cuts)
    targets = solve(problem)
    assert targets.status == "optimal"
    weights = problem.layout.net(targets.leg_frac)
    assert np.abs(weights).sum() <= cuts["gross_max_frac"] + TOLERANCE_FRAC
    assert abs(weights.sum()) <= cuts["net_max_frac"] + TOLERANCE_FRAC
    assert np.abs(weights).max() <= cuts["name_max_frac"] + TOLERANCE_FRAC


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, cuts=CUTS)
def test_where_volume_does_not_allow_it_the_book_still_moves(seed: int, cuts: dict[str, float]) -> None:
    """An infeasible problem would hold a book that should shrink: what can be met is met, the rest later."""
    targets = solve(msgspec.structs.replace(random_problem(seed, is_tight=True), controls=cuts))
    assert targets.status == "optimal"


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, cuts=CUTS)
def test_a_number_in_force_is_as_good_as_one_configured(seed: int, cuts: dict[str, float]) -> None:
    """The same program, to the last bit: what was moved live can be written into the configuration."""
    problem = random_problem(seed)
    live = solve(msgspec.structs.replace(problem, controls=cuts))
    configured = solve(problem, MeanVarianceOptions(**cuts))
    assert (live.status, live.leg_frac.tobytes()) == (configured.status, configured.leg_frac.tobytes())
