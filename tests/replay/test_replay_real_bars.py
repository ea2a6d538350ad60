"""Ten sessions of real 1-minute bars through the whole engine; skipped where the bars are not at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.app.config.load import load
from engine.app.replay.run import replay
from engine.app.terminal import Silent
from engine.commands import CommandBody, command_line, sign
from tests.support.shared import SHARED

BARS = SHARED / "data" / "us_equities_1m_2018.parquet"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not BARS.exists(), reason="no real bars beside the project"),
]

CONFIG = """
[feed]
path = "{path}"
[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/C", "BAC/C", "GS/MS", "KO/PEP", "V/MA", "XOM/CVX"]
"""
DIRECT = ["allocator.kind=direct", "allocator.unit_usd=200000"]


def run(folder: Path, name: str, sets=(), path: Path = BARS, commands: Path | None = None) -> dict:
    """Replay into ``folder / name``; return the summary."""
    config = folder / "astra.toml"
    config.write_text(CONFIG.format(path=path))
    result = replay(
        load(config, list(sets)), out=folder / name, commands=commands, argv=[], listener=Silent()
    )
    return result.summary


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, dict]:
    """Run once as it ships, with a trace."""
    folder = tmp_path_factory.mktemp("real")
    return folder, run(folder, "first", ["output.trace=true"])


def test_every_bar_is_accounted_for_and_it_trades(first) -> None:
    """58,567 rows: accepted, the one-sided 09:30 bars off session, four symbols not traded here."""
    _, summary = first
    assert summary["bars"] == 58_567
    assert summary["rejected"] == {"OFF_SESSION": 74, "UNKNOWN_SYMBOL": 15_602}
    assert summary["accepted"] == 58_567 - 74 - 15_602
    assert (summary["pending"], summary["slices"], summary["sessions"]) == (0, 3_900, 10)
    assert summary["fills"] > 50
    assert summary["sharpe"] is None


def test_z_is_standard_outside_openings(first) -> None:
    """Calibrated on three sessions, z keeps a standard deviation near 1 over the other seven."""
    folder, summary = first
    assert {note["spread"] for note in summary["notes"] if note["note"] == "calibrated"} == {
        "JPM/C",
        "BAC/C",
        "GS/MS",
        "KO/PEP",
        "V/MA",
        "XOM/CVX",
    }
    trace = pd.read_parquet(folder / "first" / "trace.parquet")
    local = trace["ts"].dt.tz_convert("America/New_York")
    later = trace[(local >= "2018-02-22") & (local.dt.strftime("%H:%M") != "09:31")]
    sd = later.groupby("spread")["z"].std()
    assert ((sd > 0.9) & (sd < 1.35)).all(), sd
    assert sd.mean() == pytest.approx(1.13, abs=0.05)


def test_rows_shuffled_within_their_minute_give_the_same_digest(first, tmp_path) -> None:
    """The order inside a minute is no information."""
    shuffled = tmp_path / "shuffled.parquet"
    frame = pd.read_parquet(BARS).sample(frac=1.0, random_state=3).sort_values("ts", kind="stable")
    frame.to_parquet(shuffled, index=False)
    assert run(tmp_path, "again", path=shuffled)["digest"] == first[1]["digest"]


@pytest.mark.parametrize(("limit_usd", "sets"), [(15_000, []), (8_000, DIRECT)])
def test_book_stays_inside_a_budget_that_binds(tmp_path, limit_usd, sets) -> None:
    """A low limit scales targets down; the book passes its budget only by the move of a minute."""
    summary = run(tmp_path, "low", [f"risk.var_limit_usd={limit_usd}", *sets])
    risk = pd.read_parquet(tmp_path / "low" / "risk.parquet")
    assert 0.8 * limit_usd < risk["var_upper_usd"].max() < 0.95 * limit_usd
    assert summary["halts"] == 0
    if sets:
        targets = pd.read_parquet(tmp_path / "low" / "targets.parquet")
        assert (targets["status"] == "scaled").sum() > 100


def test_limit_cut_in_mid_session_halts_for_good(tmp_path, monkeypatch) -> None:
    """A signed command cuts the limit at 11:00; nothing fills after, and the halt outlives the nights."""
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", "only-for-this-test")
    at_ns = pd.Timestamp("2018-02-27T16:00:30Z").value
    body = CommandBody(
        kind="limits",
        instance="astra",
        principal="ada",
        issued_ns=at_ns,
        expires_ns=at_ns + 1,
        nonce="n",
        reason="drill",
        args={"var_limit_usd": 2_000.0},
    )
    orders = tmp_path / "orders.jsonl"
    orders.write_text(command_line(sign(body, b"only-for-this-test", at_ns)) + "\n")
    summary = run(tmp_path, "cut", DIRECT, commands=orders)
    assert (summary["state"], summary["halts"]) == ("HALTED", 1)
    fills = pd.read_parquet(tmp_path / "cut" / "fills.parquet")
    assert len(fills) > 100
    assert fills["ts"].max() <= pd.Timestamp("2018-02-27T16:00:00Z")
    risk = pd.read_parquet(tmp_path / "cut" / "risk.parquet").set_index("ts")["state"]
    assert set(risk[: pd.Timestamp("2018-02-27T16:00:00Z")]) == {"ACTIVE"}
    assert set(risk[pd.Timestamp("2018-02-27T16:01:00Z") :]) == {"HALTED"}
    alerts = [json.loads(line) for line in (tmp_path / "cut" / "alerts.jsonl").read_text().splitlines()]
    assert [alert["kind"] for alert in alerts if alert["severity"] == "critical"] == ["halted"]


def test_opening_book_above_the_limit_is_halted_from_its_first_bar(tmp_path) -> None:
    """30,000 shares of JPM cannot be measured without a covariance, nor fit once there is one."""
    summary = run(tmp_path, "opening", ["book.positions.JPM=30000"])
    assert (summary["state"], summary["halts"], summary["fills"]) == ("HALTED", 1, 0)
    risk = pd.read_parquet(tmp_path / "opening" / "risk.parquet")
    assert set(risk["state"]) == {"HALTED"}
    assert np.isnan(risk["var_usd"].iloc[0])
    assert risk["var_usd"].iloc[-1] > 150_000
