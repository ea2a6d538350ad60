"""How long bars are, told from their stamps; a run that was told otherwise is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.events import DAY_NS, MINUTE_NS, IntArray
from feeds.calendars import sessions_for
from feeds.spacing import SAMPLE_STAMPS, bar_min_of, check_bar_size, distinct, look_like_starts

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
    stamps = np.repeat(np.arange(1, SAMPLE_STAMPS + 1_000), 2) * MINUTE_NS
    sample = distinct(np.concatenate([[-1], stamps]))
    assert sample.tolist() == (np.arange(1, SAMPLE_STAMPS + 1) * MINUTE_NS).tolist()


@pytest.mark.parametrize(("every_min", "stamps"), [(30, ends(30, 14)), (1_440, ends(1_440, 14))])
def test_bars_that_are_meant_to_be_far_apart_are_taken(every_min: int, stamps: IntArray) -> None:
    """Polls, or marks of closes, in a run of minutes: their owner says how far apart, and that is checked."""
    sessions = sessions_for("XNYS", MONDAY - 1, MONDAY + 15, 1)
    check_bar_size(Path("bars.csv"), stamps, "XNYS", sessions, every_min)
    for said_min in (None, 1, 15):
        with pytest.raises(DataError) as caught:
            check_bar_size(Path("bars.csv"), stamps, "XNYS", sessions, said_min)
        assert f"[feed]  every_min = {every_min}" in caught.value.detail


def test_shorter_bars_than_a_run_was_told_are_never_meant() -> None:
    """Most of them would be MALFORMED, however far apart they are said to be."""
    sessions = sessions_for("XNYS", MONDAY - 1, MONDAY + 15, 5)
    with pytest.raises(DataError) as caught:
        check_bar_size(Path("bars.csv"), ends(1, 14), "XNYS", sessions, 1)
    assert "every_min" not in caught.value.detail


@pytest.mark.parametrize("calendar", ["XNYS", "XTKS", "XLON"])
@pytest.mark.parametrize("bar_min", [1, 60, 1_440])
def test_starts_look_like_starts_and_ends_do_not(calendar: str, bar_min: int) -> None:
    """The commonest mistake with a vendor's bars; a wrong suspicion of good ones would be worse than none."""
    sessions = sessions_for(calendar, MONDAY, MONDAY + 14, bar_min)
    good = sessions.stamps(0, sessions.n_bars)[0]
    starts = np.concatenate([sessions.open_ns, np.setdiff1d(good, sessions.close_ns)])
    assert look_like_starts(np.sort(starts), sessions)
    assert not look_like_starts(good, sessions)


def test_hours_outside_the_sessions_are_not_mistaken_for_starts() -> None:
    """Bars before the open have one that ends at it, and the first of two hundred others."""
    sessions = sessions_for("XNYS", MONDAY, MONDAY + 14)
    minutes = np.arange(sessions.open_ns[0] - 30 * MINUTE_NS, sessions.close_ns[-1], MINUTE_NS)
    assert not look_like_starts(minutes, sessions)
    thin = np.setdiff1d(np.concatenate([ends(1, 14), sessions.open_ns]), sessions.close_ns[1:])
    assert not look_like_starts(thin, sessions)  # one close is enough
    assert not look_like_starts(sessions.open_ns[:1], sessions)
