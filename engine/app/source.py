"""The bars of a run: the configured feed, opened for a span."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine.app.config.errors import symbols_absent
from engine.app.config.load import PATH_KEYS, Config
from engine.app.config.plugins import registry
from engine.errors import ConfigError
from engine.events import DAY_NS, SECOND_NS, Nanos, Record
from engine.ports import Feed
from feeds.calendars import zone_of
from feeds.context import FeedContext
from feeds.files import FileOptions, fingerprint, symbols_in


class Source:
    """An opened feed, and what a run wants to know of it.

    Parameters
    ----------
    feed : Feed
        Built for the span of the run.
    name : str
        Path of the bars, or the kind of feed.
    """

    def __init__(self, feed: Feed, name: str) -> None:
        self.feed = feed
        self.name = name

    def records(self) -> AsyncIterator[Record]:
        """Return the records of the run, from the beginning."""
        return self.feed.bars()

    @property
    def n_sessions(self) -> int:
        """Sessions of the calendar in the span of the bars."""
        feed = self.feed
        return int(((feed.sessions.close_ns >= feed.first_ns) & (feed.sessions.open_ns < feed.last_ns)).sum())

    @property
    def first_day(self) -> int:
        """Day of the first session, since 1970-01-01: what is known before it is history."""
        sessions = self.feed.sessions
        days = sessions.day[sessions.close_ns >= self.feed.first_ns]
        return int(days[0]) if len(days) else self.feed.first_ns // DAY_NS


def open_source(config: Config, last_ns: Nanos | None = None) -> Source:
    """Open the configured feed for the configured span.

    Parameters
    ----------
    config : Config
    last_ns : int or None
        Truncate the tape after this close.

    Raises
    ------
    AstraError
        D002 if the bars lack a symbol of the universe; whatever the feed raises.
    """
    from_ns, to_ns = span_of(config)
    if last_ns is not None:
        to_ns = last_ns
    options: Any = config.feed.options
    path: Path | None = getattr(options, "path", None)
    if isinstance(options, FileOptions) and path is not None and (present := symbols_in(path)):
        absent = symbols_absent(config.source, config.symbol_paths, present, str(path))
        if absent is not None:
            raise absent
    context = FeedContext(config.symbols, config.universe.calendar, from_ns, to_ns, config.universe.bar_min)
    feed = registry("feeds")[config.feed.kind].build(options, context)
    return Source(feed, str(path or config.feed.kind))


def span_of(config: Config) -> tuple[Nanos | None, Nanos | None]:
    """Return the instants that ``[universe] first`` and ``last`` stand for; None where there is no bound.

    Raises
    ------
    ConfigError
        C011 if no instant lies between them.
    """
    zone = ZoneInfo(zone_of(config.universe.calendar))
    first, last = config.universe.first, config.universe.last
    from_ns = _instant(first, zone, is_end=False) if first else None
    to_ns = _instant(last, zone, is_end=True) if last else None
    if from_ns is not None and to_ns is not None and from_ns > to_ns:
        what = f"universe.first must not be after universe.last, was {first} and {last}"
        raise ConfigError("C011", what, "universe.first")
    return from_ns, to_ns


def fingerprint_of(config: Config) -> str:
    """Return the SHA-256 of what a run reads as it is now: the bars (or the options that make them).

    The further files that feed and strategies read are part of it, where there are any.
    """
    options: Any = config.feed.options
    path: Path | None = getattr(options, "path", None)
    bars = fingerprint(path) if path is not None else f"{config.feed.kind} {options.model_dump_json()}"
    files = further_files(config)
    if not files:
        return bars
    digest = hashlib.sha256(bars.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def further_files(config: Config) -> list[Path]:
    """Return the files that feed and strategies read beside the bars, in the order of the configuration."""
    given = [getattr(config.feed.options, key, None) for key in PATH_KEYS if key != "path"]
    given += [getattr(table.options, key, None) for table in config.strategy for key in PATH_KEYS]
    return [path for path in given if isinstance(path, Path)]


def _instant(text: str, zone: ZoneInfo, *, is_end: bool) -> Nanos:
    """Read a bound: a minute belongs to the date it ends in, so a date is (midnight, next midnight]."""
    stamp = datetime.fromisoformat(text)
    if len(text) > len("2026-01-05"):
        return int(stamp.timestamp()) * SECOND_NS
    midnight = stamp.replace(tzinfo=zone) + timedelta(days=1 if is_end else 0)
    return int(midnight.timestamp()) * SECOND_NS + (0 if is_end else 1)
