"""What a feed is told when it is built."""

from __future__ import annotations

import msgspec

from engine.events import Nanos


class FeedContext(msgspec.Struct, frozen=True):
    """The part of a run that a feed needs to know.

    Parameters
    ----------
    symbols : tuple of str
        The universe, in the order of every slice.
    calendar : str
        Name of its calendar.
    from_ns, to_ns : int or None
        Bars that close outside ``[from_ns, to_ns]`` are not part of the run.
    bar_min : int
        Minutes of a bar; of ``DAY_MIN``, a bar is a session.
    """

    symbols: tuple[str, ...]
    calendar: str
    from_ns: Nanos | None = None
    to_ns: Nanos | None = None
    bar_min: int = 1
