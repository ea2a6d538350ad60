"""Treasury relative value through the whole engine: the example as it ships, and two years of real curves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.app.config.load import Config, load
from engine.app.replay.run import replay
from engine.app.terminal import Silent
from engine.events import CLOSE, DAY_NS, BarSlice
from feeds.yields import yield_bars
from tests.support.shared import SHARED

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config" / "treasury.toml"
REAL = SHARED / "data" / "us_treasury_real_yields_2011_2012.csv"
REAL_CONFIG = """
[feed]
kind = "yields"
path = "{path}"
prefix = "TIPS"
repo_pct = 0.0
[universe]
bar_min = 1440
[costs]
half_spread_bps = 0.2
impact_bps = 0.0
fee_bps = 0.0
[funding]
rate_frac = 0.0
long_spread_bps = 0.0
short_spread_bps = 0.0
borrow_bps = 0.0
[[strategy]]
kind = "treasury"
tenors = {{ TIPS5Y = 5, TIPS7Y = 7, TIPS10Y = 10, TIPS20Y = 20, TIPS30Y = 30 }}
repo_pct = 0.0
horizon_days = 30
cost_bp = 0.2
[allocator]
kind = "treasury"
gross_max_frac = 2.0
cvar_max_frac = 0.005
n_scenarios = 50
"""


def run(config: Config, folder: Path) -> dict:
    """Replay into a folder; return the summary."""
    return replay(config, out=folder, commands=None, argv=[], listener=Silent()).summary


def slices_of(config: Config) -> list[BarSlice]:
    """Return the slices that a replay of the configuration sees."""
    feed = yield_bars(config.feed.options, config.symbols, "XNYS")
    return [item for item in feed.slices() if isinstance(item, BarSlice)]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path, dict]:
    """Run the example once."""
    folder = tmp_path_factory.mktemp("treasury")
    config = load(EXAMPLE, ["allocator.n_scenarios=100"])
    return config, folder / "first", run(config, folder / "first")


def test_the_example_trades_and_repeats(example: tuple[Config, Path, dict], tmp_path: Path) -> None:
    """The same curves and the same scenarios give the same book, bit for bit."""
    config, _, summary = example
    assert (summary["slices"], summary["halts"], summary["rejected"]) == (120, 0, {})
    assert summary["fills"] > 20
    assert run(config, tmp_path / "again")["digest"] == summary["digest"]


def test_profit_is_holdings_times_the_change_of_the_index(example: tuple[Config, Path, dict]) -> None:
    """Recomputed from the fills and the bars alone: financed at repo, so nothing else is charged."""
    config, folder, summary = example
    fills = pd.read_parquet(folder / "fills.parquet")
    filled_on = (fills["ts"].astype("int64") // DAY_NS).to_numpy()
    slices = slices_of(config)
    held, profit = np.zeros(len(config.symbols)), 0.0
    for before, now in itertools.pairwise(slices):
        profit += float(held @ (now.bars[CLOSE] - before.bars[CLOSE]))
        for fill in fills[filled_on == now.session].itertuples():
            k = config.symbols.index(fill.symbol)
            assert fill.price_usd == now.bars[CLOSE, k]  # of the next curve, never of the one decided on
            held[k] += fill.quantity
    assert summary["funding_usd"] == 0.0
    assert summary["pnl_usd"] == pytest.approx(profit - fills["cost_usd"].sum(), rel=1e-9)


def test_a_halt_parts_the_profit(tmp_path: Path) -> None:
    """Recomputed from the tables: equity at the close of the first halt, before it and since."""
    config = load(EXAMPLE, ["allocator.n_scenarios=50", "risk.var_limit_usd=1500000"])
    summary = run(config, tmp_path / "run")
    risk, book = (pd.read_parquet(tmp_path / "run" / f"{name}.parquet") for name in ("risk", "book"))
    first = risk.loc[risk["state"] == "HALTED", "ts"].iloc[0]
    equity = float(book.loc[book["ts"] == first, "equity_usd"].iloc[0])
    halted = summary["halted"]
    assert halted["first"] == first.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert halted["pnl_before_usd"] == pytest.approx(equity - config.book.equity_usd)
    assert halted["pnl_since_usd"] == pytest.approx(summary["pnl_usd"] - halted["pnl_before_usd"])
    assert halted["pnl_halted_usd"] == halted["pnl_since_usd"]  # nobody resumed
    assert abs(halted["pnl_since_usd"]) > 1_000.0


@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason="no real curves beside the project")
def test_two_years_of_real_curves(tmp_path: Path) -> None:
    """Yields below zero, two days without a curve and two of a closed exchange: all told, and no halt."""
    path = tmp_path / "astra.toml"
    path.write_text(REAL_CONFIG.format(path=REAL))
    summary = run(load(path), tmp_path / "run")
    assert (summary["slices"], summary["halts"]) == (502, 0)
    assert summary["rejected"] == {"OFF_SESSION": 20}
    assert summary["fills"] > 100
    sides = pd.read_parquet(tmp_path / "run" / "signals.parquet")
    short = sides[(sides["spread"] == "TIPS5Y") & (sides["side"] == "SHORT")]
    assert (short["expected_return_frac"] < 0.0).all()
    assert len(short) > 0  # real yields of five years were below a repo of zero
