"""``replay``, ``check``, ``verify`` and ``lookahead``: run the engine over a file, and prove what it did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.app.verbs.options import (
    AsJson,
    ConfigFile,
    Data,
    From,
    Overrides,
    To,
    load_config,
    to_json,
)

_HALTED = 4
_DIFFERENT = 3


def replay(
    config: ConfigFile = None,
    data: Data = None,
    first: From = None,
    last: To = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder itself; default runs/<UTC>-<name>.")
    ] = None,
    overrides: Overrides = None,
    commands: Annotated[
        Path | None, typer.Option(help="Signed operator commands, replayed in event time.")
    ] = None,
    is_json: AsJson = False,
    is_quiet: Annotated[bool, typer.Option("--quiet", help="Print the run folder only.")] = False,
    fail_on_halt: Annotated[
        bool, typer.Option("--fail-on-halt", help="Exit 4 if halted at the end.")
    ] = False,
) -> None:
    """Replay bars on paper; write a run folder with fills, book, risk and a report."""
    from engine.app.build import installed_version
    from engine.app.config_errors import located
    from engine.app.terminal import Silent, Terminal

    checked = load_config(config, overrides, data, first, last)
    from engine.app.replay import replay as run

    listener = Silent() if is_json or is_quiet else Terminal(installed_version())
    try:
        with located(checked.source):
            result = run(checked, out=out, commands=commands, argv=sys.argv, listener=listener)
    finally:
        listener.close()
    if is_json:
        typer.echo(to_json({**result.summary, "folder": str(result.folder)}))
    elif is_quiet:
        typer.echo(result.folder)
    if fail_on_halt and result.is_halted:
        raise typer.Exit(_HALTED)


def verify(
    folder: Annotated[Path, typer.Argument(help="A run folder, for example runs/latest.")],
    data: Data = None,
    is_json: AsJson = False,
) -> None:
    """Replay a run folder again and compare the digests; exit 3 if they differ."""
    from engine.app.replay import verify as run

    answer = run(folder, data)
    if is_json:
        typer.echo(to_json(answer))
    elif answer["is_equal"]:
        typer.echo(f"ok         the run repeats bit for bit\ndigest     {answer['digest']}")
    else:
        typer.echo(f"DIFFERENT  now {answer['digest']}\n           was {answer['expected_digest']}")
        if "hint" in answer:
            typer.echo(f"           {answer['hint']}")
    if not answer["is_equal"]:
        raise typer.Exit(_DIFFERENT)


def lookahead(
    config: ConfigFile = None,
    data: Data = None,
    first: From = None,
    last: To = None,
    overrides: Overrides = None,
    is_json: AsJson = False,
) -> None:
    """Prove that no signal looks ahead: truncated data must give the same past; exit 3 if not."""
    from engine.app.config_errors import located

    checked = load_config(config, overrides, data, first, last)
    from engine.app.replay import lookahead as run

    with located(checked.source):
        answer = run(checked)
    if is_json:
        typer.echo(to_json(answer))
    else:
        state = (
            ("ok         no look-ahead" if answer["signals"] else "ok         nothing to compare")
            if answer["is_equal"]
            else "LOOK-AHEAD the past changes with the future"
        )
        typer.echo(f"{state}: {answer['signals']:,} signals, tape truncated {len(answer['cuts'])} times")
        for change in answer["changed"]:
            typer.echo(f"           {change}")
    if not answer["is_equal"]:
        raise typer.Exit(_DIFFERENT)


def check(
    config: ConfigFile = None, data: Data = None, overrides: Overrides = None, is_json: AsJson = False
) -> None:
    """Check configuration and data without trading anything, and warn of common mistakes."""
    from engine.app.check import check_all
    from engine.app.config_errors import located

    checked = load_config(config, overrides, data)
    with located(checked.source):
        found = check_all(checked)
        if is_json:
            typer.echo(to_json({"checks": [one for one in found if one.name]}))
            return
        for one in found:
            typer.echo(str(one))
