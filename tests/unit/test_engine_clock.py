"""The clock of live runs: the wall, a rehearsal that runs faster, and jumps between wall and monotonic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import Clock, instant

S = 1_000_000_000
NOON_NS = 1_519_128_000 * S


class Hands:
    """Two hands that a test moves: the wall clock and the monotonic one."""

    def __init__(self) -> None:
        self.wall_ns = NOON_NS
        self.steady_s = 5_000.0

    def pass_s(self, seconds: float) -> None:
        self.wall_ns += round(seconds * S)
        self.steady_s += seconds

    def clock(self, start_ns: int | None = None, speed: float = 1.0) -> Clock:
        return Clock(start_ns, speed, lambda: self.wall_ns, lambda: self.steady_s)


def test_the_wall_clock_is_told_as_it_is() -> None:
    """A live run lives in the world's time, corrections included."""
    hands = Hands()
    clock = hands.clock()
    hands.pass_s(2.5)
    hands.wall_ns -= 1
    assert clock.now_ns() == NOON_NS + 2_500_000_000 - 1


@pytest.mark.parametrize("speed", [1.0, 60.0, 0.5])
def test_a_rehearsal_starts_elsewhere_and_runs_at_its_speed(speed: float) -> None:
    """A recorded day can be lived through in minutes; the wall clock has no say in it."""
    hands = Hands()
    clock = hands.clock(start_ns=7 * S, speed=speed)
    hands.pass_s(10.0)
    hands.wall_ns += 3_600 * S
    assert clock.now_ns() == 7 * S + round(10 * speed) * S
    assert clock.seconds_until(clock.now_ns() + 120 * S) == pytest.approx(120 / speed)


def test_a_faster_clock_without_a_start_begins_now() -> None:
    """Speed alone does not move the beginning."""
    hands = Hands()
    clock = hands.clock(speed=60.0)
    assert clock.now_ns() == NOON_NS
    hands.pass_s(1.0)
    assert clock.now_ns() == NOON_NS + 60 * S


def test_waiting_for_the_past_takes_no_time() -> None:
    """A tick that is overdue is sent at once, never in negative time."""
    clock = Hands().clock()
    assert clock.seconds_until(NOON_NS - S) == 0.0
    assert clock.seconds_until(NOON_NS + S // 4) == 0.25


@pytest.mark.parametrize("jump_s", [0.0, 3.0, -2.0, 3_600.0])
def test_a_jump_is_the_wall_against_the_monotonic_clock(jump_s: float) -> None:
    """A set clock or a suspended machine must be noticed: times of decisions would be wrong."""
    hands = Hands()
    clock = hands.clock()
    hands.pass_s(1.0)
    hands.wall_ns += round(jump_s * S)
    assert clock.jump_s() == pytest.approx(jump_s, abs=1e-6)
    hands.pass_s(1.0)
    assert clock.jump_s() == pytest.approx(0.0, abs=1e-6)  # told once


def test_a_jump_ahead_is_not_believed_however_long_it_lasts() -> None:
    """Minutes closed an hour early make each of their bars late, and nothing closed can be opened again."""
    hands = Hands()
    clock = hands.clock()
    hands.wall_ns += 3_600 * S
    for _ in range(100):
        hands.pass_s(1.0)
        clock.jump_s()
        assert clock.trusted_ns() <= hands.wall_ns - 3_598 * S
    hands.wall_ns -= 3_600 * S
    clock.jump_s()
    assert clock.trusted_ns() == hands.wall_ns


def test_a_jump_that_a_person_believes_is_the_time() -> None:
    """A machine that slept is hours behind: once somebody has looked, its minutes are closed."""
    hands = Hands()
    clock = hands.clock()
    hands.wall_ns += 3_600 * S
    clock.jump_s()
    clock.believe()
    assert clock.trusted_ns() == hands.wall_ns


def test_a_clock_set_back_is_followed_at_once() -> None:
    """Waiting closes nothing early; and it may come back to what it was, but no further."""
    hands = Hands()
    clock = hands.clock()
    hands.wall_ns -= 3_600 * S
    clock.jump_s()
    assert clock.trusted_ns() == hands.wall_ns
    hands.wall_ns += 7_200 * S
    clock.jump_s()
    assert clock.trusted_ns() == hands.wall_ns - 3_598 * S


def test_slow_drift_is_no_jump() -> None:
    """A disciplined clock that is slewed by microseconds a second never adds up to an alarm."""
    hands = Hands()
    clock = hands.clock()
    for _ in range(1_000):
        hands.pass_s(1.0)
        hands.wall_ns += 500_000
        assert abs(clock.jump_s()) < 0.001


def test_a_rehearsal_never_jumps() -> None:
    """It keeps to the monotonic clock, and asking for jumps does not move it."""
    hands = Hands()
    clock = hands.clock(start_ns=0, speed=10.0)
    hands.pass_s(1.0)
    hands.wall_ns += 3_600 * S
    assert clock.jump_s() == 0.0
    hands.pass_s(1.0)
    assert (clock.jump_s(), clock.now_ns()) == (0.0, 20 * S)


@given(ts_ns=st.integers(0, 2**62))
def test_instants_are_exact_to_the_microsecond(ts_ns: int) -> None:
    """A stamp that went through a float would be off by microseconds in some years and not in others."""
    read = datetime.fromisoformat(instant(ts_ns))
    assert (read - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == ts_ns // 1_000
