"""What a live feed is told when it is built, and what all live feeds have in common."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from engine.clock import Clock
from engine.errors import DataError
from engine.events import Nanos
from engine.links import MqttLink, RedisLink

Link = TypeVar("Link", RedisLink, MqttLink)


class LiveContext(msgspec.Struct, frozen=True):
    """The part of a live run that a feed needs to know.

    Parameters
    ----------
    symbols : tuple of str
        The universe, in the order of every slice.
    calendar : str
        Name of its calendar.
    clock : Clock
        Says what is in the future, and paces recorded bars.
    skew_max_s : float
        How far ahead of the clock a bar's stamp may be.
    from_ns, to_ns : int or None
        Bars that close outside ``[from_ns, to_ns]`` are not part of the run.
    redis : RedisLink or None
    mqtt : MqttLink or None
        Servers of the configuration.
    instance : str
        Name of this engine, unique on those servers.
    bar_min : int
        Minutes of a bar; of ``DAY_MIN``, a bar is a session.
    has_had_bars : bool
        Whether the journal has bars of this feed already: it goes on, and does not begin.
    """

    symbols: tuple[str, ...]
    calendar: str
    clock: Clock
    skew_max_s: float = 2.0
    from_ns: Nanos | None = None
    to_ns: Nanos | None = None
    redis: RedisLink | None = None
    mqtt: MqttLink | None = None
    instance: str = "astra"
    bar_min: int = 1
    has_had_bars: bool = False


def linked(link: Link | None, kind: str, table: str) -> Link:
    """Return the link a kind of feed needs.

    Raises
    ------
    DataError
        D031 if the configuration names no such server.
    """
    if link is None:
        raise DataError(
            "D031",
            f'feed.kind = "{kind}" needs a server, and there is no [{table}] table',
            "feed.kind",
            f"Say where it is:\n    [{table}]\n"
            + ('    url = "redis://127.0.0.1:6379"' if table == "redis" else '    host = "127.0.0.1"'),
        )
    return link


def minutes_only(context: LiveContext, kind: str) -> None:
    """Refuse bars of another size than the one minute this kind of feed delivers.

    Raises
    ------
    DataError
        D033.
    """
    if context.bar_min != 1:
        raise DataError(
            "D033",
            f'feed.kind = "{kind}" delivers bars of 1 minute, universe.bar_min was {context.bar_min}',
            "universe.bar_min",
            "Leave bar_min out, or bring bars of that size by MQTT or a Redis stream.",
        )


def wrong_position(after: str, kind: str) -> DataError:
    """Return the error for a position in the journal that this kind of feed did not write (D032)."""
    return DataError(
        "D032",
        f'the journal ends at position "{after}" of its feed, which is none of kind "{kind}"',
        "feed.kind",
        "The state belongs to a run with another feed. Use that feed again, or another [daemon] state_dir,\n"
        "or put the journal aside and begin a new one:  astra run --new-epoch",
    )
