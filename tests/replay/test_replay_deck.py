"""The ASTRA deck, replayed: its book, its funding, its limits, and its optimiser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.app.config.load import load
from engine.app.replay.run import RunResult, replay
from engine.app.terminal import Silent
from strategies.allocators.problem_file import optimise

ROOT = Path(__file__).resolve().parents[2]
DECK = ROOT / "examples" / "deck"


def play(folder: Path, *changes: str) -> RunResult:
    config = load(ROOT / "config" / "astra.toml", ["feed.sessions=5", *changes])
    return replay(config, out=folder, commands=None, argv=[], listener=Silent())


def test_the_optimiser_brings_the_deck_under_its_caps(tmp_path: Path) -> None:
    """Gross begins at 2.12 of equity, above the deck's own cap of 2: the first rebalance brings it under."""
    result = play(tmp_path / "run", "allocator.kind=mean_variance")
    book = pd.read_parquet(tmp_path / "run" / "book.parquet")
    risk = pd.read_parquet(tmp_path / "run" / "risk.parquet")
    assert book["gross_usd"][0] == pytest.approx(2_117_365, rel=0.005)
    assert book["net_usd"][0] == pytest.approx(78_000, abs=15_000)
    assert (book["gross_usd"] / book["equity_usd"])[60:].max() <= 2.01
    assert (book["net_usd"].abs() / book["equity_usd"])[60:].max() <= 0.06
    assert 90_000 < risk["var_usd"][0] < 135_000
    assert result.summary["state"] == "ACTIVE"
    assert result.summary["signals"] > 20
    assert '"id":"spread-0-beta"' in (tmp_path / "run" / "report.html").read_text()


def test_the_deck_as_it_ships_shows_the_deck(tmp_path: Path) -> None:
    """The opening book stays: some $41 a night go, VaR is near the deck's, no leg of it is ever traded."""
    result = play(tmp_path / "run")
    book = pd.read_parquet(tmp_path / "run" / "book.parquet")
    risk = pd.read_parquet(tmp_path / "run" / "risk.parquet")
    assert risk["var_usd"].between(90_000, 135_000).all()  # the deck prints $118,595
    assert (book["gross_usd"] / book["equity_usd"]).min() > 2.0
    assert result.summary["funding_usd"] < -150.0
    funding = book["funding_usd"].to_numpy()
    nights = np.unique(funding)[::-1]
    assert -50.0 < nights[1] < -35.0
    fills = pd.read_parquet(tmp_path / "run" / "fills.parquet")
    assert set(fills["symbol"]) == {"JPM", "C"}
    assert result.summary["fills"] > 0


def test_what_the_deck_prints_has_the_empty_book_as_its_optimum() -> None:
    """Caps alone ask for nothing: the least variance under them is none."""
    answer = optimise(json.loads((DECK / "as_printed.json").read_text()))
    assert answer["status"] == "optimal"
    assert np.abs(answer["weights_frac"]).max() < 1e-9


def test_a_return_target_gives_the_shape_of_its_answer() -> None:
    """Gross 2.00, net 5.00%, and one short, which must then be (2 - 0.05) / 2: the -0.975 of the deck."""
    document = json.loads((DECK / "target_return.json").read_text())
    answer = optimise(document)
    weights = dict(zip(document["symbols"], answer["weights_frac"], strict=True))
    assert answer["gross_frac"] == pytest.approx(2.0, abs=1e-6)
    assert answer["net_frac"] == pytest.approx(0.05, abs=1e-6)
    assert [symbol for symbol, w in weights.items() if w < -1e-6] == ["MSFT"]
    assert weights["MSFT"] == pytest.approx(-0.975, abs=1e-6)
    assert {symbol for symbol, w in weights.items() if w > 1e-6} == {"GS", "GOOGL"}
    assert {"gross", "net", "return"} <= set(answer["binding"])


def test_fully_invested_least_variance_is_long_only() -> None:
    """The deck's other allocation, 37% in each of two names, adds up to one and has no short."""
    answer = optimise(json.loads((DECK / "min_variance.json").read_text()))
    assert answer["net_frac"] == pytest.approx(1.0)
    assert min(answer["weights_frac"]) > -1e-9
