"""JSON that people write or damage: a key given twice, a fault without its file, a value of another type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.app.main import run
from engine.app.replay.run_files import read_past_run
from engine.app.replay.run_records import RunRecord, SummaryRecord, read_record
from engine.errors import DataError


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "verb",
    [["book"], ["var"], ["optimise"], ["frontier"], ["risk", "stress"], ["risk", "backtest", "--book"]],
)
def test_a_key_given_twice_is_refused(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """JSON readers keep the last one, and a short position vanishes; nested objects as well."""
    Path("twice.json").write_text('{"positions": {"JPM": {"notional_usd": -5}, "JPM": {"notional_usd": 5}}}')
    assert run([*verb, "twice.json"]) == 2
    shown = capsys.readouterr().err
    assert 'twice.json has the key "JPM" twice in one object' in shown
    assert "C013" in shown


def test_a_fault_names_file_and_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Among ten files "holdings_usd is missing" says nothing."""
    Path("book.json").write_text('{"symbols": ["A"], "freedom": 2, "model": "student_t"}')
    assert run(["var", "book.json", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    faults = {one["where"]: one for one in (answer["error"], *answer["further"])}
    assert set(faults) == {"book.json   holdings_usd", "book.json   freedom"}
    assert "Degrees of freedom" in faults["book.json   freedom"]["hint"]
    Path("problem.json").write_text('{"allocator": "mean_variance"}')
    assert run(["optimise", "problem.json"]) == 2
    assert "--> problem.json   symbols" in capsys.readouterr().err


def test_a_number_of_thousands_of_digits_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    """Python refuses to read it: a sentence, and no traceback."""
    Path("long.json").write_text('{"equity_usd": ' + "9" * 5_000 + "}")
    assert run(["book", "long.json"]) == 2
    assert "long.json cannot be read" in capsys.readouterr().err


def _folder(run_: object, summary: object) -> Path:
    folder = Path("one")
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(run_))
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


RUN = {"data": {"path": "bars.csv", "fingerprint": "00"}, "commands": None}
SUMMARY = {"digest": "00", "journal_digest": None, "exit_reason": "completed"}


@pytest.mark.parametrize("data", ["x", 5, None, [], {"path": 5}])
def test_a_damaged_record_is_named(data: Any) -> None:
    """Whoever reads the folder learns the file and the key, and gets no traceback."""
    with pytest.raises(DataError, match="could not be read") as caught:
        read_past_run(_folder(RUN | {"data": data}, SUMMARY), None)
    assert caught.value.code == "D013"
    assert "$.data" in caught.value.detail


@pytest.mark.parametrize("key", ["data", "commands", "digest", "journal_digest", "exit_reason"])
def test_a_record_without_a_key_cannot_be_repeated(key: str) -> None:
    """An account of another program is no run."""
    both = ({k: v for k, v in one.items() if k != key} for one in (RUN, SUMMARY))
    with pytest.raises(DataError, match=f"no complete run folder: there is no {key}") as caught:
        read_past_run(_folder(*both), None)
    assert caught.value.code == "D011"


@pytest.mark.parametrize("summary", [[], "x", None, 5, {"signals": "many"}, {"notes": [1]}, {"rejected": []}])
@pytest.mark.parametrize("verb", [["show", "one"], ["compare", "one", "one"], ["list", "--dir", "."]])
def test_runs_over_a_damaged_summary(
    verb: list[str], summary: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list where figures are wanted ends with a sentence about its file."""
    _folder(RUN, summary)
    assert run(["runs", *verb]) == 3
    assert "D013" in (shown := capsys.readouterr().err)
    assert "summary.json could not be read" in shown


def test_what_a_run_writes_has_the_shape(tmp_path: Path) -> None:
    """The shape must never refuse what this version writes."""
    Path("astra.toml").write_text(
        '[feed]\nkind = "simulated"\nsessions = 1\n[[strategy]]\nkind = "kalman_pairs"\npairs = ["KO/PEP"]\n'
    )
    assert run(["replay", "--out", "kept", "--json"]) == 0
    assert read_record(tmp_path / "kept" / "run.json", RunRecord)["exit_reason"] == "completed"
    summary = read_record(tmp_path / "kept" / "summary.json", SummaryRecord)
    assert set(summary) <= set(SummaryRecord.__struct_fields__)
