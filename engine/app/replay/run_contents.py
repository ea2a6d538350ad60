"""What a run folder holds, held against what its run gives again: every table, line and figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.app.config.load import load
from engine.app.config.resolved import config_hash
from engine.sinks.run_folder import SCHEMAS
from engine.vocabulary import counted

_BATCH_ROWS: Final = 65_536
#: What the machine made of it, and not the run.
TIMINGS: Final = frozenset({"seconds", "bars_per_s"})
#: Keys of run.json that a repetition has to have, too.
_FACTS: Final = ("seed", "commands", "exit_reason")
_TABLES: Final = frozenset(f"{name}.parquet" for name in SCHEMAS)
_LINES: Final = frozenset({"alerts.jsonl", "quarantine.jsonl", "commands.jsonl"})
_OTHERS: Final = frozenset({"run.json", "config.toml", "summary.json", "report.html", "journal"})


def changes(folder: Path, again: Path) -> list[str]:
    """Say what a run folder holds that its run does not give.

    ``report.html`` is drawn from the rest, and not looked at; the journal proves itself. Columns and keys
    that a later version has added are no change, and what is of no run is not looked at (``further_files``).

    Parameters
    ----------
    folder : Path
        As it was kept.
    again : Path
        The folder of a repetition whose digest is the same.

    Returns
    -------
    list of str
        One line for each file that differs, in the order of their names; empty if none does.
    """
    run, repeated = (_json_object(one / "run.json") for one in (folder, again))
    is_same_build = run.get("version") == repeated.get("version")
    found = changed_config(folder)
    odd = [name for name in _FACTS if run.get(name) != repeated.get(name)][:1]
    found += [f"run.json: {_was(name, run.get(name), repeated.get(name))}" for name in odd]
    found.append(_figures(folder / "summary.json", again / "summary.json", is_strict=is_same_build))
    for name in sorted(_TABLES | _LINES):
        path, other = folder / name, again / name
        if path.exists() or other.exists():
            is_table = name in _TABLES
            found.append(_table(path, other, is_strict=is_same_build) if is_table else _lines(path, other))
    return [text for text in found if text]


def further_files(folder: Path) -> list[str]:
    """Return what lies in a run folder and is of no run, by name: its owner's notes, say."""
    known = _TABLES | _LINES | _OTHERS
    return sorted(path.name for path in folder.iterdir() if path.name not in known and path.name[0] != ".")


def version_in(folder: Path) -> str:
    """Return the version of Astra that made a run folder."""
    return str(_json_object(folder / "run.json").get("version", "unknown"))


def changed_config(folder: Path) -> list[str]:
    """Say whether ``config.toml`` of a run folder decides anything else than what the run went by."""
    is_same = config_hash(load(folder / "config.toml")) == _json_object(folder / "run.json").get(
        "config_hash"
    )
    return [] if is_same else ["config.toml: it is not the configuration of the run"]


def _figures(path: Path, other: Path, *, is_strict: bool) -> str:
    stored, given = _json_object(path), _json_object(other)
    keys = [*given, *(key for key in stored if key not in given)] if is_strict else list(stored)
    for key in keys:
        if key not in TIMINGS and (key not in stored or stored[key] != given.get(key)):
            return f"{path.name}: {_was(key, stored.get(key, 'missing'), given.get(key))}"
    return ""


def _was(name: str, stored: Any, given: Any) -> str:
    return f"{name} was {stored!r:.60}, and is {given!r:.60} when it is run again"


def _lines(path: Path, other: Path) -> str:
    if not path.exists():
        return f"{path.name}: it is missing"
    stored, given = (one.read_bytes().split(b"\n") if one.exists() else [] for one in (path, other))
    pairs = enumerate(zip_longest(stored, given), 1)
    odd = next((number for number, (line, expected) in pairs if line != expected), 0)
    return f"{path.name}: line {odd} is not what the run gives" if odd else ""


def _table(path: Path, other: Path, *, is_strict: bool) -> str:
    """Compare two tables a batch at a time: a trace can be larger than memory."""
    if not other.exists():
        return f"{path.name}: the run gives no such table"
    if not path.exists():
        return f"{path.name}: it is missing"
    try:
        stored, given = pq.ParquetFile(path), pq.ParquetFile(other)
        names = stored.schema_arrow.names
        odd = set(names) - set(given.schema_arrow.names)
        if is_strict:
            odd |= set(given.schema_arrow.names) - set(names)
        if odd:
            return f"{path.name}: columns differ: {', '.join(sorted(odd))}"
        if stored.metadata.num_rows != given.metadata.num_rows:
            n_rows, n_given = (file.metadata.num_rows for file in (stored, given))
            return f"{path.name}: it has {counted(n_rows, 'row')}, not {n_given:,}"
        return next(_odd_cells(path.name, stored, given, names), "")
    except (pa.ArrowException, OSError) as error:
        return f"{path.name}: it cannot be read: {error}"


def _odd_cells(name: str, stored: pq.ParquetFile, given: pq.ParquetFile, columns: list[str]) -> Iterator[str]:
    first = 0
    batches = (file.iter_batches(_BATCH_ROWS, columns=columns) for file in (stored, given))
    for one, two in zip(*batches, strict=True):
        for column in columns:
            a, b = one.column(column), two.column(column)
            if a.type != b.type:
                yield f"{name}: {column} holds {a.type}, not {b.type}"
                return
            if not a.equals(b) and (rows := _odd_rows(a, b)):
                row = rows[0]
                yield f"{name}: {_was(f'{column} of row {first + row}', a[row].as_py(), b[row].as_py())}"
        first += len(one)


def _odd_rows(a: pa.Array, b: pa.Array) -> list[int]:
    """Return the rows in which two columns differ; NaN equals NaN, and null is no NaN."""
    if pa.types.is_floating(a.type):
        x, y = (column.to_numpy(zero_copy_only=False) for column in (a, b))
        is_null = [np.asarray(column.is_null().to_numpy(zero_copy_only=False)) for column in (a, b)]
        is_odd = ~((x == y) | (np.isnan(x) & np.isnan(y))) | (is_null[0] != is_null[1])
        return list(map(int, np.flatnonzero(is_odd)))
    return [row for row, (x, y) in enumerate(zip(a, b, strict=True)) if not x.equals(y)]


def _json_object(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
