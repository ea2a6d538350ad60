"""Calendars: holidays and half days, around the clock, and names that do not exist."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from engine.errors import ConfigError, DataError
from engine.events import DAY_NS, MINUTE_NS
from feeds.calendars import day_of, minutes_per_session, sessions_for, zone_of


def test_a_half_day_and_a_holiday_of_new_york() -> None:
    """Thanksgiving 2025: Thursday closed, Friday until 13:00; a full day would look stale after lunch."""
    sessions = sessions_for("XNYS", day_of(dt.date(2025, 11, 26)), day_of(dt.date(2025, 11, 28)))
    assert sessions.day.tolist() == [day_of(dt.date(2025, 11, 26)), day_of(dt.date(2025, 11, 28))]
    assert ((sessions.close_ns - sessions.open_ns) // MINUTE_NS).tolist() == [390, 210]


def test_the_first_minute_of_new_york_ends_at_09_31() -> None:
    """Summer and winter: 09:30 New York is 13:30 UTC in July and 14:30 UTC in January."""
    for date, hour_utc in ((dt.date(2026, 7, 6), 13), (dt.date(2026, 1, 5), 14)):
        day = day_of(date)
        sessions = sessions_for("XNYS", day, day)
        opening = day * DAY_NS + (hour_utc * 60 + 30) * MINUTE_NS
        assert sessions.locate(opening) is None
        assert sessions.locate(opening + MINUTE_NS) == (0, 1)
        assert sessions.locate(opening + 390 * MINUTE_NS) == (0, 390)


def test_around_the_clock_has_no_gap() -> None:
    """Midnight closes one day's last minute; the next minute is the first of the next day."""
    sessions = sessions_for("24/7", 100, 101)
    assert sessions.locate(101 * DAY_NS) == (0, 1_440)
    assert sessions.locate(101 * DAY_NS + MINUTE_NS) == (1, 1)
    assert sessions.n_bars == 2 * 1_440


def test_a_weekend_has_no_session() -> None:
    """A span without a session is empty, not an error of the library."""
    saturday = day_of(dt.date(2026, 1, 3))
    assert len(sessions_for("XNYS", saturday, saturday + 1)) == 0


def test_lengths_zones_and_aliases() -> None:
    """Annualisation and stamps are taken from the calendar."""
    assert (minutes_per_session("XNYS"), minutes_per_session("24/7")) == (390, 1_440)
    assert (zone_of("NYSE"), zone_of("24/7")) == ("America/New_York", "UTC")
    span = (day_of(dt.date(2026, 1, 5)), day_of(dt.date(2026, 1, 9)))
    np.testing.assert_array_equal(sessions_for("NYSE", *span).table, sessions_for("XNYS", *span).table)


def test_an_unknown_calendar_proposes_a_known_one() -> None:
    """A typing error must not become a run without bars."""
    with pytest.raises(ConfigError, match='"XNSY" is not known') as caught:
        sessions_for("XNSY", 18_000, 18_001)
    assert caught.value.code == "C006"
    assert "XNYS" in caught.value.detail


def test_a_calendar_that_does_not_reach_says_so() -> None:
    """A wrong year in the data shows as what it is."""
    with pytest.raises(DataError) as caught:
        sessions_for("XKRX", day_of(dt.date(2070, 1, 1)), day_of(dt.date(2070, 2, 1)))
    assert caught.value.code == "D009"
