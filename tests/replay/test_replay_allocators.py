"""Every allocator that solves replays on simulated bars, from the example of its kind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from engine.app.config import load
from engine.app.replay import replay
from engine.app.terminal import Silent

CONFIG = Path(__file__).resolve().parents[2] / "config"
#: A few minutes of work instead of weeks of bars: two pairs of known noise, no calibration.
SHORT = (
    "feed.sessions=5",
    'strategy.0.pairs=["JPM/C", "GS/MS"]',
    "strategy.0.noise={delta = 1e-9, observation_variance = 1e-6}",
    "strategy.0.entry_z=1.0",
)
OWN = {"downside": ("allocator.history_days_min=3", "allocator.worst_frac=0.5")}


@pytest.mark.parametrize("kind", ["downside", "multi_period", "no_trade_buffer"])
def test_an_example_trades_and_repeats(tmp_path: Path, kind: str) -> None:
    """A kind that is solved in a test alone may still be refused by the gate, or differ from run to run."""
    runs = []
    for name in ("one", "two"):
        config = load(CONFIG / f"{kind}.toml", [*SHORT, *OWN.get(kind, ())])
        folder = tmp_path / name
        runs.append(replay(config, out=folder, commands=None, argv=[], listener=Silent()).summary)
    assert runs[0]["digest"] == runs[1]["digest"]
    assert len(pd.read_parquet(tmp_path / "one" / "fills.parquet")) > 0
    refused = pd.read_parquet(tmp_path / "one" / "targets.parquet").query("status == 'refused'")
    assert set(refused["reason"]) <= {"bad_input"}  # before there is enough history
