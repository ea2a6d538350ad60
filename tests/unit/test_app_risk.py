"""``astra risk``: the verbs as a user types them, over a history and over a run."""

from __future__ import annotations

import asyncio
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from engine.app.assembly import hash_of
from engine.app.config.load import load
from engine.app.main import run
from engine.app.replay.journal_tools import rebuild
from engine.app.replay.past_bars import past_bars
from engine.app.report.risk import positions_grid, strategies_grid, var_method
from engine.app.source import open_source
from engine.app.studies.risk_inputs import read_frozen_book
from engine.app.studies.risk_tape import tape_closes
from engine.events import Tick
from engine.journal import JournalWriter
from engine.journal_format import Identity
from engine.loop import Loop
from feeds.recorded import RecordedBars
from risk import REGISTRY
from tests.support.shared import SHARED

DAILY = SHARED / "data" / "us_daily_2016_2018.parquet"
SYMBOLS = ("AAA", "BBB")
BOOK = {"symbols": list(SYMBOLS), "holdings_usd": [600_000, -400_000], "equity_usd": 1_000_000}
#: A desk that only holds what it began with: three sessions, daily closes before them.
CONFIG = """\
[feed]
kind = "simulated"
sessions = 4

[universe]
symbols = ["AAA", "BBB"]

[book]
positions = { AAA = 1000, BBB = -500 }

[[strategy]]
kind = "kalman_pairs"
pairs = ["AAA/BBB"]

[allocator]
kind = "none"

[risk]
history = "daily.csv"
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    closes = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal((360, 2)), axis=0))
    days = pd.bdate_range("2016-01-04", periods=360).strftime("%Y-%m-%d")
    rows = [(day, SYMBOLS[k], closes[t, k]) for t, day in enumerate(days) for k in range(2)]
    pd.DataFrame(rows, columns=["date", "symbol", "close"]).to_csv("daily.csv", index=False)
    Path("book.json").write_text(json.dumps(BOOK))
    Path("desk.toml").write_text(CONFIG)


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert run(["risk", *arguments]) == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def test_backtest_of_a_book_tries_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    """One table, one line a model, the power beside a verdict from less than a year."""
    text = told(capsys, "backtest", "--history", "daily.csv", "--book", "book.json")
    assert [line.split()[0] for line in text.splitlines()[1:5]] == list(REGISTRY)
    assert "59 days are under a year of 250" in text
    options = ("--model", "gaussian", "--model", "student_t", "--window", "100", "--json")
    answer = json.loads(told(capsys, "backtest", "book.json", "--history", "daily.csv", *options))
    assert (answer["confidence"], answer["window_days"], [*answer["models"]]) == (
        0.99,
        100,
        ["gaussian", "student_t"],
    )
    for one in answer["models"].values():
        assert (one["days"], one["unknown_days"], one["power_at_2x"]) == (259, 0, None)
        assert one["expected_exceptions"] == pytest.approx(2.59)
        assert one["exceptions"] <= 9
    mean_usd = answer["models"]["gaussian"]["var_mean_usd"]
    assert mean_usd == pytest.approx(2.326 * 0.01 * math.hypot(6e5, 4e5), rel=0.1)


def test_backtest_of_a_configuration_holds_its_positions(capsys: pytest.CaptureFixture[str]) -> None:
    """[book] positions are shares: what they are worth changes from day to day, and so does VaR."""
    options = ("--model", "gaussian", "--json")
    answer = json.loads(told(capsys, "backtest", "desk.toml", *options))
    assert answer["models"]["gaussian"]["days"] == 59


def test_backtest_of_a_run_sees_what_the_run_saw(capsys: pytest.CaptureFixture[str]) -> None:
    """The book of each close, frozen to the next: P&L is that of the run but for funding (1e-6)."""
    assert run(["replay", "desk.toml", "--out", "one"]) == 0
    config, bars = past_bars(Path("one"), None)
    closes = asyncio.run(tape_closes(config, bars, Path("one/fills.parquet"), 300))
    book = pq.read_table("one/book.parquet").to_pandas()
    ends = book.groupby((book["ts"] - pd.Timedelta(1, "ns")).dt.date)[["equity_usd", "funding_usd"]].last()
    earned = np.diff(ends["equity_usd"] - ends["funding_usd"])
    assert len(earned) == 3
    np.testing.assert_allclose([close.pnl_usd for close in closes], earned, rtol=1e-6)
    assert [len(close.returns_daily) for close in closes] == [300] * 3
    assert all(close.market.known.all() for close in closes)
    capsys.readouterr()
    answer = json.loads(told(capsys, "backtest", "one", "--json"))
    for name, one in answer["models"].items():
        assert (one["days"], one["unknown_days"]) == (3, 0), name
    ratios = answer["close_to_close"]
    assert ratios["days"] == 300
    variances = np.sum(closes[-1].market.factor_daily ** 2, axis=1)
    daily = np.sqrt(np.nanmean(closes[-1].returns_daily ** 2, axis=0) / variances)
    np.testing.assert_allclose([*ratios["symbols"].values()], daily, rtol=1e-9)
    assert ratios["symbols_median"] == pytest.approx(np.median(daily))
    assert "The volatility of 300 daily closes is" in told(capsys, "backtest", "one")
    summary = json.loads(Path("one/summary.json").read_text())
    assert sum(summary["component_var_usd"].values()) == pytest.approx(
        summary["strategy_var_usd"]["book"], rel=1e-9
    )
    assert summary["strategy_gross_usd"]["book"] == pytest.approx(
        sum(abs(usd) for usd in summary["holding_usd"].values())
    )
    page = Path("one/report.html").read_text()
    assert "VaR by position at the end of the run" in page
    assert "VaR by strategy at the end of the run" in page


def test_a_run_under_another_model(capsys: pytest.CaptureFixture[str]) -> None:
    """[risk] model chooses what halts; its figures reach the run folder and can be repeated."""
    for model in ("historical", "filtered_historical"):
        out = ("--out", model, "--set", f"risk.model={model}", "--set", "risk.window_days=300")
        assert run(["replay", "desk.toml", *out, "--to", "2026-01-05"]) == 0
        risk = pq.read_table(f"{model}/risk.parquet").to_pandas()
        assert (risk["var_usd"] > 0.0).all()
        assert (risk["var_upper_usd"] >= risk["var_usd"]).all()
    assert run(["verify", "historical"]) == 0
    capsys.readouterr()


def test_stress_of_a_book(capsys: pytest.CaptureFixture[str]) -> None:
    """Three sigma are z/3 away from VaR, whatever the book; the worst stretch is what it says it is."""
    options = ("--sigma", "3", "--days", "5", "--worst", "2", "--stretch", "spring=2016-03-01..2016-03-31")
    answer = json.loads(told(capsys, "stress", "book.json", "--history", "daily.csv", *options, "--json"))
    by_name = {one["name"]: one for one in answer["stresses"]}
    assert by_name["3 sigma over 10 days"]["of_var"] == pytest.approx(3.0 / 2.3263478740408408, rel=1e-9)
    assert by_name["worst 5 days, 1"]["loss_usd"] >= by_name["worst 5 days, 2"]["loss_usd"]
    spring = by_name["spring"]
    daily = pd.read_csv("daily.csv").pivot_table(index="date", columns="symbol", values="close")
    gain = daily.loc[spring["last"]] / daily[daily.index < spring["first"]].iloc[-1] - 1.0
    assert spring["loss_usd"] == pytest.approx(-(6e5 * gain["AAA"] - 4e5 * gain["BBB"]), rel=1e-9)
    assert spring["loss_frac"] == pytest.approx(spring["loss_usd"] / 1e6, rel=1e-12)
    text = told(capsys, "stress", "desk.toml")
    assert text.splitlines()[0].split() == [
        "stress",
        "from",
        "to",
        "loss",
        "of",
        "equity",
        "of",
        "VaR",
        "of",
        "limit",
    ]
    assert len(text.splitlines()) == 8


def test_stress_without_a_history_uses_the_covariance(capsys: pytest.CaptureFixture[str]) -> None:
    """The file of astra var is enough for sigmas and correlations: 600k at 1.5%, -400k at 2.5%, 0.6."""
    matrix = [[0.000225, 0.000225], [0.000225, 0.000625]]
    Path("var.json").write_text(json.dumps(BOOK | {"covariance_daily": matrix}))
    answer = json.loads(told(capsys, "stress", "var.json", "--json"))
    assert answer["var_usd"] == pytest.approx(2.3263478740408408 * math.sqrt(10.0) * 8_544.003745, rel=1e-9)
    assert [one["name"] for one in answer["stresses"]] == [
        "3 sigma over 10 days",
        "all correlations one",
        "every hedge fails",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backtest"], "there is no run folder or file"),
        (["backtest", "book.json"], "a book alone has no past"),
        (
            ["backtest", "book.json", "--history", "daily.csv", "--window", "359"],
            "359 daily returns are too few",
        ),
        (["backtest", "book.json", "--history", "daily.csv", "--model", "t"], 'no risk model "t"'),
        (
            ["backtest", "book.json", "--history", "daily.csv", "--model=historical", "--window=100"],
            "at least 299 to bound a 0.99 quantile",
        ),
        (["stress", "none.toml"], "there is no file none.toml"),
        (["stress", "book.json"], "nothing is known of how the held symbols move"),
        (
            ["stress", "book.json", "--history", "daily.csv", "--stretch", "x=1..2"],
            "must be two dates in order",
        ),
        (
            ["stress", "book.json", "--history", "daily.csv", "--stretch", "2020-01-01..2020-02-01"],
            "no day of the history is in",
        ),
        (["stress", "flat.toml"], "it has no [book] positions"),
        (["stress", "other.json", "--history", "daily.csv"], "the daily closes have none of ZZZ"),
        (["stress", "nan.json", "--history", "daily.csv"], "holdings_usd must be finite here"),
        *(
            ([*(["stress", "book.json", "--history", "daily.csv"]), *options.split()], said)
            for options, said in (
                ("--sigma -3", "--sigma must be above 0 and at most 100, was -3"),
                ("--sigma nan", "at most 100, was nan"),
                ("--sigma 0", "at most 100, was 0"),
                ("--sigma 1e9", "at most 100, was 1e+09"),
                ("--days 360", "has 359 daily returns, and no stretch of 360 days"),
                ("--worst 36", "at most the 35 stretches of 10 days that 359 daily returns have, was 36"),
            )
        ),
        (
            ["stress", "var.json", "--worst", "2"],
            "--worst asks for stretches of a history, and there is none",
        ),
        (["stress", "empty.csv"], "is not valid JSON"),
        (["backtest", "book.json", "--book", "book.json"], "both name a book"),
        (
            ["backtest", "book.json", "--history", "daily.csv", "--data", "x"],
            "--data names the bars of a run",
        ),
        (["backtest", ".", "--history", "daily.csv"], "has no use for --history"),
    ],
)
def test_what_cannot_be_answered_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A question that has no answer gets a sentence, not a traceback and not a number."""
    Path("flat.toml").write_text(CONFIG.replace("{ AAA = 1000, BBB = -500 }", "{}"))
    Path("other.json").write_text(json.dumps({"symbols": ["AAA", "ZZZ"], "holdings_usd": [1, 1]}))
    Path("nan.json").write_text(json.dumps({"symbols": ["AAA"], "holdings_usd": [None]}))
    Path("var.json").write_text(json.dumps(BOOK | {"covariance_daily": [[1e-4, 0.0], [0.0, 1e-4]]}))
    Path("empty.csv").write_text("")
    assert said in told(capsys, *arguments, status=2)


@pytest.mark.parametrize("text", ["", "date,symbol,close\n", "date,symbol,close\n2016-01-04,AAA,cheap\n"])
def test_a_history_that_is_none_is_named(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty file, or words in the place of prices, is a message with the file's name."""
    Path("none.csv").write_text(text)
    said = told(capsys, "stress", "book.json", "--history", "none.csv", status=3)
    assert "D014" in said
    assert "none.csv" in said


def test_a_flat_book_is_said_to_be_flat(capsys: pytest.CaptureFixture[str]) -> None:
    """Dashes without a reason look like a fault of the program; nor is a day that is unknown a flat one."""
    Path("flat.json").write_text(json.dumps(BOOK | {"holdings_usd": [0, 0]}))
    text = told(capsys, "backtest", "flat.json", "--history", "daily.csv")
    assert "every model: no day could be judged, since nothing was held at any close." in text
    assert run(["replay", "desk.toml", "--out", "one", "--set", "risk.history=none.csv"]) == 3
    assert run(["replay", "desk.toml", "--out", "two", "--set", "universe.last=2026-01-05"]) == 0
    capsys.readouterr()
    assert "no two sessions" in told(capsys, "backtest", "two")
    daily = pd.read_csv("daily.csv")
    daily[(daily["symbol"] == "AAA") | (daily["date"] > "2016-06-01")].to_csv("late.csv", index=False)
    options = ("--history", "late.csv", "--book", "book.json", "--model", "historical")
    text = told(capsys, "backtest", *options)
    assert "no day could be judged, since VaR was not known" in text
    assert "a held symbol without enough days behind it" in text
    answer = json.loads(told(capsys, "backtest", *options, "--json"))["models"]["historical"]
    assert answer["unknown_reasons"] == {"COV_MISSING_SYMBOL": answer["unknown_days"]}
    assert answer["flat_days"] == 0


def test_a_live_run_is_judged_by_its_journal(capsys: pytest.CaptureFixture[str]) -> None:
    """An exported run saw the bars of a replay, so its VaR is judged alike, wherever its journal is now."""
    Path("live.toml").write_text(
        CONFIG.replace("sessions = 4", "sessions = 3") + '[daemon]\nstate_dir = "state"\n'
    )
    config = load(Path("live.toml"))
    source = open_source(config)
    origin_day = source.first_day
    identity = Identity(hash_of(config), "astra 1", "20260105T143000Z", origin_day)
    writer = JournalWriter(Path("state/journal"), identity)
    loop = Loop(rebuild(config, identity, 0).bus, lambda *_: None, writer)
    assert isinstance(source.feed, RecordedBars)
    for columns in source.feed.columns():
        for row in range(len(columns)):
            bar = columns.bar(row)
            loop.take(bar, f"{row}")
    loop.take(Tick(bar.ts_close_ns), "")
    writer.commit()
    writer.close()
    assert run(["journal", "export", "state", "--config", "live.toml", "--out", "live"]) == 0
    assert run(["replay", "live.toml", "--out", "one"]) == 0
    capsys.readouterr()
    expected = json.loads(told(capsys, "backtest", "one", "--json"))
    assert json.loads(told(capsys, "backtest", "live", "--json")) == expected
    assert expected["models"]["gaussian"]["days"] == 2
    Path("state").rename("elsewhere")
    said = told(capsys, "backtest", "live", status=3)
    assert "no journal of the live run 20260105T143000Z" in said
    assert "with --data" in said
    assert json.loads(told(capsys, "backtest", "live", "--data", "elsewhere", "--json")) == expected


def test_the_report_says_what_each_model_cannot_know() -> None:
    """A figure without its blind spots is read as a promise."""
    words = {name: var_method({"risk": {"model": name}}) for name in REGISTRY}
    assert len(set(words.values())) == len(REGISTRY)
    assert "5 degrees of freedom" in words["student_t"]
    assert "the last 500" in words["historical"]
    assert "GARCH(1,1), 5,000 paths" in words["filtered_historical"]
    assert all("10 days" in text and "1 of 100" in text for text in words.values())
    assert var_method({}) == words["gaussian"]


def test_unknown_parts_are_not_shown_as_numbers() -> None:
    """What the summary does not know, and what an old one does not have, leaves no zero behind."""
    summary: dict[str, Any] = {
        "holding_usd": {"A": 5.0},
        "component_var_usd": {"A": None},
        "marginal_var_frac": {"A": None},
    }
    assert positions_grid(summary).rows == [["A", "$5", "unknown", "unknown", "unknown"]]
    assert positions_grid({}).rows == strategies_grid({}).rows == []


def test_one_book_in_its_three_forms_has_one_var(capsys: pytest.CaptureFixture[str]) -> None:
    """USD, shares at their prices, or a configuration at its last closes: nobody should convert by hand."""
    usd = dict(zip(SYMBOLS, read_frozen_book(Path("desk.toml"), None).holdings_usd.tolist(), strict=True))
    shares = {"AAA": 1000.0, "BBB": -500.0}
    positions = {s: {"shares": shares[s], "price_usd": usd[s] / shares[s]} for s in SYMBOLS}
    Path("usd.json").write_text(json.dumps({"symbols": [*usd], "holdings_usd": [*usd.values()]}))
    Path("positions.json").write_text(json.dumps({"positions": positions, "equity_usd": 1e6}))
    found = []
    for name in ("desk.toml", "usd.json", "positions.json"):
        assert run(["var", name, "--history", "daily.csv", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["var_analytic_usd"])
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)
    stressed = told(capsys, "stress", "positions.json", "--history", "daily.csv", "--json")
    assert json.loads(stressed)["var_usd"] == pytest.approx(found[0], rel=1e-6)


@pytest.mark.shared
@pytest.mark.skipif(not DAILY.exists(), reason="no real bars beside the project")
def test_funding_book_over_real_closes(capsys: pytest.CaptureFixture[str]) -> None:
    """A long/short book of five stocks through 2017: no model is red, the filtered one is not rejected."""
    held = {"AAPL": 415_522, "MSFT": 416_000, "JPM": -381_868, "GS": -457_070, "MS": -180_745}
    Path("fund.json").write_text(json.dumps({"symbols": [*held], "holdings_usd": [*held.values()]}))
    answer = json.loads(told(capsys, "backtest", "fund.json", "--history", str(DAILY), "--json"))
    assert {name: one["days"] for name, one in answer["models"].items()} == dict.fromkeys(REGISTRY, 234)
    assert all(one["basel"]["zone"] == "green" for one in answer["models"].values())
    assert answer["models"]["gaussian"]["exceptions"] == 3
    assert answer["models"]["filtered_historical"]["conditional_coverage"]["p_value"] > 0.05
    mean_usd = [f"${one['var_mean_usd']:,.0f}" for one in answer["models"].values()]
    table = Path(__file__).parents[2] / "docs" / "maths" / "risk_models.md"
    printed = re.findall(
        r"^\| `(\w+)` \|.*\| (\$[\d,]+) \|$", table.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert printed == list(zip(answer["models"], mean_usd, strict=True))
