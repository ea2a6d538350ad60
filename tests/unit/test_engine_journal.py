"""The journal gives back what was written, or says where it is damaged; it never guesses."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import JournalError
from engine.events import Bar, BarRejected, BarSlice, Command, Reject, TargetsProposed, Tick
from engine.journal import JournalReader, JournalWriter, decode_record, encode_record
from tests.support.core import slice_of

BAR = Bar(60_000_000_000, "JPM", 1.0, 2.0, 0.5, 1.5, 100.0)
RECORDS = [
    slice_of([10.0, float("nan")], suspect=(1,)),
    BAR,
    Tick(5),
    BarRejected(7, "C", Reject.CONFLICT, 1, BAR),
    Command(9, '{"kind":"halt"}', "00ff"),
    TargetsProposed(3, 4, "optimal", (0.5, -0.5), ("gross",), "CLARABEL"),
]


def write(folder, records=RECORDS, segment_bytes=1 << 20):
    """Write a journal and return its folder."""
    writer = JournalWriter(folder, "cafe", segment_bytes)
    for seq, record in enumerate(records, 1):
        writer.append(seq, record)
    writer.close()
    return folder


def same(a, b) -> bool:
    """Compare records; slices by the bits of their array."""
    return type(a) is type(b) and encode_record(a) == encode_record(b)


@pytest.mark.parametrize("record", RECORDS)
def test_record_round_trips(record) -> None:
    """Every kind of record decodes to itself, NaN included."""
    assert same(decode_record(encode_record(record)), record)


def test_slice_keeps_its_bits() -> None:
    """A NaN column comes back as the same NaN."""
    slice_ = RECORDS[0]
    back = decode_record(encode_record(slice_))
    assert isinstance(back, BarSlice)
    assert back.bars.tobytes() == np.ascontiguousarray(slice_.bars).tobytes()
    assert (back.suspect, back.accepted, back.minute) == ((1,), 1, 1)


@pytest.mark.parametrize("segment_bytes", [1, 300, 1 << 20])
def test_journal_reads_back_in_order_over_segments(tmp_path, segment_bytes) -> None:
    """Segments are a matter of size, not of content."""
    reader = JournalReader(write(tmp_path, RECORDS * 5, segment_bytes))
    read = list(reader)
    assert [seq for seq, _ in read] == list(range(1, 31))
    assert all(same(a, b) for (_, a), b in zip(read, RECORDS * 5, strict=True))
    assert (reader.torn_bytes, reader.config_hash) == (0, "cafe")


def test_every_truncation_is_a_torn_tail_or_a_refusal(tmp_path) -> None:
    """Cut at any byte: whole records before the cut are read, the rest is reported, nothing is invented."""
    path = next(write(tmp_path).glob("*.journal"))
    data = path.read_bytes()
    reader = JournalReader(tmp_path)
    list(reader)
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        reader = JournalReader(tmp_path)
        try:
            read = list(reader)
        except JournalError as error:
            assert error.code == "J004"  # not even the header is left
            continue
        assert all(same(a, b) for (_, a), b in zip(read, RECORDS, strict=False))
        assert len(read) < len(RECORDS)


def test_every_flipped_byte_is_detected(tmp_path) -> None:
    """No single damaged byte is ever applied: either a refusal with its offset, or a torn last record."""
    path = next(write(tmp_path).glob("*.journal"))
    data = bytearray(path.read_bytes())
    for offset in range(len(data)):
        data[offset] ^= 0x41
        path.write_bytes(data)
        data[offset] ^= 0x41
        reader = JournalReader(tmp_path)
        try:
            read = list(reader)
        except JournalError as error:
            assert error.code in {"J003", "J004"}
            assert "byte" in error.what
            continue
        assert reader.torn_bytes > 0
        assert len(read) == len(RECORDS) - 1


def test_segments_are_chained(tmp_path) -> None:
    """Replacing a segment by one of another run breaks the chain, though every frame is good."""
    write(tmp_path / "a", RECORDS * 3, 300)
    write(tmp_path / "b", [Tick(1), *RECORDS[1:]] + RECORDS * 2, 300)
    (tmp_path / "a" / "00000001.journal").write_bytes((tmp_path / "b" / "00000001.journal").read_bytes())
    with pytest.raises(JournalError) as caught:
        list(JournalReader(tmp_path / "a"))
    assert caught.value.code == "J004"


def test_damage_in_an_earlier_segment_is_no_torn_tail(tmp_path) -> None:
    """Only the end of the last segment can be torn."""
    write(tmp_path, RECORDS * 3, 300)
    first = tmp_path / "00000001.journal"
    first.write_bytes(first.read_bytes()[:-5])
    with pytest.raises(JournalError) as caught:
        list(JournalReader(tmp_path))
    assert caught.value.code == "J003"


def test_journal_is_never_written_over(tmp_path) -> None:
    """A folder that holds a journal takes no second one."""
    write(tmp_path)
    with pytest.raises(JournalError) as caught:
        JournalWriter(tmp_path, "cafe")
    assert caught.value.code == "J001"


def test_empty_folder_is_named(tmp_path) -> None:
    """Reading where nothing is says so."""
    with pytest.raises(JournalError) as caught:
        JournalReader(tmp_path)
    assert caught.value.code == "J002"
