"""The tear sheet of a run: a pure function from a run folder to one self-contained HTML page.

The page asks the network for nothing, and a content security policy that names its two scripts by hash keeps
it so. The same folder gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np

from engine.app.render import asset, percent, usd
from engine.app.replay.statistics import EquityStatistics, periods_per_year
from engine.app.report import figures, tables
from engine.app.report import risk as report_risk
from engine.app.report import strategies as by_strategy
from engine.app.report.charts import Clock, Line, Span, chart, drawdown_frac, histogram, spans
from engine.app.report.data import RunData, read_run
from engine.app.report.spreads import Signals, spread_charts
from engine.app.terminal import exchange_zone
from engine.events import FloatArray
from engine.vocabulary import counted

#: More spans than this cannot be told apart on a chart; the table below it still counts them.
_SPANS_MAX: Final = 500


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run folder.

    Parameters
    ----------
    folder : Path
        As ``astra replay`` leaves it.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    DataError
        D011 if it is no run folder, D013 if a file in it cannot be read.
    """
    page = render_report(read_run(folder))
    path = folder / "report.html"
    unfinished = folder / "report.html.part"
    unfinished.write_text(page, encoding="utf-8", newline="\n")
    unfinished.replace(path)
    return path


def render_report(data: RunData) -> str:
    """Render the page of a run.

    Parameters
    ----------
    data : RunData

    Returns
    -------
    str
        HTML. Everything that came from the run is escaped: symbols and configuration are not trusted.
    """
    clock = Clock(*exchange_zone(data.calendar))
    statistics = EquityStatistics(periods_per_year(data.calendar, data.bar_min))
    statistics.update(data.book.ts_ns, data.book.numbers["equity_usd"])
    found = spans(data.risk.texts["state"])
    by_strategies = by_strategy.strategies_chart(data, clock)
    charts = [*_charts(data, found, clock), *by_strategies, *_spread_charts(data, clock)]
    scripts = [
        asset("engine.app.report", "vendor/uplot/uPlot.iife.min.js"),
        asset("engine.app.report", "report.js"),
    ]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(asset("engine.app.report", "report_template.html.j2"))
    return template.render(
        data=data,
        summary=data.summary,
        facts=figures.run_facts(data),
        period=_period(data, clock),
        zone=clock.name,
        state=data.risk.texts["state"][-1] if len(data.risk) else "",
        figures=figures.key_figures(data, statistics),
        charts=charts,
        chart_data=_json(charts),
        attribution=by_strategy.attribution_grid(data.summary),
        sessions=tables.sessions_grid(data, statistics),
        states=tables.states_grid(data, found, clock),
        signals=tables.signals_grid(data),
        z=tables.z_grid(data),
        z_histogram=histogram(data.z_counts) if data.z_counts.any() else None,
        costs=tables.costs_grid(data, statistics.mean_equity_usd),
        decisions=tables.decisions_grid(data, clock),
        bars=tables.bars_grid(data.summary),
        notes=tables.notes_grid(data.summary),
        alerts=tables.alerts_grid(data.alerts, clock),
        var_method=report_risk.var_method(data.config),
        positions=report_risk.positions_grid(data.summary),
        strategies=report_risk.strategies_grid(data.summary),
        scripts=scripts,
        script_hashes=" ".join(f"'sha256-{_sha256(script)}'" for script in scripts),
        styles=[asset("engine.app.report", name) for name in ("vendor/uplot/uPlot.min.css", "report.css")],
        licence=asset("engine.app.report", "vendor/uplot/LICENSE"),
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """Encode for a script element: no character that could end it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _period(data: RunData, clock: Clock) -> list[str]:
    """Say when, how long, and over how many symbols, as far as the run recorded it."""
    ts_ns = data.book.ts_ns if len(data.book) else data.signals.ts_ns
    words = []
    if len(ts_ns):
        words.append(f"{clock.text(int(ts_ns[0]))} to {clock.text(int(ts_ns[-1]))} {clock.name}")
    for name in ("sessions", "symbols"):
        count = data.summary.get(name)
        if isinstance(count, int):
            words.append(f"{count:,} {name if count != 1 else name[:-1]}")
    return words


def _charts(data: RunData, found: list[Span], clock: Clock) -> list[dict[str, Any]]:
    """Return the charts there is data for, each with the sentence that stands in for it."""
    charts = []
    if len(data.book):
        equity = data.book.numbers["equity_usd"]
        drawdown = drawdown_frac(equity)
        charts += [
            {
                "id": "equity",
                "section": "equity",
                "title": "Equity",
                "height": 240,
                "alt": _alt("Equity", usd, equity),
                **chart(data.book.ts_ns, [Line("Equity", "main", equity)], "usd", clock),
            },
            {
                "id": "drawdown",
                "section": "equity",
                "title": "Drawdown",
                "height": 140,
                "alt": f"The largest drawdown was {percent(abs(float(np.nanmin(drawdown))), 3)}.",
                **chart(data.book.ts_ns, [Line("Drawdown", "loss", drawdown)], "frac", clock),
            },
        ]
    if len(data.risk):
        charts.append(_var_chart(data, found, clock))
    return charts


def _var_chart(data: RunData, found: list[Span], clock: Clock) -> dict[str, Any]:
    risk = data.risk.numbers
    upper = risk["var_upper_usd"]
    lines = [Line("VaR, upper", "main", upper), Line("VaR", "second", risk["var_usd"])]
    limit = data.var_limit_usd
    changed = np.array([], dtype=np.int64)
    if limit is not None:
        budget_frac = float(data.config["risk"]["budget_frac"])
        lines += [Line("Limit", "limit", limit), Line("Budget", "budget", limit * budget_frac)]
        steps = np.flatnonzero(np.diff(limit))
        changed = np.union1d(steps, steps + 1)
    unknown = int(np.count_nonzero(np.isnan(upper)))
    stopped = sum(span.stop - span.start for span in found if span.state == "HALTED")
    reduced = sum(span.stop - span.start for span in found if span.state == "REDUCING")
    words = [
        _alt("VaR (upper)", usd, upper),
        _limit_text(limit) if limit is not None else "",
        f"Trading was halted on {stopped:,} bars and reducing on {reduced:,} of {len(upper):,}."
        if found
        else "",
        f"VaR was unknown on {unknown:,} bars." if unknown else "",
    ]
    return {
        "id": "var",
        "section": "risk",
        "title": "VaR against its limit",
        "height": 260,
        "alt": " ".join(word for word in words if word),
        "spans": [(span.start, span.stop, span.state) for span in found[:_SPANS_MAX]],
        **chart(data.risk.ts_ns, lines, "usd", clock, kept=changed),
    }


def _limit_text(limit_usd: FloatArray) -> str:
    first, last = float(limit_usd[0]), float(limit_usd[-1])
    n_changes = int(np.count_nonzero(np.diff(limit_usd)))
    if not n_changes:
        return f"The limit was {usd(first)}."
    times = counted(n_changes, "time")
    return f"The limit began at {usd(first)}, was changed {times}, and ended at {usd(last)}."


def _spread_charts(data: RunData, clock: Clock) -> list[dict[str, Any]]:
    """Return the charts of the spreads that were traced, with their signals."""
    signals = data.signals
    names = list(zip(signals.texts["strategy"], signals.texts["spread"], strict=True))
    entries = {str(table.get("name")): table.get("entry_z") for table in data.config.get("strategy", ())}
    charts = []
    for number, path in enumerate(data.paths):
        rows = [k for k, name in enumerate(names) if name == (path.strategy, path.spread)]
        own = Signals(signals.ts_ns[rows], [signals.texts["side"][k] for k in rows])
        entry_z = figures.finite(entries.get(path.strategy))
        charts += spread_charts(path, own, entry_z, clock, number, data.z_unit(path.strategy))
    return charts


def _alt(name: str, write: Any, values: Any) -> str:
    if np.isnan(values).all():
        return f"{name} was unknown throughout."
    return (
        f"{name} began at {write(float(values[0]))} and ended at {write(float(values[-1]))}; "
        f"lowest {write(float(np.nanmin(values)))}, highest {write(float(np.nanmax(values)))}."
    )
