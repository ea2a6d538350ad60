"""Live bars through the whole core: minutes close, answers are waited for, and everything doubtful halts."""

from __future__ import annotations

import math

import pytest

from engine import bus as bus_module
from engine.bus import Bus
from engine.commands import Keys, Verifier
from engine.errors import InvariantError
from engine.events import (
    Alert,
    Bar,
    BarRejected,
    BookMarked,
    Filled,
    HaltRequested,
    Reject,
    RiskMeasured,
    SliceClosed,
    TargetApproved,
    TargetRefused,
    Tick,
    TradingState,
    TradingStateChanged,
)
from engine.intake import Intake
from engine.loop import Loop, proposal
from engine.oversight import RiskReport
from engine.slices import Slicer
from tests.support.engines import HALT_KEY, Recorder, Scripted, command, engine_of
from tests.support.live import DAY, bars_of, end_of, feed, is_accounted, sessions_of, tick

PRICES = {"A": 100.0, "B": 50.0}
LONG_AT_2 = {(DAY, 2): {"A/B": 1}}


def live(script=LONG_AT_2, *, lengths_min=(60,), **options):
    """Build an engine on A/B that takes live bars."""
    return engine_of(["A/B"], script, sessions=sessions_of(*lengths_min), **options)


def signals_only():
    """Build an engine without a desk: nothing could trade."""
    recorder = Recorder()
    intake = Intake(Slicer(("A", "B"), sessions_of(60)))
    bus = Bus([Scripted(["A/B"], LONG_AT_2)], None, None, Verifier("test", Keys(b"o", b"h")), intake)
    return Loop(bus, recorder), recorder


def run(loop, minutes, prices=PRICES) -> None:
    """Give whole minutes, bar by bar."""
    for minute in minutes:
        feed(loop, bars_of(minute, prices))


def states(seen) -> list[TradingState]:
    """Return the states entered."""
    return [change.state for change in seen.events(TradingStateChanged)]


# ------------------------------------------------------------------------------------ minutes


def test_the_last_bar_of_a_minute_closes_it_in_the_same_step() -> None:
    """Latency is one step: what the minute means is known with the bar that completes it."""
    loop, _ = live()
    first, last = bars_of(1, PRICES)
    assert loop.take(first) == []
    closed, *rest = loop.take(last)
    assert closed == SliceClosed(end_of(1), DAY, 1, 2, ())
    assert [type(event) for event in rest] == [BookMarked, RiskMeasured]
    assert (loop.status.slices, loop.status.sessions, loop.status.last_bar_ns) == (1, 1, end_of(1))


def test_a_tick_closes_every_minute_up_to_it() -> None:
    """Silence is told minute by minute: rules that count minutes must see it."""
    loop, seen = live()
    run(loop, [1])
    feed(loop, [bars_of(2, PRICES)[0], tick(4)])
    assert [(c.minute, c.accepted) for c in seen.events(SliceClosed)] == [(1, 2), (2, 1), (3, 0), (4, 0)]
    assert loop.status.last_bar_ns == end_of(2)
    assert loop.status.ts_ns == end_of(4)


def test_decision_at_the_close_fills_at_the_next_open() -> None:
    """Live as in a replay: the answer is a record of its own, and the next minute's open is the price."""
    loop, seen = live()
    run(loop, [1, 2])
    assert len(seen.events(TargetApproved)) == 1
    assert seen.events(Filled) == []
    run(loop, [3], {"A": 101.0, "B": 49.0})
    assert [(fill.symbol, fill.price_usd) for fill in seen.events(Filled)] == [("A", 101.0), ("B", 49.0)]


def test_a_jump_is_told_and_confirmed() -> None:
    """A crash confirms itself one bar later, and people hear of both."""
    loop, seen = live(lengths_min=(60, 60))
    run(loop, [1, 2, 3])
    run(loop, [4], {"A": 70.0, "B": 50.0})
    assert loop.status.pending == 1
    assert states(seen) == [TradingState.REDUCING]
    run(loop, [5], {"A": 69.0, "B": 50.0})
    assert loop.status.pending == 0
    kinds = [alert.kind for alert in seen.events(Alert)]
    assert [kind for kind in kinds if kind.startswith("bar_")] == ["bar_suspended", "bar_confirmed"]


def test_bars_one_by_one_need_an_intake() -> None:
    """An engine wired for files must not lose live bars in silence."""
    loop, _ = engine_of(["A/B"], {})
    with pytest.raises(InvariantError, match="one by one"):
        loop.take(bars_of(1, PRICES)[0])
    with pytest.raises(InvariantError, match="one by one"):
        loop.take(tick(1))


def test_a_watermark_far_ahead_is_worked_off_in_bounded_steps(monkeypatch) -> None:
    """After a long silence one record must not take longer than the watchdog allows."""
    monkeypatch.setattr(bus_module, "_MINUTES_MAX", 10)
    loop, seen = live({})
    run(loop, [1])
    loop.take(tick(35))
    assert loop.status.slices == 11
    assert not loop.bus.is_quiet
    loop.take(bars_of(36, PRICES)[0])
    loop.take(tick(35))
    loop.take(tick(35))
    assert loop.status.slices == 35
    assert loop.bus.is_quiet
    loop.take(tick(36))
    assert seen.last(SliceClosed).accepted == 1


# ------------------------------------------------------------------------------------ rejections


def test_rejections_are_told_counted_and_alerted_where_they_frighten() -> None:
    """A repeat is routine; two versions of one bar are not."""
    loop, seen = live()
    bar, other = bars_of(1, PRICES)
    changed = Bar(bar.ts_close_ns, "A", 99.0, 99.0, 99.0, 99.0, 1.0)
    stranger = Bar(bar.ts_close_ns, "Z", 1.0, 1.0, 1.0, 1.0, 1.0)
    feed(loop, [bar, bar, changed, stranger, other])
    assert [r.reason for r in seen.events(BarRejected)] == [
        Reject.DUPLICATE,
        Reject.CONFLICT,
        Reject.UNKNOWN_SYMBOL,
    ]
    assert [alert.kind for alert in seen.events(Alert)] == ["bar_rejected"]
    assert loop.status.rejected == {"DUPLICATE": 1, "CONFLICT": 1, "UNKNOWN_SYMBOL": 1}


def test_rejections_of_the_edge_enter_the_accounts() -> None:
    """What a feed could not decode, or refused as too far ahead, was received all the same."""
    loop, _ = live()
    loop.step(BarRejected(end_of(1), "", Reject.UNDECODABLE, 3))
    loop.step(BarRejected(end_of(50), "A", Reject.FUTURE))
    assert is_accounted(loop)
    assert loop.bus.intake.received == 4
    assert loop.status.rejected == {"UNDECODABLE": 3, "FUTURE": 1}


def test_a_rejected_bar_hurries_nobody() -> None:
    """A redelivery while an answer is awaited must not make it late."""
    loop, seen = live()
    run(loop, [1])
    for record in (*bars_of(2, PRICES), *bars_of(3, PRICES)[:1]):
        loop.take(record)
    problem = loop.bus.take_problem()
    loop.take(bars_of(2, PRICES)[0])
    loop.take(bars_of(3, PRICES)[0])
    assert loop.bus.awaits(problem)
    loop.take(proposal(problem, loop.bus.answer(problem)))
    assert len(seen.events(TargetApproved)) == 1


# ------------------------------------------------------------------------------------ answers


def test_minutes_wait_for_the_answer_and_see_its_decision() -> None:
    """A tick that closes three minutes at once decides as three ticks would: each sees the one before."""
    loop, seen = live()
    run(loop, [1])
    a, b = bars_of(2, PRICES)
    loop.take(a)
    loop.take(bars_of(3, PRICES)[0])
    loop.take(bars_of(3, PRICES)[1])
    assert loop.status.slices == 1
    loop.take(b)
    problem = loop.bus.take_problem()
    assert (loop.status.slices, problem.ts_ns) == (2, end_of(2))
    with pytest.raises(InvariantError, match="between problems"):
        loop.state()
    loop.take(command("limits", end_of(3), args={"var_limit_usd": 140_000.0}))
    assert loop.status.slices == 2  # commands overtake; minutes do not
    loop.take(proposal(problem, loop.bus.answer(problem)))
    assert (loop.status.slices, loop.status.fills) == (3, 2)
    assert loop.bus.is_quiet
    assert {fill.ts_ns for fill in seen.events(Filled)} == {end_of(2)}


def test_an_answer_is_late_once_bars_went_on() -> None:
    """Nobody waits for ever: the book is held, and the target is refused by name."""
    loop, seen = live()
    run(loop, [1])
    for record in bars_of(2, PRICES):
        loop.take(record)
    problem = loop.bus.take_problem()
    for record in bars_of(3, PRICES):
        loop.take(record)
    loop.take(proposal(problem, loop.bus.answer(problem)))
    assert seen.last(TargetRefused).reason == "optimiser_late"
    run(loop, [4, 5])
    assert seen.events(Filled) == []


def test_a_bar_of_an_open_minute_does_not_make_an_answer_late() -> None:
    """Only a closed minute does: the prices that the answer was computed from still stand."""
    loop, seen = live()
    run(loop, [1])
    for record in (*bars_of(2, PRICES), bars_of(3, PRICES)[0]):
        loop.take(record)
    loop.take(Tick(end_of(2) + 30_000_000_000))
    problem = loop.bus.take_problem()
    loop.take(proposal(problem, loop.bus.answer(problem)))
    assert len(seen.events(TargetApproved)) == 1


# ------------------------------------------------------------------------------------ halts


def test_a_halt_from_the_edge_takes_effect_in_its_step() -> None:
    """A jumped clock or a silent feed closes the gate before any later record is looked at."""
    loop, seen = live()
    run(loop, [1, 2])
    events = loop.take(HaltRequested(end_of(2) + 1, "FEED_SILENT", "no bar for 5 minutes"))
    assert [type(event) for event in events] == [TradingStateChanged, Alert, TargetRefused]
    assert events[0].reason == "FEED_SILENT: no bar for 5 minutes"
    assert events[1].severity == "critical"
    run(loop, [3, 4])
    assert seen.events(Filled) == []
    assert loop.status.halt_reason.startswith("FEED_SILENT")


def test_who_halts_while_trading_is_halted_is_heard() -> None:
    """A resume that names the first halt must not lift the one after it; what lasts is said once."""
    loop, _ = live()
    run(loop, [1, 2])
    at_ns = end_of(2)
    loop.take(HaltRequested(at_ns + 1, "FEED_SILENT", "no bar for 5 minutes"))
    first = loop.status.halt_id
    assert loop.take(HaltRequested(at_ns + 2, "FEED_SILENT", "no bar for 6 minutes")) == []
    names = [first]
    for k, record in enumerate(
        [
            HaltRequested(at_ns + 3, "SIGNAL", "SIGUSR1"),
            HaltRequested(at_ns + 4, "SIGNAL", "SIGUSR1"),
            command("halt", at_ns + 5, key=HALT_KEY),
            command("halt", at_ns + 6),
            HaltRequested(at_ns + 7, "CLOCK_JUMP", "the wall clock moved by +61.0 s"),
        ]
    ):
        *_, changed, alert = loop.take(record)
        assert (changed.state, changed.previous) == (TradingState.HALTED, TradingState.HALTED)
        assert changed.halt_id == loop.status.halt_id
        assert changed.halt_id not in names
        assert (alert.severity, alert.kind) == ("critical", "halted")
        names.append(changed.halt_id)
        judged = loop.take(command("resume", at_ns + 10 + k, halt_id=names[-2]))[0]
        assert (judged.verdict, loop.status.trading_state) == ("refused", TradingState.HALTED)
    assert loop.status.halts == 1  # times that trading was stopped, not times that somebody said so
    judged = loop.take(command("resume", at_ns + 20, halt_id=names[-1]))[0]
    assert (judged.verdict, loop.status.trading_state) == ("accepted", TradingState.REDUCING)


def test_a_halt_without_a_desk_is_told() -> None:
    """A run of signals has nothing to halt, but a person should know."""
    loop, _ = signals_only()
    run(loop, [1])
    (alert,) = loop.take(HaltRequested(end_of(1), "CLOCK_JUMP", "3600 s"))
    assert (alert.severity, alert.text) == ("critical", "CLOCK_JUMP: 3600 s")
    assert loop.take(tick(40))[-1] == SliceClosed(end_of(40), DAY, 40, 0, ())


def test_a_book_that_no_bar_ever_measured_halts() -> None:
    """No slice, no VaR, no trading: the lease of the gate runs out in session minutes."""
    loop, seen = live({}, positions={"A": 100.0}, lengths_min=(3, 60))
    assert loop.take(tick(1)) == []
    assert loop.take(tick(3)) == []
    assert loop.take(Tick(end_of(900))) == []  # a night has no minutes
    assert loop.take(tick(1, session=1)) == []
    changed, alert = loop.take(tick(2, session=1))
    assert changed.reason == "VAR_STALE: no VaR for 4 session minutes"
    assert "VAR_STALE" in alert.text
    assert states(seen) == [TradingState.HALTED]


def test_ticks_that_close_minutes_renew_the_lease() -> None:
    """A quiet market is measured too: the age of prices, not of VaR, is what runs out."""
    loop, seen = live({}, price_age_max_min=10, positions={"A": 10.0})
    run(loop, [1])
    for minute in range(2, 12):
        feed(loop, [tick(minute)])
    assert states(seen) == []
    feed(loop, [tick(12)])
    assert seen.last(TradingStateChanged).reason == "PRICE_STALE"


def test_minutes_without_a_bar_are_no_calm_minutes() -> None:
    """A dead feed would open trading by itself: old prices always measure alike."""
    loop, seen = live({}, price_age_max_min=60, positions={"A": 10.0})
    run(loop, [1])
    loop.take(command("halt", end_of(1) + 1, key=HALT_KEY))
    loop.take(command("resume", end_of(1) + 2, halt_id=loop.bus.desk.latch.halt_id))
    feed(loop, [tick(9)])  # eight minutes at once
    assert states(seen)[-1] is TradingState.REDUCING
    run(loop, [10, 11])
    feed(loop, [tick(12)])
    assert states(seen)[-1] is TradingState.REDUCING
    run(loop, [13])
    assert states(seen)[-1] is TradingState.ACTIVE


class Dead:
    """A part that raises whatever it is asked."""

    def __init__(self, part, *names: str) -> None:
        self._part = part
        self._names = names

    def __getattr__(self, name: str) -> object:
        if name in self._names:
            raise ZeroDivisionError(f"{name} is dead")
        return getattr(self._part, name)


@pytest.mark.parametrize("part", ["observe", "measure"])
def test_a_risk_desk_that_raises_halts(part) -> None:
    """Whatever goes wrong in risk, VaR is unknown, and unknown halts: no crash, no trade."""
    loop, seen = live()
    run(loop, [1, 2, 3])
    assert seen.events(Filled)
    desk = loop.bus.desk
    desk.risk = Dead(desk.risk, part)
    run(loop, [4])
    change = seen.last(TradingStateChanged)
    assert change.state is TradingState.HALTED
    assert change.reason == f"RISK_FAILED: ZeroDivisionError: {part} is dead"
    assert math.isnan(loop.status.risk.var_usd)


@pytest.mark.parametrize(("part", "dead_from"), [("judge", 2), ("recheck", 3)])
def test_a_gate_that_raises_lets_nothing_pass_and_halts(part, dead_from) -> None:
    """The checker that dies before an order, or at its fill, has closed."""
    loop, seen = live()
    run(loop, range(1, dead_from))
    desk = loop.bus.desk
    desk.gate = Dead(desk.gate, part)
    run(loop, range(dead_from, 6))
    assert seen.events(Filled) == []
    assert [refused.reason for refused in seen.events(TargetRefused)] == ["risk_failed"]
    assert states(seen) == [TradingState.HALTED]
    assert loop.status.halt_reason.startswith("RISK_FAILED")


@pytest.mark.parametrize("var_usd", [math.nan, math.inf])
def test_a_measure_that_is_no_number_halts(var_usd) -> None:
    """NaN is not below anything."""
    loop, seen = live()
    run(loop, [1, 2, 3])
    report = RiskReport(var_usd, var_usd, var_usd, var_usd, var_usd)
    loop.bus.desk.risk.measure = lambda _: report
    run(loop, [4])
    assert states(seen) == [TradingState.HALTED]


def test_the_way_back_from_a_halt_goes_through_live_minutes() -> None:
    """A signed flatten trades while halted; a resume and three calm minutes open trading again."""
    loop, seen = live()
    run(loop, [1, 2, 3])
    loop.take(command("halt", end_of(3) + 1, key=HALT_KEY))
    loop.take(command("flatten", end_of(3) + 2))
    run(loop, [4])
    assert loop.bus.desk.book.is_flat
    loop.take(command("resume", end_of(4) + 1, halt_id=loop.bus.desk.latch.halt_id))
    run(loop, [5, 6, 7])
    assert states(seen) == [TradingState.HALTED, TradingState.REDUCING, TradingState.ACTIVE]
