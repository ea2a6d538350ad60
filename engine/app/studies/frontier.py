"""``astra frontier``: how the best weights of one problem move with risk aversion and trade aversion."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.errors import ConfigError
from engine.events import FloatArray
from strategies.allocators.conflict import conflicts_of, explained
from strategies.allocators.names import NamesProblem
from strategies.allocators.names_program import NamesProgram
from strategies.allocators.problem_file import read_problem
from strategies.allocators.trade_offs import Kink, Point, kinks, no_trade_aversion, sweep

#: From all return to all caution, for returns and covariances of a day as of a year.
RISK_AVERSIONS: Final = (1e-2, 1e4, 100)
_TRADE_POINTS: Final = 60
#: Allocators with the two levers.
_KINDS: Final = ("mean_variance", "multi_period")


class Study(msgspec.Struct, frozen=True):
    """What was found.

    Parameters
    ----------
    problem : NamesProblem
    by_risk, by_trade : list of Point
        The sweeps; ``by_trade`` is empty where trading is free.
    kinks : list of Kink
    no_trade_aversion : float or None
        Trade aversion from which on nothing is traded.
    """

    problem: NamesProblem
    by_risk: list[Point]
    by_trade: list[Point]
    kinks: list[Kink]
    no_trade_aversion: float | None


class FrontierRow(msgspec.Struct, frozen=True):
    """Figures of a point; None unless it is optimal."""

    value: float
    status: str
    expected_return_frac: float | None
    volatility_frac: float | None
    gross_frac: float | None
    net_frac: float | None
    turnover_frac: float | None
    cost_frac: float | None
    binding: str


def study(
    document: Mapping[str, Any],
    risk_aversions: Sequence[float] | None = None,
    trade_aversions: Sequence[float] | None = None,
) -> Study:
    """Sweep both levers of a problem, and find where something changes.

    Parameters
    ----------
    document : mapping
        Of ``astra optimise`` with the allocator ``mean_variance`` or ``multi_period``. Each sweep leaves the
        other lever as the document has it.
    risk_aversions, trade_aversions : sequence of float, optional
        Ascending. By default 100 from 0.01 to 10,000, and 60 up to one and a half times the trade aversion
        from which on nothing is traded.

    Raises
    ------
    ConfigError
        As ``problem_file.optimise``; C020 for an allocator without the two levers, or no covariance; C022 if
        the problem has no answer at any risk aversion.
    """
    kind = document.get("allocator")
    if isinstance(kind, str) and kind not in _KINDS:
        what = f"allocator must be {' or '.join(_KINDS)}, was {kind}: only these have a risk aversion to move"
        raise ConfigError("C020", what, "allocator", "Solve this one problem with:  astra optimise")
    problem, _ = read_problem(document)
    if not problem.covariance.any():
        raise ConfigError(
            "C020", "covariance is missing or 0 throughout; the frontier measures risk by it", "covariance"
        )
    program = NamesProgram(problem)
    by_risk = sweep(
        program, "risk_aversion", _grid(*RISK_AVERSIONS) if risk_aversions is None else risk_aversions
    )
    limit = no_trade_aversion(program)
    if trade_aversions is None:
        trade_aversions = _grid(limit / 1e3, 1.5 * limit, _TRADE_POINTS) if limit else ()
    by_trade = sweep(program, "trade_aversion", trade_aversions)
    if not any(point.status == "optimal" for point in by_risk):
        statuses = ", ".join(dict.fromkeys(point.status for point in by_risk))
        conflicts = explained(conflicts_of(problem)) if statuses == "infeasible" else [_UNBOUNDED]
        raise ConfigError("C022", f"no risk aversion has an answer: {statuses}", "", "\n".join(conflicts))
    found = kinks(program, "risk_aversion", by_risk) + kinks(program, "trade_aversion", by_trade)
    return Study(problem, by_risk, by_trade, found, limit)


_UNBOUNDED = "An unbounded problem needs gross_max_frac or another cap."


def _grid(low: float, high: float, points: int) -> list[float]:
    grid: list[float] = np.geomspace(low, high, points).tolist()
    return grid


def figures(problem: NamesProblem, point: Point) -> FrontierRow:
    """Return what a point of a sweep amounts to."""
    if point.status != "optimal":
        return FrontierRow(point.value, point.status, None, None, None, None, None, None, "")
    w, trades = point.weights_frac, np.abs(point.trades_frac)
    return FrontierRow(
        point.value,
        point.status,
        float(problem.expected_return_frac @ w),
        math.sqrt(max(problem.variance(w), 0.0)),
        float(np.abs(w).sum()),
        float(w.sum()),
        float(trades.sum()),
        float(problem.cost_frac @ trades),
        " ".join(point.binding),
    )


def write_tables(found: Study, folder: Path) -> list[Path]:
    """Write ``frontier.csv``, ``weights.csv``, ``trades.csv`` and ``thresholds.csv``.

    Weights are by risk aversion, trades by trade aversion, both in fractions of equity; figures are written
    to the last digit.
    """
    symbols = found.problem.symbols
    figures_ = [msgspec.structs.astuple(figures(found.problem, point)) for point in found.by_risk]
    columns = FrontierRow.__struct_fields__[1:]
    kinks_ = [msgspec.structs.astuple(kink) for kink in found.kinks]
    tables: list[tuple[str, Sequence[str], Iterable[Sequence[Any]]]] = [
        ("frontier.csv", ("risk_aversion", *columns), figures_),
        ("weights.csv", ("risk_aversion", *symbols), _rows(found.by_risk, "weights_frac")),
        ("thresholds.csv", Kink.__struct_fields__, kinks_),
    ]
    if found.by_trade:
        tables.insert(2, ("trades.csv", ("trade_aversion", *symbols), _rows(found.by_trade, "trades_frac")))
    return [_write(folder / name, header, rows) for name, header, rows in tables]


def _rows(points: Sequence[Point], field: str) -> Iterable[Sequence[Any]]:
    for point in points:
        values: FloatArray = getattr(point, field)
        if values.size:
            yield (point.value, *values.tolist())


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def as_document(found: Study) -> dict[str, Any]:
    """Return everything that was found as one JSON object."""
    problem = found.problem
    by_risk = [
        {**_renamed(problem, point, "risk_aversion"), "weights_frac": point.weights_frac.tolist()}
        for point in found.by_risk
    ]
    by_trade = [
        {
            **_renamed(problem, point, "trade_aversion"),
            "weights_frac": point.weights_frac.tolist(),
            "trades_frac": point.trades_frac.tolist(),
        }
        for point in found.by_trade
    ]
    return {
        "symbols": list(problem.symbols),
        "frontier": by_risk,
        "trades": by_trade,
        "thresholds": [msgspec.structs.asdict(kink) for kink in found.kinks],
        "no_trade_aversion": found.no_trade_aversion,
    }


def _renamed(problem: NamesProblem, point: Point, lever: str) -> dict[str, Any]:
    row = msgspec.structs.asdict(figures(problem, point))
    return {lever: row.pop("value"), **row}
