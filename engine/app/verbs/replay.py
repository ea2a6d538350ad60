"""``replay``, ``check``, ``verify`` and ``lookahead``: run the engine over a file, and prove what it did."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.app.verbs.options import AsJson, ConfigFile, Data, From, Overrides, To, load_config, to_json

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
    from engine.app.config.errors import located
    from engine.app.terminal import Silent, Terminal

    checked = load_config(config, overrides, data, first, last)
    from engine.app.replay.run import replay as run

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
    """Replay a run folder again; compare digests, tables and figures; exit 3 if they differ."""
    from engine.app.replay.proofs import verify as run
    from engine.vocabulary import counted

    answer = run(folder, data)
    if is_json:
        typer.echo(to_json(answer))
    elif not answer["is_equal"]:
        for line in _unlike(answer):
            typer.echo(line)
    else:
        counts = f"{counted(answer['signals'], 'signal')}, {counted(answer['fills'], 'fill')}"
        proved = "" if answer["signals"] or answer["fills"] else ": nothing was decided in it"
        typer.echo(f"ok         the run repeats bit for bit: {counts}{proved}\ndigest     {answer['digest']}")
    if answer["further_files"] and not is_json:
        typer.echo(f"further    no file of the run, not looked at: {', '.join(answer['further_files'])}")
    if not answer["is_equal"]:
        raise typer.Exit(_DIFFERENT)


def _unlike(answer: Mapping[str, Any]) -> Iterator[str]:
    """Say in which way a run did not repeat."""
    if answer["digest"] != answer["expected_digest"]:
        yield f"DIFFERENT  now {answer['digest']}"
        yield f"           was {answer['expected_digest']}"
    elif answer["changed"]:
        yield "CHANGED    the run repeats, but this is not what it gives:"
    else:
        yield f"JOURNAL    now {answer['journal_digest']}"
        yield f"           was {answer['expected_journal_digest']}"
    yield from (f"           {text}" for text in (*answer["changed"], answer.get("hint", "")) if text)


def lookahead(
    config: ConfigFile = None,
    data: Data = None,
    first: From = None,
    last: To = None,
    overrides: Overrides = None,
    is_json: AsJson = False,
) -> None:
    """Prove that no signal looks ahead: truncated data must give the same past.

    Exit 3 if it does not, or if there was no signal to compare.
    """
    from engine.app.config.errors import located

    checked = load_config(config, overrides, data, first, last)
    from engine.app.replay.proofs import lookahead as run
    from engine.vocabulary import counted

    with located(checked.source):
        answer = run(checked)
    if is_json:
        typer.echo(to_json(answer))
    else:
        state = {
            True: "ok         no look-ahead",
            False: "LOOK-AHEAD the past changes with the future",
            None: "NOT TESTED no signal to compare",
        }[answer["is_equal"]]
        found = f"{counted(answer['signals'], 'signal')}, {answer['compared']:,} of them compared"
        typer.echo(f"{state}: {found}, tape truncated {len(answer['cuts'])} times")
        for change in answer["changed"]:
            typer.echo(f"           {change}")
    if not answer["is_equal"]:
        raise typer.Exit(_DIFFERENT)


def check(
    config: ConfigFile = None,
    data: Data = None,
    first: From = None,
    last: To = None,
    overrides: Overrides = None,
    is_json: AsJson = False,
) -> None:
    """Check configuration and data without trading anything, and warn of common mistakes.

    What a replay would refuse ends with its exit status; what is only to be minded ends with 0.
    """
    from engine.app.checks.check import check_all, whole
    from engine.app.config.errors import located

    checked = load_config(config, overrides, data, first, last)
    with located(checked.source):
        found = check_all(checked)
        if is_json:
            checks = whole(found)
            typer.echo(to_json({"checks": checks, "to_mind": sum(one.state == "mind" for one in checks)}))
            return
        for one in found:
            typer.echo(str(one))
