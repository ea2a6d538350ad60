"""The page of stated and computed figures: that it is current, that it is right, and what it refuses."""

from __future__ import annotations

import difflib
import doctest
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.figures import bars
from examples.figures.__main__ import PAGE, collected, page
from examples.figures.page import PageError, Row, Section, Table, Value, agrees, render, verdict

GOLDENS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "goldens" / "figures.json").read_text(encoding="utf-8")
)
Collected = dict[str, tuple[Section, dict[str, Value]]]


@pytest.fixture(scope="module")
def sections() -> Collected:
    """Compute everything, once."""
    return collected()


def test_the_page_is_what_astra_gives_today(sections: Collected) -> None:
    """A figure that moves must be noticed, and its reason be read again: ``make figures`` renews the page."""
    old, new = PAGE.read_text(encoding="utf-8").splitlines(), page(sections).splitlines()
    assert list(difflib.unified_diff(old, new, "docs/figures.md", "computed", lineterm="", n=0)) == []


def test_computed_figures_are_the_verified_ones(sections: Collected) -> None:
    """The page compares with what others stated, often wrongly; these were worked out apart from Astra."""
    found = {
        f"{name}.{key}": value for name, (_, values) in sections.items() for key, value in values.items()
    }
    assert GOLDENS.keys() - found.keys() == set()
    wrong = {
        key: (found[key], golden["value"])
        for key, golden in GOLDENS.items()
        if not _is_near(found[key], golden["value"], golden["abs"])
    }
    assert wrong == {}


def _is_near(value: Any, golden: Any, tolerance: float) -> bool:
    if isinstance(golden, str):
        return bool(value == golden)
    return bool(np.allclose(value, golden, rtol=0.0, atol=tolerance)) and np.shape(value) == np.shape(golden)


def test_the_bars_are_those_that_are_made(tmp_path: Path) -> None:
    """Bars of unknown making would prove nothing about the trades on them."""
    bars.main(tmp_path)
    made = sorted(tmp_path.glob("*.csv"))
    assert [path.name for path in made] == ["basis.csv", "basis_daily.csv", "drinks.csv", "together.csv"]
    assert [path.read_bytes() for path in made] == [(bars.HERE / path.name).read_bytes() for path in made]


def test_its_docstrings_are_right() -> None:
    """Examples in docstrings outside the packages are run by nobody else."""
    failed, tried = doctest.testmod(importlib.import_module("examples.figures.page"))
    assert tried
    assert failed == 0


def test_a_figure_agrees_by_its_digits_or_its_tolerance() -> None:
    """An agreement that is too easy hides what the page is for."""
    assert agrees(Row("a", "a", -47.27, "{:.2f}"), -47.2656)
    assert not agrees(Row("a", "a", -47.27, "{:.2f}"), -47.32)
    assert agrees(Row("a", "a", [1.0, 2.0], tolerance=0.1), [1.05, 2.0])
    assert not agrees(Row("a", "a", [1.0, 2.0], tolerance=0.1), [1.05, 2.2])
    assert not agrees(Row("a", "a", [1.0, 2.0], tolerance=0.1), [1.0])
    assert not agrees(Row("a", "a", 15.1, tolerance=99.0), "none")
    assert not agrees(Row("a", "a", 1.0, tolerance=1.0), float("nan"))
    assert verdict(Row("a", "a"), 1.0) == "not stated"


def one(*rows: Row) -> Section:
    """Return a section with these rows."""
    return Section("One", ["astra"], "Text.", [Table("Rows", "Text.", list(rows))])


@pytest.mark.parametrize(
    ("rows", "found", "fault"),
    [
        ([Row("a", "a", 1.0)], {}, "s: a was not computed"),
        ([Row("a", "a", 1.0)], {"a": 1.0, "b": 2.0}, "s: b was computed and has no row"),
        ([Row("a", "a", 1.0), Row("a", "a", 1.0)], {"a": 1.0}, "s: a has two rows"),
        ([Row("a", "a", 1.0)], {"a": 2.0}, r"s: a differs \(2.0\) and says no reason"),
    ],
)
def test_nothing_is_left_out_or_unexplained(rows: list[Row], found: dict[str, Value], fault: str) -> None:
    """A row without a figure, or a difference without a reason, would look like an answer."""
    with pytest.raises(PageError, match=fault):
        render("T", "P", {"s": (one(*rows), found)})


def test_a_page_counts_and_shows() -> None:
    """The three verdicts, minus nothing, several figures with one unit, and a bar inside a cell."""
    rows = [
        Row("a", "|x|", None, "{:.2f} USD"),
        Row("b", "b", 1.0, "{:.1f}"),
        Row("c", "c", 1.0, "{:.0f}", why="Because."),
    ]
    text = render("T", "P", {"s": (one(*rows), {"a": [0.251, -1e-9], "b": 1.04, "c": 2.0})})
    assert "| [One](#one) | `astra` | 1 | 1 | 1 |" in text
    assert r"| \|x\| | – | 0.25, 0.00 USD | not stated | |" in text
    assert "| c | 1 | 2 | **differs** | Because. |" in text
