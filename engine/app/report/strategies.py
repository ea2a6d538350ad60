"""What a report says of strategies: what each earned, and what its trades were like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from engine.app.render import percent, usd
from engine.app.replay.attribution import curves_of
from engine.app.report.charts import Clock, Line, chart
from engine.app.report.data import RunData
from engine.app.report.figures import finite
from engine.app.report.tables import Grid

#: Looks of lines in a chart with several; more could not be told apart.
_KINDS: Final = ("main", "second", "third", "fourth", "fifth", "sixth")
_NOTE: Final = (
    "P&L is after costs and funding, and adds up to that of the book. A trade is a round trip of a spread, "
    "from flat to flat; its return is of the most gross it had. Annualised return and drawdown are fractions "
    "of the equity at the start, drawdown at session closes. Sharpe ratio (of sessions) and annualised "
    "return need 20 sessions."
)


def attribution_grid(summary: Mapping[str, Any]) -> Grid:
    """Tabulate strategies as the summary has them, then all of them together."""
    found = summary.get("strategies") or {}
    rows = [_row(name, figures) for name, figures in found.items()]
    if len(rows) > 1:
        pnl, costs = (sum(finite(one.get(key)) or 0.0 for one in found.values()) for key in _SUMS)
        trades = sum(int(one.get("trades") or 0) for one in found.values())
        rest = [""] * (len(_COLUMNS) - 5)
        rows.append(["Together", usd(pnl, is_signed=True), usd(costs), "", f"{trades:,}", *rest])
    return Grid("What each strategy earned", _COLUMNS, rows, _NOTE if rows else "")


_SUMS: Final = ("pnl_usd", "costs_usd")
_COLUMNS: Final = (
    ("Strategy", False),
    ("P&L", True),
    ("Costs", True),
    ("Mean gross", True),
    ("Trades", True),
    ("Won", True),
    ("Mean trade", True),
    ("Mean holding", True),
    ("Annualised", True),
    ("Sharpe", True),
    ("Max drawdown", True),
)


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    value = {key: finite(figure) for key, figure in figures.items()}
    sharpe = value.get("sharpe")
    return [
        name,
        usd(value.get("pnl_usd"), is_signed=True),
        usd(value.get("costs_usd")),
        usd(value.get("gross_mean_usd")),
        f"{int(value.get('trades') or 0):,}",
        _percent(value.get("win_rate"), 0),
        _percent(value.get("avg_trade_return_frac"), 3),
        holding_text(value.get("holding_mean_days")),
        _percent(value.get("annualised_return_frac"), 2),
        "none" if sharpe is None else f"{sharpe:.2f}",
        _percent(value.get("max_drawdown_frac"), 3),
    ]


def _percent(value: float | None, digits: int) -> str:
    return "none" if value is None else percent(value, digits)


def holding_text(days: float | None) -> str:
    """Write a time in the unit in which it has a few digits.

    Examples
    --------
    >>> holding_text(0.0208), holding_text(0.25), holding_text(12.04), holding_text(None)
    ('30 min', '6.0 h', '12.0 d', 'none')
    """
    if days is None:
        return "none"
    if days * 24.0 < 2.0:
        return f"{days * 1_440.0:.0f} min"
    return f"{days * 24.0:.1f} h" if days < 2.0 else f"{days:.1f} d"


def strategies_chart(data: RunData, clock: Clock) -> list[dict[str, Any]]:
    """Draw cumulative P&L by strategy where there are several; it steps at session closes.

    The strategies that moved the book most are drawn, in their order.
    """
    if not (len(data.book) and len(data.sleeves)):
        return []
    curves = curves_of(data.sleeves)
    if len(curves.names) < 2:
        return []
    closed = np.searchsorted(curves.ts_ns, data.book.ts_ns, side="right")
    pnl_usd = np.concatenate((np.zeros((1, len(curves.names))), curves.values))
    largest = np.argsort(-np.abs(pnl_usd[-1]), kind="stable")[: len(_KINDS)]
    lines = [
        Line(curves.names[k], kind, pnl_usd[closed, k])
        for k, kind in zip(np.sort(largest).tolist(), _KINDS, strict=False)
    ]
    ends = ", ".join(f"{line.label} {usd(float(line.values[-1]), is_signed=True)}" for line in lines)
    left_out = len(curves.names) - len(lines)
    more = f"; {left_out} with smaller P&L are in the table alone" if left_out else ""
    return [
        {
            "id": "strategies",
            "section": "strategies",
            "title": "Cumulative P&L by strategy",
            "height": 220,
            "alt": f"At the end: {ends}{more}.",
            **chart(data.book.ts_ns, lines, "usd", clock),
        }
    ]
