"""Shows the status document every second and after every command: in a file, and where couriers show one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from engine.app.live.view import View

_EVERY_S: Final = 1.0

_log = structlog.get_logger("astra.run")


class StatusFile:
    """Where the status stands for people and programs.

    Parameters
    ----------
    path : Path
    view : View
        Makes the document, and shows it on servers.
    is_ours : callable
        Whether servers show this engine under its name.
    """

    def __init__(self, path: Path, view: View, is_ours: Callable[[], bool]) -> None:
        self._path = path
        self._view = view
        self._is_ours = is_ours
        self._has_news = asyncio.Event()
        self._showing = asyncio.Lock()

    def renew(self) -> None:
        """Show it soon: something has happened that somebody waits for."""
        self._has_news.set()

    async def run(self) -> None:
        """Show it again and again until cancelled."""
        while True:
            self._has_news.clear()
            await self.show()
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._has_news.wait()

    async def show(self) -> None:
        """Show it now; written in a thread, since a disk that does not answer must not hold up a halt."""
        async with self._showing:
            body = self._view.document()
            if self._is_ours():
                self._view.couriers.show_status(body)
            await asyncio.to_thread(self._write, body)

    def _write(self, body: bytes) -> None:
        draft = self._path.with_suffix(".tmp")
        try:
            draft.write_bytes(body)
            draft.replace(self._path)
        except OSError as error:  # the journal decides whether a disk that refuses ends the run
            _log.warning("status is not written", error=str(error))
