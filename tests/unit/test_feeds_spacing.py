"""How long bars are, told from their stamps; a run that was told otherwise is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.events import DAY_NS, MINUTE_NS, IntArray
from feeds.calendars import sessions_for
from feeds.spacing import bar_min_of, check_bar_size, distinct

#: Monday 2026-01-05, days since 1970-01-01.
MONDAY = 20_458


def ends(bar_min: int, n_days: int, calendar: str = "XNYS") -> IntArray:
    sessions = sessions_for(calendar, MONDAY, MONDAY + n_days, bar_min)
    return sessions.stamps(0, sessions.n_bars)[0]


@pytest.mark.parametrize("bar_min", [1, 5, 15, 30, 60, 130])
def test_bars_of_minutes_are_told(bar_min: int) -> None:
    """Every size that fits, the shorter bar at the end of a session included."""
    assert bar_min_of(ends(bar_min, 14), "XNYS") == bar_min


def test_daily_bars_are_told_across_weekends_and_clock_changes() -> None:
    """In March a day is 23 hours, a weekend three days, Good Friday four: it is still one bar a session."""
    sessions = sessions_for("XNYS", MONDAY + 45, MONDAY + 100, 1_440)
    assert bar_min_of(sessions.close_ns, "XNYS") == 1_440
    midnights = sessions.day * DAY_NS
    assert bar_min_of(midnights, "XNYS") == 1_440
    assert bar_min_of(midnights, "24/7") == 1_440


def test_what_says_nothing_is_left_alone() -> None:
    """A share that trades now and then, too few rows, clock hours that no grid of the session has."""
    rng = np.random.default_rng(3)
    minutes = ends(1, 5)
    seldom = np.sort(rng.choice(minutes, 60, replace=False))
    assert bar_min_of(seldom, "XNYS") is None
    assert bar_min_of(minutes[:8], "XNYS") is None
    assert bar_min_of(minutes[:0], "XNYS") is None
    clock_hours = minutes[(minutes // MINUTE_NS) % 60 == 0]
    assert bar_min_of(clock_hours, "XNYS") is None


def test_gaps_do_not_make_bars_longer() -> None:
    """A third of the minutes is missing, and they are minutes all the same."""
    minutes = ends(1, 3)
    kept = minutes[np.random.default_rng(7).random(len(minutes)) > 0.33]
    assert bar_min_of(kept, "XNYS") == 1


@pytest.mark.parametrize(
    ("bar_min", "told_min", "what"),
    [
        (1, 1_440, "bars of 1 minute, universe.bar_min was 1440"),
        (5, 1, "bars of 5 minutes, universe.bar_min was 1"),
        (1, 5, "bars of 1 minute, universe.bar_min was 5"),
        (1_440, 1, "daily bars, universe.bar_min was 1"),
        (1_440, 60, "daily bars, universe.bar_min was 60"),
    ],
)
def test_the_key_that_fits_is_named(bar_min: int, told_min: int, what: str) -> None:
    """Otherwise nine in ten bars are refused, or nine in ten minutes are empty, and neither fails."""
    sessions = sessions_for("XNYS", MONDAY - 1, MONDAY + 15, told_min)
    with pytest.raises(DataError) as caught:
        check_bar_size(Path("bars.csv"), ends(bar_min, 14), "XNYS", sessions)
    assert caught.value.code == "D016"
    assert caught.value.what == f"bars.csv holds {what}"
    assert f"bar_min = {bar_min}" in caught.value.detail


@pytest.mark.parametrize("bar_min", [1, 5, 60, 195, 200, 300, 390, 1_440])
def test_what_a_run_was_told_is_taken(bar_min: int) -> None:
    """Bars of 300 minutes leave 90 of a session: the shorter distance must not speak against them."""
    sessions = sessions_for("XNYS", MONDAY - 1, MONDAY + 15, bar_min)
    check_bar_size(Path("bars.csv"), ends(bar_min, 14), "XNYS", sessions)


def test_only_a_sample_is_kept() -> None:
    """A file of years must not be held for this."""
    stamps = np.repeat(np.arange(1, 5_000), 2) * MINUTE_NS
    sample = distinct(np.concatenate([[-1], stamps]))
    assert sample.tolist() == (np.arange(1, 1_025) * MINUTE_NS).tolist()
