"""``astra check``: configuration, data and surroundings in a few lines, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
from msgspec.structs import replace

from engine.app.checks.contradictions import contradictions
from engine.app.checks.mistakes import find_mistakes
from engine.app.checks.repo_level import repo_mistakes
from engine.app.checks.tape_sample import measure
from engine.app.config.addresses import MQTT_PASSWORD, REDIS_PASSWORD, is_loopback
from engine.app.config.load import Config
from engine.app.config.origin import count_given
from engine.app.config.plugins import is_recorded
from engine.app.config.tables import DAEMON
from engine.app.keys import HALT_KEY, OPERATOR_KEY, keys_of
from engine.app.live.sinks import APPRISE_URLS
from engine.app.live.state_folder import StateFolder
from engine.app.replay.opening import open_run
from engine.app.source import Source, span_of
from engine.app.terminal_text import shown
from engine.app.wiring import read_history
from engine.clock import wall_ns
from engine.commands import Keys
from engine.events import DAY_NS
from engine.ports import DailyHistory
from engine.secret import secret
from engine.vocabulary import counted
from feeds.live_options import YahooOptions
from feeds.recorded import nothing_accepted


class Checked(msgspec.Struct, frozen=True):
    """What is said of one part: ``ok``, ``mind`` it, or how it is; lines without a name go on with it."""

    name: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"  {self.name:<21} {self.state:<4} {self.text}".rstrip()


def check_all(config: Config) -> Iterator[Checked]:
    """Check a configuration with its data, and look for common mistakes.

    Parameters
    ----------
    config : Config
        Already valid in itself.

    Yields
    ------
    Checked
        About each part.

    Raises
    ------
    AstraError
        If the data cannot be read, or lack a symbol that the configuration names; if a strategy or the
        allocator cannot be built.
    """
    n_keys, n_given = count_given(config)
    yield Checked(config.source.name, "ok", f"({n_keys} keys, {n_given} given, the others default)")
    source, closes = _opened(config)
    measured, gross_usd = measure(config, source, closes)
    yield from _data(config, source)
    yield from _history(config, closes)
    sizes = [(one.name, len(getattr(one.options, "pairs", ()))) for one in config.strategy]
    names = (f"{name} ({counted(n_pairs, 'pair')})" if n_pairs else name for name, n_pairs in sizes)
    yield Checked("strategies", "ok", ", ".join(names))
    yield Checked("allocator", "ok" if config.allocator.options else "off", config.allocator.kind)
    mistakes = (
        *find_mistakes(config, measured, gross_usd),
        *repo_mistakes(config, source),
        *contradictions(config, source),
    )
    for mistake in mistakes:
        yield Checked(mistake.name, "mind", mistake.text)
    if _is_for_live(config):
        yield from _live(config)
    else:
        yield Checked("redis", "off", "alerts go to the terminal and the run folder")
    yield _numba_cache()


def whole(found: Iterable[Checked]) -> list[Checked]:
    """Join the lines that go on with a part to it."""
    parts: list[Checked] = []
    for one in found:
        if one.name or not parts:
            parts.append(one)
        else:
            parts[-1] = replace(parts[-1], text=f"{parts[-1].text}; {one.text}")
    return parts


def _opened(config: Config) -> tuple[Source | None, DailyHistory | None]:
    """Open what a replay would; for bars as they come, read the daily closes before today."""
    if is_recorded(config.feed.kind):
        opening = open_run(config)
        return opening.source, opening.history
    return None, read_history(config.risk.history, config.symbols, wall_ns() // DAY_NS)


def _is_for_live(config: Config) -> bool:
    """Whether somebody wrote what only ``astra run`` reads; a replay need not hear of keys and servers."""
    given = {path[0] for path in (*config.source.places, *config.source.overrides)}
    return not is_recorded(config.feed.kind) or not given.isdisjoint({*DAEMON, "operator"})


def _live(config: Config) -> Iterator[Checked]:
    """Tell what ``astra run`` would find: who hears of alerts, who may command, where the state is kept."""
    sinks = [f"file {shown(config.daemon.state_dir / 'alerts.jsonl')}"]
    if config.redis is not None:
        sinks.append(f"redis {_host(config.redis.url)}")
    if config.mqtt is not None:
        sinks.append(f"mqtt {config.mqtt.host}:{config.mqtt.port}")
    if n_people := len(secret(APPRISE_URLS, os.environ).split()) if config.alerts is not None else 0:
        sinks.append(f"people at {n_people} {'address' if n_people == 1 else 'addresses'}")
    is_required = config.alerts is not None and config.alerts.required
    words = f"{', '.join(sinks)}{'' if len(sinks) > 1 else ' alone'}{'; required' if is_required else ''}"
    yield Checked("alerts", "ok" if len(sinks) > 1 else "off", words)
    yield from _in_the_clear(config)
    yield from _pace(config)
    yield _keys(keys_of())
    yield _state_folder(StateFolder(config.daemon.state_dir))


def _in_the_clear(config: Config) -> Iterator[Checked]:
    """Tell of passwords that would cross a network for everybody on the way to read."""
    redis, mqtt = config.redis, config.mqtt
    if redis is not None:
        parts = urlsplit(redis.url)
        is_open = parts.scheme == "redis" and not is_loopback(parts.hostname or "")
        if is_open and (parts.password or secret(REDIS_PASSWORD, os.environ)):
            yield Checked("password", "mind", f"to {_host(redis.url)} in the clear: rediss:// and ca_file")
    is_open = mqtt is not None and mqtt.ca_file is None and not is_loopback(mqtt.host)
    if mqtt is not None and is_open and secret(MQTT_PASSWORD, os.environ):
        yield Checked("password", "mind", f"to {mqtt.host}:{mqtt.port} in the clear: [mqtt] ca_file")


def _pace(config: Config) -> Iterator[Checked]:
    """Tell of a polled feed whose bars come only after the clock has closed their minute."""
    table, options = config.daemon, config.feed.options
    if not isinstance(options, YahooOptions) or table.clock == "bars":
        return
    behind_s = options.settle_s + 60.0 * options.delay_min
    if behind_s >= table.grace_s:
        text = f"each bar LATE: asked for {behind_s:g} s after its end, [daemon] grace_s = {table.grace_s:g}"
        yield Checked("grace", "mind", text)


def _keys(keys: Keys) -> Checked:
    """Tell by their roles which keys there are."""
    if keys.operator:
        return Checked("keys", "ok", "operator and halt" if keys.halt else "operator")
    if keys.halt:
        return Checked("keys", "mind", "halt alone: nobody can resume")
    return Checked("keys", "off", f"none in {OPERATOR_KEY}, {HALT_KEY}: a live run obeys nobody")


def _state_folder(state: StateFolder) -> Checked:
    """Tell whether a live run begins there or goes on; whether it can is said by the run itself."""
    if any(state.journal.glob("*.journal")):
        return Checked("state folder", "ok", f"{shown(state.root)}, a live run goes on with its journal")
    return Checked("state folder", "ok", f"{shown(state.root)}, a live run begins there")


def _server(config: Config) -> str:
    """Say where the bars of a kind come from that has its server in a table of its own."""
    if config.feed.kind not in {"mqtt", "redis_stream"}:
        return ""
    if config.feed.kind == "mqtt":
        at = f"{config.mqtt.host}:{config.mqtt.port}" if config.mqtt is not None else ""
    else:
        at = _host(config.redis.url) if config.redis is not None else ""
    return f" at {at}" if at else " of a server that --with-servers starts"


def _host(url: str) -> str:
    """Name a server without what an address may say of users and passwords."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def _history(config: Config, history: DailyHistory | None) -> Iterator[Checked]:
    """Tell how much of the universe the daily closes cover: the rest warms up on the tape."""
    held = [symbol for symbol, shares in config.book.positions.items() if shares != 0.0]
    if config.risk.history is None or history is None:
        days = getattr(config.risk, "window_days", 0)
        if days:
            yield Checked(
                "daily closes",
                "mind",
                f"none: {config.risk.model} knows no symbol for {counted(days, 'session')}",
            )
        yield from _halts_at_once(held)
        return
    is_seen = np.any(np.isfinite(history.close_usd), axis=0).tolist()
    days = counted(len(history.days), "day")
    text = f"{sum(is_seen)} of {counted(len(config.symbols), 'symbol')}, {days} before the bars"
    yield Checked(config.risk.history.name, "ok", text)
    seen = {symbol for symbol, one in zip(history.symbols, is_seen, strict=True) if one}
    yield from _halts_at_once([symbol for symbol in held if symbol not in seen])


def _halts_at_once(held: Sequence[str]) -> Iterator[Checked]:
    """Mind an opening book whose VaR nobody knows at the first bar."""
    if held:
        text = f"no daily closes of {', '.join(held)}: VaR is unknown at the first bar, which halts"
        yield Checked("opening book", "mind", f"{text}; give [risk] history")


def _data(config: Config, source: Source | None) -> Iterator[Checked]:
    options: Any = config.feed.options
    path: Path | None = getattr(options, "path", None)
    if source is None:
        where = f"{config.feed.kind}{_server(config)}"
        yield Checked("data", "live", f"{where}, bars as they come: only for astra run")
        return
    if path is None:
        yield Checked("data", "ok", f"{config.feed.kind}, made as the run goes")
        return
    from feeds.files import FileOptions

    if not isinstance(options, FileOptions):
        rows, sessions = counted(source.feed.n_rows, "bar"), counted(source.n_sessions, "session")
        text = f"{config.feed.kind}: {rows}, {sessions}"
        yield Checked(shown(path), "ok", text)
        return
    from feeds.check import check, report_lines

    from_ns, to_ns = span_of(config)
    universe = config.universe
    report = check(options, universe.calendar, bar_min=universe.bar_min, from_ns=from_ns, to_ns=to_ns)
    if not any(one.bars for one in report.symbols if one.symbol in config.symbols):
        raise nothing_accepted(report.rejected, str(path))
    first, *others = report_lines(report)
    yield Checked(shown(path), "ok" if report.is_clean else "mind", first)
    unused = [one for one in report.symbols if one.symbol not in config.symbols]
    if unused:
        bars = sum(one.bars for one in unused)
        symbols = counted(len(unused), "symbol")
        others.append(f"{counted(bars, 'bar')} of {symbols} that this run does not use")
    for line in others:
        yield Checked("", "", line)


def _numba_cache() -> Checked:
    # A feed's kernel is compiled by the check itself, so only those of strategies and risk tell.
    root = Path(__file__).resolve().parents[3]
    folder = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(folder)] if folder else [root / "strategies", root / "risk"]
    is_warm = any(next(place.rglob("*.nbi"), None) for place in places if place.is_dir())
    return Checked(
        "numba cache", "warm" if is_warm else "cold", "" if is_warm else "the first replay compiles, once"
    )
