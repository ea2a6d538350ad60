"""What every allocator of the registry promises."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ports import AllocationProblem, Allocator, AllocatorContext, Plugin
from strategies.allocators import REGISTRY
from tests.support.allocation import random_problem

STATUSES = {"optimal", "infeasible", "solver_failed", "check_failed", "bad_input"}
SEEDS = st.integers(0, 10**6)

every_allocator = pytest.mark.parametrize("kind", sorted(REGISTRY))


def build(kind: str, problem: AllocationProblem) -> Allocator:
    plugin: Plugin[Allocator] = REGISTRY[kind]
    return plugin.build(plugin.options(), AllocatorContext(problem.layout, 390))


def with_changes(problem: AllocationProblem) -> AllocationProblem:
    """Let every second spread have changed its side on this slice."""
    changed = tuple(range(0, len(problem.layout.spreads), 2))
    return msgspec.structs.replace(problem, changed=changed, frozen_usd_ratio=problem.usd_ratio)


def arrays(problem: AllocationProblem) -> dict[str, Any]:
    fields = msgspec.structs.asdict(problem)
    return {name: value.copy() for name, value in fields.items() if isinstance(value, np.ndarray)}


@every_allocator
def test_options_are_documented_and_refuse_unknown_keys(kind: str) -> None:
    """A mistyped cap that is ignored is no cap."""
    options = REGISTRY[kind].options
    assert options.model_config["extra"] == "forbid"
    assert options.model_config["frozen"] is True
    assert all(field.description for field in options.model_fields.values())


@every_allocator
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_answer_is_whole(kind: str, seed: int) -> None:
    """A weight for every leg, or none and a reason; a spread that is not wanted never grows."""
    problem = with_changes(random_problem(seed))
    targets = build(kind, problem).allocate(problem)
    assert targets.status in STATUSES
    if targets.status != "optimal":
        assert targets.leg_frac.size == 0
        return
    assert targets.leg_frac.shape == problem.held_leg_frac.shape
    assert np.isfinite(targets.leg_frac).all()
    unwanted = problem.side[problem.layout.leg_sleeve] == 0.0
    assert np.all(np.abs(targets.leg_frac[unwanted]) <= np.abs(problem.held_leg_frac[unwanted]) + 1e-6)


@every_allocator
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_the_problem_is_not_modified(kind: str, seed: int) -> None:
    """The same arrays go to the journal and to the next reader."""
    problem = with_changes(random_problem(seed))
    before = arrays(problem)
    build(kind, problem).allocate(problem)
    for name, value in arrays(problem).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@every_allocator
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, other=SEEDS)
def test_the_same_problem_has_the_same_bits(kind: str, seed: int, other: int) -> None:
    """No memory of answers: what was solved in between does not show, nor does a fresh start."""
    problem = with_changes(random_problem(seed))
    allocator = build(kind, problem)
    first = allocator.allocate(problem)
    noise = np.random.default_rng(other).uniform(0.9, 1.1, problem.held_leg_frac.size)
    allocator.allocate(msgspec.structs.replace(problem, held_leg_frac=problem.held_leg_frac * noise))
    for again in (allocator.allocate(problem), build(kind, problem).allocate(problem)):
        assert again.leg_frac.tobytes() == first.leg_frac.tobytes()
        assert (again.status, again.binding, again.solver) == (first.status, first.binding, first.solver)


@every_allocator
@pytest.mark.parametrize("field", ["equity_usd", "side", "held_leg_frac"])
def test_nan_is_typed(kind: str, field: str) -> None:
    """An exception here would end the process in the middle of a session; a status holds the book."""
    problem = with_changes(random_problem(7, is_tight=False))
    value = getattr(problem, field)
    bad = math.nan if isinstance(value, float) else np.full_like(value, math.nan)
    targets = build(kind, problem).allocate(msgspec.structs.replace(problem, **{field: bad}))
    assert (targets.status, targets.leg_frac.size) == ("bad_input", 0)
    assert field in targets.binding
