"""``init``, ``var``, ``optimise`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.app.given import in_file, read_json
from engine.app.verbs.options import DEFAULT_CONFIG, AsJson, Overrides, load_config, to_json

JsonFile = Annotated[Path, typer.Argument(metavar="FILE.json", help="The problem, as one JSON object.")]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.")] = Path(),
    is_json: AsJson = False,
) -> None:
    """Create a configuration and synthetic bars, ready to replay."""
    from engine.app.init import scaffold

    if is_json:
        typer.echo(to_json({"folder": folder, "created": [one.path for one in scaffold(folder)]}))
        return
    for one in scaffold(folder):
        typer.echo(f"  created {one.path}   {one.text}")
    enter = "" if folder == Path() else f"cd {folder} && "
    typer.echo(f"  next: {enter}astra check && astra replay")


def var(
    file: JsonFile,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Daily closes for a model that looks back: date, symbol, close (adjusted).",
            show_default=False,
        ),
    ] = None,
    is_json: AsJson = False,
) -> None:
    """Measure VaR and ES of one book, under the risk model that its file names."""
    from engine.app.studies.risk_inputs import measure_file

    _tell(measure_file(file, history), is_json=is_json)


def optimise(file: JsonFile, is_json: AsJson = False) -> None:
    """Solve one allocation problem."""
    from engine.app.studies.problem_input import with_covariance
    from engine.app.studies.treasury_input import with_yields
    from strategies.allocators.problem_file import optimise as solve

    with in_file(file):
        document = with_yields(read_json(file), file.parent)
        answer = solve(with_covariance(document))
    _tell(answer, is_json=is_json)


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="Also try its servers; default ./astra.toml if it is there.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    is_json: AsJson = False,
) -> None:
    """Check this machine: packages, Numba, solver, calendars, disk, servers; exit 5 if it is unfit."""
    from engine.app.doctor import examine
    from engine.app.render import render_table

    path = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
    loaded = load_config(path, overrides) if path or overrides else None
    findings = list(examine(loaded, loaded.output.dir if loaded else Path()))
    is_fit = all(finding.state != "fail" for finding in findings)
    if is_json:
        typer.echo(to_json({"is_fit": is_fit, "findings": findings}))
    else:
        rows = [[finding.name, finding.state, finding.text] for finding in findings]
        typer.echo(render_table(["check", "state", "finding"], rows), nl=False)
    if not is_fit:
        raise typer.Exit(5)


def _tell(answer: Mapping[str, Any], *, is_json: bool) -> None:
    from engine.app.render import render_table

    if is_json:
        typer.echo(to_json(answer))
        return
    rows: list[list[str]] = []
    tables: list[str] = []
    for key, value in answer.items():
        if isinstance(value, Mapping):
            rows += [[f"{key}.{name}", _figure(one)] for name, one in value.items()]
        elif key == "explanation":
            tables.append("\n".join(value) + "\n")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables.append(
                render_table(list(value[0]), [[_figure(one) for one in row.values()] for row in value])
            )
        else:
            rows.append([key, _figure(value)])
    typer.echo("\n".join([render_table(["figure", "value"], rows), *tables]), nl=False)


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 100 else f"{value:,.2f}"
    return value if isinstance(value, str) else to_json(value)
