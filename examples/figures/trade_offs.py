"""Convex trade-offs: the problems of a tutorial, solved again from its own random stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.events import FloatArray
from engine.oversight import Market
from examples.figures.page import Value
from examples.figures.r_stream import RStream
from risk import REGISTRY
from strategies.allocators.names_program import NamesProgram
from strategies.allocators.problem_file import optimise, read_problem
from strategies.allocators.trade_offs import at, kinks, no_trade_aversion, sweep

HERE = Path(__file__).parent
SEED, SD, DAYS, NAMES = 503, 0.1, 1_000, 6
BP = 1e4


def document(path: str) -> dict[str, Any]:
    """Read a problem file of ``examples``."""
    found: dict[str, Any] = json.loads((HERE.parent / path).read_text(encoding="utf-8"))
    return found


def computed() -> dict[str, Value]:
    """Compute every figure of the section, by the id of its row."""
    return {**_first_problems(), **_costs(), **_by_risk_aversion(), **_frontier(), **_downside()}


def _first_problems() -> dict[str, Value]:
    names = ("highest_return", "highest_return_long_only", "equal_variance", "rising_variance")
    weights = {name: optimise(document(f"figures/{name}.json"))["weights_frac"] for name in names}
    return {
        **weights,
        "highest_return": weights[names[0]][5],
        "highest_return_long_only": weights[names[1]][4],
    }


def _costs() -> dict[str, Value]:
    """Solve a switch, the weights at a trade aversion of zero, and where trading ends."""
    switch, levers = document("figures/switch.json"), document("trade_offs.json")
    mean = switch["expected_return_frac"]
    # What is not worth a trade from tau on would be worth one, at tau = 1, with 1/tau of the advantage.
    tau = no_trade_aversion(NamesProgram(read_problem(switch)[0])) or np.nan
    free = optimise(levers)
    return {
        "switch": optimise(switch)["weights_frac"][5],
        "switch_bp": (mean[4] - mean[5]) * BP / tau,
        "levers": free["weights_frac"],
        "levers_gross": free["gross_frac"],
        "levers_objective": free["objective"],
        "no_trade": no_trade_aversion(NamesProgram(read_problem(levers)[0])) or np.nan,
    }


def _by_risk_aversion() -> dict[str, Value]:
    """Thresholds, in the order in which they come; gross and net at the stated last one."""
    found: dict[str, Value] = {}
    grid: list[float] = np.geomspace(0.1, 1e3, 40).tolist()
    for name, is_long_only in (("long_only", True), ("long_short", False)):
        levers = {**document("trade_offs.json"), "long_only": is_long_only}
        program = NamesProgram(read_problem(levers)[0])
        for kink in kinks(program, "risk_aversion", sweep(program, "risk_aversion", grid)):
            key = f"{name}.{kink.subject}.{kink.change}".replace(" ", "_").lower()
            found[key if key not in found else f"{key}_again"] = kink.value
        if not is_long_only:
            weights = at(program, "risk_aversion", 60.0).weights_frac
            found["at_60"] = [float(np.abs(weights).sum()), float(weights.sum())]
    return found


def _frontier() -> dict[str, Value]:
    """Solve the ends of the frontier of fully invested books: all return, and least variance."""
    found: dict[str, Value] = {}
    levers = document("trade_offs.json")
    covariance = np.array(levers["covariance"])
    for name, risk_aversion in (("low", 0.01), ("high", 10_000.0)):
        w = optimise({**levers, "fully_invested": True, "risk_aversion": risk_aversion})["weights_frac"]
        found[f"frontier.{name}"] = w
        found[f"frontier.{name}.volatility"] = float(np.sqrt(np.array(w) @ covariance @ np.array(w)))
    return found


def _downside() -> dict[str, Value]:
    """Limit the mean of the worst fifty of a thousand days."""
    returns = RStream(SEED).matrix(DAYS, NAMES, 0.0, SD)
    held = RStream(SEED).normal(NAMES)
    held /= np.abs(held).sum()
    problem = {
        "allocator": "downside",
        "symbols": document("trade_offs.json")["symbols"],
        "expected_return_frac": returns[:NAMES, 0].tolist(),
        "history_return_frac": returns.tolist(),
        "gross_max_frac": 1.0,
        "long_only": True,
    }
    found: dict[str, Value] = {"returns": returns[:NAMES, 0].tolist(), "held": held.tolist()}
    for name, max_loss in (("9", 0.09), ("10", 0.10), ("20", 0.20)):
        answer = optimise({**problem, "worst_day_max_loss_frac": max_loss})
        found[f"downside.{name}"] = answer["weights_frac"]
        if name == "10":
            found["downside.10.objective"] = answer["objective"]
            found["downside.10.gross"] = answer["gross_frac"]
            found["downside.10.worst"] = -_worst_days(np.array(answer["weights_frac"]), returns)[1]
    costs = {"held_frac": held.tolist(), "cost_frac": 0.0005, "trade_aversion": 20}
    answer = optimise({**problem, **costs, "worst_day_max_loss_frac": 0.10})
    quantile, mean = _worst_days(held, returns)
    return {
        **found,
        "downside.costs": answer["weights_frac"],
        "downside.costs.objective": answer["objective"],
        "held.quantile": -quantile,
        "held.worst": -mean,
    }


def _worst_days(weights: FloatArray, returns: FloatArray) -> tuple[float, float]:
    """Return 95% VaR and ES of a book over its past, by the model ``historical``; losses are positive."""
    entry = REGISTRY["historical"]
    options = entry.options(confidence=0.95, horizon_days=1, window_days=DAYS)
    model = entry.build(options, [str(k) for k in range(NAMES)])
    prepared = model.prepare(np.log1p(returns), np.empty(0))
    root = np.asarray(np.linalg.cholesky(np.cov(returns.T)), dtype=np.float64)
    report = model.measure(weights, Market(root, np.ones(NAMES, dtype=np.bool_), "", prepared.scenarios))
    return report.var_usd, report.es_usd
