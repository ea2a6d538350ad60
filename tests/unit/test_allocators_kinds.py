"""Downside, multi-period and the no-trade buffer on the bus, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.ports import AllocationProblem, AllocatorContext, Layout, Targets
from strategies.allocators import REGISTRY
from tests.support.allocation import layout_of, problem_of

PAIR = layout_of(["Y/X"])
TWO = layout_of(["A/B", "C/D"])
#: gamma with gamma * h = 50; the variance of (1/2, -1/2) is 2.5e-5, so s* = gain / 2.5e-3.
GAMMA = 50.0 * 390.0 / 60.0


def allocate(kind: str, problem: AllocationProblem, **options: Any) -> Targets:
    plugin = REGISTRY[kind]
    allocator = plugin.build(plugin.options(**options), AllocatorContext(problem.layout, 390))
    return allocator.allocate(problem)


def wanted(gain: float, *legs: float, layout: Layout = PAIR, **fields: Any) -> AllocationProblem:
    """State a problem of LONG spreads that promise ``gain`` each, and hold ``legs``."""
    n = len(layout.spreads)
    held = np.array(legs) if legs else np.zeros(2 * n)
    return problem_of(
        layout,
        **{"side": np.ones(n), "expected_return_frac": np.full(n, gain), "held_leg_frac": held, **fields},
    )


# ------------------------------------------------------------------------------------------ no-trade buffer


@pytest.mark.parametrize(
    ("held", "leg"),
    [
        (0.0, 0.16),  # from outside to the edge 0.8 * 0.4, not to the target
        (0.17, 0.17),  # inside: to the last bit
        (0.23, 0.23),
        (0.3, 0.24),
    ],
)
def test_the_buffer_trades_to_its_edge_only(held: float, leg: float) -> None:
    """The target is s = 1e-3 / 2.5e-3 = 0.4 without costs, the band 0.32 to 0.48, legs half of that."""
    options = {"risk_aversion": GAMMA, "buffer_frac": 0.2}
    targets = allocate("no_trade_buffer", wanted(1e-3, held, -held), **options)
    assert targets.leg_frac == pytest.approx([leg, -leg], abs=1e-5)
    if leg == held:
        assert targets.leg_frac.tolist() == [held, -held]


def test_a_buffer_of_nothing_is_the_target() -> None:
    """At width 0 the kind is mean-variance without costs."""
    buffered = allocate("no_trade_buffer", wanted(1e-3), risk_aversion=GAMMA, buffer_frac=0.0)
    plain = allocate("mean_variance", wanted(1e-3), risk_aversion=GAMMA, trade_aversion=0.0)
    assert buffered.leg_frac.tobytes() == plain.leg_frac.tobytes()


def test_an_exit_has_no_buffer() -> None:
    """A spread that is not wanted is closed whole; a band would keep a position nobody asked for."""
    problem = wanted(1e-3, 0.2, -0.2, side=np.zeros(1))
    assert allocate("no_trade_buffer", problem).leg_frac.tolist() == [0.0, 0.0]


def test_bands_together_stay_under_a_cap() -> None:
    """Targets of 0.5 each fill a gross of 1; at 0.58 each, inside both bands, it would be 1.16."""
    problem = wanted(0.05, *[0.29, -0.29] * 2, layout=TWO)
    options = {"risk_aversion": GAMMA, "gross_max_frac": 1.0, "buffer_frac": 0.2}
    targets = allocate("no_trade_buffer", problem, **options)
    assert targets.status == "optimal"
    assert np.abs(targets.leg_frac).sum() == pytest.approx(1.0, abs=1e-5)


# ------------------------------------------------------------------------------------------ multi-period


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"steps": 1, "ends_flat": False}, 0.36),  # (10 - 1) bp: mean-variance
        ({"steps": 1, "ends_flat": True}, 0.32),  # (10 - 2) bp: the way out is paid for
        ({"steps": 2, "forecast_half_life_min": 60.0}, 0.32),  # 0.2 remains: sold in two steps, paid once
        ({"steps": 2, "forecast_half_life_min": 1e9}, 0.36),  # both steps share the two trades: 2s(10 - 1) bp
        ({"steps": 4, "forecast_half_life_min": 1e9}, 0.38),  # (10 - 2/4) bp
    ],
)
def test_a_plan_spreads_its_costs_over_its_steps(options: dict[str, Any], size: float) -> None:
    """Gain 10 bp a step, cost 1 bp a trade, 2.5e-3 s of risk: each size is a line of algebra."""
    targets = allocate("multi_period", wanted(1e-3), risk_aversion=GAMMA, **options)
    assert targets.status == "optimal"
    assert targets.leg_frac == pytest.approx([size / 2.0, -size / 2.0], abs=2e-5)


def test_patience_enters_where_haste_would_not() -> None:
    """1.5 bp does not pay for two trades of 1 bp, two steps of 1.5 bp do: s = (1.5 - 1) bp / 2.5e-3."""
    options = {"risk_aversion": GAMMA, "forecast_half_life_min": 1e9}
    assert allocate("multi_period", wanted(1.5e-4), steps=1, **options).leg_frac.tolist() == [0.0, 0.0]
    patient = allocate("multi_period", wanted(1.5e-4), steps=2, **options)
    assert patient.leg_frac == pytest.approx([0.01, -0.01], abs=1e-5)


def test_a_plan_keeps_its_caps_in_every_step() -> None:
    """A later step beyond a cap would make the first one trade towards a book that cannot be."""
    targets = allocate("multi_period", wanted(0.05, layout=TWO), gross_max_frac=1.0, risk_aversion=GAMMA)
    assert np.abs(targets.leg_frac).sum() == pytest.approx(1.0, abs=1e-5)
    assert "gross" in targets.binding


# ------------------------------------------------------------------------------------------ downside


def fell(y: list[float], n_days: int = 20) -> np.ndarray:
    """Return a history in which Y moved on the first days and nothing else ever did."""
    history = np.zeros((n_days, 2))
    history[: len(y), 0] = y
    return history


def test_the_mean_of_the_worst_days_binds() -> None:
    """The worst 2 of 20 days lost 3% and 1% in Y, half of s: 0.01 s may be 0.2% of equity, so s = 0.2."""
    problem = wanted(1e-3, history_return_frac=fell([-0.03, 0.05, -0.01]))
    options = {"worst_frac": 0.1, "worst_day_max_loss_frac": 0.002, "history_days_min": 20}
    targets = allocate("downside", problem, **options)
    assert targets.leg_frac == pytest.approx([0.1, -0.1], abs=1e-5)
    assert "worst_days" in targets.binding
    assert targets.objective == pytest.approx(0.2 * (1e-3 - 1e-4), rel=1e-4)


def test_downside_sees_no_variance() -> None:
    """Without a bad day in the history only the caps bind: that is what it means to assume no covariance."""
    targets = allocate("downside", wanted(1e-3, history_return_frac=fell([0.01])), history_days_min=20)
    assert targets.leg_frac == pytest.approx([1.0, -1.0], abs=1e-5)


def test_a_day_without_a_return_does_not_count() -> None:
    """A made-up return of zero would dilute the worst days."""
    history = fell([-0.03, 0.05, -0.01], n_days=22)
    history[20:, 1] = np.nan
    options = {"worst_frac": 0.1, "worst_day_max_loss_frac": 0.002, "history_days_min": 20}
    targets = allocate("downside", wanted(1e-3, history_return_frac=history), **options)
    assert targets.leg_frac == pytest.approx([0.1, -0.1], abs=1e-5)


@pytest.mark.parametrize("history", [None, fell([-0.03], n_days=59)])
def test_too_short_a_history_is_named(history: Any) -> None:
    """The worst of three days says nothing: the book is held, and the reason is told."""
    targets = allocate("downside", wanted(1e-3, history_return_frac=history))
    assert (targets.status, targets.binding) == ("bad_input", ("history_return_frac",))


def test_a_book_beyond_the_limit_shrinks_to_it() -> None:
    """A limit that a new bad day has broken is reached again, as fast as participation allows."""
    problem = wanted(1e-3, 0.4, -0.4, history_return_frac=fell([-0.03, 0.05, -0.01]))
    options = {"worst_frac": 0.1, "worst_day_max_loss_frac": 0.002, "history_days_min": 20}
    assert allocate("downside", problem, **options).leg_frac == pytest.approx([0.1, -0.1], abs=1e-5)
    stuck = wanted(
        1e-3, 0.4, -0.4, history_return_frac=fell([-0.03, -0.01]), volume_usd=np.full(2, 2e6)
    )  # a tenth of equity a bar
    targets = allocate("downside", stuck, **options)
    assert targets.leg_frac == pytest.approx([0.3, -0.3], abs=1e-5)
    assert "excess" in targets.binding
