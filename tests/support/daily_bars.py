"""Daily bars written by hand, and a whole run over them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from engine.app.config.load import load
from engine.app.replay.run import replay
from engine.app.terminal import Silent
from feeds.calendars import day_of, sessions_for

#: No costs and no funding: what is left is the trade itself.
FREE = """
[costs]
half_spread_bps = 0.0
impact_bps = 0.0
fee_bps = 0.0
[funding]
rate_frac = 0.0
long_spread_bps = 0.0
short_spread_bps = 0.0
borrow_bps = 0.0
"""


class Run(NamedTuple):
    """What a run left: its summary and its tables by name."""

    summary: dict[str, Any]
    folder: Path

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of the run folder."""
        return pd.read_parquet(self.folder / f"{name}.parquet")

    def fills(self) -> list[tuple[str, float, float]]:
        """Return symbol, quantity and price of every fill, in order."""
        rows = self.table("fills")
        return list(zip(rows["symbol"], rows["quantity"], rows["price_usd"], strict=True))

    def sides(self) -> list[tuple[str, str]]:
        """Return date and side of every signal, in order."""
        rows = self.table("signals")
        days = rows["ts"].astype("int64").to_numpy() // 86_400_000_000_000
        dates = [(dt.date(1970, 1, 1) + dt.timedelta(days=int(day))).isoformat() for day in days]
        return list(zip(dates, rows["side"], strict=True))


def session_dates(first: str, n: int) -> list[str]:
    """Return the dates of the first ``n`` sessions of XNYS on or after a day."""
    start = day_of(dt.date.fromisoformat(first))
    days = sessions_for("XNYS", start, start + 2 * n + 14).day[:n]
    return [(dt.date(1970, 1, 1) + dt.timedelta(days=int(day))).isoformat() for day in days]


def run_daily(
    folder: Path,
    config: str,
    dates: Sequence[str],
    closes: Mapping[str, Sequence[float]],
    opens: Mapping[str, Sequence[float]] | None = None,
) -> Run:
    """Replay daily bars; a bar opens at the close before it unless said otherwise."""
    write_daily(folder, config, dates, closes, opens)
    return run_file(folder / "astra.toml", folder)


def run_file(path: Path, folder: Path, *overrides: str) -> Run:
    """Replay a configuration into a folder."""
    done = replay(load(path, overrides), out=folder / "run", commands=None, argv=[], listener=Silent())
    return Run(done.summary, done.folder)


def write_daily(
    folder: Path,
    config: str,
    dates: Sequence[str],
    closes: Mapping[str, Sequence[float]],
    opens: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write what ``run_daily`` replays: ``bars.csv`` and ``astra.toml``."""
    rows = []
    for symbol, close in closes.items():
        opened = [close[0], *close[:-1]] if opens is None else opens[symbol]
        for date, o, c in zip(dates, opened, close, strict=True):
            rows.append((date, symbol, o, max(o, c), min(o, c), c, 1e9))
    columns = ["date", "symbol", "open", "high", "low", "close", "volume"]
    frame = pd.DataFrame(rows, columns=columns).sort_values("date", kind="stable")
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "bars.csv", index=False)
    text = f'[feed]\npath = "bars.csv"\n[universe]\nbar_min = 1440\n{config}'
    (folder / "astra.toml").write_text(text)
