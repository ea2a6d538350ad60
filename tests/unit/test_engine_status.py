"""The read model: where a halt parts the P&L of a run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.app.replay.run_files import summary
from engine.app.replay.statistics import EquityStatistics
from engine.app.terminal_text import closing
from engine.events import BookMarked, Event, TradingState, TradingStateChanged
from engine.status import Status

DAY_NS = 86_400_000_000_000


def mark(day: int, equity_usd: float) -> BookMarked:
    return BookMarked(day * DAY_NS, equity_usd, 0.0, 0.0, 0.0, 0.0, 0.0)


def move(day: int, state: TradingState, previous: TradingState) -> TradingStateChanged:
    return TradingStateChanged(day * DAY_NS, state, previous, "VAR_BREACH", f"h-{day}")


def summed_up(status: Status) -> dict:
    statistics = EquityStatistics(252.0)
    statistics.update(np.arange(1, 4) * DAY_NS, np.array([1_000.0, 1_100.0, 1_050.0]))
    return summary(status, statistics, 1, 1.0, ("d", None), 1_000.0, [])


def folded(*events: Event) -> Status:
    status = Status()
    status.fold(list(events))
    return status


ACTIVE, HALTED = TradingState.ACTIVE, TradingState.HALTED


def test_a_run_that_stays_halted_says_what_was_earned_since() -> None:
    """1,000 grew to 1,100 under the rules, and to 1,700 while nobody decided: +600 is no merit of theirs."""
    status = folded(mark(1, 1_000.0), mark(2, 1_100.0), move(2, HALTED, ACTIVE), mark(3, 1_700.0))
    found = summed_up(status)
    assert found["pnl_usd"] == 700.0
    assert found["halted"] == {
        "first": "1970-01-03T00:00:00Z",
        "pnl_before_usd": 100.0,
        "pnl_since_usd": 600.0,
        "pnl_halted_usd": 600.0,
    }
    text = closing({**found, "strategies": {}}, Path("run"), 1.0)
    assert "1970-01-03T00:00:00Z: +$100 until then, +$600 since (of what was held" in text


def test_lifted_halts_add_up() -> None:
    """Halted from 1,100 to 1,040 and from 900 to 850: -110; a further cause is no new halt."""
    before = folded(
        mark(1, 1_100.0),
        move(1, HALTED, ACTIVE),
        mark(2, 1_060.0),
        move(2, HALTED, HALTED),
        mark(3, 1_040.0),
        move(3, ACTIVE, HALTED),
        mark(4, 900.0),
        move(4, HALTED, ACTIVE),
    )
    again = Status()  # a live run goes on from a snapshot
    again.restore(msgspec.json.decode(msgspec.json.encode(before.state())))
    again.fold([mark(5, 850.0)])
    assert again.halts == 2
    found = summed_up(again)["halted"]
    assert (found["pnl_before_usd"], found["pnl_since_usd"]) == (100.0, -250.0)
    assert found["pnl_halted_usd"] == pytest.approx(-60.0 - 50.0)
    assert "of it -$110 while halted" in closing(summed_up(again), Path("run"), 1.0)


def test_before_the_first_mark_everything_came_since() -> None:
    """An order to halt may come before any bar: then no P&L was of decisions."""
    status = folded(move(1, HALTED, ACTIVE), mark(2, 1_010.0))
    found = summed_up(status)["halted"]
    assert (found["pnl_before_usd"], found["pnl_since_usd"], found["pnl_halted_usd"]) == (0.0, 10.0, 10.0)


def test_a_run_without_a_halt_has_nothing_to_part() -> None:
    """The line would only be noise there."""
    found = summed_up(folded(mark(1, 1_000.0), mark(2, 1_100.0)))
    assert found["halted"] is None
    assert "halted" not in closing(found, Path("run"), 1.0)
