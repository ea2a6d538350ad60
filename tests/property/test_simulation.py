"""A short slice of the simulation: worlds full of faults, in which every promise holds, again and again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.mutants import MUTANTS, caught
from tests.simulation.plan import Knobs, Plan, draw
from tests.simulation.report import SOMETIMES, Report, simulate_many
from tests.simulation.shrink import smallest
from tests.simulation.world import simulate
from tests.support.source import ROOT

#: Found out within a few worlds; ``python -m tests.simulation --mutants`` tries all of them.
_QUICK = (
    "confirms before the fsync",
    "publishes before the fsync",
    "never syncs",
    "a halt is not in the snapshot",
    "REDUCING lets everything pass",
    "a VaR that is NaN is no breach",
    "forged commands count",
)
_WORLDS_MAX = 25


@pytest.fixture(scope="module")
def slice_() -> Report:
    """Simulate the worlds of the first seeds."""
    return simulate_many(range(50))


def test_every_promise_holds(slice_: Report) -> None:
    """Crashes, dying disks, forged orders: durable, replayable, halted when in doubt, delivered."""
    assert [failure.text() for failure in slice_.failures] == []


def test_the_worlds_are_worth_living_in(slice_: Report) -> None:
    """Nothing is shown by worlds in which nothing goes wrong, or nothing trades."""
    met = {name for name, count in slice_.met.items() if count}
    assert {
        "filled in ACTIVE",
        "state HALTED",
        "state REDUCING",
        "recovery torn tail",
        "recovery from a snapshot",
        "recovery without snapshot",
        "halt JOURNAL",
        "halt WATCHDOG",
        "reject LATE",
        "power loss leaves garbage",
        "command refused: replayed",
    } <= met
    assert len(SOMETIMES & met) > 0.8 * len(SOMETIMES)


def test_a_campaign_that_met_nothing_is_void() -> None:
    """It has proved nothing, and must not look like success."""
    report = simulate_many([0])
    assert not report.failures
    assert not report.is_good
    assert "void: never came to pass:" in report.text()


def test_a_calm_world_trades() -> None:
    """Without a fault there is no halt, no loss, and a book: the faults are what the faults do."""
    outcome = simulate(Plan(3, 20, Knobs(), (), ()))
    assert outcome.fault == ""
    assert outcome.met["filled in ACTIVE"] > 5
    assert "state HALTED" not in outcome.met
    assert outcome.met["life finished"] == 1


def test_a_seed_is_a_world() -> None:
    """A failure is worth something only if it comes back: here, and in another process."""
    seed = 4
    digest = simulate(draw(seed)).digest
    assert simulate(draw(seed)).digest == digest
    command = [sys.executable, "-m", "tests.simulation", "--digest", "--seed", str(seed)]
    other = subprocess.run(
        command,
        env={**os.environ, "PYTHONHASHSEED": str(seed), "TZ": "Asia/Kolkata"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == digest
    assert simulate(draw(seed + 1)).digest != digest


@pytest.mark.parametrize("name", _QUICK)
def test_broken_engines_are_found_out(name: str) -> None:
    """An oracle that lets a broken engine pass shows nothing about a whole one."""
    count, fault = caught(name, range(_WORLDS_MAX))
    assert count, f"{len(MUTANTS)} mutants, and this one lives"
    assert fault


def test_a_failure_is_made_small_and_told() -> None:
    """Someone has to read it: only the faults that matter, and the records that led there."""
    with MUTANTS["nonces are not in the snapshot"]():
        plan = draw(0)
        outcome = simulate(plan)
        assert outcome.fault
        smaller, became = smallest(plan, outcome, trials=40)
        assert became.fault.partition(":")[0] == outcome.fault.partition(":")[0]
        assert len(smaller.faults) < 0.5 * len(plan.faults)
        assert simulate(smaller).fault == became.fault
        text = simulate_many([0], shrink=False).failures[0].text()
    assert "python -m tests.simulation --seed 0" in text
    assert "Command(" in text
