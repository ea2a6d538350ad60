"""The page of a frontier study: charts and thresholds, one self-contained HTML file without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np

from engine.app.render import asset
from engine.app.studies.frontier import Study, figures
from engine.app.studies.frontier_charts import frontier_chart, legend_series, line_chart, stacked_chart
from strategies.allocators.trade_offs import Point

_LEVERS = {"risk_aversion": "risk aversion λ", "trade_aversion": "trade aversion τ"}
_MARKS_MAX = 7


def draw(found: Study) -> dict[str, tuple[str, str]]:
    """Return the charts there is data for: title and SVG by name."""
    symbols = found.problem.symbols
    by_risk = _optimal(found.by_risk)
    charts = {"frontier": ("Efficient frontier", _frontier(found, by_risk))}
    charts["weights"] = (
        "Weights by risk aversion",
        _weights(found, by_risk, "risk_aversion"),
    )
    by_trade = _optimal(found.by_trade)
    if by_trade:
        charts["weights_by_trade_aversion"] = (
            "Weights by trade aversion",
            _weights(found, by_trade, "trade_aversion"),
        )
        trades = np.stack([point.trades_frac for point in by_trade])
        limit = found.no_trade_aversion
        alt = "Trades by trade aversion." + (f" From {limit:,.6g} on nothing is traded." if limit else "")
        charts["trades"] = (
            "Trades by trade aversion",
            line_chart(
                [point.value for point in by_trade],
                legend_series(symbols, trades),
                _LEVERS["trade_aversion"],
                "trade",
                [] if limit is None else [limit],
                alt,
            ),
        )
    return charts


def write_pictures(found: Study, title: str, folder: Path) -> list[Path]:
    """Write ``frontier.html``, and each chart as an SVG file."""
    charts = draw(found)
    paths = []
    for name, (_, svg) in charts.items():
        path = folder / f"{name}.svg"
        path.write_text(svg, encoding="utf-8", newline="\n")
        paths.append(path)
    page = folder / "frontier.html"
    page.write_text(_page(found, title, charts), encoding="utf-8", newline="\n")
    return [page, *paths]


def _optimal(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if point.status == "optimal" and point.value > 0.0]


def _weights(found: Study, points: Sequence[Point], lever: str) -> str:
    table = np.stack([point.weights_frac for point in points])
    return stacked_chart(
        [point.value for point in points],
        legend_series(found.problem.symbols, table),
        _LEVERS[lever],
        [kink.value for kink in found.kinks if kink.lever == lever],
        f"Weights by {_LEVERS[lever]}, with a line at each threshold; the figures are in the tables.",
    )


def _frontier(found: Study, points: Sequence[Point]) -> str:
    rows = [figures(found.problem, point) for point in points]
    volatility = np.array([row.volatility_frac for row in rows], dtype=np.float64)
    expected = np.array([row.expected_return_frac for row in rows], dtype=np.float64)
    marked: list[int] = []
    for k in range(len(rows)):  # labels that stand clear of each other
        here = np.array([volatility[k], expected[k]])
        spread = np.array([np.ptp(volatility) or 1.0, np.ptp(expected) or 1.0])
        others = [np.array([volatility[m], expected[m]]) for m in marked]
        if all(np.abs((here - other) / spread).max() > 0.12 for other in others):
            marked.append(k)
    marks = [
        (float(volatility[k]), float(expected[k]), f"λ = {rows[k].value:.3g}") for k in marked[:_MARKS_MAX]
    ]
    alt = (
        f"Expected return from {expected.min():.4g} to {expected.max():.4g} over volatility "
        f"from {volatility.min():.4g} to {volatility.max():.4g}."
    )
    return frontier_chart(volatility, expected, marks, alt)


def _page(found: Study, title: str, charts: dict[str, tuple[str, str]]) -> str:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(asset("engine.app.studies", "frontier_template.html.j2"))
    return template.render(
        title=title,
        style=asset("engine.app.report", "report.css"),
        charts=charts,
        levers=_LEVERS,
        kinks=found.kinks,
        problem=found.problem,
        limit=found.no_trade_aversion,
        by_risk=[
            figures(found.problem, point) for point in found.by_risk[:: max(1, len(found.by_risk) // 20)]
        ],
    )
