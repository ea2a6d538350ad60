"""What a live run may meet: parts and disks that hang, a disk that is full, memory that lies.

Called in the run's own process.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from functools import partial
from typing import Any

import strategies
import strategies.allocators
from engine.app import assembly
from engine.app.config.plugins import registry
from engine.app.live import owner, owner_mqtt, upkeep, view
from engine.clock import Clock
from engine.disk import _OsFile
from engine.ports import Plugin
from engine.status import Status

#: Larger than the halt marker and a status, smaller than a day's journal.
FILE_BYTES_MAX = 48_000
_HANG_AFTER = 30
_HANG_S = 60.0
#: Beyond what is counted before the run begins, when everything is compiled.
_MISCOUNT_AT = 100


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


def impatient() -> None:
    """Give required sinks half a second to answer at the start."""
    view._REQUIRED_WITHIN_S = 0.5  # type: ignore[misc]


def brief_lease() -> None:
    """Let a name belong to an engine for a second after its last word."""
    owner.LEASE_S = owner_mqtt.LEASE_S = 1.0  # type: ignore[misc]


def fast_clocks() -> None:
    """Let both clocks of the machine, which agree, go a minute in a second."""
    wall_ns, monotonic_s = time.time_ns(), time.monotonic()

    def passed_s() -> float:
        return 60.0 * (time.monotonic() - monotonic_s)

    assembly.Clock = partial(  # type: ignore[assignment, misc]
        Clock, wall=lambda: wall_ns + round(1e9 * passed_s()), monotonic=lambda: monotonic_s + passed_s()
    )


def hang_disk() -> None:
    """Let no fsync come back after the 40th of this process; nothing fails."""
    plain, synced = _OsFile.sync, []

    def sync(self: Any) -> None:
        synced.append(self)
        if len(synced) > _HANG_AFTER + 10:
            threading.Event().wait()
        plain(self)

    _OsFile.sync = sync  # type: ignore[method-assign]


def cannot_check() -> None:
    """Let no process be started for a look at the journal."""

    async def astra(*_: object, **__: object) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    upkeep.astra = astra


def miscount() -> None:
    """Let this process alone count one fill too many, once: as a flipped bit would."""
    plain, slices = Status.on_slice, []

    def on_slice(self: Status, slice_: Any) -> None:
        plain(self, slice_)
        slices.append(slice_)
        self.fills += len(slices) == _MISCOUNT_AT

    Status.on_slice = on_slice  # type: ignore[method-assign]


def hang_allocator() -> None:
    """Let ``direct`` never answer."""
    plain = strategies.allocators.REGISTRY["direct"]

    def build(options: Any, context: Any) -> Any:
        allocator = plain.build(options, context)
        allocator.allocate = lambda *_: threading.Event().wait()
        return allocator

    strategies.allocators.REGISTRY["direct"] = Plugin(plain.options, build)
    registry.cache_clear()


if __name__ == "__main__":  # the command line itself, with its end: what a fork of the nursery has not
    from engine.app.live import warm_up
    from engine.app.main import main

    warm_up._PASSES = warm_up._PASSES[:1]  # type: ignore[misc]
    globals()[sys.argv.pop(1)]()
    main()
