"""Trading sessions as plain arrays: which bar of which session an instant belongs to.

A session is cut into bars of ``bar_min`` minutes from its opening on; the last one ends with the session,
however short that makes it, so a bar of a day is the whole session. Every bar has an *ordinal*, counted
from 0 over the whole span, so that the bars between two instants are a range of integers whatever nights,
weekends and half days lie between them. The *minute* of a bar is that of its end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import numpy as np

from engine.errors import InvariantError
from engine.events import MINUTE_NS, IntArray, Nanos

#: Rows of ``Sessions.table``.
SESSION_OPEN = 0
SESSION_CLOSE = 1
SESSION_FIRST = 2
SESSION_BAR = 3

_DAY_MIN = 1_440


def bar_length_min(minute: int, bar_min: int) -> int:
    """Return the minutes of the bar that ends with a minute of its session; the last may be shorter.

    Examples
    --------
    >>> bar_length_min(1, 1), bar_length_min(390, 60), bar_length_min(210, 1440)
    (1, 30, 210)
    """
    return (minute - 1) % bar_min + 1


def is_due(minute: int, bar_min: int, every_min: int) -> bool:
    """Whether a multiple of ``every_min`` minutes of the session lies in the bar that ends with ``minute``.

    Examples
    --------
    >>> is_due(30, 1, 30), is_due(31, 1, 30), is_due(390, 390, 30)
    (True, False, True)
    """
    return minute // every_min > (minute - bar_length_min(minute, bar_min)) // every_min


def sessions_per_year(session_min: int) -> int:
    """Return the sessions of a year, by the minutes of a full one: 365 around the clock, else 252."""
    return 365 if session_min >= _DAY_MIN else 252


def calendar_days(minutes: float, session_min: int) -> float:
    """Return a span of session minutes in calendar days: of seven, five are sessions unless all are.

    Prices move in sessions, interest accrues on days.

    Examples
    --------
    >>> calendar_days(5 * 390, 390), calendar_days(1440, 1440)
    (7.0, 1.0)
    """
    days_per_session = 1.0 if session_min >= _DAY_MIN else 7.0 / 5.0
    return days_per_session * minutes / session_min


class Sessions:
    """The sessions of one calendar over a span, in time order and without overlap.

    A session is one interval; a lunch break is a part of it in which no bars come.

    Parameters
    ----------
    day : IntArray, shape (n_sessions,)
        Date of each session as days since 1970-01-01.
    open_ns, close_ns : IntArray, shape (n_sessions,)
        Opening and closing instants, nanoseconds UTC, whole minutes. The first bar of a session ENDS
        ``bar_min`` minutes after ``open_ns``, the last one at ``close_ns``.
    bar_min : int
        Minutes of a bar.

    Attributes
    ----------
    table : IntArray, shape (4, n_sessions)
        Rows SESSION_OPEN and SESSION_CLOSE (ns), SESSION_FIRST (ordinal of the session's first bar) and
        SESSION_BAR (length of a bar, ns).
    n_bars : int
        Bars of all sessions together.

    Raises
    ------
    InvariantError
        If the arrays are not sorted, overlap, or do not lie on whole minutes.
    """

    def __init__(self, day: IntArray, open_ns: IntArray, close_ns: IntArray, bar_min: int = 1) -> None:
        length_min = (close_ns - open_ns) // MINUTE_NS
        is_sound = (
            day.shape == open_ns.shape == close_ns.shape
            and bool(np.all(length_min > 0))
            and bool(np.all(open_ns[1:] >= close_ns[:-1]))
            and not bool(np.any(open_ns % MINUTE_NS) or np.any(close_ns % MINUTE_NS))
        )
        if not is_sound:
            raise InvariantError("sessions must be sorted, disjoint, and begin and end on whole minutes")
        self.day = day
        self.open_ns = open_ns
        self.close_ns = close_ns
        self.bar_min = bar_min
        self._bar_ns = bar_ns = bar_min * MINUTE_NS
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(-(-length_min // bar_min))])
        self.table = np.stack([open_ns, close_ns, first[:-1], np.full_like(open_ns, bar_ns)]).astype(np.int64)
        self.n_bars = int(first[-1])
        # Lists answer a single question three times faster than arrays.
        self._opens: list[int] = open_ns.tolist()
        self._closes: list[int] = close_ns.tolist()
        self._firsts: list[int] = first[:-1].tolist()
        self._before_min: list[int] = np.concatenate([np.zeros(1, np.int64), np.cumsum(length_min)]).tolist()

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._opens)

    def locate(self, ts_close_ns: Nanos) -> tuple[int, int] | None:
        """Return ``(index, minute)`` of the session minute that contains an instant.

        Parameters
        ----------
        ts_close_ns : int
            Usually the end of a bar; instants within a minute belong to the one that ends after them.

        Returns
        -------
        tuple of int or None
            Index of the session and its minute, 1 for the first; None outside a session.
        """
        index = bisect_left(self._closes, ts_close_ns)
        if index == len(self._closes) or ts_close_ns <= self._opens[index]:
            return None
        return index, -(-(ts_close_ns - self._opens[index]) // MINUTE_NS)

    def locate_many(self, ts_close_ns: IntArray) -> tuple[IntArray, IntArray]:
        """Locate many instants at once.

        Parameters
        ----------
        ts_close_ns : IntArray, shape (n,)

        Returns
        -------
        index, minute : IntArray, shape (n,)
            As ``locate``; -1 and 0 outside a session.
        """
        if len(self) == 0:
            return np.full(len(ts_close_ns), -1), np.zeros(len(ts_close_ns), np.int64)
        index = np.searchsorted(self.close_ns, ts_close_ns, side="left").astype(np.int64)
        clipped = np.minimum(index, len(self) - 1)
        is_inside = (index < len(self)) & (ts_close_ns > self.open_ns[clipped])
        minute = -(-(ts_close_ns - self.open_ns[clipped]) // MINUTE_NS)
        return np.where(is_inside, index, -1), np.where(is_inside, minute, 0)

    def is_end(self, ts_ns: Nanos) -> bool:
        """Whether a bar of some session ends at this instant."""
        index = bisect_left(self._closes, ts_ns)
        if index == len(self._closes) or ts_ns <= self._opens[index]:
            return False
        return ts_ns == self._closes[index] or (ts_ns - self._opens[index]) % self._bar_ns == 0

    def ordinal_at(self, ts_ns: Nanos) -> int:
        """Return the ordinal of the last bar that has ended at or before ``ts_ns``, or -1."""
        index = bisect_left(self._closes, ts_ns)
        if index == len(self._closes):
            return self.n_bars - 1
        if ts_ns == self._closes[index]:
            return self._firsts[index] - (self._opens[index] - ts_ns) // self._bar_ns - 1
        return self._firsts[index] + max(0, (ts_ns - self._opens[index]) // self._bar_ns) - 1

    def end_of(self, ordinal: int) -> Nanos:
        """Return the end of the bar with this ordinal, ``0 <= ordinal < n_bars``."""
        index = bisect_right(self._firsts, ordinal, 0, len(self)) - 1
        return min(
            self._opens[index] + (ordinal - self._firsts[index] + 1) * self._bar_ns, self._closes[index]
        )

    def elapsed_min(self, after_ns: Nanos, until_ns: Nanos) -> int:
        """Return the session minutes of the bars that end in ``(after_ns, until_ns]``: the unit of every age.

        A bar counts with its own length, a day's with that of its session, and only once it has ended.
        """
        return max(0, self._minutes_at(until_ns) - self._minutes_at(after_ns))

    def _minutes_at(self, ts_ns: Nanos) -> int:
        ordinal = self.ordinal_at(ts_ns)
        if ordinal < 0:
            return 0
        index = bisect_right(self._firsts, ordinal, 0, len(self)) - 1
        return self._before_min[index] + (self.end_of(ordinal) - self._opens[index]) // MINUTE_NS

    def stamps(self, first: int, stop: int) -> tuple[IntArray, IntArray, IntArray]:
        """Return the bars ``first <= ordinal < stop``.

        Returns
        -------
        ts_close_ns, day, minute : IntArray, shape (stop - first,)
        """
        ordinal = np.arange(first, stop, dtype=np.int64)
        index = np.searchsorted(self.table[SESSION_FIRST], ordinal, side="right") - 1
        elapsed_ns = (ordinal - self.table[SESSION_FIRST][index] + 1) * self._bar_ns
        ts_close_ns = np.minimum(self.open_ns[index] + elapsed_ns, self.close_ns[index])
        return ts_close_ns, self.day[index], (ts_close_ns - self.open_ns[index]) // MINUTE_NS

    def bars_between(self, after_ns: Nanos, until_ns: Nanos) -> Iterator[tuple[Nanos, int, int]]:
        """Iterate over the bars that end in ``(after_ns, until_ns]``.

        Yields
        ------
        tuple of int
            ``(ts_close_ns, day, minute)``, in time order.
        """
        ts_close_ns, day, minute = self.stamps(self.ordinal_at(after_ns) + 1, self.ordinal_at(until_ns) + 1)
        yield from zip(ts_close_ns.tolist(), day.tolist(), minute.tolist(), strict=True)
