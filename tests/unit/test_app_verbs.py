"""The verbs, through the command line as a user types it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.app.main import run
from engine.app.verbs.options import instant_ns
from engine.commands import CommandBody, Keys, Verifier, read_commands
from engine.errors import ConfigError

AT = "2026-01-05T10:00:00-05:00"
AT_NS = 1_767_625_200_000_000_000
WHO = ("--reason", "too close", "--principal", "eve")
CONFIG = '[feed]\npath = "bars.csv"\n[[strategy]]\nkind = "kalman_pairs"\npairs = ["JPM/C"]\n'


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASTRA_OPERATOR_KEY", raising=False)
    monkeypatch.delenv("ASTRA_HALT_KEY", raising=False)


def bodies(path: Path) -> list[CommandBody]:
    decoder = msgspec.json.Decoder(CommandBody)
    return [decoder.decode(command.body) for command in read_commands(path.read_text())]


def test_commands_are_signed_and_appended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the verbs write, the engine's verifier must accept, each command once."""
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", "only-for-this-test")
    file = Path("commands.jsonl")
    base = ["--commands", str(file), "--at", AT, *WHO]
    assert run(["halt", *base]) == 0
    assert run(["halt", *base]) == 0
    assert run(["resume", *base, "--halt-id", "halt-1"]) == 0
    assert run(["limits", *base, "--var-limit-usd", "120000", "--expires", "2026-01-05T16:00:00-05:00"]) == 0
    assert run(["flatten", *base]) == 0
    assert run(["rebalance", *base]) == 0
    commands = read_commands(file.read_text())
    verifier = Verifier("astra", Keys(operator=b"only-for-this-test"))
    assert [verifier.judge(command)[0] for command in commands] == [""] * 6
    found = bodies(file)
    assert [body.kind for body in found] == ["halt", "halt", "resume", "limits", "flatten", "rebalance"]
    assert found[2].halt_id == "halt-1"
    assert found[3].args == {"var_limit_usd": 120_000.0, "revert_ns": float(AT_NS + 6 * 3_600 * 10**9)}
    assert {command.ts_ns for command in commands} == {AT_NS}


def test_the_halt_key_signs_halts_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopping needs less privilege than starting again."""
    monkeypatch.setenv("ASTRA_HALT_KEY", "only-for-halting-here")
    base = ["--commands", "commands.jsonl", "--at", AT, *WHO]
    assert run(["halt", *base]) == 0
    assert run(["flatten", *base]) == 2
    assert "error[O001] no key to sign a flatten with" in capsys.readouterr().err
    assert len(bodies(Path("commands.jsonl"))) == 1


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("halt", ["--at", "2026-01-05T10:00:00", *WHO], "names no time zone"),
        ("halt", ["--at", "soon", *WHO], "is no date and time"),
        ("halt", ["--at", AT, "--reason", " ", "--principal", "eve"], "--reason must not be empty"),
        ("limits", ["--at", AT, *WHO, "--var-limit-usd", "-5"], "must be greater than 0, was -5"),
        ("limits", ["--at", AT, *WHO, "--var-limit-usd", "nan"], "must be greater than 0, was nan"),
        (
            "limits",
            ["--at", AT, *WHO, "--var-limit-usd", "5", "--expires", AT],
            "--expires must lie ahead",
        ),
    ],
)
def test_a_command_that_cannot_count_is_not_written(
    verb: str,
    options: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An operator must learn of a mistake now, not when the engine refuses it."""
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", "only-for-this-test")
    assert run([verb, "--commands", "c.jsonl", *options]) == 2
    assert said in capsys.readouterr().err
    assert not Path("c.jsonl").exists()


def test_instants_are_exact() -> None:
    """Floats lose nanoseconds; a command a microsecond early is another command."""
    assert instant_ns("2026-01-05T15:00:00.000001Z", "--at") == AT_NS + 1_000
    with pytest.raises(ConfigError):
        instant_ns("2026-01-05", "--at")


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        (["--from", "05.01.2026"], 'must be a date like 2026-01-05, was "05.01.2026"'),
        (["--to", "2026-13-01"], 'must be a date like 2026-01-05, was "2026-13-01"'),
        (["--to", "2026-01-05T12:00"], "must name a time zone"),
        (["--from", "2026-01-06", "--to", "2026-01-05"], "must not be after"),
    ],
)
def test_bad_dates_are_refused(dates: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A span that silently selects nothing would look like a quiet week."""
    assert run(["init", "."]) == 0
    assert run(["replay", *dates]) == 2
    assert said in capsys.readouterr().err


def summary(**changes: Any) -> str:
    figures = {"bars": 100, "sessions": 1, "pnl_usd": 12.5, "max_drawdown_frac": 0.1, "rejected": {"LATE": 2}}
    return json.dumps(figures | {"digest": "a"} | changes)


def test_runs_are_listed_shown_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs are compared on their figures, not on memory."""
    for name, text in (("a", summary()), ("b", summary(pnl_usd=10.0, digest="b"))):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / "summary.json").write_text(text)
    (Path("runs") / "latest").symlink_to("b")
    assert run(["runs", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[:-1]] == ["run", "a", "b"]
    assert listed[-1] == "2 runs in runs"
    assert run(["runs", "list", "runs", "--dir", "elsewhere"]) == 0
    assert capsys.readouterr().out.splitlines() == listed
    assert run(["runs", "list", "nowhere"]) == 2
    assert "error[C013] there is no folder nowhere" in capsys.readouterr().err
    assert run(["runs", "show"]) == 0
    assert "10.00" in capsys.readouterr().out
    assert run(["runs", "compare", "a", "runs/b"]) == 0
    out = capsys.readouterr().out
    assert "-2.50" in out
    assert "differs" in out
    assert run(["runs", "compare", "a", "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pnl_usd"] == {"first": 12.5, "second": 10.0}
    assert run(["runs", "show", "c"]) == 2
    assert 'there is no finished run "c"' in capsys.readouterr().err


def test_no_runs_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A new folder has no runs; that is no fault."""
    assert run(["runs", "list"]) == 0
    assert "no runs in runs" in capsys.readouterr().out


@pytest.mark.usefixtures("kinds")
def test_config_show_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """What a run will use can be seen before it runs."""
    Path("astra.toml").write_text(CONFIG)
    assert run(["config", "show", "--set", "risk.seed=9"]) == 0
    assert "seed = 9" in capsys.readouterr().out
    assert run(["config", "show", "--origin"]) == 0
    assert "# astra.toml:2" in capsys.readouterr().out
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "astra.toml"


@pytest.mark.parametrize("text", ["{", '{"a": 1,}', ""])
def test_a_document_that_is_no_json_names_its_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Hand-written JSON breaks; the line is what helps."""
    Path("book.json").write_text(text)
    assert run(["var", "book.json", "--json"]) == 2
    assert "--> book.json:1" in capsys.readouterr().err
    assert run(["var", "absent.json"]) == 2


def test_what_is_no_json_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder, a configuration, a document nested without end; a mark at the beginning is no fault."""
    Path("folder.json").mkdir()
    Path("astra.toml").write_text("[book]\n")
    Path("deep.json").write_text("[" * 100_000)
    document = ("var", "optimise", "frontier")
    for name, said, verbs in (
        ("folder.json", "is a folder", document),
        ("astra.toml", "is a configuration", document[1:]),  # var takes one
        ("deep.json", "too deeply", document),
    ):
        for verb in verbs:
            assert run([verb, name]) == 2
            shown = capsys.readouterr().err
            assert "error[C013]" in shown
            assert said in shown
    Path("book.json").write_text('\ufeff{"positions": {"A": {"notional_usd": 1}}}', encoding="utf-8")
    assert run(["book", "book.json"]) == 0


def test_every_verb_that_reads_a_configuration_takes_set(capsys: pytest.CaptureFixture[str]) -> None:
    """What a run was started with must be sayable to whatever looks at it."""
    folder = (
        ["alerts"],
        ["status"],
        ["halt"],
        ["journal", "export", "."],
        ["book"],
        ["risk", "stress"],
        ["doctor"],
    )
    for verb in (*folder, ["check"], ["replay"], ["lookahead"], ["config", "show"], ["run"]):
        Path("astra.toml").write_text("[feed]\n")
        assert run([*verb, "--set", "nonsense"]) == 2
        assert "error[C010]" in capsys.readouterr().err, verb
