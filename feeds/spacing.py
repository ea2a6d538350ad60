"""How long the bars of a file are, told from its stamps: a run is refused that was told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import DataError
from engine.events import DAY_NS, MINUTE_NS, BoolArray, IntArray
from engine.sessions import Sessions
from engine.vocabulary import counted
from feeds.calendars import DAY_MIN, minutes_per_session, sessions_for

#: Stamps of a file that are looked at; and the fewest distances that say anything, of minutes and of days.
SAMPLE_STAMPS: Final = 2_048
_MINUTES_MIN: Final = 10
_DAYS_MIN: Final = 3
#: Shares of distances that are the usual one, of stamps that must lie on its grid, or off another one.
_USUAL_FRAC: Final = 0.5
_ON_GRID_FRAC: Final = 0.9
_OFF_GRID_FRAC: Final = 0.5
#: Sessions with a stamp at their open that are no accident.
_STARTS_MIN: Final = 2


def distinct(stamps: IntArray) -> IntArray:
    """Return the first ``SAMPLE_STAMPS`` different stamps of a batch, ascending, ns UTC."""
    return np.unique(stamps[stamps > 0])[:SAMPLE_STAMPS].copy()


def bar_min_of(stamps: IntArray, calendar: str) -> int | None:
    """Tell the minutes of a bar from stamps.

    Parameters
    ----------
    stamps : IntArray
        Different ones, ascending, ns UTC.
    calendar : str

    Returns
    -------
    int or None
        The usual distance of neighbours; ``DAY_MIN`` for a session or more. None if they are too few, have no
        usual distance, or do not end where bars of that size end: a share that trades seldom says nothing.

    Examples
    --------
    >>> import numpy as np
    >>> bar_min_of(MINUTE_NS * 5 * np.arange(1, 20), "24/7")
    5
    """
    usual_min, n_steps = usual_distance_min(stamps)
    size_min = DAY_MIN if usual_min >= minutes_per_session(calendar) else usual_min
    if not size_min or n_steps < (_DAYS_MIN if size_min == DAY_MIN else _MINUTES_MIN):
        return None
    days = int(stamps[0]) // DAY_NS - 1, int(stamps[-1]) // DAY_NS + 1
    sessions = sessions_for(calendar, *days, size_min)
    fits = on_grid(stamps, sessions)
    if size_min == DAY_MIN:  # a date may be written as its midnight, which some sessions contain
        fits |= (sessions.locate_many(stamps)[0] < 0) | (stamps % DAY_NS == 0)
    return size_min if fits.mean() >= _ON_GRID_FRAC else None


def usual_distance_min(stamps: IntArray) -> tuple[int, int]:
    """Return the distance of most neighbours in minutes, 0 without one, and how many distances there are."""
    steps_min = np.rint(np.diff(stamps) / MINUTE_NS).astype(np.int64)
    values, counts = np.unique(steps_min[steps_min > 0], return_counts=True)
    if not len(values) or counts.max() < _USUAL_FRAC * counts.sum():
        return 0, int(counts.sum())
    return int(values[counts.argmax()]), int(counts.sum())


def look_like_starts(stamps: IntArray, sessions: Sessions) -> bool:
    """Whether stamps seem to mark the starts of bars: at opens of sessions, and never at their closes.

    Good bars have no stamp at an open; those with hours before it have others outside the sessions, too.

    Parameters
    ----------
    stamps : IntArray
        Some of a data set, ns UTC.
    sessions : Sessions

    Examples
    --------
    >>> sessions = Sessions(np.arange(2), DAY_NS * np.arange(2), DAY_NS * np.arange(2) + 3 * MINUTE_NS)
    >>> starts = sessions.stamps(0, 6)[0] - MINUTE_NS
    >>> look_like_starts(starts, sessions), look_like_starts(starts + MINUTE_NS, sessions)
    (True, False)
    """
    outside = stamps[sessions.locate_many(stamps)[0] < 0]
    is_opened = np.isin(sessions.open_ns, outside)
    is_closed = np.isin(sessions.close_ns, stamps)
    return bool(
        np.count_nonzero(is_opened) >= _STARTS_MIN
        and not (is_opened & is_closed).any()
        and np.isin(outside, sessions.open_ns).all()
    )


def check_bar_size(
    path: Path, stamps: IntArray, calendar: str, sessions: Sessions, every_min: int | None = None
) -> None:
    """Refuse bars of another size than a run was told.

    Shorter bars would be MALFORMED but for the last of each longer one, longer bars would leave nearly every
    minute empty; neither fails by itself. Stamps cannot tell a bar of 30 minutes from one of a minute that
    comes every 30: whoever has the latter says so.

    Parameters
    ----------
    path : Path
    stamps : IntArray
        Different ones of the data set, ascending, ns UTC.
    calendar : str
    sessions : Sessions
        With the size of bar that the run was told.
    every_min : int or None
        How far apart its bars are, where that is more than their size.

    Raises
    ------
    DataError
        D016.
    """
    session_min = minutes_per_session(calendar)
    told_min = DAY_MIN if sessions.bar_min >= session_min else sessions.bar_min
    found_min = bar_min_of(stamps, calendar)
    if found_min is None or found_min == told_min:
        return
    if found_min < told_min:
        if (~on_grid(stamps, sessions)).mean() < _OFF_GRID_FRAC:
            return
        raise wrong_size(path, found_min, sessions.bar_min)
    if every_min is not None and found_min == (DAY_MIN if every_min >= session_min else every_min):
        return
    meant = f"\nIf they are {in_words(told_min)}, of which one comes every {found_min} minutes:"
    raise wrong_size(path, found_min, sessions.bar_min, f"{meant}\n    [feed]  every_min = {found_min}")


def wrong_size(path: Path, found_min: int, told_min: int, or_else: str = "") -> DataError:
    """Return the error for bars of another size (D016), with the setting that fits."""
    return DataError(
        "D016",
        f"{path.name} holds {in_words(found_min)}, universe.bar_min was {told_min}",
        str(path),
        "Bars are read as what the configuration says they are: others are refused, or leave most of the "
        f"tape empty. Say so (for data check and screen: --bar-min {found_min}):\n"
        f"    [universe]  bar_min = {found_min}{or_else}",
    )


def in_words(bar_min: int) -> str:
    """Name bars by their size.

    >>> in_words(1), in_words(5), in_words(1440)
    ('bars of 1 minute', 'bars of 5 minutes', 'daily bars')
    """
    if bar_min == DAY_MIN:
        return "daily bars"
    return f"bars of {counted(bar_min, 'minute')}"


def on_grid(stamps: IntArray, sessions: Sessions) -> BoolArray:
    """Tell which stamps are ends of bars."""
    index, minute = sessions.locate_many(stamps)
    is_close = np.isin(stamps, sessions.close_ns)
    is_end: BoolArray = (index >= 0) & ((minute % sessions.bar_min == 0) | is_close)
    return is_end
