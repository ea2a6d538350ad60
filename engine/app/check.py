"""``astra check``: configuration and data in five lines, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.app.config import Config
from engine.app.config_errors import symbols_absent
from engine.app.config_origin import count_given
from engine.app.terminal import shown

if TYPE_CHECKING:
    from feeds.check import DataReport


def check_all(config: Config) -> Iterator[str]:
    """Check a configuration with its data.

    Parameters
    ----------
    config : Config
        Already valid in itself.

    Yields
    ------
    str
        A line about each part.

    Raises
    ------
    AstraError
        If the data cannot be read, or lack a symbol that the configuration names.
    """
    n_keys, n_given = count_given(config)
    yield _line(config.source.name, "ok", f"({n_keys} keys, {n_given} given, the others default)")
    yield from _data(config)
    yield from _history(config)
    names = (f"{one.name} ({len(getattr(one.options, 'pairs', ()))} pairs)" for one in config.strategy)
    yield _line("strategies", "ok", ", ".join(names))
    yield _line("allocator", "ok" if config.allocator.options else "off", config.allocator.kind)
    if config.redis is None:
        yield _line("redis", "off", "alerts go to the terminal and the run folder")
    yield _numba_cache()


def _history(config: Config) -> Iterator[str]:
    """Tell how much of the universe the daily closes cover: the rest warms up on the tape."""
    if config.risk.history is None:
        return
    from engine.app.source import open_source
    from engine.app.wiring import read_history

    history = read_history(config.risk.history, config.symbols, open_source(config).first_day)
    if history is not None:
        n_seen = int(np.isfinite(history.close_usd).any(axis=0).sum())
        text = f"{n_seen} of {len(config.symbols)} symbols, {len(history.days)} days before the bars"
        yield _line(config.risk.history.name, "ok", text)


def _data(config: Config) -> Iterator[str]:
    options: Any = config.feed.options
    path: Path | None = getattr(options, "path", None)
    if path is None:
        yield _line("data", "ok", f"{config.feed.kind}, made as the run goes")
        return
    from feeds.check import check

    report = check(path, options.tz, config.universe.calendar, sort=options.sort)
    present = [one.symbol for one in report.symbols]
    absent = symbols_absent(config.source, config.symbol_paths, present, str(path))
    if absent is not None:
        raise absent
    first, *others = report_lines(report)
    yield _line(shown(path), "ok" if report.is_clean else "mind", first)
    unused = [one for one in report.symbols if one.symbol not in config.symbols]
    if unused:
        bars = sum(one.bars for one in unused)
        others.append(f"{bars:,} bars of {len(unused)} symbols that this run does not use")
    for line in others:
        yield _line("", "", line)


def report_lines(report: DataReport) -> list[str]:
    """Say what is in a data set: what there is, then what a replay would not accept."""
    span = f"{report.first_day}..{report.last_day}, {report.sessions} sessions {report.calendar}"
    lines = [f"{len(report.symbols)} symbols, {span}, {report.rows:,} rows, {report.gaps:,} gaps"]
    if report.rejected:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.rejected.items()))
        lines.append(f"a replay of all its symbols rejects {counts}")
    if report.pending or report.confirmed:
        lines.append(f"jumps beyond the collar: {report.confirmed:,} confirmed, {report.pending:,} pending")
    if report.one_sided or report.empty:
        lines.append(f"minutes with some symbols only: {report.one_sided:,}; with none: {report.empty:,}")
    return lines


def _numba_cache() -> str:
    # A feed's kernel is compiled by the check itself, so only those of strategies and risk tell.
    root = Path(__file__).resolve().parents[2]
    folder = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(folder)] if folder else [root / "strategies", root / "risk"]
    is_warm = any(next(place.rglob("*.nbi"), None) for place in places if place.is_dir())
    return _line(
        "numba cache", "warm" if is_warm else "cold", "" if is_warm else "the first replay compiles, once"
    )


def _line(name: str, state: str, text: str) -> str:
    return f"  {name:<21} {state:<4} {text}".rstrip()
