"""A tape played by a clock: minutes when they end, ticks behind them, a restart at the next record."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.clock import Clock
from engine.errors import DataError
from engine.events import MINUTE_NS, Bar, BarRejected, BarSlice, Reject, Tick
from engine.intake import Intake
from engine.slices import Slicer
from engine.state import to_bytes
from feeds import LIVE
from feeds.calendars import sessions_for
from feeds.files import FileOptions, file_bars
from feeds.paced import PacedBars
from feeds.recorded import RecordedBars
from feeds.simulated import SimulatedOptions, simulated_bars, write
from tests.support.columns import columns_of
from tests.support.publish import live_context, receive

OPEN_NS = 1_767_623_400_000_000_000  # 2026-01-05T14:30:00Z, when New York opens
DAY = OPEN_NS // 86_400_000_000_000
FAULTS: dict[str, Any] = {
    "gap_frac": 0.02,
    "duplicate_frac": 0.02,
    "conflict_frac": 0.01,
    "late_frac": 0.01,
    "fat_finger_frac": 0.003,
    "nan_frac": 0.01,
}


def rows(*bars: Bar) -> RecordedBars:
    """Return a tape that yields every row alone: batches must not depend on how a file was read."""
    new_slicer = partial(Slicer, ("AAA", "BBB"), sessions_for("XNYS", DAY, DAY))
    return RecordedBars(lambda: (columns_of([bar]) for bar in bars), new_slicer, (0, 0), len(bars))


def bar(minute: int, symbol: str = "AAA", close: float = 10.0) -> Bar:
    """Return the bar that ends ``minute`` minutes after the open."""
    return Bar(OPEN_NS + minute * MINUTE_NS, symbol, close, close, close, close, 100.0)


def minute_ns(minute: int) -> int:
    """Return the end of a minute of the session."""
    return OPEN_NS + minute * MINUTE_NS


async def batches(tape: RecordedBars, after: str = "", clock: Clock | None = None) -> list[list[Any]]:
    """Return the records of every batch."""
    feed = PacedBars(tape, clock or Clock(), "files")
    return [[arrival.record for arrival in batch] async for batch in feed.arrivals(after)]


async def test_a_minute_comes_whole_and_is_closed_by_its_tick() -> None:
    """The watermark tells the core that nobody is awaited, silent minutes included."""
    tape = rows(bar(1), bar(1, "BBB"), bar(2, "BBB"), bar(5))
    assert await batches(tape) == [
        [bar(1), bar(1, "BBB"), Tick(minute_ns(1))],
        [bar(2, "BBB"), Tick(minute_ns(2))],
        [Tick(minute_ns(3))],
        [Tick(minute_ns(4))],
        [bar(5), Tick(minute_ns(5))],
    ]


async def test_rows_that_could_take_no_slot_do_not_move_time() -> None:
    """One damaged stamp must not make the rest of the tape late, nor let it wait for years."""
    strange = [bar(90_000), bar(7, "ZZZ"), bar(8, close=float("inf"))]
    tape = rows(*strange, bar(1), *strange, bar(2))
    assert await batches(tape) == [
        [*strange, bar(1), *strange, Tick(minute_ns(1))],
        [bar(2), Tick(minute_ns(2))],
    ]


async def test_a_late_row_stays_where_it_arrived() -> None:
    """A file is an arrival log, and so is a live day."""
    assert await batches(rows(bar(1), bar(2), bar(1, "BBB"))) == [
        [bar(1), Tick(minute_ns(1))],
        [bar(2), bar(1, "BBB"), Tick(minute_ns(2))],
    ]


async def test_rows_that_are_broken_are_told_at_the_end(tmp_path: Path) -> None:
    """Lines without the right number of cells are bars that somebody sent."""
    path = tmp_path / "bars.csv"
    path.write_text("ts,symbol,open,high,low,close,volume\n2026-01-05T14:31:00Z,AAA,10,10,10,10,100\nAAA,1\n")
    tape = file_bars(FileOptions(path=path), ("AAA", "BBB"), "XNYS")
    assert await batches(tape) == [[bar(1), BarRejected(-1, "", Reject.MALFORMED, 1), Tick(minute_ns(1))]]


async def test_a_minute_comes_when_it_is_over() -> None:
    """What is played must not know the future: each minute waits for its end by the run's clock."""
    # 30 s before the end of the first minute, at 6,000 times the speed: 5 ms of real time.
    clock = Clock(start_ns=minute_ns(1) - MINUTE_NS // 2, speed=6_000.0)
    feed = PacedBars(rows(bar(1), bar(2), bar(4)), clock, "files")
    seen = []
    async for batch in feed.arrivals(""):
        tick = batch[-1].record
        assert isinstance(tick, Tick)
        seen.append(clock.now_ns() >= tick.ts_ns)
    assert seen == [True] * 4


def faulty() -> RecordedBars:
    """Return a session with everything that goes wrong."""
    options = SimulatedOptions.model_validate(
        {"pairs": ["AAA/BBB"], "sessions": 1, "seed": 5, "faults": FAULTS}
    )
    return simulated_bars(options, ("AAA", "BBB"), "XNYS")


async def test_a_restart_goes_on_with_the_very_next_record() -> None:
    """After each position the rest is the rest: nothing twice, nothing lost, ticks included."""
    feed = PacedBars(faulty(), Clock(), "simulated")
    whole = await receive(feed, 10**9)
    assert [arrival.position for arrival in whole] == [str(n + 1) for n in range(len(whole))]
    for done in (0, 1, 2, 3, 97, 400, len(whole) - 1, len(whole)):
        rest = await receive(feed, 10**9, after=whole[done - 1].position if done else "")
        assert [repr(arrival) for arrival in rest] == [repr(arrival) for arrival in whole[done:]]


async def test_slices_are_those_of_a_replay() -> None:
    """A rehearsal that sees other slices than the replay rehearses something else."""
    tape = faulty()
    replayed = [item for item in tape.slices() if isinstance(item, BarSlice)]
    intake = Intake(Slicer(("AAA", "BBB"), tape.sessions))
    live: list[BarSlice] = []
    for record in [record for batch in await batches(tape) for record in batch]:
        if isinstance(record, Tick):
            intake.advance(record.ts_ns)
        else:
            intake.offer(record)
        while closed := intake.close_minute():
            live += [item for item in closed if isinstance(item, BarSlice)]
    as_bytes = [[(s.ts_close_ns, to_bytes(s.bars.copy())) for s in slices] for slices in (replayed, live)]
    assert as_bytes[0] == as_bytes[1]
    assert intake.slicer.accepted == tape.slicer.accepted
    assert sum(tape.slicer.rejected.values()) > 0


@pytest.mark.parametrize("after", ["1764-0", "ten", "-1", "٣", "999999"])
async def test_a_position_of_another_feed_is_refused(after: str) -> None:
    """Going on at a wrong place would repeat or skip bars in silence."""
    with pytest.raises(DataError) as caught:
        await batches(rows(bar(1)), after)
    assert caught.value.code == "D032"


async def test_files_and_simulations_can_be_run_live(tmp_path: Path) -> None:
    """The same [feed] table serves a replay and a rehearsal."""
    options = SimulatedOptions.model_validate({"pairs": ["AAA/BBB"], "sessions": 1})
    path = tmp_path / "bars.parquet"
    write(options, path)
    context = live_context(None, calendar="XNYS", to_ns=minute_ns(10))
    expected = list(map(str, range(1, 31)))  # two symbols and a tick, ten minutes
    for kind, given in (("files", FileOptions(path=path)), ("simulated", options)):
        feed = LIVE[kind].build(given, context)
        arrivals = await receive(feed, 10**9)
        assert [arrival.position for arrival in arrivals] == expected
