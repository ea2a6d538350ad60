"""The direct allocator: a fixed amount per spread, on transitions only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from engine.ports import AllocationProblem, AllocatorContext, Spread, Targets
from strategies.allocators.direct import Direct, DirectOptions, set_legs
from tests.support.allocation import layout_of, problem_of

TWO = layout_of(["A/B", "B/C"], ["LONE"])


def allocate(problem: AllocationProblem) -> Targets:
    return Direct(DirectOptions(unit_usd=120_000.0), AllocatorContext(problem.layout, 390)).allocate(problem)


def problem(**changes: Any) -> AllocationProblem:
    ratio = np.array([0.5, 2.0, math.nan])
    return problem_of(TWO, **{"frozen_usd_ratio": ratio, "usd_ratio": ratio * 3.0, **changes})


def test_due_on_transitions_alone() -> None:
    """Rebalancing by the clock would pay costs for nothing: between entry and exit nothing is to be done."""
    allocator = Direct(DirectOptions(), AllocatorContext(TWO, 390))
    assert [allocator.due(30, n) for n in (0, 1, 2)] == [False, True, True]


def test_entry_by_hand() -> None:
    """$120,000 of gross at b = 0.5: $80,000 of y against $40,000 of x, at the ratio frozen at entry."""
    targets = allocate(problem(side=np.array([1.0, 0.0, 0.0]), changed=(0,)))
    assert targets.status == "optimal"
    assert targets.by_sleeve
    assert targets.leg_frac == pytest.approx([0.08, -0.04, 0.0, 0.0, 0.0])


def test_only_what_changed_trades_and_shared_legs_net() -> None:
    """S1 enters SHORT, S0 and the single name keep their legs to the last bit; B nets in the book."""
    held = np.array([0.0811, -0.0397, 0.0, 0.0, 0.3])
    targets = allocate(problem(side=np.array([1.0, -1.0, 0.0]), changed=(1,), held_leg_frac=held))
    assert targets.leg_frac[[0, 1, 4]].tolist() == held[[0, 1, 4]].tolist()
    assert targets.leg_frac[2:4] == pytest.approx([-0.04, 0.08])
    assert TWO.net(targets.leg_frac)[1] == pytest.approx(-0.0397 - 0.04)


def test_exit_is_zero() -> None:
    """FLAT means nothing held, whatever the ratio is by now."""
    ratio = np.array([math.nan, 1.0, math.nan])
    held = np.array([0.08, -0.04, 0.0, 0.0, 0.0])
    targets = allocate(problem(changed=(0,), frozen_usd_ratio=ratio, held_leg_frac=held))
    assert targets.leg_frac.tolist() == [0.0] * 5


@pytest.mark.parametrize(
    "fault",
    [
        {"frozen_usd_ratio": np.array([math.nan, 1.0, math.nan])},
        {"known": np.array([True, False, True, True])},
        {"is_reducing": True},
    ],
)
def test_what_may_not_be_entered_is_closed(fault: dict[str, Any]) -> None:
    """A flip that cannot enter its new side must still leave the old one."""
    held = np.array([-0.08, 0.04, 0.0, 0.0, 0.0])
    targets = allocate(problem(side=np.array([1.0, 0.0, 0.0]), changed=(0,), held_leg_frac=held, **fault))
    assert targets.leg_frac.tolist() == [0.0] * 5


def test_without_a_price_the_spread_is_held() -> None:
    """An order without a price has no size in shares."""
    held = np.array([0.08, -0.04, 0.0, 0.0, 0.0])
    price = np.array([100.0, math.nan, 100.0, 100.0])
    targets = allocate(problem(changed=(0,), held_leg_frac=held, price_usd=price))
    assert targets.leg_frac.tolist() == held.tolist()


def test_bad_input_is_named() -> None:
    """Equity of zero would make every weight infinite."""
    targets = allocate(problem(equity_usd=0.0, changed=(0,)))
    assert (targets.status, targets.binding, targets.leg_frac.size) == ("bad_input", ("equity_usd",), 0)


def test_a_side_said_again_moves_the_hedge_alone() -> None:
    """A delta hedge: the bond stays, the stock follows; resizing the bond would pay its spread each time."""
    held = np.array([0.05, -0.02, 0.0, 0.0, 0.0])
    targets = allocate(problem(side=np.array([1.0, 0.0, 0.0]), changed=(0,), held_leg_frac=held))
    assert targets.leg_frac.tolist() == pytest.approx([0.05, -0.025, 0.0, 0.0, 0.0])


def test_capital_is_shared_evenly_among_the_spreads_of_a_strategy() -> None:
    """Forty percent of equity over two spreads: 20% gross each, whatever unit_usd says."""
    context = AllocatorContext(TWO, 390, capital_frac={"test": 0.4})
    asked = problem(side=np.array([1.0, 1.0, 0.0]), changed=(0, 1))
    targets = Direct(DirectOptions(), context).allocate(asked)
    gross = np.abs(targets.leg_frac)
    assert [gross[:2].sum(), gross[2:4].sum()] == pytest.approx([0.2, 0.2])


def test_the_spreads_of_a_chain_share_one_part() -> None:
    """Forty percent over a chain of two and one spread beside it: 20% for whichever contract is held."""
    pairs = [("a", "A/B", "A"), ("a", "A/C", "A"), ("a", "C/B", ""), ("b", "B/C", "A"), ("b", "C/A", "")]
    spreads = tuple(Spread(owner, name, *name.split("/"), chain) for owner, name, chain in pairs)
    layout = replace(layout_of([name for _, name, _ in pairs], ["LONE"]), spreads=spreads)
    context = AllocatorContext(layout, 390, capital_frac={"a": 0.4, "b": 0.6})
    assert context.share_frac[:5] == pytest.approx([0.2, 0.2, 0.2, 0.3, 0.3])
    assert math.isnan(context.share_frac[5])
    none = AllocatorContext(layout, 390, capital_frac={"a": 0.4}).share_frac
    assert np.isnan(none).tolist() == [False] * 3 + [True] * 3


def test_a_roll_in_one_minute_leaves_the_share_as_it_was() -> None:
    """The old contract goes to nothing and the next takes its whole part: gross stays 40%, not 20 or 80."""
    spreads = tuple(replace(spread, chain="A") for spread in TWO.spreads)
    layout = replace(TWO, spreads=spreads)
    context = AllocatorContext(layout, 390, capital_frac={"test": 0.4})
    held = np.array([0.27, -0.13, 0.0, 0.0, 0.0])
    asked = replace(
        problem(side=np.array([0.0, 1.0, 0.0]), changed=(0, 1), held_leg_frac=held), layout=layout
    )
    targets = Direct(DirectOptions(), context).allocate(asked)
    assert targets.leg_frac == pytest.approx([0.0, 0.0, 0.4 / 3.0, -0.8 / 3.0, 0.0])


@pytest.mark.parametrize("is_reducing", [False, True])
def test_a_roll_that_was_not_filled_is_asked_for_again_whole(is_reducing: bool) -> None:
    """Nine tenths of the old contract are left, a tenth of the next is in: both go on, as one trade would."""
    layout = replace(TWO, spreads=tuple(replace(spread, chain="A") for spread in TWO.spreads))
    context = AllocatorContext(layout, 390, capital_frac={"test": 0.4})
    held = np.array([0.24, -0.12, 0.013, -0.027, 0.0])
    asked = replace(
        problem(side=np.array([0.0, 1.0, 0.0]), changed=(0,), held_leg_frac=held, is_reducing=is_reducing),
        layout=layout,
    )
    targets = Direct(DirectOptions(), context).allocate(asked)
    entered = [0.013, -0.027] if is_reducing else [0.4 / 3.0, -0.8 / 3.0]
    assert targets.leg_frac == pytest.approx([0.0, 0.0, *entered, 0.0])


def test_no_contract_is_entered_while_the_one_before_has_no_price() -> None:
    """It cannot be left at any price, so the next one would come on top of it."""
    layout = replace(TWO, spreads=tuple(replace(spread, chain="A") for spread in TWO.spreads))
    context = AllocatorContext(layout, 390, capital_frac={"test": 0.4})
    held = np.array([0.0, -0.12, 0.0, 0.0, 0.0])
    price = np.array([math.nan, 100.0, 100.0, 100.0])
    asked = problem(side=np.array([0.0, 1.0, 0.0]), changed=(0, 1), held_leg_frac=held, price_usd=price)
    targets = Direct(DirectOptions(), context).allocate(replace(asked, layout=layout))
    assert targets.leg_frac.tolist() == held.tolist()


def test_an_outright_uses_its_one_leg() -> None:
    """Its ratio is 0: everything is in y."""
    layout = layout_of(["A/A"])
    zero = np.zeros(1)
    asked = problem_of(layout, side=np.array([-1.0]), changed=(0,), usd_ratio=zero, frozen_usd_ratio=zero)
    assert allocate(asked).leg_frac.tolist() == pytest.approx([-0.12, 0.0])


def test_the_legs_are_the_same_uncompiled() -> None:
    """The kernel and its Python twin agree to the last bit: shares, unknown ratios and prices included."""
    rng = np.random.default_rng(11)
    symbol, y_leg, x_leg = np.array([0, 1, 1, 2, 2, 0]), np.array([0, 2, 4]), np.array([1, 3, 5])
    for _ in range(100):
        side, share = rng.choice([-1.0, 0.0, 1.0], 3), rng.choice([math.nan, 0.2, 0.5], 3)
        ratio, price = rng.normal(0, 2, 3), rng.choice([10.0, 25.0, math.nan], 3)
        ratio[rng.random(3) < 0.2] = math.nan
        known, changed = rng.random(3) < 0.8, np.flatnonzero(rng.random(3) < 0.7)
        given = (
            changed,
            rng.random(3) < 0.3,
            side,
            ratio,
            price,
            known,
            symbol,
            y_leg,
            x_leg,
            share,
            0.1,
            bool(rng.random() < 0.2),
        )
        legs = np.where(rng.random(6) < 0.5, rng.normal(0, 0.1, 6), 0.0)
        twin = legs.copy()
        assert set_legs(*given, legs) == set_legs.py_func(*given, twin)
        assert legs.tolist() == twin.tolist()
