"""``frontier``: sweep risk aversion and trade aversion of one problem."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from engine.app.given import bad_argument, in_file, read_json
from engine.app.verbs.options import AsJson, to_json
from engine.errors import ConfigError

_GRID = "LOW:HIGH:POINTS"


def frontier(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The problem, as for optimise.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default beside the file.", show_default=False)
    ] = None,
    risk_aversion: Annotated[
        str | None,
        typer.Option(metavar=_GRID, help="Logarithmic grid; default 0.01:10000:100.", show_default=False),
    ] = None,
    trade_aversion: Annotated[
        str | None,
        typer.Option(
            metavar=_GRID, help="Logarithmic grid; default up to where nothing trades.", show_default=False
        ),
    ] = None,
    is_json: AsJson = False,
) -> None:
    """Sweep the two levers of one problem: efficient frontier, weights, trades, exact thresholds."""
    from engine.app.render import render_table
    from engine.app.studies.frontier import as_document, study, write_tables
    from engine.app.studies.frontier_page import write_pictures
    from engine.app.studies.problem_input import with_covariance

    grids = _grid(risk_aversion, "--risk-aversion"), _grid(trade_aversion, "--trade-aversion")
    with in_file(file):
        found = study(with_covariance(read_json(file)), *grids)
    folder = _new_folder(file, out)
    paths = [*write_pictures(found, file.stem, folder), *write_tables(found, folder)]
    if is_json:
        typer.echo(to_json({"folder": str(folder), **as_document(found)}))
        return
    rows = [
        [kink.lever.replace("_", " "), f"{kink.value:.10g}", kink.subject, kink.change]
        for kink in found.kinks
    ]
    typer.echo(render_table(["lever", "threshold", "of", "going up"], rows), nl=False)
    if found.no_trade_aversion is not None:
        typer.echo(f"nothing is traded from a trade aversion of {found.no_trade_aversion:.10g} on")
    typer.echo(f"wrote {folder}: {', '.join(path.name for path in paths)}")


def _grid(text: str | None, option: str) -> list[float] | None:
    """Read ``LOW:HIGH:POINTS``."""
    if text is None:
        return None
    import numpy as np

    parts = text.split(":")
    try:
        low, high, points = float(parts[0]), float(parts[1]), int(parts[2])
    except (ValueError, IndexError):
        low, high, points = math.nan, math.nan, 0
    if len(parts) != 3 or not (0.0 < low < high < math.inf and 2 <= points <= 10_000):
        what = f'{option} must be {_GRID} with 0 < LOW < HIGH and 2 to 10000 points, was "{text}"'
        raise bad_argument(what, option, "For instance 0.1:1000:50.")
    grid: list[float] = np.geomspace(low, high, points).tolist()
    return grid


def _new_folder(file: Path, out: Path | None) -> Path:
    """Make the folder; a study never writes over what is there."""
    folder = out or file.with_name(f"{file.stem}-frontier")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        hint = "A study writes over nothing. Choose another folder with --out, or remove this one."
        raise ConfigError("C012", f"{folder} exists and is not empty", "--out", hint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("C012", f"cannot create {folder}: {error.strerror}", "--out") from None
    return folder
