"""``data synth | check | import``: make, judge and convert files of bars."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import AsJson, to_json

app = typer.Typer(no_args_is_help=True, help="Make, check and import files of bars.")


class Stamp(StrEnum):
    """Which end of its minute a time marks."""

    START = "start"
    END = "end"


_Zone = Annotated[str | None, typer.Option(help='Zone of times that name none: "America/New_York".')]
_BarMin = Annotated[int, typer.Option(min=1, max=1_440, help="Minutes of a bar; 1440 = daily.")]
_BarMinTold = Annotated[
    int | None,
    typer.Option(min=1, max=1_440, help="Minutes of a bar; default what the times look like."),
]
_Calendar = Annotated[str, typer.Option(help='Exchange calendar; "24/7" around the clock.')]


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", "-o", help=".csv, .csv.gz or .parquet file to write.")],
    sessions: Annotated[int, typer.Option(help="Sessions to make.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bars.")] = 7,
    start: Annotated[str, typer.Option(help="First day.")] = "2026-01-05",
    pairs: Annotated[list[str] | None, typer.Option(help="Pair Y/X; repeatable.")] = None,
    calendar: _Calendar = "XNYS",
    bar_min: _BarMin = 1,
    is_json: AsJson = False,
) -> None:
    """Make SYNTHETIC bars of cointegrated pairs."""
    from pydantic import ValidationError

    from engine.vocabulary import counted
    from feeds.simulated import SimulatedOptions, write

    given = {"sessions": sessions, "seed": seed, "start": start, "pairs": pairs or ()}
    try:
        options = SimulatedOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}"
        raise bad_argument(f"{option}: {first['msg'].lower()}, was {first['input']}", option) from None
    _refuse_existing(out)
    n_bars = write(options, out, calendar, bar_min=bar_min)
    if is_json:
        made = options.model_dump(mode="json", include={"sessions", "seed", "start", "pairs"})
        typer.echo(to_json({"path": out, "bars": n_bars, **made}))
        return
    span = counted(sessions, "session")
    typer.echo(f"created {out}   {counted(n_bars, 'SYNTHETIC bar')}, {span}, seed {seed}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="File, or folder of files.")],
    tz: _Zone = None,
    calendar: _Calendar = "XNYS",
    sort: Annotated[bool, typer.Option("--sort", help="Sort by time first.")] = False,
    bar_min: _BarMinTold = None,
    is_json: AsJson = False,
) -> None:
    """Judge bars as a replay would: symbols, span, gaps, and what would be rejected."""
    from feeds.check import check as judge
    from feeds.check import report_lines
    from feeds.files import FileOptions

    report = judge(FileOptions(path=path, tz=tz, sort=sort), calendar, bar_min=bar_min)
    if is_json:
        typer.echo(to_json(report))
    else:
        for line in report_lines(report):
            typer.echo(line)


@app.command("import")
def import_(  # noqa: PLR0913, PLR0917 - an option for each
    source: Annotated[Path, typer.Argument(help="CSV file as a vendor wrote it, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="File to write: .parquet, .csv or .csv.gz.")],
    tz: _Zone = None,
    stamp: Annotated[Stamp, typer.Option(help="What times mark; a start is moved to the end.")] = Stamp.END,
    symbol: Annotated[str | None, typer.Option(help="For files without a column of symbols.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option(metavar="A=B", help="Column A is our B; repeatable.")
    ] = None,
    calendar: _Calendar = "XNYS",
    bar_min: _BarMinTold = None,
    sep: Annotated[str, typer.Option(help='What divides cells: "," ";" "|" or "\\t".')] = ",",
    date_format: Annotated[
        str | None,
        typer.Option(help='Form of times, "%d/%m/%Y %H:%M", or unit since 1970: s, ms, us, ns.'),
    ] = None,
    is_json: AsJson = False,
) -> None:
    """Convert bars once: column names, times with their zone, dates of daily bars, one file in order."""
    from engine.vocabulary import counted
    from feeds.convert import import_ as convert
    from feeds.spacing import in_words

    names = {}
    for text in rename or ():
        theirs, equals, ours = text.partition("=")
        if not (theirs and equals and ours):
            raise bad_argument(f'--rename must be THEIRS=OURS, was "{text}"', "--rename")
        names[theirs] = ours
    _refuse_existing(target)
    done = convert(
        source,
        target,
        tz=tz,
        stamp=stamp.value,
        symbol=symbol,
        rename=names,
        calendar=calendar,
        bar_min=bar_min,
        sep="\t" if sep == "\\t" else sep,
        date_format=date_format,
    )
    if is_json:
        typer.echo(to_json({"path": target, "rows": done.n_rows, "bar_min": done.bar_min}))
        return
    size = f", {in_words(done.bar_min)}" if done.bar_min else ""
    typer.echo(
        f"created {target}   {counted(done.n_rows, 'row')}{size}; judge them with: astra data check {target}"
    )


def _refuse_existing(path: Path) -> None:
    """Refuse to write over what is there, or below what is no folder."""
    why = "Choose another name, or remove it first."
    if path.exists():
        raise bad_argument(f"{path} exists and is kept", str(path), why)
    place = next(one for one in path.absolute().parents if one.exists())
    if not place.is_dir():
        raise bad_argument(f"{place} is no folder, so nothing can be written into it", str(path), why)
