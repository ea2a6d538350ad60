"""Which limits of a problem cannot hold together, and how far each would have to give: by hand."""

from typing import Any

import pytest

from strategies.allocators.problem_file import optimise

#: Two names that earn 0.2% and 0.1%.
GOOD: dict[str, Any] = {
    "allocator": "mean_variance",
    "symbols": ["A", "B"],
    "expected_return_frac": [0.002, 0.001],
    "covariance": [[0.0002, 0.0001], [0.0001, 0.0003]],
}
DAYS = {
    "allocator": "downside",
    "history_return_frac": [[0.01, -0.02], [-0.03, -0.01], [0.01, 0.01]],
    "worst_frac": 0.3,
}
#: (limits, {limit in conflict: the value that would do alone}).
CASES: list[tuple[dict[str, Any], dict[str, float | None]]] = [
    # Two names of 0.4 are 0.8 at most.
    ({"fully_invested": True, "name_max_frac": 0.4}, {"name_max_frac": 0.5, "fully_invested": 0.8}),
    ({"fully_invested": True, "gross_max_frac": 0.5}, {"gross_max_frac": 1.0, "fully_invested": 0.5}),
    # The gross is in nobody's way: all of it in A earns 0.2%.
    (
        {"return_min_frac": 0.003, "fully_invested": True, "long_only": True, "gross_max_frac": 9.0},
        {"long_only": 1.0, "fully_invested": 1.5, "return_min_frac": 0.002},
    ),
    ({"return_min_frac": 0.003, "gross_max_frac": 1.0}, {"gross_max_frac": 1.5, "return_min_frac": 0.002}),
    # Net and gross are both below 1: to ease one of them is not enough.
    (
        {"fully_invested": True, "gross_max_frac": 0.5, "net_max_frac": 0.3},
        {"net_max_frac": None, "fully_invested": 0.3},
    ),
    # w = (a, 1 - a) loses 0.03 a + 0.01 (1 - a) on the second day and 0.02 (1 - a) - 0.01 a on the first:
    # the worst of them is least at a = 0.2, where both are 0.014; the same is 1/14 of it at 0.001.
    (
        {**DAYS, "worst_day_max_loss_frac": 0.001, "fully_invested": True},
        {"fully_invested": 1.0 / 14.0, "worst_day_max_loss_frac": 0.014},
    ),
    # Nothing is held, so nothing is earned: 0, and not what a solver takes for it.
    ({"return_min_frac": 0.001, "gross_max_frac": 0.0}, {"gross_max_frac": 0.5, "return_min_frac": 0.0}),
    # No limit spans two periods of a plan.
    (
        {"allocator": "multi_period", "steps": 3, "fully_invested": True, "name_max_frac": 0.4},
        {"name_max_frac": 0.5, "fully_invested": 0.8},
    ),
]


@pytest.mark.parametrize(("limits", "expected"), CASES)
def test_the_conflict_is_irreducible_and_says_what_would_do(
    limits: dict[str, Any], expected: dict[str, float | None]
) -> None:
    """Infeasible alone sends a user to guess; each way out that is named must lead out."""
    answer = optimise(GOOD | limits)
    found = {one["limit"]: one["needed"] for one in answer["conflict"]}
    assert list(found) == list(expected)
    assert [n for n in found.values() if n is not None] == pytest.approx(
        [n for n in expected.values() if n is not None], rel=1e-5
    )
    assert [n is None for n in found.values()] == [n is None for n in expected.values()]
    assert {one["limit"]: one["value"] for one in answer["conflict"]} == {
        key: limits[key] for key in expected
    }
    for limit in expected:
        assert limit in answer["explanation"][0]
    for limit, needed in expected.items():
        if needed is None:
            continue
        if limit in {"fully_invested", "long_only"}:
            eased: dict[str, Any] = {limit: False}
        else:
            eased = {limit: needed + (-1e-4 if limit == "return_min_frac" else 1e-4)}
        assert optimise(GOOD | limits | eased)["status"] in {"optimal", "unbounded"}


def test_an_answer_says_what_it_assumed() -> None:
    """Least variance alone is long-only and fully invested here, and on the bus it is not."""
    pure = optimise({key: GOOD[key] for key in ("symbols", "covariance")} | {"allocator": "min_variance"})
    assert pure["assumed"] == {"long_only": True, "fully_invested": True}
    floor = {"return_min_frac": 0.001, "gross_max_frac": 1.0}
    bounded = optimise(GOOD | {"allocator": "min_variance"} | floor)
    assert bounded["assumed"] == {"long_only": False, "fully_invested": False}
    usual = optimise(GOOD | {"risk_aversion": 2.0, "gross_max_frac": 1.0, "long_only": True})
    assert usual["assumed"] == {
        "held_frac": 0.0,
        "cost_frac": 0.0,
        "trade_aversion": 1.0,
        "fully_invested": False,
    }


#: Two tenors of which at least $1M each is forced. Yields go up and down by 1% in 20 scenarios: a book moves
#: by 1% of its 5Y and 2% of its 10Y.
FORCED: dict[str, Any] = {
    "allocator": "treasury",
    "tenors": ["5Y", "10Y"],
    "yield_pct": [2.0, 2.1],
    "repo_pct": 1.0,
    "horizon_days": 30,
    "cost": 0.0,
    "cost_unit": "bp",
    "duration_years": [1.0, 2.0],
    "scenarios": {"kind": "historical", "yield_pct": [[float(day % 2)] * 2 for day in range(21)]},
    "cvar_max_musd": 10.0,
    "cvar_horizon_days": 1,
    "liquidity_musd": 5.0,
    "minimum": "forced",
    "min_position_musd": 1.0,
}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"gross_max_musd": 1.5}, {"gross_max_musd": (1.5, 2.0), "min_position_musd": (1.0, 0.75)}),
        (
            {"equity_musd": 0.5, "leverage_max": 2.0},
            {"leverage_max": (2.0, 4.0), "min_position_musd": (1.0, 0.5)},
        ),
        (
            {"equity_musd": 0.5, "haircut_frac": [0.5, 0.25]},
            {"equity_musd": (0.5, 0.75), "min_position_musd": (1.0, 2.0 / 3.0)},
        ),
        ({"liquidity_musd": [5.0, 0.5]}, {"liquidity_musd": (1.0, 2.0), "min_position_musd": (1.0, 0.5)}),
        # Two limits are in the way, so that neither alone would do; the minimum may give way to both.
        (
            {"gross_max_musd": 1.5, "liquidity_musd": [5.0, 0.5]},
            {"liquidity_musd": (1.0, None), "min_position_musd": (1.0, 0.5)},
        ),
    ],
)
def test_a_forced_minimum_says_what_it_conflicts_with(
    limits: dict[str, Any], expected: dict[str, tuple[float, float | None]]
) -> None:
    """A person sees a handful of limits and no book; one of these figures has to move."""
    answer = optimise(FORCED | limits)
    assert answer["status"] == "infeasible"
    assert [one["limit"] for one in answer["conflict"]] == list(expected)
    for one in answer["conflict"]:
        value, needed = expected[one["limit"]]
        assert one["value"] == value
        assert one["needed"] == (None if needed is None else pytest.approx(needed, rel=1e-5))
        assert one["limit"] in answer["explanation"][1]


def test_a_limit_on_cvar_has_to_give_as_far_as_the_best_hedge() -> None:
    """Against $1M of 10Y stand at most $1.5M of 5Y: 2% less 1.5% is what such a book loses at the least."""
    answer = optimise(FORCED | {"liquidity_musd": [1.5, 5.0], "cvar_max_musd": 0.001})
    needed = {one["limit"]: one["needed"] for one in answer["conflict"]}
    assert needed["cvar_max_musd"] == pytest.approx(0.02 - 0.015, rel=1e-3)
    assert (
        optimise(FORCED | {"liquidity_musd": [1.5, 5.0], "cvar_max_musd": 0.00501})["status"] != "infeasible"
    )
