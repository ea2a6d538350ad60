"""A new epoch knows how the one before it ended, and which commands have counted there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.app.live.epochs import end_epoch, inherited
from engine.app.live.halt_marker import HaltMarker
from engine.app.live.state_folder import StateFolder
from engine.app.live.undelivered import told_again
from engine.commands import HALT, NOBODY, OPERATOR, CommandBody, sign
from engine.events import Alert, Command, NoncesUsed, Record, Tick
from engine.journal import JournalWriter
from engine.journal_format import Identity, decode_record, encode_record
from engine.sinks.courier import write_cursors

NOON_NS = 1_767_700_800_000_000_000
SECOND_NS = 1_000_000_000


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    """Return a state folder whose last status was open."""
    (tmp_path / "status.json").write_text('{"trading_state": "ACTIVE"}')
    return StateFolder(tmp_path)


def command(nonce: str, signed_by: str = OPERATOR, valid_s: int = 60) -> Command:
    """Return a command as the edge records it."""
    body = CommandBody(
        kind="halt",
        instance="a",
        principal="ada",
        issued_ns=NOON_NS,
        expires_ns=NOON_NS + valid_s * SECOND_NS,
        nonce=nonce,
        reason="test",
    )
    signed = sign(body, b"key", NOON_NS)
    return Command(NOON_NS, signed.body, signed.signature, signed_by)


def write(state: StateFolder, records: list[Record], *, epoch: str = "one", is_closed: bool = True) -> None:
    """Write the journal of an epoch."""
    writer = JournalWriter(state.journal, Identity("hash", epoch=epoch), segment_bytes=400)
    for seq, record in enumerate(records, start=1):
        writer.append(seq, record)
        writer.commit()
    if is_closed:
        writer.close()


def told(state: StateFolder, now_ns: int = NOON_NS) -> NoncesUsed | None:
    """Return what the next epoch's journal is told, as it is read back."""
    arrival = inherited(state, now_ns)
    return None if arrival is None else decode_record(encode_record(arrival.record))  # type: ignore[return-value]


def halt(state: StateFolder) -> str:
    """Return the reason of the halt that the next epoch begins with; empty for none."""
    marker = HaltMarker(state.marker)
    raised = marker.read()
    marker.close()
    return "" if raised is None else raised.reason


def test_a_quiet_epoch_leaves_nothing(state: StateFolder) -> None:
    """A day without commands that was closed in good order is put aside, and that is all."""
    write(state, [Tick(NOON_NS)])
    end_epoch(state, NOON_NS)
    assert (halt(state), told(state), state.journal.exists()) == ("", None, False)
    assert (state.root / "archive" / "one" / "journal").is_dir()
    end_epoch(state, NOON_NS)  # there is nothing to end any more
    assert not state.nonces.exists()


def test_commands_that_are_still_valid_are_remembered(state: StateFolder) -> None:
    """Expired ones need no memory; what nobody of ours had signed could fill it."""
    write(
        state,
        [
            command("b"),
            Tick(NOON_NS + 30 * SECOND_NS),
            command("a", HALT),
            command("old", valid_s=29),
            command("forged", NOBODY),
            Command(NOON_NS, "no command", "", OPERATOR),
        ],
    )
    end_epoch(state, NOON_NS)
    expires_ns = NOON_NS + 60 * SECOND_NS
    assert told(state, 5) == NoncesUsed(5, (("a", expires_ns), ("b", expires_ns)))
    assert halt(state) == ""


def test_they_are_remembered_until_the_new_journal_has_them(state: StateFolder) -> None:
    """Killed between two journals, a process tells the next one again, until the disk has it."""
    write(state, [command("a")])
    end_epoch(state, NOON_NS)
    write(state, [command("b")], epoch="two")  # and this one never took what it was told
    end_epoch(state, NOON_NS)
    arrival = inherited(state, NOON_NS)
    assert arrival is not None
    assert isinstance(arrival.record, NoncesUsed)
    assert [nonce for nonce, _ in arrival.record.used] == ["a", "b"]
    assert arrival.acknowledge is not None
    arrival.acknowledge()
    assert inherited(state, NOON_NS) is None


def test_what_an_epoch_was_told_it_tells_the_next(state: StateFolder) -> None:
    """Two new journals within a minute must not make a command count again."""
    write(state, [NoncesUsed(NOON_NS, (("a", NOON_NS + SECOND_NS),), 7)])
    end_epoch(state, NOON_NS)
    assert told(state, 9) == NoncesUsed(9, (("a", NOON_NS + SECOND_NS),), 7)


def test_of_an_epoch_that_cannot_be_read_no_command_counts_again(state: StateFolder) -> None:
    """Nobody knows what had counted: all that is older is refused, and trading is halted."""
    write(state, [command("a"), command("b"), command("c")])
    path = min(state.journal.iterdir())
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(bytes(data))
    end_epoch(state, NOON_NS)
    record = told(state, 99)
    assert record is not None
    assert record.since_ns == 99
    assert halt(state) == "NEW_EPOCH"


def test_damage_to_the_memory_counts_as_not_knowing(state: StateFolder) -> None:
    """Half a file is no empty one."""
    state.nonces.write_text('{"used": {"a"')
    assert told(state, 99) == NoncesUsed(99, (), 99)


@pytest.mark.parametrize(
    ("status", "is_closed"),
    [('{"trading_state": "HALTED"}', True), ("{", True), ('{"trading_state": "ACTIVE"}', False)],
)
def test_an_epoch_that_did_not_end_well_halts_the_next(
    state: StateFolder, status: str, is_closed: bool
) -> None:
    """Halted, unknown, or killed: a new journal is no way around a halt."""
    state.status.write_text(status)
    write(state, [command("a")], is_closed=is_closed)
    end_epoch(state, NOON_NS)
    assert halt(state) == "NEW_EPOCH"
    assert told(state) is not None


def line(id_: str, text: str, epoch: str = "one") -> str:
    """Return a line of alerts.jsonl."""
    fields = {"id": id_, "instance": "a", "epoch": epoch, "type": "Alert", "ts": "2026-01-06T12:00:00Z"}
    return json.dumps(fields | {"severity": "critical", "kind": "halted", "text": text}) + "\n"


def test_what_a_sink_never_got_the_next_epoch_tells(state: StateFolder) -> None:
    """The server was away, the halt unheard, and the new journal begins with an empty outbox."""
    write(state, [command("a")])
    lines = [
        line("9-0", "of before", "zero"),
        line("3-1", "heard"),
        line("8-0", "lost"),
        line("12-2", "too"),
        "{",
    ]
    state.alerts.write_text("".join(lines))
    cursors = {"file": {"urgent": (12, 2)}, "redis": {"urgent": (3, 1)}, "mqtt": {"urgent": (8, 0)}}
    write_cursors(state.cursors, "one", cursors)
    end_epoch(state, NOON_NS)
    arrivals = told_again(state, 5)
    before = "undelivered since 2026-01-06T12:00:00Z, epoch one: "
    assert [arrival.record for arrival in arrivals] == [
        Alert(5, "critical", "halted", before + "lost"),
        Alert(5, "critical", "halted", before + "too"),
    ]
    write(state, [Tick(NOON_NS)], epoch="two")  # killed before it took them
    end_epoch(state, NOON_NS)
    first, last = told_again(state, 6)
    assert first.acknowledge is None
    assert last.acknowledge is not None
    last.acknowledge()
    assert told_again(state, 7) == []


@pytest.mark.parametrize(("cursors", "told_ids"), [({"file": {"urgent": (9, 0)}}, 0), ({}, 1)])
def test_who_is_not_known_to_have_heard_is_told(state: StateFolder, cursors, told_ids) -> None:
    """Without any other sink there is nobody to tell; without cursors nobody knows, and twice is better."""
    write(state, [Tick(NOON_NS)])
    state.alerts.write_text(line("3-1", "heard?"))
    if cursors:
        write_cursors(state.cursors, "one", cursors)
    end_epoch(state, NOON_NS)
    assert len(told_again(state, 5)) == told_ids


def test_a_compacted_journal_is_whole_enough(state: StateFolder) -> None:
    """Retention deletes old segments; an epoch that had lived for weeks still ends well."""
    write(state, [*(command(f"n{k}") for k in range(8)), Tick(NOON_NS)])
    first = min(state.journal.iterdir())
    first.unlink()
    end_epoch(state, NOON_NS)
    record = told(state)
    assert record is not None
    assert record.since_ns == 0
    assert {"n6", "n7"} <= {nonce for nonce, _ in record.used}
    assert halt(state) == ""
