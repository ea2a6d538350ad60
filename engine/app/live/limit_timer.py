"""Numbers that return by themselves do so by the clock that commands are judged by, bars or no bars."""

from __future__ import annotations

import asyncio
from typing import Final

from engine.app.live.inbox import Inbox
from engine.clock import Clock
from engine.controls import Controls
from engine.events import LimitsDue
from engine.ports import Arrival

_LOOK_EVERY_S: Final = 1.0


async def revert_forever(clock: Clock, controls: Controls, inbox: Inbox) -> None:
    """Tell the core, once the time has come, that numbers return; until cancelled.

    A minute that closes lets them return too; but the minutes of a delayed or recorded stream tell another
    time, and without bars there are none.
    """
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        # A clock that has jumped ahead ends nothing too early.
        if 0 < controls.revert_ns <= (now_ns := clock.trusted_ns()):
            inbox.urge(Arrival(LimitsDue(now_ns)))
