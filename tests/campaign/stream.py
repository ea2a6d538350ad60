"""What the variant with bars in a Redis stream needs of the engine: small reads, and an end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from engine.app.live import live_run
from engine.app.live.daemon import Daemon
from feeds import redis_stream

_BATCH: int = 20


def until(last: str) -> Callable[[], None]:
    """Return a change that reads few entries at a time, and ends in good order behind the last of them.

    Parameters
    ----------
    last : str
        Id of the last entry.
    """

    def change() -> None:
        redis_stream._BATCH_MAX = _BATCH  # type: ignore[misc]
        plain = Daemon._commit

        async def commit(self: Any) -> None:
            await plain(self)
            if self.position == last:
                os.kill(os.getpid(), signal.SIGTERM)

        Daemon._commit = commit  # type: ignore[method-assign]
        announce = live_run.announce

        def announced(config: Any, parts: Any, *more: Any) -> None:
            announce(config, parts, *more)
            if parts.recovered.position == last:
                os.kill(os.getpid(), signal.SIGTERM)

        live_run.announce = announced

    return change
