"""The halt latch, step by step, with the numbers of the limit of $150,000."""

from __future__ import annotations

import math

import pytest

from engine.errors import ConfigError
from engine.events import MINUTE_NS, Alert, TradingState, TradingStateChanged
from engine.oversight import Latch
from engine.ports import RiskReport
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
    latch.on_measured(T0_NS, report(160_000.0), False)
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
    events = latch.on_measured(T0_NS, measured, False)
    assert latch.trading_state is state
    assert _states(events) == ([(state, reason)] if reason else [])
    assert bool(latch.halt_id) is (state is HALTED)


def test_halt_is_critical_named_and_said_in_words() -> None:
    """The person woken at night reads the VaR, the limit, and what to type."""
    events = HaltLatch(150_000.0).on_measured(T0_NS, report(162_340.5), False)
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
        assert latch.on_measured(T0_NS + minute * MINUTE_NS, report(0.0), False) == ()
    assert latch.trading_state is HALTED


def test_resume_needs_the_right_halt_and_a_healthy_measure() -> None:
    """Each refusal says which of the conditions was not met."""
    latch = _halted()
    halt_id = latch.halt_id
    assert latch.resume(T0_NS, "halt-0") == f"the halt in force is {halt_id}, the command named 'halt-0'"
    assert latch.resume(T0_NS, halt_id) == "VaR $160,000.00 is not under the limit $150,000.00"
    latch.on_measured(T0_NS, UNKNOWN, False)
    assert latch.resume(T0_NS, halt_id) == "VaR is unknown: PRICE_STALE"
    assert latch.trading_state is HALTED
    assert HaltLatch(1.0).resume(T0_NS, "x") == "nothing is halted: the state is ACTIVE"
    fresh = HaltLatch(1.0)
    fresh.halt(T0_NS, "WATCHDOG")
    assert fresh.resume(T0_NS, fresh.halt_id) == "VaR has not been measured yet"


def test_way_back_is_reducing_then_three_calm_measures() -> None:
    """HALTED -> REDUCING -> ACTIVE, never straight; 95% of the limit is $142,500 and counts as calm."""
    latch = _halted()
    halt_id = latch.halt_id
    latch.on_measured(T0_NS, report(120_000.0), False)
    changed = latch.resume(T0_NS, halt_id)
    assert changed == TradingStateChanged(T0_NS, REDUCING, HALTED, "RESUMED", halt_id)
    seen = []
    for upper_usd in (142_500.0, 142_500.0, 142_500.01, 142_500.0, 100.0, 142_500.0):
        events = latch.on_measured(T0_NS, report(100.0, upper_usd), False)
        seen += _states(events)
        assert (latch.trading_state is ACTIVE) is bool(seen)
    assert seen == [(ACTIVE, "CLEARED")]
    assert latch.resume(T0_NS, halt_id) == "nothing is halted: the state is ACTIVE"


def test_second_halt_has_another_name() -> None:
    """A resume of yesterday's halt, or of one a moment ago, must not lift this one."""
    latch = _halted()
    first = latch.halt_id
    latch.on_measured(T0_NS, report(100_000.0), False)
    latch.resume(T0_NS, first)
    latch.halt(T0_NS, "operator a: test")
    assert latch.halt_id != first
    assert isinstance(latch.resume(T0_NS, first), str)


def test_reducing_clears_by_itself_and_can_still_fall() -> None:
    """Without a halt before it, three calm measures reopen; a breach on the way halts at once."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(149_000.0, 151_000.0), False)
    for upper_usd in (151_000.0, 100.0, 100.0):
        assert _states(latch.on_measured(T0_NS, report(100.0, upper_usd), False)) == []
    assert _states(latch.on_measured(T0_NS, report(100.0), False)) == [(ACTIVE, "CLEARED")]
    latch.on_measured(T0_NS, report(149_000.0, 151_000.0), False)
    assert _states(latch.on_measured(T0_NS, report(151_000.0), False)) == [(HALTED, "VAR_LIMIT")]


def test_suspect_price_of_a_held_symbol_reduces() -> None:
    """A bad tick may not open positions, nor halt the day; calm is counted from its end."""
    latch = HaltLatch(150_000.0)
    events = latch.on_measured(T0_NS, report(100.0), True)
    assert _states(events) == [(REDUCING, "PRICE_SUSPECT")]
    assert _kinds(events) == [("warning", "reducing")]
    for _ in range(5):
        latch.on_measured(T0_NS, report(100.0), True)
    assert latch.trading_state is REDUCING
    for _ in range(3):
        latch.on_measured(T0_NS, report(100.0), False)
    assert latch.trading_state is ACTIVE


def test_near_limit_is_told_once_per_crossing() -> None:
    """80% warns, hovering around it does not warn again, going under 75% and back does."""
    latch = HaltLatch(100_000.0)
    path = (79_999.0, 80_000.0, 85_000.0, 79_000.0, 81_000.0, 74_999.0, 80_001.0)
    said = [latch.on_measured(T0_NS, report(var_usd), False) for var_usd in path]
    told = [[event.text for event in events if isinstance(event, Alert)] for events in said]
    assert [len(t) for t in told] == [0, 1, 0, 0, 0, 0, 1]
    assert told[1] == ["VaR $80,000.00 is 80% of the limit $100,000.00"]


def test_halt_from_outside() -> None:
    """Operator, watchdog and journal can halt whatever the measure says; a second halt changes nothing."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(0.0), False)
    assert _kinds(latch.halt(T0_NS, "JOURNAL_UNWRITABLE")) == [("critical", "halted")]
    assert latch.halt(T0_NS, "other") == ()
    assert isinstance(latch.resume(T0_NS, latch.halt_id), TradingStateChanged)


def test_new_limit_is_judged_at_once_and_never_raises_the_state() -> None:
    """Lowering the limit under VaR halts in that step; raising it is not a fresh measure."""
    latch = HaltLatch(150_000.0)
    latch.on_measured(T0_NS, report(100_000.0, 104_000.0), False)
    assert _states(latch.set_limit(T0_NS, 103_000.0)) == [(REDUCING, "VAR_UPPER")]
    for _ in range(10):
        assert _states(latch.set_limit(T0_NS, 500_000.0)) == []
    assert latch.trading_state is REDUCING
    for limit_usd in (500_000.0, 400_000.0):  # two calm measures do not survive a change of the limit
        for _ in range(2):
            assert latch.on_measured(T0_NS, report(100_000.0, 104_000.0), False) == ()
        latch.set_limit(T0_NS, limit_usd)
    assert latch.trading_state is REDUCING
    assert _states(latch.set_limit(T0_NS, 100_000.0)) == [(HALTED, "VAR_LIMIT")]
    assert latch.set_limit(T0_NS, 1e9) == ()
    assert latch.trading_state is HALTED


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
    for latch in (HaltLatch(150_000.0), _halted()):
        again = HaltLatch(1.0)
        again.restore(latch.state())
        assert again.state() == latch.state()
        assert (again.trading_state, again.halt_id) == (latch.trading_state, latch.halt_id)
        later = [x.on_measured(T0_NS, report(130_000.0), False) for x in (latch, again)]
        assert later[0] == later[1]
