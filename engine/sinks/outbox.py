"""The outbox: effects whose records are on disk, until every sink has them.

Each sink reads two lanes at its own pace. *Urgent* effects (alerts, states, verdicts) are never dropped;
of the *routine* ones the oldest go, and are counted, when a sink stays away for long. What was delivered of
the urgent lane is kept for a while, so that a receiver that lost its data can be given it again; the last
trading state, for as long as there is no later one.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.events import TradingStateChanged
from engine.ports import Effect
from engine.sinks.messages import KINDS, URGENT, EffectId, effect_id

LANES: Final = ("urgent", "routine")
#: Delivered urgent effects that are kept.
_KEPT: Final = 1_000
#: Deleting from the front of a list moves the rest, so it is done in lots.
_LOT: Final = 1_024
_START: Final = (0, -1)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Effect]).decode


class Outbox:
    """Effects in the order of their ids, and how far each sink has come.

    It does no I/O; it belongs to one event loop.

    Parameters
    ----------
    names : sequence of str
        The sinks.
    bound : int
        Effects a lane may hold undelivered.
    """

    def __init__(self, names: Sequence[str], bound: int = 100_000) -> None:
        self.names = tuple(names)
        self.dropped = 0
        self._bound = bound
        self._last: EffectId = _START
        self._lanes: dict[str, list[Effect]] = {lane: [] for lane in LANES}
        self._cursors = {(name, lane): _START for name in names for lane in LANES}
        self._news = {key: asyncio.Event() for key in self._cursors}

    @property
    def is_overfull(self) -> bool:
        """Whether more urgent effects wait than the bound: nobody is listening, trading must stop."""
        return any(self.count(name, "urgent") > self._bound for name in self.names)

    def add(self, effects: Iterable[Effect]) -> None:
        """Take effects in the order of their ids, once their records are on disk.

        An id that is not beyond the last one is ignored: recovery adds the tail of the journal again.
        """
        for effect in effects:
            kind = KINDS.get(type(effect.event))
            if kind is None or effect_id(effect) <= self._last:
                continue
            self._last = effect_id(effect)
            self._lanes["urgent" if kind in URGENT else "routine"].append(effect)
        self._trim()
        for (name, lane), news in self._news.items():
            if self.count(name, lane):
                news.set()

    def pending(self, name: str, lane: str, limit: int) -> list[Effect]:
        """Return the oldest effects a sink does not have yet, at most ``limit``."""
        start = self._position(name, lane)
        return self._lanes[lane][start : start + limit]

    def count(self, name: str, lane: str) -> int:
        """Return how many effects a sink does not have yet."""
        return len(self._lanes[lane]) - self._position(name, lane)

    async def more(self, name: str, lane: str) -> None:
        """Wait until a sink has something to fetch."""
        news = self._news[name, lane]
        while not self.count(name, lane):
            news.clear()
            await news.wait()

    def delivered(self, name: str, lane: str, id_: EffectId) -> None:
        """Note that a sink has everything up to and with ``id_``."""
        self._cursors[name, lane] = max(self._cursors[name, lane], id_)
        self._trim()

    def rewind(self, name: str, lane: str, held: Mapping[str, EffectId]) -> int:
        """Go back to the first effect that a receiver should have, and has not; return how many go again.

        Parameters
        ----------
        held : mapping
            Id of the last message the receiver has, by kind; a kind that is absent is not questioned.
        """
        effects = self._lanes[lane]
        had = self._position(name, lane)
        first = bisect_right(effects, min(held.values(), default=self._last), key=effect_id)
        for i in range(first, had):
            if effect_id(effects[i]) > held.get(KINDS[type(effects[i].event)], self._last):
                self._cursors[name, lane] = effect_id(effects[i - 1]) if i else _START
                return had - i
        return 0

    def cursors(self) -> dict[str, dict[str, EffectId]]:
        """Return how far each sink has come, by lane."""
        return {name: {lane: self._cursors[name, lane] for lane in LANES} for name in self.names}

    def seek(self, cursors: Mapping[str, Mapping[str, EffectId]]) -> None:
        """Continue where the sinks had come to, if that is further on than is known here."""
        for name, lane in self._cursors:
            self.delivered(name, lane, cursors.get(name, {}).get(lane, _START))

    def state(self) -> dict[str, Any]:
        """Return what a snapshot needs: everything held, and the cursors, as plain values."""
        return {
            "last": list(self._last),
            "dropped": self.dropped,
            "lanes": {lane: _encode(effects) for lane, effects in self._lanes.items()},
            "cursors": {
                name: {lane: list(id_) for lane, id_ in lanes.items()}
                for name, lanes in self.cursors().items()
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state`` returned; a sink that is new has no claim to what was before it."""
        self._last = (state["last"][0], state["last"][1])
        self.dropped = state["dropped"]
        self._lanes = {lane: _decode(state["lanes"][lane]) for lane in LANES}
        for name, lane in self._cursors:
            seq, index = state["cursors"].get(name, {}).get(lane, self._last)
            self._cursors[name, lane] = (seq, index)
        self.add(())

    def _position(self, name: str, lane: str) -> int:
        return bisect_right(self._lanes[lane], self._cursors[name, lane], key=effect_id)

    def _trim(self) -> None:
        for lane, effects in self._lanes.items():
            done = min((self._position(name, lane) for name in self.names), default=len(effects))
            spare = done - _KEPT if lane == "urgent" else done
            if lane == "routine" and len(effects) - done > self._bound:
                spare = len(effects) - self._bound
                self.dropped += spare - done
            elif spare < _LOT:
                continue
            effects[:spare] = _last_state(effects, spare) if lane == "urgent" else []


def _last_state(effects: Sequence[Effect], end: int) -> list[Effect]:
    """Return the last trading state if it stands before ``end``: it is still in force."""
    place = next(
        (i for i in reversed(range(len(effects))) if isinstance(effects[i].event, TradingStateChanged)), end
    )
    return [effects[place]] if place < end else []
