"""Shows events on the terminal from a thread of its own: one that is not read must not hold up a step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Final

from engine.app.replay.run import Listener
from engine.ports import Effect

#: Steps that may wait to be shown; a person who looks away misses what is beyond, alerts and journal do not.
_BOUND: Final = 10_000
_END_S: Final = 2.0


class Printer:
    """Hands effects to a listener, in order; drops and counts what it cannot take.

    Parameters
    ----------
    listener : Listener
    """

    def __init__(self, listener: Listener) -> None:
        self.dropped = 0
        self._listener = listener
        self._waiting: queue.Queue[Sequence[Effect] | None] = queue.Queue(_BOUND)
        self._thread = threading.Thread(target=self._show, name="terminal", daemon=True)
        self._thread.start()

    def show(self, effects: Sequence[Effect]) -> None:
        """Show effects soon; never waits."""
        try:
            self._waiting.put_nowait(effects)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Show what waits, as far as somebody reads it within two seconds."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(_END_S)

    def _show(self) -> None:
        while (effects := self._waiting.get()) is not None:
            self._listener.on_effects(effects)
