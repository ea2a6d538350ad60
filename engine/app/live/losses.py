"""What a live feed knows to have lost: bars that were published, and that nobody can bring back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.ports import LiveFeed

#: What each counter of a feed means; a feed has those that can happen to it.
LOSSES: Final[Mapping[str, str]] = {
    "gaps": "entries may have been trimmed from the stream before they were read",
    "rewinds": "the server had lost data, and the stream is read from its beginning",
    "sessions_lost": "the broker had forgotten this engine, and did not keep what was published meanwhile",
    "backfills_failed": "the vendor's history could not be had, and the minutes in between stay missing",
}


def losses_of(feed: LiveFeed) -> dict[str, int]:
    """Return how often a feed has lost something, by the names of ``LOSSES`` that it counts."""
    return {name: int(getattr(feed, name)) for name in LOSSES if hasattr(feed, name)}
