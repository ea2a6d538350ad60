"""Damage is detected, never applied: whatever becomes of the bytes, what is read is what was written."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import JournalError
from engine.journal import JournalReader
from engine.journal_format import Frames, encode_record
from tests.support.bad_disk import BadDisk, Inode
from tests.support.core import slice_of
from tests.support.journals import RECORDS, encoded, write

FOLDER = Path("journal")
NAME = "00000001.journal"


@cache
def journal(n_symbols: int, every: int, is_closed: bool) -> tuple[bytes, list[bytes]]:
    """Return the bytes of a journal of one segment, and its records."""
    rng = np.random.default_rng(5)
    slices = [slice_of(rng.normal(100, 1, n_symbols), minute=k) for k in range(1, 3 if n_symbols < 9 else 40)]
    records = [*RECORDS, *slices]
    disk = BadDisk()
    write(FOLDER, records, every=every, disk=disk, is_closed=is_closed)
    return disk.read(FOLDER / NAME), encoded(records)


def read(data: bytes) -> tuple[list[bytes], JournalReader] | JournalError:
    """Read a segment; the error if it is refused."""
    disk = BadDisk()
    disk.make_folder(FOLDER)
    disk._shown[FOLDER][NAME] = Inode(data, data)
    try:
        reader = JournalReader(FOLDER, disk=disk)
        return [encode_record(record) for _, record in reader], reader
    except JournalError as error:
        return error


@pytest.mark.parametrize("is_closed", [True, False])
def test_every_flipped_byte_is_detected(is_closed) -> None:
    """A refusal with its offset, or at most the last commit of a writer that was not closed."""
    data, records = journal(2, 3, is_closed)
    for offset in range(len(data)):
        for mask in (0x01, 0x41, 0xFF):
            found = read(data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :])
            if isinstance(found, JournalError):
                assert found.code in {"J003", "J004"}
                assert "at byte" in found.what
            else:
                assert found[1].torn_bytes > 0
                # Only the mark of closing itself is torn, or the last commit (of two records).
                assert found[0] == (records if is_closed else records[:-2])
    assert data


def test_flipped_bits_of_a_large_journal_are_detected() -> None:
    """What lies behind the first window of a reader is checked as well as what lies in it."""
    data, records = journal(65, 8, True)
    assert len(data) > 100_000
    rng = np.random.default_rng(11)
    for bit in rng.integers(0, 8 * len(data), 1_500).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        found = read(bytes(damaged))
        if not isinstance(found, JournalError):
            assert (found[0], found[1].is_closed) == (records, False)
            assert found[1].torn_bytes > 0
            assert bit // 8 >= len(data) - 20


@pytest.mark.parametrize("is_closed", [True, False])
def test_every_truncation_is_a_torn_tail_or_a_refusal(is_closed) -> None:
    """Cut at any byte: whole commits before the cut are read, the rest is reported, nothing is invented."""
    data, records = journal(2, 3, is_closed)
    for cut in range(len(data)):
        found = read(data[:cut])
        if isinstance(found, JournalError):
            assert found.code == "J004"  # not even the header is left
        else:
            got, reader = found
            assert got == records[: len(got)]
            assert len(got) % 3 == 0 or len(got) == len(records)
            assert not reader.is_closed
            assert reader.tail is not None
            assert reader.tail.size_bytes + reader.torn_bytes == cut


DAMAGE = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 60), st.binary(max_size=60), st.booleans()),
    min_size=1,
    max_size=3,
)


@given(damage=DAMAGE, every=st.sampled_from([1, 3, 8]), is_closed=st.booleans())
def test_any_damage_leaves_a_prefix_or_a_refusal(damage, every, is_closed) -> None:
    """Overwritten, cut out, inserted, moved: no record is changed, doubled, left out or exchanged."""
    data, records = journal(2, every, is_closed)
    for at, length, garbage, is_moved in damage:
        start = int(at * len(data))
        cut = data[start : start + length]
        data = data[:start] + garbage + data[start + length :] + (cut if is_moved else b"")
    found = read(data)
    if not isinstance(found, JournalError):
        assert found[0] == records[: len(found[0])]


@given(data=st.binary(max_size=400), start=st.sampled_from([0, 4, 20, 200]))
def test_no_bytes_crash_the_reader(data, start) -> None:
    """A disk may give back anything; the answer is always a refusal or a torn tail."""
    good, records = journal(2, 1, False)
    found = read(good[:start] + data)
    if not isinstance(found, JournalError):
        assert found[0] == records[: len(found[0])]


def test_a_large_damaged_tail_is_judged_at_once(monkeypatch) -> None:
    """Megabytes of garbage must not be tried as a frame at each byte: a start that hangs is no start."""
    data, records = journal(2, 1, False)
    rng = np.random.default_rng(3)
    garbage = rng.integers(0, 256, 6 << 20, dtype=np.uint8).tobytes()
    tries = []
    at = Frames.at
    monkeypatch.setattr(Frames, "at", lambda self, offset: tries.append(offset) or at(self, offset))
    found = read(data + garbage)
    assert not isinstance(found, JournalError)
    assert (found[0], found[1].torn_bytes) == (records, len(garbage))
    assert len(tries) < 40
    assert isinstance(read(data[:-60] + garbage + data[-60:] + data), JournalError)
