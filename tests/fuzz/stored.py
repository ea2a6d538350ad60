"""What a disk may give back, and what a person may have typed: journal, snapshots, markers, configuration."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import msgspec

from engine.app.config.load import parse
from engine.app.config.resolved import config_hash, document_of, resolved_toml
from engine.app.live.halt_marker import HaltMarker
from engine.errors import AstraError, JournalError
from engine.journal import JournalReader
from engine.journal_format import FORMAT, Header, decode_record, encode_record, frame, header_frame, new_chain
from engine.sinks.courier import read_cursors, write_cursors
from engine.snapshots import Snapshot, SnapshotStore
from engine.state import from_bytes, to_bytes
from tests.support.bad_disk import BadDisk, Inode
from tests.support.journals import IDENTITY

FOLDER = Path("journal")
_HEADER = header_frame(Header(FORMAT, IDENTITY, 1, 0, new_chain().digest()))
_REFUSED = frozenset({"J003", "J004", "J005", "J014"})


def record(data: bytes) -> None:
    """Read the bytes of a record: one of the known records, whose bytes are then canonical, or refused."""
    try:
        found = decode_record(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return
    once = encode_record(found)
    assert encode_record(decode_record(once)) == once


def journal(data: bytes) -> None:
    """Read a segment; its first byte says what is arbitrary: all, the body of a frame, or the header."""
    kind, rest = data[:1], data[1:]
    if kind == b"0":
        content = rest
    elif kind == b"1":
        content = _HEADER + frame(1, rest) + frame(2, b"")
    else:
        content = frame(0, rest) + frame(1, b"")
    disk = BadDisk()
    disk.make_folder(FOLDER)
    disk._shown[FOLDER]["00000001.journal"] = Inode(content, content)
    try:
        reader = JournalReader(FOLDER, disk=disk)
        seqs = [seq for seq, _ in reader]
    except JournalError as error:
        assert error.code in _REFUSED
        return
    first_seq = reader.last_seq - len(seqs) + 1
    assert seqs == list(range(first_seq, reader.last_seq + 1))
    assert reader.tail is not None
    assert reader.tail.size_bytes + reader.torn_bytes == len(content)


def state(data: bytes) -> None:
    """Read the payload of a snapshot: canonical once it was read, or an error that recovery tells."""
    try:
        once = to_bytes(from_bytes(data))
    except (LookupError, TypeError, ValueError, RecursionError):
        return
    assert to_bytes(from_bytes(once)) == once


def snapshot(data: bytes) -> None:
    """Read a file of snapshots: good, or passed over with a reason; a first byte of 1 adds the right hash."""
    body = data[1:]
    content = b"\xffAS1" + hashlib.sha256(body).digest() + body if data[:1] == b"1" else body
    disk = BadDisk()
    disk.make_folder(FOLDER)
    disk._shown[FOLDER]["000000000007.snapshot"] = Inode(content, content)
    store = SnapshotStore(FOLDER, IDENTITY, disk=disk)
    found = list(store.newest_good())
    assert len(found) + len(store.skipped) == 1
    for one in found:
        assert isinstance(one, Snapshot)
        assert (one.seq, one.identity.epoch) == (7, IDENTITY.epoch)


@cache
def scratch() -> Path:
    """Return a folder for what can only be read from a file; it goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="astra-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _marker() -> tuple[HaltMarker, bytes]:
    path = scratch() / "halt.marker"
    return HaltMarker(path), path.read_bytes()


def marker(data: bytes) -> None:
    """Read the durable halt: anything but an exactly clear file is one."""
    opened, clear = _marker()
    os.ftruncate(opened.fd, 0)
    os.pwrite(opened.fd, data, 0)
    raised = opened.read()
    assert (raised is None) == (data == clear)
    assert raised is None or 0 < len(raised.reason) <= 64
    assert raised is None or len(raised.detail) <= 500


def cursors(data: bytes) -> None:
    """Read how far the sinks had come, or find it forgotten, so that all is delivered once more."""
    path = scratch() / "cursors.json"
    path.write_bytes(data)
    found = read_cursors(path, "e")
    if found:
        write_cursors(path, "e", found)
        assert read_cursors(path, "e") == found


def config(data: bytes) -> None:
    """Read a configuration: refused with errors that have a code, or the same once it is written out."""
    text = data.decode(errors="replace")
    try:
        found = parse(text, Path("/nowhere"))
    except AstraError as error:
        assert str(error)
        return
    again = parse(resolved_toml(found), Path("/nowhere"))
    if found.redis is None:  # its password is masked
        assert document_of(again) == document_of(found)
        assert config_hash(again) == config_hash(found)
