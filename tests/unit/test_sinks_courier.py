"""Couriers: in order, again and again, until the receiver has it, and across a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.ports import Effect, Sink
from engine.sinks import courier
from engine.sinks.courier import Couriers, read_cursors, write_cursors
from engine.sinks.messages import EffectId
from engine.sinks.outbox import Outbox
from tests.support.effects import EPOCH, alerts, risk
from tests.support.waiting import background


class Fake:
    """A sink that keeps what it is given, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.received: list[int] = []
        self.statuses: list[bytes] = []
        self.shown = asyncio.Event()
        self.is_closed = False
        self.batches: asyncio.Queue[list[int]] = asyncio.Queue()

    async def deliver(self, effects: Sequence[Effect]) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody there")
        batch = [effect.seq for effect in effects]
        self.received += batch
        self.batches.put_nowait(batch)

    async def publish_status(self, body: bytes) -> None:
        self.statuses.append(body)
        self.shown.set()

    async def aclose(self) -> None:
        self.is_closed = True


class Stuck(Fake):
    """A sink that never answers."""

    async def deliver(self, effects: Sequence[Effect]) -> None:
        await asyncio.Event().wait()


class Forgetful(Fake):
    """A sink whose receiver can say what it has, and loses it on command."""

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        return {"alerts": (max(self.received, default=0), 0)} if lane == "urgent" else {}


@asynccontextmanager
async def running(outbox: Outbox, sinks: Mapping[str, Sink], path: Path) -> AsyncIterator[Couriers]:
    couriers = Couriers(outbox, sinks, path, EPOCH)
    try:
        async with background(couriers.run()):
            yield couriers
    finally:
        await couriers.aclose()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "_WAIT_MAX_S", 0.004)
    monkeypatch.setattr(courier, "_SAVE_EVERY_S", 0.001)


async def test_failures_are_tried_again_until_the_sink_has_everything(tmp_path: Path) -> None:
    """A server that restarts for a minute must cost a minute, not an alert."""
    outbox, sink = Outbox(["a"]), Fake(failures=7)
    outbox.add(alerts([1, 2, 3]))
    async with running(outbox, {"a": sink}, tmp_path / "cursors.json") as couriers:
        assert await couriers.drain(5.0)
        figures = couriers.figures["a", "urgent"]
    assert sink.received == [1, 2, 3]
    assert (figures.pending, figures.delivered, figures.failures) == (0, 3, 7)
    assert (figures.is_connected, figures.error, figures.waiting_s) == (True, "", 0.0)
    assert sink.is_closed


async def test_a_sink_that_takes_nothing_is_not_back(tmp_path: Path) -> None:
    """A connection is no delivery: whoever requires alerts must not be told that all is well in between."""
    outbox, sink = Outbox(["a"]), Fake(failures=5)
    outbox.add(alerts([1]))
    with capture_logs() as logs:
        async with running(outbox, {"a": sink}, tmp_path / "cursors.json") as couriers:
            assert await couriers.drain(5.0)
            assert couriers.figures["a", "urgent"].failures == 5
    assert [line["event"] for line in logs] == ["sink does not take effects", "sink is back"]


async def test_a_stuck_sink_delays_nobody_else(tmp_path: Path) -> None:
    """The telephone service that hangs must not keep a halt from Redis."""
    outbox, stuck, quick = Outbox(["stuck", "quick"]), Stuck(), Fake()
    async with running(outbox, {"stuck": stuck, "quick": quick}, tmp_path / "cursors.json") as couriers:
        outbox.add([*alerts([1]), risk(2)])
        await asyncio.wait_for(quick.batches.get(), 5.0)
        await asyncio.wait_for(quick.batches.get(), 5.0)
        assert not await couriers.drain(0.01)
        figures = couriers.figures
    assert sorted(quick.received) == [1, 2]
    assert figures["stuck", "urgent"].pending == 1
    assert figures["stuck", "urgent"].waiting_s > 0.0
    assert figures["quick", "urgent"].pending == 0


async def test_a_receiver_that_lost_its_data_is_given_it_again(tmp_path: Path) -> None:
    """Confirmed once is not enough when the alert can no longer be read anywhere."""
    outbox, sink = Outbox(["a"]), Forgetful()
    outbox.add(alerts([1, 2, 3]))
    async with running(outbox, {"a": sink}, tmp_path / "cursors.json") as couriers:
        assert await couriers.drain(5.0)
        sink.received, sink.failures = [1], 1
        outbox.add(alerts([4]))
        assert await couriers.drain(5.0)
    assert sink.received == [1, 2, 3, 4]


async def test_a_quiet_receiver_is_looked_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a quiet day nobody would notice, until the next alert, that the last one is gone."""
    monkeypatch.setattr(courier, "_IDLE_S", 0.01)
    outbox, sink = Outbox(["a"]), Forgetful()
    outbox.add(alerts([1, 2]))
    async with running(outbox, {"a": sink}, tmp_path / "cursors.json") as couriers:
        assert await couriers.drain(5.0)
        assert await asyncio.wait_for(sink.batches.get(), 5.0) == [1, 2]
        sink.received = []
        assert await asyncio.wait_for(sink.batches.get(), 5.0) == [1, 2]


async def test_cursors_survive_a_restart(tmp_path: Path) -> None:
    """A restart without cursors would page people about everything the snapshot still held."""
    path = tmp_path / "cursors.json"
    first = Outbox(["a"])
    first.add(alerts([1, 2]))
    state = first.state()
    async with running(first, {"a": Fake()}, path) as couriers:
        assert await couriers.drain(5.0)
    second, sink = Outbox(["a"]), Fake()
    second.restore(state)
    second.add(alerts([2, 3]))
    async with running(second, {"a": sink}, path) as couriers:
        assert await couriers.drain(5.0)
    assert sink.received == [3]


async def test_only_the_latest_status_is_shown(tmp_path: Path) -> None:
    """A status of ten minutes ago, delivered after an outage, would be a lie."""
    sink = Fake()
    async with running(Outbox(["a"]), {"a": sink}, tmp_path / "cursors.json") as couriers:
        for number in range(3):
            couriers.show_status(b"%d" % number)
        await asyncio.wait_for(sink.shown.wait(), 5.0)
    assert sink.statuses == [b"2"]


def test_cursors_of_another_journal_say_nothing(tmp_path: Path) -> None:
    """Ids begin anew with each journal: an old cursor would hide the first alerts of the new one."""
    path = tmp_path / "cursors.json"
    cursors = {"a": {"urgent": (3, 1), "routine": (0, -1)}}
    write_cursors(path, EPOCH, cursors)
    assert read_cursors(path, EPOCH) == cursors
    assert read_cursors(path, "20260106T000000Z") == {}


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"epoch":"20260105T120000Z","cursors":{"a":{"urgent":"x"}}}']
)
def test_a_damaged_file_of_cursors_costs_duplicates_only(tmp_path: Path, content: bytes) -> None:
    """A daemon that refuses to start over a file it can do without would be down for nothing."""
    path = tmp_path / "cursors.json"
    path.write_bytes(content)
    assert read_cursors(path, EPOCH) == {}


async def test_a_full_disk_does_not_stop_deliveries(tmp_path: Path) -> None:
    """Where cursors cannot be written, alerts are delivered twice after a restart, but delivered."""
    outbox, sink = Outbox(["a"]), Fake()
    outbox.add(alerts([1]))
    async with running(outbox, {"a": sink}, tmp_path / "absent" / "cursors.json") as couriers:
        assert await couriers.drain(5.0)
        outbox.add(alerts([2]))
        assert await couriers.drain(5.0)
    assert sink.received == [1, 2]


async def test_the_file_of_cursors_can_be_read_by_people(tmp_path: Path) -> None:
    """Whoever asks why an alert was repeated looks here first."""
    outbox, path = Outbox(["a"]), tmp_path / "cursors.json"
    outbox.add(alerts([7]))
    async with running(outbox, {"a": Fake()}, path) as couriers:
        assert await couriers.drain(5.0)
    assert json.loads(path.read_text())["cursors"]["a"]["urgent"] == "7-0"
