"""The run folder of a live run, made from its journal: tables, summary and report as a replay has them."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.app.config.load import Config
from engine.app.config.plugins import weighs_returns
from engine.app.replay import run_files
from engine.app.replay.attribution import strategies_of
from engine.app.replay.journal_tools import check_config, rebuild
from engine.app.replay.risk_at_end import risk_at_end
from engine.app.replay.statistics import EquityStatistics, periods_per_year
from engine.clock import stopwatch_s, wall_ns
from engine.errors import ConfigError
from engine.events import Event, Record
from engine.journal import JournalReader
from engine.sinks.run_folder import RunFolder


def export(root: Path, config: Config, out: Path | None, argv: list[str]) -> Path:
    """Replay a journal into a run folder; the engine that writes it may go on meanwhile.

    Parameters
    ----------
    root : Path
        State folder.
    config : Config
        The one the journal was written with.
    out : Path or None
        The run folder itself; by default a new one in ``[output] dir``.
    argv : list of str
        For the record.

    Raises
    ------
    JournalError
        J011 for another configuration, J014 if the journal does not go back to its beginning.
    """
    reader = JournalReader(root / "journal")
    check_config(reader.identity, config, root)
    started_s = stopwatch_s()
    loop = rebuild(config, reader.identity, wall_ns())
    folder = run_files.make_folder(config, out)
    statistics = EquityStatistics(periods_per_year(config.universe.calendar, config.universe.bar_min))
    bus, trace = loop.bus, config.output.trace
    is_weighed = weighs_returns(config.allocator.kind)
    tables = RunFolder(folder, config.symbols, bus.strategies, trace, statistics.update, bus.desk, is_weighed)

    def on_step(seq: int, record: Record, events: list[Event]) -> None:
        tables.on_step(seq, record, events, loop.status.trading_state)

    loop.listener = on_step
    try:
        loop.recover(reader)
    finally:
        tables.close()
    summary = run_files.summary(
        loop.status,
        statistics,
        len(config.symbols),
        stopwatch_s() - started_s,
        (loop.digest.hexdigest(), None),
        config.book.equity_usd,
        tables.notes(),
    )
    source = (f"journal {reader.identity.epoch}", reader.identity.config_hash)
    summary |= {**risk_at_end(loop.bus.desk), **strategies_of(folder, config), "exit_reason": "exported"}
    run_files.write(folder, config, source, summary, argv, "")
    if out is None:
        run_files.point_latest(folder)
    return folder


def export_again(root: Path, config: Config, out: Path, argv: list[str]) -> Path:
    """Replay a journal into a run folder and put it in the place of an earlier one, once it is whole.

    Whenever the process ends, a whole one is there: at ``out``, or for an instant only beside it.

    Raises
    ------
    ConfigError
        C012 if ``out`` is no run folder.
    JournalError
        As ``export``.
    """
    if out.exists() and not (out / "run.json").is_file():
        hint = "Only a run folder is replaced by another. Name one, or a folder that does not exist."
        raise ConfigError("C012", f"{out} is no run folder", "--out", hint)
    draft, old = (out.with_name(f".{out.name}.{what}") for what in ("new", "old"))
    if old.exists() and not out.exists():  # somebody ended between the two names
        old.rename(out)
    for left in (draft, old):
        shutil.rmtree(left, ignore_errors=True)
    export(root, config, draft, argv)
    if out.exists():
        out.rename(old)
    draft.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    return out
