"""A made curve: par yields of five tenors that move together, with a slope of their own, from a seed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from engine.events import DAY_NS, FloatArray
from feeds.calendars import date_of, day_of, sessions_for

TENORS = ("5 YR", "7 YR", "10 YR", "20 YR", "30 YR")
YEARS = np.array([5.0, 7.0, 10.0, 20.0, 30.0])


def made_yields(n_days: int, seed: int = 11) -> FloatArray:
    """Return yields in percent, shape (n_days, 5): a level, a slope and noise, rounded as published."""
    rng = np.random.default_rng(seed)
    level = 2.0 + np.cumsum(rng.normal(0.0, 0.04, n_days))
    slope = np.empty(n_days)
    slope[0] = 0.3
    for t, shock in enumerate(rng.normal(0.0, 0.03, n_days - 1)):
        slope[t + 1] = 0.3 + 0.98 * (slope[t] - 0.3) + shock
    shape = np.log(YEARS / 5.0) / np.log(6.0)
    noise = rng.normal(0.0, 0.005, (n_days, 5))
    return np.asarray(np.round(level[:, None] + slope[:, None] * shape + noise, 2), dtype=np.float64)


def sessions_from(first: dt.date, n_days: int) -> list[dt.date]:
    """Return the dates of so many sessions of the XNYS calendar."""
    day = day_of(first)
    found = sessions_for("XNYS", day, day + 2 * n_days + 14)
    return [date_of(int(each)) for each in (found.close_ns // DAY_NS)[:n_days]]


def curve_csv(
    dates: Sequence[dt.date],
    yield_pct: FloatArray,
    *,
    is_newest_first: bool = True,
    tenors: Sequence[str] = TENORS,
) -> str:
    """Return a file in the layout of the Treasury."""
    header = ",".join(["Date", *(f'"{tenor}"' for tenor in tenors)])
    rows = [
        ",".join([date.strftime("%m/%d/%Y"), *(f"{value:.2f}" for value in row)])
        for date, row in zip(dates, yield_pct.tolist(), strict=True)
    ]
    return "\n".join([header, *(reversed(rows) if is_newest_first else rows)]) + "\n"
