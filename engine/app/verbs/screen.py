"""``screen``: pairs of a universe that move together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.app.verbs.options import AsJson, to_json


def screen(  # noqa: PLR0913, PLR0917 - an option for each
    data: Annotated[Path, typer.Argument(metavar="DATA", help="File of bars, or folder of files.")],
    history: Annotated[
        Path | None,
        typer.Option(help="Adjusted daily closes to test on: date, symbol, close.", show_default=False),
    ] = None,
    pairs_from: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C", help="Symbols to pair with one another; default all.", show_default=False
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Pairs to show, and the most in the snippet.")] = 20,
    q: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of discoveries that may be false.")
    ] = 0.10,
    participation: Annotated[
        float, typer.Option(min=1e-6, max=1.0, help="Share of a bar's volume that one fill may take.")
    ] = 0.10,
    sort: Annotated[bool, typer.Option("--sort", help="Sort by time first.")] = False,
    tz: Annotated[str | None, typer.Option(help="Zone of times that name none.", show_default=False)] = None,
    calendar: Annotated[str, typer.Option(help='Exchange calendar; "24/7" around the clock.')] = "XNYS",
    bar_min: Annotated[
        int | None,
        typer.Option(min=1, max=1_440, help="Minutes of a bar; default what the times look like."),
    ] = None,
    is_json: AsJson = False,
) -> None:
    """Test every pair of a universe for cointegration, and write the table that trades what passes."""
    from engine.app.render import render_table
    from engine.app.studies.screening import HEADER, read_sample, remarks, rows_of, screen_sample, universe_of
    from feeds.files import FileOptions, bar_min_in

    wanted = [symbol.strip() for symbol in (pairs_from or "").split(",") if symbol.strip()]
    symbols = universe_of(data, wanted)
    told_min = bar_min or bar_min_in(data, tz, calendar) or 1
    sample = read_sample(FileOptions(path=data, tz=tz, sort=sort), symbols, calendar, told_min, history)
    answer = screen_sample(symbols, sample, participation, q, top)
    if is_json:
        typer.echo(to_json(answer))
        return
    typer.echo(render_table(HEADER, rows_of(answer, top)), nl=False)
    for line in remarks(answer):
        typer.echo(line)
    if answer["snippet"]:
        typer.echo(f"\n{answer['snippet']}", nl=False)
