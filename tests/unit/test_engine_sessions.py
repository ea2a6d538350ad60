"""Sessions: which minute an instant belongs to, and which minutes lie between two instants."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InvariantError
from engine.events import MINUTE_NS
from engine.sessions import Sessions

M = MINUTE_NS
#: Two sessions: minutes 10..13 of day 5, and 100..102 of day 6.
SESSIONS = Sessions(np.array([5, 6]), np.array([10, 100]) * M, np.array([13, 102]) * M)


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        (10 * M, None),  # the opening instant ends no bar of the session
        (11 * M, (0, 1)),
        (11 * M - 1, (0, 1)),
        (11 * M + 1, (0, 2)),
        (13 * M, (0, 3)),
        (13 * M + 1, None),
        (101 * M, (1, 1)),
        (102 * M, (1, 2)),
        (103 * M, None),
        (-5, None),
    ],
)
def test_locate_counts_from_the_minute_after_the_open(ts: int, expected: tuple[int, int] | None) -> None:
    """The bar stamped with the opening instant is of the pre-market: accepting it shifts all others."""
    assert SESSIONS.locate(ts) == expected


def test_locate_many_agrees_with_locate() -> None:
    """Columnar and live feeds must place a bar alike."""
    ts = np.arange(8 * M, 105 * M, M // 3)
    index, minute = SESSIONS.locate_many(ts)
    one_by_one = [SESSIONS.locate(int(t)) or (-1, 0) for t in ts]
    assert list(zip(index.tolist(), minute.tolist(), strict=True)) == one_by_one


def test_minutes_between_skips_the_night() -> None:
    """The minutes in which nothing traded are made from this: none may lie in a night."""
    assert list(SESSIONS.minutes_between(12 * M, 101 * M)) == [(13 * M, 5, 3), (101 * M, 6, 1)]
    assert list(SESSIONS.minutes_between(13 * M, 100 * M)) == []


def test_ordinals_and_stamps_are_inverse() -> None:
    """Blocks are addressed by ordinals."""
    ts, day, minute = SESSIONS.stamps(0, SESSIONS.n_minutes)
    assert [SESSIONS.ordinal_at(int(t)) for t in ts] == [0, 1, 2, 3, 4]
    assert day.tolist() == [5, 5, 5, 6, 6]
    assert minute.tolist() == [1, 2, 3, 1, 2]
    assert SESSIONS.ordinal_at(5 * M) == -1
    assert SESSIONS.ordinal_at(50 * M) == 2
    assert SESSIONS.ordinal_at(999 * M) == 4


def test_no_sessions_at_all() -> None:
    """A span of holidays holds no minute."""
    nothing = np.zeros(0, np.int64)
    sessions = Sessions(nothing, nothing, nothing)
    assert sessions.locate(M) is None
    assert sessions.locate_many(np.array([M]))[0].tolist() == [-1]
    assert sessions.ordinal_at(M) == -1


@pytest.mark.parametrize(
    ("opens", "closes"),
    [([10, 12], [13, 20]), ([10, 5], [13, 8]), ([10, 20], [10, 30])],
)
def test_overlapping_or_unsorted_sessions_are_refused(opens: list[int], closes: list[int]) -> None:
    """A wrong table would put bars into wrong minutes without a word."""
    with pytest.raises(InvariantError):
        Sessions(np.array([5, 6]), np.array(opens) * M, np.array(closes) * M)
