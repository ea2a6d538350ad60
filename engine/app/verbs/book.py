"""``book``: what is held, and what holding it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import DEFAULT_CONFIG, AsJson, Overrides, to_json


def book(
    what: Annotated[
        Path,
        typer.Argument(metavar="CONFIG|FILE.json", help="Configuration with positions, or a book in a file."),
    ] = DEFAULT_CONFIG,
    overrides: Overrides = None,
    funding: Annotated[
        bool, typer.Option("--funding", help="Also what financing each position costs.")
    ] = False,
    is_json: AsJson = False,
) -> None:
    """Tabulate a book: positions, gross and net, sectors; with --funding its carry and its hurdle."""
    from engine.app.render import render_table
    from engine.app.studies import book_table as tables
    from engine.app.studies.book_input import read_priced_book

    if not what.is_file():
        hint = (
            'Give a configuration, or a book: {"positions": {"AAPL": {"shares": 1500, "price_usd": 277.02}}}.'
        )
        missing = f"{what} is a folder" if what.is_dir() else f"there is no file {what}"
        raise bad_argument(missing, str(what), hint)
    answer = tables.describe(read_priced_book(what, overrides))
    if is_json:
        typer.echo(to_json(answer))
        return
    shown = [
        render_table(tables.POSITIONS, tables.position_rows(answer)),
        render_table(tables.TOTALS, tables.total_rows(answer)),
        render_table(tables.SECTORS, tables.sector_rows(answer)),
    ]
    if funding:
        shown += [
            render_table(tables.FUNDING, tables.funding_rows(answer)),
            render_table(tables.TOTALS, tables.funding_totals(answer)),
        ]
    typer.echo("\n".join(shown), nl=False)
