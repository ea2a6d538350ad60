"""``halt | resume | limits | flatten | rebalance``: sign a command and send it; ``status``: look.

Without ``--commands`` a command goes to the running engine of the configuration, and the verdict is printed.
``--commands FILE --at TIME`` appends it to a file instead, which ``astra replay --commands FILE`` judges in
event time. ``ASTRA_OPERATOR_KEY`` signs everything, ``ASTRA_HALT_KEY`` nothing but halts.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import AsJson, Overrides, instant_ns, load_config, to_json

if TYPE_CHECKING:
    from engine.app.live.operator_send import Document
    from engine.app.verbs.drafts import Draft

#: A halt is for haste; everything else has to say why.
_HALT_REASON: Final = "operator halt"

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration of the engine; default ./astra.toml.", show_default=False),
]
Via = Annotated[
    Literal["redis", "mqtt", "spool"] | None,
    typer.Option(help="How to reach it; default [redis], else [mqtt], else its state folder."),
]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for the verdict.")]
CommandsFile = Annotated[
    Path | None, typer.Option("--commands", help="Append to this file for a replay; nothing is sent.")
]
At = Annotated[
    str | None, typer.Option(metavar="TIME", help="With --commands: when it enters the log, with time zone.")
]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail.")]
Principal = Annotated[
    str | None, typer.Option(help="Who asks; kept in the audit trail; default your login name.")
]
Instance = Annotated[
    str | None, typer.Option(help="[operator] instance it is for; default that of the configuration.")
]
Number = float | None


def halt(
    reason: Reason = _HALT_REASON,
    config: ConfigOption = None,
    overrides: Overrides = None,
    via: Via = None,
    timeout: Timeout = 10.0,
    commands: CommandsFile = None,
    at: At = None,
    principal: Principal = None,
    instance: Instance = None,
    is_json: AsJson = False,
) -> None:
    """Stop trading now; the book is held."""
    draft = _draft("halt", reason, config, overrides, via, timeout, commands, at, principal, instance)
    _give(draft, is_json=is_json)


def resume(  # noqa: PLR0913, PLR0917 - an option for each
    reason: Reason,
    halt_id: Annotated[
        str | None, typer.Option(help="The halt to lift; without it, the one in force is shown.")
    ] = None,
    is_agreed: Annotated[bool, typer.Option("--yes", help="Lift the halt in force without asking.")] = False,
    config: ConfigOption = None,
    overrides: Overrides = None,
    via: Via = None,
    timeout: Timeout = 10.0,
    commands: CommandsFile = None,
    at: At = None,
    principal: Principal = None,
    instance: Instance = None,
    is_json: AsJson = False,
) -> None:
    """Lift one halt; trading reduces first and opens after three good readings."""
    draft = _draft("resume", reason, config, overrides, via, timeout, commands, at, principal, instance)
    if halt_id is None and commands is not None:
        raise bad_argument("--halt-id is missing", "--halt-id", "A replay's halt line names it.")
    halt_id = halt_id or _halt_in_force(draft, is_agreed=is_agreed, is_json=is_json)
    _give(draft, halt_id=halt_id, is_json=is_json)


def limits(  # noqa: PLR0913, PLR0917 - an option for each number
    reason: Reason,
    var_limit_usd: Annotated[Number, typer.Option(help="VaR limit, USD.")] = None,
    gross_max_frac: Annotated[Number, typer.Option(help="Cap on the sum of |weights|.")] = None,
    net_max_frac: Annotated[Number, typer.Option(help="Cap on |sum of weights|.")] = None,
    name_max_frac: Annotated[Number, typer.Option(help="Cap on the |weight| of any symbol.")] = None,
    risk_aversion: Annotated[Number, typer.Option(help="Aversion to risk (gamma).")] = None,
    trade_aversion: Annotated[Number, typer.Option(help="Aversion to trading (tau).")] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When the standing values return: a time with zone, or 90m, 2h."),
    ] = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    via: Via = None,
    timeout: Timeout = 10.0,
    commands: CommandsFile = None,
    at: At = None,
    principal: Principal = None,
    instance: Instance = None,
    is_json: AsJson = False,
) -> None:
    """Change limits, for good or until a time; several at once change together or not at all."""
    given = {
        "var_limit_usd": var_limit_usd,
        "gross_max_frac": gross_max_frac,
        "net_max_frac": net_max_frac,
        "name_max_frac": name_max_frac,
        "risk_aversion": risk_aversion,
        "trade_aversion": trade_aversion,
    }
    values = {name: value for name, value in given.items() if value is not None}
    for name, value in values.items():
        least = -1.0 if name.endswith("aversion") else 0.0
        if not least < value < float("inf"):
            option = f"--{name.replace('_', '-')}"
            raise bad_argument(f"{option} must be greater than 0, was {value:g}", option)
    if not values:
        raise bad_argument("no limit was named", "astra limits", "For example --var-limit-usd 120000")
    draft = _draft("limits", reason, config, overrides, via, timeout, commands, at, principal, instance)
    _give(draft, values=values, expires=expires, is_json=is_json)


def flatten(
    reason: Reason,
    config: ConfigOption = None,
    overrides: Overrides = None,
    via: Via = None,
    timeout: Timeout = 10.0,
    commands: CommandsFile = None,
    at: At = None,
    principal: Principal = None,
    instance: Instance = None,
    is_json: AsJson = False,
) -> None:
    """Close every position, through the gate."""
    draft = _draft("flatten", reason, config, overrides, via, timeout, commands, at, principal, instance)
    _give(draft, is_json=is_json)


def rebalance(
    reason: Reason,
    config: ConfigOption = None,
    overrides: Overrides = None,
    via: Via = None,
    timeout: Timeout = 10.0,
    commands: CommandsFile = None,
    at: At = None,
    principal: Principal = None,
    instance: Instance = None,
    is_json: AsJson = False,
) -> None:
    """Ask the allocator for a target at the next slice."""
    draft = _draft("rebalance", reason, config, overrides, via, timeout, commands, at, principal, instance)
    _give(draft, is_json=is_json)


def status(
    config: ConfigOption = None, overrides: Overrides = None, via: Via = None, is_json: AsJson = False
) -> None:
    """Show what the running engine says about itself, and how old that is."""
    from engine.app.live.status_page import page
    from engine.app.verbs.drafts import status_of
    from engine.clock import wall_ns

    document = status_of(load_config(config, overrides), via)
    typer.echo(to_json(document) if is_json else page(document, wall_ns()))


def _draft(
    kind: str,
    reason: str,
    config: Path | None,
    overrides: list[str] | None,
    via: Any,
    timeout: float,
    commands: Path | None,
    at: str | None,
    principal: str | None,
    instance: str | None,
) -> Draft:
    """Check what every command has in common."""
    from engine.app.verbs.drafts import Draft

    principal = getpass.getuser() if principal is None else principal
    for option, text in (("--reason", reason), ("--principal", principal)):
        if not text.strip():
            raise bad_argument(f"{option} must not be empty", option, "It is kept in the audit trail.")
    if (commands is None) is not (at is None):
        missing, given = ("--at", "--commands") if at is None else ("--commands", "--at")
        why = "--commands and --at belong together: without both, a command goes to the running engine."
        raise bad_argument(f"{given} needs {missing}", missing, why)
    if not 0.0 <= timeout < float("inf"):
        raise bad_argument(f"--timeout must be 0 or more seconds, was {timeout:g}", "--timeout")
    is_wanted = commands is None or config is not None or bool(overrides)
    checked = load_config(config, overrides) if is_wanted else None
    name = instance or (checked.operator.instance if checked is not None else "astra")
    at_ns = instant_ns(at, "--at") if at is not None else None
    return Draft(kind, reason, principal, name, checked, via, timeout, commands, at, at_ns)


def _give(
    draft: Draft,
    *,
    is_json: bool,
    halt_id: str = "",
    values: dict[str, float] | None = None,
    expires: str | None = None,
) -> None:
    """Append the command, or send it; tell what became of it."""
    from msgspec.structs import asdict

    from engine.app.verbs.drafts import append, send

    who = {"instance": draft.instance, "halt_id": halt_id}
    if draft.commands is not None:
        signed = append(draft, halt_id, values or {}, expires)
        typer.echo(to_json({**asdict(signed), **who}) if is_json else str(signed))
        return
    verdict = send(draft, halt_id, values or {}, expires)
    if is_json:
        typer.echo(to_json({**asdict(verdict), **who}))
    else:
        why = f": {verdict.reason}" if verdict.reason else ""
        typer.echo(f"{verdict.verdict}  {verdict.kind} by {verdict.principal}{why}")
    if verdict.verdict != "accepted":
        raise typer.Exit(2)


def _halt_in_force(draft: Draft, *, is_agreed: bool, is_json: bool) -> str:
    """Ask the engine for the halt in force, and the operator whether that is the one to lift."""
    from engine.app.verbs.drafts import status_of

    assert draft.config is not None  # noqa: S101 - only commands that are sent come here
    document: Document = status_of(draft.config, draft.via)
    halt_id = str(document.get("halt_id", ""))
    if not halt_id:
        state = document.get("trading_state", "unknown")
        raise bad_argument(f"nothing is halted: the state is {state}", "--halt-id", "See: astra status")
    typer.echo(f"in force   {halt_id}  {document.get('halt_reason', '')}", err=is_json)
    if is_agreed:
        return halt_id
    if not sys.stdin.isatty():
        hint = "Name the halt to lift, or agree to the one shown with --yes."
        raise bad_argument("--halt-id is missing", "--halt-id", hint)
    if not typer.confirm("lift it?", err=is_json):
        raise typer.Exit(2)
    return halt_id
