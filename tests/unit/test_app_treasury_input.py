"""A Treasury problem whose scenarios are a file of curves: the same answer as with the yields written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.app.main import run
from engine.app.studies.treasury_input import with_yields
from engine.errors import AstraError, ConfigError

ROOT = Path(__file__).parents[2]
LEVELS = 2.0 + 0.05 * np.random.default_rng(4).standard_normal((40, 5)).round(2)


def problem(scenarios: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / "examples/treasury/five_days.json").read_text())
    return {**document, "scenarios": scenarios}


def curves(path: Path, rows: list[str] | None = None) -> None:
    """Write 40 days as the Treasury does: newest first, tenors in words, one more than is asked for."""
    lines = ['Date,"1 Mo","5 Yr","7 Yr","10 Yr","20 Yr","30 Yr"']
    for k, row in reversed(list(enumerate(LEVELS))):
        cells = ["N/A" if (k, i) == (7, 2) else f"{one:.4f}" for i, one in enumerate(row)]
        lines.append(f"{1 + k // 28:02d}/{1 + k % 28:02d}/2024,5.0," + ",".join(cells))
    path.write_text("\n".join(lines + (rows or [])) + "\n")


def inline() -> list[list[float | None]]:
    """Return the same days as they would stand in a problem file."""
    return [
        [None if (k, i) == (7, 2) else round(float(one), 4) for i, one in enumerate(row)]
        for k, row in enumerate(LEVELS)
    ]


def test_a_file_of_curves_is_the_yields_written_out(tmp_path: Path) -> None:
    """Newest row first, a blank cell, another order of columns: the program must see the same days."""
    curves(tmp_path / "curves.csv")
    given = problem({"kind": "historical", "history": "curves.csv"})
    assert with_yields(given, tmp_path) == problem({"kind": "historical", "yield_pct": inline()})
    other = {**given, "tenors": ["30 Yr", "5Y"]}
    assert with_yields(other, tmp_path)["scenarios"]["yield_pct"][0] == [inline()[0][4], inline()[0][0]]


def test_the_path_starts_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A problem and its curves move together, wherever the command is typed."""
    curves(tmp_path / "curves.csv")
    answers = []
    for name, scenarios in (
        ("file.json", {"kind": "historical", "history": "curves.csv"}),
        ("inline.json", {"kind": "historical", "yield_pct": inline()}),
    ):
        (tmp_path / name).write_text(json.dumps(problem(scenarios)))
        assert run(["optimise", str(tmp_path / name), "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert answers[0]["status"] in {"optimal", "do_not_trade"}


@pytest.mark.parametrize("document", [[], {"scenarios": 3}, problem({"kind": "normal"})], ids=range(3))
def test_what_names_no_file_is_left_to_the_solver(document: Any, tmp_path: Path) -> None:
    """Faults of other keys are told by whoever reads them, all at once."""
    assert with_yields(document, tmp_path) is document


@pytest.mark.parametrize(
    ("scenarios", "rows", "said"),
    [
        ({"history": 3}, [], "must be the path of a CSV of par yields, was 3"),
        ({"history": "curves.csv", "yield_pct": []}, [], "give one of the two"),
        ({"history": "curves.csv"}, ["03/15/2024,5,2,2,2,x,2"], "1 rows that are no curve"),
        ({"history": "curves.csv"}, ["15/15/2024,5,2,2,2,2,2"], "1 rows that are no curve"),
        ({"history": "curves.csv"}, ["01/01/2024,5,2,2,2,2,2"], "two curves of 2024-01-01"),
        ({"history": "none.csv"}, [], "cannot read none.csv"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused(
    tmp_path: Path, scenarios: dict[str, Any], rows: list[str], said: str
) -> None:
    """A change between days that are not neighbours, or of a number that is none, would be a made-up loss."""
    curves(tmp_path / "curves.csv", rows)
    with pytest.raises(AstraError, match=said):
        with_yields(problem({"kind": "historical", **scenarios}), tmp_path)


def test_a_tenor_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    """Taking another column for it would solve another problem."""
    curves(tmp_path / "curves.csv")
    document = {**problem({"kind": "historical", "history": "curves.csv"}), "tenors": ["5Y", "3Y"]}
    with pytest.raises(ConfigError, match="has no 3Y; it has 1M, 5Y, 7Y, 10Y, 20Y, 30Y"):
        with_yields(document, tmp_path)
