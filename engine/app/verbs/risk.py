"""``risk backtest | stress``: what VaR was worth, and what it does not say."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import DEFAULT_CONFIG, AsJson, Overrides, to_json

app = typer.Typer(no_args_is_help=True, help="Backtest VaR; stress a book.")

_LATEST = Path("runs/latest")
_EPOCH = date(1970, 1, 1)
#: More standard deviations than this is a typing error.
_SIGMA_MAX = 100.0

History = Annotated[
    Path | None,
    typer.Option(help="Daily closes: date, symbol, close (adjusted).", show_default=False),
]


@app.command()
def backtest(
    what: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN_FOLDER|CONFIG", help="Run folder (default runs/latest), or a configuration."
        ),
    ] = None,
    history: History = None,
    book: Annotated[
        Path | None,
        typer.Option(help="Book to hold through --history, as for astra var.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model to judge; default all. Repeatable.", show_default=False)
    ] = None,
    window: Annotated[int, typer.Option(min=20, help="Daily returns that a measure looks back on.")] = 300,
    data: Annotated[
        Path | None, typer.Option(help="Bars of the run, if they have moved.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    is_json: AsJson = False,
) -> None:
    """Count losses beyond one-day VaR and test them: Kupiec, Christoffersen, Basel."""
    from engine.app.config.risk import risk_models
    from engine.app.studies.risk_backtest import backtest_book, backtest_run, remarks, rows_of
    from engine.app.studies.risk_inputs import read_frozen_book

    names = _models(model, [*risk_models()])
    if book is not None and what is not None:
        raise bad_argument(f"{what} and --book both name a book", "--book", "Give one of the two.")
    source = book or what or _LATEST
    if source.is_dir() and book is None:
        if history is not None:
            hint = "Its closes are those of its own bars; daily closes are for a book or a configuration."
            raise bad_argument(f"the run in {source} has no use for --history", "--history", hint)
        if overrides:
            hint = "It is judged as it was run; give a configuration, or run it again with other keys."
            raise bad_argument(f"--set changes a configuration, and {source} is a run", "--set", hint)
        answer = backtest_run(source, data, names, window)
    elif source.is_file():
        if data is not None:
            hint = "A book goes through daily closes: name them with --history."
            raise bad_argument("--data names the bars of a run, and this is none", "--data", hint)
        answer = backtest_book(read_frozen_book(source, history, overrides or ()), names, window)
    else:
        hint = "Give a run folder, a configuration, or --history with --book."
        raise bad_argument(f"there is no run folder or file {source}", str(source), hint)
    if is_json:
        typer.echo(to_json(answer))
        return
    from engine.app.render import render_table
    from engine.app.studies.risk_backtest import HEADER

    typer.echo(render_table(HEADER, rows_of(answer)), nl=False)
    for line in remarks(answer):
        typer.echo(line)


@app.command()
def stress(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|FILE.json", help="Configuration with positions, or a book as for astra var."
        ),
    ] = DEFAULT_CONFIG,
    history: History = None,
    sigma: Annotated[
        list[float] | None,
        typer.Option(help="Standard deviations over the horizon; default 3. Repeatable.", show_default=False),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(min=1, help="Length of the worst stretches; default 10.", show_default=False),
    ] = None,
    worst: Annotated[
        int | None, typer.Option(min=0, help="How many of them; default 3.", show_default=False)
    ] = None,
    stretch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FROM..TO",
            help="A stretch of history by its dates. Repeatable.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    is_json: AsJson = False,
) -> None:
    """Say what a book would lose: so many sigmas, the worst stretches of its past, hedges that fail."""
    from engine.app.render import render_table
    from engine.app.studies.risk_inputs import read_frozen_book
    from engine.app.studies.risk_stress import HEADER, remarks, rows_of, stress_book

    if not what.is_file():
        hint = 'Give a configuration, or a book: {"symbols": [...], "holdings_usd": [...]}.'
        raise bad_argument(f"there is no file {what}", str(what), hint)
    answer = stress_book(
        read_frozen_book(what, history, overrides or ()),
        sigmas=_sigmas(sigma),
        length_days=days,
        worst=worst,
        stretches=[_stretch(text) for text in dict.fromkeys(stretch or ())],
    )
    if is_json:
        typer.echo(to_json(answer))
        return
    typer.echo(render_table(HEADER, rows_of(answer)), nl=False)
    for line in remarks(answer):
        typer.echo(line)


def _models(wanted: list[str] | None, known: list[str]) -> list[str]:
    for name in wanted or ():
        if name not in known:
            raise bad_argument(f'there is no risk model "{name}"', "--model", f"Known: {', '.join(known)}")
    return list(dict.fromkeys(wanted or known))


def _sigmas(wanted: list[float] | None) -> list[float]:
    for k in wanted or ():
        if not 0.0 < k <= _SIGMA_MAX:
            hint = "A stress is a loss of so many standard deviations: 3 and 5 are usual."
            raise bad_argument(
                f"--sigma must be above 0 and at most {_SIGMA_MAX:g}, was {k:g}", "--sigma", hint
            )
    return list(dict.fromkeys(wanted or [3.0]))


def _stretch(text: str) -> tuple[str, int, int]:
    """Read ``NAME=2018-02-02..2018-02-08``; without a name the dates are it."""
    name, _, span = text.rpartition("=")
    first, dots, last = span.partition("..")
    try:
        days = [(date.fromisoformat(day) - _EPOCH).days for day in (first, last)]
    except ValueError:
        days = []
    if not dots or len(days) != 2 or days[0] > days[1]:
        hint = "Write --stretch vol-shock=2018-02-02..2018-02-08, both days inclusive."
        raise bad_argument(f'--stretch must be two dates in order, was "{text}"', "--stretch", hint)
    return name.strip() or span, days[0], days[1]
