"""A snapshot is whole or passed over, and never worth more than the journal it came from."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from engine.errors import ServiceError
from engine.journal_format import Identity
from engine.snapshots import SnapshotStore
from tests.support.bad_disk import TAILS, BadDisk, PowerLoss
from tests.support.journals import IDENTITY
from tests.support.power_loss import ROOT


def payload(seq: int) -> dict:
    """Make a state that tells which record it is of."""
    return {"loop": {"seq": seq, "x": np.array([float(seq), float("nan"), -0.0])}, "extra": None}


def store_of(folder, **options) -> SnapshotStore:
    """Make a store with the identity of all tests."""
    return SnapshotStore(folder, options.pop("identity", IDENTITY), **options)


def seqs(store: SnapshotStore) -> list[int]:
    """List the good ones."""
    return [snapshot.seq for snapshot in store.newest_good()]


def test_a_snapshot_comes_back_bit_for_bit(tmp_path) -> None:
    """NaN and minus zero are state like any other."""
    store = store_of(tmp_path)
    store.write(7, payload(7))
    (found,) = store.newest_good()
    assert (found.seq, found.identity) == (7, IDENTITY)
    assert found.payload["loop"]["x"].tobytes() == payload(7)["loop"]["x"].tobytes()


def test_the_newest_are_kept(tmp_path) -> None:
    """Disks are finite; one snapshot alone would be one flipped bit away from none."""
    store = store_of(tmp_path, keep=3)
    for seq in (5, 90, 1_000_000, 12):
        store.write(seq, payload(seq))
    assert seqs(store) == [1_000_000, 90, 12]
    assert len(list(tmp_path.iterdir())) == 3


def test_every_damage_is_passed_over_and_said(tmp_path) -> None:
    """Flipped or cut at any byte, a snapshot is never believed; the one before serves."""
    store = store_of(tmp_path)
    store.write(1, payload(1))
    store.write(2, payload(2))
    path = max(tmp_path.iterdir())
    data = path.read_bytes()
    damaged = [data[:k] + bytes([data[k] ^ 0x10]) + data[k + 1 :] for k in range(len(data))]
    for bad in [*damaged, *(data[:k] for k in range(len(data))), data + b"x"]:
        path.write_bytes(bad)
        assert seqs(store) == [1]
        assert store.skipped == [f"{path.name}: damaged"]


def test_a_snapshot_of_another_journal_is_not_used(tmp_path) -> None:
    """It is whole, and of another run."""
    store_of(tmp_path, identity=Identity("cafe", "", "other")).write(9, payload(9))
    store = store_of(tmp_path)
    store.write(3, payload(3))
    assert seqs(store) == [3]
    assert "of epoch other" in store.skipped[0]


def test_a_renamed_snapshot_is_not_used(tmp_path) -> None:
    """Its name would make it the newest of all."""
    store = store_of(tmp_path)
    store.write(3, payload(3))
    next(tmp_path.iterdir()).rename(tmp_path / "000000000009.snapshot")
    assert seqs(store) == []
    assert store.skipped == ["000000000009.snapshot: is of record 3"]


def test_power_may_fail_at_every_operation() -> None:
    """Inside the write, the fsync, the rename: the new one is whole or the old one is the newest."""
    at = 0
    while True:

        def fault(number: int, _name: str, at: int = at) -> None:
            if number == at:
                raise PowerLoss

        disk = BadDisk()
        store_of(ROOT, disk=disk, keep=1).write(1, payload(1))
        disk.done, disk.fault = [], fault
        is_done = False
        try:
            store_of(ROOT, disk=disk, keep=1).write(2, payload(2))
            is_done = True
        except PowerLoss:
            pass
        for tail in TAILS:
            for are_names_kept in (True, False):
                left = disk.after_power_loss(tail, are_names_kept=are_names_kept)
                store = store_of(ROOT, disk=left)
                assert seqs(store)[:1] in ([[2]] if is_done else [[1], [2]]), f"operation {at}, {tail}"
                assert store.skipped == []
        if is_done:
            assert at >= 6
            return
        at += 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["create", "write", "sync", "rename", "sync_folder", "remove"])
def test_a_refusing_disk_is_told_and_the_old_snapshot_stays(name, code) -> None:
    """No space for a snapshot must not cost the last one."""
    disk = BadDisk()
    store = store_of(ROOT, disk=disk, keep=1)
    store.write(1, payload(1))

    def fault(_: int, done: str) -> None:
        if done == name:
            raise OSError(code, "refused")

    disk.fault = fault
    with pytest.raises(ServiceError) as caught:
        store.write(2, payload(2))
    assert (caught.value.code, caught.value.exit_code) == ("S021", 5)
    assert seqs(store)[-1] == 1
    disk.fault = None
    store.write(3, payload(3))
    assert seqs(store) == [3]
    assert disk.names(ROOT) == ["000000000003.snapshot"]


def test_a_disk_that_gives_back_something_else_is_told() -> None:
    """A snapshot is worth what can be read of it."""

    class Lying(BadDisk):
        def read(self, path, offset=0, size_bytes=-1):
            return b"x" + super().read(path, offset, size_bytes)[1:]

    with pytest.raises(ServiceError) as caught:
        store_of(ROOT, disk=Lying()).write(1, payload(1))
    assert "reads back differently" in caught.value.what


def test_what_somebody_reads_is_kept(tmp_path) -> None:
    """A check that takes longer than three snapshots would find nothing to begin from."""
    store = store_of(tmp_path, keep=2)
    store.write(1, payload(1))
    store.held = frozenset({1})
    for seq in (2, 3, 4):
        store.write(seq, payload(seq))
    assert seqs(store) == [4, 3, 1]
    store.held = frozenset()
    store.write(5, payload(5))
    assert seqs(store) == [5, 4]
    assert store.last_seq == 5


def test_a_state_that_is_not_trusted_leaves_no_snapshot(tmp_path) -> None:
    """The next start must begin where the state was right, and what was wrong is kept for examination."""
    store = store_of(tmp_path)
    for seq in (1, 2, 3):
        store.write(seq, payload(seq))
    kept = store.distrust(1)
    store.write(4, payload(4))
    assert seqs(store) == [1]
    assert kept == ["000000000002.snapshot.mismatch", "000000000003.snapshot.mismatch"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000001.snapshot", *kept]
    assert seqs(store_of(tmp_path)) == [1]
