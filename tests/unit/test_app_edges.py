"""What the edge adds to the log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.app.config.load import parse
from engine.app.live.daemon import Daemon
from engine.app.live.edges import BarsClock, DiskWatch, Lookout
from engine.app.live.halt_marker import HaltMarker
from engine.app.live.inbox import Inbox
from engine.app.live.lasting_halt import LastingHalt
from engine.app.wiring import at_least_two_bars
from engine.clock import Clock
from engine.disk import OpenFile, OsDisk
from engine.events import MINUTE_NS, Bar, HaltRequested, Tick, TradingState
from engine.intake import AHEAD_MAX_MIN
from engine.journal import JournalReader, JournalWriter
from engine.ports import Arrival
from engine.sessions import Sessions
from engine.sinks.outbox import Outbox
from engine.slices import Slicer
from engine.snapshots import SnapshotStore
from engine.status import Status
from tests.support.journals import IDENTITY
from tests.support.live import SESSIONS, kalman_engine, tick
from tests.support.waiting import background, until

GRACE_S = 60.0
STRATEGY = '[[strategy]]\nkind = "zscore_pairs"\npairs = ["A/B"]\n'


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


def bars_clock(grace_s: float = GRACE_S, newest_min: int = 0) -> BarsClock:
    """Return a clock that knows A alone, and one long session since 1970."""
    minutes = np.array([0, 20_000], np.int64) * MINUTE_NS
    sessions = Sessions(np.zeros(1, np.int64), minutes[:1], minutes[1:])
    return BarsClock(grace_s, Slicer(("A",), sessions), newest_min * MINUTE_NS)


def test_a_refused_bar_does_not_move_time() -> None:
    """One wild stamp of an unknown symbol would make the rest of the stream late."""
    wild = Arrival(Bar(99 * MINUTE_NS, "X", 1.0, 1.0, 1.0, 1.0, 1.0))
    timed = bars_clock().timed([*arrivals(5), wild, *arrivals(6)])
    assert ticks(timed) == [5, -4, 99, 6, -5]


def test_one_wild_stamp_moves_nothing() -> None:
    """The core refuses a bar a week ahead; a tick behind it would make the bars of that week late."""
    far = 5 + 10_000
    assert ticks(bars_clock().timed(arrivals(5, far, 6, far, far, 7))) == [5, -4, far, 6, -5, far, far, 7, -6]


def test_after_a_long_silence_the_second_minute_tells() -> None:
    """Otherwise every bar after a week without any would be too far ahead, for ever."""
    far = 5 + 10_000
    assert ticks(bars_clock().timed(arrivals(5, far, far, far + 1))) == [5, -4, far, far, far + 1, -far]


def test_the_edge_lets_move_time_what_the_core_takes() -> None:
    """One minute more than the core allows: refused there, and without a tick here."""
    ahead = 4 + AHEAD_MAX_MIN
    assert ticks(bars_clock().timed(arrivals(5, ahead + 1))) == [5, -4, ahead + 1]
    assert ticks(bars_clock().timed(arrivals(5, ahead))) == [5, -4, ahead, 1 - ahead]


def test_time_is_told_again_after_a_restart() -> None:
    """A process that ended between a bar and its watermark left the watermark out of the journal."""
    assert ticks(bars_clock(GRACE_S, 7).first()) == [-6]
    assert bars_clock().first() == []


def test_a_tick_stands_behind_the_bar_that_moves_the_watermark() -> None:
    """A minute of grace: a bar of minute 6 says that minute 5 is over, and the bars before it come before."""
    assert ticks(bars_clock().timed(arrivals(5, 5, 6, 5, 8))) == [5, -4, 5, 6, -5, 5, 8, -7]


@given(
    minutes=st.lists(st.integers(2, 20), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_batches_do_not_matter(minutes, cuts) -> None:
    """How a server cuts its answers would otherwise decide which bar is late."""
    whole = bars_clock().timed(arrivals(*minutes))
    clock = bars_clock()
    places = sorted({0, *cuts, len(minutes)})
    pieces = [minutes[a:b] for a, b in pairwise(places)]
    assert ticks([one for piece in pieces for one in clock.timed(arrivals(*piece))]) == ticks(whole)


@pytest.mark.parametrize("grace_s", [0.0, 5.0, 60.0, 90.0])
def test_a_watermark_is_the_end_of_a_minute(grace_s) -> None:
    """A tick within a minute would mean nothing to the sessions."""
    timed = bars_clock(grace_s).timed(arrivals(5, 9))
    assert [a.record.ts_ns % MINUTE_NS for a in timed if isinstance(a.record, Tick)] == [0, 0]


def test_the_disk_is_judged_by_the_oldest_record_that_waits() -> None:
    """A disk that keeps taking records is busy; one that takes none of them is hung."""
    seqs, now_s = [0, 0], [100.0]
    watch = DiskWatch(lambda: (seqs[0], seqs[1]), 10.0, lambda *_: None, lambda: now_s[0])
    waits = []
    for seq, durable_seq, at_s in (
        (0, 0, 100.0),  # nothing to do
        (5, 5, 160.0),
        (9, 5, 161.0),  # 9 is seen waiting from here
        (20, 8, 165.0),  # still, though others have come through
        (30, 9, 168.0),  # 9 is there; now it is 30
        (30, 20, 171.0),
        (30, 30, 172.0),
        (30, 30, 999.0),
    ):
        seqs[:], now_s[0] = (seq, durable_seq), at_s
        waits.append(watch.waits_s())
    assert waits == [0.0, 0.0, 0.0, 4.0, 0.0, 3.0, 0.0, 0.0]


def lookout_of(
    clock: Clock,
    status: Status,
    inbox: Inbox,
    disk: DiskWatch,
    losses: Callable[[], dict[str, int]] = dict,
    sessions: Sessions = SESSIONS,
    feed_silence_max_min: int = 5,
) -> Lookout:
    """Return a lookout over sinks that listen."""
    return Lookout(
        clock,
        sessions,
        status,
        inbox,
        feed_silence_max_min=feed_silence_max_min,
        sinks_silent_s=lambda: 0.0,
        sinks_silence_max_s=60.0,
        is_outbox_full=lambda: False,
        disk=disk,
        losses=losses,
    )


async def test_a_clock_that_ran_ahead_closes_minutes_only_once_somebody_has_resumed() -> None:
    """A wrong hour would make the bars of that hour late for good; a right one must not wait for ever."""
    wall_ns, inbox, status = [SESSIONS.end_of(3)], Inbox(), Status()
    clock = Clock(wall=lambda: wall_ns[0], monotonic=lambda: 0.0)
    idle = DiskWatch(lambda: (0, 0), 10.0, lambda *_: None, lambda: 0.0)
    lookout = lookout_of(clock, status, inbox, idle)
    wall_ns[0] += 60 * MINUTE_NS
    for _ in range(100):
        lookout._look(keeps_time=True)
        status.trading_state = TradingState.HALTED
    jumped = (await inbox.take_urgent()).record
    assert isinstance(jumped, HaltRequested)
    assert (jumped.reason, jumped.detail) == ("CLOCK_JUMP", "the wall clock moved by +3600.0 s")
    assert inbox.waiting == 0  # told once, and the feed is not silent for a wrong hour
    assert clock.trusted_ns() < SESSIONS.end_of(4)
    status.trading_state = TradingState.REDUCING
    lookout._look(keeps_time=False)
    assert clock.trusted_ns() == wall_ns[0]


@pytest.mark.parametrize(("bar_min", "bars_until_silent"), [(1440, 3), (60, 3), (5, 3), (1, 6)])
def test_one_missing_bar_is_no_silence(bar_min: int, bars_until_silent: int) -> None:
    """The bar after a missing one comes only after it has ended: a halt by then would come every time."""
    opens_ns = np.arange(4) * 24 * 60 * MINUTE_NS
    sessions = Sessions(np.arange(4), opens_ns, opens_ns + 390 * MINUTE_NS, bar_min)
    config = parse(f'[feed]\nkind = "simulated"\n[universe]\nbar_min = {bar_min}\n{STRATEGY}', Path())
    at_ns, inbox, status = [sessions.end_of(0)], Inbox(), Status()
    clock = Clock(wall=lambda: at_ns[0], monotonic=lambda: at_ns[0] / 1e9)
    idle = DiskWatch(lambda: (0, 0), 10.0, lambda *_: None, lambda: 0.0)
    limit_min = at_least_two_bars(config, 5)
    lookout = lookout_of(clock, status, inbox, idle, sessions=sessions, feed_silence_max_min=limit_min)
    silent_after = 0
    while not inbox.waiting:
        silent_after += 1
        at_ns[0] = sessions.end_of(silent_after)
        lookout._look(keeps_time=True)
    assert silent_after == bars_until_silent


async def test_people_hear_once_of_each_loss() -> None:
    """What a feed has lost is no reason to halt, and nobody reads the log of a quiet day."""
    inbox, lost = Inbox(), {"gaps": 0, "rewinds": 1}
    idle = DiskWatch(lambda: (0, 0), 10.0, lambda *_: None, lambda: 0.0)
    lookout = lookout_of(Clock(), Status(), inbox, idle, lambda: lost)
    for gaps in (0, 0, 2, 2):
        lost["gaps"] = gaps
        lookout._look(keeps_time=False)
    alerts = [(await inbox.take_urgent()).record for _ in range(inbox.waiting)]
    assert [(alert.severity, alert.kind, alert.text.split(":")[0]) for alert in alerts] == [  # type: ignore[union-attr]
        ("warning", "input_lost", "the feed has lost input (rewinds 1)"),
        ("warning", "input_lost", "the feed has lost input (gaps 2)"),
    ]


class StuckDisk(OsDisk):
    """The machine's disk, whose fsync answers only while ``works`` is set."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.works.set()

    def open(self, path: Path) -> OpenFile:
        file: Any = super().open(path)
        plain = file.sync

        def sync() -> None:
            assert self.works.wait(20.0)
            plain()

        file.sync = sync
        return file  # type: ignore[no-any-return]


async def test_a_hung_disk_halts_at_once_and_the_journal_is_told_when_it_is_back(tmp_path) -> None:
    """Nothing fails, nothing is acknowledged, and trading would go on in memory for as long as it lasts."""
    disk, now_s, inbox = StuckDisk(), [0.0], Inbox()
    loop, _ = kalman_engine()
    loop.journal = JournalWriter(tmp_path / "journal", IDENTITY, disk=disk)
    nothing: Any = SimpleNamespace(
        enter=id, leave=list, on_step=id, on_solve=lambda *_: None, on_commit=lambda *_: None
    )
    daemon = Daemon(
        loop,
        inbox=inbox,
        journal=loop.journal,
        outbox=Outbox(()),
        snapshots=SnapshotStore(tmp_path / "snapshots", IDENTITY),
        guard=nothing,
        meter=nothing,
        solve_max_s=5.0,
        snapshot_every=(1e9, 1_000_000),
    )
    marker = HaltMarker(tmp_path / "halt.marker")
    halt = LastingHalt(inbox, marker, Clock(), {})
    watch = DiskWatch(lambda: (loop.seq, daemon.durable_seq), 10.0, halt.on_disk, lambda: now_s[0])
    lookout = lookout_of(Clock(), loop.status, inbox, watch)
    async with background(daemon.step_until_closed()), background(daemon.commit_until_done()):
        disk.works.clear()
        await inbox.put([Arrival(tick(1))])
        await until(lambda: loop.seq == 1)
        lookout._look(keeps_time=False)
        now_s[0] = 10.0
        lookout._look(keeps_time=False)
        await until(lambda: loop.status.trading_state is TradingState.HALTED)
        await until(lambda: marker.read() is not None)
        assert daemon.durable_seq == 0
        raised = marker.read()
        assert raised is not None
        assert raised.reason == "DISK_HUNG"
        lookout._look(keeps_time=False)  # once is enough
        disk.works.set()
        await until(lambda: marker.read() is None)
        assert daemon.durable_seq == loop.seq == 2
    marker.close()
    records = [record for _, record in JournalReader(tmp_path / "journal")]
    assert isinstance(records[1], HaltRequested)
    assert (records[1].reason, records[1].detail) == ("DISK_HUNG", "a record waits for the disk for 10.0 s")
