"""Repo over time: each night at the rate that was known, and the number charged is the number quoted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import DataError
from engine.events import CLOSE, BarSlice, FloatArray
from feeds.yields import YieldOptions, yield_bars

CURVE = "".join(f"2024-01-0{day},3.0\n" for day in (2, 3, 4, 5))
SYMBOLS = ("UST5Y", "UST5Y.R")


def closes(tmp_path: Path, repo: str | None = None, from_ns: int | None = None, **options: Any) -> FloatArray:
    """Return the closes of the index and of its repo, one row a day."""
    (tmp_path / "curve.csv").write_text('Date,"5 YR"\n' + CURVE)
    if repo is not None:
        (tmp_path / "repo.csv").write_text(repo)
        options["repo"] = tmp_path / "repo.csv"
    feed = yield_bars(YieldOptions(path=tmp_path / "curve.csv", **options), SYMBOLS, "XNYS", from_ns=from_ns)
    return np.array([item.bars[CLOSE] for item in feed.slices() if isinstance(item, BarSlice)])


def test_a_rate_holds_from_its_day_until_the_next(tmp_path: Path) -> None:
    """The night of the 3rd is the first at 3.6%, 1 bp; the one before costs half of that."""
    found = closes(tmp_path, "Date,REPO\n2024-01-01,1.8\n2024-01-03,3.6\n2024-01-04,\n")
    assert found[:, 1].tolist() == [98.2, 96.4, 96.4, 96.4]
    earned = 1.015 ** (2.0 / 365.0)  # a par bond at an unchanged yield: it stays at par
    nights = [0.00005, 0.0001, 0.0001]
    expected = 100.0 * np.cumprod([1.0, *(earned - night for night in nights)])
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)


def test_a_rate_of_one_value_is_the_constant(tmp_path: Path) -> None:
    """Two ways to say the same must earn the same, to the last digit."""
    constant = closes(tmp_path, repo_pct=2.0)
    assert constant[:, 1].tolist() == [98.0] * 4
    for name in ("REPO", "5 YR", '"5 YR","7 YR"'):
        text = f"Date,{name}\n01/02/2024,{'2.0,9.0' if ',' in name else '2.0'}\n"
        assert closes(tmp_path, text).tolist() == constant.tolist()


def test_what_comes_before_the_first_rate(tmp_path: Path) -> None:
    """A rate of later would be hindsight: refused, unless the run begins when it is known."""
    repo = "Date,REPO\n2024-01-04,2.0\n"
    with pytest.raises(DataError, match="2 curves from 2024-01-02 on") as caught:
        closes(tmp_path, repo)
    assert caught.value.code == "D036"
    assert "2024-01-04" in str(caught.value.detail)
    from_ns = int(dt.datetime(2024, 1, 4, tzinfo=dt.UTC).timestamp()) * 1_000_000_000
    assert closes(tmp_path, repo, from_ns)[0].tolist() == [100.0, 98.0]
    with pytest.raises(DataError) as caught:
        closes(tmp_path, "Date,REPO\n2025-01-04,2.0\n")
    assert caught.value.code == "D036"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Date,RATE\n2024-01-02,2\n", "D003"),
        ('Date,"7 YR"\n2024-01-02,2\n', "D003"),
        ('Date,REPO,"5 YR"\n2024-01-02,2,2\n', "D003"),
        ("Date,REPO\n2024-01-02,two\n", "D036"),
        ("Date,REPO\nsoon,2\n2024-01-02,2\n", "D036"),
        ("Date,REPO\n2024-01-02,2\n2024-01-02,3\n", "D036"),
        ("Date,REPO\n", "D001"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, code: str) -> None:
    """Half a series would finance a book at a rate that nobody gave."""
    with pytest.raises(DataError) as caught:
        closes(tmp_path, text)
    assert caught.value.code == code


def test_an_index_is_financed_once_or_not_at_all(tmp_path: Path) -> None:
    """Two answers to one question are refused, and total return has no repo to quote."""
    with pytest.raises(ValidationError, match="keep one of the two"):
        YieldOptions(path=Path("c.csv"), repo=Path("r.csv"), repo_pct=2.0)
    with pytest.raises(DataError, match="no repo") as caught:
        closes(tmp_path)
    assert caught.value.code == "D002"
