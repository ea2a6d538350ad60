"""What every registered feed promises: the same bars again, all counted, and its span known before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import feeds
from engine.events import BarConfirmed, BarRejected, BarSlice, BarSuspended
from engine.ports import Feed
from engine.state import to_bytes
from feeds.context import FeedContext
from feeds.simulated import SimulatedOptions, write

SYMBOLS = ("AAA", "BBB")
FAULTS: dict[str, Any] = {
    "gap_frac": 0.01,
    "duplicate_frac": 0.01,
    "conflict_frac": 0.005,
    "late_frac": 0.01,
    "fat_finger_frac": 0.003,
    "nan_frac": 0.005,
}


#: A row without a date, a word for a yield, a blank, a day twice: each is a fault of a curve.
CURVES = """Date,"5 YR","10 YR"
01/06/2026,2.10,2.30
01/05/2026,N/A,2.20
01/05/2026,2.00,none of it
soon,2.00,2.20
01/02/2026,2.00,2.10
01/02/2026,2.05,2.10
12/31/2025,1.95,2.05
"""


def yield_feed(path: Path) -> Feed:
    """Build the kind whose bars are of days."""
    path.write_text(CURVES)
    plugin = feeds.REGISTRY["yields"]
    context = FeedContext(("UST5Y", "UST10Y.Q"), "XNYS", bar_min=1_440)
    return plugin.build(plugin.options.model_validate({"path": path}), context)


@pytest.fixture(params=sorted(feeds.REGISTRY))
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Feed:
    """Build every kind over two faulty sessions of minutes, or a few of days."""
    if request.param == "yields":
        return yield_feed(tmp_path / "curves.csv")
    faulty = SimulatedOptions.model_validate(
        {"pairs": ["AAA/BBB"], "sessions": 2, "seed": 5, "faults": FAULTS}
    )
    values: dict[str, Any] = {"simulated": faulty}
    if request.param == "files":
        path = tmp_path / "bars.parquet"
        write(faulty, path)
        values["files"] = feeds.REGISTRY["files"].options.model_validate({"path": path})
    plugin = feeds.REGISTRY[request.param]
    return plugin.build(values[request.param], FeedContext(SYMBOLS, "XNYS"))


async def taken(feed: Feed) -> list[Any]:
    """Take everything."""
    return [item async for item in feed.bars()]


def bytes_of(items: list[Any]) -> list[Any]:
    """Compare slices by their bits."""
    return [
        (item.ts_close_ns, item.minute, item.suspect, to_bytes(np.ascontiguousarray(item.bars)))
        if isinstance(item, BarSlice)
        else repr(item)  # a rejected NaN is not equal to itself
        for item in items
    ]


async def test_twice_is_the_same(feed: Feed) -> None:
    """A replay is only as repeatable as its source."""
    assert bytes_of(await taken(feed)) == bytes_of(await taken(feed))


async def test_every_bar_is_counted(feed: Feed) -> None:
    """Received = accepted + rejected + pending, told by the items alone."""
    items = await taken(feed)
    accepted = sum(item.accepted for item in items if isinstance(item, BarSlice))
    rejected = sum(item.count for item in items if isinstance(item, BarRejected))
    confirmed = sum(isinstance(item, BarConfirmed) for item in items)
    denied = sum(item.count for item in items if isinstance(item, BarRejected) and item.reason == "COLLAR")
    pending = sum(isinstance(item, BarSuspended) for item in items) - confirmed - denied
    assert feed.received == feed.n_rows == accepted + confirmed + rejected + pending
    assert rejected > 0


async def test_span_is_known_before_the_first_bar(feed: Feed) -> None:
    """A run announces itself: sessions, first and last stamp are those of the slices that follow."""
    first_ns, last_ns, sessions = feed.first_ns, feed.last_ns, feed.sessions
    slices = [item for item in await taken(feed) if isinstance(item, BarSlice)]
    assert first_ns <= slices[0].ts_close_ns
    assert slices[-1].ts_close_ns <= last_ns
    assert {item.session for item in slices} <= set(sessions.day.tolist())


async def test_minutes_are_whole_and_in_order(feed: Feed) -> None:
    """Every session minute between the first and the last has its slice, silent ones included."""
    slices = [item for item in await taken(feed) if isinstance(item, BarSlice)]
    stamps = np.array([item.ts_close_ns for item in slices])
    assert (np.diff(stamps) > 0).all()
    assert len(slices) == feed.sessions.ordinal_at(feed.last_ns) - feed.sessions.ordinal_at(feed.first_ns) + 1
    assert len(slices) in {4, 780}
    assert all(item.bars.shape == (5, len(SYMBOLS)) for item in slices)
