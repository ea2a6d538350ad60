"""``astra optimise``: published problems at their verified optima, and documents that are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import AstraError, Errors
from examples.figures.r_stream import RStream
from strategies.allocators.problem_file import optimise

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "optimiser.json").read_text())
CASES: dict[str, Any] = GOLDENS["cases"]
MU, S = GOLDENS["MU"], GOLDENS["S"]
SIX = ["1", "2", "3", "4", "5", "6"]
LONG_ONLY_L1 = {"allocator": "mean_variance", "symbols": SIX, "gross_max_frac": 1.0, "long_only": True}


def document_of(name: str) -> dict[str, Any]:
    """Translate the inputs of a golden long-only L1 case into a problem file."""
    given = CASES[name]["inputs"]
    n = len(SIX)
    return {
        **LONG_ONLY_L1,
        "expected_return_frac": MU if given["mu"] == "MU" else given["mu"],
        "covariance": S if given.get("S", "S") == "S" else given["S"],
        "held_frac": given.get("w0", [0.0] * n),
        "cost_frac": given.get("cost", 0.0),
        "risk_aversion": given.get("lam", 0.0),
        "trade_aversion": given.get("tau", 1.0),
    }


@pytest.mark.parametrize(
    "name",
    [
        "003.max_return",
        "003.max_return_neg",
        "003.costs_no_switch",
        "003.mvo_equal",
        "003.mvo_rising_var",
        "003.mvo_costs_tau0_lam15",
    ],
)
def test_published_long_only_problems(name: str) -> None:
    """Exact optima, to 2e-5 or 5e-5 a weight and 1e-7 or 1e-6 of the objective; the prints are looser."""
    case, answer = CASES[name], optimise(document_of(name))
    tolerance = case["tolerance"]
    assert answer["status"] == "optimal"
    assert answer["weights_frac"] == pytest.approx(case["expected"]["weights"], abs=tolerance["weights_abs"])
    assert answer["objective"] == pytest.approx(case["expected"]["objective"], rel=tolerance["objective_rel"])
    assert answer["gross_frac"] <= 1.0 + 1e-7
    assert "gross" in answer["binding"]


@pytest.mark.parametrize(("advantage", "winner"), [(0.00099, 5), (0.00101, 4)])
def test_a_switch_pays_two_legs(advantage: float, winner: int) -> None:
    """At 5 bp a leg the advantage must exceed 10 bp, not the 5 bp a one-legged count suggests."""
    document = document_of("003.costs_no_switch")
    document["expected_return_frac"] = [0.0, 0.0, 0.0, 0.0, 0.002 + advantage, 0.002]
    assert optimise(document)["weights_frac"][winner] == pytest.approx(1.0, abs=2e-5)


def test_turnover_falls_as_trade_aversion_rises() -> None:
    """Twenty values of tau at 5e-5 a weight; beyond 2126.6 nothing trades at all."""
    case = CASES["003.tau_sweep_lam15"]
    turnovers = []
    for row in case["expected"]["rows"]:
        answer = optimise({**document_of("003.tau_sweep_lam15"), "trade_aversion": row["tau"]})
        assert answer["weights_frac"] == pytest.approx(row["weights"], abs=5e-5)
        assert answer["turnover_frac"] == pytest.approx(row["turnover"], abs=5e-4)
        turnovers.append(answer["turnover_frac"])
    assert np.all(np.diff(turnovers) <= 1e-6)
    threshold = case["expected"]["no_trade_for_tau_at_least"]
    for factor, trades in ((0.999, True), (1.001, False)):
        answer = optimise({**document_of("003.tau_sweep_lam15"), "trade_aversion": factor * threshold})
        assert (answer["turnover_frac"] > 1e-5) == trades


@pytest.mark.parametrize("is_long_only", [False, True])
def test_risk_aversion_thresholds(is_long_only: bool) -> None:
    """At each verified gamma one asset enters or leaves, or the gross cap goes slack; 1% to either side."""
    name = "003.lambda_thresholds_long_only" if is_long_only else "003.lambda_thresholds_l1_long_short"
    base = {**LONG_ONLY_L1, "long_only": is_long_only, "expected_return_frac": MU, "covariance": S}

    def picture(gamma: float) -> tuple[tuple[int, ...], bool]:
        answer = optimise({**base, "risk_aversion": gamma})
        signs = tuple(int(np.sign(w)) if abs(w) > 1e-6 else 0 for w in answer["weights_frac"])
        return signs, answer["gross_frac"] > 1.0 - 1e-6

    for event in CASES[name]["expected"]["events"]:
        before, after = picture(0.99 * event["lam"]), picture(1.01 * event["lam"])
        changed = [i + 1 for i in range(6) if before[0][i] != after[0][i]]
        if "L1" in event["event"]:
            assert (before[1], after[1], changed) == (True, False, [])
        else:
            asset = int(event["event"].replace("asset ", "")[0])
            assert changed == [asset]
    if not is_long_only:
        at_60 = optimise({**base, "risk_aversion": 60.0})
        assert at_60["gross_frac"] == pytest.approx(1.0, abs=1e-6)
        assert at_60["net_frac"] == pytest.approx(CASES[name]["expected"]["at_60"]["net"], rel=1e-4)


@pytest.mark.parametrize("gamma", ["0.01", "15", "10000"])
def test_fully_invested_frontier(gamma: str) -> None:
    """The frontier from all return to all caution: 1e-4 a weight, 1e-6 of the objective."""
    case = CASES[f"003.frontier_full_lam{gamma}"]
    answer = optimise(
        {
            "allocator": "mean_variance",
            "symbols": SIX,
            "expected_return_frac": MU,
            "covariance": S,
            "risk_aversion": float(gamma),
            "long_only": True,
            "fully_invested": True,
        }
    )
    w, expected = np.array(answer["weights_frac"]), case["expected"]
    assert w == pytest.approx(expected["weights"], abs=1e-4)
    assert answer["objective"] == pytest.approx(expected["objective"], rel=1e-6)
    assert math.sqrt(w @ np.array(S) @ w) == pytest.approx(expected["vol"], rel=1e-4)
    assert np.array(MU) @ w == pytest.approx(expected["ret"], abs=1e-4)


def test_the_random_stream_of_the_published_history() -> None:
    """Figures of the 1,000 x 6 history that were printed; without them the downside cases prove nothing."""
    case = CASES["003.hist_w0"]
    assert RStream(503).normal(6, 0.0, 0.1).tolist() == pytest.approx(MU, abs=1e-15)
    days = RStream(503).matrix(1000, 6, 0.0, 0.1) @ np.array(case["inputs"]["w0"])
    q05 = np.quantile(days, 0.05)
    assert q05 == pytest.approx(case["expected"]["q05"], abs=1e-9)
    assert np.sort(days)[:50].mean() == pytest.approx(case["expected"]["mean_worst_50"], abs=1e-9)
    assert days[days <= q05][:3] == pytest.approx(case["expected"]["first_worst"], abs=1e-9)


@pytest.mark.parametrize("name", ["0.1", "0.09", "0.2", "with_tau20"])
def test_downside(name: str) -> None:
    """Mean of the worst 5% of days limited: 1e-5 a weight, 1e-7 of the objective."""
    case = CASES[f"003.sum_smallest_{name}"]
    given, expected = case["inputs"], case["expected"]
    history = RStream(503).matrix(1000, 6, 0.0, 0.1)
    has_costs = name == "with_tau20"
    answer = optimise(
        {
            "allocator": "downside",
            "symbols": SIX,
            "expected_return_frac": MU,
            "history_return_frac": history.tolist(),
            "worst_frac": 0.05,
            "worst_day_max_loss_frac": -given["max_loss"],
            "held_frac": given.get("w0", [0.0] * 6),
            "cost_frac": given["cost"] if has_costs else 0.0,
            "trade_aversion": given["tau"] if has_costs else 1.0,
            "gross_max_frac": 1.0,
            "long_only": True,
        }
    )
    assert answer["weights_frac"] == pytest.approx(expected["weights"], abs=1e-5)
    assert answer["objective"] == pytest.approx(expected["objective"], rel=1e-7)
    worst = np.sort(history @ np.array(answer["weights_frac"]))[:50].mean()
    assert worst == pytest.approx(given["max_loss"], abs=1e-6)
    assert "worst_day" in answer["binding"]


def test_min_variance_under_caps_alone_is_the_empty_book() -> None:
    """The program as it is often printed has the optimum 0 for any covariance: 1e-6 a weight."""
    given = CASES["002.minvar_trivial"]["inputs"]
    answer = optimise(
        {
            "allocator": "min_variance",
            "symbols": SIX,
            "covariance": given["S"],
            "gross_max_frac": given["gross"],
            "net_max_frac": given["net"],
        }
    )
    assert answer["weights_frac"] == pytest.approx([0.0] * 6, abs=1e-6)


def test_min_variance_fully_invested() -> None:
    """By default long-only and fully invested: 2e-5 a weight, and the objective is the variance."""
    case = CASES["002.minvar_fully_invested"]
    document = {"allocator": "min_variance", "symbols": SIX, "covariance": case["inputs"]["S"]}
    for flags in ({}, {"long_only": True, "fully_invested": True}):
        answer = optimise({**document, **flags})
        assert answer["weights_frac"] == pytest.approx(case["expected"]["weights"], abs=2e-5)
        assert answer["objective"] == pytest.approx(case["expected"]["objective"], rel=1e-6)
        assert math.sqrt(answer["objective"]) == pytest.approx(case["expected"]["vol"], rel=1e-6)


def test_a_return_target_makes_both_caps_bind() -> None:
    """A demanding return of 0.3 fills gross and net, and one short carries -(2 - 0.05)/2."""
    given = CASES["002.mvo_gamma2"]["inputs"]
    answer = optimise(
        {
            "allocator": "min_variance",
            "symbols": given["names"],
            "covariance": given["S"],
            "expected_return_frac": given["mu"],
            "gross_max_frac": 2.0,
            "net_max_frac": 0.05,
            "return_min_frac": 0.3,
        }
    )
    assert {"gross", "net", "return"} <= set(answer["binding"])
    shorts = [w for w in answer["weights_frac"] if w < 0.0]
    assert sum(shorts) == pytest.approx(CASES["002.structure"]["expected"]["short"], abs=1e-5)


def test_small_risk_aversion_makes_both_caps_bind() -> None:
    """Three names, one short at -0.975: 2e-5 a weight."""
    case = CASES["002.mvo_gamma2"]
    given, expected = case["inputs"], case["expected"]
    answer = optimise(
        {
            "allocator": "mean_variance",
            "symbols": given["names"],
            "covariance": given["S"],
            "expected_return_frac": given["mu"],
            "risk_aversion": given["gamma"],
            "gross_max_frac": given["gross"],
            "net_max_frac": given["net"],
        }
    )
    assert answer["weights_frac"] == pytest.approx(expected["weights"], abs=2e-5)
    assert answer["objective"] == pytest.approx(expected["objective"], rel=1e-7)
    assert answer["gross_frac"] == pytest.approx(2.0, abs=1e-6)
    assert answer["net_frac"] == pytest.approx(0.05, abs=1e-6)
    assert {"gross", "net"} <= set(answer["binding"])


ONE = {
    "symbols": ["A"],
    "expected_return_frac": [0.02],
    "covariance": [[0.04]],
    "cost_frac": 0.002,
}


def test_a_plan_pays_for_all_its_trades() -> None:
    """Risk is 0.08 w at the margin: (2 - 0.4)% buys 0.2 now, the halved forecast keeps 0.125 of it."""
    one_step = optimise({**ONE, "allocator": "multi_period", "steps": 1})
    assert one_step["weights_frac"] == pytest.approx([0.2], abs=1e-7)
    assert one_step["objective"] == pytest.approx(0.004 - 0.04 * 0.04 - 0.002 * 0.4, rel=1e-6)
    plan = optimise({**ONE, "allocator": "multi_period", "steps": 2, "forecast_half_life": 1.0})
    assert np.ravel(plan["plan_frac"]) == pytest.approx([0.2, 0.125], abs=1e-7)
    assert plan["weights_frac"] == plan["plan_frac"][0]
    open_end = optimise({**ONE, "allocator": "multi_period", "steps": 1, "ends_flat": False})
    assert open_end["weights_frac"] == optimise({**ONE, "allocator": "mean_variance"})["weights_frac"]


@pytest.mark.parametrize(("held", "weight"), [(0.0, 0.2), (0.21, 0.21), (0.28, 0.28), (0.5, 0.3)])
def test_a_band_around_the_target_without_costs(held: float, weight: float) -> None:
    """The target is 2% / 0.08 = 0.25, the band 0.2 to 0.3: outside to the edge, inside nothing."""
    answer = optimise({**ONE, "allocator": "no_trade_buffer", "held_frac": [held]})
    assert answer["weights_frac"] == pytest.approx([weight], abs=1e-7)
    assert answer["target_frac"] == pytest.approx([0.25], abs=1e-7)
    assert answer["turnover_frac"] == pytest.approx(abs(weight - held), abs=1e-7)


GOOD = {
    "allocator": "mean_variance",
    "symbols": ["A", "B"],
    "expected_return_frac": [0.01, 0.02],
    "covariance": [[0.04, 0.0], [0.0, 0.09]],
}


def test_name_cap_binds_by_name() -> None:
    """A reader must see which cap to lift."""
    answer = optimise({**GOOD, "risk_aversion": 0.1, "name_max_frac": 0.5})
    assert answer["weights_frac"] == pytest.approx([0.5, 0.5], abs=1e-6)
    assert answer["binding"] == ["name:A", "name:B"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"fully_invested": True, "name_max_frac": 0.4}, "infeasible"),
        ({"risk_aversion": 0.0}, "unbounded"),
    ],
)
def test_a_problem_without_an_answer_has_a_status(changes: dict[str, Any], status: str) -> None:
    """The figures are null: an old or a half-solved weight must never be taken for an answer."""
    answer = optimise({**GOOD, **changes})
    assert answer.pop("binding") == []
    assert answer.pop("status") == status
    said = {answer.pop("explanation")[0].split(":")[0]}
    assert said == {
        "These limits cannot hold together" if status == "infeasible" else "Nothing limits the book"
    }
    for key in ("assumed", "conflict"):
        answer.pop(key, None)
    assert set(answer.values()) == {None}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"covariance": [[0.04, 0.07], [0.07, 0.09]]}, "C021", "covariance"),
        ({"covariance": [[0.04, 0.01], [0.02, 0.09]]}, "C021", "covariance"),
        ({"covariance": [[0.04, 0.0]]}, "C020", "covariance"),
        ({"covariance": None}, "C020", "covariance"),
        ({"covariance": [[0.04, math.nan], [0.0, 0.09]]}, "C020", "covariance.0.1"),
        ({"expected_return_frac": [0.01]}, "C020", "expected_return_frac"),
        ({"expected_return_frac": [0.01, math.inf]}, "C020", "expected_return_frac.1"),
        ({"cost_frac": -1e-4}, "C020", "cost_frac"),
        ({"symbols": ["A", "A"]}, "C020", "symbols"),
        ({"symbols": []}, "C020", "symbols"),
        ({"allocator": "kelly"}, "C020", "allocator"),
        ({"risk_aversion": -1.0}, "C020", "risk_aversion"),
        ({"gros_max_frac": 1.0}, "C020", "gros_max_frac"),
        ({"steps": 3}, "C020", "steps"),
        ({"allocator": "multi_period", "buffer_frac": 0.1}, "C020", "buffer_frac"),
        ({"allocator": "downside", "worst_day_max_loss_frac": 0.1}, "C020", "history_return_frac"),
        (
            {"allocator": "downside", "history_return_frac": [[0.1, 0.1]]},
            "C020",
            "worst_day_max_loss_frac",
        ),
    ],
)
def test_a_bad_document_names_its_field(changes: dict[str, Any], code: str, field: str) -> None:
    """A covariance that is not PSD is refused, never repaired; every other fault is found by its name."""
    with pytest.raises(AstraError) as caught:
        optimise({**GOOD, **changes})
    assert (caught.value.code, caught.value.where) == (code, field)
    assert field.partition(".")[0] in caught.value.what


def test_all_faults_at_once() -> None:
    """One fault a run would cost the user one run a fault."""
    with pytest.raises(Errors) as caught:
        optimise({**GOOD, "held_frac": [0.0], "cost_frac": [0.0]})
    assert [error.where for error in caught.value.errors] == ["held_frac", "cost_frac"]


def test_a_singular_covariance_is_no_fault() -> None:
    """Two perfectly correlated names are valid: only the sum of their risks is determined."""
    answer = optimise(
        {**GOOD, "covariance": [[0.04, 0.04], [0.04, 0.04]], "expected_return_frac": [0.02, 0.02]}
    )
    assert answer["status"] == "optimal"
    assert answer["net_frac"] == pytest.approx(0.02 / (2 * 0.04), rel=1e-5)


def test_the_document_is_not_changed() -> None:
    """The caller prints the document it gave beside the answer."""
    document = json.loads(json.dumps(GOOD))
    optimise(document)
    assert document == GOOD
