"""What a report says of VaR: how it was measured, and who carried it at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.app.render import percent, usd
from engine.app.report.figures import finite
from engine.app.report.tables import Grid

_ROOT_TIME = "it scales one day to {days} by the square root of time"
_DRAWN = "scenarios drawn once (seed {seed}), where “upper” adds the sampling error of the latter"
_GAUSSIAN = (
    "returns are normal with the covariance estimated from the bars so far: the larger of the analytic "
    f"figure and of a Monte Carlo over {{scenarios:,}} {_DRAWN}. It knows neither fat tails nor jumps, "
    f"neither a break of correlations nor the cost of getting out, and {_ROOT_TIME}"
)
_STUDENT_T = (
    "returns follow Student’s t with {freedom:g} degrees of freedom and the covariance estimated from the "
    f"bars so far: the larger of the analytic figure and of a Monte Carlo over {{scenarios:,}} {_DRAWN}. "
    "Its tails are as fat as it was told; it knows neither a break of correlations nor the cost of getting "
    f"out, and {_ROOT_TIME}"
)
_HISTORICAL = (
    "the days to come are like the last {window_days:,}: it is what today’s book would have lost on the "
    "worst of these, where “upper” is the day that bounds the quantile with 95%. What did not happen in "
    "them it does not know, nor whether they were calmer than now, nor the cost of getting out, and "
    f"{_ROOT_TIME}"
)
_FILTERED = (
    "the shocks to come are like those of the last {window_days:,} days, each divided by the volatility of "
    "its time, under the volatility of now (GARCH(1,1), {scenarios:,} paths, seed {seed}), where “upper” "
    "adds the sampling error of the paths. A shock larger than any of these it does not know, nor the cost "
    "of getting out, and the volatility it starts from is that of the last daily close"
)
_WORDS: Mapping[str, str] = {
    "gaussian": _GAUSSIAN,
    "student_t": _STUDENT_T,
    "historical": _HISTORICAL,
    "filtered_historical": _FILTERED,
}
_OF_A_PACKAGE = (
    "the risk model “{model}” of another package is right; what it assumes, and what it cannot know, is for "
    "that package to say"
)
_DEFAULTS: Mapping[str, Any] = {"scenarios": 5_000, "seed": 7, "freedom": 5.0, "window_days": 500}


def var_method(config: Mapping[str, Any]) -> str:
    """Say in two sentences what the VaR is, and what it cannot know."""
    risk = {**_DEFAULTS, **config.get("risk", {})}
    confidence, days = float(risk.get("confidence", 0.99)), f"{float(risk.get('horizon_days', 10)):g}"
    words = _WORDS.get(str(risk.get("model", "gaussian")), _OF_A_PACKAGE)
    return (
        f"VaR is the loss that a book held unchanged for {days} days should exceed in "
        f"{(1.0 - confidence) * 100:.3g} of 100 cases if {words.format_map({**risk, 'days': days})}, "
        "so larger losses must be expected, and more often than it says."
    )


def positions_grid(summary: Mapping[str, Any]) -> Grid:
    """List the positions at the end with their part of VaR, the largest first."""
    components = _figures(summary, "component_var_usd")
    holdings, marginal = _figures(summary, "holding_usd"), _figures(summary, "marginal_var_frac")
    total = _total(components)
    rows = [
        [
            symbol,
            usd(holdings.get(symbol)),
            usd(component),
            percent(component / total if component is not None and total else None, 1),
            _per_1000(marginal.get(symbol)),
        ]
        for symbol, component in sorted(components.items(), key=lambda item: (-(item[1] or 0.0), item[0]))
    ]
    columns = (
        ("Position", False),
        ("Held", True),
        ("Component VaR", True),
        ("Of VaR", True),
        ("VaR of $1,000 more", True),
    )
    note = (
        "Components add up to VaR, of normal and Student’s t models to its analytic figure; a negative one "
        "belongs to a hedge."
    )
    return Grid("VaR by position at the end of the run", columns, rows, note if rows else "")


def strategies_grid(summary: Mapping[str, Any]) -> Grid:
    """List the strategies at the end with their part of VaR, the largest first."""
    parts, gross = _figures(summary, "strategy_var_usd"), _figures(summary, "strategy_gross_usd")
    total = _total(parts)
    rows = [
        [
            name,
            usd(gross.get(name)),
            usd(part),
            percent(part / total if part is not None and total else None, 1),
        ]
        for name, part in sorted(parts.items(), key=lambda item: (-(item[1] or 0.0), item[0]))
    ]
    columns = (("Strategy", False), ("Gross of its legs", True), ("Component VaR", True), ("Of VaR", True))
    return Grid("VaR by strategy at the end of the run", columns, rows, "")


def _figures(summary: Mapping[str, Any], key: str) -> dict[str, float | None]:
    found = summary.get(key)
    return {str(k): finite(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def _total(values: Mapping[str, float | None]) -> float:
    return sum(value or 0.0 for value in values.values())


def _per_1000(marginal_frac: float | None) -> str:
    return (
        "unknown"
        if marginal_frac is None
        else f"{'-' if marginal_frac < 0.0 else ''}${abs(marginal_frac) * 1_000:,.2f}"
    )
