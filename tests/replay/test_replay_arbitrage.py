"""The examples of arbitrage as they ship, through the whole engine."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from engine.app.config.load import load
from engine.app.replay.run import replay
from engine.app.terminal import Silent
from examples.arbitrage import make_bars
from tests.support.daily_bars import Run

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, folder: Path) -> Run:
    config = load(ROOT / "config" / f"{name}.toml")
    done = replay(config, out=folder, commands=None, argv=[], listener=Silent())
    return Run(done.summary, done.folder)


@pytest.mark.parametrize(
    "name", ["basis", "convertible", "correlation", "merger", "merger_daily", "pairs", "portfolio"]
)
def test_the_bars_are_those_of_the_script(name: str, tmp_path: Path) -> None:
    """Whoever changes the script must see the same bars in the example."""
    make_bars.main(tmp_path)
    kept = ROOT / "examples" / "arbitrage" / f"{name}.csv"
    assert (tmp_path / f"{name}.csv").read_bytes() == kept.read_bytes()


@pytest.mark.parametrize("name", ["basis", "correlation", "daily_pairs", "portfolio"])
def test_the_examples_trade_and_repeat(name: str, tmp_path: Path) -> None:
    """All bars accepted, something bought and sold, nothing halted, and the same again, bit for bit."""
    first = run(name, tmp_path / "first").summary
    assert (first["halts"], first["rejected"], first["state"]) == (0, {}, "ACTIVE")
    assert first["fills"] > 0
    assert run(name, tmp_path / "again").summary["digest"] == first["digest"]


def test_the_basis_is_hedged_share_for_share_and_rolled(tmp_path: Path) -> None:
    """500 shares stand against each contract after every fill, and none is held into its last days."""
    done = run("basis", tmp_path / "run")
    fills = done.table("fills")
    shares = fills["quantity"].where(fills["symbol"] == "SPY", 500.0 * fills["quantity"])
    assert (shares.groupby(fills["ts"]).sum() == 0.0).all()
    last = fills.groupby("symbol")["ts"].max().dt.tz_convert("America/New_York").dt.date
    for symbol, expiry in make_bars.EXPIRIES.items():
        assert last[symbol] < expiry
    notes = {note["note"] for note in done.summary["notes"]}
    # At the last close a short is wanted once more.
    # Its first signals wait for risk to have seen twenty bars, and that is said.
    assert notes == {"mispriced", "converged", "rolled", "not_measured", "unfilled_at_the_end"}
    assert set(last.index) == {"SPY", *make_bars.EXPIRIES}


def test_both_legs_of_the_regime_are_short(tmp_path: Path) -> None:
    """Half of equity gross, and as much net: the capital share is kept, and neutrality is not claimed."""
    book = run("correlation", tmp_path / "run").table("book")
    held = book[book["gross_usd"] > 0.0]
    assert len(held) > 20
    assert held["gross_usd"].iloc[0] / held["equity_usd"].iloc[0] == pytest.approx(0.5, abs=0.01)
    pd.testing.assert_series_equal(held["net_usd"], -held["gross_usd"], check_names=False)
