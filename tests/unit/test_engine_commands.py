"""Commands count only when every one of their claims holds."""

from __future__ import annotations

import hashlib
import hmac

import msgspec
import pytest

from engine.commands import (
    MESSAGE_BYTES_MAX,
    VALID_MAX_NS,
    CommandBody,
    Keys,
    Verifier,
    attributed,
    command_line,
    message_of,
    read_body,
    read_commands,
    read_message,
    sign,
)
from engine.events import Command, NoncesUsed

OPERATOR, HALT = b"operator-key", b"halt-key"


def body(**changes) -> CommandBody:
    """Build a valid resume command."""
    fields = {
        "kind": "resume",
        "instance": "desk-1",
        "principal": "ada",
        "issued_ns": 100,
        "expires_ns": 200,
        "nonce": "n1",
        "reason": "limits checked",
        "halt_id": "h1",
    }
    return CommandBody(**{**fields, **changes})


def judge(command: Command) -> str:
    """Judge with a fresh verifier."""
    return Verifier("desk-1", Keys(operator=OPERATOR, halt=HALT)).judge(command)[0]


def test_valid_command_counts_once() -> None:
    """A nonce counts once; its second use is a replay."""
    verifier = Verifier("desk-1", Keys(operator=OPERATOR, halt=HALT))
    command = sign(body(), OPERATOR, 150)
    assert verifier.judge(command)[0] == ""
    assert verifier.judge(command)[0] == "replayed"


def test_signature_is_that_of_any_hmac_tool() -> None:
    """The MAC is plain HMAC-SHA256 over the exact body, so other tools can sign."""
    command = sign(body(), OPERATOR, 150)
    assert command.signature == hmac.new(OPERATOR, command.body.encode(), hashlib.sha256).hexdigest()


def test_known_vector_made_with_openssl() -> None:
    """A MAC that only agrees with itself would not do.

    ``printf '%s' '<body>' | openssl dgst -sha256 -hmac operator-key``
    """
    command = sign(body(), OPERATOR, 150)
    assert command.body == (
        '{"kind":"resume","instance":"desk-1","principal":"ada","issued_ns":100,"expires_ns":200,'
        '"nonce":"n1","reason":"limits checked","halt_id":"h1","args":{}}'
    )
    assert command.signature == "1097a736efbd62e1e4db8efdd8af4230e0c22b85a16f640fe4249d4d6d39136a"


@pytest.mark.parametrize(
    ("changes", "key", "now_ns", "reason"),
    [
        ({}, b"wrong", 150, "bad_signature"),
        ({}, HALT, 150, "bad_signature"),
        ({"instance": "desk-2"}, OPERATOR, 150, "other_instance"),
        ({"reason": " "}, OPERATOR, 150, "no_reason"),
        ({"principal": ""}, OPERATOR, 150, "no_reason"),
        ({}, OPERATOR, 99, "not_yet_issued"),
        ({}, OPERATOR, 201, "expired"),
        ({"kind": "reboot"}, OPERATOR, 150, "malformed"),
        ({"expires_ns": 100 + VALID_MAX_NS}, OPERATOR, 150, ""),
        ({"expires_ns": 101 + VALID_MAX_NS}, OPERATOR, 150, "valid_too_long"),
    ],
)
def test_each_false_claim_is_refused(changes, key, now_ns, reason) -> None:
    """Wrong key, too small a key, other engine, no reason, wrong time, unknown kind, valid for too long."""
    assert judge(sign(body(**changes), key, now_ns)) == reason


def test_halting_needs_the_lower_key_only() -> None:
    """Whoever may stop need not be able to start."""
    assert judge(sign(body(kind="halt"), HALT, 150)) == ""
    assert judge(sign(body(kind="halt"), OPERATOR, 150)) == ""


def test_edited_body_is_refused() -> None:
    """One changed character breaks the signature."""
    command = sign(body(), OPERATOR, 150)
    forged = Command(150, command.body.replace("h1", "h2"), command.signature)
    assert judge(forged) == "bad_signature"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": 1}', "\ud800", "[" * 100_000])
def test_any_text_is_judged_and_none_crashes(text) -> None:
    """A decoder of untrusted text has only two answers."""
    assert judge(Command(150, text, "00")) == "malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"principal": "a" * 65},
        {"principal": "eve\x1b[2J"},
        {"nonce": "\n"},
        {"kind": "halt\x00"},
        {"reason": "r" * 501},
        {"reason": "r\n"},
        {"args": {f"x{k}": 1.0 for k in range(17)}},
    ],
)
def test_texts_are_bounded_and_printable(changes) -> None:
    """Verdicts repeat them to every terminal and journal, whoever sent them."""
    verdict, parsed = Verifier("desk-1", Keys(OPERATOR, HALT)).judge(sign(body(**changes), OPERATOR, 150))
    assert (verdict, parsed) == ("malformed", None)


def test_a_longer_text_than_a_message_may_be_is_not_even_read() -> None:
    """A file or broker may deliver any size; the work on it is bounded."""
    assert read_body(" " * MESSAGE_BYTES_MAX + sign(body(), OPERATOR, 1).body) is None


def test_a_message_travels_as_the_exact_signed_text() -> None:
    """Whoever re-encoded the body on the way would break the signature."""
    command = sign(body(reason='quote " and é'), OPERATOR, 150)
    received = read_message(message_of(command), 160)
    assert received == Command(160, command.body, command.signature)
    assert judge(received) == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"body": "{}"}',
        b'{"body": "{}", "signature": "", "more": 1}',
        b'{"body": {}, "signature": ""}',
        b"\xff",
        b'{"body": "\\ud800", "signature": ""}',
    ],
)
def test_what_is_no_message_is_none(data) -> None:
    """Two texts and nothing else."""
    assert read_message(data, 1) is None


def test_empty_key_signs_nothing() -> None:
    """An engine without keys obeys nobody, not somebody without a key."""
    verifier = Verifier("desk-1", Keys())
    assert verifier.judge(sign(body(), b"", 150))[0] == "bad_signature"


def test_used_nonces_survive_a_restart() -> None:
    """Replay protection is state."""
    first = Verifier("desk-1", Keys(operator=OPERATOR))
    command = sign(body(), OPERATOR, 150)
    assert first.judge(command)[0] == ""
    second = Verifier("desk-1", Keys(operator=OPERATOR))
    second.restore(first.state())
    assert second.judge(command)[0] == "replayed"


def test_nonces_are_forgotten_once_their_commands_expire() -> None:
    """An engine that runs for years must not remember every command of them: one hour is the most."""
    verifier = Verifier("desk-1", Keys(operator=OPERATOR))
    for k in range(100):
        now_ns = k * VALID_MAX_NS // 10
        order = body(nonce=f"n{k}", issued_ns=now_ns, expires_ns=now_ns + VALID_MAX_NS)
        assert verifier.judge(sign(order, OPERATOR, now_ns), now_ns)[0] == ""
        assert len(verifier.state()["used"]) <= 11


def test_a_clock_that_was_ahead_leaves_nothing_behind() -> None:
    """A command accepted an hour ahead would make every later one old, halts too, for that hour."""
    verifier = Verifier("desk-1", Keys(operator=OPERATOR, halt=HALT))
    ahead = sign(body(nonce="n0", issued_ns=3_700, expires_ns=3_800), OPERATOR, 3_750)
    assert verifier.judge(ahead, 140)[0] == ""
    assert verifier.judge(sign(body(), OPERATOR, 150), 140)[0] == ""
    assert verifier.judge(msgspec.structs.replace(ahead, ts_ns=3_760), 150)[0] == "replayed"


def test_a_clock_that_is_set_back_makes_no_command_young_but_stops_no_halt() -> None:
    """The closed minutes tell that a resume is old; whoever wants to halt is never told so by them."""
    verifier = Verifier("desk-1", Keys(operator=OPERATOR, halt=HALT))
    assert verifier.judge(sign(body(), OPERATOR, 150), 300)[0] == "expired"
    assert verifier.judge(sign(body(kind="halt"), HALT, 150), 300)[0] == ""
    assert verifier.judge(sign(body(kind="halt", nonce="n2"), HALT, 201), 100)[0] == "expired"


def test_what_counted_in_the_epoch_before_counts_no_more() -> None:
    """Whoever recorded a command could otherwise send it again after each new journal, restarts included."""
    fresh = Verifier("desk-1", Keys(operator=OPERATOR))
    fresh.inherit(NoncesUsed(140, (("n1", 200),)))
    second = Verifier("desk-1", Keys(operator=OPERATOR))
    second.restore(fresh.state())
    for verifier in (fresh, second):
        assert verifier.judge(sign(body(), OPERATOR, 150))[0] == "replayed"
        assert verifier.judge(sign(body(nonce="n2"), OPERATOR, 150))[0] == ""


def test_without_a_readable_epoch_before_no_older_command_counts() -> None:
    """Nobody knows which of them had counted; a later epoch must not make them young again."""
    verifier = Verifier("desk-1", Keys(operator=OPERATOR))
    verifier.inherit(NoncesUsed(101, (), 101))
    verifier.inherit(NoncesUsed(120, (), 0))
    again = Verifier("desk-1", Keys(operator=OPERATOR))
    again.restore(verifier.state())
    for one in (verifier, again):
        assert one.judge(sign(body(), OPERATOR, 150))[0] == "before_epoch"
        assert one.judge(sign(body(issued_ns=101), OPERATOR, 150))[0] == ""


def test_commands_file_round_trips_in_order_of_time() -> None:
    """Lines may stand in any order; time decides."""
    late, early = sign(body(nonce="a"), OPERATOR, 170), sign(body(nonce="b"), OPERATOR, 120)
    text = f"{command_line(late)}\n\n{command_line(early)}\n"
    assert read_commands(text) == [early, late]


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '{"ts_ns": 1}', '{"ts_ns": "x", "body": "", "signature": ""}']
)
def test_bad_line_of_a_commands_file_is_named(line) -> None:
    """A file that cannot be read is refused as a whole, by the library's own error."""
    with pytest.raises(msgspec.DecodeError):
        read_commands(line)


def test_what_the_edge_found_outlives_the_keys() -> None:
    """A halt must survive a restart with other keys, and a refused command must stay refused with its key."""
    halted = attributed(sign(body(kind="halt"), HALT, 150), Keys(OPERATOR, HALT))
    forged = attributed(sign(body(kind="resume"), b"not-the-key-of-then", 150), Keys(OPERATOR, HALT))
    assert (halted.signed_by, forged.signed_by) == ("halt", "nobody")
    for keys in (Keys(), Keys(operator=b"not-the-key-of-then")):
        assert Verifier("desk-1", keys).judge(halted)[0] == ""
        assert Verifier("desk-1", keys).judge(forged)[0] == "bad_signature"


def test_the_halt_key_still_does_nothing_but_halt() -> None:
    """Who signed is recorded; what that person may do is not widened by it."""
    resume = attributed(sign(body(kind="resume"), HALT, 150), Keys(OPERATOR, HALT))
    assert Verifier("desk-1", Keys(OPERATOR, HALT)).judge(resume)[0] == "bad_signature"
