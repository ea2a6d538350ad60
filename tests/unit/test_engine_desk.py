"""The trading day around the strategies: halts, commands, cancellations, unfilled exits, late answers."""

from __future__ import annotations

import pytest

from engine.carry import Funding
from engine.events import (
    Alert,
    BarConfirmed,
    BookMarked,
    CommandJudged,
    Filled,
    LimitChanged,
    RiskMeasured,
    TargetApproved,
    TargetRefused,
    TargetsProposed,
    TradingState,
    TradingStateChanged,
)
from engine.journal import JournalReader, JournalWriter
from engine.layout import Instrument
from engine.loop import Loop, proposal
from engine.state import from_bytes, to_bytes
from tests.support.core import slice_of
from tests.support.engines import HALT_KEY, command, engine_of
from tests.support.journals import IDENTITY

NAN = float("nan")
LONG_AT_2 = {(1, 2): {"A/B": 1}}


def run(loop, closes, minutes, session=1) -> None:
    """Step through minutes with constant closes."""
    for minute in minutes:
        loop.step(slice_of(closes, minute=minute, session=session))


def ts(minute: int, session: int = 1) -> int:
    """Return the close of a minute."""
    return slice_of([1.0], minute=minute, session=session).ts_close_ns


def states(recorder) -> list[TradingState]:
    """Return the states entered."""
    return [change.state for change in recorder.events(TradingStateChanged)]


def test_target_decided_at_the_close_fills_at_the_next_open() -> None:
    """The fill's price and instant are those of the next bar's open; nothing fills on the signal's bar."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    run(loop, [100.0, 50.0], [1, 2])
    assert seen.events(Filled) == []
    loop.step(slice_of([100.0, 50.0], minute=3, session=1, open_=[101.0, 49.0]))
    filled = seen.events(Filled)
    assert [(fill.symbol, fill.price_usd) for fill in filled] == [("A", 101.0), ("B", 49.0)]
    assert {fill.ts_ns for fill in filled} == {ts(2)}


def test_opening_book_above_the_limit_halts_on_its_first_measure() -> None:
    """The latch does not wait for a trade."""
    loop, seen = engine_of(["A/B"], {}, positions={"A": 20_000.0})
    run(loop, [100.0, 50.0], [1])
    assert states(seen) == [TradingState.HALTED]
    assert seen.last(Alert).severity == "critical"


def test_halt_by_command_cancels_what_is_unfilled() -> None:
    """A target approved at the close does not fill at the next open if a halt comes between."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    run(loop, [100.0, 50.0], [1, 2])
    assert len(seen.events(TargetApproved)) == 1
    loop.step(command("halt", ts(2) + 1, key=HALT_KEY))
    run(loop, [100.0, 50.0], [3, 4])
    assert [refused.reason for refused in seen.events(TargetRefused)] == ["halted"]
    assert seen.events(Filled) == []
    assert loop.bus.desk.book.is_flat


def test_cut_limit_moves_the_state_in_the_same_step() -> None:
    """A limit cut under the measured VaR halts before any later record is looked at."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    run(loop, [100.0, 50.0], [1, 2, 3])
    var_usd = loop.status.risk.var_usd
    loop.step(command("limits", ts(3) + 1, args={"var_limit_usd": var_usd * 0.99}))
    seq, _, events = seen.steps[-1]
    assert [type(event) for event in events] == [CommandJudged, LimitChanged, TradingStateChanged, Alert]
    assert states(seen) == [TradingState.HALTED]
    assert seq == loop.seq


def test_way_back_from_a_halt() -> None:
    """Resume is refused for another halt and while VaR is over; flatten lowers it; three calm ones open."""
    loop, seen = engine_of(["A/B"], {}, positions={"A": 20_000.0})
    run(loop, [100.0, 50.0], [1, 2])
    halt_id = loop.bus.desk.latch.halt_id
    loop.step(command("resume", ts(2) + 1, halt_id="halt-other"))
    loop.step(command("resume", ts(2) + 2, halt_id=halt_id))
    assert [judged.verdict for judged in seen.events(CommandJudged)] == ["refused", "refused"]
    assert "not under the limit" in seen.last(CommandJudged).reason
    loop.step(command("flatten", ts(2) + 3))
    run(loop, [100.0, 50.0], [3])
    assert loop.bus.desk.book.is_flat
    assert loop.status.trading_state is TradingState.HALTED
    loop.step(command("resume", ts(3) + 1, halt_id=halt_id))
    assert loop.status.trading_state is TradingState.REDUCING
    run(loop, [100.0, 50.0], [4, 5])
    assert loop.status.trading_state is TradingState.REDUCING
    run(loop, [100.0, 50.0], [6])
    assert states(seen) == [TradingState.HALTED, TradingState.REDUCING, TradingState.ACTIVE]


def test_refused_resume_changes_nothing_but_the_audit_trail() -> None:
    """The wrong key for resuming leaves the engine halted, and says so."""
    loop, seen = engine_of(["A/B"], {}, positions={"A": 20_000.0})
    run(loop, [100.0, 50.0], [1])
    before = to_bytes(loop.bus.desk.state())
    loop.step(command("resume", ts(1) + 1, key=HALT_KEY, halt_id=loop.bus.desk.latch.halt_id))
    assert to_bytes(loop.bus.desk.state()) == before
    assert seen.last(CommandJudged).reason == "bad_signature"
    assert seen.last(Alert).kind == "command_refused"


def test_raised_limit_must_say_when_it_reverts_and_reverts_by_itself() -> None:
    """A temporary limit that is forgotten is how desks lose control of it."""
    loop, seen = engine_of(["A/B"], {})
    run(loop, [100.0, 50.0], [1])
    loop.step(command("limits", ts(1) + 1, args={"var_limit_usd": 300_000.0}))
    assert "must say when it reverts" in seen.last(CommandJudged).reason
    loop.step(command("limits", ts(1) + 2, args={"var_limit_usd": 300_000.0, "revert_ns": float(ts(4))}))
    run(loop, [100.0, 50.0], [2, 3])
    assert loop.bus.desk.latch.var_limit_usd == 300_000.0
    run(loop, [100.0, 50.0], [4])
    assert loop.bus.desk.latch.var_limit_usd == 150_000.0
    assert seen.last(LimitChanged).principal == "timer"


def limit_after(*commands, minute: int) -> float:
    """Return the limit in force after some commands, at a minute."""
    loop, _ = engine_of(["A/B"], {})
    records = [slice_of([100.0, 50.0], minute=m, session=1) for m in range(1, minute + 1)]
    for record in sorted([*records, *commands], key=lambda r: getattr(r, "ts_close_ns", 0) or r.ts_ns):
        loop.step(record)
    return loop.bus.desk.latch.var_limit_usd


def limits(minute: int, usd: float, until: int | None = None):
    """Sign a change of the limit shortly after a minute."""
    args = {"var_limit_usd": usd, "revert_ns": float(ts(until)) if until else 0.0}
    return command("limits", ts(minute) + 1, args=args)


def test_lowering_for_good_outlives_an_earlier_temporary_raise() -> None:
    """A timer must never put a limit above what the operator said last."""
    assert limit_after(limits(1, 200_000, until=5), limits(3, 100_000), minute=6) == 100_000


def test_nested_raises_end_at_the_standing_limit() -> None:
    """Two temporary raises do not make a permanent one."""
    changes = [limits(1, 200_000, until=5), limits(2, 250_000, until=4)]
    assert limit_after(*changes, minute=3) == 250_000
    assert limit_after(*changes, minute=6) == 150_000


def test_temporary_cut_may_be_lifted_early() -> None:
    """Going back to the standing limit is no raise."""
    assert limit_after(limits(1, 50_000, until=9), limits(3, 150_000), minute=4) == 150_000


def test_suspect_price_of_a_held_symbol_reduces_and_clears_by_itself() -> None:
    """One bad tick is no halt; three calm measures after it trading is open again."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    run(loop, [100.0, 50.0], [1, 2, 3])
    loop.step(slice_of([NAN, 50.0], minute=4, session=1, suspect=(0,)))
    assert states(seen) == [TradingState.REDUCING]
    run(loop, [100.0, 50.0], [5, 6, 7])
    assert states(seen) == [TradingState.REDUCING, TradingState.ACTIVE]


def test_suspect_price_of_a_symbol_not_held_changes_nothing() -> None:
    """What the book does not hold cannot hurt it."""
    loop, seen = engine_of(["A/B"], {})
    loop.step(slice_of([NAN, 50.0], minute=1, session=1, suspect=(0,)))
    assert states(seen) == []


def test_stale_price_of_a_held_symbol_halts() -> None:
    """After the maximum age VaR is unknown, and unknown halts."""
    loop, seen = engine_of(["A/B"], LONG_AT_2, price_age_max_min=2)
    run(loop, [100.0, 50.0], [1, 2, 3])
    run(loop, [NAN, 50.0], [4, 5])
    assert states(seen) == []
    run(loop, [NAN, 50.0], [6])
    assert states(seen) == [TradingState.HALTED]
    assert loop.status.risk.reason == "PRICE_STALE"


def test_exit_without_an_open_is_tried_again() -> None:
    """A spread that must be left is not kept for ever because one bar was missing."""
    loop, seen = engine_of(["A/B"], {(1, 2): {"A/B": 1}, (1, 4): {"A/B": 0}})
    run(loop, [100.0, 50.0], [1, 2, 3, 4])
    run(loop, [NAN, 50.0], [5])
    assert seen.last(TargetRefused).reason == "no_open"
    assert not loop.bus.desk.book.is_flat
    run(loop, [100.0, 50.0], [6, 7])
    assert loop.bus.desk.book.is_flat


def test_entry_that_lapsed_is_not_chased() -> None:
    """The signal was for that open; later ones need a signal of their own."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    run(loop, [100.0, 50.0], [1, 2])
    run(loop, [NAN, 50.0], [3])
    run(loop, [100.0, 50.0], [4, 5, 6])
    assert seen.events(Filled) == []


def test_exit_refused_by_a_halt_is_tried_after_the_resume() -> None:
    """What turned FLAT while halted is left as soon as something may trade again."""
    loop, _ = engine_of(["A/B"], {(1, 2): {"A/B": 1}, (1, 5): {"A/B": 0}})
    run(loop, [100.0, 50.0], [1, 2, 3])
    loop.step(command("halt", ts(3) + 1, key=HALT_KEY))
    run(loop, [100.0, 50.0], [4, 5, 6])
    assert not loop.bus.desk.book.is_flat
    loop.step(command("resume", ts(6) + 1, halt_id=loop.bus.desk.latch.halt_id))
    run(loop, [100.0, 50.0], [7, 8])
    assert loop.bus.desk.book.is_flat


def test_funding_of_the_night_is_paid_by_a_book_that_leaves_at_the_open() -> None:
    """The position was held overnight, whatever trades first in the morning."""
    loop, seen = engine_of(["A/B"], {(1, 2): {"A/B": 1}, (1, 4): {"A/B": 0}})
    book = loop.bus.desk.book
    book.carry = Funding(0.036, 50, 25, 40).carry(book.layout.listed)
    run(loop, [100.0, 50.0], [1, 2, 3, 4])
    run(loop, [100.0, 50.0], [1], session=4)
    assert loop.bus.desk.book.is_flat
    # 50,000 long pays 4.1%, 50,000 short receives 2.95%, three days of 360.
    assert seen.last(BookMarked).funding_usd == pytest.approx(-50_000 * (0.041 - 0.0295) / 360 * 3)


def test_flatten_says_what_it_replaces() -> None:
    """An approved target that will not fill leaves a trace."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    run(loop, [100.0, 50.0], [1, 2])
    loop.step(command("flatten", ts(2) + 1))
    assert [refused.reason for refused in seen.events(TargetRefused)] == ["superseded", "no_change"]


@pytest.mark.parametrize("revert_ns", [-5.0, 1.0, 1e300, float(1 << 62), NAN])
def test_limit_that_reverts_at_an_impossible_time_is_refused(revert_ns) -> None:
    """Never, and in the past, are no times to revert at; what is stored must fit."""
    loop, seen = engine_of(["A/B"], {})
    run(loop, [100.0, 50.0], [1])
    loop.step(command("limits", ts(1) + 1, args={"var_limit_usd": 50_000.0, "revert_ns": revert_ns}))
    assert seen.last(CommandJudged).verdict == "refused"
    assert loop.bus.desk.latch.var_limit_usd == 150_000.0
    to_bytes(loop.bus.state())


def test_confirmed_jump_refreshes_risk_at_once() -> None:
    """Three calm measures under a factor from before the crash would prove nothing."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    for session in (1, 2):
        run(loop, [100.0, 50.0], range(1, 26), session=session)
    before = loop.status.risk.var_usd
    loop.step(slice_of([NAN, 50.0], minute=26, session=2, suspect=(0,)))
    loop.step(BarConfirmed(ts(26, 2), "A"))
    loop.step(slice_of([70.0, 50.0], minute=27, session=2))
    assert loop.status.risk.var_usd > 1.5 * before
    assert "split" in next(a.text for a in seen.events(Alert) if a.kind == "bar_confirmed")


def test_late_answer_is_refused() -> None:
    """An answer that comes after the next slice was computed from a book and prices that are gone."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    loop.take(slice_of([100.0, 50.0], minute=1, session=1))
    loop.take(slice_of([100.0, 50.0], minute=2, session=1))
    problem = loop.bus.take_problem()
    assert loop.bus.awaits(problem)
    loop.take(slice_of([100.0, 50.0], minute=3, session=1))
    assert not loop.bus.awaits(problem)
    loop.take(proposal(problem, loop.bus.answer(problem)))
    assert seen.last(TargetRefused).reason == "optimiser_late"
    run(loop, [100.0, 50.0], [4])
    assert loop.bus.desk.book.is_flat


def test_problem_is_answered_once() -> None:
    """A second answer to the same problem must not replace the first: nobody asked for it."""
    loop, seen = engine_of(["A/B"], LONG_AT_2)
    run(loop, [100.0, 50.0], [1, 2])
    answer = next(record for _, record, _ in seen.steps if isinstance(record, TargetsProposed))
    loop.step(answer)
    assert seen.last(TargetRefused).reason == "optimiser_late"
    assert len(seen.events(TargetApproved)) == 1


@pytest.mark.parametrize("status", ["infeasible", "solver_failed"])
def test_answer_without_targets_holds_the_book(status) -> None:
    """No solution is a typed reason, not a trade."""
    loop, seen = engine_of(["A/B"], {**LONG_AT_2, (1, 4): {"A/B": 0}})
    run(loop, [100.0, 50.0], [1, 2, 3])
    held = loop.bus.desk.book.leg_quantity.copy()
    loop.take(slice_of([100.0, 50.0], minute=4, session=1))
    problem = loop.bus.take_problem()
    loop.step(TargetsProposed(problem.ts_ns, problem.state_version, status, ()))
    assert seen.last(TargetRefused).reason == status
    loop.take(slice_of([100.0, 50.0], minute=5, session=1))
    assert held.any()
    assert loop.bus.desk.book.leg_quantity.tolist() == held.tolist()


def busy_day():
    """Yield records of a day with trades, a suspect bar, a halt, a flatten and a resume."""
    for minute in range(1, 12):
        price = 100.0 + 0.3 * minute
        yield slice_of([price, 50.0, 70.0 - 0.1 * minute], minute=minute, session=1)
    yield slice_of([NAN, 50.0, 70.0], minute=12, session=1, suspect=(0,))
    yield command("halt", ts(12) + 1, key=HALT_KEY)
    yield slice_of([103.0, 50.0, 70.0], minute=13, session=1)
    yield command("flatten", ts(13) + 1)
    yield slice_of([103.0, 50.5, 70.0], minute=14, session=1)
    for minute in range(1, 8):
        yield slice_of([104.0 - minute, 51.0, 71.0], minute=minute, session=4)


SCRIPT = {
    (1, 2): {"A/B": 1},
    (1, 4): {"C/B": -1},
    (1, 7): {"A/B": 0},
    (1, 9): {"A/B": -1},
    (4, 3): {"A/B": 1},
}


@pytest.mark.parametrize("allocator", ["direct", "mean_variance"])
def test_snapshot_at_any_record_continues_bit_for_bit(allocator) -> None:
    """Restart from a snapshot equals the uninterrupted run, wherever the cut falls."""
    options = {} if allocator == "direct" else {"every_min": 2}
    whole, seen = engine_of(["A/B", "C/B"], SCRIPT, allocator=allocator, options=options, scenarios=500)
    records = list(busy_day())
    for record in records:
        whole.step(record)
    assert seen.events(Filled)
    for cut in range(0, len(records), 3):
        first, _ = engine_of(["A/B", "C/B"], SCRIPT, allocator=allocator, options=options, scenarios=500)
        for record in records[:cut]:
            first.step(record)
        snapshot = to_bytes(first.bus.state())
        second, _ = engine_of(["A/B", "C/B"], SCRIPT, allocator=allocator, options=options, scenarios=500)
        second.bus.restore(from_bytes(snapshot))
        second.seq = first.seq
        for record in records[cut:]:
            second.step(record)
        assert to_bytes(second.bus.state()) == to_bytes(whole.bus.state()), f"cut at {cut}"


def test_journal_replays_to_the_same_journal_digest_without_solving(tmp_path) -> None:
    """The recorded answers are used; the journal covers everything that decided the run."""
    loop, _ = engine_of(["A/B", "C/B"], SCRIPT)
    writer = JournalWriter(tmp_path, IDENTITY)
    journalled = Loop(loop.bus, lambda *_: None, writer)
    for record in busy_day():
        journalled.step(record)
    writer.close()
    other, _ = engine_of(["A/B", "C/B"], SCRIPT)
    again = Loop(other.bus, lambda *_: None)
    assert again.replay_journal(JournalReader(tmp_path)) == journalled.journal_digest.hexdigest()
    assert again.digest.hexdigest() == journalled.digest.hexdigest()


EUROS = (Instrument("SAP", currency="EUR"), Instrument("EURUSD"))


def test_a_position_whose_exchange_rate_is_too_old_halts() -> None:
    """Three minutes are allowed; the quote goes on, yet nobody knows what it is worth in USD."""
    loop, seen = engine_of([], {}, positions={"SAP": 10.0, "EURUSD": 0.0}, instruments=EUROS)
    run(loop, [100.0, 1.1], [1])
    run(loop, [100.0, NAN], [2, 3, 4])
    assert states(seen) == []
    run(loop, [100.0, NAN], [5])
    assert states(seen) == [TradingState.HALTED]
    assert seen.last(RiskMeasured).reason == "PRICE_STALE"


def test_a_suspect_exchange_rate_reduces_whoever_holds_what_is_quoted_in_it() -> None:
    """The book holds no EURUSD, but all that it is worth hangs on it."""
    loop, seen = engine_of([], {}, positions={"SAP": 10.0, "EURUSD": 0.0}, instruments=EUROS)
    run(loop, [100.0, 1.1], [1])
    loop.step(slice_of([100.0, NAN], minute=2, session=1, suspect=(1,)))
    assert states(seen) == [TradingState.REDUCING]
