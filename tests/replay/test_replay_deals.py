"""The examples of mergers and of a convertible bond as they ship, through the whole engine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from engine.app.config.load import load
from engine.app.replay.run import replay
from engine.app.replay.run_files import read_past_run
from engine.app.terminal import Silent
from engine.errors import DataError
from tests.support.daily_bars import Run

ROOT = Path(__file__).resolve().parents[2]
needs_quantlib = pytest.mark.skipif(
    find_spec("QuantLib") is None, reason="the extra convertible is not installed"
)


def run(name: str, folder: Path, *overrides: str) -> Run:
    config = load(ROOT / "config" / f"{name}.toml", overrides)
    done = replay(config, out=folder, commands=None, argv=[], listener=Silent())
    return Run(done.summary, done.folder)


def test_three_deals_end_in_three_ways(tmp_path: Path) -> None:
    """One converges, one breaks, one is still held; shares stand against shares, and it all happens again."""
    done = run("merger", tmp_path / "run")
    assert (done.summary["halts"], done.summary["rejected"]) == (0, {})
    assert run("merger", tmp_path / "again").summary["digest"] == done.summary["digest"]
    sides = done.table("signals").groupby("spread", sort=True)["side"].agg(list).to_dict()
    assert sides == {
        "ALFA": [
            "LONG",
            "FLAT",
            "LONG",
            "FLAT",
        ],  # beyond the first bid at once, and bought again for the second
        "BETA/GAMA": ["LONG"],
        "DELT": ["LONG", "FLAT"],
    }
    shares = done.table("fills").groupby("symbol")["quantity"].sum()
    assert shares["ALFA"] == pytest.approx(0.0, abs=1e-9)
    assert shares["DELT"] == pytest.approx(0.0, abs=1e-9)
    assert shares["GAMA"] == pytest.approx(-0.5 * shares["BETA"], rel=1e-9)
    sleeves = done.table("sleeves").groupby("spread")["pnl_usd"].last()
    assert sleeves["DELT"] < -15_000.0 < 0.0 < sleeves["ALFA"]
    assert sleeves.sum() == pytest.approx(done.summary["pnl_usd"], abs=0.01)


def test_nothing_is_traded_before_it_is_known(tmp_path: Path) -> None:
    """The first fill of every deal is at the open of the session after the next."""
    done = run("merger", tmp_path / "run")
    deals = pd.read_csv(ROOT / "examples" / "arbitrage" / "deals.csv", parse_dates=["announced"])
    known = deals.groupby("target")["announced"].min()
    fills = done.table("fills")
    first = fills.groupby("symbol")["ts"].min().dt.tz_convert("America/New_York").dt.tz_localize(None)
    for target, announced in known.items():
        assert first[target] > announced + pd.Timedelta(days=2)


def test_a_run_cannot_be_repeated_with_another_table(tmp_path: Path) -> None:
    """Whoever edits the deals has another run, and is told so."""
    deals = tmp_path / "deals.csv"
    text = (ROOT / "examples" / "arbitrage" / "deals.csv").read_text()
    deals.write_text(text)
    done = run("merger", tmp_path / "run", f'strategy.0.deals="{deals}"')
    assert read_past_run(done.folder, None).digest == done.summary["digest"]
    deals.write_text(text.replace("0.99", "0.98"))
    with pytest.raises(DataError) as caught:
        read_past_run(done.folder, None)
    assert caught.value.code == "D012"


@needs_quantlib
def test_the_hedge_alone_trades_between_entry_and_exit(tmp_path: Path) -> None:
    """The bond is bought and sold once; in between shares follow delta, and the whole repeats bit for bit."""
    done = run("convertible", tmp_path / "run")
    assert (done.summary["halts"], done.summary["rejected"]) == (0, {})
    assert run("convertible", tmp_path / "again").summary["digest"] == done.summary["digest"]
    sides = done.table("signals")["side"].to_list()
    assert sides[0] == "LONG"
    assert sides[-1] == "FLAT"
    assert set(sides[1:-1]) == {"LONG"}
    fills = done.table("fills")
    bonds, shares = fills[fills["symbol"] == "CVB29"], fills[fills["symbol"] == "CVS"]
    assert len(bonds) == 2
    assert len(shares) == len(sides)
    # Delta of 15 shares a bond: never none of them, never more than all.
    held = -shares["quantity"].cumsum().iloc[:-1] / bonds["quantity"].iloc[0]
    assert held.between(0.2 * 15, 15.0).all()
    assert shares["quantity"].sum() == pytest.approx(0.0, abs=1e-9)


@needs_quantlib
def test_profit_is_that_of_the_fills(tmp_path: Path) -> None:
    """Recomputed from what was bought and sold: ten quotes are a bond."""
    done = run("convertible", tmp_path / "run")
    fills = done.table("fills")
    assert fills[fills["symbol"] == "CVB29"]["price_usd"].between(800.0, 2_000.0).all()
    flows = -(fills["quantity"] * fills["price_usd"]).sum() - fills["cost_usd"].sum()
    assert done.summary["pnl_usd"] == pytest.approx(flows + done.summary["funding_usd"], abs=0.01)
    assert done.summary["pnl_usd"] > 0.0
