"""The halt latch, step by step, with the numbers of the limit of $150,000."""

from __future__ import annotations

import math

import pytest

from engine.errors import ConfigError
from engine.events import MINUTE_NS, Alert, TradingState, TradingStateChanged
from engine.oversight import Latch, RiskReport
from risk.limits import HaltLatch

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
T0_NS = 1_772_461_860_000_000_000  # 2026-03-02 14:31 UTC


def report(var_usd: float, upper_usd: float | None = None, reason: str = "") -> RiskReport:
    """Return a measure of which the latch reads VaR, upper bound and reason."""
    return RiskReport(var_usd, var_usd, var_usd, var_usd if upper_usd is None else upper_usd, var_usd, reason)


UNKNOWN = report(math.nan, math.nan, "PRICE_STALE")


def _states(events: object) -> list[tuple[TradingState, str]]:
    return [(e.state, e.reason) for e in events if isinstance(e, TradingStateChanged)]  # type: ignore[attr-defined]


def _kinds(events: object) -> list[tuple[str, str]]:
    return [(e.severity, e.kind) for e in events if isinstance(e, Alert)]  # type: ignore[attr-defined]


def _halted() -> HaltLatch:
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(160_000.0), False, True)
    return latch


@pytest.mark.parametrize(
    ("measured", "state", "reason"),
    [
        (report(100_000.0, 110_000.0), ACTIVE, ""),
        (report(149_999.99, 149_999.99), ACTIVE, ""),
        (report(149_000.0, 149_999.999), REDUCING, "VAR_UPPER"),
        (report(149_000.0, 150_000.0), REDUCING, "VAR_UPPER"),
        (report(149_999.999, 155_000.0), HALTED, "VAR_LIMIT"),
        (report(150_000.0), HALTED, "VAR_LIMIT"),
        (report(150_000.01), HALTED, "VAR_LIMIT"),
        (report(math.inf), HALTED, "VAR_NOT_FINITE"),
        (report(math.nan), HALTED, "VAR_NOT_FINITE"),
        (report(1.0, math.nan), HALTED, "VAR_NOT_FINITE"),
        (UNKNOWN, HALTED, "PRICE_STALE"),
        (report(1.0, 1.0, "COV_NOT_PSD"), HALTED, "COV_NOT_PSD"),
    ],
)
def test_one_measure(measured: RiskReport, state: TradingState, reason: str) -> None:
    """The first reading alone decides, to the cent; NaN and a reason are breaches, whatever else it says."""
    latch: Latch = HaltLatch(150_000.0)
    events = latch.on_measured(T0_NS, measured, False, True)
    assert latch.trading_state is state
    assert _states(events) == ([(state, reason)] if reason else [])
    assert bool(latch.halt_id) is (state is HALTED)


def test_halt_is_critical_named_and_said_in_words() -> None:
    """The person woken at night reads the VaR, the limit, and what to type."""
    events = HaltLatch(150_000.0).on_measured(T0_NS, report(162_340.5), False, True)
    changed, alert = events
    assert changed == TradingStateChanged(T0_NS, HALTED, ACTIVE, "VAR_LIMIT", "halt-20260302T143100Z-1")
    assert alert == Alert(
        T0_NS,
        "critical",
        "halted",
        "trading halted: VaR $162,340.50 has reached the limit $150,000.00; "
        "resume with halt-20260302T143100Z-1",
    )


def test_halt_never_lifts_itself() -> None:
    """A day of healthy measures does not reopen trading: a person has to."""
    latch = _halted()
    for minute in range(500):
        assert not latch.on_measured(T0_NS + minute * MINUTE_NS, report(0.0), False, True)
    assert latch.trading_state is HALTED


def test_resume_needs_the_right_halt_and_a_healthy_measure() -> None:
    """Each refusal says which of the conditions was not met."""
    latch = _halted()
    halt_id = latch.halt_id
    assert latch.resume(T0_NS, "halt-0") == f"the halt in force is {halt_id}, the command named 'halt-0'"
    assert latch.resume(T0_NS, halt_id) == "VaR $160,000.00 is not under the limit $150,000.00"
    latch.on_measured(T0_NS, UNKNOWN, False, True)
    assert latch.resume(T0_NS, latch.halt_id) == "VaR is unknown: PRICE_STALE"
    assert latch.trading_state is HALTED
    assert HaltLatch(1.0).resume(T0_NS, "x") == "nothing is halted: the state is ACTIVE"
    fresh = HaltLatch(1.0)
    fresh.halt(T0_NS, "WATCHDOG")
    assert fresh.resume(T0_NS, fresh.halt_id) == "VaR has not been measured yet"


def test_a_state_that_was_shown_to_be_wrong_is_not_resumed_from() -> None:
    """The book that VaR is measured of is not the one of the journal; a new process computes it anew."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(100.0), False, True)
    for _ in range(2):
        latch.halt(T0_NS, "STATE_MISMATCH: record 7")
        latch.halt(T0_NS, "operator a: look", by_person=True)
        answer = latch.resume(T0_NS, latch.halt_id)
        assert answer == "the state does not follow from the journal: stop and start the engine first"
        (state, _) = latch.halt(T0_NS, "STATE_RECOMPUTED: by a new process")
        assert isinstance(state, TradingStateChanged)
        assert state.halt_id == latch.halt_id
        assert not latch.is_state_wrong
    assert isinstance(latch.resume(T0_NS, latch.halt_id), TradingStateChanged)


def test_way_back_is_reducing_then_three_calm_measures() -> None:
    """HALTED -> REDUCING -> ACTIVE, never straight; 95% of the limit is $142,500 and counts as calm."""
    latch = _halted()
    halt_id = latch.halt_id
    latch.on_measured(T0_NS, report(120_000.0), False, True)
    changed = latch.resume(T0_NS, halt_id)
    assert changed == TradingStateChanged(T0_NS, REDUCING, HALTED, "RESUMED", halt_id)
    seen = []
    for upper_usd in (142_500.0, 142_500.0, 142_500.01, 142_500.0, 100.0, 142_500.0):
        events = latch.on_measured(T0_NS, report(100.0, upper_usd), False, True)
        seen += _states(events)
        assert (latch.trading_state is ACTIVE) is bool(seen)
    assert seen == [(ACTIVE, "CLEARED")]
    assert latch.resume(T0_NS, halt_id) == "nothing is halted: the state is ACTIVE"


def test_second_halt_has_another_name() -> None:
    """A resume of yesterday's halt, or of one a moment ago, must not lift this one."""
    latch = _halted()
    first = latch.halt_id
    latch.on_measured(T0_NS, report(100_000.0), False, True)
    latch.resume(T0_NS, first)
    latch.halt(T0_NS, "operator a: test")
    assert latch.halt_id != first
    assert isinstance(latch.resume(T0_NS, first), str)


def test_reducing_clears_by_itself_and_can_still_fall() -> None:
    """Without a halt before it, three calm measures reopen; a breach on the way halts at once."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(149_000.0, 151_000.0), False, True)
    for upper_usd in (151_000.0, 100.0, 100.0):
        assert _states(latch.on_measured(T0_NS, report(100.0, upper_usd), False, True)) == []
    assert _states(latch.on_measured(T0_NS, report(100.0), False, True)) == [(ACTIVE, "CLEARED")]
    latch.on_measured(T0_NS, report(149_000.0, 151_000.0), False, True)
    assert _states(latch.on_measured(T0_NS, report(151_000.0), False, True)) == [(HALTED, "VAR_LIMIT")]


def test_suspect_price_of_a_held_symbol_reduces() -> None:
    """A bad tick may not open positions, nor halt the day; calm is counted from its end."""
    latch = HaltLatch(150_000.0)
    events = latch.on_measured(T0_NS, report(100.0), True, True)
    assert _states(events) == [(REDUCING, "PRICE_SUSPECT")]
    assert _kinds(events) == [("warning", "reducing")]
    for _ in range(5):
        latch.on_measured(T0_NS, report(100.0), True, True)
    assert latch.trading_state is REDUCING
    for _ in range(3):
        latch.on_measured(T0_NS, report(100.0), False, True)
    assert latch.trading_state is ACTIVE


def test_near_limit_is_told_once_per_crossing() -> None:
    """80% warns, hovering around it does not warn again, going under 75% and back does."""
    latch = HaltLatch(100_000.0)
    path = (79_999.0, 80_000.0, 85_000.0, 79_000.0, 81_000.0, 74_999.0, 80_001.0)
    said = [latch.on_measured(T0_NS, report(var_usd), False, True) for var_usd in path]
    told = [[event.text for event in events if isinstance(event, Alert)] for events in said]
    assert [len(t) for t in told] == [0, 1, 0, 0, 0, 0, 1]
    assert told[1] == ["VaR $80,000.00 is 80% of the limit $100,000.00"]


def test_halt_from_outside() -> None:
    """Operator, watchdog and journal can halt whatever the measure says."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(0.0), False, True)
    assert _kinds(latch.halt(T0_NS, "JOURNAL: disk full")) == [("critical", "halted")]
    assert isinstance(latch.resume(T0_NS, latch.halt_id), TradingStateChanged)


def test_a_halt_while_halted_has_a_name_of_its_own() -> None:
    """A resume that was on its way for the first halt must not lift a second one nobody has looked at."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(0.0), False, True)
    latch.halt(T0_NS, "FEED_SILENT: no bar for 5 minutes")
    first = latch.halt_id
    changed, alert = latch.halt(T0_NS, "operator ada: wrong prices", by_person=True)
    second = "halt-20260302T143100Z-2"
    assert changed == TradingStateChanged(T0_NS, HALTED, HALTED, "operator ada: wrong prices", second)
    text = f"trading stays halted: operator ada: wrong prices; resume with {second}"
    assert alert == Alert(T0_NS, "critical", "halted", text)
    assert latch.resume(T0_NS, first) == f"the halt in force is {second}, the command named '{first}'"
    assert isinstance(latch.resume(T0_NS, second), TradingStateChanged)


def test_what_lasts_is_said_once_until_a_resume_and_a_person_always_counts() -> None:
    """A stale feed is found each minute, and may not ring each minute; a person has a reason each time."""
    latch = HaltLatch(150_000.0)
    found = [report(160_000.0), UNKNOWN, report(160_000.0), UNKNOWN, report(0.0), report(160_000.0)]
    said = [_states(latch.on_measured(T0_NS, one, False, True)) for one in found]
    assert said == [[(HALTED, "VAR_LIMIT")], [(HALTED, "PRICE_STALE")], [], [], [], []]
    stale = [_states(latch.halt(T0_NS, f"VAR_STALE: no VaR for {k} session minutes")) for k in range(4, 9)]
    assert stale == [[(HALTED, "VAR_STALE: no VaR for 4 session minutes")], [], [], [], []]
    assert [len(latch.halt(T0_NS, "SIGNAL: SIGUSR1", by_person=True)) for _ in range(2)] == [2, 2]
    latch.on_measured(T0_NS, report(0.0), False, True)
    assert isinstance(latch.resume(T0_NS, latch.halt_id), TradingStateChanged)
    assert _states(latch.halt(T0_NS, "VAR_STALE: again")) == [(HALTED, "VAR_STALE: again")]


def test_new_limit_is_judged_at_once_and_never_raises_the_state() -> None:
    """Lowering the limit under VaR halts in that step; raising it is not a fresh measure."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(100_000.0, 104_000.0), False, True)
    assert _states(latch.set_limit(T0_NS, 103_000.0)) == [(REDUCING, "VAR_UPPER")]
    for _ in range(10):
        assert _states(latch.set_limit(T0_NS, 500_000.0)) == []
    assert latch.trading_state is REDUCING
    for limit_usd in (500_000.0, 400_000.0):  # two calm measures do not survive a change of the limit
        for _ in range(2):
            assert latch.on_measured(T0_NS, report(100_000.0, 104_000.0), False, True) == ()
        latch.set_limit(T0_NS, limit_usd)
    assert latch.trading_state is REDUCING
    assert _states(latch.set_limit(T0_NS, 100_000.0)) == [(HALTED, "VAR_LIMIT")]
    assert not latch.set_limit(T0_NS, 1e9)
    assert latch.trading_state is HALTED


def test_a_limit_cut_under_var_while_halted_is_a_cause_of_its_own() -> None:
    """Whoever resumes the operator's halt must have seen that VaR is over the limit as well."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(100_000.0), False, True)
    latch.halt(T0_NS, "operator ada: drill", by_person=True)
    assert _states(latch.set_limit(T0_NS, 90_000.0)) == [(HALTED, "VAR_LIMIT")]
    assert _states(latch.set_limit(T0_NS, 80_000.0)) == []


@pytest.mark.parametrize("bad", [0.0, -5.0, math.nan, math.inf])
def test_limit_must_be_an_amount(bad: float) -> None:
    """A limit of NaN or infinity would switch every halt off."""
    with pytest.raises(ConfigError, match="var_limit_usd must be a positive amount, was"):
        HaltLatch(bad)
    latch = HaltLatch(1.0)
    with pytest.raises(ConfigError):
        latch.set_limit(T0_NS, bad)
    assert latch.var_limit_usd == 1.0


def test_halt_survives_restart() -> None:
    """A killed and restarted halted engine is halted, under the same name, with the same memory."""
    twice = _halted()
    twice.halt(T0_NS, "FEED_SILENT: x")
    for latch in (HaltLatch(150_000.0), _halted(), twice):
        again = HaltLatch(1.0)
        again.restore(latch.state())
        assert again.state() == latch.state()
        assert (again.trading_state, again.halt_id) == (latch.trading_state, latch.halt_id)
        later = [x.on_measured(T0_NS, report(130_000.0), False, True) for x in (latch, again)]
        assert later[0] == later[1]
        assert bool(again.halt(T0_NS, "FEED_SILENT: y")) is (latch is not twice)


def test_measures_of_old_prices_open_nothing() -> None:
    """After a resume three minutes without a bar would otherwise read as three calm measures."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(149_000.0, 151_000.0), False, True)
    is_fresh = (False, False, False, True, False, True, True)
    said = [_states(latch.on_measured(T0_NS, report(100.0), False, fresh)) for fresh in is_fresh]
    assert said == [[]] * 6 + [[(ACTIVE, "CLEARED")]]
    latch.on_measured(T0_NS, report(149_000.0, 151_000.0), False, True)
    assert _states(latch.on_measured(T0_NS, report(151_000.0), False, False)) == [(HALTED, "VAR_LIMIT")]
