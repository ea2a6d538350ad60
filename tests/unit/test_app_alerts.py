"""``astra alerts``: the file of alerts as a person reads it, at once and as it grows."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from engine.app.main import run
from engine.app.verbs.alerts import following, latest, shown

CONFIG = '[feed]\nkind = "simulated"\n[[strategy]]\nkind = "zscore_pairs"\npairs = ["A/B"]\n'
LINE = b'{"id":"%d-0","ts":"2026-01-05T15:00:00Z","severity":"critical","kind":"halted","text":"drill %d"}\n'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("astra.toml").write_text(CONFIG)
    Path("state").mkdir()
    return tmp_path / "state/alerts.jsonl"


def test_the_latest_alerts_are_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server or a key: whoever is on the machine can see what the engine said."""
    path.write_bytes(b"".join(LINE % (k, k) for k in range(30)) + b'{"torn')
    assert run(["alerts", "--limit", "2"]) == 0
    assert capsys.readouterr().out == "".join(
        f"2026-01-05T15:00:00Z  critical  halted  drill {k}\n" for k in (28, 29)
    )
    assert run(["alerts", "--limit", "1", "--json"]) == 0
    assert capsys.readouterr().out.encode() == LINE % (29, 29)
    assert run(["alerts", "--limit", "0"]) == 0
    assert capsys.readouterr() == ("", "")


def test_no_alerts_are_said_to_be_none(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty answer could also mean the wrong folder: the file is named."""
    assert run(["alerts"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"no alerts in {path}\n")


def test_followers_get_whole_lines_once(path: Path) -> None:
    """A line that is half written waits for its other half."""
    path.write_bytes(LINE % (1, 1) + b'{"half')
    offset, lines = latest(path, 9)
    assert (offset, lines) == (len(LINE % (1, 1)), [(LINE % (1, 1)).rstrip()])
    path.write_bytes(LINE % (1, 1) + LINE % (2, 2) + LINE % (3, 3))
    assert list(islice(following(path, offset), 2)) == [(LINE % (k, k)).rstrip() for k in (2, 3)]


def test_only_the_end_of_a_large_file_is_read(path: Path) -> None:
    """An engine that ran for years must not make its reader wait; no part of a line is taken for one."""
    lines = [LINE % (k, k) for k in range(20_000)]
    path.write_bytes(b"".join(lines))
    assert path.stat().st_size > 1 << 20
    offset, found = latest(path, 100_000)
    assert offset == path.stat().st_size
    assert found == [line.rstrip() for line in lines[-len(found) :]]
    assert 0 < len(found) < len(lines)


def test_nothing_in_an_alert_drives_the_terminal() -> None:
    """The text of an alert may repeat what a stranger has sent."""
    hostile = b'{"ts":"t","severity":"info","kind":"k","text":"\\u001b[2Jgone"}'
    assert shown(hostile) == "t  info  k  [2Jgone"
    assert shown(b"\x1b[2J no alert") == "[2J no alert"
