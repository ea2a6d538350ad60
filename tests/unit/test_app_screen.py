"""``astra screen``: from a file of bars to a table that trades what passed, or to saying that nothing did."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.app.config.load import parse
from engine.app.main import run
from feeds.calendars import date_of, day_of, sessions_for
from tests.support.daily_bars import run_file, session_dates, write_daily

DAYS = 320


def daily_bars(folder: Path, seed: int = 4, n_days: int = DAYS) -> Path:
    """Write daily bars of AAA, which follows BBB, and of CCC and DDD, which walk alone."""
    rng = np.random.default_rng(seed)
    paths = np.cumsum(rng.normal(0.0, 0.01, (n_days, 4)), axis=0)
    paths[:, 0] = 0.8 * paths[:, 1] + rng.normal(0.0, 0.005, n_days)
    sessions = sessions_for("XNYS", day_of(date(2024, 1, 2)), day_of(date(2024, 1, 2)) + 2 * n_days)
    days = [str(date_of(day)) for day in sessions.day[:n_days].tolist()]
    close = 100.0 * np.exp(paths)
    frame = pd.DataFrame(
        {
            "date": np.repeat(days, 4),
            "symbol": np.tile(["AAA", "BBB", "CCC", "DDD"], n_days),
            "close": close.reshape(-1).round(4),
        }
    )
    for name in ("open", "high", "low"):
        frame[name] = frame["close"]
    frame["volume"] = np.tile([20_000.0, 10_000.0, 10_000.0, 10_000.0], n_days)
    path = folder / "daily.csv"
    frame.to_csv(path, index=False)
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["screen", *arguments, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_true_pair_comes_out_as_a_strategy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The snippet must be one that the engine takes; capacity is that of the tighter leg."""
    bars = daily_bars(tmp_path)
    answer = told(capsys, str(bars), "--bar-min", "1440")
    assert (answer["tested"], answer["untested"], answer["steps"]) == (6, 0, DAYS)
    best = answer["pairs"][0]
    assert best["is_discovery"]
    assert {*best["pair"].split("/")} == {"AAA", "BBB"}
    assert 0.0 <= best["half_life_sessions"] < 5.0
    table = tomllib.loads(answer["snippet"])["strategy"][0]
    assert table["pairs"][0] == best["pair"]
    config = parse('[feed]\nkind = "simulated"\n' + answer["snippet"], tmp_path)
    assert {*best["pair"].split("/")} <= {*config.symbols}
    volume_usd = (
        pd.read_csv(bars).assign(usd=lambda f: f["close"] * f["volume"]).groupby("symbol")["usd"].median()
    )
    y, x = best["pair"].split("/")
    b = best["usd_ratio"]
    room = 0.10 * (1.0 + b) * min(volume_usd[y], volume_usd[x] / b)
    assert best["capacity_usd"] == pytest.approx(room)


def test_it_prints_a_table_and_the_snippet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person reads: the best first, how many were tested, and a warning about the sample."""
    assert run(["screen", str(daily_bars(tmp_path)), "--bar-min", "1440", "--top", "2"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == [
        "pair", "p-value", "passes", "correlation", "ratio", "drift", "half-life", "capacity"
    ]  # fmt: skip
    assert said.splitlines()[1].split()[2] == "yes"
    assert "6 pairs of 4 symbols tested on closes of sessions." in said
    assert "[[strategy]]" in said


def test_what_a_screen_of_daily_bars_writes_trades(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over an hour a half-life of days brings nothing: the table must come with a horizon that fits."""
    rng = np.random.default_rng(6)
    n = 400
    walk, spread = np.cumsum(rng.normal(0.0, 0.01, n)), np.zeros(n)
    for t in range(1, n):
        spread[t] = 0.85 * spread[t - 1] + rng.normal(0.0, 0.012)  # a half-life of 4.3 sessions
    closes = {"AAA": 50.0 * np.exp(0.9 * walk + spread), "BBB": 80.0 * np.exp(walk)}
    write_daily(tmp_path, "", session_dates("2024-01-02", n), {k: v.tolist() for k, v in closes.items()})
    answer = told(capsys, str(tmp_path / "bars.csv"), "--bar-min", "1440")
    half_life = answer["pairs"][0]["half_life_sessions"]
    assert 2.0 < half_life < 7.0
    assert tomllib.loads(answer["snippet"])["allocator"]["horizon_min"] == 390 * round(half_life)
    with (tmp_path / "astra.toml").open("a") as file:
        file.write(answer["snippet"])
    done = run_file(tmp_path / "astra.toml", tmp_path)
    assert done.summary["rebalances"] >= 5


def test_none_is_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Most universes have no pair: that is said, without a snippet, and it is no error."""
    bars = str(daily_bars(tmp_path))
    assert run(["screen", bars, "--bar-min", "1440", "--pairs-from", "CCC, DDD"]) == 0
    said = capsys.readouterr().out
    assert "1 pair of 2 symbols" in said
    assert "None passes" in said
    assert "[[strategy]]" not in said


def test_history_is_tested_and_bars_give_the_capacity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sessions of minutes say nothing of cointegration, but all of what a minute can take."""
    closes = daily_bars(tmp_path)
    minutes = tmp_path / "minutes.csv"
    assert run(["data", "synth", "--out", str(minutes), "--pairs", "AAA/BBB", "--sessions", "1"]) == 0
    capsys.readouterr()
    answer = told(capsys, str(minutes), "--history", str(closes))
    assert answer["closes"] == "daily closes of daily.csv"
    assert (answer["steps"], answer["tested"]) == (DAYS, 1)
    assert 1e6 < answer["pairs"][0]["capacity_usd"] < 3e7


def test_minutes_alone_are_taken_every_five(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under 250 days the closes are those that the admission of a pair would test."""
    minutes = tmp_path / "minutes.csv"
    assert run(["data", "synth", "--out", str(minutes), "--pairs", "AAA/BBB", "--sessions", "4"]) == 0
    capsys.readouterr()
    answer = told(capsys, str(minutes))
    assert (answer["closes"], answer["steps"]) == ("closes of every 5 minutes", 4 * 78)


def test_steps_are_whole_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cells of 5 minutes hold one bar of 3 or two: their closes would be 3, 6 or 9 minutes apart."""
    bars = tmp_path / "bars.csv"
    arguments = ["--pairs", "AAA/BBB", "--sessions", "4", "--bar-min", "3"]
    assert run(["data", "synth", "--out", str(bars), *arguments]) == 0
    capsys.readouterr()
    answer = told(capsys, str(bars))  # of three minutes, as their stamps tell
    assert answer == told(capsys, str(bars), "--bar-min", "3")
    assert (answer["closes"], answer["steps"]) == ("closes of every 6 minutes", 4 * 65)


def test_too_little_to_test_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table would look like a finding."""
    assert run(["screen", str(daily_bars(tmp_path, n_days=40)), "--bar-min", "1440"]) == 3
    assert "error[D051]" in capsys.readouterr().err


@pytest.mark.parametrize("wanted", ["AAA,ZZZ", "AAA"])
def test_symbols_that_cannot_be_paired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wanted: str
) -> None:
    """A mistyped symbol must not quietly shrink the universe."""
    assert run(["screen", str(daily_bars(tmp_path)), "--bar-min", "1440", "--pairs-from", wanted]) == 2
    assert "error[C013]" in capsys.readouterr().err
