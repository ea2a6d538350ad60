"""Operator commands: signed, expiring, single-use, judged in event time.

A command is the exact JSON text of a ``CommandBody`` and the HMAC-SHA256 of those bytes. Two keys exist: the
operator key may do everything, the halt key only halts, so that stopping needs less privilege than starting
again. Every verdict is an event before it takes effect; used nonces are state, so a replayed command stays
refused after a restart, and a record of a new epoch, so it stays refused there. No command is valid for long,
so that only those of the last hour need be remembered.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from engine.events import SECOND_NS, Command, Nanos, NoncesUsed
from engine.ports import State

KINDS: Final = ("halt", "resume", "limits", "flatten", "rebalance")
#: Values of ``Command.signed_by``.
OPERATOR: Final = "operator"
HALT: Final = "halt"
NOBODY: Final = "nobody"
#: Reason of the halt that somebody on the machine asks for with a signal, which needs no key.
SIGNAL: Final = "SIGNAL"
#: No time of a command lies beyond (the year 2116): what is stored must fit 64 bits everywhere.
TIME_MAX_NS: Final = 1 << 62
#: The longest that a command may be valid: nonces are remembered until their commands expire.
VALID_MAX_NS: Final = 3_600 * SECOND_NS
#: Bytes of one message, body and signature together: what is longer is not even read.
MESSAGE_BYTES_MAX: Final = 64 * 1024

#: Texts are bounded and hold no control characters: verdicts repeat them to terminals, signed or not.
_PRINTABLE = r"\A[^\x00-\x1f\x7f-\x9f]*\Z"
_Word = Annotated[str, Meta(max_length=64, pattern=_PRINTABLE)]
_Line = Annotated[str, Meta(max_length=500, pattern=_PRINTABLE)]


class CommandBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an operator asks for; the signed bytes are this as JSON.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    args : dict of str to float
        For ``limits``: new values by name, and ``revert_ns`` (``engine/controls.py``).
    instance : str
        Which engine it is for.
    principal : str
        Who asks; named in the audit trail.
    issued_ns, expires_ns : int
        It counts only from ``issued_ns`` to ``expires_ns``, ``VALID_MAX_NS`` later at most.
    nonce : str
        Counts once.
    reason : str
        Why; required.
    halt_id : str
        Which halt a ``resume`` lifts.
    """

    kind: _Word
    instance: _Word
    principal: _Word
    issued_ns: Nanos
    expires_ns: Nanos
    nonce: _Word
    reason: _Line
    halt_id: _Word = ""
    args: Annotated[dict[_Word, float], Meta(max_length=16)] = {}


class Keys(msgspec.Struct, frozen=True):
    """Secrets of one instance; an empty key accepts nothing."""

    operator: bytes = b""
    halt: bytes = b""

    def __repr__(self) -> str:
        """Never show a secret."""
        return "Keys(***)"


_decoder = msgspec.json.Decoder(CommandBody)


def sign(body: CommandBody, key: bytes, ts_ns: Nanos) -> Command:
    """Sign a command; ``ts_ns`` is when it enters the log.

    Examples
    --------
    >>> body = CommandBody(kind="halt", instance="a", principal="eve", issued_ns=0, expires_ns=9, nonce="n",
    ...                    reason="test")
    >>> verdict, parsed = Verifier("a", Keys(halt=b"key")).judge(sign(body, b"key", 1))
    >>> verdict, parsed.kind
    ('', 'halt')
    """
    text = msgspec.json.encode(body)
    return Command(ts_ns, text.decode(), hmac.new(key, text, hashlib.sha256).hexdigest())


class Verifier:
    """Decides whether a command counts; remembers the nonces of those that did.

    Parameters
    ----------
    instance : str
        Commands for another instance are refused.
    keys : Keys
        For commands of which the log does not say who signed them.
    """

    def __init__(self, instance: str, keys: Keys) -> None:
        self._instance = instance
        self._keys = keys
        self._used: dict[str, Nanos] = {}
        self._since_ns: Nanos = 0

    def judge(self, command: Command, seen_ns: Nanos = 0) -> tuple[str, CommandBody | None]:
        """Check form, signature, privilege, instance, time and nonce, in this order.

        Parameters
        ----------
        command : Command
            ``ts_ns``, when it entered the log, is the time it is judged by.
        seen_ns : int
            Until when the minutes of the log have been closed, which no jump of the wall clock can move: a
            clock that is set back behind it makes no old command young again. Halts are judged by the wall
            clock alone: whatever is wrong with the time, stopping is allowed.

        Returns
        -------
        reason : str
            Empty if it counts, else why it does not.
        body : CommandBody or None
            None when the text is no command at all.
        """
        body = read_body(command.body)
        if body is None:
            return "malformed", None
        return self._refusal(command, body, seen_ns), body

    def _refusal(self, command: Command, body: CommandBody, seen_ns: Nanos) -> str:
        is_ordered = 0 <= body.issued_ns <= body.expires_ns < TIME_MAX_NS
        if body.kind not in KINDS or not is_ordered:
            return "malformed"
        signer = command.signed_by or signer_of(command, self._keys)
        if not (signer == OPERATOR or (signer == HALT and body.kind == "halt")):
            return "bad_signature"
        if body.instance != self._instance:
            return "other_instance"
        if not body.reason.strip() or not body.principal.strip():
            return "no_reason"
        now_ns = command.ts_ns if body.kind == "halt" else max(command.ts_ns, seen_ns)
        if untimely := self._untimely(body, now_ns):
            return untimely
        # Not by the wall clock: while it is ahead it would forget what counts again when it is set right.
        self._used = {nonce: expires for nonce, expires in self._used.items() if expires >= seen_ns}
        if body.nonce in self._used:
            return "replayed"
        self._used[body.nonce] = body.expires_ns
        return ""

    def _untimely(self, body: CommandBody, now_ns: Nanos) -> str:
        if body.expires_ns - body.issued_ns > VALID_MAX_NS:
            return "valid_too_long"
        if body.issued_ns < self._since_ns:
            return "before_epoch"
        if now_ns < body.issued_ns:
            return "not_yet_issued"
        return "expired" if now_ns > body.expires_ns else ""

    def inherit(self, record: NoncesUsed) -> None:
        """Take over what the epoch before this one knew of commands."""
        self._used |= dict(record.used)
        self._since_ns = max(self._since_ns, record.since_ns)

    def state(self) -> State:
        """Return the nonces that may not be used again, with their expiries, and since when any count."""
        return {"used": dict(self._used), "since_ns": self._since_ns}

    def restore(self, state: State) -> None:
        """Continue from ``state``."""
        self._used = dict(state["used"])
        self._since_ns = state["since_ns"]


def read_body(text: str) -> CommandBody | None:
    """Read the text of a command; None if it is none."""
    if len(text) > MESSAGE_BYTES_MAX:
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def signer_of(command: Command, keys: Keys) -> str:
    """Return whose key signed a command: ``operator``, ``halt`` or ``nobody``."""
    if _signed_with(keys.operator, command):
        return OPERATOR
    return HALT if _signed_with(keys.halt, command) else NOBODY


def attributed(command: Command, keys: Keys) -> Command:
    """Record in a command who signed it, before it enters the log."""
    return msgspec.structs.replace(command, signed_by=signer_of(command, keys))


def _signed_with(key: bytes, command: Command) -> bool:
    if not key:
        return False
    expected = hmac.new(key, command.body.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), command.signature.encode(errors="replace"))


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str
    signature: Annotated[str, Meta(max_length=128)]


_message_decoder = msgspec.json.Decoder(_Message)


def message_of(command: Command) -> bytes:
    """Write a command as it travels: ``{"body": "<exact signed text>", "signature": "<hex>"}``."""
    return msgspec.json.encode(_Message(command.body, command.signature))


def read_message(data: bytes, ts_ns: Nanos) -> Command | None:
    """Read a command as it travelled, and stamp it; None if the bytes are no message.

    Examples
    --------
    >>> read_message(b'{"body": "{}", "signature": "00"}', 7)
    Command(ts_ns=7, body='{}', signature='00', signed_by='')
    >>> read_message(b"nonsense", 7)
    """
    if len(data) > MESSAGE_BYTES_MAX:
        return None
    try:
        message = _message_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Command(ts_ns, message.body, message.signature)


def read_commands(text: str) -> list[Command]:
    """Read a commands file: one JSON object ``{"ts_ns", "body", "signature"}`` a line, in order of time.

    Raises
    ------
    msgspec.DecodeError
        If a line is not of that form; the caller names file and line.
    """
    decoder = msgspec.json.Decoder(dict[str, Any])
    commands = []
    for line in text.split("\n"):  # a text in a command may hold what Python takes for the end of a line, too
        if line.strip():
            fields = decoder.decode(line)
            commands.append(msgspec.convert([Command.__name__, *_fields(fields)], Command))
    return sorted(commands, key=lambda command: command.ts_ns)


def command_line(command: Command) -> str:
    """Write one line of a commands file."""
    return msgspec.json.encode(
        {"ts_ns": command.ts_ns, "body": command.body, "signature": command.signature}
    ).decode()


def _fields(fields: dict[str, Any]) -> tuple[Any, Any, Any]:
    if set(fields) != {"ts_ns", "body", "signature"}:
        raise msgspec.DecodeError(f"expected the keys ts_ns, body and signature, was {sorted(fields)}")
    return fields["ts_ns"], fields["body"], fields["signature"]
