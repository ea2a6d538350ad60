"""Repo in a configuration: what a strategy reckons with is what the feed charges, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.app.checks.repo_level import far_from_the_curve, repo_mistakes
from engine.app.config.load import Config, load
from engine.app.source import fingerprint_of, open_source
from engine.errors import AstraError

TEXT = """
[feed]
kind = "yields"
path = "curve.csv"
{feed}
[universe]
bar_min = 1440
[[strategy]]
kind = "treasury"
tenors = {{ UST5Y = 5, UST10Y = 10 }}
horizon_days = 30
cost_bp = 0.2
{strategy}
[allocator]
kind = "treasury"
"""
QUOTED = 'repo_suffix = ".R"'


def config_of(folder: Path, feed: str, strategy: str, repo: str = "Date,REPO\n2024-01-02,2.0\n") -> Config:
    (folder / "curve.csv").write_text('Date,"5 YR","10 YR"\n01/02/2024,-0.5,0.1\n01/03/2024,-0.7,0.1\n')
    (folder / "repo.csv").write_text(repo)
    (folder / "astra.toml").write_text(TEXT.format(feed=feed, strategy=strategy))
    return load(folder / "astra.toml")


@pytest.mark.parametrize(
    ("feed", "strategy", "what"),
    [
        ("repo_pct = 2.0", "repo_pct = 1.9", "1.9 against 2 of UST5Y, 1.9 against 2 of UST10Y"),
        ("repo_pct = { UST5Y = 2.0, UST10Y = 2.1 }", "repo_pct = 2.0", "was 2 against 2.1 of UST10Y"),
        ('repo = "repo.csv"', "repo_pct = 2.0", "must be left out"),
        ("", QUOTED, "quotes that the feed does not have"),
        ("repo_pct = 2.0", "", "neither was given"),
        ("repo_pct = 2.0", f"repo_pct = 2.0\n{QUOTED}", "both were given"),
        ('repo = "repo.csv"\nrepo_pct = 2.0', QUOTED, "keep one of the two"),
    ],
)
def test_two_rates_for_one_book_are_refused(tmp_path: Path, feed: str, strategy: str, what: str) -> None:
    """An edge after one rate and an index after another is a profit that nobody can earn."""
    with pytest.raises(AstraError, match=what):
        config_of(tmp_path, feed, strategy)


@pytest.mark.parametrize(
    ("feed", "strategy"),
    [
        ("repo_pct = 2.0", "repo_pct = { UST5Y = 2.0, UST10Y = 2.0 }"),
        ("repo_pct = 2.0", QUOTED),
        ('repo = "repo.csv"', QUOTED),
        ("", "repo_pct = 1.9"),
    ],
)
def test_what_is_charged_is_reckoned_with(tmp_path: Path, feed: str, strategy: str) -> None:
    """The same number said twice, said once, or charged by [funding]."""
    config = config_of(tmp_path, feed, strategy)
    assert ("UST5Y.R" in config.symbols) == (strategy == QUOTED)


def test_the_rates_are_part_of_what_a_run_read(tmp_path: Path) -> None:
    """A run whose rates have changed since must not pass for the same one."""
    before = fingerprint_of(config_of(tmp_path, 'repo = "repo.csv"', QUOTED))
    assert fingerprint_of(config_of(tmp_path, 'repo = "repo.csv"', QUOTED)) == before
    changed = config_of(tmp_path, 'repo = "repo.csv"', QUOTED, "Date,REPO\n2024-01-02,2.1\n")
    assert fingerprint_of(changed) != before


@pytest.mark.parametrize(
    ("feed", "strategy"), [("", "repo_pct = 2.0"), ('repo = "repo.csv"', QUOTED), ("repo_pct = 2.0", QUOTED)]
)
def test_a_nominal_rate_against_real_yields_is_minded(tmp_path: Path, feed: str, strategy: str) -> None:
    """Repo of 2% against -0.6 and 0.1%: short everything for ever is an error of units, and no view."""
    config = config_of(tmp_path, feed, strategy)
    (found,) = repo_mistakes(config, open_source(config))
    assert found.text.startswith(
        "treasury: repo of 2.00% is above every yield (-0.60 to 0.10%), by 1.90 points"
    )


def test_only_a_rate_beyond_every_tenor_is_minded() -> None:
    """A steep curve has tenors on both sides of repo; a point of carry is a desk's business."""
    curve = np.array([[1.0, 4.0], [np.nan, 9.0], [1.2, 4.2]])
    for repo_pct, sides in ((3.0, []), (0.2, []), (0.0, ["below"]), (5.0, []), (5.2, ["above"])):
        found = [one.text for one in far_from_the_curve("s", curve, np.full((3, 2), repo_pct))]
        assert [
            side for side in ("above", "below") if any(f"is {side} every" in text for text in found)
        ] == sides
    assert list(far_from_the_curve("s", curve[1:2], np.zeros((1, 2)))) == []
