"""Alerts of an epoch that some sink never got: the next epoch tells them again.

The outbox belongs to the epoch, and goes with it. But ``alerts.jsonl`` holds every alert with its id, and
``cursors.json`` how far each sink had come. What lies between is kept in a file until the new journal has it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.app.live.sinks import FILE
from engine.app.live.state_folder import StateFolder
from engine.disk import OS_DISK, write_whole
from engine.events import Alert, Nanos
from engine.ports import Arrival
from engine.sinks.courier import read_cursors
from engine.sinks.messages import EffectId, id_of

_NOTHING: EffectId = (0, -1)


class _Line(msgspec.Struct, frozen=True):
    """What is told again of a line of ``alerts.jsonl``."""

    epoch: str
    id: str
    ts: str
    severity: str
    kind: str
    text: str


def keep_undelivered(state: StateFolder, epoch: str) -> None:
    """Keep the alerts of an epoch that ends which a sink has not got; before it is put aside."""
    cursors = read_cursors(state.cursors, epoch)
    delivered = [lanes.get("urgent", _NOTHING) for name, lanes in cursors.items() if name != FILE]
    # Without cursors nobody knows: better told twice. Without a sink there is nobody to tell.
    since = min(delivered, default=_NOTHING if not cursors else None)
    if since is None:
        return
    kept = _kept(state.undelivered)
    found = [line for line in _lines(state.alerts, epoch) if id_of(line.id) > since and line not in kept]
    if found:
        write_whole(OS_DISK, state.undelivered, msgspec.json.encode([*kept, *found]))


def told_again(state: StateFolder, now_ns: Nanos) -> list[Arrival]:
    """Return what was kept, as records; once they are on disk, the file goes."""
    alerts = [
        Alert(
            now_ns, line.severity, line.kind, f"undelivered since {line.ts}, epoch {line.epoch}: {line.text}"
        )
        for line in _kept(state.undelivered)
    ]
    if not alerts:
        return []
    *others, last = alerts
    return [
        *map(Arrival, others),
        Arrival(last, acknowledge=lambda: state.undelivered.unlink(missing_ok=True)),
    ]


def _kept(path: Path) -> list[_Line]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[_Line])
    except (OSError, msgspec.DecodeError):
        return []


def _lines(path: Path, epoch: str) -> list[_Line]:
    """Read the alerts of an epoch; a torn or damaged line is none."""
    found = []
    try:
        text = path.read_bytes()
    except OSError:
        return []
    for raw in text.splitlines():
        try:
            line = msgspec.json.decode(raw, type=_Line)
            id_of(line.id)
        except (ValueError, RecursionError):
            continue
        if line.epoch == epoch:
            found.append(line)
    return found
