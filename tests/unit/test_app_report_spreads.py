"""Charts of single spreads in a report: what is drawn, what is marked, and what is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.run_folders import CONFIG, empty_run, page_of, put, stamps

NAN = float("nan")
STRATEGY = '\n[[strategy]]\nkind = "kalman_pairs"\nname = "kalman"\npairs = ["JPM/C"]\nentry_z = 2.5\n'


def traced(folder: Path, n_spreads: int = 1, minutes: int = 40) -> Path:
    """Write a run of signals only: beta grows, z moves from its fifth bar on."""
    empty_run(folder)
    (folder / "config.toml").write_text(CONFIG + STRATEGY)
    ts = stamps(1, minutes)
    rows = [
        (t, "kalman", f"S{k}/C", 100.0 if m < 4 else 1.0 + m / 100, 0.0, 7.0 if m < 4 else 0.1 * m, 1.0, z)
        for m, t in enumerate(ts)
        for k in range(n_spreads)
        for z in (NAN if m < 4 else float(m % 7 - 3),)
    ]
    put(folder, "trace", rows)
    signals = [(ts[9], "LONG"), (ts[20], "FLAT"), (ts[30], "SHORT")]
    put(folder, "signals", [(t, "kalman", "S0/C", side, 2.1, 1.3, 0.001) for t, side in signals])
    return folder


def charts_of(folder: Path) -> dict[str, dict[str, Any]]:
    text, _ = page_of(folder)
    found = re.search(r'id="chart-data">(.*?)</script>', text)
    assert found is not None
    return {chart["id"]: chart for chart in json.loads(found.group(1))}


def test_beta_spread_and_z_with_signals(tmp_path: Path) -> None:
    """The three lines that explain an entry, with the entry on them and the threshold it passed."""
    charts = charts_of(traced(tmp_path / "run"))
    assert list(charts) == ["spread-0-beta", "spread-0-innovation", "spread-0-z"]
    z = charts["spread-0-z"]
    assert z["marks"] == [[9, -1.0, "LONG"], [20, 3.0, "FLAT"], [30, -1.0, "SHORT"]]
    assert [(line["label"], line["values"]) for line in z["lines"][1:]] == [
        ("Short beyond", 2.5),
        ("Long beyond", -2.5),
    ]
    assert charts["spread-0-beta"]["marks"] == []
    assert "Marked are 3 signals: ▲ long, ▼ short, ○ flat." in z["alt"]


def test_the_start_of_the_filter_is_left_out(tmp_path: Path) -> None:
    """A filter that comes from nowhere would set the scale, and all that follows would look flat."""
    beta = charts_of(traced(tmp_path / "run"))["spread-0-beta"]
    assert beta["lines"][0]["values"][:5] == [None] * 4 + [1.04]
    assert beta["alt"] == "It began at 1.04 and ended at 1.39; lowest 1.04, highest 1.39."


def test_marks_survive_thinning(tmp_path: Path) -> None:
    """A signal on a bar that is not drawn would float beside the line."""
    z = charts_of(traced(tmp_path / "run", minutes=3_000))["spread-0-z"]
    assert len(z["row"]) < 1_100
    drawn = dict(zip(z["row"], z["lines"][0]["values"], strict=True))
    assert [drawn[row] for row, _, _ in z["marks"]] == [value for _, value, _ in z["marks"]]


def test_a_page_has_three_spreads_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a hundred pairs must open at once; a batch that ends within a bar changes nothing."""
    folder = traced(tmp_path / "run", n_spreads=5)
    charts = charts_of(folder)
    assert [name for name in charts if name.endswith("-z")] == ["spread-0-z", "spread-1-z", "spread-2-z"]
    assert charts["spread-1-z"]["marks"] == []
    monkeypatch.setattr("engine.app.report.data._BATCH_ROWS", 7)
    assert charts_of(folder) == charts


def test_what_was_never_known_is_not_drawn(tmp_path: Path) -> None:
    """An outright has no beta: an empty chart would ask for an explanation."""
    folder = traced(tmp_path / "run")
    put(folder, "trace", [(t, "kalman", "S0/C", NAN, NAN, NAN, NAN, 1.0) for t in stamps(1, 5)])
    assert list(charts_of(folder)) == ["spread-0-z"]
    put(folder, "trace", [(t, "kalman", "S0/C", t / 1e18, NAN, NAN, NAN, NAN) for t in stamps(1, 5)])
    assert list(charts_of(folder)) == ["spread-0-beta"]


def test_z_in_basis_points_is_said_and_not_held_against_a_normal_curve(tmp_path: Path) -> None:
    """A mispricing of 37 bp is no event of 37 standard deviations; a ratio that is fixed needs no chart."""
    folder = traced(tmp_path / "run")
    basis = STRATEGY.replace("kalman_pairs", "basis").replace("entry_z = 2.5", "")
    (folder / "config.toml").write_text(CONFIG + basis)
    put(folder, "trace", [(t, "kalman", "S0/C", 10.0, 0.0, 1.0, 1.0, 37.0) for t in stamps(1, 5)])
    charts = charts_of(folder)
    titles = {name: chart["title"] for name, chart in charts.items()}
    assert titles == {
        "spread-0-innovation": "S0/C: spread",
        "spread-0-z": "S0/C: z in bp, and signals",
    }
    text, page = page_of(folder)
    assert "<figcaption>Distribution of z" not in text
    assert page.has("4", "0.000 bp")  # 5 bars, of which one opens the session


def test_daily_bars_have_no_openings_to_leave_out(tmp_path: Path) -> None:
    """A session of one bar is not an opening without a day: z would have no rows."""
    folder = traced(tmp_path / "run")
    daily = CONFIG.replace("[universe]", "[universe]\nbar_min = 1440")
    assert daily != CONFIG
    (folder / "config.toml").write_text(daily + STRATEGY)
    put(folder, "trace", [(t, "kalman", "S0/C", 1.0, 0.0, 1.0, 1.0, 1.0) for t in stamps(4, 1)])
    text, page = page_of(folder)
    assert page.has("S0/C", "kalman", "4", "0.000", "0.0%")
    assert "first bar of each session" not in text
