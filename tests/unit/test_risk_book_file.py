"""One book in a file: figures, states, and faults that name their field."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from engine.errors import AstraError, Errors
from risk import REGISTRY
from risk.book_file import measure_book
from risk.factor import market_of
from risk.rolling import with_scenarios
from tests.support.books import covariance_of, golden_var

CASES = {case["id"]: case for case in golden_var()["cases"]}
FIGURES = ("var_usd", "var_analytic_usd", "var_mc_usd", "var_upper_usd", "es_usd")


def _document(name: str, **more: Any) -> dict[str, Any]:
    given = CASES[name]["input"]
    holdings = given.get("exposures")
    covariance = covariance_of(given["vol_daily"], given["corr"]).tolist()
    return {"symbols": given["symbols"], "holdings_usd": holdings, "covariance_daily": covariance, **more}


SIX = _document("six_names")


def test_golden_six_names() -> None:
    """The demo book: $120,858.78 analytic, components by name, trading open (1e-9)."""
    answer = measure_book(SIX)
    expect = CASES["six_names"]["expect"]
    assert answer["var_analytic_usd"] == pytest.approx(expect["var_99_10d"], rel=1e-9)
    assert answer["var_usd"] == max(answer["var_analytic_usd"], answer["var_mc_usd"])
    assert list(answer["component_var_usd"].values()) == pytest.approx(expect["component_var"], rel=1e-9)
    assert list(answer["component_var_usd"]) == SIX["symbols"]
    assert (answer["state"], answer["reason"]) == ("ACTIVE", "")


@pytest.mark.parametrize(("seed", "loss"), CASES["six_names"]["mc_loss_50_by_seed"].items())
def test_seed_and_scenarios_are_those_of_the_file(seed: str, loss: float) -> None:
    """The Monte-Carlo figure can be repeated by anyone with NumPy and the seed (1e-9)."""
    answer = measure_book({**SIX, "seed": int(seed), "scenarios": 5000})
    assert answer["var_mc_usd"] == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize(
    ("limit_usd", "state", "reason"),
    [(200_000.0, "ACTIVE", ""), (122_000.0, "REDUCING", "VAR_UPPER"), (120_000.0, "HALTED", "VAR_LIMIT")],
)
def test_state_is_what_the_latch_would_say(limit_usd: float, state: str, reason: str) -> None:
    """The file answers the question that matters, whether this book may trade."""
    answer = measure_book({**SIX, "seed": 20260801, "var_limit_usd": limit_usd})
    assert (answer["state"], answer["reason"]) == (state, reason)


@pytest.mark.parametrize("token", [None, "NaN", float("nan"), "Infinity", 10**400], ids=range(5))
def test_holding_that_is_not_a_number_halts(token: object) -> None:
    """Null figures, a reason and HALTED; and the answer is valid JSON."""
    answer = measure_book({**SIX, "holdings_usd": [token, *SIX["holdings_usd"][1:]]})
    assert (answer["state"], answer["reason"]) == ("HALTED", "PRICE_NOT_FINITE")
    assert [answer[figure] for figure in FIGURES] == [None] * 5
    assert set(answer["component_var_usd"].values()) == {None}
    json.dumps(answer, allow_nan=False)


def test_non_psd_covariance_halts() -> None:
    """A repaired matrix would say $0; this one says that nobody knows."""
    answer = measure_book(_document("non_psd_corr"))
    assert (answer["state"], answer["reason"], answer["var_usd"]) == ("HALTED", "COV_NOT_PSD", None)


@pytest.mark.parametrize("name", ["two_assets_rho_-1.0", "two_assets_rho_+1.0", "rank_deficient_psd"])
def test_singular_covariance_is_used_as_it_is(name: str) -> None:
    """A perfect hedge is not an error, and no shrinkage blurs it (1e-6)."""
    answer = measure_book(_document(name))
    assert answer["var_analytic_usd"] == pytest.approx(CASES[name]["expect"]["var_99_10d"], rel=1e-6)


@pytest.mark.parametrize("held", [0.0, 5.0])
def test_symbol_without_variance_matters_only_if_held(held: float) -> None:
    """A null row is a symbol without covariance: unknown when held, nothing when not."""
    document = {
        "symbols": ["AAA", "BBB"],
        "holdings_usd": [600_000.0, held],
        "covariance_daily": [[0.000225, None], [None, None]],
    }
    answer = measure_book(document)
    if held:
        assert (answer["state"], answer["reason"]) == ("HALTED", "COV_MISSING_SYMBOL")
    else:
        assert answer["var_analytic_usd"] == pytest.approx(66_209.02120673598, rel=1e-9)


@pytest.mark.parametrize("name", ["zero_book", "empty_book"])
def test_flat_book_is_active_at_zero(name: str) -> None:
    """Nothing held is exactly nothing at risk, even without any symbol."""
    answer = measure_book(_document(name))
    assert (answer["state"], [answer[figure] for figure in FIGURES]) == ("ACTIVE", [0.0] * 5)
    assert set(answer["component_var_usd"].values()) <= {0.0}


@pytest.mark.parametrize(
    ("change", "where", "text"),
    [
        ({"holdings_usd": [1.0]}, "holdings_usd", "one amount for each of 6 symbols, was 1"),
        ({"holdings_usd": [True] * 6}, "holdings_usd[0]", 'must be a number, null or "NaN", was True'),
        ({"holdings_usd": [[]] * 6}, "holdings_usd[0]", "was []"),
        ({"symbols": ["A"] * 6}, "symbols", "symbols names A twice"),
        ({"covariance_daily": [[1.0]]}, "covariance_daily", "must be 6 by 6, one row for each symbol, was 1"),
        ({"confidence": 1.5}, "confidence", "less than 1, was 1.5"),
        ({"confidence": 0.98765}, "confidence", "whole number of basis points, was 0.98765"),
        ({"scenarios": 0}, "scenarios", "was 0"),
        ({"var_limit_usd": -5}, "var_limit_usd", "was -5"),
        ({"covariance": []}, "covariance", 'unknown field "covariance"'),
    ],
)
def test_fault_names_its_field(change: dict[str, Any], where: str, text: str) -> None:
    """A mistake in a file of numbers is answered with the place and the value, not a traceback."""
    with pytest.raises(AstraError) as caught:
        measure_book({**SIX, **change})
    fault = caught.value.errors[0] if isinstance(caught.value, Errors) else caught.value
    assert fault.where == where
    assert text in fault.what
    assert fault.exit_code == 2


def test_asymmetric_matrix_is_a_fault() -> None:
    """Two different covariances of one pair are a mistake, and the pair is named."""
    document = {"symbols": ["A", "B"], "holdings_usd": [1, 1], "covariance_daily": [[1, 0.2], [0.3, 1]]}
    with pytest.raises(AstraError, match=r"must be symmetric: A, B was 0\.2, the other way 0\.3"):
        measure_book(document)


def test_all_faults_at_once() -> None:
    """One round of corrections, not one a fault; and a near miss is proposed."""
    with pytest.raises(Errors) as caught:
        measure_book({"symbols": ["A"], "holdings": [1.0], "covariance_daily": [[1.0]], "seed": -1})
    assert sorted(fault.where for fault in caught.value.errors) == ["holdings", "holdings_usd", "seed"]
    details = [fault.detail for fault in caught.value.errors if fault.where == "holdings"]
    assert details == ["Did you mean holdings_usd?"]


def test_document_must_be_an_object() -> None:
    """A JSON list is answered like any other mistake."""
    with pytest.raises(AstraError, match="a book must be a JSON object, was list"):
        measure_book([])  # type: ignore[arg-type]


def test_golden_three_names_by_weights() -> None:
    """VaR 41,772.08 and ES 47,856.79 to 1e-9; the 50th worst of 5,000 within 9.08%."""
    covariance = [
        [0.00015873015873015873, 7.142857142857142e-05, 4.761904761904762e-05],
        [7.142857142857142e-05, 0.000248015873015873, 7.936507936507937e-05],
        [4.761904761904762e-05, 7.936507936507937e-05, 8.928571428571429e-05],
    ]
    document = {
        "symbols": ["A", "B", "C"],
        "holdings_usd": [400_000.0, -300_000.0, 200_000.0],
        "covariance_daily": covariance,
    }
    answer = measure_book(document)
    assert answer["var_analytic_usd"] == pytest.approx(41_772.077259623904, rel=1e-9)
    assert answer["es_usd"] == pytest.approx(47_856.7868408914, rel=1e-9)
    assert answer["var_mc_usd"] == pytest.approx(41_772.077259623904, rel=0.0908)


DAYS = (0.01 * np.random.default_rng(8).standard_t(4, (320, 6))).tolist()
LOOKS_BACK = {"window_days": 300, "history_return_frac": DAYS}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_any_model_measures_the_book(name: str) -> None:
    """A question about one book must not need a run: figures are those of the model itself (1e-12)."""
    plugin = REGISTRY[name]
    back = LOOKS_BACK if "window_days" in plugin.options.model_fields else {}
    answer = measure_book({**SIX, "model": name, "confidence": 0.975, **back})
    options = plugin.options.model_validate({"confidence": 0.975, **({"window_days": 300} if back else {})})
    model = plugin.build(options, tuple(SIX["symbols"]))
    market = market_of(np.array(SIX["covariance_daily"]), np.ones(6, dtype=bool), 0.0).market
    market, _ = with_scenarios(model, market, np.log1p(np.array(DAYS)), np.empty((0, 0)))
    report = model.measure(np.array(SIX["holdings_usd"], dtype=float), market)
    assert [answer[figure] for figure in FIGURES] == pytest.approx(
        [getattr(report, figure) for figure in FIGURES], rel=1e-12
    )
    of_what = answer["var_usd"] if back else answer["var_analytic_usd"]
    assert sum(answer["component_var_usd"].values()) == pytest.approx(of_what, rel=1e-9)


def test_a_covariance_can_be_that_of_the_days() -> None:
    """Without a matrix every day weighs the same: σ² of returns of ±1% is 1e-4 (shrunk by a millionth)."""
    rows = [[0.01], [-0.01]] * 20
    answer = measure_book({"symbols": ["A"], "holdings_usd": [1e6], "history_return_frac": rows})
    sigma_usd = 1e6 * math.sqrt(0.5 * (math.log(1.01) ** 2 + math.log(0.99) ** 2))
    assert answer["var_analytic_usd"] == pytest.approx(
        2.3263478740408408 * math.sqrt(10) * sigma_usd, rel=1e-6
    )


def test_a_day_that_is_not_known_leaves_its_symbol_out() -> None:
    """No return is made up: a held symbol that lacks a day of the window halts, one not held does not."""
    days = [row[:] for row in DAYS]
    days[-1][0] = None
    document = {**SIX, "model": "historical", "window_days": 300, "history_return_frac": days}
    assert measure_book(document)["reason"] == "COV_MISSING_SYMBOL"
    assert measure_book({**document, "holdings_usd": [0.0, *SIX["holdings_usd"][1:]]})["reason"] == ""


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"model": "normal"}, "C054", "model must be one of gaussian, .*, was 'normal'"),
        ({"model": ["gaussian"]}, "C054", "model must be one of"),
        ({"model": "historical"}, "C054", "historical looks back on 500 daily returns, and there is none"),
        (
            {"model": "historical", "history_return_frac": DAYS},
            "C054",
            "500 .*, and there are 320",
        ),
        ({"freedom": 4}, "C053", 'unknown field "freedom"'),
        ({"covariance_daily": None}, "C052", "covariance_daily is missing, and there are no daily returns"),
        ({"history_return_frac": []}, "C054", "must have rows of 6 returns, one a symbol, was empty"),
        (
            {"history_return_frac": [[0.1] * 5]},
            "C054",
            "rows of 6 returns, .*, was rows of 5",
        ),
        ({"history_return_frac": [[-1.0] * 6]}, "C054", "fractions above -1 and finite, was -1.0"),
        ({"confidence": 0.99999999995}, "C054", "whole number of basis points"),
    ],
)
def test_what_a_model_asks_for_is_said(change: dict[str, Any], code: str, text: str) -> None:
    """A model without its days, or days without their model, is a sentence and no number."""
    with pytest.raises(AstraError, match=text) as caught:
        measure_book({**SIX, **change})
    assert caught.value.code == code
