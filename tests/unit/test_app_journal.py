"""The journal verbs: what an operator types when a journal is in doubt."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.app.assembly import hash_of
from engine.app.config.load import load
from engine.app.replay.journal_tools import rebuild, root_of, verify_states
from engine.app.verbs.journal import app
from engine.errors import ConfigError, JournalError
from engine.events import MINUTE_NS, Bar, Tick
from engine.journal import JournalWriter
from engine.journal_format import Identity
from engine.loop import Loop
from engine.snapshots import SnapshotStore
from tests.support.core import T0_NS

CONFIG = """
[feed]
kind = "mqtt"
[mqtt]
host = "127.0.0.1"
[[strategy]]
kind = "kalman_pairs"
pairs = ["AAA/BBB"]
noise = { delta = 1e-5, observation_variance = 1e-6 }
[allocator]
kind = "none"
"""
MINUTES = 30


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Path:
    """Write the state folder of a live engine: bars and ticks, a snapshot every ten minutes."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "astra.toml").write_text(CONFIG)
    config = load(folder / "astra.toml")
    identity = Identity(hash_of(config), "astra 1", "20180220T143000Z", 17_582)
    writer = JournalWriter(folder / "journal", identity, segment_bytes=2_000)
    store = SnapshotStore(folder / "snapshots", identity)
    loop = Loop(rebuild(config, identity, T0_NS).bus, lambda *_: None, writer)
    rng = np.random.default_rng(4)
    price = {"AAA": 50.0, "BBB": 40.0}
    for minute in range(1, MINUTES + 1):
        ts_ns = T0_NS + 1_440 * MINUTE_NS + minute * MINUTE_NS
        price = {symbol: usd * float(np.exp(rng.normal(0, 1e-3))) for symbol, usd in price.items()}
        for symbol, close in price.items():
            loop.take(Bar(ts_ns, symbol, close, close, close, close, 1e6), f"{symbol}-{minute}")
        loop.take(Tick(ts_ns))
        writer.commit()
        if minute % 10 == 0:
            store.write(loop.seq, {"loop": loop.state(), "extra": None, "position": ""})
    assert loop.status.slices == MINUTES
    writer.close()
    return folder


@pytest.fixture
def state(live, tmp_path) -> Path:
    """Return a copy that may be damaged."""
    shutil.copytree(live, tmp_path / "state")
    return tmp_path / "state"


def typed(*arguments: object, status: int = 0) -> str:
    """Run a verb; return what it printed."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done.output


def test_records_are_shown_one_a_line(state) -> None:
    """The first question is what happened, in order."""
    lines = typed("show", state, "--from-seq", 4, "--limit", 3).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["4", "Bar", "2018-02-20T14:32:00Z"],
        ["5", "Bar", "2018-02-20T14:32:00Z"],
        ["6", "Tick", "2018-02-20T14:32:00Z"],
    ]
    assert "symbol=AAA" in lines[0]
    shown = json.loads(typed("show", state / "journal", "--limit", 1, "--json"))
    assert shown["epoch"] == "20180220T143000Z"
    assert (shown["records"][0]["seq"], shown["records"][0]["symbol"]) == (1, "AAA")


def test_a_whole_journal_is_verified_by_replay(state) -> None:
    """Every frame, every hash, and every snapshot against the one before and the records between."""
    lines = typed("verify", state, "--config", state / "astra.toml").splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 7
    assert "records 1 to 90 in" in lines[0]
    assert "end closed" in lines[0]
    assert "state at 60" in lines[5]
    assert "equals the state at 30 and the records between" in lines[5]
    answer = json.loads(typed("verify", state, "--json"))
    assert (answer["is_good"], len(answer["findings"])) == (True, 4)


def test_damage_is_named_with_file_and_offset(state) -> None:
    """Exit 3, and where to look."""
    path = min((state / "journal").iterdir())
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    snapshot = max((state / "snapshots").iterdir())
    snapshot.write_bytes(b"x" + snapshot.read_bytes()[1:])
    out = typed("verify", state, "--config", state / "astra.toml", status=3)
    assert "DAMAGED  journal          J003 damaged frame with records behind it, at byte" in out
    assert path.name in out
    assert f"DAMAGED  snapshot         {snapshot.name}: damaged" in out


def test_a_damaged_header_is_a_line_like_any_other(state) -> None:
    """Whose snapshots they are is then unknown, so nothing is said of them."""
    path = max((state / "journal").iterdir())
    path.write_bytes(b"x" + path.read_bytes()[1:])
    (line,) = typed("verify", state, status=3).splitlines()
    assert f"J004 no segment header, at byte 0 of {path.name}" in line


def test_a_snapshot_that_lies_is_found_by_replay(state) -> None:
    """A whole file with another state: only the records can tell."""
    config = load(state / "astra.toml")
    identity = Identity(hash_of(config), "astra 1", "20180220T143000Z", 17_582)
    store = SnapshotStore(state / "snapshots", identity)
    payload = next(snapshot.payload for snapshot in store.newest_good() if snapshot.seq == 60)
    payload["loop"]["status"]["plain"]["fills"] += 1
    store.write(60, payload)
    faults = [finding.name for finding in verify_states(state, config) if finding.fault]
    assert faults == ["state at 60", "state at 90"]
    typed("verify", state, "--config", state / "astra.toml", status=3)


def test_another_configuration_proves_nothing(state) -> None:
    """A difference would be the configuration's, not the journal's."""
    (state / "astra.toml").write_text(CONFIG.replace("1e-5", "1e-4"))
    with pytest.raises(JournalError) as caught:
        list(verify_states(state, load(state / "astra.toml")))
    assert caught.value.code == "J011"
    assert "Which keys differ is not known" in caught.value.detail
    (state / "config.toml").write_text(CONFIG)
    with pytest.raises(JournalError) as caught:
        list(verify_states(state, load(state / "astra.toml")))
    assert re.match(r"strategy\.0\.\S.* was .*1e-05.*, is .*0\.0001", caught.value.detail)
    assert caught.value.where == str(state)


def test_compacting_keeps_what_a_start_needs(state) -> None:
    """Old segments go, and the verification still holds for what is left."""
    before = len(list((state / "journal").iterdir()))
    out = typed("compact", state, "--keep-days", 30)
    assert out.count("deleted 0000") == before - len(list((state / "journal").iterdir())) > 0
    lines = typed("verify", state, "--config", state / "astra.toml").splitlines()
    assert "nothing to compare with" in lines[4]
    assert "equals the state at 30" in lines[5]


def test_a_run_folder_is_not_compacted(state) -> None:
    """Its journal is the run; without snapshots everything is needed."""
    shutil.rmtree(state / "snapshots")
    done = CliRunner().invoke(app, ["compact", str(state), "--keep-days", "1"])
    assert isinstance(done.exception, ConfigError)
    assert done.exception.code == "C013"


def test_a_folder_without_a_journal_is_named(tmp_path) -> None:
    """The usual mistake is the wrong folder."""
    with pytest.raises(JournalError) as caught:
        root_of(tmp_path)
    assert caught.value.code == "J002"


def test_one_snapshot_is_held_against_another(state) -> None:
    """A running engine has its newest snapshot checked without reading the whole journal."""
    config = ("--config", state / "astra.toml")
    (line,) = typed("verify", state, *config, "--after", 30, "--until", 90).splitlines()
    assert line == "ok       state at 90      equals the state at 30 and the records between"
    (line,) = typed("verify", state, *config, "--until", 30).splitlines()
    assert line.endswith("equals the state at 0 and the records between")
    answer = json.loads(typed("verify", state, *config, "--after", 30, "--until", 60, "--json"))
    assert answer["is_good"]
    for wrong, error, code in (
        (("--after", 31, "--until", 60), JournalError, "J016"),
        (("--after", 60, "--until", 60), ConfigError, "C013"),
    ):
        done = CliRunner().invoke(app, ["verify", str(state), *map(str, (*config, *wrong))])
        assert isinstance(done.exception, error)
        assert done.exception.code == code


def test_a_run_folder_is_renewed_whole_and_nothing_else_is_replaced(state, tmp_path, monkeypatch) -> None:
    """A crash in between must leave the one before, and a mistyped path must cost no other folder."""
    out = tmp_path / "out"
    arguments = ["export", str(state), "--config", str(state / "astra.toml"), "--out", str(out), "--replace"]
    first = typed(*arguments).strip()
    assert first == str(out)
    digest = json.loads((out / "summary.json").read_text())["digest"]
    (out / "mark").touch()
    out.rename(tmp_path / ".out.old")  # as if somebody had ended between the two names
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "half").touch()
    monkeypatch.setattr("engine.app.report.page.write_report", lambda _: 1 / 0)
    assert isinstance(CliRunner().invoke(app, arguments).exception, ZeroDivisionError)
    assert (out / "mark").exists()
    monkeypatch.undo()
    typed(*arguments)
    assert json.loads((out / "summary.json").read_text())["digest"] == digest
    assert not (out / "mark").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (out / "run.json").unlink()
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, ConfigError)
    assert (out / "summary.json").exists()
