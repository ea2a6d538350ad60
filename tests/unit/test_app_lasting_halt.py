"""A halt is on disk from its first moment: in the marker until the journal has it, and every other, too."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.app.live.halt_marker import HaltMarker, RaisedHalt
from engine.app.live.inbox import Inbox
from engine.app.live.lasting_halt import LastingHalt
from engine.clock import Clock
from engine.events import HaltRequested
from engine.ports import Arrival

NOW_NS = 7


@pytest.fixture
def marker(tmp_path: Path):
    made = HaltMarker(tmp_path / "halt.marker")
    yield made
    made.close()


def halting(marker: HaltMarker) -> tuple[LastingHalt, Inbox]:
    """Return what halts, and where its records come out."""
    inbox = Inbox()
    return LastingHalt(inbox, marker, Clock(NOW_NS, monotonic=lambda: 0.0), {}), inbox


async def to_disk(inbox: Inbox) -> Arrival:
    """Let the journal have the next record."""
    arrival = await inbox.take()
    assert arrival is not None
    assert arrival.acknowledge is not None
    arrival.acknowledge()
    return arrival


async def test_the_marker_stays_until_the_journal_has_every_halt(marker: HaltMarker) -> None:
    """Cleared with the first of two, a kill before the second is on disk would undo it."""
    halt, inbox = halting(marker)
    halt("DISK_HUNG", "first")
    halt("SIGNAL", "second")
    await to_disk(inbox)
    await halt.settle(5.0)
    assert marker.read() == RaisedHalt("SIGNAL", "second", NOW_NS)
    arrival = await to_disk(inbox)
    assert arrival.record == HaltRequested(NOW_NS, "SIGNAL", "second")
    await halt.settle(5.0)
    assert marker.read() is None


async def test_what_was_found_at_the_start_is_kept_like_the_rest(marker: HaltMarker) -> None:
    """A signal while the halt of the process before is on its way must not lose its mark to that one."""
    halt, inbox = halting(marker)
    assert halt.take_over() == ""
    marker.raise_("WATCHDOG", "hung", 3)
    assert halt.take_over() == "WATCHDOG"
    halt("SIGNAL", "SIGUSR1")
    await to_disk(inbox)
    await halt.settle(5.0)
    assert marker.read() is not None
    await to_disk(inbox)
    await halt.settle(5.0)
    assert marker.read() is None


async def test_a_halt_at_the_very_end_is_not_cleared_by_one_before_it(marker: HaltMarker) -> None:
    """Nothing is stepped any more, but what was stepped is still being written."""
    halt, inbox = halting(marker)
    halt("FEED_SILENT", "9 min")
    await halt.settle(5.0)
    halt.at_next_start("SIGNAL", "SIGUSR1")
    await to_disk(inbox)
    await halt.settle(5.0)
    assert marker.read() == RaisedHalt("SIGNAL", "SIGUSR1", NOW_NS)


async def test_a_disk_that_hangs_holds_up_nobody(marker: HaltMarker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clearing waits for the very disk that may be the reason: the event loop must go on, and the end too."""
    halt, inbox = halting(marker)
    works = threading.Event()
    plain = marker._overwrite
    monkeypatch.setattr(marker, "_overwrite", lambda content: (works.wait(10.0), plain(content))[1])
    halt("SIGNAL", "SIGUSR1")
    await to_disk(inbox)
    await halt.settle(0.01)
    assert marker.read() is None  # not even raised yet, and here we are
    works.set()
    await halt.settle(5.0)
    assert marker.read() is None
