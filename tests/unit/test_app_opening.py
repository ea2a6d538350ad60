"""What ``astra replay`` refuses at its start ``astra check`` refuses too, and neither leaves anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.app.main import run
from engine.app.replay import run as replay_module

STRATEGY = '[[strategy]]\nkind = "zscore_pairs"\npairs = ["A/B"]\n'
SIMULATED = '[feed]\nkind = "simulated"\nsessions = 1\n'
FILES = '[feed]\npath = "bars.csv"\n'
HEADER = "ts,symbol,open,high,low,close,volume\n"


def minutes(folder: Path, hour: int = 15, price: str = "10", date: str = "2026-01-05") -> None:
    rows = [f"{date} {hour}:{m:02}:00Z,{s},{price},11,9,10,100\n" for m in range(40) for s in "AB"]
    (folder / "bars.csv").write_text(HEADER + "".join(rows))


def days(folder: Path) -> None:
    rows = [f"2026-01-{d:02},{s},10,11,9,10,100\n" for d in (5, 6, 7, 8, 9, 12) for s in "AB"]
    (folder / "bars.csv").write_text(HEADER + "".join(rows))


def every_fifth(folder: Path) -> None:
    rows = [
        f"2026-01-05 {h}:{m:02}:00Z,{s},10,11,9,10,100\n"
        for h in (15, 16)
        for m in range(0, 60, 5)
        for s in "AB"
    ]
    (folder / "bars.csv").write_text(HEADER + "".join(rows))


def at_night(folder: Path) -> None:
    minutes(folder, hour=23)


def on_a_sunday(folder: Path) -> None:
    minutes(folder, date="2026-01-04")


def without_prices(folder: Path) -> None:
    minutes(folder, price="none")


def without_commas(folder: Path) -> None:
    (folder / "bars.csv").write_text(HEADER + "2026-01-05 15:00:00Z;A;10;11;9;10;100\n")


def header_alone(folder: Path) -> None:
    (folder / "bars.csv").write_text(HEADER)


def nothing(_: Path) -> None:
    """Leave the folder as it is."""


def a_file_for_the_runs(folder: Path) -> None:
    (folder / "runs").write_text("")


def a_folder_for_the_bars(folder: Path) -> None:
    (folder / "bars.csv").mkdir()


BAD: list[tuple[str, Callable[[Path], None], str]] = [
    ("D002", nothing, SIMULATED + 'pairs = ["A/B"]\n' + STRATEGY + "[book.positions]\nC = 5\n"),
    ("D002", minutes, FILES + STRATEGY + "[book.positions]\nC = 5\n"),
    ("D010", nothing, SIMULATED + 'pairs = ["A/B", "B/A"]\n' + STRATEGY),
    ("D001", nothing, SIMULATED + STRATEGY + '[universe]\nfirst = "2030-01-01"\n'),
    ("D001", minutes, FILES + STRATEGY + '[universe]\nlast = "2020-01-01"\n'),
    ("D001", header_alone, FILES + STRATEGY),
    ("C011", minutes, FILES + STRATEGY + '[universe]\nfirst = "2026-01-06"\nlast = "2026-01-05"\n'),
    ("C011", minutes, FILES + STRATEGY + '[universe]\nfirst = "2026-01-06"\nlast = "2026-01-05T12:00Z"\n'),
    (
        "C011",
        minutes,
        FILES + STRATEGY + '[universe]\nfirst = "2026-01-05T12:00Z"\nlast = "2026-01-05T12:30+01:00"\n',
    ),
    ("C006", minutes, FILES + STRATEGY + '[universe]\ncalendar = "NOWHERE"\n'),
    ("C007", minutes, FILES + 'tz = "Mars/Olympus"\n' + STRATEGY),
    ("D004", nothing, FILES + STRATEGY),
    ("D004", a_folder_for_the_bars, FILES + STRATEGY),
    ("D014", minutes, FILES + STRATEGY + '[risk]\nhistory = "closes.csv"\n'),
    ("D015", at_night, FILES + STRATEGY),
    ("D015", on_a_sunday, FILES + STRATEGY),
    ("D015", without_prices, FILES + STRATEGY),
    ("D015", without_commas, FILES + STRATEGY),
    ("D016", days, FILES + STRATEGY),
    ("D016", minutes, FILES + STRATEGY + "[universe]\nbar_min = 1440\n"),
    ("D016", minutes, FILES + STRATEGY + "[universe]\nbar_min = 5\n"),
    ("D016", every_fifth, FILES + STRATEGY),
    ("C012", a_file_for_the_runs, SIMULATED + STRATEGY),
    (
        "C230",
        nothing,
        SIMULATED + '[universe]\nbar_min = 1440\n[[strategy]]\nkind = "merger"\ndeals = "deals.csv"\n',
    ),
    ("C070", nothing, SIMULATED + STRATEGY + '[instruments.A]\ncurrency = "EUR"\n'),
]


def code_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = run(argv)
    found = re.findall(r"error\[(\w+)\]", capsys.readouterr().err)
    return status, found[0] if found else ""


@pytest.mark.parametrize(("code", "prepare", "text"), BAD)
def test_check_and_replay_refuse_the_same(
    code: str,
    prepare: Callable[[Path], None],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A check that passes what then fails is worse than none; and a refusal leaves no folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "astra.toml").write_text(text)
    prepare(tmp_path)
    before = sorted(tmp_path.iterdir())
    checked = code_of(["check"], capsys)
    assert checked == code_of(["replay"], capsys)
    assert checked == (3 if code.startswith("D") else 2, code)
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "astra.toml").write_text(SIMULATED + STRATEGY + "[output]\njournal = true\n")
    return tmp_path


@pytest.mark.parametrize("out", [None, "kept", "deep/new"])
def test_an_interruption_before_the_first_bar_leaves_nothing(
    out: str | None, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty run folder would be taken for a run, and would be in the way of the next one."""
    (desk / "kept").mkdir()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replay_module._Run, "drive", interrupted)
    assert run(["replay", *([] if out is None else ["--out", out])]) == 130
    assert list((desk / "kept").iterdir()) == []
    assert not (desk / "deep/new").exists()
    assert not (desk / "runs").exists()


def test_other_runs_stay_when_one_is_refused(desk: Path) -> None:
    """Taking back must never take more than the run that did not begin."""
    assert run(["replay", "--quiet", "--out", "runs/one"]) == 0
    (desk / "bars.csv").write_text(
        HEADER + "2026-01-05 03:00:00Z,A,1,1,1,1,1\n2026-01-05 03:00:00Z,B,1,1,1,1,1\n"
    )
    assert run(["replay", "--data", "bars.csv"]) == 3
    assert [path.name for path in (desk / "runs").iterdir()] == ["one"]
    assert (desk / "runs/one/summary.json").is_file()


def test_data_takes_the_place_of_any_feed(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--data`` means these bars, whatever the configuration makes or waits for otherwise."""
    assert run(["data", "synth", "--out", "bars.csv", "--pairs", "A/B", "--sessions", "1"]) == 0
    for feed in (SIMULATED + "seed = 3\n", '[feed]\nkind = "mqtt"\ncollar_frac = 0.3\n'):
        (desk / "astra.toml").write_text(feed + STRATEGY)
        assert run(["check", "--data", "bars.csv"]) == 0
        assert "bars.csv" in capsys.readouterr().out
    assert run(["replay", "--data", "bars.csv", "--quiet", "--out", "one"]) == 0
    shown = Path("one/config.toml").read_text()
    assert 'kind = "files"' in shown
    assert "collar_frac = 0.3" in shown
    assert run(["verify", "one"]) == 0
    capsys.readouterr()
    assert run(["replay", "--data", "nowhere.csv"]) == 3
    assert "nowhere.csv does not exist" in capsys.readouterr().err


def test_dates_are_refused_as_they_were_typed(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody looks for a ``--set`` that he has not typed."""
    assert run(["check", "--from", "2026-13-01", "--to", 'to"day']) == 2
    said = capsys.readouterr().err
    assert "--> --from 2026-13-01" in said
    assert '--> --to to"day' in said
    assert "--set" not in said
    assert run(["check", "--from", "2031-01-01"]) == 3
    assert "run from 2026-01-05T14:31:00Z to 2026-01-05T21:00:00Z" in capsys.readouterr().err


def test_a_book_that_would_halt_at_once_is_minded(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without daily closes nobody knows the VaR of an opening position: a replay halts at once."""
    assert run(["check", "--set", "book.positions.A=5"]) == 0
    assert "no daily closes of A: VaR is unknown at the first bar" in capsys.readouterr().out


def test_a_folder_is_pointed_at_its_configuration(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After ``astra init desk`` many type ``astra check desk``."""
    assert run(["check", str(desk)]) == 2
    assert "astra.toml" in capsys.readouterr().err
