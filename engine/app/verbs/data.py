"""``data synth | check | import``: make, judge and convert files of bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.app.verbs.options import AsJson, bad_argument, to_json

app = typer.Typer(no_args_is_help=True, help="Make, check and import files of bars.")

_Zone = Annotated[str | None, typer.Option(help='Zone of times that name none: "America/New_York".')]
_Calendar = Annotated[str, typer.Option(help='Exchange calendar; "24/7" around the clock.')]


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", "-o", help=".csv, .csv.gz or .parquet file to write.")],
    sessions: Annotated[int, typer.Option(help="Sessions to make.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bars.")] = 7,
    start: Annotated[str, typer.Option(help="First day.")] = "2026-01-05",
    pairs: Annotated[list[str] | None, typer.Option(help="Pair Y/X; repeatable.")] = None,
    calendar: _Calendar = "XNYS",
) -> None:
    """Make SYNTHETIC bars of cointegrated pairs."""
    from pydantic import ValidationError

    from feeds.simulated import SimulatedOptions, write

    given = {"sessions": sessions, "seed": seed, "start": start, "pairs": pairs or ()}
    try:
        options = SimulatedOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}"
        raise bad_argument(f"{option}: {first['msg'].lower()}, was {first['input']}", option) from None
    if out.exists():
        raise bad_argument(f"{out} exists and is kept", "--out", "Choose another name, or remove it first.")
    n_bars = write(options, out, calendar)
    typer.echo(f"created {out}   {n_bars:,} SYNTHETIC bars, {sessions} sessions, seed {seed}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="File, or folder of files.")],
    tz: _Zone = None,
    calendar: _Calendar = "XNYS",
    is_json: AsJson = False,
) -> None:
    """Judge bars as a replay would: symbols, span, gaps, and what would be rejected."""
    from feeds.check import check as judge

    report = judge(path, tz, calendar)
    if is_json:
        typer.echo(to_json(report))
    else:
        for line in report_lines(report):
            typer.echo(line)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Bars as a vendor wrote them.")],
    target: Annotated[Path, typer.Argument(help="File to write, in the canonical form.")],
    tz: _Zone = None,
    calendar: _Calendar = "XNYS",
) -> None:
    """Convert bars once: column names, stamps with their zone, one file."""
    from feeds.check import import_ as convert

    typer.echo(convert(source, target, tz=tz, calendar=calendar))


def report_lines(report: Any) -> list[str]:
    """Write a report of data for people, one fact a line."""
    from engine.app.render import render_table

    return [render_table(["data", ""], [[key, str(value)] for key, value in report.items()])]
