"""The benchmarks, at sizes that take no time: what is not run rots, and a table of wrong work misleads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import arrays, bare, engines, kernels, loops, models, replays, risks, run, solves, tape
from benchmarks.peers import environments
from benchmarks.peers.pair_rule import PairRule, tally
from benchmarks.peers.run import Outcome, run_once, table
from benchmarks.tape import Size, Tally
from benchmarks.timing import Goal, Row, rows_of
from benchmarks.timing import table as table_of_rows
from engine.events import CLOSE
from risk import REGISTRY

TINY = Size(2, 500)


def test_the_tape_is_the_same_every_time() -> None:
    """Figures of two days can be compared only over the same bars; the checksum pins them."""
    bars = tape.make_bars(TINY)
    assert bars.shape == (500, 5, 4)
    assert np.array_equal(bars, tape.make_bars(TINY))
    assert float(bars[:, CLOSE].sum()) == pytest.approx(196_464.557, abs=1e-6)


def test_the_tape_trades_as_often_as_the_comparison_says() -> None:
    """Peers' figures depend on how much there is to trade: some 1.7% of pair-minutes enter."""
    found = bare.tally(np.ascontiguousarray(tape.make_bars(tape.SMALL)[:, CLOSE]))
    assert found[:2] == (1_620, 1_620)


def test_every_engine_says_the_same_of_the_tape() -> None:
    """Engines that do different work cannot be compared: the loop, the plain rule and the engine agree."""
    bars = tape.make_bars(TINY)
    close = bars[:, CLOSE]
    rules = [PairRule() for _ in range(TINY.n_pairs)]
    for row in close.tolist():
        for k, rule in enumerate(rules):
            rule.step(row[2 * k], row[2 * k + 1])
    expected = bare.tally(np.ascontiguousarray(close))
    assert expected.entries > 5
    assert tally(rules).agrees(expected)
    assert engines.tally(TINY, arrays.slices(TINY)).agrees(expected)
    assert not Tally(expected.entries + 1, *expected[1:]).agrees(expected)


def test_loops_trade_what_they_are_measured_on() -> None:
    """A figure with fills means nothing when nothing filled, nor one with VaR when nothing was held."""
    slices = arrays.slices(TINY)
    fills, everything = engines.with_fills(TINY), engines.with_everything(TINY)
    for slice_ in slices:
        fills.step(slice_)
        everything.step(slice_)
    expected = bare.tally(np.array([slice_.bars[CLOSE] for slice_ in slices]))
    assert abs(fills.status.fills - 2 * (expected.entries + expected.exits)) <= 4  # the last may be pending
    assert everything.status.var_peak_usd > 0.0
    assert fills.status.halts == everything.status.halts == 0


def test_kernels_var_and_optimiser_run() -> None:
    """Every figure of the first groups comes from current names and shapes."""
    rows = kernels.measure(1, 1_000) + risks.measure(1, 40) + solves.measure(1, (8,))
    assert all(row.median_s > 0.0 for row in rows)
    assert {row.what for row in rows if row.goal is not None} >= {"VaR on every bar, 40 symbols"}


def test_risk_models_are_measured_beside_the_normal_one() -> None:
    """A ratio needs both of its figures, and only models that look back have sessions."""
    found = models.measure(1, (4,))
    assert [one.model for one in found] == [*REGISTRY]
    assert [bool(one.session_s) for one in found] == [False, False, True, True]
    assert all(one.bar_s[0] > 0.0 for one in found)
    assert models.table(found).splitlines()[2].count("1.00") == 1


def test_loop_and_replay_run(tmp_path: Path) -> None:
    """The main figures come from current names, and from runs that did all of the tape."""
    rows, said = loops.measure(TINY, 1)
    assert said.entries > 5
    rows += replays.measure(Size(1, 500), tmp_path, 1)
    assert [row.n_bars for row in rows] == [4, 4, 4, 2]


def test_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    """A process that has done other work is large already; a replay's own peak shows only in a new one."""
    folder = replays.prepare(tmp_path / "tape", Size(1, 400))
    assert replays.run(folder, Size(1, 400))["bars"] == 800
    assert replays.peak_mb() > 50.0
    assert not replays.Memory(TINY, 100.0, 106.0).is_flat


def test_turns_alternate_and_goals_are_judged() -> None:
    """Taking turns is what makes ratios hold on a busy machine; a goal met must not read as missed."""
    order: list[str] = []

    def case(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    (row,) = rows_of(
        {"a": lambda: case("a", 2e-6)}, lambda: case("bare", 1e-6), 4, {"a": Goal("< 3 µs", 3e-6)}, 2
    )
    assert order == ["bare", "a"] * 3  # one turn to warm up
    assert row == Row("a", 4, (2e-6, 2e-6), 1e-6, Goal("< 3 µs", 3e-6))
    assert table_of_rows([row]).splitlines()[2] == (
        "| a | 2,000,000 | 2.00 | 2.00 – 2.00 | 2.00 | < 3 µs | yes |"
    )


def test_a_peer_that_fails_is_reported() -> None:
    """A failure that reads like a blank would hide which engine was never measured."""
    bare_loop, astra = environments.PEERS[:2]
    outcome = run_once(bare_loop, Path("no-such-python"), Path("no-tape"), "signals", Tally(0, 0, 0.0))
    assert "no-such-python" in outcome.fault
    good = Outcome(0.5, "1", True, 8)
    outcomes = {
        (bare_loop.name, "signals"): [outcome],
        (bare_loop.name, "fills"): [],
        (astra.name, "signals"): [good],
        (astra.name, "fills"): [good],
    }
    text = table(outcomes, [bare_loop.name, astra.name], Size(1, 100))
    assert outcome.fault in text
    assert "| Astra 1 | 400 | 400 – 400 | 400 | 400 – 400 | 1 / 1 | 8 | yes |" in text


def test_a_missing_interpreter_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that cannot be installed is left out with a sentence, and the others are still measured."""
    monkeypatch.setattr(environments, "HERE", tmp_path)
    peer = environments.Peer("x", "x", "x", ("x",), "9.9")
    assert environments.python_of(peer) == "needs Python 9.9, which is not on this machine"


def test_tables_go_between_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of figures is replaced by a run, its words are not."""
    page = tmp_path / "README.md"
    page.write_text("before <!-- bench -->old<!-- end of bench --> after", encoding="utf-8")
    monkeypatch.setattr(run, "README", page)
    run.into_readme("bench", "new")
    assert page.read_text(encoding="utf-8") == ("before <!-- bench -->\n\nnew\n\n<!-- end of bench --> after")
