"""From which snapshot on the state of a running engine can be checked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine.app.live.upkeep import _base_seq
from engine.snapshots import SnapshotStore
from tests.support.journals import IDENTITY

OLDER = msgspec.structs.replace(IDENTITY, build="astra 0, cpu z")


@pytest.mark.parametrize(
    ("builds", "recovered_seq", "base_seq"),
    [
        ("", 0, 0),  # no snapshot: from the beginning
        ("nnn", 30, 10),  # what an earlier process left unchecked is checked too
        ("onn", 30, 10),  # the first of this build began at the last of the one before
        ("oon", 30, 20),
        ("ooo", 30, 30),  # under this build the records before would give other bits
        ("nnn", 20, 10),  # the newest was damaged, or is of a lost journal
    ],
)
def test_no_snapshot_is_held_against_what_another_build_computed(
    tmp_path, builds, recovered_seq, base_seq
) -> None:
    """An upgrade with --accept-version would halt every engine."""
    for count, build in enumerate(builds, 1):
        SnapshotStore(tmp_path, OLDER if build == "o" else IDENTITY).write(10 * count, {})
    recovered = SimpleNamespace(snapshot_seq=recovered_seq)
    parts: Any = SimpleNamespace(
        snapshots=SnapshotStore(tmp_path, IDENTITY), recovered=recovered, identity=IDENTITY
    )
    assert _base_seq(parts) == base_seq
