"""Power may fail at any moment: what was acknowledged is there, and nothing else than what was written."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ServiceError
from engine.journal import JournalWriter
from tests.support.bad_disk import BadDisk
from tests.support.power_loss import (
    IDENTITY,
    MUTANTS,
    ROOT,
    Engine,
    Plan,
    _judge,
    random_plan,
    record_of,
    violations,
)

DAY = Plan((2, 3, 1, 4))


@pytest.mark.parametrize("segment_bytes", [1, 400, 1 << 20])
@pytest.mark.parametrize("is_closed", [True, False])
def test_every_point_of_a_day(segment_bytes, is_closed) -> None:
    """Each operation on the disk, each shape of what is left, names kept or lost: no promise is broken."""
    cases, wrong = violations(Plan((2, 3, 1, 4), 3, segment_bytes, is_closed))
    assert wrong == []
    assert cases > 250


@settings(max_examples=8)
@given(seed=st.integers(0, 1 << 32))
def test_every_point_of_any_day(seed) -> None:
    """Batches, snapshots and segments fall together in every way."""
    plan = random_plan(seed)
    assert (
        violations(Plan(plan.commits[:4], plan.snapshot_every, plan.segment_bytes, plan.is_closed))[1] == []
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_writer_is_caught(mutant) -> None:
    """A campaign that a journal without any fsync passes would prove nothing."""
    _, wrong = violations(DAY, mutant)
    assert any(MUTANTS[mutant] in line for line in wrong), wrong[:5]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_refusing_disk_stops_the_engine_and_nothing_partial_is_believed(code) -> None:
    """Disk full, input/output error: an error, and every acknowledged record is found again."""
    whole = BadDisk()
    Engine(whole, JournalWriter).run(DAY)
    for at, name in enumerate(whole.done):

        def fault(number: int, name: str, at: int = at) -> None:
            if number >= at and name != "written":  # and it stays refusing
                raise OSError(code, "refused")

        disk = BadDisk(fault)
        engine = Engine(disk, JournalWriter)
        if name == "written":  # no operation of its own
            continue
        with pytest.raises(ServiceError) as caught:
            engine.run(DAY)
        assert caught.value.code in {"S020", "S021"}, name
        disk.fault = None
        for left in (disk.after_kill(), disk.after_power_loss("nothing", are_names_kept=False)):
            found = _judge(left, engine.acknowledged, sum(DAY.commits))
            assert not isinstance(found, str), f"operation {at} ({name}): {found}"


def test_a_failed_fsync_is_never_tried_again() -> None:
    """The second one may report success for pages that the system has dropped."""

    def fault(_: int, name: str) -> None:
        if name == "sync" and len([one for one in disk.done if one == "sync"]) == 3:
            raise OSError(errno.EIO, "Input/output error")

    disk = BadDisk(fault)
    writer = JournalWriter(ROOT / "journal", IDENTITY, disk=disk)
    writer.append(1, record_of(1))
    assert writer.commit() == 1
    writer.append(2, record_of(2))
    with pytest.raises(ServiceError):
        writer.commit()
    done = list(disk.done)
    for call in (writer.commit, writer.commit, lambda: writer.append(3, record_of(3))):
        with pytest.raises(ServiceError) as caught:
            call()
        assert "Input/output error" in caught.value.what
    writer.close()
    assert (disk.done, writer.durable_seq) == (done, 1)
