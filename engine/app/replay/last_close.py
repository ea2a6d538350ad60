"""What a run decided at its last close: it would fill at the next open, and there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.desk import TradingDesk
from engine.events import Event, Side, Signal

#: The note of a spread; its meaning is in docs/run-folder.md.
UNFILLED: Final = "unfilled_at_the_end"


def unfilled(desk: TradingDesk | None, events: Sequence[Event]) -> list[dict[str, str]]:
    """Return a note for every spread, or name of the opening book, that would have traded.

    Parameters
    ----------
    desk : TradingDesk or None
        As the run left it; None if nothing traded in it.
    events : sequence of Event
        Of the last slice. A signal counts unless it wants flat what is flat already.
    """
    if desk is None:
        return []
    layout, held = desk.book.layout, desk.book.leg_quantity
    moving = set(layout.leg_sleeve[desk.pending_leg_quantity != held].tolist())
    open_sleeves = set(layout.leg_sleeve[held != 0.0].tolist())
    signals = {(event.strategy, event.spread): event.side for event in events if isinstance(event, Signal)}
    notes = []
    for k, (strategy, name) in enumerate(layout.sleeve_names):
        side = signals.get((strategy, name))
        is_asked = side is not None and (side is not Side.FLAT or k in open_sleeves)
        if is_asked or k in moving:
            notes.append({"strategy": strategy, "spread": name, "note": UNFILLED})
    return notes
