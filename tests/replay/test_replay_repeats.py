"""A run is a function of configuration and bars: nothing of the machine's mood enters it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from engine.app.config.load import load
from engine.app.init import scaffold
from engine.app.replay.proofs import lookahead, verify
from engine.app.replay.run import replay
from engine.app.terminal import Silent
from engine.errors import DataError, JournalError
from engine.events import CLOSE
from feeds.simulated import SimulatedOptions, write

ASTRA = [sys.executable, "-m", "engine.app.main"]
CONFIG = """
[feed]
path = "{path}"
[[strategy]]
kind = "kalman_pairs"
pairs = ["AAA/BBB", "CCC/DDD"]
noise = {{ delta = 1e-9, observation_variance = 1e-7 }}
warmup_min = 120
[allocator]
kind = "{allocator}"
"""


@pytest.fixture(scope="module")
def tape(tmp_path_factory) -> Path:
    """Write four sessions of two simulated pairs."""
    path = tmp_path_factory.mktemp("tape") / "bars.parquet"
    write(SimulatedOptions(pairs=("AAA/BBB", "CCC/DDD"), sessions=4, seed=11), path)
    return path


def config_of(folder: Path, path: Path, allocator: str = "direct") -> Path:
    """Write a configuration."""
    file = folder / "astra.toml"
    file.write_text(CONFIG.format(path=path, allocator=allocator))
    return file


def run(config: Path, out: Path, **changes):
    """Replay quietly; return the summary."""
    arguments = {"commands": None, "argv": [], "listener": Silent(), **changes}
    return replay(load(config), out=out, **arguments).summary


def in_a_process(config: Path, out: Path, *arguments: str, **environment: str) -> dict:
    """Replay in a process of its own and return the summary it prints."""
    env = {**os.environ, **environment}
    command = [*ASTRA, "replay", str(config), "--out", str(out), "--json", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_digest_is_the_same_under_another_hash_seed_zone_and_locale(tmp_path, tape) -> None:
    """Order of hashing, local time and number format are not inputs."""
    config = config_of(tmp_path, tape, "mean_variance")
    moods = [
        {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"},
    ]
    runs = [in_a_process(config, tmp_path / f"run{k}", **mood) for k, mood in enumerate(moods)]
    assert runs[0]["digest"] == runs[1]["digest"]
    assert runs[0]["signals"] > 10


def test_rows_shuffled_within_a_minute_change_nothing(tmp_path, tape) -> None:
    """Arrival order inside one minute is not an input."""
    frame = pd.read_parquet(tape)
    shuffled = frame.sample(frac=1.0, random_state=5).sort_values("ts", kind="stable")
    assert not shuffled["symbol"].equals(frame["symbol"])
    other = tmp_path / "shuffled.parquet"
    shuffled.to_parquet(other, index=False)
    first = run(config_of(tmp_path, tape), tmp_path / "a")
    second = run(config_of(tmp_path, other), tmp_path / "b")
    assert first["digest"] == second["digest"]
    assert first["fills"] > 0


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_file_format_changes_nothing(tmp_path, tape, suffix) -> None:
    """The same bars are the same run, from every kind of file and from a directory of them."""
    frame = pd.read_parquet(tape)
    folder = tmp_path / "bars"
    folder.mkdir()
    for symbol, rows in frame.groupby("symbol"):
        path = folder / f"{symbol}{suffix}"
        rows.to_parquet(path, index=False) if suffix == ".parquet" else rows.to_csv(path, index=False)
    whole = run(config_of(tmp_path, tape), tmp_path / "a")
    parts = run(config_of(tmp_path, folder), tmp_path / "b")
    assert whole["digest"] == parts["digest"]


def test_verify_repeats_a_run_and_notices_other_bars(tmp_path, tape) -> None:
    """A run folder can be checked by anyone who has the bars, and only with those."""
    bars = tmp_path / "bars.parquet"
    bars.write_bytes(tape.read_bytes())
    config = config_of(tmp_path, bars)
    config.write_text(config.read_text() + '[universe]\nfirst = "2026-01-06"\n')
    assert run(config, tmp_path / "a")["sessions"] == 3
    assert verify(tmp_path / "a", None)["is_equal"]
    moved = tmp_path / "moved.parquet"
    bars.rename(moved)
    assert verify(tmp_path / "a", moved)["is_equal"]
    frame = pd.read_parquet(moved)
    frame.loc[5, "close"] = frame.loc[5, "open"]
    frame.to_parquet(moved, index=False)
    with pytest.raises(DataError) as caught:
        verify(tmp_path / "a", moved)
    assert caught.value.code == "D012"


def test_verify_replays_the_journal_and_notices_damage(tmp_path, tape) -> None:
    """The journal of a run gives every event again; one edited byte is refused, not replayed."""
    config = config_of(tmp_path, tape, "mean_variance")
    config.write_text(config.read_text() + "[output]\njournal = true\n")
    run(config, tmp_path / "a")
    answer = verify(tmp_path / "a", None)
    assert answer["is_equal"]
    assert answer["journal_digest"] == answer["expected_journal_digest"]
    (segment,) = (tmp_path / "a" / "journal").glob("*.journal")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with pytest.raises(JournalError):
        verify(tmp_path / "a", None)


def test_lookahead_passes_honest_strategies(tmp_path, tape) -> None:
    """Truncating the tape changes no past signal."""
    answer = lookahead(load(config_of(tmp_path, tape)))
    assert answer["is_equal"]
    assert answer["signals"] > 10
    assert len(answer["cuts"]) == 6


def test_lookahead_catches_a_strategy_that_reads_ahead(tmp_path, tape, monkeypatch) -> None:
    """A slice is a view of a block of minutes; a strategy that peeks into the block is found out."""
    from strategies.kalman_pairs import KalmanPairs

    honest = KalmanPairs.on_slice

    def peeking(self, slice_):
        block = slice_.bars.base
        assert block is not None, "slices of a file are views of a block"
        mine = (slice_.bars.ctypes.data - block.ctypes.data) // block.strides[0]
        in_an_hour = block[mine + 60 : mine + 61, CLOSE, 0]
        return [said for said in honest(self, slice_) if (slice_.bars[CLOSE, 0] < in_an_hour).any()]

    monkeypatch.setattr(KalmanPairs, "on_slice", peeking)
    answer = lookahead(load(config_of(tmp_path, tape)))
    assert not answer["is_equal"]
    assert answer["changed"]


def test_every_bar_is_accounted_for(tmp_path) -> None:
    """Rejected bars are counted by reason; nothing goes missing between the file and the book."""
    folder = scaffold_demo(tmp_path)
    summary = run(folder / "astra.toml", tmp_path / "a")
    assert summary["bars"] == summary["accepted"] + sum(summary["rejected"].values()) + summary["pending"]
    assert summary["slices"] == summary["sessions"] * 390


def scaffold_demo(tmp_path: Path) -> Path:
    """Make what ``astra init`` makes."""
    folder = tmp_path / "demo"
    list(scaffold(folder))
    return folder


def test_run_folder_keeps_its_contract(tmp_path, tape) -> None:
    """Names and columns are a promise to everyone who reads run folders."""
    config = config_of(tmp_path, tape)
    config.write_text(config.read_text() + "[output]\ntrace = true\njournal = true\n")
    run(config, tmp_path / "a")
    expected = {
        "signals": ["ts", "strategy", "spread", "side", "z", "beta", "expected_return_frac"],
        "trace": ["ts", "strategy", "spread", "beta", "alpha", "innovation", "innovation_var", "z"],
        "targets": ["ts", "symbol", "weight_frac", "status", "reason"],
        "fills": ["ts", "symbol", "quantity", "price_usd", "cost_usd"],
        "book": ["ts", "equity_usd", "cash_usd", "gross_usd", "net_usd", "funding_usd", "costs_usd"],
        "sleeves": ["ts", "strategy", "spread", "gross_usd", "pnl_usd", "costs_usd", "gross_mean_usd"],
        "trades": ["ts", "ts_entry", "strategy", "spread", "side", "gross_usd", "pnl_usd", "costs_usd"],
        "risk": ["ts", "var_usd", "var_analytic_usd", "var_upper_usd", "es_usd", "state", "var_limit_usd"],
    }
    for name, columns in expected.items():
        frame = pd.read_parquet(tmp_path / "a" / f"{name}.parquet")
        assert list(frame.columns) == columns
        assert str(frame["ts"].dt.tz) == "UTC"
        assert len(frame) > 0
    for name in ("run.json", "config.toml", "alerts.jsonl", "summary.json", "report.html", "journal"):
        assert (tmp_path / "a" / name).exists(), name
    book = pd.read_parquet(tmp_path / "a" / "book.parquet")
    fills = pd.read_parquet(tmp_path / "a" / "fills.parquet")
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["costs_usd"] == pytest.approx(fills["cost_usd"].sum(), rel=1e-9)
    assert summary["pnl_usd"] == pytest.approx(book["equity_usd"].iloc[-1] - 1_000_000, abs=1e-6)
    earned = sum(one["pnl_usd"] for one in summary["strategies"].values())
    assert earned == pytest.approx(summary["pnl_usd"], abs=1e-6)
    assert (fills["ts"].dt.second == 0).all()


def test_resolved_config_of_a_run_repeats_it(tmp_path, tape) -> None:
    """config.toml of a run folder is a configuration like any other."""
    first = run(config_of(tmp_path, tape), tmp_path / "a")
    second = run(tmp_path / "a" / "config.toml", tmp_path / "b")
    assert first["digest"] == second["digest"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read where Linux tells it")
def test_memory_does_not_grow_with_the_tape(tmp_path) -> None:
    """Ten times the bars, the same peak memory: a replay keeps a chunk, not the past.

    One arena and one thread: what allocators put aside for threads differs by 40 MB from run to run. 20 MB
    are of the chunk, which the shorter file does not fill. The kernel's own figure of the process, since
    ``ru_maxrss`` of a child begins at that of its parent.
    """
    quiet = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}
    peaks = {}
    for sessions in (4, 40):
        path = tmp_path / f"{sessions}.parquet"
        write(SimulatedOptions(pairs=("AAA/BBB", "CCC/DDD"), sessions=sessions, seed=11), path)
        config = config_of(tmp_path, path)
        code = (
            "import re, sys; from engine.app.main import run; "
            f"out = {str(tmp_path / f'run{sessions}')!r}; "
            f"code = run(['replay', {str(config)!r}, '--quiet', '--out', out]); "
            "print(re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())[1]); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | quiet
        )
        peaks[sessions] = int(done.stdout.split()[-1]) * 1024
    assert peaks[40] - peaks[4] < 30e6, f"peak grew from {peaks[4] / 1e6:.0f} to {peaks[40] / 1e6:.0f} MB"
