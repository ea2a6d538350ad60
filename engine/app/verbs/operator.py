"""``halt | resume | limits | flatten | rebalance``: sign a command and append it to a file.

``astra replay --commands FILE`` injects the file as records and judges it in event time. Keys come from the
environment only: ``ASTRA_OPERATOR_KEY`` signs everything, ``ASTRA_HALT_KEY`` nothing but halts.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated

import typer

from engine.app.verbs.options import bad_argument, instant_ns

OPERATOR_KEY = "ASTRA_OPERATOR_KEY"
HALT_KEY = "ASTRA_HALT_KEY"
_VALID_NS = 5 * 60 * 1_000_000_000

CommandsFile = Annotated[Path, typer.Option("--commands", help="File the signed command is appended to.")]
At = Annotated[str, typer.Option(metavar="TIME", help="When it enters the log, with time zone.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail.")]
Principal = Annotated[str, typer.Option(help="Who asks; kept in the audit trail.")]
Instance = Annotated[str, typer.Option(help="[operator] instance of the engine it is for.")]


def halt(
    commands: CommandsFile, at: At, reason: Reason, principal: Principal, instance: Instance = "astra"
) -> None:
    """Stop trading now; the book is held."""
    _append(commands, "halt", at, reason, principal, instance)


def resume(
    commands: CommandsFile,
    at: At,
    reason: Reason,
    principal: Principal,
    halt_id: Annotated[str, typer.Option(help="The halt to lift, as the halt line named it.")],
    instance: Instance = "astra",
) -> None:
    """Lift one halt; trading reduces first and opens after three good readings."""
    _append(commands, "resume", at, reason, principal, instance, halt_id=halt_id)


def limits(
    commands: CommandsFile,
    at: At,
    reason: Reason,
    principal: Principal,
    var_limit_usd: Annotated[float, typer.Option(help="New VaR limit, USD.")],
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="When the old limit returns.")] = None,
    instance: Instance = "astra",
) -> None:
    """Change the VaR limit, for good or until a time."""
    if not 0 < var_limit_usd < float("inf"):
        raise bad_argument(
            f"--var-limit-usd must be greater than 0, was {var_limit_usd:g}", "--var-limit-usd"
        )
    revert_ns = instant_ns(expires, "--expires") if expires else 0
    if expires and revert_ns <= instant_ns(at, "--at"):
        raise bad_argument(f"--expires must be after --at, was {expires}", "--expires")
    values = {"var_limit_usd": var_limit_usd, "revert_ns": float(revert_ns)}
    _append(commands, "limits", at, reason, principal, instance, values=values)


def flatten(
    commands: CommandsFile, at: At, reason: Reason, principal: Principal, instance: Instance = "astra"
) -> None:
    """Close every position, through the gate."""
    _append(commands, "flatten", at, reason, principal, instance)


def rebalance(
    commands: CommandsFile, at: At, reason: Reason, principal: Principal, instance: Instance = "astra"
) -> None:
    """Ask the allocator for a target at the next slice."""
    _append(commands, "rebalance", at, reason, principal, instance)


def _append(
    commands: Path,
    kind: str,
    at: str,
    reason: str,
    principal: str,
    instance: str,
    *,
    halt_id: str = "",
    values: dict[str, float] | None = None,
) -> None:
    from engine.commands import CommandBody, command_line, sign

    ts_ns = instant_ns(at, "--at")
    for option, text in (("--reason", reason), ("--principal", principal)):
        if not text.strip():
            raise bad_argument(f"{option} must not be empty", option, "It is kept in the audit trail.")
    key = _key(kind)
    earlier = commands.read_bytes() if commands.exists() else b""
    content = "\0".join((kind, at, reason, principal, instance, halt_id, repr(values))).encode()
    body = CommandBody(
        kind=kind,
        instance=instance,
        principal=principal,
        issued_ns=ts_ns,
        expires_ns=ts_ns + _VALID_NS,
        # Of the file so far and the command: the same command may be given twice, and no clock is read.
        nonce=hashlib.sha256(earlier + b"\0" + content).hexdigest()[:32],
        reason=reason,
        halt_id=halt_id,
        args=values or {},
    )
    separator = b"\n" if earlier and not earlier.endswith(b"\n") else b""
    with commands.open("ab") as file:
        file.write(separator + command_line(sign(body, key, ts_ns)).encode() + b"\n")
    typer.echo(f"{kind} at {at} signed for {instance} by {principal}: {commands}")


def _key(kind: str) -> bytes:
    from engine.errors import CommandError

    names = (HALT_KEY, OPERATOR_KEY) if kind == "halt" else (OPERATOR_KEY,)
    for name in names:
        if os.environ.get(name):
            return os.environ[name].encode()
    raise CommandError(
        "O001",
        f"no key to sign a {kind} with",
        " or ".join(f"${name}" for name in names),
        "Keys are read from the environment only, so that they stand in no file and no shell history.\n"
        f"set one:  read -rs {names[-1]} && export {names[-1]}",
    )
