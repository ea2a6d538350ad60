"""Live, from a file, restored from a snapshot, recovered from a journal: one function over one log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import Bar, BarRejected, Event, Record, Reject, Signal, TargetsProposed, Tick
from engine.loop import Loop, proposal
from engine.state import from_bytes, to_bytes
from tests.support.engines import command
from tests.support.live import (
    SESSIONS,
    SYMBOLS,
    instant_of,
    is_accounted,
    kalman_engine,
    live_records,
    replay_file,
    tape,
)

EXAMPLES = settings(max_examples=25)


def closing(records: list[Bar | Tick], loop: Loop, last_ns: int) -> Iterator[Bar | Tick]:
    """Yield the records and the tick that ends the run, checking the accounts at every step."""
    for record in [*records, Tick(last_ns)]:
        yield record
        assert is_accounted(loop)


seeds, order_seeds = st.integers(0, 5), st.integers(0, 2**32 - 1)
spreads = st.sampled_from([0.1, 1.0, 1.9])


@EXAMPLES
@given(seed=seeds, order_seed=order_seeds, spread_min=spreads)
def test_live_equals_the_file(seed: int, order_seed: int, spread_min: float) -> None:
    """Whatever the order within the grace: the same decisions to the last bit, and the same read model."""
    records = live_records(seed, order_seed, spread_min)
    from_file, in_file = kalman_engine()
    last_ns = replay_file(from_file, [r for r in records if isinstance(r, Bar)], SYMBOLS, SESSIONS)
    live, seen = kalman_engine()
    for record in closing(records, live, last_ns):
        live.step(record)
    assert live.digest.hexdigest() == from_file.digest.hexdigest()
    assert seen.events(Signal) == in_file.events(Signal)
    assert to_bytes(live.status.state()) == to_bytes(from_file.status.state())
    assert live.status.rejected[Reject.LATE] == 0
    assert live.bus.intake.waiting == 0


def test_live_equals_the_file_with_a_solver() -> None:
    """The same with an allocator that solves a programme from prices, covariance and holdings."""
    records = live_records(1, 1, 1.9)
    from_file, _ = kalman_engine("mean_variance")
    last_ns = replay_file(from_file, [r for r in records if isinstance(r, Bar)], SYMBOLS, SESSIONS)
    live, _ = kalman_engine("mean_variance")
    for record in closing(records, live, last_ns):
        live.step(record)
    assert live.status.fills
    assert live.digest.hexdigest() == from_file.digest.hexdigest()


@pytest.mark.parametrize("seed", range(3))
def test_these_tapes_are_worth_comparing(seed: int) -> None:
    """Equality over nothing would prove nothing: tapes hold signals, fills, rejections and jumps."""
    loop, _ = kalman_engine()
    replay_file(loop, list(tape(seed)), SYMBOLS, SESSIONS)
    status = loop.status
    assert status.signals > 5
    assert status.fills > 5
    assert {"DUPLICATE", "CONFLICT", "MALFORMED", "COLLAR"} <= set(status.rejected)


@EXAMPLES
@given(seed=seeds, order_seed=order_seeds, spread_min=spreads, cut_frac=st.floats(0, 1))
def test_a_snapshot_anywhere_continues_to_the_same_bits(
    seed: int, order_seed: int, spread_min: float, cut_frac: float
) -> None:
    """Kill and restart at any record between problems: state, read model and decisions are the same."""
    records = live_records(seed, order_seed, spread_min)
    cut = round(cut_frac * len(records))
    whole, seen = kalman_engine()
    for record in records:
        whole.step(record)
    first, before = kalman_engine()
    for record in records[:cut]:
        first.step(record)
    second, after = kalman_engine()
    second.restore(from_bytes(to_bytes(first.state())))
    assert to_bytes(second.state()) == to_bytes(first.state())
    for record in records[cut:]:
        second.step(record)
        assert is_accounted(second)
    assert to_bytes(second.state()) == to_bytes(whole.state())
    assert before.events() + after.events() == seen.events()


def log_with_delays(seed: int, order_seed: int) -> tuple[Loop, list[Record]]:
    """Run with an allocator that takes its time, and commands in between; return the log."""
    rng = np.random.default_rng(order_seed)
    loop, seen = kalman_engine()
    answers: list[tuple[int, TargetsProposed]] = []
    for place, record in enumerate(live_records(seed, order_seed, 1.9)):
        loop.take(record)
        if rng.random() < 0.01:
            loop.take(command("rebalance", instant_of(record), nonce=f"{place}"))
        if rng.random() < 0.01:
            loop.take(BarRejected(instant_of(record), "", Reject.UNDECODABLE))
        for at_place, answer in [*answers]:
            if at_place <= place:
                loop.take(answer)
                answers.remove((at_place, answer))
        while (problem := loop.bus.take_problem()) is not None:
            delay = int(rng.choice([0, 1, 3, 12]))
            answer = proposal(problem, loop.bus.answer(problem))
            if delay:
                answers.append((place + delay, answer))
            else:
                loop.take(answer)
    return loop, [record for _, record, _ in seen.steps]


@EXAMPLES
@given(seed=seeds, order_seed=order_seeds, data=st.data())
def test_recovery_from_any_prefix_continues_to_the_same_bits(
    seed: int, order_seed: int, data: st.DataObject
) -> None:
    """A log that broke off anywhere, plus the rest of it, is the uninterrupted run; nothing is solved."""
    whole, log = log_with_delays(seed, order_seed)
    answers = [place for place, record in enumerate(log) if isinstance(record, TargetsProposed)]
    cut = data.draw(st.integers(0, len(log)) | st.sampled_from(answers or [0]), "cut")
    second, seen = kalman_engine()
    second.bus.answer = None  # type: ignore[assignment, method-assign]  # whoever solves fails
    numbered = list(enumerate(log, 1))
    second.recover(numbered[:cut])
    second.recover(numbered[cut:])
    assert [events for _, _, events in seen.steps] == [events for *_, events in steps_of(log)]
    assert second.digest.hexdigest() == whole.digest.hexdigest()
    assert second.seq == whole.seq
    if whole.bus.is_quiet:
        assert to_bytes(second.state()) == to_bytes(whole.state())


def steps_of(log: list[Record]) -> list[tuple[int, Record, list[Event]]]:
    loop, seen = kalman_engine()
    for record in log:
        loop.take(record)
        loop.bus.take_problem()
    return seen.steps


@pytest.mark.parametrize("seed", range(3))
def test_an_unanswered_problem_is_posed_again(seed: int) -> None:
    """A kill while the allocator was solving costs no rebalance; an answer that was late is not asked for."""
    _, log = log_with_delays(seed, order_seed=seed)
    outcomes = Counter[str]()
    for cut, answer in enumerate(log):
        if isinstance(answer, TargetsProposed):
            recovered, _ = kalman_engine()
            problem = recovered.recover(enumerate(log[:cut], 1))
            again = problem and proposal(problem, recovered.bus.answer(problem))
            reasons = {getattr(event, "reason", "") for event in recovered.take(answer)}
            assert ("optimiser_late" in reasons) == (again != answer)
            outcomes["late" if again != answer else "in time"] += 1
    assert outcomes["late"] > 5 < outcomes["in time"]
