"""``journal show | verify | compact | export``: what it says, whether it is whole, what it became."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import AsJson, Overrides, load_config, to_json

app = typer.Typer(no_args_is_help=True, help="Show, verify and compact a journal.")

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="State folder of a live engine, or run folder with a journal.")
]
_DAMAGED = 3
_FINDING_WIDTH = 16


@app.command()
def show(
    folder: Folder,
    from_seq: Annotated[int, typer.Option(min=0, help="First record; 0 for the oldest that is kept.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="How many records.")] = 20,
    is_json: AsJson = False,
) -> None:
    """Show records in order, one a line."""
    from engine.app.replay.journal_tools import root_of, said_by
    from engine.disk import OS_DISK
    from engine.journal import JournalReader
    from engine.journal_format import segments

    journal = root_of(folder) / "journal"
    first_seq = max(from_seq, segments(journal, OS_DISK)[0].header.first_seq)
    reader = JournalReader(journal, first_seq - 1)
    chosen = islice(reader, limit)
    if is_json:
        records = [{"seq": seq, "kind": type(record).__name__, **said_by(record)} for seq, record in chosen]
        identity = {name: getattr(reader.identity, name) for name in ("epoch", "config_hash", "build")}
        typer.echo(to_json({**identity, "records": records}))
        return
    for seq, record in chosen:
        typer.echo(f"{seq:>9}  {type(record).__name__:<16} {_line(said_by(record))}")


@app.command()
def verify(
    folder: Folder,
    config: Annotated[
        Path | None, typer.Option(help="Also replay: each snapshot must follow from the one before.")
    ] = None,
    overrides: Overrides = None,
    after_seq: Annotated[
        int, typer.Option("--after", min=0, help="With --until: begin at the snapshot of this record.")
    ] = 0,
    until_seq: Annotated[
        int, typer.Option("--until", min=0, help="Check the snapshot of this record alone; needs --config.")
    ] = 0,
    is_json: AsJson = False,
) -> None:
    """Check every frame, the chain and every snapshot; exit 3 on damage, naming file and offset."""
    from engine.app.replay.journal_tools import root_of, verify_files, verify_state, verify_states

    root = root_of(folder)
    if until_seq:
        if config is None or after_seq >= until_seq:
            hint = "Give the configuration of the journal, and the records of two snapshots in order."
            raise bad_argument("--until needs --config, and an earlier --after", "--until", hint)
        findings = [verify_state(root, load_config(config, overrides), after_seq, until_seq)]
    else:
        findings = list(verify_files(root))
        if config is not None and not any(finding.fault for finding in findings):
            findings += verify_states(root, load_config(config, overrides))
    is_good = not any(finding.fault for finding in findings)
    if is_json:
        typer.echo(to_json({"is_good": is_good, "findings": findings}))
    else:
        for finding in findings:
            state = "DAMAGED" if finding.fault else "ok"
            typer.echo(f"{state:<8} {finding.name:<{_FINDING_WIDTH}} {finding.fault or finding.text}")
    if not is_good:
        raise typer.Exit(_DAMAGED)


@app.command()
def compact(
    folder: Folder,
    keep_days: Annotated[int, typer.Option(min=1, help="Keep what is younger than this.")],
    is_json: AsJson = False,
) -> None:
    """Delete old segments that no snapshot needs."""
    from engine.app.replay.journal_tools import root_of
    from engine.clock import wall_ns
    from engine.events import DAY_NS
    from engine.recovery import compact as run
    from engine.vocabulary import counted

    root = root_of(folder)
    if not (root / "snapshots").is_dir():
        hint = "Without a snapshot everything follows from the journal alone: nothing of it can go."
        raise bad_argument(f"there are no snapshots in {root}", str(folder), hint)
    deleted = run(root, wall_ns() - keep_days * DAY_NS)
    if is_json:
        typer.echo(to_json({"deleted": deleted}))
        return
    for name in deleted:
        typer.echo(f"deleted {name}")
    typer.echo(
        f"{counted(len(deleted), 'segment')} deleted, the rest is younger than {keep_days} days or needed"
    )


@app.command()
def export(
    folder: Folder,
    config: Annotated[
        Path | None,
        typer.Option(help="What it was written with; default ./astra.toml.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder itself; default runs/<UTC>-<name>.")
    ] = None,
    is_replacing: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of --out, once it is whole.")
    ] = False,
    is_json: AsJson = False,
) -> None:
    """Make a run folder of a live run: tables, summary, report; the engine may be running."""
    from engine.app.replay.export import export as run
    from engine.app.replay.export import export_again
    from engine.app.replay.journal_tools import root_of

    if is_replacing and out is None:
        raise bad_argument("--replace needs --out", "--replace", "Name the folder to be renewed.")
    checked = load_config(config, overrides)
    if is_replacing and out is not None:
        made = export_again(root_of(folder), checked, out, sys.argv)
    else:
        made = run(root_of(folder), checked, out, sys.argv)
    typer.echo(to_json({"folder": made}) if is_json else made)


def _line(values: dict[str, Any]) -> str:
    """Write values for people: instants as such, empty ones left out."""
    from engine.clock import instant

    return " ".join(
        instant(value) if name in {"ts_ns", "ts_close_ns"} else f"{name}={value}"
        for name, value in values.items()
        if value not in ("", [], (), None)
    )
