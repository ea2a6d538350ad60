"""Live numbers: all or nothing, inside hard bounds, and back by themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.controls import Control, Controls
from engine.events import (
    AllocationDone,
    CommandJudged,
    LimitChanged,
    LimitsDue,
    TargetRefused,
    TargetsProposed,
    TradingState,
)
from engine.state import from_bytes, to_bytes
from tests.support.core import slice_of
from tests.support.engines import command, engine_of

NAN, INF = math.nan, math.inf
DAY = 86_400_000_000_000


def controls() -> Controls:
    """Make a limit of 100 (up to 150), a gross cap of 2 that cannot be raised, and gamma 15 (5 to 50)."""
    return Controls(
        [
            Control("var_limit_usd", 100.0, 1.0, 150.0),
            Control("gross_max_frac", 2.0, 0.1, 2.0),
            Control("risk_aversion", 15.0, 5.0, 50.0),
        ]
    )


def values(of: Controls) -> dict[str, float]:
    """Return the numbers in force."""
    return {name: setting.value for name, setting in of.settings.items()}


def test_several_numbers_change_together_and_each_is_told() -> None:
    """One command, one moment, one line of the audit trail for each number."""
    live = controls()
    changes = live.change(10, {"risk_aversion": 20.0, "var_limit_usd": 90.0}, "ada")
    assert changes == [
        LimitChanged(10, "var_limit_usd", 90.0, 100.0, 0, "ada"),
        LimitChanged(10, "risk_aversion", 20.0, 15.0, 0, "ada"),
    ]
    assert values(live) == {"var_limit_usd": 90.0, "gross_max_frac": 2.0, "risk_aversion": 20.0}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({}, "no number"),
        ({"revert_ns": 99.0}, "no number"),
        ({"leverage": 1.0}, "is no number of this engine"),
        ({"trade_aversion": 1.0}, "is no number of this engine"),
        ({"var_limit_usd": 150.01, "revert_ns": 99.0}, "between 1 and 150, was 150.01"),
        ({"var_limit_usd": 0.0}, "between"),
        ({"var_limit_usd": -5.0}, "between"),
        ({"var_limit_usd": NAN}, "between"),
        ({"var_limit_usd": INF}, "between"),
        ({"var_limit_usd": 120.0}, "must say when it reverts"),
        ({"gross_max_frac": 2.1, "revert_ns": 99.0}, "between 0.1 and 2, was 2.1"),
        ({"risk_aversion": 4.9, "revert_ns": 99.0}, "between"),
        ({"risk_aversion": 51.0}, "between"),
        ({"risk_aversion": 10.0}, "must say when it reverts"),
        ({"var_limit_usd": 90.0, "revert_ns": 10.0}, "lie ahead"),
        ({"var_limit_usd": 90.0, "revert_ns": -1.0}, "lie ahead"),
        ({"var_limit_usd": 90.0, "revert_ns": NAN}, "lie ahead"),
        ({"var_limit_usd": 90.0, "revert_ns": 2.0**62}, "lie ahead"),
        ({"var_limit_usd": 120.0, "revert_ns": 7 * DAY + 1_024.0}, "must revert within 7 days"),
        ({"risk_aversion": 10.0, "revert_ns": 8.0 * DAY}, "must revert within 7 days"),
        ({"var_limit_usd": 90.0, "gross_max_frac": 3.0}, "between"),
        ({"gross_max_frac": 1.0, "risk_aversion": NAN}, "between"),
    ],
)
def test_a_refused_change_changes_nothing(args, why) -> None:
    """Half a command is another command."""
    live = controls()
    before = to_bytes(live.state())
    answer = live.change(10, args, "ada")
    assert isinstance(answer, str)
    assert why in answer
    assert to_bytes(live.state()) == before


def test_which_way_is_loose_depends_on_the_number() -> None:
    """A cap protects by being low, an aversion by being high: tightening may be for good, either way."""
    live = controls()
    for args in ({"gross_max_frac": 1.0}, {"risk_aversion": 30.0}, {"var_limit_usd": 50.0}):
        assert not isinstance(live.change(10, args, "ada"), str)
    # What was standing before is looser now.
    for args in ({"gross_max_frac": 2.0}, {"risk_aversion": 15.0}, {"var_limit_usd": 100.0}):
        assert "must say when it reverts" in str(live.change(11, args, "ada"))


def test_numbers_return_each_in_its_time() -> None:
    """A temporary raise that is forgotten is how desks lose control of it."""
    live = controls()
    live.change(10, {"var_limit_usd": 150.0, "revert_ns": 50.0}, "ada")
    live.change(11, {"risk_aversion": 5.0, "revert_ns": 30.0}, "ada")
    assert live.revert_ns == 30
    assert live.revert(29) == []
    assert live.revert(30) == [LimitChanged(30, "risk_aversion", 15.0, 5.0, 0, "timer")]
    assert live.revert_ns == 50
    assert [change.value for change in live.revert(70)] == [100.0]
    assert live.revert_ns == 0
    assert values(live) == values(controls())


def test_the_last_word_replaces_an_earlier_timer() -> None:
    """A timer must never loosen what the operator tightened for good after it was set."""
    live = controls()
    live.change(10, {"var_limit_usd": 150.0, "revert_ns": 50.0}, "ada")
    live.change(20, {"var_limit_usd": 60.0}, "ada")
    assert live.revert(50) == []
    live.change(60, {"var_limit_usd": 30.0, "revert_ns": 70.0}, "ada")
    assert [change.value for change in live.revert(70)] == [60.0]


def test_a_week_is_the_longest_loosening_and_a_tightening_may_last() -> None:
    """What is to last belongs into the configuration, which somebody reviews; caution needs no review."""
    live = controls()
    assert not isinstance(live.change(0, {"var_limit_usd": 150.0, "revert_ns": 7.0 * DAY}, "ada"), str)
    assert not isinstance(live.change(0, {"var_limit_usd": 50.0, "revert_ns": 99.0 * DAY}, "ada"), str)


def test_numbers_return_by_the_clock_of_the_edge_too() -> None:
    """A delayed stream, or none, must not keep a loosened limit alive; nothing returns before its time."""
    loop, seen = engine_of(["A/B"], {})
    loop.step(slice_of([100.0, 50.0], minute=1, session=1))
    loop.step(command("limits", ts(2), args={"var_limit_usd": 200_000.0, "revert_ns": float(ts(60))}))
    loop.step(LimitsDue(ts(60) - 1_024))
    assert loop.bus.controls.settings["var_limit_usd"].value == 200_000.0
    loop.step(LimitsDue(ts(60) + 1_024))
    assert loop.bus.controls.settings["var_limit_usd"].value == 150_000.0
    assert [(change.value, change.principal) for change in seen.events(LimitChanged)] == [
        (200_000.0, "ada"),
        (150_000.0, "timer"),
    ]
    loop.step(LimitsDue(ts(61)))
    assert len(seen.events(LimitChanged)) == 2


def test_state_continues_bit_for_bit() -> None:
    """A restart must neither forget a timer nor make a temporary value the standing one."""
    live = controls()
    live.change(10, {"var_limit_usd": 0.1 + 99.2, "gross_max_frac": 1.1, "revert_ns": 50.0}, "ada")
    again = controls()
    again.restore(from_bytes(to_bytes(live.state())))
    assert to_bytes(again.state()) == to_bytes(live.state())
    assert again.revert(50) == live.revert(50)


# ------------------------------------------------------------------------------- in a whole engine


def ts(minute: int) -> int:
    """Return the close of a minute of session 1."""
    return slice_of([1.0], minute=minute, session=1).ts_close_ns


def limits(minute: int, **args: float):
    """Sign a ``limits`` command for shortly after a minute."""
    return command("limits", ts(minute) + 1, nonce=f"{minute}-{sorted(args)}", args=args)


def run(loop, minutes) -> None:
    """Step through minutes with constant prices."""
    for minute in minutes:
        loop.step(slice_of([100.0, 50.0], minute=minute, session=1))


def optimiser(**options):
    """Build an engine whose optimiser wants as much of A/B as it may have, from minute 1."""
    given = {"every_min": 30, "gross_max_frac": 0.8, "net_max_frac": 0.05, "risk_aversion": 0.1}
    return engine_of(["A/B"], {(1, 1): {"A/B": 1}}, allocator="mean_variance", options=given | options)


def gross(loop) -> float:
    """Return the gross held, fraction of equity."""
    book = loop.bus.desk.book
    return float(np.abs(book.holdings_usd).sum() / book.equity_usd)


def test_a_cap_below_what_is_held_is_reached_on_the_next_minute() -> None:
    """A desk that cuts leverage must see the book shrink now, not at the next half hour."""
    loop, seen = optimiser(every_min=2)
    run(loop, [1, 2, 3])
    assert gross(loop) == pytest.approx(0.8, abs=1e-6)
    loop.step(limits(3, gross_max_frac=0.2))
    run(loop, [4, 5])
    assert seen.last(AllocationDone).status == "optimal"
    assert gross(loop) == pytest.approx(0.2, abs=1e-6)


def test_a_temporary_cap_returns_with_the_first_minute_at_its_time() -> None:
    """And the book follows, without anybody asking."""
    loop, seen = optimiser(every_min=2)
    run(loop, [1, 2, 3])
    loop.step(limits(3, gross_max_frac=0.2, revert_ns=float(ts(6) - 1024)))
    run(loop, [4, 5])
    assert gross(loop) == pytest.approx(0.2, abs=1e-6)
    run(loop, [6])
    assert (seen.last(LimitChanged).ts_ns, seen.last(LimitChanged).principal) == (ts(6), "timer")
    run(loop, [7])
    assert gross(loop) == pytest.approx(0.8, abs=1e-6)


def test_gamma_moves_the_book_while_the_engine_runs() -> None:
    """The other slider: more aversion to risk holds less."""
    loop, _ = optimiser(risk_aversion=300.0, gross_max_frac=2.0, net_max_frac=0.5, every_min=2)
    run(loop, [1, 2, 3])
    before = gross(loop)
    assert 0.4 < before < 0.7
    loop.step(limits(3, risk_aversion=600.0, trade_aversion=1.5))
    run(loop, [4, 5])
    assert gross(loop) == pytest.approx(0.5 * before, rel=0.05)


def test_direct_refuses_what_it_has_not() -> None:
    """A cap that nobody looks at must not be accepted as if somebody did."""
    loop, seen = engine_of(["A/B"], {})
    run(loop, [1])
    loop.step(limits(1, gross_max_frac=0.5, var_limit_usd=100_000.0))
    judged = seen.last(CommandJudged)
    assert (judged.verdict, "gross_max_frac" in judged.reason) == ("refused", True)
    assert loop.bus.desk.latch.var_limit_usd == 150_000.0


def test_an_answer_under_way_is_late_once_a_cap_was_cut() -> None:
    """It was found under the old cap: to take it would be to obey a command a rebalance too late."""
    loop, seen = optimiser(every_min=2)
    run(loop, [1])
    loop.take(slice_of([100.0, 50.0], minute=2, session=1))
    problem = loop.bus.take_problem()
    answer = loop.bus.answer(problem)
    loop.take(limits(2, gross_max_frac=0.2))
    loop.take(
        TargetsProposed(problem.ts_ns, problem.state_version, "optimal", tuple(answer.leg_frac.tolist()))
    )
    assert seen.last(TargetRefused).reason == "optimiser_late"
    run(loop, [3, 4])
    assert gross(loop) == pytest.approx(0.2, abs=1e-6)


def test_the_same_moment_whether_live_or_replayed() -> None:
    """A revert belongs to the first minute at or after its time; a snapshot between changes nothing."""
    records = [slice_of([100.0, 50.0], minute=m, session=1) for m in range(1, 9)]
    records.insert(3, limits(3, gross_max_frac=0.2, var_limit_usd=90_000.0, revert_ns=float(ts(6) - 1024)))
    whole, _ = optimiser(every_min=2)
    for record in records:
        whole.step(record)
    for cut in range(len(records)):
        first, _ = optimiser(every_min=2)
        for record in records[:cut]:
            first.step(record)
        second, _ = optimiser(every_min=2)
        second.bus.restore(from_bytes(to_bytes(first.bus.state())))
        second.seq = first.seq
        for record in records[cut:]:
            second.step(record)
        assert to_bytes(second.bus.state()) == to_bytes(whole.bus.state()), f"cut at {cut}"


def test_a_cut_of_the_var_limit_among_other_numbers_halts_at_once() -> None:
    """Several numbers in one command do not make the halt wait for the next minute."""
    loop, _ = optimiser(every_min=2)
    run(loop, [1, 2, 3])
    loop.step(limits(3, var_limit_usd=loop.status.risk.var_usd * 0.9, gross_max_frac=0.1))
    assert loop.status.trading_state is TradingState.HALTED
    run(loop, [4, 5])
    assert gross(loop) == pytest.approx(0.8, abs=1e-6)  # halted holds the book
