"""``astra frontier``: tables, pictures and thresholds of one problem, as a user gets them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from engine.app.main import run
from engine.app.studies.frontier_charts import Axis, legend_series
from engine.app.studies.problem_input import with_covariance
from engine.errors import ConfigError

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "optimiser.json").read_text())
PROBLEM: dict[str, Any] = {
    "allocator": "mean_variance",
    "symbols": ["<b>", "2", "3", "4", "5", "6"],
    "expected_return_frac": GOLDENS["MU"],
    "covariance": GOLDENS["S"],
    "held_frac": [0, 0, 0, 0, 0, 1],
    "cost_frac": 0.0005,
    "risk_aversion": 15.0,
    "trade_aversion": 0.0,
    "gross_max_frac": 1.0,
    "long_only": True,
}


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Make one study; return its folder and the document that was printed."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "six.json").write_text(json.dumps(PROBLEM))
    said = io.StringIO()
    grids = ["--risk-aversion", "1:100:6", "--trade-aversion", "20:4000:6"]
    with contextlib.redirect_stdout(said):
        assert run(["frontier", str(folder / "six.json"), *grids, "--json"]) == 0
    return folder / "six-frontier", json.loads(said.getvalue())


def typed(*arguments: str, **changes: Any) -> int:
    Path("six.json").write_text(json.dumps({**PROBLEM, **changes}))
    return run(["frontier", "six.json", *arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_tables_and_pictures_that_agree(made: tuple[Path, dict[str, Any]]) -> None:
    """A picture of other numbers than the table beside it is worse than none."""
    folder, document = made
    frontier, weights, trades = (
        rows_of(folder / f"{name}.csv") for name in ("frontier", "weights", "trades")
    )
    assert (len(frontier), len(weights), len(trades)) == (6, 6, 6)
    assert [float(row["risk_aversion"]) for row in frontier] == pytest.approx(np.geomspace(1.0, 100.0, 6))
    first = np.array([float(value) for value in list(weights[0].values())[1:]])
    assert first.tolist() == document["frontier"][0]["weights_frac"]
    assert float(frontier[0]["expected_return_frac"]) == pytest.approx(np.array(GOLDENS["MU"]) @ first)
    variance = first @ np.array(GOLDENS["S"]) @ first
    assert float(frontier[0]["volatility_frac"]) == pytest.approx(variance**0.5)
    last = [float(value) for value in list(trades[-1].values())[1:]]
    assert last == [0.0] * 6
    assert document["no_trade_aversion"] == pytest.approx(2126.5768565, rel=1e-8)
    assert [row["subject"] for row in rows_of(folder / "thresholds.csv")] == [
        one["subject"] for one in document["thresholds"]
    ]
    page = (folder / "frontier.html").read_text()
    for name in ("frontier", "weights", "weights_by_trade_aversion", "trades"):
        svg = (folder / f"{name}.svg").read_text()
        ET.fromstring(svg)  # noqa: S314 - our own
        assert svg in page


def test_the_page_is_inert_and_escapes_names(made: tuple[Path, dict[str, Any]]) -> None:
    """A symbol is text from a file; a page that runs it, or loads anything, runs whatever the file says."""
    folder, _ = made
    for path in folder.glob("*.[hs]*"):
        text = path.read_text()
        assert "<b>" not in text, path
        assert "<script" not in text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "&lt;b&gt;" in (folder / "weights.svg").read_text()


def test_thresholds_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal answers the question without opening a file."""
    assert typed("--risk-aversion", "14:16:2", "--trade-aversion", "2000:2200:2") == 0
    out = capsys.readouterr().out
    assert re.search(r"risk aversion +15\.17402165 +gross +goes slack", out)
    assert "nothing is traded from a trade aversion of 2126.57685" in out


def test_free_trading_has_no_trade_aversion_to_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    """Without costs no trade aversion changes anything, and no chart claims that one does."""
    assert typed("--risk-aversion", "1:100:4", "--json", cost_frac=0.0) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["trades"], document["no_trade_aversion"]) == ([], None)
    assert not (Path("six-frontier") / "trades.csv").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"expected_return_frac": [0.0] * 6, "held_frac": [0.0] * 6},  # the best book is empty everywhere
        {"allocator": "multi_period", "steps": 2, "cost_frac": 0.0},
        {"symbols": ["A"], "expected_return_frac": [0.1], "covariance": [[0.04]], "held_frac": [0.0]},
    ],
)
def test_dull_and_long_problems_have_a_page_too(changes: dict[str, Any]) -> None:
    """A scale without extent, or a plan of several steps, must not end in a traceback."""
    assert typed("--risk-aversion", "5:50:3", "--trade-aversion", "1:50:3", **changes) == 0
    page = (Path("six-frontier") / "frontier.html").read_text()
    assert "nan" not in page


def test_nothing_is_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    """The study of yesterday's file is not lost to today's."""
    short = ("--risk-aversion", "1:4:3")
    assert typed(*short, cost_frac=0.0) == 0
    assert typed(*short, cost_frac=0.0) == 2
    assert "error[C012]" in capsys.readouterr().err
    assert typed(*short, "--out", "again", cost_frac=0.0) == 0


@pytest.mark.parametrize(
    ("arguments", "changes", "code"),
    [
        (("--risk-aversion", "1:0.1:5"), {}, "C013"),
        (("--trade-aversion", "1:10"), {}, "C013"),
        (("--risk-aversion", "1:10:1"), {}, "C013"),
        ((), {"allocator": "min_variance"}, "C020"),
        ((), {"allocator": "treasury", "symbols": None, "tenors": ["5Y"]}, "C020"),
        ((), {"covariance": None, "risk_aversion": 0.0}, "C020"),
        ((), {"name_max_frac": 0.1, "fully_invested": True}, "C022"),
    ],
)
def test_bad_input_is_an_error_and_leaves_no_folder(
    arguments: tuple[str, ...], changes: dict[str, Any], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A half-written folder would be taken for a result."""
    assert typed(*arguments, **changes) == 2
    assert f"error[{code}]" in capsys.readouterr().err
    assert not Path("six-frontier").exists()


def test_beyond_eight_symbols_the_smallest_are_summed_up() -> None:
    """A colour that cannot be told from another is no legend; nothing may vanish from the stack."""
    table = np.arange(24.0).reshape(2, 12)
    series = legend_series([f"S{k}" for k in range(12)], table)
    assert [one.label for one in series] == ["S5", "S6", "S7", "S8", "S9", "S10", "S11", "5 others"]
    assert sum(one.values for one in series) == pytest.approx(table.sum(axis=1))


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("x", 0.0, 1.0, 0.0, 100.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis("x", 0.05, 200.0, 0.0, 100.0, is_log=True), [0.1, 1.0, 10.0, 100.0]),
    ],
)
def test_ticks_are_round(axis: Axis, ticks: list[float]) -> None:
    """A scale of 0.137, 0.274 cannot be read."""
    assert axis.ticks() == pytest.approx(ticks)
    assert all(0.0 <= axis.px(tick) <= 100.0 for tick in ticks)


def test_a_covariance_is_estimated_from_the_history_of_the_file() -> None:
    """Half-life 1 and two days weigh 1/3 and 2/3; a tenth is shrunk unless the file says otherwise."""
    document = {"history_return_frac": [[0.03, 0.0], [0.0, 0.03]], "covariance_half_life": 1.0}
    found = with_covariance({**document, "covariance_shrink_frac": 0.0})
    assert found["covariance"] == pytest.approx(np.diag([3e-4, 6e-4]))
    assert "covariance_half_life" not in found
    shrunk = with_covariance(document)["covariance"]
    assert shrunk == pytest.approx(np.diag([0.9 * 3e-4 + 0.45e-4, 0.9 * 6e-4 + 0.45e-4]))
    assert with_covariance({"symbols": ["A"]}) == {"symbols": ["A"]}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"covariance_half_life": 5.0}, "history_return_frac"),
        ({"covariance_half_life": 0.0, "history_return_frac": [[0.1]]}, "covariance_half_life"),
        ({"covariance_half_life": 5.0, "history_return_frac": [[0.1], [0.1, 0.2]]}, "history_return_frac"),
        ({"covariance_half_life": 5.0, "history_return_frac": [["x"]]}, "history_return_frac"),
        ({"covariance_half_life": 5.0, "covariance": [[1.0]]}, "covariance_half_life"),
        ({"covariance_shrink_frac": 0.1}, "covariance_shrink_frac"),
        (
            {"covariance_half_life": 5.0, "covariance_shrink_frac": 2, "history_return_frac": [[0.1]]},
            "covariance_shrink_frac",
        ),
        ([1], ""),
    ],
)
def test_an_estimate_that_cannot_be_made_names_its_field(document: Any, field: str) -> None:
    """An estimate from nothing would be a covariance that somebody trusts."""
    with pytest.raises(ConfigError) as caught:
        with_covariance(document)
    assert (caught.value.code, caught.value.where) == ("C020", field)
