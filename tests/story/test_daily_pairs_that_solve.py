"""Daily pairs under an allocator that weighs what it is told to expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.daily_bars import run_daily, session_dates

DESK = """
[[strategy]]
kind = "{kind}"
pairs = ["AAA/BBB"]
{options}
[allocator]
kind = "mean_variance"
horizon_min = 1_560
"""


def closes(n: int) -> dict[str, list[float]]:
    """Return two closes that part by a spread with a half-life of four sessions and 3% of width."""
    rng = np.random.default_rng(11)
    common = np.cumsum(rng.normal(0.0, 0.01, n))
    spread = np.zeros(n)
    for t in range(1, n):
        spread[t] = 0.5**0.25 * spread[t - 1] + rng.normal(0.0, 0.016)
    return {
        "AAA": np.exp(4.0 + common + spread).round(4).tolist(),
        "BBB": np.exp(3.5 + common).round(4).tolist(),
    }


@pytest.mark.parametrize(
    ("kind", "options"),
    [("kalman_pairs", "entry_z = 1.5"), ("zscore_pairs", 'admission = "off"\nentry_z = 1.5')],
)
def test_a_daily_pair_trades_under_mean_variance(tmp_path: Path, kind: str, options: str) -> None:
    """The default allocator buys what is expected to pay; on daily bars nothing ever was."""
    n = 320
    run = run_daily(
        tmp_path, DESK.format(kind=kind, options=options), session_dates("2024-01-02", n), closes(n)
    )
    signals = run.table("signals")
    entries = signals[signals["side"] != "FLAT"]
    toward = np.where(entries["side"] == "LONG", 1.0, -1.0) * entries["expected_return_frac"]
    assert (toward > 0.002).mean() > 0.5  # a spread that is bought is expected to come back
    assert run.summary["rebalances"] >= 5
    assert run.summary["fills"] >= 10
    assert run.summary["notes"][-1]["note"] != "allocator_no_target"
