"""The status document: what a running engine says about itself, for people and programs.

The daemon writes it every second and after every command: to ``status.json`` in the
state folder, to the Redis key ``astra:<instance>:status`` and to the retained MQTT topic
``<topic>/<instance>/status``. Figures that are unknown are null. docs/operator.md lists the fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from engine.commands import TIME_MAX_NS
from engine.controls import VAR_LIMIT, Controls
from engine.desk import TradingDesk
from engine.events import SECOND_NS, CommandJudged, Nanos
from engine.loop import Loop
from engine.status import Status

#: Raised when a field changes its meaning; new fields do not raise it.
FORMAT: Final = 1


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What the read model does not know.

    Parameters
    ----------
    instance, epoch, version : str
    phase : str
        Of the process: ``running``, ``stopped``, ...
    clock_ns : int
        The clock that commands are judged by: the wall clock, or that of a tape. ``now_ns`` is what bars tell
        where the bars keep the time, and may be of another day.
    written_ns : int
        The wall clock; differs from ``clock_ns`` when a tape is played.
    speed : float
        Seconds of the run in a second.
    durable_seq : int
        Last record on disk.
    verified_seq : int
        Record of the newest snapshot that a replay has confirmed, 0 for none yet.
    verdicts : sequence of CommandJudged
        Those whose records are on disk: others may still be lost.
    outbox : mapping of str to int
        Effects that wait for each sink.
    feed : mapping of str to object
        Its kind, ``is_connected``, ``reconnects``, and by name its ``losses``.
    commands_dropped : int
        Messages that were no signed commands and came too fast to be recorded.
    operator_links : mapping of str to bool
        Whether commands sent by each server reach the engine.
    """

    instance: str
    epoch: str
    version: str
    phase: str = "running"
    clock_ns: Nanos
    written_ns: Nanos
    speed: float = 1.0
    durable_seq: int = 0
    verified_seq: int = 0
    verdicts: Sequence[CommandJudged] = ()
    outbox: Mapping[str, int] = {}
    feed: Mapping[str, Any] = {}
    commands_dropped: int = 0
    operator_links: Mapping[str, bool] = {}


def _positions(desk: TradingDesk | None) -> dict[str, float]:
    """Return the shares held, by symbol, without zeros."""
    if desk is None:
        return {}
    held = zip(desk.book.layout.symbols, desk.book.quantity.tolist(), strict=True)
    return {symbol: quantity for symbol, quantity in held if quantity != 0.0}


def document(loop: Loop, now_ns: Nanos, extras: Extras) -> dict[str, Any]:
    """Build the document.

    Parameters
    ----------
    loop : Loop
        Read model, limits and positions are its own.
    now_ns : int
        The time of the run, which its bars may tell.
    extras : Extras
    """
    status, controls = loop.status, loop.bus.controls
    return {
        "format": FORMAT,
        "mode": "PAPER",
        "instance": extras.instance,
        "epoch": extras.epoch,
        "version": extras.version,
        "phase": extras.phase,
        "now_ns": now_ns,
        "clock_ns": extras.clock_ns,
        "written_ns": extras.written_ns,
        "speed": extras.speed,
        "seq": loop.seq,
        "durable_seq": extras.durable_seq,
        "verified_seq": extras.verified_seq,
        "trading_state": status.trading_state.value,
        "halt_id": status.halt_id,
        "halt_reason": status.halt_reason,
        **_risk_fields(status, controls),
        **_book_fields(status),
        "positions": _positions(loop.bus.desk),
        "last_minute_ns": status.ts_ns,
        "last_bar_ns": status.last_bar_ns,
        "last_bar_age_s": (now_ns - status.last_bar_ns) / SECOND_NS if status.last_bar_ns else None,
        "bars": {
            "accepted": status.accepted,
            "pending": status.pending,
            "rejected": dict(sorted(status.rejected.items())),
        },
        "counts": {
            name: getattr(status, name)
            for name in ("slices", "sessions", "signals", "rebalances", "fills", "halts", "alerts")
        },
        "limits": _limit_fields(controls),
        "verdicts": [msgspec.structs.asdict(verdict) for verdict in extras.verdicts],
        "outbox": dict(extras.outbox),
        "feed": dict(extras.feed),
        "commands_dropped": extras.commands_dropped,
        "operator_links": dict(extras.operator_links),
    }


def encode(status_document: Mapping[str, Any]) -> bytes:
    """Write a document as JSON."""
    return msgspec.json.encode(status_document)


_Time = Annotated[int, msgspec.Meta(ge=0, lt=TIME_MAX_NS)]


class _Bars(msgspec.Struct):
    accepted: int
    rejected: dict[str, int]


class _Feed(msgspec.Struct):
    is_connected: bool | None = None


class _Limit(msgspec.Struct):
    value: float
    standing: float
    revert_ns: _Time


class _Verdict(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of ``CommandJudged``."""

    ts_ns: _Time
    kind: str
    principal: str
    verdict: str
    reason: str
    nonce: str


class _Shape(msgspec.Struct):
    """What a reader relies on; whatever else a document has is none of its business."""

    instance: str
    mode: str
    phase: str
    version: str
    epoch: str
    now_ns: _Time
    written_ns: _Time
    speed: Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
    seq: int
    durable_seq: int
    trading_state: str
    halt_id: str
    halt_reason: str
    var_usd: float | None
    var_upper_usd: float | None
    es_usd: float | None
    var_reason: str
    var_limit_usd: float | None
    var_used_frac: float | None
    equity_usd: float | None
    gross_frac: float | None
    net_frac: float | None
    costs_usd: float | None
    positions: dict[str, float]
    last_bar_age_s: float | None
    bars: _Bars
    counts: dict[str, int]
    limits: dict[str, _Limit]
    verdicts: list[_Verdict]
    outbox: dict[str, int]
    feed: _Feed
    commands_dropped: int
    clock_ns: _Time = 0


_shape = msgspec.json.Decoder(_Shape)


def read(data: bytes) -> dict[str, Any] | None:
    """Read a document, which may come from a stranger or another version; None if it is none of ours."""
    try:
        _shape.decode(data)
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _risk_fields(status: Status, controls: Controls) -> dict[str, Any]:
    risk, limit = status.risk, controls.settings.get(VAR_LIMIT)
    var_usd = _known(risk.var_usd) if risk is not None else None
    limit_usd = limit.value if limit is not None else None
    return {
        "var_usd": var_usd,
        "var_upper_usd": _known(risk.var_upper_usd) if risk is not None else None,
        "es_usd": _known(risk.es_usd) if risk is not None else None,
        "var_reason": risk.reason if risk is not None else "not measured yet",
        "var_measured_ns": risk.ts_ns if risk is not None else None,
        "var_limit_usd": limit_usd,
        "var_used_frac": var_usd / limit_usd if var_usd is not None and limit_usd else None,
        "var_peak_usd": status.var_peak_usd,
    }


def _book_fields(status: Status) -> dict[str, Any]:
    book = status.book
    if book is None:
        return dict.fromkeys(
            ("equity_usd", "gross_usd", "net_usd", "gross_frac", "net_frac", "costs_usd", "funding_usd")
        )
    is_solvent = book.equity_usd > 0.0
    return {
        "equity_usd": _known(book.equity_usd),
        "gross_usd": _known(book.gross_usd),
        "net_usd": _known(book.net_usd),
        "gross_frac": _known(book.gross_usd / book.equity_usd) if is_solvent else None,
        "net_frac": _known(book.net_usd / book.equity_usd) if is_solvent else None,
        "costs_usd": book.costs_usd,
        "funding_usd": book.funding_usd,
    }


def _limit_fields(controls: Controls) -> dict[str, dict[str, float | int]]:
    return {
        name: {
            "value": setting.value,
            "standing": setting.standing,
            "revert_ns": setting.revert_ns,
            "low": controls.bounds[name].low,
            "high": controls.bounds[name].high,
        }
        for name, setting in controls.settings.items()
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
