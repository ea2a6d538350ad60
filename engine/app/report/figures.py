"""What a report says outside its tables: key figures, and what identifies the run."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np

from engine.app.render import percent, usd
from engine.app.replay.statistics import EquityStatistics, round_trips_usd, turnover_frac, win_rate_frac
from engine.app.report.data import RunData


class Figure(msgspec.Struct, frozen=True):
    """One key figure: what, how much, and what to hold it against."""

    label: str
    value: str
    note: str = ""


def finite(value: Any) -> float | None:
    """Return a number of a JSON document, or None for whatever is not a finite one."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "not recorded"


def key_figures(data: RunData, statistics: EquityStatistics) -> list[Figure]:
    """State what a run came to. Without a book, P&L, costs and risk are left out, not shown as zero."""
    summary = data.summary
    counts = [
        Figure(name.capitalize(), _count(summary.get(name))) for name in ("signals", "fills", "rebalances")
    ]
    if not len(data.book):
        return [Figure("Book", "none kept", "signals only: there is no P&L and no risk to report"), *counts]
    traded_usd = float(np.sum(np.abs(data.fills.numbers["quantity"] * data.fills.numbers["price_usd"])))
    costs, funding = (finite(summary.get(key)) for key in ("costs_usd", "funding_usd"))
    cost_note = (
        f"{costs / traded_usd * 1e4:.2f} bp of {usd(traded_usd)} traded" if costs and traded_usd else ""
    )
    return [
        Figure(
            "P&L",
            usd(finite(summary.get("pnl_usd")), is_signed=True),
            f"{percent(finite(summary.get('total_return_frac')), 3, is_signed=True)} of equity, after costs",
        ),
        *_halted(summary.get("halted")),
        Figure("Costs", usd(costs), cost_note),
        Figure("Funding", usd(funding, is_signed=True), "paid" if (funding or 0.0) < 0.0 else "received"),
        Figure(
            "Max drawdown",
            percent(finite(summary.get("max_drawdown_frac")), 3),
            "from the last peak, a loss",
        ),
        _sharpe(statistics),
        *_risk_figures(data),
        *counts,
        Figure(
            "Turnover",
            f"{turnover_frac(traded_usd, statistics.mean_equity_usd):.2f}×",
            "traded / mean equity",
        ),
        _round_trips(data),
    ]


def _halted(halted: Any) -> list[Figure]:
    """Part the P&L by the first halt; nothing to say of a run without one, or of an earlier version."""
    if not isinstance(halted, dict):
        return []
    before, since, idle = (
        usd(finite(halted.get(f"pnl_{part}_usd")), is_signed=True) for part in ("before", "since", "halted")
    )
    return [
        Figure("P&L before the halt", before, f"first halted at {halted.get('first')}"),
        Figure("P&L since the halt", since, f"{idle} of it while halted: of what was held, nothing decided"),
    ]


def _sharpe(statistics: EquityStatistics) -> Figure:
    sharpe = statistics.sharpe
    if sharpe is None:
        return Figure("Sharpe ratio", "not shown", statistics.sharpe_reason)
    note = f"± one standard error; {statistics.sessions} sessions"
    return Figure("Sharpe ratio", f"{sharpe:.2f} ± {statistics.sharpe_se:.2f}", note)


def _risk_figures(data: RunData) -> list[Figure]:
    limits = data.var_limit_usd
    limit = float(limits[-1]) if limits is not None and len(limits) else None
    figures = []
    for label, key in (("VaR, last", "var_last_usd"), ("VaR, peak", "var_peak_usd")):
        value = finite(data.summary.get(key))
        note = f"{percent(value / limit, 0)} of the {usd(limit)} limit" if limit and value is not None else ""
        figures.append(Figure(label, usd(value), note))
    states = data.risk.texts["state"]
    ended = f"ended {states[-1]}" if states else ""
    return [*figures, Figure("Halts", _count(data.summary.get("halts")), ended)]


def _round_trips(data: RunData) -> Figure:
    pnl_usd = round_trips_usd(data.book.numbers["equity_usd"], data.book.numbers["gross_usd"])
    rate = win_rate_frac(pnl_usd)
    if rate is None:
        return Figure("Round trips", "0", "the whole book, flat to flat")
    return Figure("Round trips", f"{len(pnl_usd):,}", f"{percent(rate, 0)} won; the whole book, flat to flat")


def run_facts(data: RunData) -> list[tuple[str, str]]:
    """List what identifies the run; wall-clock figures are left out: equal runs print equal reports."""
    run = data.run
    packages = run.get("packages") or {}
    argv = run.get("argv") or []
    data_ = run.get("data") or {}
    facts = [
        ("Version", run.get("version")),
        ("Data", data_.get("path")),
        ("Data fingerprint", data_.get("fingerprint")),
        ("Digest", data.summary.get("digest")),
        ("Configuration hash", run.get("config_hash")),
        ("Seed", run.get("seed")),
        ("Command", " ".join(map(str, argv)) if isinstance(argv, list) else argv),
        ("Packages", ", ".join(f"{k} {v}" for k, v in sorted(packages.items())) if packages else None),
        ("Exit reason", run.get("exit_reason")),
    ]
    return [(label, _fact(value)) for label, value in facts]


def _fact(value: Any) -> str:
    if value is None or value == "":
        return "not recorded"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
