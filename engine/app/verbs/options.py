"""Arguments that several verbs share, and how they are read."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.app.given import bad_argument

if TYPE_CHECKING:
    from engine.app.config.load import Config

ConfigFile = Annotated[
    Path | None,
    typer.Argument(metavar="CONFIG", help="Configuration file; default ./astra.toml.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key: risk.seed=8, strategy.0.entry_z=2.5; risk.seed= leaves it out. Repeatable.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Bars to use instead of those of [feed]: a file, or a folder.", show_default=False),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="First session.", show_default=False)
]
To = Annotated[
    str | None, typer.Option("--to", metavar="DATE", help="Last session, inclusive.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]

DEFAULT_CONFIG = Path("astra.toml")


def load_config(
    path: Path | None,
    overrides: list[str] | None,
    data: Path | None = None,
    first: str | None = None,
    last: str | None = None,
) -> Config:
    """Read the configuration a command line asks for."""
    from engine.app.config.load import load

    bounds = (("first", "--from", first), ("last", "--to", last))
    typed_as = {
        f"universe.{key}={json.dumps(text)}": f"{option} {text}"
        for key, option, text in bounds
        if text is not None
    }
    return load(path or DEFAULT_CONFIG, [*(overrides or ()), *typed_as], data, typed_as)


def instant_ns(text: str, option: str) -> int:
    """Read an instant with its time zone, as nanoseconds UTC.

    Raises
    ------
    ConfigError
        C013 if it is no instant or names no zone.

    Examples
    --------
    >>> instant_ns("2026-01-05T10:00:00-05:00", "--at")
    1767625200000000000
    """
    from engine.clock import nanos_of

    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        why = "names no time zone" if instant else "is no date and time"
        raise bad_argument(
            f'{option} {why}, was "{text}"', option, "Write 2026-01-05T10:00:00-05:00, or end it with Z."
        )
    return nanos_of(instant)


def to_json(value: Any) -> str:
    """Write one JSON object; a figure that is not a number becomes null."""
    import msgspec

    return msgspec.json.encode(value, enc_hook=str).decode()
