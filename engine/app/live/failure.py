"""How a live run fails: whoever starts next is halted, and people are told as well as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

import structlog

from engine.app.live.halt_marker import HaltMarker
from engine.errors import AstraError, ServiceError
from engine.events import Alert, Nanos
from engine.ports import Effect, Sink
from engine.sinks.notify import NotifySink

#: The journal takes nothing any more; or the core itself failed.
JOURNAL: Final = "JOURNAL"
ENGINE_FAILED: Final = "ENGINE_FAILED"
#: Kind of the alert that a serving engine stops.
STOPPED: Final = "engine_stopped"
_TELL_MAX_S: Final = 5.0
#: A disk that does not answer must not keep the process.
_MARK_MAX_S: Final = 5.0

_log = structlog.get_logger("astra.run")


async def fall(error: Exception, marker: HaltMarker, now_ns: Nanos, sinks: Mapping[str, Sink]) -> None:
    """Leave a durable halt and tell people that a serving engine stops.

    No effect can be published: an alert that the journal does not hold would take the id of one that it will.
    """
    text = f"{type(error).__name__}: {error}"
    _log.critical("the engine stops", error=text)
    is_journal = isinstance(error, ServiceError) and error.code in {"S020", "S021", "S022"}
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_MARK_MAX_S):
            reason = JOURNAL if is_journal else ENGINE_FAILED
            await asyncio.to_thread(marker.raise_, reason, text, now_ns)
    await tell(STOPPED, text, now_ns, sinks)


def hung(text: str, now_ns: Nanos, sinks: Mapping[str, Sink]) -> None:
    """Log and tell people that the engine hangs: in a thread, since its event loop may be what hangs."""
    _log.critical("hung", detail=text)
    asyncio.run(tell(STOPPED, text, now_ns, sinks))


async def tell(kind: str, text: str, now_ns: Nanos, sinks: Mapping[str, Sink]) -> None:
    """Tell people, and nobody else, what no journal can hold: for programs it would lack an id."""
    told = Effect(0, 0, Alert(now_ns, "critical", kind, text))
    for sink in sinks.values():
        if isinstance(sink, NotifySink):
            with suppress(Exception):
                async with asyncio.timeout(_TELL_MAX_S):
                    await sink.deliver([told])


def first_of(failure: BaseException) -> BaseException:
    """Return the error a user can act on, if there is one among those of a group."""
    leaves = list(_leaves(failure))
    return next((error for error in leaves if isinstance(error, AstraError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
