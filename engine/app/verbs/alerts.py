"""``alerts``: what the engine told people, from the file in its state folder; needs no server and no key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from engine.app.verbs.operator import ConfigOption
from engine.app.verbs.options import Overrides, load_config

_POLL_S: Final = 0.2
_TAIL_BYTES: Final = 1 << 20
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)))


def alerts(
    config: ConfigOption = None,
    overrides: Overrides = None,
    limit: Annotated[int, typer.Option(min=0, help="How many of the latest to show.")] = 20,
    is_following: Annotated[
        bool, typer.Option("--follow", help="Go on with those to come; Ctrl-C ends.")
    ] = False,
    is_json: Annotated[bool, typer.Option("--json", help="Print the lines of the file as they are.")] = False,
) -> None:
    """Show the latest alerts of an engine on this machine, oldest first."""
    from engine.app.live.state_folder import StateFolder

    checked = load_config(config, overrides)
    path = StateFolder(checked.daemon.state_dir).alerts
    offset, lines = latest(path, limit)
    for line in lines:
        typer.echo(line.decode(errors="replace") if is_json else shown(line))
    if not is_following:
        if not offset:
            typer.echo(f"no alerts in {path}", err=True)
        return
    for line in following(path, offset):
        typer.echo(line.decode(errors="replace") if is_json else shown(line))


def latest(path: Path, limit: int) -> tuple[int, list[bytes]]:
    """Return where the whole lines of a file end, and the last ``limit`` of them; none if it is absent."""
    if not path.exists():
        return 0, []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    if start:  # the first one is a part of a line
        lines = lines[1:]
    return start + len(whole), lines[-limit:] if limit else []


def following(path: Path, offset: int) -> Iterator[bytes]:
    """Yield the lines that are appended behind an offset, for ever."""
    while True:
        if path.exists() and path.stat().st_size > offset:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(_TAIL_BYTES)
            whole = data[: data.rfind(b"\n") + 1]
            offset += len(whole)
            yield from whole.split(b"\n")[:-1]
        else:
            time.sleep(_POLL_S)


def shown(line: bytes) -> str:
    """Write an alert for a person: when, how bad, what; a line that is none of ours stays as it is.

    Examples
    --------
    >>> shown(b'{"ts":"2026-01-05T15:00:00Z","severity":"critical","kind":"halted","text":"OPERATOR: drill"}')
    '2026-01-05T15:00:00Z  critical  halted  OPERATOR: drill'
    """
    try:
        alert: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
        text = "  ".join(str(alert[key]) for key in ("ts", "severity", "kind", "text"))
    except (msgspec.DecodeError, KeyError, RecursionError):
        text = line.decode(errors="replace")
    return text.translate(_CONTROLS)
