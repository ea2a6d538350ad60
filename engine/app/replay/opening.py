"""What a replay begins with. ``astra check`` begins with the same, so that both refuse the same."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.app.config.load import Config
from engine.app.replay.run_files import require_place
from engine.app.source import Source, open_source
from engine.app.wiring import read_history
from engine.ports import DailyHistory


class Opening(msgspec.Struct, frozen=True):
    """The opened feed, and the daily closes before it."""

    source: Source
    history: DailyHistory | None


def open_run(config: Config, out: Path | None = None) -> Opening:
    """Open what a replay reads, before its parts are built.

    Parameters
    ----------
    config : Config
    out : Path or None
        The run folder, if it is not to be in ``[output] dir``.

    Raises
    ------
    AstraError
        For bars or closes that cannot be read, and for a place where no run folder can be made.
    """
    source = open_source(config)
    history = read_history(config.risk.history, config.symbols, source.first_day)
    if out is None:
        require_place(config.output.dir)
    return Opening(source, history)
