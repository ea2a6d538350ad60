"""The state machine of a spread, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from strategies.transitions import BOOK_ROWS, CHANGED, ENABLED, SIDE, decide

GOLDEN = Path(__file__).parents[1] / "goldens" / "zscore.json"
NAN = float("nan")


def sides(
    z: list[float],
    *,
    stop: float = np.inf,
    hold: float = np.inf,
    is_abs: bool = False,
    quiet: tuple[int, ...] = (),
    machine: object = decide,
) -> list[int]:
    """Return the side after every minute, entry 2 and exit 0.5."""
    book = np.zeros((BOOK_ROWS, 1))
    book[ENABLED] = 1.0
    rules = np.array([2.0, 0.5, stop, hold, float(is_abs)])
    after = []
    for i, value in enumerate(z):
        before = book[SIDE, 0]
        n = machine(np.array([value]), np.array([float(i in quiet)]), book, rules)  # type: ignore[operator]
        assert n == book[CHANGED, 0] == (book[SIDE, 0] != before)
        after.append(int(book[SIDE, 0]))
    return after


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        ([2.0, -2.0], [0, 0]),  # strictly beyond
        ([-2.1, -1.0, -0.51, -0.5], [1, 1, 1, 0]),
        ([2.1, 1.0, 0.51, 0.5], [-1, -1, -1, 0]),
        ([-2.1, -2.5, -3.0], [1, 1, 1]),
        ([-2.1, 3.0, 3.0], [1, 0, -1]),  # closes across zero, opens the other side a minute later
        ([2.1, -0.1], [-1, 0]),
        ([-2.1, NAN, -1.0, NAN, 0.0], [1, 1, 1, 1, 0]),
        ([NAN, 2.5], [0, -1]),
    ],
)
def test_entries_and_exits(z: list[float], expected: list[int]) -> None:
    """Every threshold, on both sides: a sign wrong here trades the wrong way."""
    assert sides(z) == expected


def test_the_abs_rule_holds_across_zero() -> None:
    """Only |z| <= exit closes under this rule; a jump over the band does not."""
    assert sides([-2.1, 0.6, 0.5], is_abs=True) == [1, 1, 0]
    assert sides([-2.1, 0.6, 0.5], is_abs=False) == [1, 0, 0]


def test_a_stop_bars_re_entry_until_the_spread_is_back() -> None:
    """Without the lock a diverging spread would be bought again on the next minute."""
    assert sides([-2.5, -4.1, -3.0, -0.6, -2.5, 0.5, -2.5], stop=4.0) == [1, 0, 0, 0, 0, 0, 1]
    assert sides([-2.5, -4.0], stop=4.0) == [1, 1]
    assert sides([-2.5, 4.1, 3.0], stop=4.0) == [1, 0, 0]


def test_the_time_stop_counts_minutes_and_locks() -> None:
    """Minutes without an observation count, but the position closes on one that is observed."""
    assert sides([3.0, 3.0, 3.0, 3.0, 3.0, 0.0, 3.0], hold=3) == [-1, -1, -1, 0, 0, 0, -1]
    assert sides([3.0, NAN, NAN, NAN, 3.0], hold=2) == [-1, -1, -1, -1, 0]


def test_an_exit_on_the_last_minute_is_an_exit() -> None:
    """A position that has come home is not locked for having taken its time."""
    assert sides([3.0, 1.0, 0.4, 3.0], hold=2) == [-1, -1, 0, -1]


def test_a_quiet_minute_changes_nothing() -> None:
    """The open of a session neither enters nor exits."""
    assert sides([3.0, 3.0, 0.0, 0.0], quiet=(0, 2)) == [0, -1, -1, 0]


def test_a_pair_that_is_not_enabled_stays_flat() -> None:
    """Warm-up and admission mask signals."""
    book = np.zeros((BOOK_ROWS, 2))
    book[ENABLED, 1] = 1.0
    assert decide(np.array([3.0, 3.0]), np.zeros(2), book, np.array([2.0, 0.5, 9, 9, 0])) == 1
    assert book[SIDE].tolist() == [0.0, -1.0]


def test_golden_positions() -> None:
    """500 reference positions under the rule ``abs``, exactly."""
    golden = json.loads(GOLDEN.read_text())
    z = [NAN if v is None else v for v in golden["z"]]
    assert sides(z, is_abs=True) == golden["target_position"]


def test_the_twin_agrees() -> None:
    """The compiled machine is the Python one."""
    z = list(np.random.default_rng(0).normal(0, 2, 300))
    assert sides(z, stop=4.0, hold=7) == sides(z, stop=4.0, hold=7, machine=decide.py_func)
