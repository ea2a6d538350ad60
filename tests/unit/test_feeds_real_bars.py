"""Real bars of 2018: the accounting of a file with strangers and pre-market bars."""

from __future__ import annotations

import pytest

from engine.events import MINUTE_NS, BarSlice, Reject
from engine.intake import Intake
from engine.slices import Slicer
from feeds.check import check
from feeds.columns import Decoder
from feeds.files import FileOptions, file_bars
from tests.support.arbitrary_bars import closed_by, verdicts_and_slices
from tests.support.shared import SHARED

PATH = SHARED / "data" / "us_equities_1m_2018.parquet"
UNIVERSE = ("JPM", "C", "BAC", "GS", "MS", "KO", "PEP", "V", "MA", "XOM", "CVX")
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not PATH.exists(), reason="no real bars beside the project"),
]


def test_every_row_has_a_verdict() -> None:
    """58,567 rows: four unknown symbols, the 09:30 bars outside the session, and the rest accepted."""
    feed = file_bars(FileOptions(path=PATH), UNIVERSE, "XNYS")
    slices = [item for item in feed.slices() if isinstance(item, BarSlice)]
    rejected = {reason: count for reason, count in feed.slicer.rejected.items() if count}
    assert rejected == {Reject.UNKNOWN_SYMBOL: 15_602, Reject.OFF_SESSION: 74}
    assert feed.received == feed.n_rows == 58_567
    assert feed.slicer.accepted == 42_891 == sum(slice_.accepted for slice_ in slices)
    assert len(slices) == 10 * 390


def test_bar_by_bar_equals_the_file() -> None:
    """The live path over the same rows gives the same slices to the last bit."""
    feed = file_bars(FileOptions(path=PATH), UNIVERSE, "XNYS")
    live = Intake(Slicer(UNIVERSE, feed.sessions))
    out: list[object] = []
    for columns in Decoder(None, "XNYS").bars(PATH, 10_000):
        for row in range(len(columns)):
            bar = columns.bar(row)
            live.advance(bar.ts_close_ns - MINUTE_NS)
            out += closed_by(live)
            rejected = live.offer(bar)
            out += [] if rejected is None else [rejected]
    live.advance(feed.last_ns)
    out += closed_by(live)
    assert verdicts_and_slices(out) == verdicts_and_slices(list(feed.slices()))


def test_the_report_on_real_bars() -> None:
    """One-sided minutes are few, and only in three symbols."""
    report = check(FileOptions(path=PATH))
    assert (report.rows, report.sessions, report.slices) == (58_567, 10, 3_900)
    assert {s.symbol: s.gaps for s in report.symbols if s.gaps} == {"GOOGL": 33, "GS": 8, "MA": 1}
