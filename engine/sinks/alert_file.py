"""Alerts to a file: one line of JSON each, for a person with ``tail -f`` and for the record."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.events import Alert
from engine.ports import Effect
from engine.sinks.messages import EffectId, Mark, Wire, effect_id, id_of

_TAIL_BYTES: Final = 1 << 16


class AlertFile:
    """``alerts.jsonl``: every alert once, in order, across restarts.

    Parameters
    ----------
    path : Path
        Continued if it exists; what a crash left of a last line is cut off.
    wire : Wire
    """

    def __init__(self, path: Path, wire: Wire) -> None:
        self._wire = wire
        self._file = path.open("a+b")
        self._written = self._last_written()

    async def deliver(self, effects: Sequence[Effect]) -> None:
        """Append the alerts that are not there yet; return once the system has them.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        alerts = [e for e in effects if isinstance(e.event, Alert) and effect_id(e) > self._written]
        if alerts:
            lines = b"".join(self._wire.encode(alert) + b"\n" for alert in alerts)
            await asyncio.to_thread(self._append, lines, effect_id(alerts[-1]))

    async def aclose(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, lines: bytes, last: EffectId) -> None:
        end = self._file.seek(0, 2)
        try:
            self._file.write(lines)
            self._file.flush()
            os.fsync(self._file.fileno())  # the cursor will say that they are there
        except OSError:
            self._file.truncate(end)
            raise
        self._written = last

    def _last_written(self) -> EffectId:
        """Cut off a torn last line, and read the id of the last whole one, if it is of this epoch."""
        end = self._file.seek(0, 2)
        self._file.seek(max(0, end - _TAIL_BYTES))
        tail = self._file.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        self._file.truncate(end - (len(tail) - len(whole)))
        for line in reversed(whole.splitlines()):
            try:
                last = msgspec.json.decode(line, type=Mark)
                return id_of(last.id) if last.epoch == self._wire.epoch else (0, -1)
            except ValueError:
                continue
        return (0, -1)
