"""What strikes a world at an instant, and what its operator does."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.commands import CommandBody, message_of, sign
from engine.events import MINUTE_NS
from engine.journal_format import SUFFIX
from tests.simulation.engine import INSTANCE
from tests.simulation.plan import Fault
from tests.simulation.reference import JOURNAL
from tests.support.bad_disk import Inode
from tests.support.engines import HALT_KEY, OPERATOR_KEY

if TYPE_CHECKING:
    from tests.simulation.world import World

_SNAPSHOTS: Final = Path("state/snapshots")
_MAGIC: Final = b"\xffAJ2"
_FRAME: Final = struct.Struct("<4sIIQ")
_IO_MAX: Final = 60
#: Orders of the operator, honest and not.
_ORDERS: Final = frozenset(
    {
        "halt",
        "resume",
        "flatten",
        "rebalance",
        "limits",
        "cut",
        "forged",
        "expired",
        "replayed",
        "elsewhere",
        "garbage",
    }
)


class Operator:
    """Signs commands, looks at the status before a resume, and is imitated by others.

    Parameters
    ----------
    world : World
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._count = 0
        self._sent: list[bytes] = []

    def act(self, fault: Fault) -> None:
        """Send what a fault says."""
        kind = fault.kind
        if kind == "garbage":
            self._world.channel.send(bytes(range(int(200 * fault.value))) + b'{"body": 1}')
        elif kind == "replayed":
            if self._sent:
                self._world.channel.send(self._sent[int(fault.value * len(self._sent))])
        else:
            self._send(fault)

    def _send(self, fault: Fault) -> None:
        world, kind = self._world, fault.kind
        now_ns = world.machine.clock.time_ns() - world.machine.clock.offset_ns
        self._count += 1
        is_honest = kind not in {"forged", "expired", "elsewhere"}
        asked = kind if is_honest else ("resume", "flatten", "limits")[int(fault.value * 3)]
        args: dict[str, float] = {}
        if asked in {"limits", "cut"}:
            asked, args = "limits", self._numbers(kind, fault.value, now_ns)
        process = world.process
        halt_id = process.loop.status.halt_id if process is not None else ""
        expires_ns = now_ns + (20 * MINUTE_NS if kind != "expired" else -MINUTE_NS)
        body = CommandBody(
            kind=asked,
            instance=INSTANCE if kind != "elsewhere" else "other",
            principal="ada",
            issued_ns=now_ns - 10 * MINUTE_NS,
            expires_ns=expires_ns,
            nonce=f"{kind}-{self._count}",
            reason="simulated",
            halt_id=(halt_id or "none") if asked == "resume" else "",
            args=args,
        )
        key = OPERATOR_KEY
        if kind == "forged":
            key = HALT_KEY if fault.value > 0.5 else b"nobody's"
        elif kind == "halt" and fault.value > 0.5:
            key = HALT_KEY
        if is_honest or kind == "expired":
            world.reference.genuine.add(body.nonce)
        data = message_of(sign(body, key, 0))
        if is_honest:
            self._sent.append(data)
        world.channel.send(data)

    def _numbers(self, kind: str, value: float, now_ns: int) -> dict[str, float]:
        """Choose new numbers; a ``cut`` is meant to halt what is held."""
        limit_usd = self._world.knobs.var_limit_usd
        if kind == "cut":
            return {"var_limit_usd": max(1.0, limit_usd * 0.3 * value)}
        revert_ns = float(now_ns + int((1 + 12 * value) * MINUTE_NS))
        chosen = [
            {"var_limit_usd": limit_usd * 3.0 * value},
            {"var_limit_usd": limit_usd * (1.0 + value), "revert_ns": revert_ns},
            {"var_limit_usd": limit_usd * value, "revert_ns": revert_ns},
            {"gross_max_frac": value, "risk_aversion": 5.0, "revert_ns": revert_ns},
        ]
        return chosen[int(value * 40) % 4]


def strike(world: World, fault: Fault) -> None:
    """Let a fault strike; what lasts is looked up where it matters."""
    kind, value = fault.kind, fault.value
    if kind in _ORDERS:
        world.met[f"fault {kind}"] += 1
        world.operator.act(fault)
    elif kind == "sink_amnesia":
        world.met["fault sink_amnesia"] += 1
        world.server.lose(value)
    elif kind == "clock_jump":
        world.met["fault clock_jump"] += 1
        size_s = 3.0 + 600.0 * abs(2.0 * value - 1.0) ** 3
        world.machine.clock.offset_ns += round((size_s if value < 0.5 else -size_s) * 1e9)
    elif kind in {"rot_journal", "rot_snapshot"}:
        world.rotting.append(fault)
    elif kind == "double_crash":
        world.machine.arm_start(1 + int(value * 5))
    elif world.process is not None and world.process.is_serving:
        _strike_process(world, fault)


def _strike_process(world: World, fault: Fault) -> None:
    process, kind, value = world.process, fault.kind, fault.value
    assert process is not None
    match kind:
        case "kill" | "power":
            world.machine.die(kind, value)
        case "kill_io" | "power_io":
            world.machine.arm(kind, 1 + int(value * _IO_MAX), (value * 997.0) % 1.0)
        case "hang":
            text = "the step took longer than 10 s"
            world.machine.marker.raise_("WATCHDOG", text, world.machine.clock.time_ns() if value < 0.5 else 0)
            world.machine.die(kind, value)
        case "stop":
            world.met["fault stop"] += 1
            process.stop()
        case "feed_raises":
            world.is_feed_broken = True
        case "disk_error":
            world.machine.arm_error()
        case "halt_signal":
            world.met["fault halt_signal"] += 1
            process.halt_by_signal()
        case _:
            pass


def rot(world: World) -> Callable[[], None] | None:
    """Let bits flip on the disk while no process runs; return how a copy is restored, if it must be."""
    rotting, world.rotting = world.rotting, []
    restore = None
    for fault in rotting:
        if fault.kind == "rot_snapshot":
            _rot_snapshot(world, fault.value)
        elif restore is None:
            restore = _rot_journal(world, fault.value)
    return restore


def _rot_snapshot(world: World, value: float) -> None:
    names = world.machine.disk._shown.get(_SNAPSHOTS, {})
    whole = sorted(name for name in names if name.endswith(".snapshot"))
    segments = sorted(world.machine.disk._shown.get(JOURNAL, {}))
    # Without any snapshot the journal must go back to its beginning.
    if not whole or (len(whole) < 2 and segments[:1] != [f"{1:08d}{SUFFIX}"]):
        return
    if len(whole) > 1 and world.has_rotten_snapshot:
        return
    inode = names[whole[-1]]
    at = int(value * len(inode.shown))
    inode.shown = inode.durable = _flipped(inode.shown, at) if value < 0.7 else inode.shown[:at]
    world.has_rotten_snapshot = True
    world.met["fault rot_snapshot"] += 1


def _rot_journal(world: World, value: float) -> Callable[[], None] | None:
    """Flip a byte of a frame that has another behind it."""
    names = world.machine.disk._shown.get(JOURNAL, {})
    frames = [
        (name, at) for name in sorted(names) if name.endswith(SUFFIX) for at in _frames(names[name].shown)
    ]
    if len(frames) < 2:
        return None
    name, at = frames[int(value * (len(frames) - 1))]
    inode: Inode = names[name]
    kept = inode.shown, inode.durable
    following = [b for b in (*_frames(inode.shown), len(inode.shown)) if b > at]
    place = at + int(((value * 991.0) % 1.0) * (following[0] - at))
    inode.shown = _flipped(inode.shown, place)
    inode.durable = _flipped(inode.durable, place) if place < len(inode.durable) else inode.durable
    world.met["fault rot_journal"] += 1

    def restore() -> None:
        found = world.machine.disk._shown[JOURNAL].get(name)
        if found is inode and len(inode.shown) >= len(kept[0]):
            inode.shown = kept[0] + inode.shown[len(kept[0]) :]
            inode.durable = kept[1] + inode.durable[len(kept[1]) :]

    return restore


def _frames(data: bytes) -> list[int]:
    """Return where the whole frames of a segment begin."""
    starts, at = [], 0
    while at + _FRAME.size <= len(data):
        magic, length, crc, seq = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        body = data[at + _FRAME.size : end]
        if magic != _MAGIC or zlib.crc32(body, zlib.crc32(struct.pack("<IQ", length, seq))) != crc:
            break
        starts.append(at)
        at = end
    return starts


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
