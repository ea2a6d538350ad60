"""The targets by name: each takes any bytes, and raises when its decoder breaks a promise.

The same functions are searched by coverage (``python -m tests.fuzz``) and run in the suite over the corpus.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fuzz import stored, tables, wire

Target = Callable[[bytes], None]

CORPUS = Path(__file__).with_name("corpus")

TARGETS: dict[str, Target] = {
    "alpaca": wire.alpaca,
    "bars": wire.bars,
    "commands": wire.commands,
    "commands_file": wire.commands_file,
    "config": stored.config,
    "csv": tables.csv,
    "cursors": stored.cursors,
    "curves": tables.curves,
    "fields": wire.fields,
    "foreign": tables.foreign,
    "journal": stored.journal,
    "marker": stored.marker,
    "parquet": tables.parquet,
    "positions": wire.positions,
    "record": stored.record,
    "signed": wire.signed,
    "snapshot": stored.snapshot,
    "state": stored.state,
    "status": wire.status,
    "yahoo": tables.yahoo,
}


def corpus_of(name: str) -> list[bytes]:
    """Return the kept inputs of a target: seeds, and whatever once broke a promise."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*")) if path.is_file()]
