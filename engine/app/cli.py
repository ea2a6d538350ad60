"""The ``astra`` command: every verb in one list.

Verbs import what they need when they run, so that ``astra --help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from engine.app.build import installed_version
from engine.app.verbs import (
    alerts,
    book,
    config,
    data,
    frontier,
    journal,
    operator,
    replay,
    risk,
    run,
    runs,
    screen,
    tools,
)

app = typer.Typer(
    name="astra",
    help="Replay 1-minute bars on paper: pair signals, convex rebalancing, a VaR limit that halts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_START, _WORK, _ANALYSE, _OPERATE = "Start", "Run", "Analyse", "Operate"

app.command(rich_help_panel=_START)(tools.init)
app.command(rich_help_panel=_START, short_help="Check configuration and data; trade nothing.")(replay.check)
app.command(rich_help_panel=_START, short_help="Check this machine; exit 5 if it is unfit.")(tools.doctor)
app.add_typer(config.app, name="config", rich_help_panel=_START)
app.command(rich_help_panel=_WORK, short_help="Replay bars on paper into a run folder.")(replay.replay)
app.command(rich_help_panel=_WORK)(run.run)
app.command(rich_help_panel=_WORK, short_help="Run a folder again and compare everything in it.")(
    replay.verify
)
app.command(rich_help_panel=_WORK, short_help="Prove that no signal looks ahead.")(replay.lookahead)
app.add_typer(runs.app, name="runs", rich_help_panel=_WORK)
app.add_typer(data.app, name="data", rich_help_panel=_WORK)
app.command(rich_help_panel=_ANALYSE, short_help="Measure VaR and ES of one book.")(tools.var)
app.command(rich_help_panel=_ANALYSE)(tools.optimise)
app.command(rich_help_panel=_ANALYSE, short_help="Sweep the two levers of one problem.")(frontier.frontier)
app.add_typer(risk.app, name="risk", rich_help_panel=_ANALYSE)
app.command(rich_help_panel=_ANALYSE, short_help="Tabulate a book; with --funding its carry.")(book.book)
app.command(rich_help_panel=_ANALYSE, short_help="Test the pairs of a universe for cointegration.")(
    screen.screen
)
app.command(rich_help_panel=_OPERATE, short_help="Show what the running engine says of itself.")(
    operator.status
)
app.command(rich_help_panel=_OPERATE, short_help="Show the latest alerts of an engine here.")(alerts.alerts)
app.add_typer(journal.app, name="journal", rich_help_panel=_OPERATE)
app.command(rich_help_panel=_OPERATE)(operator.halt)
app.command(rich_help_panel=_OPERATE, short_help="Lift one halt; trading reduces first.")(operator.resume)
app.command(rich_help_panel=_OPERATE, short_help="Change limits, for good or until a time.")(operator.limits)
app.command(rich_help_panel=_OPERATE)(operator.flatten)
app.command(rich_help_panel=_OPERATE)(operator.rebalance)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"astra {installed_version()}")
        raise typer.Exit


@app.callback()
def astra(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks with errors; may stand anywhere.")
    ] = False,
) -> None:
    """Take the options that stand before the verb."""
