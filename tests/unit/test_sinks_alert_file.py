"""alerts.jsonl: each alert once, whatever happened before."""

from __future__ import annotations

import json
from pathlib import Path

from engine.sinks.alert_file import AlertFile
from engine.sinks.messages import Wire
from tests.support.effects import alert, alerts, risk, wire


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


async def test_alerts_are_written_once_across_restarts(tmp_path: Path) -> None:
    """A file with every alert twice after a crash is one nobody counts by."""
    path = tmp_path / "alerts.jsonl"
    first = AlertFile(path, wire())
    await first.deliver([alert(1), risk(2), alert(3, 1)])
    await first.deliver(alerts([1]))
    assert ids(path) == ["1-0", "3-1"]
    await first.aclose()
    second = AlertFile(path, wire())
    await second.deliver([alert(1), alert(3, 1), alert(12)])
    await second.aclose()
    assert ids(path) == ["1-0", "3-1", "12-0"]


async def test_a_torn_last_line_is_cut_off_and_written_again(tmp_path: Path) -> None:
    """Half a line makes the whole file unreadable for most tools."""
    path = tmp_path / "alerts.jsonl"
    sink = AlertFile(path, wire())
    await sink.deliver(alerts([1, 2]))
    await sink.aclose()
    path.write_bytes(path.read_bytes()[:-20])
    sink = AlertFile(path, wire())
    await sink.deliver(alerts([1, 2]))
    await sink.aclose()
    assert ids(path) == ["1-0", "2-0"]


async def test_a_long_file_is_continued(tmp_path: Path) -> None:
    """Only the end is read: a file of years must not delay the start."""
    path = tmp_path / "alerts.jsonl"
    sink = AlertFile(path, wire())
    await sink.deliver(alerts(range(1, 1_001)))
    await sink.aclose()
    assert path.stat().st_size > 1 << 16
    sink = AlertFile(path, wire())
    await sink.deliver(alerts(range(990, 1_003)))
    await sink.aclose()
    assert ids(path) == [f"{seq}-0" for seq in range(1, 1_003)]


async def test_a_new_journal_begins_anew(tmp_path: Path) -> None:
    """Its ids are small again; they are no repetitions."""
    path = tmp_path / "alerts.jsonl"
    for epoch in ("20260105T120000Z", "20260106T120000Z"):
        sink = AlertFile(path, Wire("desk", epoch, ()))
        await sink.deliver(alerts([1, 2]))
        await sink.aclose()
    assert ids(path) == ["1-0", "2-0", "1-0", "2-0"]
