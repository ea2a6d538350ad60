"""``runs list | show | compare``: what the run folders hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.app.verbs.options import AsJson, bad_argument, read_json, to_json

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


@app.command("list")
def list_(folder: Folder = _RUNS, is_json: AsJson = False) -> None:
    """List finished runs, oldest first."""
    from engine.app.render import render_table

    found = sorted(path.parent for path in folder.glob("*/summary.json") if not path.parent.is_symlink())
    summaries = {path.name: read_json(path / "summary.json") for path in found}
    if is_json:
        typer.echo(to_json(summaries))
    elif not summaries:
        typer.echo(f"no runs in {folder}: astra replay makes one")
    else:
        rows = [
            [name, *(_cell(key, summary.get(key)) for key in _COLUMNS)] for name, summary in summaries.items()
        ]
        typer.echo(render_table(["run", *_COLUMNS], rows), nl=False)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Run folder, or its name in --dir.")] = "latest",
    folder: Folder = _RUNS,
    is_json: AsJson = False,
) -> None:
    """Show the summary of a run."""
    from engine.app.run_figures import show as written

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
    from engine.app.run_figures import compare as written

    one, two = _summary(first, folder), _summary(second, folder)
    if is_json:
        keys = list(dict.fromkeys([*one, *two]))
        typer.echo(to_json({key: {"first": one.get(key), "second": two.get(key)} for key in keys}))
    else:
        typer.echo(written(one, two, (first, second)), nl=False)


def _summary(run: str, folder: Path) -> dict[str, Any]:
    for candidate in (Path(run), folder / run):
        if (candidate / "summary.json").is_file():
            summary = read_json(candidate / "summary.json")
            if isinstance(summary, dict):
                return summary
    raise bad_argument(
        f'there is no finished run "{run}" here or in {folder}', run, "List them with:  astra runs list"
    )


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4f}" if key.endswith("_frac") or key == "sharpe" else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
