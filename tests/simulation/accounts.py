"""The end of a world: everything has arrived, everywhere, once; and what is on disk is all there was."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from engine.errors import AstraError
from engine.events import Bar, BarRejected
from engine.journal_format import decode_record
from engine.ports import Effect
from engine.recovery import recover
from engine.sinks.messages import KINDS, URGENT, effect_id
from engine.state import to_bytes
from feeds.bar_messages import decode
from tests.simulation.engine import anatomy, build
from tests.simulation.process import EPOCH, IDENTITY, ROOT, WIRE
from tests.simulation.reference import encode_events

if TYPE_CHECKING:
    from tests.simulation.world import World
    from tests.support.virtual_time import VirtualLoop


#: A minute may close in the very instant in which the accounts are taken: they are taken again soon after.
_AGAIN_S: Final = 3.0


def finish(world: World, loop: VirtualLoop, is_last: bool = False) -> None:
    """Nothing has gone wrong for a while: all must be delivered, and the engine is told to end."""
    process = world.process
    if process is None or world.machine.is_dead or world.fault:
        return
    world.durable.look(world.machine.disk)
    outbox = process.outbox
    left = {
        "messages unconfirmed": _unconfirmed(world),
        "commands unconfirmed": world.channel.waiting,
        "arrivals waiting": process.inbox.waiting,
        "records not durable": process.loop.seq - len(world.durable.records),
        "halt marker": int(world.machine.marker.raised is not None),
        **{
            f"effects for {name} ({lane})": outbox.count(name, lane)
            for name in outbox.names
            for lane in ("urgent", "routine")
        },
    }
    if any(left.values()) and not is_last:
        loop.call_later(_AGAIN_S, finish, world, loop, True)
        return
    if any(left.values()):
        what = ", ".join(f"{count} {name}" for name, count in left.items() if count)
        world.accuse(f"liveness: after a calm of minutes there are {what}")
    world.is_finishing = True
    process.stop()


def _unconfirmed(world: World) -> int:
    broker = world.broker
    if world.knobs.is_stream:
        return len(broker.messages) - 1 - int(world.durable.position or -1)
    return len(broker.messages) - len(broker.confirmed)


def settle(world: World) -> None:
    """Judge what a world leaves behind."""
    world.durable.look(world.machine.disk)
    world.follow()
    if world.fault:
        return
    last = build(world.plan, lambda *_: None)
    try:
        found = recover(ROOT, last, IDENTITY, disk=world.machine.disk)
    except AstraError as error:
        world.accuse(f"recovery: a journal closed in order is refused: {error.code} {error.what}")
        return
    if world.durable.records and (not found.is_closed or found.torn_bytes):
        world.accuse(f"recovery: not closed in order: {found.torn_bytes} bytes torn")
    if to_bytes(anatomy(last)) != to_bytes(anatomy(world.reference.loop)):
        world.accuse("recovery: the last snapshot is not the state of the log")
    _settle_messages(world)
    effects = world.reference.effects
    _settle_streams(world, effects)
    _settle_topics(world, effects)


def _settle_messages(world: World) -> None:
    """Every message is in the log, once where the feed has positions; every honest command has a verdict."""
    counts: Counter[Bar | None] = Counter()
    for raw in world.durable.records:
        record = decode_record(raw)
        if isinstance(record, Bar | BarRejected):
            counts[record if isinstance(record, Bar) else record.bar] += 1
    sent: Counter[Bar | None] = Counter(decode(message.body)[0] for message in world.broker.messages)
    lost = [bar for bar, count in sent.items() if counts[bar] < count]
    if lost:
        world.accuse(f"messages: {len(lost)} are not in the log, {lost[0]}")
    if world.knobs.is_stream and counts != sent:
        world.accuse(f"messages: {(counts - sent).most_common(1)} came more often than they were sent")
    unjudged = world.reference.genuine - world.reference.judged
    if unjudged:
        world.accuse(f"command: {min(unjudged)} was confirmed, and never judged")


def _settle_streams(world: World, effects: list[Effect]) -> None:
    """Every urgent effect stands in its stream once, in order, as it was; nothing else does."""
    for kind in sorted(set(KINDS.values())):
        entries = world.server.streams.get(f"astra:desk:{EPOCH}:{kind}", [])
        truth = {effect_id(e): e for e in effects if KINDS[type(e.event)] == kind}
        ids = [id_ for id_, _ in entries]
        if any(a >= b for a, b in pairwise(ids)):
            world.accuse(f"sinks: ids of the stream {kind} do not grow")
        for id_, body in entries:
            if id_ not in truth or WIRE.encode(truth[id_]) != body:
                world.accuse(f"sinks: the stream {kind} has an entry {id_} that never was")
                return
        if kind in URGENT and len(ids) != len(truth):
            lost = sorted(set(truth) - set(ids))
            world.accuse(f"sinks: the stream {kind} lacks {len(lost)}, the first is {lost[0]}")


def _settle_topics(world: World, effects: list[Effect]) -> None:
    """Every urgent effect was heard, first in order; repeats are told apart by their ids."""
    truth = {effect_id(e): e for e in effects}
    for lane in (True, False):
        first: dict[tuple[int, int], None] = {}
        for effect in world.heard:
            if (KINDS[type(effect.event)] in URGENT) is lane:
                first.setdefault(effect_id(effect))
                known = truth.get(effect_id(effect))
                if known is None or encode_events(known.event) != encode_events(effect.event):
                    world.accuse(f"sinks: {effect_id(effect)} was heard, and never was")
                    return
        heard = list(first)
        if heard != sorted(heard):
            world.accuse("sinks: effects were heard out of order")
        wanted = [id_ for id_, e in truth.items() if (KINDS[type(e.event)] in URGENT) is lane]
        if lane and heard != wanted:
            lost = sorted(set(wanted) - set(heard))
            world.accuse(f"sinks: {len(lost)} urgent effects were never heard, the first is {lost[:1]}")
