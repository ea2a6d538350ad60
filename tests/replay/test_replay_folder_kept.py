"""``astra verify`` notices whatever a run folder says that its run does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.app.config.load import load
from engine.app.init import scaffold
from engine.app.replay.proofs import lookahead, verify
from engine.app.replay.run import replay
from engine.app.replay.run_contents import changed_config, changes
from engine.app.terminal import Silent

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Replay what ``astra init`` makes, with a trace."""
    desk = tmp_path_factory.mktemp("desk")
    list(scaffold(desk))
    config = load(desk / "astra.toml", ["output.trace=true"])
    replay(config, out=desk / "run", commands=None, argv=[], listener=Silent())
    return desk / "run"


def edit_cell(folder: Path, table: str, column: str, row: int, value: object) -> None:
    """Write a table again with one other cell."""
    path = folder / f"{table}.parquet"
    old = pq.read_table(path)
    cells = old[column].to_pylist()
    cells[row] = value
    at = old.schema.get_field_index(column)
    pq.write_table(old.set_column(at, old.schema.field(at), pa.array(cells, old.schema.field(at).type)), path)


def edit_key(folder: Path, name: str, key: str, value: object) -> None:
    """Write a JSON file again with one other value."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def test_what_a_run_gives_again_is_no_change(kept, tmp_path) -> None:
    """An honest folder passes, wherever it lies, though its tables have NaN and its times are others."""
    shutil.copytree(kept, tmp_path / "moved")
    edit_key(tmp_path / "moved", "summary.json", "seconds", 4711.0)
    assert np.isnan(pq.read_table(kept / "trace.parquet")["z"].to_numpy()).any()
    assert changes(tmp_path / "moved", kept) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda f: edit_cell(f, "trades", "pnl_usd", 0, 1e6),
            "trades.parquet: pnl_usd of row 0 was 1000000.0",
        ),
        (lambda f: edit_cell(f, "trace", "z", -1, None), "trace.parquet: z of row"),
        (lambda f: edit_cell(f, "signals", "side", 3, "LONG!"), "signals.parquet: side of row 3 was 'LONG!'"),
        (lambda f: (f / "fills.parquet").write_bytes(b"PAR1"), "fills.parquet: it cannot be read"),
        (lambda f: (f / "book.parquet").unlink(), "book.parquet: it is missing"),
        (
            lambda f: (f / "commands.jsonl").write_text("{}\n"),
            "commands.jsonl: line 1 is not what the run gives",
        ),
        (lambda f: shutil.copy(f / "risk.parquet", f / "fills.parquet"), "fills.parquet: columns differ"),
        (
            lambda f: pq.write_table(pq.read_table(f / "fills.parquet")[:-1], f / "fills.parquet"),
            "fills.parquet: it has ",
        ),
        (lambda f: (f / "alerts.jsonl").write_text("{}\n"), "alerts.jsonl: line 1 is not what the run gives"),
        (
            lambda f: edit_key(f, "summary.json", "pnl_usd", 1e6),
            "summary.json: pnl_usd was 1000000.0, and is",
        ),
        (lambda f: edit_key(f, "run.json", "seed", 8), "run.json: seed was 8, and is 7"),
    ],
)
def test_damage_and_edits_are_noticed(kept, tmp_path, damage: Damage, said: str) -> None:
    """A digest covers decisions; a person reads tables and figures, so these are held against it."""
    folder = tmp_path / "edited"
    shutil.copytree(kept, folder)
    damage(folder)
    (found,) = changes(folder, kept)
    assert found.startswith(said)


def test_an_older_folder_may_lack_what_was_added_since(kept, tmp_path) -> None:
    """Contracts grow: a key that another version did not know yet is no damage, of this version it is."""
    folder = tmp_path / "older"
    shutil.copytree(kept, folder)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["signals"]
    (folder / "summary.json").write_text(json.dumps(summary))
    assert changes(folder, kept)[0].startswith("summary.json: signals was 'missing'")
    edit_key(folder, "run.json", "version", "0.0.1")
    assert changes(folder, kept) == []


def test_verify_says_which_file_is_another(kept, tmp_path) -> None:
    """The whole verb, as a user runs it: an honest folder, an edited table, another limit."""
    folder = tmp_path / "again"
    shutil.copytree(kept, folder)
    answer = verify(folder, None)
    assert (answer["is_equal"], answer["changed"]) == (True, [])
    assert answer["fills"] > 0
    for name in ("mynotes.jsonl", "book-copy.parquet", ".hidden"):
        (folder / name).write_text("of its owner")
    answer = verify(folder, None)
    assert (answer["is_equal"], answer["further_files"]) == (True, ["book-copy.parquet", "mynotes.jsonl"])
    edit_cell(folder, "trades", "pnl_usd", 0, 1e6)
    answer = verify(folder, None)
    assert answer["digest"] == answer["expected_digest"]
    assert not answer["is_equal"]
    assert len(answer["changed"]) == 1
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("var_limit_usd = 150000.0", "var_limit_usd = 150001.0"))
    edit_key(folder, "summary.json", "digest", "another")
    edit_key(folder, "run.json", "version", "0.0.1")
    assert "one of version 0.0.1" in verify(folder, None)["hint"]
    assert changed_config(folder) == ["config.toml: it is not the configuration of the run"]


def test_a_proof_over_no_signal_says_so(kept) -> None:
    """Nothing was tested is another answer than nothing was found."""
    config = load(kept.parent / "astra.toml", ["strategy.0.entry_z=1_000"])
    answer = lookahead(config)
    assert (answer["is_equal"], answer["signals"], answer["compared"]) == (None, 0, 0)
