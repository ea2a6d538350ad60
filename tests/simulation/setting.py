"""What the product's modules are given while a world lasts: clock, file of cursors, servers, sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import msgspec

from engine import bus
from engine.app.live import daemon, edges, failure
from engine.disk import write_whole
from engine.sinks import courier, outbox, redis
from tests.simulation.machine import Machine
from tests.simulation.outside import RedisClient, RedisServer
from tests.simulation.plan import Knobs
from tests.simulation.process import ROOT
from tests.support.virtual_time import stopwatches_of

_CURSORS: Final = ROOT / "cursors.json"


class _Silent:
    """A log that nobody reads."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@contextmanager
def set_for(machine: Machine, server: RedisServer, knobs: Knobs) -> Iterator[None]:
    """Put a world in place, and take it away again."""

    def write_cursors(_path: Any, epoch: str, cursors: Any) -> None:
        write_whole(machine.disk, _CURSORS, msgspec.json.encode((epoch, cursors)))

    def read_cursors(_path: Any, epoch: str) -> Any:
        try:
            written, cursors = msgspec.json.decode(machine.disk.read(_CURSORS))
        except (OSError, msgspec.DecodeError):
            return {}
        if written != epoch:
            return {}
        return {sink: {lane: tuple(id_) for lane, id_ in c.items()} for sink, c in cursors.items()}

    silent = _Silent()
    patches: list[tuple[Any, str, Any]] = [
        (edges, "_LOOK_EVERY_S", knobs.look_every_s),
        (daemon, "_TURN", knobs.turn),
        (daemon, "_AHEAD_MAX", knobs.ahead_max),
        (bus, "_MINUTES_MAX", knobs.minutes_max),
        (outbox, "_LOT", knobs.outbox_lot),
        (courier, "_BATCH", knobs.courier_batch),
        (courier, "_IDLE_S", knobs.idle_s),
        (courier, "write_cursors", write_cursors),
        (courier, "read_cursors", read_cursors),
        (courier, "_log", silent),
        (failure, "_log", silent),
        (redis, "redis_client", lambda *_: RedisClient(server)),
    ]
    with ExitStack() as stack:
        stack.enter_context(stopwatches_of(machine.clock))
        for module, name, value in patches:
            stack.enter_context(mock.patch.object(module, name, value))
        yield
