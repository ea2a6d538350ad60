"""What the last close decided is never filled, and a run says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.app.replay.last_close import unfilled
from engine.app.terminal_text import closing
from engine.events import Side, Signal
from tests.support.core import layout_of
from tests.support.daily_bars import FREE, run_daily, session_dates

CONFIG = """
[[strategy]]
kind = "outrights"
long = ["AAA"]
short = ["BBB"]
[allocator]
kind = "{allocator}"
[risk]
history = "daily.csv"
"""


@pytest.mark.parametrize(("n_bars", "n_unfilled"), [(1, 2), (2, 0)])
def test_an_entry_at_the_last_close(n_bars: int, n_unfilled: int, tmp_path: Path) -> None:
    """Whoever counts signals against fills must not look for a fault; a run that is done says nothing."""
    before = [
        f"{date},{symbol},{100.0 - t % 2}"
        for t, date in enumerate(session_dates("2020-01-02", 30))
        for symbol in ("AAA", "BBB")
    ]
    (tmp_path / "daily.csv").write_text("\n".join(["date,symbol,close", *before]))
    closes = {"AAA": [100.0] * n_bars, "BBB": [100.0] * n_bars}
    text = CONFIG.format(allocator="direct") + FREE
    run = run_daily(tmp_path, text, session_dates("2020-03-09", n_bars), closes)
    notes = [one for one in run.summary["notes"] if one["note"] == "unfilled_at_the_end"]
    assert [one["spread"] for one in notes] == ["AAA", "BBB"][:n_unfilled]
    assert ("2 unfilled at the end" in closing(run.summary, run.folder, 1.0)) == bool(n_unfilled)
    assert "unfilled at the end" in (run.folder / "report.html").read_text() or not n_unfilled


def desk_of(pending: list[float]) -> Any:
    """Hold the first of two spreads and one name of an opening book."""
    book = SimpleNamespace(layout=layout_of("A/B", "C/D", singles=["E"]))
    book.leg_quantity = np.array([1.0, -1.0, 0.0, 0.0, 5.0])
    return SimpleNamespace(book=book, pending_leg_quantity=np.array(pending))


@pytest.mark.parametrize(
    ("pending", "signals", "named"),
    [
        ([1.0, -1.0, 0.0, 0.0, 5.0], [], []),
        ([1.0, -2.0, 0.0, 0.0, 0.0], [], ["A/B", "E"]),
        ([1.0, -1.0, 0.0, 0.0, 5.0], [("A/B", Side.FLAT), ("C/D", Side.SHORT)], ["A/B", "C/D"]),
        ([1.0, -1.0, 0.0, 0.0, 5.0], [("C/D", Side.FLAT)], []),
    ],
)
def test_what_counts(pending: list[float], signals: list[tuple[str, Side]], named: list[str]) -> None:
    """What is approved, and signals that an allocator would have come to later; not the exit of nothing."""
    events = [Signal(0, "s", name, side, 0.0, 0.0, 0.0) for name, side in signals]
    assert [one["spread"] for one in unfilled(desk_of(pending), events)] == named


def test_a_run_of_signals_fills_nothing_anyway() -> None:
    """Without a book every line would be noise."""
    assert unfilled(None, [Signal(0, "s", "A/B", Side.LONG, 0.0, 0.0, 0.0)]) == []
