"""Exchange calendars as ``Sessions``: holidays and half days come from exchange-calendars."""

from __future__ import annotations

import datetime as dt
import difflib
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from engine.errors import ConfigError, DataError
from engine.events import DAY_NS, MINUTE_NS
from engine.sessions import Sessions

DAY_MIN = 1_440
#: Around the clock: one session for each UTC day.
AROUND_THE_CLOCK = "24/7"
#: A span without any session is refused by the library, so it is asked for a little more.
_MARGIN_DAYS = 10
_EPOCH = dt.date(1970, 1, 1)


def day_of(date: dt.date) -> int:
    """Return a date as days since 1970-01-01.

    >>> day_of(dt.date(1970, 1, 2))
    1
    """
    return (date - _EPOCH).days


def date_of(day: int) -> dt.date:
    """Return the date of a number of days since 1970-01-01."""
    return _EPOCH + dt.timedelta(days=day)


#: A year that every calendar covers.
_SAMPLE = (day_of(dt.date(2019, 1, 1)), day_of(dt.date(2019, 12, 31)))


@lru_cache(maxsize=8)
def _exchange(calendar: str, first_day: int, last_day: int) -> Any:
    """Load a calendar; a quarter of a second, however short the span."""
    import exchange_calendars
    from exchange_calendars.errors import CalendarError

    names = exchange_calendars.get_calendar_names()
    if calendar not in names:
        near = difflib.get_close_matches(calendar.upper(), names, n=3)
        raise ConfigError(
            "C006",
            f'calendar "{calendar}" is not known',
            where="universe.calendar",
            detail=(f"Did you mean {' or '.join(near)}? " if near else "")
            + 'Use the code of an exchange ("XNYS", "XLON", "XTKS", ...) or "24/7".',
        )
    start = date_of(first_day - _MARGIN_DAYS).isoformat()
    end = date_of(last_day + _MARGIN_DAYS).isoformat()
    try:
        # The library still calls what pandas 4 will change; that is no news to a user.
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            return exchange_calendars.get_calendar(calendar, start=start, end=end)
    except (CalendarError, ValueError) as error:
        raise DataError(
            "D009",
            f'calendar "{calendar}" does not reach from {date_of(first_day)} to {date_of(last_day)}',
            where="universe.calendar",
            detail=f"{error}\nLook for a wrong year in the data, or narrow the run with --from and --to.",
        ) from error


def sessions_for(calendar: str, first_day: int, last_day: int, bar_min: int = 1) -> Sessions:
    """Return the sessions of a calendar from ``first_day`` to ``last_day``, both included.

    Parameters
    ----------
    calendar : str
        Any name that exchange-calendars knows ("XNYS", "NYSE", ...), or "24/7": one session of 1440
        minutes for each UTC day, without a gap between them.
    first_day, last_day : int
        Days since 1970-01-01.
    bar_min : int
        Minutes of a bar; no bar is longer than its session.

    Raises
    ------
    ConfigError
        C006, if the calendar is not known.
    DataError
        D009, if the calendar does not reach that far.
    """
    if calendar == AROUND_THE_CLOCK:
        day = np.arange(first_day, last_day + 1, dtype=np.int64)
        return Sessions(day, day * DAY_NS, (day + 1) * DAY_NS, bar_min)
    exchange = _exchange(calendar, first_day, last_day)
    day = exchange.sessions_nanos // DAY_NS
    is_wanted = (day >= first_day) & (day <= last_day)
    opens_ns, closes_ns = exchange.opens_nanos[is_wanted], exchange.closes_nanos[is_wanted]
    return Sessions(day[is_wanted], opens_ns, closes_ns, bar_min)


@lru_cache(maxsize=8)
def minutes_per_session(calendar: str) -> int:
    """Return the minutes of a full session: 390 for XNYS, 1440 around the clock."""
    if calendar == AROUND_THE_CLOCK:
        return DAY_MIN
    # The most frequent length leaves half days out.
    sessions = sessions_for(calendar, *_SAMPLE)
    return int(np.bincount((sessions.close_ns - sessions.open_ns) // MINUTE_NS).argmax())


@lru_cache(maxsize=8)
def zone_of(calendar: str) -> str:
    """Return the time zone of an exchange ("America/New_York" for XNYS), "UTC" around the clock."""
    if calendar == AROUND_THE_CLOCK:
        return "UTC"
    return str(_exchange(calendar, *_SAMPLE).tz)
