"""What each strategy earned: by hand from small tables, and adding up to the book of a whole run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.app.config.load import load, parse
from engine.app.replay.attribution import curve_figures, strategies_of
from engine.app.replay.run import replay
from engine.app.terminal import Silent
from engine.app.terminal_text import closing
from tests.support.run_folders import DAY, MINUTE, OPEN_NS, empty_run, page_of, put, traded_run

ROOT = Path(__file__).resolve().parents[2]
CONFIG = parse('[feed]\nkind = "simulated"\n[[strategy]]\nkind = "kalman_pairs"\npairs = ["A/B"]\n', Path())
CLOSES = [OPEN_NS + 390 * MINUTE + d * DAY for d in range(2)]


def figures(folder: Path, sleeves: list[tuple[Any, ...]], trades: list[tuple[Any, ...]]) -> dict[str, Any]:
    folder.mkdir()
    put(folder, "sleeves", sleeves)
    put(folder, "trades", trades)
    return strategies_of(folder, CONFIG)["strategies"]


def test_sleeves_add_up_by_strategy_and_session(tmp_path: Path) -> None:
    """a: 300 - 100 = 200, then 500; b alone; the opening book's own names under ``book``."""
    sleeves = [
        (CLOSES[0], "a", "X/Y", 9e3, 300.0, 10.0, 4e3),
        (CLOSES[0], "a", "V/W", 0.0, -100.0, 5.0, 1e3),
        (CLOSES[0], "b", "X/Y", 0.0, 40.0, 1.0, 500.0),
        (CLOSES[0], "", "Z", 70.0, 7.0, 0.0, 70.0),
        (CLOSES[1], "a", "X/Y", 9e3, 600.0, 20.0, 6e3),
        (CLOSES[1], "a", "V/W", 0.0, -100.0, 5.0, 1e3),
        (CLOSES[1], "b", "X/Y", 0.0, 40.0, 1.0, 0.0),
        (CLOSES[1], "", "Z", 90.0, 9.0, 0.0, 90.0),
    ]
    found = figures(tmp_path / "run", sleeves, [])
    assert list(found) == ["a", "b", "book"]
    assert {name: one["pnl_usd"] for name, one in found.items()} == {"a": 500.0, "b": 40.0, "book": 9.0}
    assert {name: one["costs_usd"] for name, one in found.items()} == {"a": 25.0, "b": 1.0, "book": 0.0}
    assert {name: one["gross_mean_usd"] for name, one in found.items()} == {
        "a": 6e3,
        "b": 250.0,
        "book": 80.0,
    }
    assert found["b"]["trades"] == 0
    assert found["b"]["win_rate"] is found["b"]["avg_trade_return_frac"] is found["b"]["sharpe"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_trades_of_a_strategy(tmp_path: Path) -> None:
    """Of 120, -40 and 0 one of three won; 12%, -2% and 0% are 3.33%; 30, 60 and 1,440 minutes are 510."""
    sleeves = [(CLOSES[0], "a", "X/Y", 0.0, 80.0, 0.0, 0.0), (CLOSES[0], "b", "X/Y", 0.0, 5.0, 0.0, 0.0)]
    t = OPEN_NS
    trades = [
        (t + 30 * MINUTE, t, "a", "X/Y", "LONG", 1_000.0, 120.0, 1.0),
        (t + 60 * MINUTE, t, "a", "X/Y", "SHORT", 2_000.0, -40.0, 1.0),
        (t + 1_440 * MINUTE, t, "a", "V/W", "LONG", 500.0, 0.0, 1.0),
        (t + 5 * MINUTE, t, "b", "X/Y", "LONG", 100.0, 5.0, 1.0),
    ]
    own = figures(tmp_path / "run", sleeves, trades)["a"]
    assert own["trades"] == 3
    assert own["win_rate"] == pytest.approx(1.0 / 3.0)
    assert own["avg_trade_return_frac"] == pytest.approx(0.10 / 3.0)
    assert own["holding_mean_days"] == pytest.approx(510.0 / 1_440.0)


def test_sharpe_return_and_drawdown_of_sessions() -> None:
    """+200 and -100 in turn over 20 sessions: mean 50, sd 153.9, so 0.3249 x sqrt(252) = 5.1575."""
    by_session = np.tile([200.0, -100.0], 10)
    found = curve_figures(np.cumsum(by_session), 100_000.0, 252.0)
    assert found["sharpe"] == pytest.approx(50.0 / by_session.std(ddof=1) * math.sqrt(252.0))
    assert found["sharpe"] == pytest.approx(5.1575, abs=5e-5)
    assert found["annualised_return_frac"] == pytest.approx(0.01 * 252.0 / 20.0)
    assert found["max_drawdown_frac"] == pytest.approx(100_100.0 / 100_200.0 - 1.0)


def test_under_twenty_sessions_there_is_no_ratio() -> None:
    """A ratio of a few sessions is noise that looks like a figure; a strategy that never traded has none."""
    short = curve_figures(np.cumsum(np.tile([200.0, -100.0], 9)), 100_000.0, 252.0)
    assert math.isnan(short["sharpe"])
    assert math.isnan(short["annualised_return_frac"])
    idle = curve_figures(np.zeros(50), 100_000.0, 252.0)
    assert math.isnan(idle["sharpe"])
    assert (idle["annualised_return_frac"], idle["max_drawdown_frac"]) == (0.0, 0.0)


def test_a_run_without_a_book_has_no_strategies(tmp_path: Path) -> None:
    """Signals alone earn nothing: the key is there, and empty."""
    assert figures(tmp_path / "run", [], []) == {}


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Replay the example with three strategies once."""
    folder = tmp_path_factory.mktemp("portfolio") / "run"
    config = load(ROOT / "config" / "portfolio.toml")
    done = replay(config, out=folder, commands=None, argv=[], listener=Silent())
    return done.summary, folder


def test_the_portfolio_adds_up_to_its_book(portfolio: tuple[dict[str, Any], Path]) -> None:
    """Whoever pays strategies by what they earned must not pay more than the book has."""
    summary, folder = portfolio
    found = summary["strategies"]
    assert list(found) == ["basis", "pairs", "correlation"]
    assert sum(one["pnl_usd"] for one in found.values()) == pytest.approx(summary["pnl_usd"], abs=1e-6)
    assert sum(one["costs_usd"] for one in found.values()) == pytest.approx(summary["costs_usd"], abs=1e-6)
    assert all(one["trades"] > 0 for one in found.values())
    trades = pd.read_parquet(folder / "trades.parquet")
    assert len(trades) == sum(one["trades"] for one in found.values())
    assert (trades["ts"] > trades["ts_entry"]).all()
    # Nothing is held at the end, so that trips are all there is.
    assert trades["pnl_usd"].sum() == pytest.approx(summary["pnl_usd"], abs=1e-6)
    # Three contracts of a fund are one part of the basis' share, since one of them is held at a time.
    largest = trades.groupby("strategy")["gross_usd"].max() / 1e6
    assert largest.to_dict() == pytest.approx({"basis": 0.4, "pairs": 0.4, "correlation": 0.2}, rel=0.05)
    assert (summary["halts"], summary["rejected"]) == (0, {})


def test_the_portfolio_is_told_on_terminal_and_page(portfolio: tuple[dict[str, Any], Path]) -> None:
    """Several strategies have a line and a row each, and the page a chart of them."""
    summary, folder = portfolio
    lines = closing(summary, folder, 150_000.0).splitlines()
    [line] = [line for line in lines if line.startswith("          pairs")]
    assert line.split()[1] == f"+${summary['strategies']['pairs']['pnl_usd']:,.0f}"
    assert line.endswith(", 100% won")
    text, page = page_of(folder)
    assert page.has("Cumulative P&L by strategy")
    assert page.has("Together", f"+${summary['pnl_usd']:,.0f}", f"${summary['costs_usd']:,.0f}")
    assert '"label":"correlation","kind":"third"' in text


def test_one_strategy_needs_no_line_of_its_own(tmp_path: Path) -> None:
    """Its line would repeat that of the book; an older run folder has no figures and no section."""
    one = {"pnl_usd": 1.0, "costs_usd": 1.0, "trades": 0, "win_rate": None}
    _, page = page_of(empty_run(tmp_path / "one", strategies={"a": one}))
    assert page.has("Strategies", "What each strategy earned")
    assert not page.has("Together")
    _, page = page_of(traded_run(tmp_path / "old"))
    assert not page.has("What each strategy earned")
