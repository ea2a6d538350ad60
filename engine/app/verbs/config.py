"""``config show | schema``: what a configuration resolves to, and what one may hold."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import AsJson, ConfigFile, Overrides, load_config, to_json

app = typer.Typer(no_args_is_help=True, help="Show the resolved configuration, or its JSON schema.")


@app.command()
def show(
    config: ConfigFile = None,
    overrides: Overrides = None,
    with_origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    is_json: AsJson = False,
) -> None:
    """Print every key with its value, defaults included."""
    from engine.app.config.origin import annotated_toml
    from engine.app.config.resolved import document_of, resolved_toml

    if is_json and with_origin:
        raise bad_argument("--origin is for people", "--origin", "Leave out one of --origin and --json.")
    checked = load_config(config, overrides)
    if is_json:
        typer.echo(to_json(document_of(checked)))
        return
    typer.echo(annotated_toml(checked) if with_origin else resolved_toml(checked), nl=False)


@app.command()
def schema(_is_json: AsJson = True) -> None:
    """Print the JSON schema of astra.toml, with the options of every kind; for editors.

    It is one JSON object in any case.
    """
    from engine.app.config.schema import json_schema

    typer.echo(to_json(json_schema()))
