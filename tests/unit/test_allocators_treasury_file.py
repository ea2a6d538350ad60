"""``astra optimise`` on Treasury relative value: every reading of one published problem, and bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.app.main import run
from engine.errors import AstraError, Errors
from strategies.allocators.problem_file import optimise
from strategies.allocators.treasury_scenarios import normal_shocks

ROOT = Path(__file__).resolve().parents[2]
GOLDENS: dict[str, Any] = json.loads((ROOT / "tests" / "goldens" / "treasury.json").read_text())
READINGS = {
    "literal": "T1_literal",
    "literal_no_minimum": "T1_literal_no_haircut",
    "percent_price": "T2_cost_pct_pricevol",
    "percent_yield": "T3_cost_pct_dv01",
    "percent_yield_correlated": "T4_cost_pct_dv01_rho0.9",
    "literal_yield": "T5_literal_dv01",
}


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / "examples" / "treasury" / f"{name}.json").read_text())
    return document


@pytest.mark.parametrize(("name", "golden"), READINGS.items())
def test_published_readings(name: str, golden: str) -> None:
    """Six readings of the same figures, each at its verified optimum with the same limits binding."""
    case, answer = GOLDENS[golden], optimise(example(name))
    assert answer["status"] == "optimal"
    tolerance = case["tolerance"]
    assert answer["positions_musd"] == pytest.approx(case["notional_musd"], abs=tolerance["notional_abs"])
    assert answer["net_musd"] == pytest.approx(case["net_musd"], abs=tolerance["net_abs"])
    assert answer["cvar_musd"] == pytest.approx(case["cvar95_musd"], abs=tolerance["cvar_abs"])
    assert answer["gross_musd"] == pytest.approx(case["gross_musd"], abs=1e-3)
    active = {"gross" if limit == "leverage" else limit for limit in case["active"]}
    assert set(answer["binding"]) == active
    assert set(answer["shadow_prices"]) == active


@pytest.mark.parametrize("row", GOLDENS["horizon"]["rows"], ids=lambda row: f"{row['days']}_days")
def test_the_horizon_decides(row: dict[str, Any]) -> None:
    """Over a day nothing pays its cost, over five $899, over a year $304,944: the horizon is the model."""
    document = {**example("five_days"), "horizon_days": row["days"]}
    answer = optimise(document)
    assert answer["status"] == ("optimal" if row["net_musd"] else "do_not_trade")
    assert answer["positions_musd"] == pytest.approx(row["notional_musd"], abs=1e-3)
    assert answer["net_musd"] == pytest.approx(row["net_musd"], abs=1e-7)


@pytest.mark.parametrize(("name", "golden"), [("percent_yield", "percent"), ("literal", "literal")])
def test_breakeven(name: str, golden: str) -> None:
    """The unit of the costs alone moves the breakeven from four days to a year."""
    days = [row["breakeven_days"] for row in optimise(example(name))["by_tenor"]]
    assert days == pytest.approx(GOLDENS["horizon"][f"breakeven_days_{golden}"])


def test_the_honest_answer_to_the_literal_figures() -> None:
    """Read as printed, only the 20-year earns its cost: $6,000 on $60M; a forced minimum costs $1,000."""
    answer = optimise(example("literal_semicontinuous"))
    assert answer["positions_musd"] == [0.0, 0.0, 0.0, 60.0, 0.0]
    assert answer["net_musd"] == pytest.approx(0.006)
    left_out = "Do not trade 5Y (-5.00 bp), 7Y (-2.00 bp), 10Y (-1.00 bp), 30Y (-2.00 bp)"
    assert any(line.startswith(left_out) for line in answer["explanation"])
    forced = optimise(example("literal"))["explanation"]
    assert any("forced, at a loss of $1,000" in line for line in forced)


def test_do_not_trade_is_said() -> None:
    """An empty answer must not look like a failure, nor a failure like an empty answer."""
    answer = optimise(example("one_day"))
    assert answer["status"] == "do_not_trade"
    assert answer["positions_musd"] == [0.0] * 5
    assert answer["explanation"][0].startswith("Do not trade: over 1 day no tenor's carry")
    assert answer["explanation"][1] == "The nearest is 20Y, which would have to be held 3.5 days."


def test_the_scenarios_are_those_of_the_published_numbers() -> None:
    """Another stream of random numbers moves the third reading by nine per cent."""
    shocks = normal_shocks(1_000, 2024, None, 5)
    assert shocks[0, 0] == GOLDENS["first_shock"]
    assert shocks.sum() == pytest.approx(GOLDENS["sum_of_shocks"])


def test_roll_down_and_margin() -> None:
    """Two tenors by hand: y(9) on the curve is 2.8%, so ten years roll -8 x -0.2% = 1.6%; margin binds."""
    document = {
        **example("percent_price"),
        "tenors": ["5Y", "10Y"],
        "yield_pct": [2.0, 3.0],
        "repo_pct": [2.5, 2.5],
        "cost": 0.0,
        "horizon_days": 365,
        "yield_day_count": 365,
        "maturity_years": [5, 10],
        "duration_years": [4.0, 8.0],
        "volatility_daily_pct": 0.001,
        "liquidity_musd": 100.0,
        "gross_max_musd": None,
        "equity_musd": 2.0,
        "haircut_frac": [0.01, 0.04],
        "minimum": "none",
        "min_position_musd": 0.0,
    }
    answer = optimise(document)
    short, long = answer["by_tenor"]
    assert long["roll_down_bp"] == pytest.approx(160.0)
    assert short["roll_down_bp"] == pytest.approx(80.0)  # the slope of 0.2% a year goes on below 5 years
    assert long["repo_bp"] == pytest.approx(250.0 * 365 / 360)
    # Per $ of margin 5Y earns 26.5 / 0.01 and 10Y 206.5 / 0.04 bp: 10Y first, $50M of it uses up $2M.
    assert answer["positions_musd"] == pytest.approx([0.0, 50.0])
    assert answer["weights_frac"] == pytest.approx([0.0, 25.0])
    assert answer["binding"] == ["haircut"]
    assert answer["net_musd"] == pytest.approx(50.0 * (0.03 + 0.016 - 0.025 * 365 / 360))


def test_historical_scenarios_are_the_curve_s_own_changes() -> None:
    """Losses are durations times changes: of 25 rises one of 10 bp limits a long to 1 / (8 x 10 bp)."""
    path = np.cumsum([0.01] * 12 + [0.1] + [0.01] * 12)
    history = [[2.0], *([2.0 + float(change)] for change in path), [None]]
    document = {
        **example("percent_yield"),
        "tenors": ["10Y"],
        "yield_pct": [3.0],
        "repo_pct": [2.0],
        "cost": [0.0],
        "duration_years": [8.0],
        "volatility": None,
        "volatility_daily_pct": None,
        "liquidity_musd": 1e4,
        "gross_max_musd": None,
        "cvar_max_musd": 1.0,
        "cvar_level_frac": 0.96,
        "minimum": "none",
        "scenarios": {"kind": "historical", "yield_pct": history},
    }
    answer = optimise(document)
    assert answer["positions_musd"] == pytest.approx([1.0 / (8.0 * 0.001)])
    assert answer["binding"] == ["cvar"]
    # Over two rows 11 bp: the same cap allows less.
    answer = optimise({**document, "cvar_horizon_days": 2, "cvar_level_frac": 0.95})
    assert answer["positions_musd"] == pytest.approx([1.0 / (8.0 * 0.0011)], rel=1e-6)


@pytest.mark.parametrize("missing", ["horizon_days", "cost_unit", "cvar_horizon_days", "liquidity_musd"])
def test_what_the_answer_hangs_on_has_no_default(missing: str) -> None:
    """The published notebook is wrong exactly where it left units and horizon to the reader."""
    document = example("percent_yield")
    del document[missing]
    with pytest.raises(AstraError, match=f"{missing} is missing") as caught:
        optimise(document)
    assert (caught.value.code, caught.value.where) == ("C020", missing)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"yield_pct": [2.0]}, "C020", "yield_pct"),
        ({"cost": [-1.0, 0.0, 0.0, 0.0, 0.0]}, "C020", "cost"),
        ({"cost_unit": "percentage"}, "C020", "cost_unit"),
        ({"tenors": ["5Y", "5Y", "10Y", "20Y", "30Y"]}, "C020", "tenors"),
        ({"volatility": None}, "C020", "volatility"),
        ({"duration_years": None}, "C020", "duration_years"),
        ({"maturity_years": [5, 7, 10, 30, 20]}, "C020", "maturity_years"),
        ({"roll_down": True}, "C020", "maturity_years"),
        ({"leverage_max": 10.0}, "C020", "equity_musd"),
        ({"scenarios": {"kind": "normal", "correlation": -0.5}}, "C021", "scenarios.correlation"),
        ({"scenarios": {"kind": "normal", "m": 10}}, "C020", "scenarios.normal.m"),
        ({"scenarios": {"kind": "historical", "yield_pct": [[2.0] * 5] * 9}}, "C020", "scenarios.yield_pct"),
        ({"haircut": 0.02}, "C020", "haircut"),
    ],
)
def test_a_bad_file_names_its_field(changes: dict[str, Any], code: str, field: str) -> None:
    """A key that is ignored, or a matrix that is none, would be answered with confidence."""
    with pytest.raises(AstraError) as caught:
        optimise({**example("percent_yield"), **changes})
    assert (caught.value.code, caught.value.where) == (code, field)


def test_all_faults_at_once() -> None:
    """One fault a run would cost the user one run a fault."""
    with pytest.raises(Errors) as caught:
        optimise({**example("percent_yield"), "repo_pct": [1.0], "cost": -1.0})
    assert [error.where for error in caught.value.errors] == ["repo_pct", "cost"]


def test_an_infeasible_file_says_where_to_look() -> None:
    """Figures are null, so that nothing can be taken for an answer."""
    answer = optimise({**example("percent_yield"), "gross_max_musd": 4.0})
    assert answer["status"] == "infeasible"
    assert answer["positions_musd"] is answer["net_musd"] is None
    assert "gross_max_musd = 4, min_position_musd" in answer["explanation"][1]
    assert "gross_max_musd of at least 5;" in answer["explanation"][2]


def test_the_terminal_says_it_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads sentences and one row a tenor; a program reads --json."""
    path = ROOT / "examples" / "treasury" / "literal_semicontinuous.json"
    assert run(["optimise", str(path)]) == 0
    told = capsys.readouterr().out
    assert "Trade: buy 60.000 $M of 20Y." in told
    assert "breakeven_days" in told
    assert run(["optimise", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["binding"] == ["liquidity:20Y"]
