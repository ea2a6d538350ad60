"""The tables of a report: each is a function of a run's data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from engine.app.render import percent, usd
from engine.app.replay.statistics import EquityStatistics, turnover_frac
from engine.app.report.charts import Clock, Span, session_starts
from engine.app.report.data import RunData
from engine.app.report.figures import finite
from engine.app.terminal_text import about_allocator
from engine.events import FloatArray, IntArray

#: Tables longer than this are cut, and say so: a report is to be read.
ROWS_MAX: Final = 200
_SEVERITY: Final = {"critical": 0, "warning": 1}
_STATE_RANK: Final = ("ACTIVE", "REDUCING", "HALTED")
_NOTES: Final = {
    "calibrated": "noise fitted by maximum likelihood on the warm-up",
    "not_calibrated": "too few observations to fit the noise; not traded",
    "weakly_identified": "the likelihood is flat or at an edge: this noise is a choice, not a measurement",
    "admitted": "passed the cointegration test",
    "not_admitted": "failed the cointegration test; not traded",
    "admission_off": "traded without a cointegration test",
    "mispriced": "entered: the future and its fair value are apart",
    "converged": "left: the mispricing has gone",
    "rolled": "left before expiry with some mispricing remaining",
    "not_neutral": "both legs are on one side: net exposure is all of gross",
    "not_measured": "wanted for so many bars, and not held, before there were days enough to measure it",
    "unfilled_at_the_end": "decided at the last close; the bars end before the open that would fill it",
}


class Grid(msgspec.Struct, frozen=True):
    """One table: ``columns`` are (heading, is a number); the first cell of a row names it."""

    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: list[list[str]]
    note: str = ""


def _grid(caption: str, columns: tuple[tuple[str, bool], ...], rows: list[list[str]], where: str) -> Grid:
    left_out = len(rows) - ROWS_MAX
    note = f"{left_out:,} more rows in {where}." if left_out > 0 else ""
    return Grid(caption, columns, rows[:ROWS_MAX], note)


# ------------------------------------------------------------------------------------- time and trading


def sessions_grid(data: RunData, statistics: EquityStatistics) -> Grid:
    """Tabulate equity and VaR by session, or by month when there are more sessions than a page holds."""
    by_month = len(statistics.session_days) > ROWS_MAX
    labels = [_date(day)[:7] if by_month else _date(day) for day in statistics.session_days]
    upper, limits = data.risk.numbers["var_upper_usd"], data.var_limit_usd
    peaks = _by_session(data.risk.ts_ns, upper)
    shares = {} if limits is None else _by_session(data.risk.ts_ns, upper / limits)
    ranks = np.array([_rank(state) for state in data.risk.texts["state"]], dtype=np.float64)
    worst = _by_session(data.risk.ts_ns, ranks)
    periods: dict[str, list[float]] = {}
    for label, day, close in zip(labels, statistics.session_days, statistics.session_closes_usd, strict=True):
        peak, share = (found.get(day, math.nan) for found in (peaks, shares))
        rank = worst.get(day, 0.0)
        seen = periods.setdefault(label, [close, peak, share, rank])
        highest = (float(np.fmax(one, other)) for one, other in zip(seen[1:3], (peak, share), strict=True))
        periods[label] = [close, *highest, max(seen[3], rank)]
    rows = []
    before = float(data.book.numbers["equity_usd"][0]) if len(data.book) else math.nan
    for label, (close, peak, share, rank) in periods.items():
        pnl, of_limit = usd(close - before, is_signed=True), percent(share, 0) if shares else ""
        rows.append([label, usd(close), pnl, usd(peak), of_limit, _STATE_RANK[int(rank)]])
        before = close
    unit = "month" if by_month else "session"
    columns = (
        (unit.capitalize(), False),
        ("Equity at close", True),
        ("P&L", True),
        ("Peak VaR, upper", True),
        ("Of limit", True),
        ("Worst state", False),
    )
    return _grid(f"Equity and VaR by {unit}", columns, rows, "book.parquet")


def _rank(state: str) -> int:
    """Order states by gravity; one this version does not know counts as the gravest."""
    return _STATE_RANK.index(state) if state in _STATE_RANK else len(_STATE_RANK) - 1


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _by_session(ts_ns: IntArray, values: FloatArray) -> dict[int, float]:
    starts = session_starts(ts_ns)
    if not len(starts):
        return {}
    days = (ts_ns[starts] - 1) // 86_400_000_000_000
    return dict(zip(days.tolist(), np.fmax.reduceat(values, starts).tolist(), strict=True))


def states_grid(data: RunData, found: Sequence[Span], clock: Clock) -> Grid:
    """List the spans in which trading was reduced or halted."""
    ts_ns, upper = data.risk.ts_ns, data.risk.numbers["var_upper_usd"]
    rows = [
        [
            clock.text(int(ts_ns[span.start])),
            span.state,
            clock.text(int(ts_ns[span.stop])) if span.stop < len(ts_ns) else "end of the run",
            f"{span.stop - span.start:,}",
            usd(float(upper[span.start])),
        ]
        for span in found
    ]
    columns = (("From", False), ("State", False), ("Until", False), ("Bars", True), ("VaR then, upper", True))
    return _grid("Spans in which trading was reduced or halted", columns, rows, "risk.parquet")


class _Held(msgspec.Struct):
    """Signals of one spread, and the side it wants now."""

    counts: Counter[str] = msgspec.field(default_factory=Counter)
    minutes: list[float] = msgspec.field(default_factory=list)
    side: str = "FLAT"
    since: float = 0.0


def signals_grid(data: RunData) -> Grid:
    """Count signals and mean holding by spread. P&L stays with the book: spreads share legs, and legs net."""
    signals = data.signals
    is_session_time = len(data.book) > 0
    clock_min = (
        np.searchsorted(data.book.ts_ns, signals.ts_ns).astype(np.float64)
        if is_session_time
        else (signals.ts_ns - signals.ts_ns[:1].sum()) / 6e10
    )
    spreads: dict[tuple[str, str], _Held] = {}
    names = zip(signals.texts["strategy"], signals.texts["spread"], strict=True)
    for name, side, at in zip(names, signals.texts["side"], clock_min.tolist(), strict=True):
        held = spreads.setdefault(name, _Held())
        held.counts[side] += 1
        if side != held.side:
            if held.side != "FLAT":
                held.minutes.append(at - held.since)
            held.side, held.since = side, at
    rows = [
        [
            spread,
            strategy,
            f"{held.counts['LONG']:,}",
            f"{held.counts['SHORT']:,}",
            f"{len(held.minutes):,}",
            f"{sum(held.minutes) / len(held.minutes):,.1f}" if held.minutes else "none",
            held.side,
        ]
        for (strategy, spread), held in sorted(
            spreads.items(), key=lambda item: (-item[1].counts.total(), item[0])
        )
    ]
    in_bars = "session minutes" if data.bar_min == 1 else "bars"
    unit = in_bars if is_session_time else "clock minutes"
    columns = (
        ("Spread", False),
        ("Strategy", False),
        ("LONG", True),
        ("SHORT", True),
        ("Closed", True),
        (f"Mean holding, {unit}", True),
        ("At the end", False),
    )
    return _grid("Signals by spread", columns, rows, "signals.parquet")


def z_grid(data: RunData) -> Grid:
    """Tabulate the spread of z outside session openings."""
    rows = []
    for s in data.z_spreads:
        unit = data.z_unit(s.strategy)
        beyond = "" if unit else percent(s.beyond_2 / s.n if s.n else None, 1)
        rows.append([s.spread, s.strategy, f"{s.n:,}", f"{s.sd:,.3f} {unit}".rstrip(), beyond])
    columns = (
        ("Spread", False),
        ("Strategy", False),
        ("Bars", True),
        ("Standard deviation", True),
        ("Beyond ±2", True),
    )
    left_out = ", without the first bar of each session" if data.has_openings else ""
    return _grid(f"z by spread{left_out}", columns, rows, "trace.parquet")


def costs_grid(data: RunData, mean_equity_usd: float) -> Grid:
    """Tabulate what was traded and what it cost, by symbol."""
    fills = data.fills
    traded = np.abs(fills.numbers["quantity"] * fills.numbers["price_usd"])
    by_symbol: dict[str, list[float]] = {}
    rows_in = zip(fills.texts["symbol"], traded.tolist(), fills.numbers["cost_usd"].tolist(), strict=True)
    for symbol, traded_usd, cost_usd in rows_in:
        sums = by_symbol.setdefault(symbol, [0.0, 0.0, 0.0])
        sums[0] += 1
        sums[1] += traded_usd
        sums[2] += cost_usd
    rows = [
        [
            symbol,
            f"{int(n):,}",
            usd(traded_usd),
            f"{turnover_frac(traded_usd, mean_equity_usd):.2f}×",
            usd(cost_usd),
            f"{cost_usd / traded_usd * 1e4:.2f}" if traded_usd else "none",
        ]
        for symbol, (n, traded_usd, cost_usd) in sorted(by_symbol.items(), key=lambda i: (-i[1][1], i[0]))
    ]
    columns = (
        ("Symbol", False),
        ("Fills", True),
        ("Traded", True),
        ("Turnover", True),
        ("Cost", True),
        ("Cost, bp of traded", True),
    )
    return _grid("Trading by symbol", columns, rows, "fills.parquet")


def decisions_grid(data: RunData, clock: Clock) -> Grid:
    """Count what became of targets, most frequent first; one decision is a minute with its reason."""
    targets = data.targets
    decisions = dict.fromkeys(
        zip(targets.ts_ns.tolist(), targets.texts["status"], targets.texts["reason"], strict=True)
    )
    counts = Counter((status, reason) for _, status, reason in decisions)
    last = {(status, reason): ts for ts, status, reason in decisions}
    rows = [
        [status, reason or "none", f"{n:,}", clock.text(last[status, reason])]
        for (status, reason), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    columns = (("Decision", False), ("Reason", False), ("Times", True), ("Last", False))
    return _grid("Targets approved, scaled and refused", columns, rows, "targets.parquet")


# ----------------------------------------------------------------------------------- accounts and notes


def bars_grid(summary: Mapping[str, Any]) -> Grid:
    """Account for every bar: received = accepted + rejected + pending."""
    rejected = {str(reason): int(n) for reason, n in sorted((summary.get("rejected") or {}).items()) if n}
    pending = int(summary.get("pending") or 0)
    received = int(summary.get("received", summary.get("bars")) or 0)
    accepted = int(summary.get("accepted", received - sum(rejected.values()) - pending))
    missing = received - accepted - sum(rejected.values()) - pending
    rows = [["Received", f"{received:,}"], ["Accepted", f"{accepted:,}"]]
    rows += [[f"Rejected: {reason}", f"{n:,}"] for reason, n in rejected.items()]
    rows.append(["Pending confirmation", f"{pending:,}"])
    note = (
        f"DOES NOT BALANCE: {missing:,} bars are not accounted for."
        if missing
        else "Every bar is accounted for."
    )
    return Grid("Bars", (("Verdict", False), ("Bars", True)), rows, note)


def notes_grid(summary: Mapping[str, Any]) -> Grid:
    """List what strategies had to say of their spreads; what a note holds beside its names are values."""
    rows = []
    for note in summary.get("notes") or []:
        kind = str(note.get("note", ""))
        values = [(name, finite(value)) for name, value in note.items()]
        figures = ", ".join(f"{name} {value:.3g}" for name, value in values if value is not None)
        names = [str(note.get("spread", "")), str(note.get("strategy", ""))]
        meaning = _NOTES.get(kind, "")
        if "answers" in note:
            meaning = about_allocator(note)
        rows.append([*names, kind.replace("_", " "), meaning, figures])
    columns = (("Spread", False), ("Strategy", False), ("Note", False), ("Meaning", False), ("Values", False))
    return _grid("Notes of the strategies", columns, rows, "summary.json")


def alerts_grid(alerts: Sequence[Mapping[str, Any]], clock: Clock) -> Grid:
    """List alerts in the order of time; when there are too many, the gravest are kept."""
    gravest = sorted(range(len(alerts)), key=lambda k: (_SEVERITY.get(str(alerts[k].get("severity")), 2), k))
    kept = sorted(gravest[:ROWS_MAX])
    rows = [
        [
            _when(alert.get("ts"), clock),
            *(str(alert.get(key, "")) for key in ("severity", "kind", "text", "id")),
        ]
        for alert in (alerts[k] for k in kept)
    ]
    columns = (("Time", False), ("Severity", False), ("Kind", False), ("Text", False), ("Id", False))
    left_out = len(alerts) - len(kept)
    note = f"{left_out:,} less grave alerts in alerts.jsonl." if left_out else ""
    return Grid("Alerts", columns, rows, note)


def _when(ts: Any, clock: Clock) -> str:
    try:
        return clock.text(int(np.datetime64(str(ts).removesuffix("Z"), "ns").astype(np.int64)))
    except ValueError:
        return str(ts)
