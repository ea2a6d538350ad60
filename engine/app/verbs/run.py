"""``run``: the engine as a daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.app.given import bad_argument
from engine.app.verbs.options import ConfigFile, Overrides, load_config


def run(
    config: ConfigFile = None,
    overrides: Overrides = None,
    is_demo: Annotated[
        bool, typer.Option("--demo", help="Simulated pairs around the clock, in ./astra-demo; needs no file.")
    ] = False,
    with_servers: Annotated[
        bool,
        typer.Option(
            "--with-servers", help="Start Redis and an MQTT broker on loopback, if none is configured."
        ),
    ] = False,
    speed: Annotated[float, typer.Option(help="Minutes of a file or simulation to play in a minute.")] = 1.0,
    new_epoch: Annotated[
        bool, typer.Option("--new-epoch", help="Put the journal aside and begin a new one; a halt stays.")
    ] = False,
    accept_version: Annotated[
        bool, typer.Option("--accept-version", help="Go on with a journal that another build wrote.")
    ] = False,
    is_quiet: Annotated[bool, typer.Option("--quiet", help="Print no events; the log goes on.")] = False,
) -> None:
    """Run live on paper: journal, alerts, operator control.

    It goes on where the journal in [daemon] state_dir ends, until the bars end, SIGTERM or Ctrl-C; SIGUSR1
    halts trading. It ends with 0, or 130 after Ctrl-C; 2 and 3 need a person, after 1, 5 and 70 it may start
    again.
    """
    from engine.app.build import installed_version
    from engine.app.config.errors import located
    from engine.app.terminal import Silent, Terminal

    if not 0.0 < speed < float("inf"):
        raise bad_argument(f"--speed must be greater than 0, was {speed:g}", "--speed")
    if is_demo and config is not None:
        raise bad_argument("--demo brings its own configuration", "--demo", "Leave out one of them.")
    if is_demo:
        from engine.app.live.demo import demo_config

        checked = demo_config(overrides or [])
    else:
        checked = load_config(config, overrides)
    from engine.app.config.plugins import is_recorded
    from engine.app.live.run import RunOptions
    from engine.app.live.run import run as run_live

    if speed != 1.0 and not is_recorded(checked.feed.kind):
        what = f'feed.kind = "{checked.feed.kind}" comes in real time, --speed was {speed:g}'
        raise bad_argument(what, "--speed", "Only files and simulations can be played faster.")
    options = RunOptions(speed, with_servers, new_epoch, accept_version, is_demo)
    terminal = Silent() if is_quiet else Terminal(installed_version(), verb="run")
    try:
        with located(checked.source):
            status = run_live(checked, options, terminal)
    finally:
        terminal.close()
    typer.echo(f"stopped; state in {checked.daemon.state_dir}; the same command goes on from there")
    if status:
        raise typer.Exit(status)
