"""A short piece of the crash campaign (``make campaign`` runs all of it)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.campaign.cases import planned
from tests.support.crash import RECOVERY, WINDOWS, Crash

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
def test_killed_engines_lose_nothing_and_broken_ones_are_found_out() -> None:
    """Kill -9 anywhere: the day ends as if nothing had been; and the campaign can tell."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.campaign", "--kills", "20", "--per-day", "6"),
            *("--mutants", "3", "--seed", "11", "--workers", "2", "--power-days", "0"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    summary = re.search(r"(\d+) kills, .* 0 violations\n3 of 3 broken engines found out", done.stdout)
    assert summary is not None, done.stdout
    assert int(summary[1]) >= 20
    for variant in ("mean_variance", "direct", "torn", "stream"):
        assert re.search(rf"^{variant} +[1-9]", done.stdout, re.MULTILINE), done.stdout


def test_half_of_the_kills_aim_at_critical_windows() -> None:
    """Most of a day is harmless: kills at random times alone rarely meet a commit."""
    rng = np.random.default_rng(7)
    aimed = Counter(life.crashes[0].point for life in (planned(rng, is_torn=False) for _ in range(2_000)))
    assert sum(aimed[point] for point in {**WINDOWS, **RECOVERY}) > 0.55 * 2_000
    assert set(WINDOWS) <= set(aimed)


def test_what_is_planned_can_be_repeated() -> None:
    """A violation that its seed does not bring back is an anecdote."""
    first, second = (planned(np.random.default_rng([7, 3]), is_torn=True) for _ in range(2))
    assert first == second
    assert all(isinstance(crash, Crash) for crash in first.crashes)
