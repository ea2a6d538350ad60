"""What the edge adds to the log."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.app.edges import BarsClock
from engine.events import MINUTE_NS, Bar, Tick
from engine.ports import Arrival

GRACE_S = 60.0


def arrivals(*minutes: int) -> list[Arrival]:
    return [Arrival(Bar(minute * MINUTE_NS, "A", 1.0, 1.0, 1.0, 1.0, 1.0)) for minute in minutes]


def ticks(timed: list[Arrival]) -> list[int]:
    """Return minutes of bars, and of ticks as negative numbers."""
    return [
        -arrival.record.ts_ns // MINUTE_NS
        if isinstance(arrival.record, Tick)
        else arrival.record.ts_close_ns // MINUTE_NS  # type: ignore[union-attr]
        for arrival in timed
    ]


def every_bar(_bar) -> bool:
    """Let every bar move time."""
    return True


def test_a_refused_bar_does_not_move_time() -> None:
    """One wild stamp of an unknown symbol would make the rest of the stream late."""
    timed = BarsClock(GRACE_S, lambda bar: bar.ts_close_ns < 50 * MINUTE_NS).timed(arrivals(5, 99, 6))
    assert ticks(timed) == [5, -4, 99, 6, -5]


def test_time_is_told_again_after_a_restart() -> None:
    """A process that ended between a bar and its watermark left the watermark out of the journal."""
    assert ticks(BarsClock(GRACE_S, every_bar, 7 * MINUTE_NS).first()) == [-6]
    assert BarsClock(GRACE_S, every_bar).first() == []


def test_a_tick_stands_behind_the_bar_that_moves_the_watermark() -> None:
    """A minute of grace: a bar of minute 6 says that minute 5 is over, and the bars before it come before."""
    assert ticks(BarsClock(GRACE_S, every_bar).timed(arrivals(5, 5, 6, 5, 8))) == [5, -4, 5, 6, -5, 5, 8, -7]


@given(
    minutes=st.lists(st.integers(2, 20), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_batches_do_not_matter(minutes, cuts) -> None:
    """How a server cuts its answers would otherwise decide which bar is late."""
    whole = BarsClock(GRACE_S, every_bar).timed(arrivals(*minutes))
    clock = BarsClock(GRACE_S, every_bar)
    places = sorted({0, *cuts, len(minutes)})
    pieces = [minutes[a:b] for a, b in pairwise(places)]
    assert ticks([one for piece in pieces for one in clock.timed(arrivals(*piece))]) == ticks(whole)


@pytest.mark.parametrize("grace_s", [0.0, 5.0, 60.0, 90.0])
def test_a_watermark_is_the_end_of_a_minute(grace_s) -> None:
    """A tick within a minute would mean nothing to the sessions."""
    timed = BarsClock(grace_s, every_bar).timed(arrivals(5, 9))
    assert [a.record.ts_ns % MINUTE_NS for a in timed if isinstance(a.record, Tick)] == [0, 0]
