"""A restart continues bit for bit, or says why it must not."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pytest

from engine.app.build import build_text
from engine.disk import OS_DISK
from engine.errors import JournalError
from engine.events import TargetsProposed
from engine.journal import JournalReader, JournalWriter
from engine.journal_format import encode_record, segments
from engine.loop import Loop, proposal
from engine.recovery import Recovered, compact, identity_of, recover
from engine.snapshots import SnapshotStore
from engine.state import to_bytes
from tests.support.core import slice_of
from tests.support.engines import Recorder, engine_of
from tests.support.journals import IDENTITY, write

SCRIPT = {
    (17_581, 5): {"A/B": 1},
    (17_581, 20): {"C/B": -1},
    (17_581, 30): {"A/B": 0},
}
MINUTES = 40
LAST_SEQ = MINUTES + len(SCRIPT)


def fresh() -> tuple[Loop, Recorder]:
    """Build the engine of all tests."""
    loop, _ = engine_of(["A/B", "C/B"], SCRIPT, scenarios=500)
    recorder = Recorder()
    return Loop(loop.bus, recorder), recorder


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Write a day with snapshots behind records 10, 20, 30; return its folder and the states after each."""
    folder = tmp_path_factory.mktemp("state")
    loop, _ = fresh()
    writer = JournalWriter(folder / "journal", IDENTITY, segment_bytes=600)
    journalled = Loop(loop.bus, lambda *_: None, writer)
    store = SnapshotStore(folder / "snapshots", IDENTITY)
    states = {}
    rng = np.random.default_rng(2)
    close = np.array([100.0, 50.0, 20.0])
    for minute in range(1, MINUTES + 1):
        close = close * np.exp(rng.normal(0, 1e-3, 3))
        journalled.step(slice_of(close.tolist(), minute=minute))
        states[journalled.seq] = to_bytes(journalled.state())
        writer.commit()
        if minute in {10, 20, 30}:
            payload = {"loop": journalled.state(), "extra": {"n": minute}, "position": f"at {minute}"}
            store.write(journalled.seq, payload)
    assert journalled.seq == LAST_SEQ
    return folder, states


@pytest.fixture
def state(day, tmp_path):
    """Return a copy of the day that may be damaged, and the states."""
    shutil.copytree(day[0], tmp_path / "state")
    return tmp_path / "state", day[1]


def refusal(folder, identity=IDENTITY, **options) -> JournalError:
    """Return the error of a recovery that must fail."""
    with pytest.raises(JournalError) as caught:
        recover(folder, fresh()[0], identity, **options)
    return caught.value


def snapshots(folder) -> list:
    return sorted((folder / "snapshots").iterdir())


@pytest.mark.parametrize("n_kept", [3, 2, 1, 0])
def test_snapshot_and_tail_are_the_uninterrupted_run(state, n_kept) -> None:
    """From whichever snapshot, or none: the same state to the last bit, and the effects of the tail again."""
    folder, states = state
    for path in snapshots(folder)[n_kept:]:
        path.unlink()
    loop, recorder = fresh()
    found = recover(folder, loop, IDENTITY)
    assert to_bytes(loop.state()) == states[LAST_SEQ]
    seq = {0: 0, 1: 11, 2: 22, 3: 33}[n_kept]
    assert (found.snapshot_seq, found.replayed, found.seq) == (seq, LAST_SEQ - seq, LAST_SEQ)
    assert [step[0] for step in recorder.steps] == list(range(seq + 1, LAST_SEQ + 1))
    assert found.extra == ({"n": 10 * n_kept} if n_kept else None)
    assert found.position == (f"at {10 * n_kept}" if n_kept else "")
    assert (found.torn_bytes, found.skipped_snapshots, found.is_closed) == (0, (), False)
    assert found.tail is not None
    assert found.tail.next_seq == LAST_SEQ + 1


def test_the_first_start_finds_nothing(tmp_path) -> None:
    """A new folder is no fault."""
    loop, _ = fresh()
    assert recover(tmp_path / "new", loop, IDENTITY) == Recovered()
    assert identity_of(tmp_path / "new") is None
    assert loop.seq == 0


def test_whose_journal_it_is_can_be_asked_before(state) -> None:
    """A loop is built with the day that its ordinals count from."""
    assert identity_of(state[0]) == IDENTITY


def test_a_damaged_snapshot_is_passed_over_and_said(state) -> None:
    """One flipped bit costs seconds, not the start."""
    folder, states = state
    newest = snapshots(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    loop, _ = fresh()
    found = recover(folder, loop, IDENTITY)
    assert found.snapshot_seq == 22
    assert found.skipped_snapshots == (f"{newest.name}: damaged",)
    assert to_bytes(loop.state()) == states[LAST_SEQ]


def test_another_configuration_is_refused(state) -> None:
    """The same records would decide otherwise; the message says what to do."""
    error = refusal(state[0], msgspec.structs.replace(IDENTITY, config_hash="beef"))
    assert error.code == "J011"
    assert "cafe" in error.what
    assert "--new-epoch" in error.detail


def test_another_build_needs_a_word(state) -> None:
    """Other versions may compute other bits; somebody has to want that."""
    newer = msgspec.structs.replace(IDENTITY, build="astra 2")
    error = refusal(state[0], newer)
    assert error.code == "J012"
    assert IDENTITY.build in error.detail
    assert "--accept-version" in error.detail
    assert recover(state[0], fresh()[0], newer, is_version_accepted=True).seq == LAST_SEQ


def test_damage_in_the_middle_is_refused_with_its_offset(state) -> None:
    """Nothing behind the damage may be applied, and nothing of the start be guessed."""
    last = max((state[0] / "journal").iterdir())
    path = sorted((state[0] / "journal").iterdir())[-2]
    data = bytearray(path.read_bytes())
    data[-30] ^= 4
    path.write_bytes(data)
    for snapshot in snapshots(state[0]):
        snapshot.unlink()
    error = refusal(state[0])
    assert error.code == "J003"
    assert f"of {path.name}" in error.what
    assert last.exists()


def test_a_torn_tail_is_reported_and_left_out(state) -> None:
    """A commit that was cut short was never acknowledged."""
    folder, states = state
    path = max((folder / "journal").iterdir())
    path.write_bytes(path.read_bytes()[:-5])
    loop, _ = fresh()
    found = recover(folder, loop, IDENTITY)
    assert found.torn_bytes > 0
    assert found.seq == LAST_SEQ - 1
    assert to_bytes(loop.state()) == states[LAST_SEQ - 1]


def test_a_snapshot_ahead_of_its_journal_is_refused(state) -> None:
    """The journal has lost records whose effects are outside already."""
    paths = sorted((state[0] / "journal").iterdir())
    first_seq = [segment.header.first_seq for segment in segments(state[0] / "journal", OS_DISK)]
    for path, seq in zip(paths, first_seq, strict=True):
        if seq > 30:
            path.unlink()
    error = refusal(state[0])
    assert error.code == "J013"
    assert "record 33" in error.what


def test_snapshots_without_a_journal_are_refused(state) -> None:
    """Beginning anew in silence would forget positions and a halt."""
    shutil.rmtree(state[0] / "journal")
    assert refusal(state[0]).code == "J013"


def test_a_hole_between_snapshot_and_journal_is_refused(state) -> None:
    """Retention without a snapshot to begin from leaves nothing to continue."""
    for path in snapshots(state[0])[1:]:
        path.unlink()
    first_seq = [segment.header.first_seq for segment in segments(state[0] / "journal", OS_DISK)]
    for path, following in zip(sorted((state[0] / "journal").iterdir()), first_seq[1:], strict=False):
        if following <= 15:
            path.unlink()
    error = refusal(state[0])
    assert error.code == "J014"
    assert "record 12 is missing" in error.what


def test_a_snapshot_of_another_layout_is_refused(state) -> None:
    """It is whole, and means something else."""
    SnapshotStore(state[0] / "snapshots", IDENTITY).write(
        40, {"loop": {"seq": 40}, "extra": 0, "position": ""}
    )
    error = refusal(state[0])
    assert error.code == "J015"
    assert "KeyError" in error.what


def test_an_unanswered_problem_is_handed_back(day, tmp_path) -> None:
    """Killed between a minute and the answer to it: the answer is still owed, and is the same one."""
    records = [record for _, record in JournalReader(day[0] / "journal")]
    owed = [seq for seq, record in enumerate(records, 1) if isinstance(record, TargetsProposed)]
    assert len(owed) == len(SCRIPT)
    for seq in (*owed, 4, LAST_SEQ):
        folder = tmp_path / str(seq)
        write(folder / "journal", records[: seq - 1])
        loop, _ = fresh()
        problem = recover(folder, loop, IDENTITY).problem
        assert (problem is not None) == (seq in owed)
        if problem is not None:
            assert encode_record(proposal(problem, loop.bus.answer(problem))) == encode_record(
                records[seq - 1]
            )


def test_retention_deletes_what_is_old_and_not_needed(state) -> None:
    """Whole segments before every good snapshot; what is left starts the engine as before."""
    folder, states = state
    before = segments(folder / "journal", OS_DISK)
    last_ns = slice_of([1.0], minute=MINUTES).ts_close_ns
    assert compact(folder, 0) == []
    young = compact(folder, slice_of([1.0], minute=4).ts_close_ns)
    assert all(segment.header.first_seq <= 4 for segment in before[: len(young) + 1])
    deleted = compact(folder, last_ns + 1)
    left = segments(folder / "journal", OS_DISK)
    assert deleted
    assert [segment.path for segment in left] == [s.path for s in before[len(young) + len(deleted) :]]
    # The oldest snapshot is of record 11: its successor is there, and not a segment more.
    assert left[0].header.first_seq <= 12 < left[1].header.first_seq
    for snapshot in snapshots(folder)[1:]:
        snapshot.unlink()
    loop, _ = fresh()
    assert recover(folder, loop, IDENTITY).snapshot_seq == 11
    assert to_bytes(loop.state()) == states[LAST_SEQ]


def test_retention_keeps_everything_without_a_snapshot(state) -> None:
    """The journal is then the only thing that state follows from."""
    for path in snapshots(state[0]):
        path.write_bytes(b"damaged")
    assert compact(state[0], 1 << 62) == []
    assert compact(state[0] / "nowhere", 1 << 62) == []


def test_the_build_names_what_decides_bits() -> None:
    """Versions alone do not: the same wheel takes other instructions on another CPU."""
    text = build_text()
    assert "numpy " in text
    assert ", cpu " in text
    assert "absent" not in text
