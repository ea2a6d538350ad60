"""The first five minutes: init, check, replay, verify, with the real parts; and the first mistakes."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from engine.app.config.load import load
from engine.app.config.plugins import GROUPS, registry
from engine.app.config.schema import json_schema
from engine.app.doctor import examine
from engine.app.main import run
from tests.support.app import GOLDENS

HEADER = "ts,symbol,open,high,low,close,volume\n"


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "demo"]) == 0
    said = capsys.readouterr().out
    assert "created demo/astra.toml" in said
    assert "SYNTHETIC" in said
    assert "next: cd demo && astra check && astra replay" in said
    monkeypatch.chdir(tmp_path / "demo")
    return tmp_path / "demo"


def write_bars(folder: Path, stamps: list[str], symbols: tuple[str, ...]) -> None:
    rows = [f"{stamp},{symbol},10,10,10,10,100\n" for stamp in stamps for symbol in symbols]
    (folder / "data" / "bars.csv").write_text(HEADER + "".join(rows))
    text = (folder / "astra.toml").read_text()
    (folder / "astra.toml").write_text(text.replace("data/sample.csv.gz", "data/bars.csv"))


def assert_golden_stderr(name: str, text: str) -> None:
    assert text == (GOLDENS / f"{name}.txt").read_text(encoding="utf-8")


def test_the_scaffold_checks_replays_and_verifies(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new user's first three commands work without server, account or network."""
    assert run(["check"]) == 0
    checked = capsys.readouterr().out
    assert "6 symbols, 2026-01-05..2026-01-09, 5 sessions XNYS, 11,700 rows, 0 gaps" in checked
    assert run(["replay", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    summary = json.loads(line)
    assert summary["bars"] == 11_700
    assert summary["rejected"] == {}
    folder = Path(summary["folder"])
    assert folder.resolve() == (demo / "runs" / "latest").resolve()
    assert run(["replay", "--quiet", "--out", "again"]) == 0
    assert capsys.readouterr().out.splitlines() == ["again"]
    again = json.loads(Path("again/summary.json").read_text())
    assert again["digest"] == summary["digest"]
    assert run(["verify", "runs/latest"]) == 0
    assert summary["digest"] in capsys.readouterr().out


def test_a_halt_at_the_end_can_fail_a_script(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An opening book whose risk nobody can know yet halts; a script that asked for it must learn."""
    options = ["--quiet", "--to", "2026-01-05", "--set", "book.positions.JPM=1000"]
    assert run(["replay", *options, "--out", "kept"]) == 0
    assert run(["replay", *options, "--out", "failed", "--fail-on-halt"]) == 4
    assert json.loads(Path("failed/summary.json").read_text())["state"] == "HALTED"
    assert "error" not in capsys.readouterr().err


def test_a_command_halts_and_a_resume_reopens(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the operator verbs sign, a replay obeys in event time, and the screen says it."""
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", "only-for-this-test")
    who = ["--commands", "c.jsonl", "--reason", "drill", "--principal", "eve"]
    assert run(["halt", *who, "--at", "2026-01-05T10:00:00-05:00"]) == 0
    capsys.readouterr()
    assert run(["replay", "--commands", "c.jsonl", "--to", "2026-01-05"]) == 0
    text = capsys.readouterr().out
    assert "COMMAND halt by eve: accepted" in text
    [named] = [line for line in text.splitlines() if "--halt-id" in line]
    halt_id = named.partition("--halt-id ")[2].split()[0]
    assert run(["resume", *who, "--at", "2026-01-05T11:00:00-05:00", "--halt-id", halt_id]) == 0
    capsys.readouterr()
    assert run(["replay", "--commands", "c.jsonl", "--to", "2026-01-05", "--fail-on-halt"]) == 0
    assert "ACTIVE" in capsys.readouterr().out


def test_nothing_is_overwritten(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second init must not destroy a configuration that took a day."""
    before = (demo / "astra.toml").read_text()
    assert run(["init"]) == 2
    assert "error[C012] astra.toml exists and is kept" in capsys.readouterr().err
    assert (demo / "astra.toml").read_text() == before


def test_the_template_gives_only_defaults_that_it_shows(demo: Path) -> None:
    """Deleting a line of the template must change nothing but what the line said."""
    config = load(demo / "astra.toml")
    text = (demo / "astra.toml").read_text()
    bare = tomllib.loads(text)
    keys = (
        ("risk", "seed"),
        ("risk", "confidence"),
        ("book", "equity_usd"),
        ("allocator", "every_min"),
    )
    for table, key in keys:
        line = next(line for line in text.splitlines() if line.startswith(f"{key} ="))
        (demo / "other.toml").write_text(text.replace(line, ""))
        other = load(demo / "other.toml")
        assert key in bare[table]
        assert (other.risk, other.book, other.allocator) == (config.risk, config.book, config.allocator)


def test_data_without_rows(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An export that failed half way leaves a header."""
    write_bars(demo, [], ())
    assert run(["check"]) == 3
    assert_golden_stderr("no_rows", capsys.readouterr().err)


def test_stamps_without_a_zone(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A guess would shift every bar by five hours; the message proposes the zone that fits."""
    write_bars(demo, [f"2026-01-05 09:3{k}:00" for k in range(1, 6)], ("JPM", "C", "GS", "MS", "KO", "PEP"))
    assert run(["replay"]) == 3
    assert_golden_stderr("naive_stamps", capsys.readouterr().err)
    assert not (demo / "runs").exists()


def test_a_symbol_that_the_data_lack(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Configuration and data disagree about the name of a share class: both places are shown."""
    write_bars(demo, ["2026-01-05T14:31:00Z"], ("JPM", "C", "GS", "MS.A", "KO", "PEP"))
    assert run(["replay"]) == 3
    assert_golden_stderr("symbol_of_replay", capsys.readouterr().err)


def test_an_unknown_calendar_is_found_in_the_file(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The calendar is known to the feed only, yet the error names the line."""
    text = (demo / "astra.toml").read_text()
    (demo / "astra.toml").write_text(text.replace('"XNYS"', '"XNYZ"'))
    line = text.splitlines().index(next(row for row in text.splitlines() if row.startswith("calendar"))) + 1
    assert run(["replay"]) == 2
    assert f"--> astra.toml:{line}   universe.calendar" in capsys.readouterr().err


def test_data_verbs(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bars can be made, judged and converted without a replay."""
    assert run(["data", "synth", "-o", "a.csv", "--sessions", "1", "--pairs", "AA/BB"]) == 0
    assert run(["data", "synth", "-o", "a.csv", "--sessions", "1"]) == 2
    assert run(["data", "synth", "-o", "b.csv", "--sessions", "0"]) == 2
    assert "error[C013] --sessions" in capsys.readouterr().err
    assert run(["data", "check", "a.csv"]) == 0
    assert "2 symbols, 2026-01-05..2026-01-05, 1 session XNYS, 780 rows, 0 gaps" in capsys.readouterr().out
    assert run(["data", "check", "a.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 780
    assert run(["data", "import", "a.csv", "c.parquet"]) == 0
    assert run(["data", "import", "a.csv", "c.parquet"]) == 2
    assert run(["data", "import", "a.csv", "d.parquet", "--rename", "close"]) == 2
    capsys.readouterr()
    assert run(["data", "synth", "-o", "a.csv/b.csv"]) == 2
    assert run(["init", "a.csv"]) == 2
    assert capsys.readouterr().err.count("is no folder") == 2


def test_what_makes_or_shows_something_answers_programs(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that prepares a desk needs the names of what was made, not sentences."""

    def answer(*argv: str) -> Any:
        assert run([*argv, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert answer("init", "other")["created"] == ["other/astra.toml", "other/data/sample.csv.gz"]
    made = answer("data", "synth", "-o", "made.csv", "--sessions", "1", "--pairs", "AA/BB")
    assert (made["path"], made["bars"], made["pairs"]) == ("made.csv", 780, ["AA/BB"])
    assert answer("data", "import", "made.csv", "made.parquet") == {
        "path": "made.parquet",
        "rows": 780,
        "bar_min": 1,
    }
    assert answer("config", "show")["risk"]["var_limit_usd"] == 150_000.0
    assert answer("config", "schema")["title"] == "astra.toml"
    assert answer("doctor")["is_fit"]


def test_a_demo_is_found_from_beside_it(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its configuration has a folder of its own, and nobody who runs it has seen that."""
    (demo / "empty" / "astra-demo").mkdir(parents=True)
    (demo / "empty" / "astra-demo" / "astra.toml").touch()
    assert run(["status", "--config", "empty/astra.toml"]) == 2
    assert "--config empty/astra-demo/astra.toml" in capsys.readouterr().err


def test_the_doctor_finds_this_machine_fit(demo: Path) -> None:
    """Every test of this project needs what the doctor checks."""
    findings = {finding.name: finding for finding in examine(load(demo / "astra.toml"), demo / "runs")}
    assert findings["redis"].state == "off"
    for name in ("python", "packages", "imports", "numba", "solver", "calendars"):
        assert findings[name].state == "ok", findings[name]
    assert "fsync" in findings["disk"].text


def test_the_doctor_tries_the_servers_that_are_configured(demo: Path) -> None:
    """Port 1 of this machine has no server; that is a finding, not a traceback."""
    text = (demo / "astra.toml").read_text() + '\n[redis]\nurl = "redis://127.0.0.1:1"\n'
    (demo / "astra.toml").write_text(text)
    findings = {finding.name: finding for finding in examine(load(demo / "astra.toml"), demo / "runs")}
    assert findings["redis"].state == "fail"
    assert "127.0.0.1:1" in findings["redis"].text


EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "config").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    """An example that is refused teaches the wrong thing."""
    assert load(path).symbols


def test_the_schema_describes_every_key_of_every_kind() -> None:
    """Descriptions are the manual, the editor's hints, and the why of errors."""
    for group in GROUPS:
        for kind, plugin in registry(group).items():
            for key, field in plugin.options.model_fields.items():
                nested = field.description is None and isinstance(field.default, BaseModel)
                assert field.description or nested, f"{group} {kind}.{key}"
    assert json_schema()["$defs"]
