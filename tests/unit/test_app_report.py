"""The tear sheet: complete, self-contained, deterministic, safe against what stands in a run folder."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.app.report.charts import extremes, spans
from engine.app.report.page import write_report
from engine.errors import DataError
from tests.support.run_folders import (
    CONFIG,
    EVIL,
    empty_run,
    page_of,
    put,
    stamps,
    traded_run,
)


def test_same_run_same_bytes(tmp_path: Path) -> None:
    """A report that changes by itself cannot be compared or archived by its hash."""
    folder = traded_run(tmp_path / "run")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    link = tmp_path / "latest"
    link.symlink_to(folder)
    assert write_report(link).read_bytes() == first
    assert not (folder / "report.html.part").exists()


def test_wall_clock_stays_out(tmp_path: Path) -> None:
    """Two replays of one configuration differ only in speed, and their reports must not show it."""
    slow, quick = (empty_run(tmp_path / n / "run", seconds=s) for n, s in (("a", 9.0), ("b", 1.0)))
    assert write_report(slow).read_bytes() == write_report(quick).read_bytes()


def test_page_asks_the_network_for_nothing(tmp_path: Path) -> None:
    """A tear sheet is mailed and archived: whatever it fetched would break, or tell somebody who reads it."""
    text, page = page_of(traded_run(tmp_path / "run"))
    fetched = [v for _, name, v in page.attributes if name in {"src", "srcset", "action", "data", "poster"}]
    links = [v for _, name, v in page.attributes if name == "href"]
    assert fetched == []
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert "@import" not in text
    assert "url(" not in text


def test_policy_names_exactly_the_scripts_of_the_page(tmp_path: Path) -> None:
    """A wrong hash leaves the charts blank; a missing policy would run whatever slipped into the page."""
    text, page = page_of(traded_run(tmp_path / "run"))
    policy = next(v for tag, name, v in page.attributes if tag == "meta" and name == "content" and "src" in v)
    bodies = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [hashlib.sha256(body.encode()).digest() for body in bodies]
    expected = [f"'sha256-{base64.b64encode(d).decode()}'" for d in digests]
    assert len(bodies) == 2
    assert policy.endswith("script-src " + " ".join(expected))
    assert policy.startswith("default-src 'none';")


def test_symbols_alerts_and_configuration_are_escaped(tmp_path: Path) -> None:
    """A symbol comes from a data file: it must not become code in the reader's browser."""
    folder = traded_run(tmp_path / "run", symbol=EVIL)
    (folder / "config.toml").write_text(CONFIG + f"# {EVIL} </pre>\n")
    text, page = page_of(folder)
    assert EVIL not in text
    assert page.has(EVIL)
    assert page.tags.count("script") == 3
    assert page.tags.count("pre") == 2


def test_key_figures_and_why_there_is_no_sharpe(tmp_path: Path) -> None:
    """A reader decides on these; three sessions carry no Sharpe ratio and the page must say so."""
    _, page = page_of(traded_run(tmp_path / "run"))
    assert page.has("Sharpe ratio", "not shown", "3 sessions (needs 20)")
    assert page.has("Max drawdown", "0.120%")
    assert page.has("Funding", "-$41")
    # 2 x (1,000 x 110 + 1,500 x 75) = 445,000 USD; 120 / 445,000 = 2.70 bp.
    assert page.has("Costs", "$120", "2.70 bp of $445,000 traded")
    assert page.has("Halts", "1", "ended HALTED")
    assert page.has("Data fingerprint", "f1de")
    assert page.has("Digest", "d1ge57")
    assert page.has("Exit reason", "end of data")
    assert page.has("PAPER")


def test_a_halt_parts_the_profit(tmp_path: Path) -> None:
    """What a book earned that nobody steered must not pass for the merit of its rules."""
    folder = traded_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    halted = {"first": "2026-01-06T15:00:00Z", "pnl_before_usd": 100.0, "pnl_since_usd": 600.0}
    summary["halted"] = halted | {"pnl_halted_usd": 550.0}
    (folder / "summary.json").write_text(json.dumps(summary))
    _, page = page_of(folder)
    assert page.has("P&L before the halt", "+$100", "first halted at 2026-01-06T15:00:00Z")
    assert page.has(
        "P&L since the halt", "+$600", "+$550 of it while halted: of what was held, nothing decided"
    )


def test_sharpe_is_shown_with_its_error(tmp_path: Path) -> None:
    """From 20 sessions on the ratio comes with the error that makes it modest: sqrt(98280 / 599) = 12.81."""
    _, page = page_of(traded_run(tmp_path / "run", sessions=20))
    value = page.words[page.words.index("Sharpe ratio") + 1 :]
    assert re.fullmatch(r"-?\d+\.\d\d ± 12\.81", next(word for word in value if word))


def test_signals_by_spread_hold_session_minutes(tmp_path: Path) -> None:
    """A position over a night is not held for 18 hours of trading: 5 minutes and 10 minutes make 7.5."""
    _, page = page_of(traded_run(tmp_path / "run"))
    assert page.has("JPM/C", "kalman", "1", "1", "2", "7.5", "FLAT")


def test_trading_by_symbol(tmp_path: Path) -> None:
    """Costs are explained by what was traded: 2 x 110,000 USD of JPM for 60 USD is 2.73 bp."""
    _, page = page_of(traded_run(tmp_path / "run"))
    assert page.has("JPM", "2", "$220,000", "0.22×", "$60", "2.73")


def test_refusals_are_counted_by_reason(tmp_path: Path) -> None:
    """Why the optimiser did not trade is the first question after a quiet run."""
    _, page = page_of(traded_run(tmp_path / "run"))
    assert page.has("refused", "halted", "2")
    assert page.has("approved", "none", "1")


def test_states_are_words_and_spans(tmp_path: Path) -> None:
    """Who cannot tell red from green must still find the halt: 5 bars reducing, then 10 halted."""
    _, page = page_of(traded_run(tmp_path / "run"))
    assert page.has("2018-02-22 09:46", "REDUCING", "2018-02-22 09:51", "5")
    assert page.has("2018-02-22 09:51", "HALTED", "end of the run", "10")


def test_bars_balance_or_the_page_says_they_do_not(tmp_path: Path) -> None:
    """Every bar is accounted for; a hole in the account must not look like a tidy table."""
    _, page = page_of(empty_run(tmp_path / "sound"))
    assert page.has("Received", "1,000")
    assert page.has("Rejected: DUPLICATE", "7")
    assert page.has("Every bar is accounted for.")
    _, page = page_of(empty_run(tmp_path / "hole", accepted=900))
    assert page.has("DOES NOT BALANCE: 90 bars are not accounted for.")


def test_notes_are_explained(tmp_path: Path) -> None:
    """A weakly identified noise is a choice, and the reader should know it was made."""
    _, page = page_of(traded_run(tmp_path / "run"))
    meaning = "the likelihood is flat or at an edge: this noise is a choice, not a measurement"
    assert page.has("JPM/C", "kalman", "weakly identified", meaning, "delta 1e-09")


def test_run_without_a_book(tmp_path: Path) -> None:
    """Signals only: a P&L of zero would be a claim, so none is made."""
    text, page = page_of(empty_run(tmp_path / "run"))
    assert page.has("Book", "none kept")
    assert not page.has("P&L")
    assert not page.has("no bars")
    assert "No risk was measured" in text
    assert "There was no alert." in text
    assert '<script type="application/json" id="chart-data">[]</script>' in text


def test_run_that_never_traded(tmp_path: Path) -> None:
    """A flat book gives flat lines and figures of zero, not an error."""
    folder = empty_run(tmp_path / "run", sessions=1)
    ts = stamps(1, 30)
    put(folder, "book", [(t, 1e6, 1e6, 0.0, 0.0, 0.0, 0.0) for t in ts])
    put(folder, "risk", [(t, 0.0, 0.0, 0.0, 0.0, "ACTIVE", 15e4) for t in ts])
    text, page = page_of(folder)
    assert page.has("P&L", "+$0")
    assert page.has("Turnover", "0.00×")
    assert page.has("Round trips", "0")
    assert "Nothing was traded." in text
    assert "Trading was ACTIVE throughout." in text


def test_unknown_var_leaves_a_gap_and_is_said(tmp_path: Path) -> None:
    """UNKNOWN is a state: a line drawn through it would pretend to a measurement."""
    folder = traded_run(tmp_path / "run")
    ts = stamps(3, 30)
    nan = float("nan")
    rows = [(t, *([nan] * 4 if 10 <= k < 13 else [5e4] * 4), "ACTIVE", 15e4) for k, t in enumerate(ts)]
    put(folder, "risk", rows)
    text, page = page_of(folder)
    data = json.loads(re.search(r'id="chart-data">(.*?)</script>', text).group(1))  # type: ignore[union-attr]
    var = next(chart for chart in data if chart["id"] == "var")
    assert var["lines"][0]["values"][9:14] == [50_000.0, None, None, None, 50_000.0]
    assert any("VaR was unknown on 3 bars." in word for word in page.words)


def test_the_limit_that_was_in_force_is_drawn(tmp_path: Path) -> None:
    """An operator may change it: a line at the configured one would show breaches that were none."""
    folder = traded_run(tmp_path / "run")
    ts = stamps(3, 30)
    limits = [150_000.0 if k < 40 else 60_000.0 for k in range(len(ts))]
    rows = [(t, 4e4, 4e4, 5e4, 5e4, "ACTIVE", limit) for t, limit in zip(ts, limits, strict=True)]
    put(folder, "risk", rows)
    text, page = page_of(folder)
    data = json.loads(re.search(r'id="chart-data">(.*?)</script>', text).group(1))  # type: ignore[union-attr]
    var = next(chart for chart in data if chart["id"] == "var")
    line = next(line for line in var["lines"] if line["label"] == "Limit")
    assert dict(zip(var["row"], line["values"], strict=True)) == dict(enumerate(limits))
    assert any("began at $150,000, was changed 1 time, and ended at $60,000" in word for word in page.words)
    assert page.has("33%")  # of the first session, of the limit of then
    assert page.has("83%")


def test_a_folder_of_an_earlier_version_has_the_configured_limit(tmp_path: Path) -> None:
    """Columns are added; a report of what was kept before must still be made."""
    folder = traded_run(tmp_path / "run")
    path = folder / "risk.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["var_limit_usd"]), path)
    _, page = page_of(folder)
    assert any("The limit was $150,000." in word for word in page.words)


def test_z_leaves_out_session_openings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bar of a session is seven times as wide and would hide whether the noise is right."""
    folder = empty_run(tmp_path / "run")
    # Openings at 50; the others alternate 1 and -1: 8 bars, sd = sqrt(8 / 7) = 1.069.
    z = [50.0, 1.0, -1.0, 1.0, -1.0] * 2
    rows = [(t, "kalman", "JPM/C", 1.0, 0.0, 0.0, 1.0, v) for t, v in zip(stamps(2, 5), z, strict=True)]
    put(folder, "trace", rows)
    text, page = page_of(folder)
    assert page.has("JPM/C", "kalman", "8", "1.069", "0.0%")
    assert text.count("<rect ") == 2
    # The same when a session goes over the border of a batch.
    monkeypatch.setattr("engine.app.report.data._BATCH_ROWS", 3)
    assert page_of(folder)[0] == text


def test_accessible_skeleton(tmp_path: Path) -> None:
    """Landmarks, named charts, and headed tables are what a screen reader walks by."""
    _, page = page_of(traded_run(tmp_path / "run"))
    for tag in ("header", "nav", "main", "footer", "h1"):
        assert page.tags.count(tag) == 1
    charts = [v for tag, name, v in page.attributes if name == "aria-label" and tag == "div" and "began" in v]
    assert len(charts) == 2
    assert page.tags.count("caption") == page.tags.count("table") == page.tags.count("thead")
    assert ("html", "lang", "en") in page.attributes
    assert not [tag for tag, name, _ in page.attributes if name == "style" or name.startswith("on")]


def test_long_run_stays_small(tmp_path: Path) -> None:
    """A year of minutes must open at once: under 600 kB."""
    text, page = page_of(traded_run(tmp_path / "run", sessions=252, minutes=390))
    assert len(text.encode()) < 600_000
    # 252 sessions are more than a page holds: they are told by month.
    assert page.has("Month")


@pytest.mark.parametrize("name", ["run.json", "summary.json"])
def test_not_a_run_folder(tmp_path: Path, name: str) -> None:
    """A folder that is no run gets a sentence, not a traceback and not half a report."""
    folder = empty_run(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"it has no {name}") as caught:
        write_report(folder)
    assert caught.value.code == "D011"
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    "name", ["run.json", "config.toml", "alerts.jsonl", "book.parquet", "risk.parquet", "trace.parquet"]
)
def test_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    """A report over a damaged table would mislead; the error says which file it is."""
    folder = empty_run(tmp_path / "run")
    (folder / name).write_bytes(b"\xff{ not what it was")
    with pytest.raises(DataError, match=f"{name} could not be read") as caught:
        write_report(folder)
    assert caught.value.code == "D013"


def test_missing_column_is_named(tmp_path: Path) -> None:
    """A table of another version is refused by the name of what it lacks."""
    folder = empty_run(tmp_path / "run")
    table = pq.read_table(folder / "book.parquet").drop_columns(["equity_usd"])
    pq.write_table(table, folder / "book.parquet")
    with pytest.raises(DataError) as caught:
        write_report(folder)
    assert "no column equity_usd" in caught.value.detail


def test_extremes_survive_thinning() -> None:
    """The one bad minute of a year is what a reader looks for: thinning must keep it, and gaps."""
    values = np.random.default_rng(0).normal(size=100_000)
    values[54_321] = -40.0
    values[67_890] = 40.0
    values[12_345] = np.nan
    rows = extremes(values, 2_000)
    assert {0, 12_345, 54_321, 67_890, 99_999} <= set(rows.tolist())
    assert len(rows) <= 2_003
    assert (np.diff(rows) > 0).all()


def test_spans_cover_every_row_that_is_not_active() -> None:
    """A halt that is not drawn did not happen, for the reader."""
    states = np.random.default_rng(1).choice(["ACTIVE", "REDUCING", "HALTED"], 500).tolist()
    covered = {row: span.state for span in spans(states) for row in range(span.start, span.stop)}
    assert covered == {row: state for row, state in enumerate(states) if state != "ACTIVE"}


def test_vendored_files_are_those_that_were_published() -> None:
    """Code that runs in a reader's browser is pinned by its hash."""
    folder = resources.files("engine.app.report").joinpath("vendor/uplot")
    sums = folder.joinpath("SHA256SUMS").read_text(encoding="utf-8").splitlines()
    named = dict(reversed(line.split("  ")) for line in sums)
    assert set(named) == {"LICENSE", "uPlot.iife.min.js", "uPlot.min.css"}
    for name, digest in named.items():
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest
