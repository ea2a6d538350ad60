"""``runs list | show | compare``: what the run folders hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import AsJson, to_json

app = typer.Typer(no_args_is_help=True, help="List, show and compare runs.")

Folder = Annotated[Path, typer.Option("--dir", help="Folder of the run folders.")]
_COLUMNS = (
    "bars",
    "sessions",
    "signals",
    "rebalances",
    "pnl_usd",
    "max_drawdown_frac",
    "var_peak_usd",
    "halts",
)
_RUNS = Path("runs")
_WHERE = "A replay leaves its run in runs/, or where --out says; to look elsewhere:  astra runs list PATH"


@app.command("list")
def list_(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="Folder to look in; default that of --dir.", show_default=False),
    ] = None,
    folder: Folder = _RUNS,
    is_json: AsJson = False,
) -> None:
    """List the finished runs of one folder, by name: runs/, unless another is named.

    A run with --out lies where that says: name the folder around it.
    """
    from engine.app.render import render_table
    from engine.app.replay.run_records import SummaryRecord, read_record
    from engine.vocabulary import counted

    if path is not None and not path.is_dir():
        raise bad_argument(f"there is no folder {path}", str(path), _WHERE)
    folder = path or folder
    found = sorted(path.parent for path in folder.glob("*/summary.json") if not path.parent.is_symlink())
    summaries = {path.name: read_record(path / "summary.json", SummaryRecord) for path in found}
    if is_json:
        typer.echo(to_json(summaries))
    elif not summaries:
        typer.echo(f"no runs in {folder}\n{_WHERE}")
    else:
        rows = [
            [name, *(_cell(key, summary.get(key)) for key in _COLUMNS)] for name, summary in summaries.items()
        ]
        typer.echo(render_table(["run", *_COLUMNS], rows), nl=False)
        typer.echo(f"{counted(len(rows), 'run')} in {folder}")


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Run folder, or its name in --dir.")] = "latest",
    folder: Folder = _RUNS,
    is_json: AsJson = False,
) -> None:
    """Show the summary of a run."""
    from engine.app.replay.run_figures import show as written

    summary = _summary(run, folder)
    typer.echo(to_json(summary) if is_json else written(summary, run), nl=is_json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Run folder, or its name in --dir.")],
    second: Annotated[str, typer.Argument(help="Run folder, or its name in --dir.")],
    folder: Folder = _RUNS,
    is_json: AsJson = False,
) -> None:
    """Compare two runs: the figures that differ; with --json all of them."""
    from engine.app.replay.run_figures import compare as written

    one, two = _summary(first, folder), _summary(second, folder)
    if is_json:
        keys = list(dict.fromkeys([*one, *two]))
        typer.echo(to_json({key: {"first": one.get(key), "second": two.get(key)} for key in keys}))
    else:
        typer.echo(written(one, two, (first, second)), nl=False)


def _summary(run: str, folder: Path) -> dict[str, Any]:
    from engine.app.replay.run_records import SummaryRecord, read_record

    for candidate in (Path(run), folder / run):
        if (candidate / "summary.json").is_file():
            return read_record(candidate / "summary.json", SummaryRecord)
    raise bad_argument(f'there is no finished run "{run}" here or in {folder}', run, _WHERE)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4f}" if key.endswith("_frac") or key == "sharpe" else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
