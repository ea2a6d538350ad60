"""The intake: when a live minute is over, what waits, and what is refused while it does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.events import CLOSE, MINUTE_NS, Bar, BarRejected, BarSlice, BarSuspended, Reject
from engine.intake import AHEAD_MAX_MIN, Intake
from engine.sessions import Sessions
from engine.slices import Slicer
from engine.state import from_bytes, to_bytes
from tests.support.arbitrary_bars import DAY, SYMBOLS, at, closed_by, flat_bar, small_sessions


def new_intake(symbols: tuple[str, ...] = SYMBOLS, sessions: Sessions | None = None) -> Intake:
    return Intake(Slicer(symbols, sessions or small_sessions()))


def offered(intake: Intake, *bars: Bar) -> list[Reject | None]:
    """Offer bars; the reason of each one's rejection."""
    answers = [intake.offer(bar) for bar in bars]
    assert is_accounted(intake)
    return [answer and answer.reason for answer in answers]


def minute_of(minute: int, *symbols: str) -> list[Bar]:
    return [flat_bar(at(minute), symbol, 100.0 + minute) for symbol in symbols or SYMBOLS]


def stamps(items: list[object]) -> list[int]:
    """Minutes of the slices, counted from the first opening."""
    ends = [item.ts_close_ns for item in items if isinstance(item, BarSlice)]
    return [(end - at(0)) // MINUTE_NS for end in ends]


def is_accounted(intake: Intake) -> bool:
    slicer = intake.slicer
    known = slicer.accepted + sum(slicer.rejected.values()) + len(slicer.pending) + intake.waiting
    return intake.received == known


# ------------------------------------------------------------------------------------ when a minute is over


def test_a_complete_minute_is_over_at_once() -> None:
    """Latency: nobody waits for the clock when every symbol has spoken, in whatever order."""
    intake = new_intake()
    assert offered(intake, *minute_of(1, "C", "A")) == [None, None]
    assert intake.close_minute() == []
    assert intake.waiting == 2
    assert offered(intake, *minute_of(1, "B")) == [None]
    (slice_,) = intake.close_minute()
    assert isinstance(slice_, BarSlice)
    assert (slice_.ts_close_ns, slice_.session, slice_.minute, slice_.accepted) == (at(1), DAY, 1, 3)
    np.testing.assert_array_equal(slice_.bars[CLOSE], [101.0, 101.0, 101.0])
    assert (intake.waiting, intake.watermark_ns) == (0, at(1))


def test_a_minute_with_a_hole_is_over_when_the_watermark_says_so() -> None:
    """A symbol that did not trade must not stop time."""
    intake = new_intake()
    offered(intake, *minute_of(1, "A", "B"))
    intake.advance(at(1) - 1)
    assert intake.close_minute() == []
    intake.advance(at(1))
    assert stamps(closed_by(intake)) == [1]


def test_a_complete_minute_waits_for_the_one_before_it() -> None:
    """Its missing bars may still come within the grace; closing the later one would make them late."""
    intake = new_intake()
    intake.advance(at(0))
    offered(intake, *minute_of(1, "A"), *minute_of(2))
    assert closed_by(intake) == []
    assert offered(intake, *minute_of(1, "B", "C")) == [None, None]
    assert stamps(closed_by(intake)) == [1, 2]


def test_a_complete_minute_waits_even_if_the_one_before_it_is_silent() -> None:
    """That nothing has come of a minute yet does not mean that nothing will."""
    intake = new_intake()
    intake.advance(at(1))
    offered(intake, *minute_of(3))
    assert closed_by(intake) == []
    intake.advance(at(2))
    assert stamps(closed_by(intake)) == [3]  # minute 2 came before the first bar of the run


def test_the_watermark_passes_complete_minutes_behind_it() -> None:
    """A tick that closes a minute with a hole sets free the complete ones that waited for it."""
    intake = new_intake()
    offered(intake, *minute_of(1, "A"), *minute_of(2), *minute_of(3))
    intake.advance(at(1))
    assert intake.watermark_ns == at(3)
    assert stamps(closed_by(intake)) == [1, 2, 3]


def test_minutes_are_closed_one_at_a_time_and_silence_makes_slices() -> None:
    """Each minute can be decided upon before the next is seen; nights make no minutes."""
    intake = new_intake()
    offered(intake, *minute_of(6))
    intake.advance(at(1_442) + 1)
    closed = []
    while items := intake.close_minute():
        assert len(items) == 1
        closed += items
    assert stamps(closed) == [6, 7, 1_441, 1_442]
    assert [item.accepted for item in closed] == [3, 0, 0, 0]


def test_the_first_minute_of_a_session_follows_the_last_one_of_the_day_before() -> None:
    """The night is no minute that could still be awaited."""
    intake = new_intake()
    offered(intake, *minute_of(7), *minute_of(1_441))
    assert stamps(closed_by(intake)) == [7, 1_441]


def test_a_run_begins_with_its_first_bar() -> None:
    """As in a file, minutes before the first bar are no part of the run."""
    intake = new_intake()
    assert offered(intake, *minute_of(3, "A"), *minute_of(2, "A")) == [None, Reject.LATE]
    intake.advance(at(3))
    assert stamps(closed_by(intake)) == [3]


def test_a_watermark_that_goes_back_changes_nothing() -> None:
    """What is over stays over, whatever an edge's clock says."""
    intake = new_intake()
    intake.advance(at(3))
    intake.advance(at(1))
    assert intake.watermark_ns == at(3)
    assert offered(intake, *minute_of(2, "A")) == [Reject.LATE]


def test_after_the_last_session_nothing_is_due() -> None:
    """A calendar that ends must end quietly."""
    intake = new_intake()
    offered(intake, *minute_of(1_449))
    assert stamps(closed_by(intake)) == [1_449]
    intake.advance(at(9_000))
    assert closed_by(intake) == []
    assert offered(intake, *minute_of(1_450, "A")) == [Reject.OFF_SESSION]


# ------------------------------------------------------------------------------------ what is refused


def test_repeats_while_a_minute_waits() -> None:
    """The first bar of a slot stands; a redelivery is a duplicate, other content a conflict."""
    intake = new_intake()
    first = flat_bar(at(1), "A", 100.0)
    again, other = flat_bar(at(1), "A", 100.0), flat_bar(at(1), "A", 101.0)
    found = offered(intake, first, first, again, other)
    assert found == [None, Reject.DUPLICATE, Reject.DUPLICATE, Reject.CONFLICT]
    assert (intake.received, intake.waiting) == (4, 1)
    intake.advance(at(1))
    (slice_,) = intake.close_minute()
    assert slice_.bars[CLOSE, 0] == 100.0  # type: ignore[union-attr]
    assert offered(intake, again, other, flat_bar(at(1), "B", 1.0)) == [
        Reject.DUPLICATE,
        Reject.CONFLICT,
        Reject.LATE,
    ]


def test_a_minute_that_is_over_takes_no_bar_although_it_is_not_closed_yet() -> None:
    """The verdict depends on the watermark alone, not on how long an allocator took."""
    intake = new_intake()
    offered(intake, *minute_of(1, "A"))
    intake.advance(at(2))
    found = offered(intake, *minute_of(1, "A", "B"), flat_bar(at(1), "A", 7.0), *minute_of(2, "A"))
    assert found == [Reject.DUPLICATE, Reject.LATE, Reject.CONFLICT, Reject.LATE]
    first, second = closed_by(intake)
    assert (first.accepted, second.accepted) == (1, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        (flat_bar(at(2), "Z", 100.0), Reject.UNKNOWN_SYMBOL),
        (flat_bar(at(2), "B", math.nan), Reject.MALFORMED),
        (flat_bar(at(2) + 1, "B", 100.0), Reject.MALFORMED),
        (flat_bar(1 << 70, "B", 100.0), Reject.MALFORMED),
        (Bar(at(2), "B", 1.0, 0.9, 1.1, 1.0, 1.0), Reject.INCONSISTENT),
        (flat_bar(at(8), "B", 100.0), Reject.OFF_SESSION),
        (flat_bar(at(0), "B", 100.0), Reject.OFF_SESSION),
    ],
)
def test_a_bar_that_is_wrong_by_itself_is_refused_at_once(bar: Bar, reason: Reject) -> None:
    """A bad bar takes no slot and moves no time, so a corrected one may follow."""
    intake = new_intake()
    offered(intake, *minute_of(1, "A"))
    before = to_bytes(intake.state()["waiting"])
    assert intake.offer(bar) == BarRejected(bar.ts_close_ns, bar.symbol, reason, 1, bar)
    assert to_bytes(intake.state()["waiting"]) == before
    assert intake.watermark_ns == at(0)
    assert is_accounted(intake)


def test_a_jump_is_judged_with_its_minute() -> None:
    """Verdicts of a minute come before its slice, in universe order."""
    intake = new_intake()
    offered(intake, *minute_of(1), *[flat_bar(at(2), s, 900.0) for s in ("C", "A", "B")])
    *_, first, second, third, slice_ = closed_by(intake)
    assert [(type(item), item.symbol) for item in (first, second, third)] == [  # type: ignore[attr-defined]
        (BarSuspended, "A"),
        (BarSuspended, "B"),
        (BarSuspended, "C"),
    ]
    assert slice_.suspect == (0, 1, 2)  # type: ignore[attr-defined]


def test_undecodable_bytes_are_counted() -> None:
    """What never became a bar is received and rejected all the same."""
    intake = new_intake()
    rejected = BarRejected(0, "", Reject.UNDECODABLE, 3)
    assert intake.note(rejected) is rejected
    assert intake.received == 3
    assert is_accounted(intake)


# ------------------------------------------------------------------------------------ bounds


def long_session(n_minutes: int) -> Sessions:
    return Sessions(np.array([DAY]), np.array([at(0)]), np.array([at(n_minutes)]))


def test_stamps_far_ahead_are_refused() -> None:
    """A source whose clock runs away fills no memory: the bound is exact, and follows the watermark."""
    intake = new_intake(sessions=long_session(5_000))
    intake.advance(at(10))
    inside, outside = at(10 + AHEAD_MAX_MIN), at(11 + AHEAD_MAX_MIN)
    assert offered(intake, flat_bar(inside, "A", 1.0), flat_bar(outside, "A", 1.0)) == [None, Reject.FUTURE]
    intake.advance(at(11))
    assert offered(intake, flat_bar(outside, "A", 1.0)) == [None]


def test_a_night_is_not_far_ahead() -> None:
    """Session minutes count: the next opening is one minute after the last close."""
    day_ns = 1_440 * MINUTE_NS
    opens = at(0) + 30 * day_ns * np.arange(2)
    intake = new_intake(sessions=Sessions(np.array([DAY, DAY + 30]), opens, opens + 7 * MINUTE_NS))
    intake.advance(at(7))
    assert offered(intake, flat_bar(int(opens[1]) + MINUTE_NS, "A", 1.0)) == [None]


def test_a_flood_of_stamps_is_bounded() -> None:
    """However many minutes a broken source names, at most one bar a symbol and minute of a day waits."""
    intake = new_intake(("A",), long_session(20_000))
    intake.advance(at(0))
    bars = [flat_bar(at(minute), "A", 1.0) for minute in range(20_000, 1, -3)]
    reasons = offered(intake, *bars)
    assert intake.waiting <= AHEAD_MAX_MIN
    assert set(reasons) == {None, Reject.FUTURE}


def test_a_watermark_far_ahead_makes_no_list() -> None:
    """A tick weeks ahead costs nothing by itself; its minutes are made one at a time."""
    intake = new_intake(("A",), long_session(500_000))
    offered(intake, *minute_of(1, "A"))
    intake.advance(at(500_000))
    assert stamps(intake.close_minute()) == [1]
    assert stamps(intake.close_minute()) == [2]
    assert intake.due_ns == at(3)


# ------------------------------------------------------------------------------------ state


def test_a_restored_intake_goes_on() -> None:
    """A kill in mid-minute loses nothing, neither what waits nor what is over and not closed yet."""
    intake, other = new_intake(), new_intake()
    offered(intake, *minute_of(1), *minute_of(2, "B", "A"), *minute_of(4, "C"))
    intake.advance(at(3))
    assert stamps(intake.close_minute()) == [1]
    other.restore(from_bytes(to_bytes(intake.state())))
    assert to_bytes(other.state()) == to_bytes(intake.state())
    assert (other.waiting, other.received) == (intake.waiting, intake.received) == (3, 6)
    for one in (intake, other):
        assert stamps(closed_by(one)) == [2, 3]
        assert offered(one, *minute_of(4)) == [None, None, Reject.DUPLICATE]
        assert stamps(closed_by(one)) == [4]
    assert to_bytes(other.state()) == to_bytes(intake.state())


def test_the_state_does_not_depend_on_the_order_of_arrival() -> None:
    """Two engines that know the same bars are in the same state, to the last byte."""
    one, two = new_intake(), new_intake()
    for intake in (one, two):
        intake.advance(at(0))
    bars = [*minute_of(1, "A", "C"), *minute_of(2, "B", "A")]
    offered(one, *bars)
    offered(two, *reversed(bars))
    assert to_bytes(one.state()) == to_bytes(two.state())
