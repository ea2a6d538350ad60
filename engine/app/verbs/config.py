"""``config show | schema``: what a configuration resolves to, and what one may hold."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.app.verbs.options import ConfigFile, Overrides, load_config, to_json

app = typer.Typer(no_args_is_help=True, help="Show the resolved configuration, or its JSON schema.")


@app.command()
def show(
    config: ConfigFile = None,
    overrides: Overrides = None,
    with_origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
) -> None:
    """Print every key with its value, defaults included."""
    from engine.app.config_origin import annotated_toml
    from engine.app.resolved import resolved_toml

    checked = load_config(config, overrides)
    typer.echo(annotated_toml(checked) if with_origin else resolved_toml(checked), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of astra.toml, with the options of every kind; for editors."""
    from engine.app.config_schema import json_schema

    typer.echo(to_json(json_schema()))
