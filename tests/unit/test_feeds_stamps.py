"""Dates and midnights: which of them name a session, and which end a bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.errors import DataError
from engine.events import DAY_NS, BarSlice, IntArray
from feeds.calendars import DAY_MIN, sessions_for
from feeds.check import check
from feeds.convert import import_
from feeds.files import FileOptions, file_bars
from feeds.simulated import SimulatedOptions, write

CALENDARS = ["XNYS", "XLON", "XTKS", "24/5", "24/7", "CMES", "us_futures"]
#: Monday 2026-01-05, days since 1970-01-01.
MONDAY = 20_458


def written(folder: Path, ts: Any, suffix: str = "csv") -> Path:
    """Write a bar of KO for each stamp; a bar's prices tell its row."""
    path = folder / f"bars.{suffix}"
    price = 100.0 + np.arange(len(ts))
    bars = pd.DataFrame({"ts": ts, "symbol": "KO", **dict.fromkeys(("open", "high", "low", "close"), price)})
    bars["volume"] = 5.0
    bars.to_parquet(path) if suffix == "parquet" else bars.to_csv(path, index=False)
    return path


def closes(path: Path, calendar: str, tz: str | None = None) -> list[int]:
    """Return when the bars of a daily run close."""
    bars = file_bars(FileOptions(path=path, tz=tz), ("KO",), calendar, bar_min=DAY_MIN)
    return [item.ts_close_ns for item in bars.slices() if isinstance(item, BarSlice) and item.accepted]


def instants(ns: IntArray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(ns, tz="UTC")


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("bar_min", [60, DAY_MIN])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_made_for_a_calendar_is_good_on_it(
    tmp_path: Path, calendar: str, bar_min: int, suffix: str
) -> None:
    """Daily bars of 24/5 close at midnight: read as dates they moved by a session, and Fridays were lost."""
    path = tmp_path / f"bars.{suffix}"
    n_bars = write(SimulatedOptions(sessions=12, pairs=("A/B",)), path, calendar, bar_min=bar_min)
    for told_min in (bar_min, None):
        report = check(FileOptions(path=path), calendar, bar_min=told_min)
        assert (report.rejected, report.gaps, report.sessions, report.bar_min) == ({}, 0, 12, bar_min)
        assert report.rows == n_bars
        assert not report.has_starts


@pytest.mark.parametrize("calendar", CALENDARS)
def test_dates_and_midnights_give_the_closes_of_their_sessions(tmp_path: Path, calendar: str) -> None:
    """However a week of daily bars is written, it is the same bars; around the clock a midnight is an end."""
    sessions = sessions_for(calendar, MONDAY, MONDAY + 13, DAY_MIN)
    expected = sessions.close_ns.tolist()
    dates = pd.DatetimeIndex(sessions.day * DAY_NS)
    columns: dict[str, Any] = {"a date": dates.strftime("%Y-%m-%d"), "a close": instants(sessions.close_ns)}
    columns["a midnight that names no zone"] = dates.strftime("%Y-%m-%dT00:00:00")
    if calendar != "24/7":
        columns["a midnight"] = dates.tz_localize("UTC")
        columns["a midnight elsewhere"] = dates.tz_localize("Europe/Berlin")
    for spelling, ts in columns.items():
        assert closes(written(tmp_path, ts), calendar) == expected, spelling
        if spelling != "a midnight that names no zone":
            assert closes(written(tmp_path, ts, "parquet"), calendar) == expected, spelling
        out = tmp_path / "imported.parquet"
        assert import_(written(tmp_path, ts), out, calendar=calendar).bar_min == DAY_MIN
        assert closes(out, calendar) == expected, spelling
    assert closes(written(tmp_path, dates, "parquet"), calendar) == expected


def test_midnights_with_a_zone_around_the_clock_are_ends(tmp_path: Path) -> None:
    """All of them are closes: there is nothing to tell a date by, and an instant is what it says."""
    dates = pd.DatetimeIndex((MONDAY + np.arange(7)) * DAY_NS)
    for suffix in ("csv", "parquet"):
        assert closes(written(tmp_path, dates.tz_localize("UTC"), suffix), "24/7") == dates.asi8.tolist()
        naive = dates.strftime("%Y-%m-%dT00:00:00") if suffix == "csv" else dates
        assert closes(written(tmp_path, naive, suffix), "24/7", tz="UTC") == dates.asi8.tolist()


def test_a_midnight_of_minutes_is_an_instant_where_one_can_end(tmp_path: Path) -> None:
    """A bar of a futures session at 00:00 UTC is none of a day; where an exchange sleeps it must be."""
    (midnight,) = (MONDAY + np.array([1])) * DAY_NS
    path = written(tmp_path, instants(np.array([midnight])))
    bars = file_bars(FileOptions(path=path), ("KO",), "CMES")
    assert [item.ts_close_ns for item in bars.slices() if isinstance(item, BarSlice)] == [midnight]
    with pytest.raises(DataError, match="holds daily bars") as caught:
        file_bars(FileOptions(path=path), ("KO",), "XNYS")
    assert caught.value.code == "D016"


def test_a_row_with_a_time_among_dates_is_malformed(tmp_path: Path) -> None:
    """A quote of today below a history of days must not be taken for a bar, nor undo the others."""
    ts = ["2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08T15:00:00Z"]
    report = check(FileOptions(path=written(tmp_path, ts)), bar_min=DAY_MIN)
    assert (report.rejected, report.sessions) == ({"MALFORMED": 1}, 3)
