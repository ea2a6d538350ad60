"""Treasury relative value: the readings of a scenario that does not state its units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from examples.figures.page import Value
from strategies.allocators.problem_file import optimise
from strategies.treasury_curve import par_duration_years

FOLDER = Path(__file__).parents[1] / "treasury"
READINGS = (
    "literal",
    "literal_no_minimum",
    "literal_semicontinuous",
    "percent_price",
    "percent_yield",
    "percent_yield_correlated",
    "literal_yield",
)
HORIZONS_DAYS = (1, 5, 10, 30, 90, 360)
SEEDS = (1, 2, 3, 4)
MUSD = 1e6


def document(name: str) -> dict[str, Any]:
    """Read a problem file of ``examples/treasury``."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def computed() -> dict[str, Value]:
    """Compute every figure of the section, by the id of its row."""
    found: dict[str, Value] = {}
    for name in READINGS:
        answer = optimise(document(name))
        found[name] = answer["positions_musd"]
        found[f"{name}.net"] = answer["net_musd"] * MUSD
        found[f"{name}.cvar"] = answer["cvar_musd"]
    return {**found, **_tenors(), **_horizons(), **_noise()}


def _tenors() -> dict[str, Value]:
    """Return what each tenor earns and costs, read both ways; durations by the yields."""
    literal, percent = (optimise(document(name))["by_tenor"] for name in ("literal", "percent_yield"))
    given = document("with_roll_down")
    durations = par_duration_years(
        np.array(given["yield_pct"]), np.array(given["maturity_years"], dtype=float)
    )
    return {
        "spread_bp": [row["carry_bp"] - row["repo_bp"] for row in literal],
        "literal.net_bp": [row["net_bp"] for row in literal],
        "percent.net_bp": [row["net_bp"] for row in percent],
        "literal.breakeven_days": [row["breakeven_days"] for row in literal],
        "percent.breakeven_days": [row["breakeven_days"] for row in percent],
        "durations": durations.tolist(),
    }


def _horizons() -> dict[str, Value]:
    """Solve the same problem over other horizons, without a minimum."""
    answers = [optimise({**document("five_days"), "horizon_days": days}) for days in HORIZONS_DAYS]
    found: dict[str, Value] = {"horizons.net": [answer["net_musd"] * MUSD for answer in answers]}
    return {**found, "horizons.5": answers[1]["positions_musd"], "horizons.1": answers[0]["status"]}


def _noise() -> dict[str, Value]:
    """Solve the same reading under other scenarios."""
    given = document("percent_yield")
    nets = [
        optimise({**given, "scenarios": {**given["scenarios"], "seed": seed}})["net_musd"] for seed in SEEDS
    ]
    return {"noise": [net * MUSD for net in nets]}
