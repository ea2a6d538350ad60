"""Failures that repeat themselves, and waits between attempts."""

from __future__ import annotations

from itertools import islice

from engine.connections import Complaints, waits_s


def test_what_fails_again_and_again_is_written_once_a_minute() -> None:
    """A night without a broker must not push the reason for it out of the log."""
    now_s = 0.0
    complaints = Complaints(lambda: now_s)
    written = []
    for second in range(181):
        now_s = float(second)
        if count := complaints.due("refused"):
            written.append((second, count))
    assert written == [(0, 1), (60, 60), (120, 60), (180, 60)]


def test_another_reason_is_written_at_once() -> None:
    """The broker is back, and now it is the password: that is news; going to and fro is none."""
    now_s = 0.0
    complaints = Complaints(lambda: now_s)
    assert complaints.due("refused") == 1
    assert [complaints.due("refused") for _ in range(4)] == [0, 0, 0, 0]
    assert complaints.due("wrong password") == 5
    assert [complaints.due(reason) for reason in ("refused", "wrong password") * 3] == [0] * 6
    now_s = 60.0
    assert complaints.due("refused") == 7


def test_waits_grow_to_a_bound() -> None:
    """The first attempts catch a restart; later ones must not beat a server that comes up."""
    assert list(islice(waits_s(0.3), 5)) == [0.05, 0.1, 0.2, 0.3, 0.3]
