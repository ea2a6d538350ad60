"""What a live run may meet: a strategy that hangs, a disk that is full. Called in the run's own process."""

from __future__ import annotations

import resource
import time
from typing import Any

import strategies
from engine.app.plugins import registry
from engine.ports import Plugin

#: Larger than the halt marker and a status, smaller than a day's journal.
FILE_BYTES_MAX = 48_000
_HANG_AFTER = 30
_HANG_S = 60.0


def hang() -> None:
    """Let ``kalman_pairs`` never come back from its 30th slice."""
    plain = strategies.REGISTRY["kalman_pairs"]

    def build(options: Any, context: Any) -> Any:
        strategy = plain.build(options, context)
        on_slice, slices = strategy.on_slice, []

        def sleepy(slice_: Any) -> Any:
            slices.append(slice_)
            if len(slices) == _HANG_AFTER:
                time.sleep(_HANG_S)
            return on_slice(slice_)

        strategy.on_slice = sleepy
        return strategy

    strategies.REGISTRY["kalman_pairs"] = Plugin(plain.options, build)
    registry.cache_clear()


def fill_disk() -> None:
    """Let no file grow beyond a size, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
