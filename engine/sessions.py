"""Trading sessions as plain arrays: which minute of which session an instant belongs to.

Every minute of every session has an *ordinal*, counted from 0 over the whole span, so that the minutes
between two bars are a range of integers whatever nights, weekends and half days lie between them.
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


class Sessions:
    """The sessions of one calendar over a span, in time order and without overlap.

    A session is one interval; a lunch break is a part of it in which no bars come.

    Parameters
    ----------
    day : IntArray, shape (n_sessions,)
        Date of each session as days since 1970-01-01.
    open_ns, close_ns : IntArray, shape (n_sessions,)
        Opening and closing instants, nanoseconds UTC, whole minutes. The first bar of a session ENDS one
        minute after ``open_ns``, the last one at ``close_ns``.

    Attributes
    ----------
    table : IntArray, shape (3, n_sessions)
        Rows SESSION_OPEN and SESSION_CLOSE (ns), and SESSION_FIRST: ordinal of the session's first minute.
    n_minutes : int
        Minutes of all sessions together.

    Raises
    ------
    InvariantError
        If the arrays are not sorted, overlap, or do not lie on whole minutes.
    """

    def __init__(self, day: IntArray, open_ns: IntArray, close_ns: IntArray) -> None:
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
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(length_min)])
        self.table = np.stack([open_ns, close_ns, first[:-1]]).astype(np.int64)
        self.n_minutes = int(first[-1])
        # Lists answer a single question three times faster than arrays.
        self._opens: list[int] = open_ns.tolist()
        self._closes: list[int] = close_ns.tolist()
        self._firsts: list[int] = first[:-1].tolist()

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._opens)

    def locate(self, ts_close_ns: Nanos) -> tuple[int, int] | None:
        """Return ``(index, minute)`` of the session minute that contains an instant.

        Parameters
        ----------
        ts_close_ns : int
            Usually the end of a bar; instants within a minute belong to the bar that ends after them.

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

    def ordinal_at(self, ts_ns: Nanos) -> int:
        """Return the ordinal of the last session minute that has ended at or before ``ts_ns``, or -1."""
        index = bisect_left(self._closes, ts_ns)
        if index == len(self._closes):
            return self.n_minutes - 1
        elapsed_min = max(0, (ts_ns - self._opens[index]) // MINUTE_NS)
        return self._firsts[index] + elapsed_min - 1

    def end_of(self, ordinal: int) -> Nanos:
        """Return the end of the minute with this ordinal, ``0 <= ordinal < n_minutes``."""
        index = bisect_right(self._firsts, ordinal, 0, len(self)) - 1
        return self._opens[index] + (ordinal - self._firsts[index] + 1) * MINUTE_NS

    def stamps(self, first: int, stop: int) -> tuple[IntArray, IntArray, IntArray]:
        """Return the minutes ``first <= ordinal < stop``.

        Returns
        -------
        ts_close_ns, day, minute : IntArray, shape (stop - first,)
        """
        ordinal = np.arange(first, stop, dtype=np.int64)
        index = np.searchsorted(self.table[SESSION_FIRST], ordinal, side="right") - 1
        minute = ordinal - self.table[SESSION_FIRST][index] + 1
        return self.open_ns[index] + minute * MINUTE_NS, self.day[index], minute

    def minutes_between(self, after_ns: Nanos, until_ns: Nanos) -> Iterator[tuple[Nanos, int, int]]:
        """Iterate over the session minutes that end in ``(after_ns, until_ns]``.

        Yields
        ------
        tuple of int
            ``(ts_close_ns, day, minute)``, in time order.
        """
        ts_close_ns, day, minute = self.stamps(self.ordinal_at(after_ns) + 1, self.ordinal_at(until_ns) + 1)
        yield from zip(ts_close_ns.tolist(), day.tolist(), minute.tolist(), strict=True)
