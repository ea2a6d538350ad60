"""Sessions: which minute an instant belongs to, and which minutes lie between two instants."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InvariantError
from engine.events import MINUTE_NS
from engine.sessions import Sessions, bar_length_min, is_due

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


def test_bars_between_skips_the_night() -> None:
    """The minutes in which nothing traded are made from this: none may lie in a night."""
    assert list(SESSIONS.bars_between(12 * M, 101 * M)) == [(13 * M, 5, 3), (101 * M, 6, 1)]
    assert list(SESSIONS.bars_between(13 * M, 100 * M)) == []


def test_ordinals_and_stamps_are_inverse() -> None:
    """Blocks are addressed by ordinals."""
    ts, day, minute = SESSIONS.stamps(0, SESSIONS.n_bars)
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


#: A session of 7 minutes and one of 4, in bars of 3: the last bar of each is one minute long.
THREES = Sessions(np.array([5, 6]), np.array([10, 100]) * M, np.array([17, 104]) * M, 3)


def test_longer_bars_end_with_the_session() -> None:
    """A half day must not leave minutes without a bar, nor a bar that reaches into the night."""
    ts, day, minute = THREES.stamps(0, THREES.n_bars)
    assert (ts // M).tolist() == [13, 16, 17, 103, 104]
    assert day.tolist() == [5, 5, 5, 6, 6]
    assert minute.tolist() == [3, 6, 7, 3, 4]
    assert [THREES.end_of(k) for k in range(5)] == ts.tolist()
    assert [bar_length_min(m, 3) for m in minute.tolist()] == [3, 3, 1, 3, 1]


def test_ordinals_count_bars_that_have_ended() -> None:
    """Age and silence are counted in them: a bar that is still open must not count."""
    at = [THREES.ordinal_at(m * M) for m in (10, 12, 13, 15, 16, 17, 50, 102, 103, 104, 200)]
    assert at == [-1, -1, 0, 0, 1, 2, 2, 2, 3, 4, 4]


def test_only_ends_of_bars_are_ends() -> None:
    """A bar of one minute in a run of longer ones is of another tape."""
    assert [m for m in range(9, 106) if THREES.is_end(m * M)] == [13, 16, 17, 103, 104]


def test_a_day_is_the_whole_session() -> None:
    """Daily bars of full and half days alike close with their session."""
    daily = Sessions(np.array([5, 6]), np.array([10, 100]) * M, np.array([17, 104]) * M, 1_440)
    ts, _, minute = daily.stamps(0, daily.n_bars)
    assert (ts // M).tolist() == [17, 104]
    assert minute.tolist() == [7, 4]


def test_schedules_fire_in_the_bar_that_holds_their_minute() -> None:
    """With daily bars a rebalance every 30 minutes is one a day, not one in none."""
    assert [m for m in range(1, 91) if is_due(m, 1, 30)] == [30, 60, 90]
    assert [m for m in (7, 14, 21, 28, 35, 42, 49, 56, 63) if is_due(m, 7, 30)] == [35, 63]
    assert is_due(390, 1_440, 30)
    assert not is_due(20, 1_440, 30)


@pytest.mark.parametrize(
    ("bar_min", "after_min", "until_min", "elapsed_min"),
    [
        (1, 10, 13, 3),
        (1, 13, 100, 0),  # the night
        (1, 12, 101, 2),
        (2, 11, 12, 2),
        (2, 12, 13, 1),  # the last bar of a session is short
        (2, 10, 101, 3),  # the bar that is under way does not count
        (1440, 10, 12, 0),
        (1440, 10, 13, 3),  # a bar of a day is as long as its session
        (1440, -5, 999, 5),
        (1, 13, 10, 0),
    ],
)
def test_ages_are_session_minutes_of_bars_that_ended(
    bar_min: int, after_min: int, until_min: int, elapsed_min: int
) -> None:
    """Limits are in session minutes: a daily bar counted as 1,440 of them would halt each close."""
    sessions = Sessions(SESSIONS.day, SESSIONS.open_ns, SESSIONS.close_ns, bar_min)
    assert sessions.elapsed_min(after_min * M, until_min * M) == elapsed_min
