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


def wrong_position(after: str, kind: str) -> DataError:
    """Return the error for a position in the journal that this kind of feed did not write (D032)."""
    return DataError(
        "D032",
        f'the journal ends at position "{after}" of its feed, which is none of kind "{kind}"',
        "feed.kind",
        "The state belongs to a run with another feed. Use that feed again, or another [daemon] state_dir,\n"
        "or put the journal aside and begin a new one:  astra run --new-epoch",
    )
