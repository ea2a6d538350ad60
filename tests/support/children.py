"""Real engines for the tests, as children of one nursery: started, waited for, and read from outside.

Use as ``from tests.support.children import nursery, start``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.disk import OS_DISK
from engine.events import HaltRequested, Record
from engine.journal import JournalReader
from engine.journal_format import segments
from tests.support.nursery import Child, Nursery
from tests.support.small_engine import CONFIG, SLOW


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Give the process whose forks are the engines of a test file."""
    with Nursery() as ready:
        yield ready


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Callable[..., Child]:
    """Start the small engine in the folder of the test: with some arguments of ``astra run``, else slowly."""
    (tmp_path / "astra.toml").write_text(CONFIG)

    def started(*arguments: str, **options: str) -> Child:
        return nursery.start(tmp_path, "run", "astra.toml", "--quiet", *(arguments or (SLOW,)), **options)

    return started


def wait_for(condition: Callable[[], Any], child: Child, deadline_s: float = 30.0) -> None:
    """Wait for what a child does; nothing announces it."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, child.said[-2_000:]
        time.sleep(0.005)


def records(folder: Path) -> list[Record]:
    """Return the records of the journal so far; a commit that is being written does not count yet."""
    found = segments(folder / "state/journal", OS_DISK)
    after_seq = found[0].header.first_seq - 1 if found else 0
    return [record for _, record in JournalReader(folder / "state/journal", after_seq)] if found else []


def halts(folder: Path) -> list[str]:
    """Return the reasons of the edge's halts in the journal."""
    return [record.reason for record in records(folder) if isinstance(record, HaltRequested)]
