"""The independent check notices each kind of broken constraint, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.ports import Layout
from strategies.allocators.checks import Limits, examine
from strategies.allocators.plan import make_plan, wire
from tests.support.allocation import layout_of, problem_of

PAIR = layout_of(["Y/X"])
LIMITS = Limits(gross_max_frac=2.0, net_max_frac=0.05, name_max_frac=0.9)


def broken(legs: list[float], layout: Layout = PAIR, **changes: Any) -> tuple[str, ...]:
    problem = problem_of(layout, **{"side": np.array([1.0]), **changes})
    wiring = wire(layout)
    plan = make_plan(wiring, problem, LIMITS.gross_max_frac)
    return examine(wiring, problem, LIMITS, plan, problem.held_leg_frac, np.array(legs))[0]


def test_a_good_book_passes() -> None:
    """A check that refuses everything would hold the book for ever."""
    assert broken([0.5, -0.5]) == ()


@pytest.mark.parametrize(
    ("legs", "changes", "name"),
    [
        ([1.2, -1.2], {}, "gross"),
        ([0.3, -0.2], {"usd_ratio": np.array([2.0 / 3.0])}, "net"),
        ([0.95, -0.95], {}, "name:Y"),
        ([0.5, -0.5], {"var_budget_usd": 1_000.0}, "var"),
        ([0.5, -0.5], {"volume_usd": np.array([1e9, 1e6])}, "participation:X"),
        ([0.5, -0.5], {"known": np.array([True, False])}, "unknown:X"),
        ([0.5, -0.5], {"is_reducing": True}, "reducing:Y"),
        ([0.5, -0.48], {}, "hedge:Y/X"),
        ([-0.5, 0.5], {}, "hedge:Y/X"),
        ([0.5, -0.5], {"side": np.array([0.0])}, "hedge:Y/X"),
        ([float("nan"), -0.5], {}, "finite"),
    ],
)
def test_each_broken_constraint_is_named(legs: list[float], changes: dict[str, Any], name: str) -> None:
    """Each of these has been returned by some solver under the status of success."""
    assert name in broken(legs, **changes)


def test_the_tolerance_is_a_dollar_on_a_million() -> None:
    """Wider, and a cap is no cap; narrower, and rounding holds the book."""
    assert broken([0.9 + 0.9e-6, -0.9 - 0.9e-6]) == ()
    assert "name:Y" in broken([0.9 + 1.1e-6, -0.9 - 1.1e-6])


def test_a_level_that_cannot_be_left_is_allowed_but_not_more() -> None:
    """Above its cap by drift, a book may stay where the mandatory trades leave it, and no higher."""
    held = {"held_leg_frac": np.array([1.05, -1.05])}
    assert broken([1.05, -1.05], **held) == ()
    assert "gross" in broken([1.06, -1.06], **held)
