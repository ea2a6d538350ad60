"""The journal gives back what was written, or says where it is damaged; it never guesses."""

from __future__ import annotations

import errno
import struct
import threading
import zlib

import msgspec
import numpy as np
import pytest

from engine.disk import OsDisk
from engine.errors import InvariantError, JournalError, ServiceError
from engine.events import BarSlice, Tick
from engine.journal import JournalReader, JournalWriter
from engine.journal_format import Identity, decode_record, encode_record, frame, segments
from tests.support.journals import IDENTITY, RECORDS, encoded, read, write


def reopened(folder, identity=IDENTITY, segment_bytes=1 << 20) -> JournalWriter:
    """Continue the journal in a folder."""
    reader = JournalReader(folder)
    for _ in reader:
        pass
    return JournalWriter(folder, identity, segment_bytes=segment_bytes, continue_from=reader.tail)


@pytest.mark.parametrize("record", RECORDS)
def test_record_round_trips(record) -> None:
    """Every kind of record decodes to itself, NaN included."""
    assert encode_record(decode_record(encode_record(record))) == encode_record(record)
    assert type(decode_record(encode_record(record))) is type(record)


def test_slice_keeps_its_bits() -> None:
    """A NaN column comes back as the same NaN."""
    slice_ = RECORDS[0]
    back = decode_record(encode_record(slice_))
    assert isinstance(back, BarSlice)
    assert back.bars.tobytes() == np.ascontiguousarray(slice_.bars).tobytes()
    assert (back.suspect, back.accepted, back.minute) == ((1,), 1, 1)


@pytest.mark.parametrize("every", [1, 4, 30])
@pytest.mark.parametrize("segment_bytes", [1, 700, 1 << 20])
def test_journal_reads_back_in_order_over_segments(tmp_path, segment_bytes, every) -> None:
    """Segments and commits are a matter of size and speed, not of content."""
    write(tmp_path, RECORDS * 5, segment_bytes=segment_bytes, every=every, is_closed=True)
    assert read(tmp_path) == encoded(RECORDS * 5)
    reader = JournalReader(tmp_path)
    list(reader)
    assert (reader.torn_bytes, reader.identity, reader.last_seq) == (0, IDENTITY, 30)
    assert (reader.position, reader.is_closed) == ("p30", True)


def test_nothing_is_written_before_the_commit(tmp_path) -> None:
    """Appending is done by the thread that must never wait for a disk."""
    writer = JournalWriter(tmp_path, IDENTITY)
    for seq, record in enumerate(RECORDS, 1):
        writer.append(seq, record)
    assert list(tmp_path.iterdir()) == []
    assert (writer.buffered, writer.durable_seq) == (6, 0)
    assert writer.commit() == 6
    assert (writer.buffered, writer.durable_seq) == (0, 6)
    assert writer.commit() == 6
    assert read(tmp_path) == encoded(RECORDS)


def test_records_appended_during_a_commit_belong_to_the_next(tmp_path) -> None:
    """A commit must cover what it says, and lose nothing that came while the disk was busy."""
    is_syncing, may_sync = threading.Event(), threading.Event()

    class SlowDisk(OsDisk):
        def sync_folder(self, folder) -> None:
            is_syncing.set()
            assert may_sync.wait(10)
            super().sync_folder(folder)

    tmp_path.joinpath("j").mkdir()
    writer = JournalWriter(tmp_path / "j", IDENTITY, disk=SlowDisk())
    writer.append(1, RECORDS[0])
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(writer.commit()))
    thread.start()
    assert is_syncing.wait(10)
    writer.append(2, RECORDS[1])
    may_sync.set()
    thread.join(10)
    assert (done, writer.buffered) == ([1], 1)
    assert writer.commit() == 2
    assert read(tmp_path / "j") == encoded(RECORDS[:2])


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_a_journal_is_continued_where_it_ended(tmp_path, segment_bytes, is_closed) -> None:
    """A restart writes on in the same log, closed in good order or killed."""
    write(tmp_path, RECORDS, segment_bytes=segment_bytes, is_closed=is_closed)
    for start in (7, 8):
        writer = reopened(tmp_path, segment_bytes=segment_bytes)
        writer.append(start, Tick(start))
        writer.commit()
    assert read(tmp_path) == encoded([*RECORDS, Tick(7), Tick(8)])


def test_a_torn_tail_is_cut_off_before_anything_follows(tmp_path) -> None:
    """Without the cut, the next record would stand behind damage and the journal be refused."""
    write(tmp_path)
    path = next(tmp_path.glob("*.journal"))
    path.write_bytes(path.read_bytes()[:-3])
    writer = reopened(tmp_path)
    writer.append(6, Tick(6))
    writer.commit()
    assert read(tmp_path) == encoded([*RECORDS[:5], Tick(6)])


def test_another_build_begins_another_segment(tmp_path) -> None:
    """Who wrote which part must be told by the journal itself."""
    write(tmp_path)
    newer = Identity(IDENTITY.config_hash, "astra 2", IDENTITY.epoch, IDENTITY.origin_day)
    writer = reopened(tmp_path, newer)
    writer.append(7, Tick(7))
    writer.commit()
    assert [segment.header.identity.build for segment in segments(tmp_path, OsDisk())] == [
        IDENTITY.build,
        "astra 2",
    ]
    assert len(read(tmp_path)) == 7


def test_reading_can_begin_at_a_later_segment(tmp_path) -> None:
    """A start from a snapshot must not read years, and retention may have deleted them."""
    write(tmp_path, RECORDS * 5, segment_bytes=700)
    whole = encoded(RECORDS * 5)
    first = [segment.header.first_seq for segment in segments(tmp_path, OsDisk())]
    assert len(first) > 4
    for path in sorted(tmp_path.glob("*.journal"))[:2]:
        path.unlink()
    for after_seq in range(first[2] - 1, 31):
        reader = JournalReader(tmp_path, after_seq)
        assert [(seq, encode_record(record)) for seq, record in reader] == list(
            enumerate(whole[after_seq:], after_seq + 1)
        )
        assert reader.tail is not None
        assert reader.tail.next_seq == 31
    with pytest.raises(JournalError) as caught:
        JournalReader(tmp_path, first[2] - 2)
    assert caught.value.code == "J014"


def test_commits_larger_than_a_frame_are_split(tmp_path) -> None:
    """A burst after a long silence must not be larger than what a reader is ready to take at once."""
    big = [Tick(1), BarSlice(5, 1, 1, np.zeros((5, 50_000))), Tick(2)] * 4
    write(tmp_path, big, every=100)
    assert read(tmp_path) == encoded(big)


def test_sequence_numbers_have_no_holes(tmp_path) -> None:
    """A record that was numbered and not appended would be lost in silence."""
    writer = JournalWriter(tmp_path, IDENTITY)
    writer.append(1, RECORDS[0])
    with pytest.raises(InvariantError):
        writer.append(3, RECORDS[0])


def test_segments_are_chained(tmp_path) -> None:
    """Replacing a segment by one of another run breaks the chain, though every frame is good."""
    write(tmp_path / "a", RECORDS * 3, segment_bytes=300)
    write(tmp_path / "b", [Tick(1), *RECORDS[1:], *RECORDS, *RECORDS], segment_bytes=300)
    (tmp_path / "a" / "00000001.journal").write_bytes((tmp_path / "b" / "00000001.journal").read_bytes())
    with pytest.raises(JournalError) as caught:
        read(tmp_path / "a")
    assert caught.value.code == "J004"


def test_a_segment_of_another_epoch_is_refused(tmp_path) -> None:
    """Where the chain must be trusted, the name of the journal must not be."""
    other = Identity(IDENTITY.config_hash, IDENTITY.build, "20261121T151101Z", IDENTITY.origin_day)
    write(tmp_path / "a", RECORDS * 3, segment_bytes=300)
    write(tmp_path / "b", RECORDS * 3, segment_bytes=300, identity=other)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    (tmp_path / "a" / names[-2]).write_bytes((tmp_path / "b" / names[-2]).read_bytes())
    first = [segment.header.first_seq for segment in segments(tmp_path / "a", OsDisk())]
    with pytest.raises(JournalError) as caught:
        list(JournalReader(tmp_path / "a", first[-2] - 1))
    assert (caught.value.code, "another journal" in caught.value.what) == ("J004", True)


def test_damage_in_an_earlier_segment_is_no_torn_tail(tmp_path) -> None:
    """Only the end of the last segment can be torn."""
    write(tmp_path, RECORDS * 3, segment_bytes=300)
    first = tmp_path / "00000001.journal"
    first.write_bytes(first.read_bytes()[:-5])
    with pytest.raises(JournalError) as caught:
        read(tmp_path)
    assert caught.value.code == "J003"


def test_a_missing_segment_is_noticed(tmp_path) -> None:
    """Records that are gone must not be skipped."""
    write(tmp_path, RECORDS * 3, segment_bytes=300)
    sorted(tmp_path.glob("*.journal"))[1].unlink()
    with pytest.raises(JournalError) as caught:
        read(tmp_path)
    assert caught.value.code == "J004"


def test_journal_is_never_written_over(tmp_path) -> None:
    """A folder that holds a journal takes no second one."""
    write(tmp_path)
    with pytest.raises(JournalError) as caught:
        JournalWriter(tmp_path, IDENTITY)
    assert caught.value.code == "J001"


def test_empty_folder_is_named(tmp_path) -> None:
    """Reading where nothing is says so."""
    with pytest.raises(JournalError) as caught:
        JournalReader(tmp_path)
    assert caught.value.code == "J002"


def test_a_journal_of_another_format_is_named(tmp_path) -> None:
    """It is not damaged, and must not be taken for it."""
    write(tmp_path)
    path = next(tmp_path.glob("*.journal"))
    path.write_bytes(frame(0, b"\x81\xa6format\x63"))
    with pytest.raises(JournalError) as caught:
        JournalReader(tmp_path)
    assert caught.value.code == "J005"


def test_a_journal_of_the_first_version_is_named(tmp_path) -> None:
    """It is whole: told that it is damaged, people would throw it away."""
    body = msgspec.msgpack.encode({"format": 1, "config_hash": "c", "first_seq": 1, "chain": bytes(16)})
    crc = zlib.crc32(body, zlib.crc32(struct.pack("<IQ", len(body), 0)))
    old = struct.pack("<IIQ", len(body), crc, 0) + body
    (tmp_path / "00000001.journal").write_bytes(old)
    with pytest.raises(JournalError, match=r"^00000001.journal was written by version 0\.1\.0") as caught:
        JournalReader(tmp_path)
    assert caught.value.code == "J005"
    assert "not damaged" in caught.value.detail
    (tmp_path / "00000001.journal").write_bytes(old[:-1] + b"?")
    with pytest.raises(JournalError) as damaged:
        JournalReader(tmp_path)
    assert damaged.value.code == "J004"


def test_an_unusable_folder_is_a_clear_error(tmp_path) -> None:
    """A file where the folder should be must not end in a traceback."""
    (tmp_path / "state").write_text("")
    with pytest.raises(ServiceError) as caught:
        JournalWriter(tmp_path / "state" / "journal", IDENTITY)
    assert (caught.value.code, caught.value.exit_code) == ("S020", 5)


def test_an_interrupted_commit_ends_the_writer(tmp_path) -> None:
    """Half a frame may be on disk: what is written behind it would be damage."""

    class Interrupted(OsDisk):
        def rename(self, source, target) -> None:
            raise KeyboardInterrupt

    writer = JournalWriter(tmp_path, IDENTITY, disk=Interrupted())
    writer.append(1, Tick(1))
    with pytest.raises(KeyboardInterrupt):
        writer.commit()
    for call in (writer.commit, lambda: writer.append(2, Tick(2))):
        with pytest.raises(ServiceError):
            call()
    writer.close()


def test_a_failed_close_says_so(tmp_path) -> None:
    """The last commit of a run counts as much as any other."""

    class Full(OsDisk):
        def open(self, path):
            raise OSError(errno.ENOSPC, "No space left on device")

    writer = JournalWriter(tmp_path, IDENTITY, disk=Full())
    writer.append(1, Tick(1))
    with pytest.raises(ServiceError) as caught:
        writer.close()
    assert "No space left" in caught.value.what
