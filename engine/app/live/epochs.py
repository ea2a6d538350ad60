"""What a new epoch is told of the one before: its halt, its commands, and alerts that still wait.

All of it is on disk beside the journal before the old one is put aside, and stays there until the new
journal has it: a process that is killed in between forgets nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.app.live.halt_marker import HaltMarker
from engine.app.live.state_folder import StateFolder
from engine.app.live.undelivered import keep_undelivered
from engine.commands import NOBODY, read_body
from engine.disk import OS_DISK, write_whole
from engine.errors import JournalError
from engine.events import Command, Nanos, NoncesUsed, TradingState
from engine.journal import JournalReader
from engine.journal_format import segments
from engine.ports import Arrival
from engine.recovery import identity_of


class _Known(msgspec.Struct):
    """What is known of the commands of an epoch: as ``NoncesUsed``; not complete if it could not be read."""

    used: dict[str, Nanos] = {}
    since_ns: Nanos = 0
    is_complete: bool = True


def end_epoch(state: StateFolder, now_ns: Nanos) -> None:
    """Put the present epoch aside, if there is one, and keep what the next must know of it."""
    old = identity_of(state.root)
    if old is None:
        return
    known = _kept(state.nonces) or _Known()
    try:
        is_closed = _read(state.journal, known)
    except (OSError, JournalError):
        is_closed = known.is_complete = False
    if not is_closed or not _was_open(state.status):
        _raise_halt(state, now_ns)
    if known != _Known():
        write_whole(OS_DISK, state.nonces, msgspec.json.encode(known))
    keep_undelivered(state, old.epoch)
    state.put_aside(old.epoch)


def inherited(state: StateFolder, now_ns: Nanos) -> Arrival | None:
    """Return what ``end_epoch`` kept of commands, as a record; once it is on disk, the file goes.

    Parameters
    ----------
    state : StateFolder
    now_ns : int
        The engine's clock. Of commands issued before it none counts if the old epoch could not be read.
    """
    known = _kept(state.nonces)
    if known is None:
        return None
    since_ns = known.since_ns if known.is_complete else now_ns
    record = NoncesUsed(now_ns, tuple(sorted(known.used.items())), since_ns)
    return Arrival(record, acknowledge=lambda: state.nonces.unlink(missing_ok=True))


def _kept(path: Path) -> _Known | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Known)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError):
        return _Known(is_complete=False)


def _read(journal: Path, known: _Known) -> bool:
    """Add what a journal says of commands; return whether it was closed in good order.

    Whether a command counted is not asked: one that was refused is not worth a second chance.
    """
    first_seq = segments(journal, OS_DISK)[0].header.first_seq
    reader = JournalReader(journal, first_seq - 1)
    for _, record in reader:
        if isinstance(record, NoncesUsed):
            known.used |= dict(record.used)
            known.since_ns = max(known.since_ns, record.since_ns)
        elif isinstance(record, Command) and record.signed_by != NOBODY:
            body = read_body(record.body)
            known.used |= {body.nonce: body.expires_ns} if body is not None else {}
    assert reader.tail is not None  # noqa: S101 - it was read to the end
    last_ns = reader.tail.last_ns
    known.used = {nonce: expires for nonce, expires in known.used.items() if expires >= last_ns}
    return reader.is_closed


def _was_open(status: Path) -> bool:
    """Whether the last status says that trading was not halted; if nobody knows, it was."""
    try:
        document = msgspec.json.decode(status.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return False
    return document.get("trading_state") in {TradingState.ACTIVE, TradingState.REDUCING}


def _raise_halt(state: StateFolder, now_ns: Nanos) -> None:
    """Make sure that the new epoch begins halted, even if this process is killed before its first record."""
    marker = HaltMarker(state.marker)
    if marker.read() is None:
        marker.raise_("NEW_EPOCH", "the epoch before this one ended halted, or nobody knows how", now_ns)
    marker.close()
