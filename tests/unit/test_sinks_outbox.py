"""The outbox: nothing urgent is lost, everything goes in order, and it does not grow without bound."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from engine.events import Alert, SpreadNoted, TradingState, TradingStateChanged
from engine.ports import Effect
from engine.sinks.messages import effect_id
from engine.sinks.outbox import LANES, Outbox
from engine.state import from_bytes, to_bytes
from tests.support.effects import NOON_NS, alert, alerts, risk


def ids(effects: list[Effect]) -> list[int]:
    return [effect.seq for effect in effects]


def test_lanes_are_read_apart_and_in_order() -> None:
    """A thousand marks of the book must not stand between a halt and who has to hear of it."""
    outbox = Outbox(["redis"])
    outbox.add([risk(1), alert(1, 1), risk(2), alert(3)])
    assert [effect_id(e) for e in outbox.pending("redis", "urgent", 10)] == [(1, 1), (3, 0)]
    assert ids(outbox.pending("redis", "routine", 10)) == [1, 2]
    assert ids(outbox.pending("redis", "routine", 1)) == [1]


def test_each_sink_has_its_own_place() -> None:
    """A dead sink may delay nobody else, and must find everything when it comes back."""
    outbox = Outbox(["redis", "mqtt"])
    outbox.add(alerts([1, 2, 3]))
    outbox.delivered("redis", "urgent", (2, 0))
    assert ids(outbox.pending("redis", "urgent", 10)) == [3]
    assert ids(outbox.pending("mqtt", "urgent", 10)) == [1, 2, 3]
    assert (outbox.count("redis", "urgent"), outbox.count("mqtt", "urgent")) == (1, 3)


def test_what_is_known_already_is_not_taken_again() -> None:
    """Recovery adds the tail of the journal again; a second copy would be a second message."""
    outbox = Outbox(["redis"])
    outbox.add(alerts([1, 2]))
    outbox.add(alerts([1, 2, 3]))
    assert ids(outbox.pending("redis", "urgent", 10)) == [1, 2, 3]


def test_events_that_nobody_sends_are_not_kept() -> None:
    """They would fill the outbox for good, since no cursor ever passes them."""
    outbox = Outbox(["redis"])
    outbox.add([Effect(1, 0, SpreadNoted(NOON_NS, "pairs", "JPM/C", "calibrated", {}))])
    assert [outbox.count("redis", lane) for lane in LANES] == [0, 0]


def test_overflow_drops_the_oldest_routine_effects_only() -> None:
    """Memory is finite, alerts are not negotiable: what goes is counted, and never urgent."""
    outbox = Outbox(["redis"], bound=10)
    outbox.add([effect for seq in range(1, 16) for effect in (risk(seq), alert(seq, 1))])
    assert ids(outbox.pending("redis", "routine", 100)) == list(range(6, 16))
    assert outbox.dropped == 5
    assert outbox.count("redis", "urgent") == 15
    assert outbox.is_overfull
    outbox.delivered("redis", "urgent", (5, 1))
    assert not outbox.is_overfull


def test_delivered_effects_do_not_pile_up() -> None:
    """A daemon runs for months; what everybody has must go, but for the last alerts."""
    outbox = Outbox(["redis"])
    for seq in range(1, 6_001):
        outbox.add([risk(seq), alert(seq, 1)])
        outbox.delivered("redis", "routine", (seq, 0))
        outbox.delivered("redis", "urgent", (seq, 1))
    held = {lane: len(from_lane(outbox, lane)) for lane in LANES}
    assert held["routine"] < 1_100
    assert 1_000 <= held["urgent"] < 2_100
    assert outbox.dropped == 0


def test_the_last_state_is_kept_however_many_alerts_follow() -> None:
    """A receiver that lost its data must be able to tell that trading is halted, weeks after it was."""
    outbox = Outbox(["redis"])
    active, halted = TradingState.ACTIVE, TradingState.HALTED
    outbox.add([Effect(1, 0, TradingStateChanged(NOON_NS, halted, active, "SIGNAL", "h-1"))])
    outbox.add([Effect(2, 0, TradingStateChanged(NOON_NS, active, halted, "", ""))])
    for seq in range(3, 6_001):
        outbox.add([alert(seq)])
        outbox.delivered("redis", "urgent", (seq, 0))
    assert outbox.rewind("redis", "urgent", {"state": (0, 0)}) < 2_100
    first, second = outbox.pending("redis", "urgent", 2)
    assert (first.seq, isinstance(second.event, Alert)) == (2, True)


def from_lane(outbox: Outbox, lane: str) -> list[Effect]:
    """Read everything a lane still holds, through a sink that is told to begin anew."""
    outbox.rewind("redis", lane, dict.fromkeys(("alerts", "risk"), (0, 0)))
    return outbox.pending("redis", lane, 1_000_000)


def test_rewind_goes_back_to_what_the_receiver_lacks() -> None:
    """A server that lost its data had confirmed alerts that nobody can read there any more."""
    outbox = Outbox(["redis"])
    outbox.add(alerts([1, 2, 3, 4]))
    outbox.delivered("redis", "urgent", (3, 0))
    assert outbox.rewind("redis", "urgent", {"alerts": (3, 0)}) == 0
    assert ids(outbox.pending("redis", "urgent", 10)) == [4]
    assert outbox.rewind("redis", "urgent", {"alerts": (1, 0)}) == 2
    assert ids(outbox.pending("redis", "urgent", 10)) == [2, 3, 4]
    assert outbox.rewind("redis", "urgent", {"alerts": (0, 0)}) == 1
    assert ids(outbox.pending("redis", "urgent", 10)) == [1, 2, 3, 4]


def test_a_kind_that_is_not_questioned_is_not_sent_again() -> None:
    """A broker that cannot say what it has must not be given a thousand old alerts on every connection."""
    outbox = Outbox(["mqtt"])
    outbox.add(alerts([1, 2]))
    outbox.delivered("mqtt", "urgent", (2, 0))
    assert outbox.rewind("mqtt", "urgent", {}) == 0
    assert outbox.rewind("mqtt", "urgent", {"state": (0, 0)}) == 0


def test_state_survives_canonical_bytes() -> None:
    """Undelivered effects travel in the snapshot: those a restart forgot would never be sent."""
    outbox = Outbox(["redis", "mqtt"], bound=5)
    outbox.add([effect for seq in range(1, 9) for effect in (risk(seq), alert(seq, 1))])
    outbox.delivered("redis", "urgent", (4, 1))
    restored = Outbox(["redis", "mqtt"], bound=5)
    restored.restore(from_bytes(to_bytes(outbox.state())))
    assert to_bytes(restored.state()) == to_bytes(outbox.state())
    assert ids(restored.pending("redis", "urgent", 100)) == [5, 6, 7, 8]
    assert ids(restored.pending("mqtt", "urgent", 100)) == list(range(1, 9))
    assert restored.pending("mqtt", "routine", 100) == outbox.pending("mqtt", "routine", 100)
    restored.add(alerts([8, 9]))
    assert ids(restored.pending("redis", "urgent", 100)) == [5, 6, 7, 8, 9]


def test_a_new_sink_is_not_told_of_the_past() -> None:
    """Whoever adds a telephone number today must not be called about last week."""
    before = Outbox(["redis"])
    before.add(alerts([1, 2]))
    after = Outbox(["redis", "notify-1"])
    after.restore(before.state())
    after.add(alerts([3]))
    assert ids(after.pending("notify-1", "urgent", 10)) == [3]
    assert ids(after.pending("redis", "urgent", 10)) == [1, 2, 3]


def test_cursors_only_move_forward() -> None:
    """The file of cursors may be older than the snapshot, or newer; the further one is true."""
    outbox = Outbox(["redis"])
    outbox.add(alerts([1, 2, 3]))
    outbox.seek({"redis": {"urgent": (2, 0)}, "gone": {"urgent": (9, 0)}})
    outbox.seek({"redis": {"urgent": (1, 0)}})
    assert outbox.cursors()["redis"]["urgent"] == (2, 0)


async def test_waiting_ends_with_the_first_effect() -> None:
    """A courier that has to poll is either late or busy."""
    outbox = Outbox(["redis"])
    waiting = asyncio.create_task(outbox.more("redis", "urgent"))
    outbox.add([risk(1)])
    done, _ = await asyncio.wait([waiting], timeout=0.01)
    assert not done
    outbox.add([alert(2)])
    await asyncio.wait_for(waiting, 1.0)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 5), st.just("")),
            st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 4), st.sampled_from(LANES)),
            st.tuples(st.just("restart"), st.just(0), st.just("")),
        ),
        max_size=40,
    )
)
def test_every_sink_reads_every_urgent_effect_once_and_in_order(steps: list[tuple[str, int, str]]) -> None:
    """Whatever the pace of the sinks and the moment of a restart, the sequence of alerts is the same."""
    outbox, seq = Outbox(["a", "b"], bound=1_000), 0
    read: dict[tuple[str, str], list[int]] = {(name, lane): [] for name in "ab" for lane in LANES}
    for what, count, lane in steps:
        if what == "add":
            outbox.add([effect for s in range(seq + 1, seq + count + 1) for effect in (risk(s), alert(s, 1))])
            seq += count
        elif what == "restart":
            state = outbox.state()
            outbox = Outbox(["a", "b"], bound=1_000)
            outbox.restore(state)
        elif batch := outbox.pending(what, lane, count):
            outbox.delivered(what, lane, effect_id(batch[-1]))
            read[what, lane] += ids(batch)
    for (name, lane), seen in read.items():
        assert seen + ids(outbox.pending(name, lane, 10_000)) == list(range(1, seq + 1))


def test_an_outbox_without_sinks_stays_small() -> None:
    """A run without sinks has nobody who would ever empty it."""
    outbox, one = Outbox([]), Outbox([])
    one.add([risk(1)])
    for seq in range(1, 5_001):
        outbox.add([risk(seq)])
    assert len(outbox.state()["lanes"]["routine"]) < 1_100 * len(one.state()["lanes"]["routine"])
    assert outbox.dropped == 0
