"""What has arrived and was not stepped yet: two lanes, so that an operator never queues behind bars."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from engine.ports import Arrival

#: Bars that may wait before the feed is held up: a burst of the largest universe.
ROUTINE_MAX: Final = 20_000


class Inbox:
    """Arrivals in order; urgent ones (commands, halts, answers) first.

    Parameters
    ----------
    routine_max : int
        ``put`` waits while this many routine arrivals wait: the feed stops reading its socket then.
    """

    def __init__(self, routine_max: int = ROUTINE_MAX) -> None:
        self._urgent: deque[Arrival] = deque()
        self._routine: deque[Arrival] = deque()
        self._routine_max = routine_max
        self._came = asyncio.Event()
        self._went = asyncio.Event()
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Arrivals of both lanes."""
        return len(self._urgent) + len(self._routine)

    def urge(self, arrival: Arrival) -> None:
        """Add to the urgent lane; never waits."""
        self._urgent.append(arrival)
        self._came.set()

    async def put(self, arrivals: Sequence[Arrival]) -> None:
        """Add to the routine lane, once there is room, and let others have their turn.

        First the stepper, then the commit: what came is on its way to the disk before the feed asks for more,
        which takes the client of a server longer than a step.
        """
        while len(self._routine) >= self._routine_max:
            self._went.clear()
            await self._went.wait()
        self._routine.extend(arrivals)
        self._came.set()
        for _turn in ("stepper", "commit"):
            await asyncio.sleep(0)

    async def take(self) -> Arrival | None:
        """Return the next arrival; None once the inbox is closed and empty."""
        while not self._urgent:
            if self._routine:
                self._went.set()
                return self._routine.popleft()
            if self._is_closed:
                return None
            await self._wait()
        return self._urgent.popleft()

    async def take_urgent(self) -> Arrival:
        """Return the next urgent arrival, whatever waits in the other lane."""
        while not self._urgent:
            await self._wait()
        return self._urgent.popleft()

    async def _wait(self) -> None:
        self._came.clear()
        await self._came.wait()

    def close(self) -> None:
        """Let ``take`` end once everything has been taken."""
        self._is_closed = True
        self._came.set()
