"""From the draft of a command to a signed one: appended to a file, or sent to the running engine."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from pathlib import Path
from typing import Final

import msgspec

from engine.app.config.load import Config
from engine.app.given import bad_argument
from engine.app.keys import signing_key
from engine.app.live.health_view import Phase
from engine.app.live.operator_send import Document, Way, ask, engine_now_ns, line_to, read_status
from engine.app.live.status_page import duration
from engine.app.verbs.options import instant_ns
from engine.clock import instant, wall_ns
from engine.commands import VALID_MAX_NS, CommandBody, command_line, message_of, read_body, sign
from engine.controls import REVERT
from engine.errors import ServiceError
from engine.events import SECOND_NS, CommandJudged, Nanos

#: How long a command counts: in a file, and when it is sent. A sender's clock may be a little ahead.
_VALID_IN_FILE_S: Final = 300
_VALID_S: Final = 60
_SKEW_S: Final = 5
_UNIT_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


class Draft(msgspec.Struct, frozen=True):
    """A command before it is signed: what all of them have in common, checked.

    ``config`` is None when it is appended to ``commands``; ``at`` is how its time was written.
    """

    kind: str
    reason: str
    principal: str
    instance: str
    config: Config | None
    via: Way | None
    timeout_s: float
    commands: Path | None
    at: str | None
    at_ns: Nanos | None


class Appended(msgspec.Struct, frozen=True):
    """A signed command in a file: what it is and whose, when it enters the log, its nonce, and the file."""

    kind: str
    instance: str
    principal: str
    ts_ns: Nanos
    nonce: str
    commands: Path

    def __str__(self) -> str:
        """Return one line for people."""
        who = f"for {self.instance} by {self.principal}"
        return f"{self.kind} at {instant(self.ts_ns)} signed {who}: {self.commands}"


def append(draft: Draft, halt_id: str, values: dict[str, float], expires: str | None) -> Appended:
    """Sign a command and append it to a file."""
    assert draft.commands is not None  # noqa: S101 - the caller has looked
    assert draft.at_ns is not None  # noqa: S101
    args = _args(values, expires, draft.at_ns)
    key = signing_key(draft.kind)
    earlier = draft.commands.read_bytes() if draft.commands.exists() else b""
    said = (draft.kind, draft.at, draft.reason, draft.principal, draft.instance, halt_id, repr(args))
    # Of the file so far and the command: the same command may be given twice, and no clock is read.
    nonce = hashlib.sha256(earlier + b"\0" + "\0".join(map(str, said)).encode()).hexdigest()[:32]
    window = (draft.at_ns, draft.at_ns + _VALID_IN_FILE_S * SECOND_NS)
    command = sign(_body(draft, halt_id, args, nonce, window), key, draft.at_ns)
    separator = b"\n" if earlier and not earlier.endswith(b"\n") else b""
    with draft.commands.open("ab") as file:
        file.write(separator + command_line(command).encode() + b"\n")
    return Appended(draft.kind, draft.instance, draft.principal, draft.at_ns, nonce, draft.commands)


def send(draft: Draft, halt_id: str, values: dict[str, float], expires: str | None) -> CommandJudged:
    """Sign a command, send it to the running engine, and wait for the verdict.

    Raises
    ------
    ServiceError
        S033, S034 if the engine cannot be reached; S035 if nobody answers in time.
    """
    return asyncio.run(_send(draft, halt_id, values, expires))


async def _send(draft: Draft, halt_id: str, values: dict[str, float], expires: str | None) -> CommandJudged:
    assert draft.config is not None  # noqa: S101 - what is sent has a configuration
    key = signing_key(draft.kind)
    async with line_to(draft.config, draft.via) as line:
        status = await read_status(line)
        now_ns, speed = engine_now_ns(status, wall_ns())
        # A tape played fast shortens the minute: no engine lets a command be valid for longer than this.
        second_ns = min(round(max(speed, 1.0) * SECOND_NS), VALID_MAX_NS // (_SKEW_S + _VALID_S))
        window = (now_ns - _SKEW_S * second_ns, now_ns + _VALID_S * second_ns)
        nonce = secrets.token_hex(16)
        body = _body(draft, halt_id, _args(values, expires, now_ns), nonce, window)
        if status is not None and status["phase"] == Phase.STOPPED:
            await line.send(message_of(sign(body, key, now_ns)), nonce)
            raise _stopped(status, draft, line.name)
        verdict = await ask(line, sign(body, key, now_ns), nonce, draft.timeout_s)
        if verdict is None:
            what = f"nobody answered within {draft.timeout_s:g} s; the command was handed over by {line.name}"
            raise ServiceError("S035", what, draft.instance, _unanswered(status, draft.kind))
        return verdict


def _stopped(status: Document, draft: Draft, way: Way) -> ServiceError:
    """Say at once that nobody will answer: an engine that has ended in good order said so."""
    since = duration((wall_ns() - int(status["written_ns"])) / SECOND_NS)
    return ServiceError(
        "S035",
        f"the engine stopped {since} ago; the {draft.kind} was handed over by {way}",
        draft.instance,
        f"Nothing trades while it is stopped. Its next start judges the {draft.kind}, and refuses what is\n"
        f"older than {_VALID_S} s: start it, wait until astra status says running, and give it again.",
    )


def _unanswered(status: Document | None, kind: str) -> str:
    seen = "It has no status there: is it running, and is the instance right?" if status is None else ""
    return (
        f"{seen}\nThe engine may still take it until it expires, within {_VALID_S} s.\n"
        f"Look before you repeat the {kind}: astra status"
    ).strip()


def status_of(config: Config, via: Way | None) -> Document:
    """Return the status document of the running engine.

    Raises
    ------
    ServiceError
        S033, S034 if the way to it cannot be used; S036 if there is no document.
    """
    return asyncio.run(_status(config, via))


async def _status(config: Config, via: Way | None) -> Document:
    async with line_to(config, via) as line:
        document = await read_status(line)
    if document is None:
        what = f"no engine {config.operator.instance!r} has a status there that this version reads"
        hint = "Start it with astra run, or name its configuration with --config."
        raise ServiceError("S036", what, f"by {line.name}", hint)
    return document


def _body(
    draft: Draft, halt_id: str, args: dict[str, float], nonce: str, window: tuple[Nanos, Nanos]
) -> CommandBody:
    """Make the body, and refuse one that the engine could not read."""
    body = CommandBody(
        kind=draft.kind,
        instance=draft.instance,
        principal=draft.principal,
        issued_ns=window[0],
        expires_ns=window[1],
        nonce=nonce,
        reason=draft.reason,
        halt_id=halt_id,
        args=args,
    )
    if read_body(msgspec.json.encode(body).decode()) is None:
        why = "Texts have at most 64 characters, the reason 500, and no control characters."
        raise bad_argument("the command is not one that an engine reads", "--reason, --principal", why)
    return body


def _args(values: dict[str, float], expires: str | None, now_ns: Nanos) -> dict[str, float]:
    """Return the arguments of a ``limits`` command; ``expires`` is an instant, or how long from now."""
    if not values:
        return {}
    if expires is None:
        return {**values, REVERT: 0.0}
    after = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)", expires.strip())
    if after is not None:
        revert_ns = now_ns + round(float(after[1]) * _UNIT_S[after[2]] * SECOND_NS)
    else:
        revert_ns = instant_ns(expires, "--expires")
    if revert_ns <= now_ns:
        raise bad_argument(f"--expires must lie ahead, was {expires}", "--expires")
    return {**values, REVERT: float(revert_ns)}
