"""What every strategy of the registry owes: run on each example of its options, for free."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.app.config.load import PATH_KEYS
from engine.events import BarSlice, Signal, SpreadNoted
from engine.kernel import KERNELS
from engine.ports import Outlook, Strategy
from engine.state import from_bytes, to_bytes
from strategies import REGISTRY
from tests.support.tapes import context, random_closes, slices_of, tape, without

#: Packages of extras that a kind cannot do without.
NEEDS = {"convertible": "QuantLib"}
CASES = [
    pytest.param(
        kind,
        example,
        id=f"{kind}-{i}",
        marks=pytest.mark.skipif(
            kind in NEEDS and find_spec(NEEDS[kind]) is None, reason="its extra is not installed"
        ),
    )
    for kind, plugin in REGISTRY.items()
    for i, example in enumerate(plugin.options.model_json_schema().get("examples", [{}]))
]
#: Kinds that want what they are told to from the first price on: a price that never moves is one, too.
UNTIMED = {"outrights"}
#: Where the files are that examples name.
FILES = Path(__file__).parents[1] / "goldens" / "examples"
every_strategy = pytest.mark.parametrize(("kind", "example"), CASES)
Output = list[Signal | SpreadNoted]


def build(kind: str, example: dict[str, Any]) -> Strategy:
    plugin = REGISTRY[kind]
    files = {key: str(FILES / example[key]) for key in PATH_KEYS if key in example}
    return plugin.build(plugin.options.model_validate(example | files), context())


def run(strategy: Strategy, slices: Sequence[BarSlice]) -> Output:
    return [event for slice_ in slices for event in strategy.on_slice(slice_)]


def signals_of(events: Output) -> list[Signal]:
    return [event for event in events if isinstance(event, Signal)]


@every_strategy
def test_the_example_trades(kind: str, example: dict[str, Any]) -> None:
    """The other contracts would be empty on an example that never signals."""
    assert signals_of(run(build(kind, example), tape(1)))


@every_strategy
def test_two_runs_are_equal(kind: str, example: dict[str, Any]) -> None:
    """A strategy is a function of its tape: replay, live and recovery must agree to the bit."""
    assert run(build(kind, example), tape(2)) == run(build(kind, example), tape(2))


@every_strategy
def test_the_future_does_not_change_the_past(kind: str, example: dict[str, Any]) -> None:
    """Look-ahead: whatever follows a minute, what was said up to it stays."""
    closes = random_closes(3, 320)
    other = closes.copy()
    other[250:] *= 1.5
    cut = slices_of(closes)[249].ts_close_ns
    events = [e for e in run(build(kind, example), slices_of(closes)) if e.ts_ns <= cut]
    assert events
    assert [e for e in run(build(kind, example), slices_of(other)) if e.ts_ns <= cut] == events
    assert run(build(kind, example), slices_of(closes[:250])) == events


@every_strategy
def test_a_missing_symbol_emits_no_signal(kind: str, example: dict[str, Any]) -> None:
    """Nothing may be traded on a price that is not there."""
    strategy = build(kind, example)
    events = signals_of(run(strategy, without(tape(4), "AAA")))
    with_it = {s.name for s in strategy.spreads if "AAA" in (s.y, s.x)}
    assert with_it
    assert not with_it & {e.spread for e in events}


@every_strategy
def test_a_missing_minute_emits_no_signal(kind: str, example: dict[str, Any]) -> None:
    """A minute without a bar of a leg (suspect bars look the same) leaves the spread's side alone."""
    strategy = build(kind, example)
    column = {s.name: [context().symbols.index(leg) for leg in (s.y, s.x) if leg] for s in strategy.spreads}
    for slice_ in tape(5, missing_frac=0.3):
        for event in signals_of(run(strategy, [slice_])):
            assert np.isfinite(slice_.bars[:, column[event.spread]]).all()


@every_strategy
def test_the_slice_is_not_modified(kind: str, example: dict[str, Any]) -> None:
    """Every part of the engine reads the same array."""
    slices = tape(6)
    before = [slice_.bars.copy() for slice_ in slices]
    run(build(kind, example), slices)
    for slice_, bars in zip(slices, before, strict=True):
        np.testing.assert_array_equal(slice_.bars, bars)


@every_strategy
@pytest.mark.parametrize("cut", [1, 30, 199, 200, 201, 270])
def test_a_snapshot_continues_the_run(kind: str, example: dict[str, Any], cut: int) -> None:
    """Recovery is a snapshot and the tail of the journal, bit for bit, in the warm-up too."""
    slices = tape(7)
    whole = build(kind, example)
    head, tail = run(whole, slices[:cut]), run(whole, slices[cut:])
    first, second = build(kind, example), build(kind, example)
    assert run(first, slices[:cut]) == head
    second.restore(from_bytes(to_bytes(first.state())))
    run(first, slices[cut:])
    assert run(second, slices[cut:]) == tail
    assert_outlooks_equal(second.outlook(), whole.outlook())


@every_strategy
def test_state_is_a_copy(kind: str, example: dict[str, Any]) -> None:
    """A snapshot that later slices change would restore the future."""
    strategy, slices = build(kind, example), tape(8)
    run(strategy, slices[:150])
    state, frozen = strategy.state(), build(kind, example)
    frozen.restore(strategy.state())
    run(strategy, slices[150:])
    late = build(kind, example)
    late.restore(state)
    assert run(late, slices[150:]) == run(frozen, slices[150:])


@every_strategy
def test_the_python_twin_agrees(kind: str, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled kernels and plain Python are the same function."""
    slices = tape(9, 110)
    strategy = build(kind, example)
    compiled = run(strategy, slices)
    outlook = strategy.outlook()
    twins = {id(kernel): kernel.py_func for kernel in KERNELS.values()}
    for name, module in list(sys.modules.items()):
        if name.startswith("strategies"):
            for attribute, value in list(vars(module).items()):
                if id(value) in twins:
                    monkeypatch.setattr(module, attribute, twins[id(value)])
    with np.errstate(all="ignore"):
        twin = build(kind, example)
        assert run(twin, slices) == compiled
        assert_outlooks_equal(twin.outlook(), outlook)


@every_strategy
def test_it_survives_what_tapes_contain(kind: str, example: dict[str, Any]) -> None:
    """A first bar, a gap across sessions, a long silence and a price that never moves are not errors."""
    assert run(build(kind, example), tape(10)[:1]) is not None
    slices = tape(11)
    gap = run(build(kind, example), slices[:120] + slices[290:])
    closes = random_closes(12, 320)
    closes[150:250] = np.nan
    silence = run(build(kind, example), slices_of(closes))
    constant = run(build(kind, example), slices_of(np.full((320, 4), 50.0)))
    for event in signals_of(gap + silence + constant):
        assert np.isfinite(event.z)
        assert np.isfinite(event.expected_return_frac)
    assert kind in UNTIMED or not signals_of(constant)


@every_strategy
def test_the_outlook_has_one_value_a_spread(kind: str, example: dict[str, Any]) -> None:
    """Allocators index these arrays by spread, from the first slice on."""
    strategy = build(kind, example)
    for slice_ in tape(13, 40):
        strategy.on_slice(slice_)
        outlook = strategy.outlook()
        for field in outlook.__struct_fields__:
            assert getattr(outlook, field).shape == (len(strategy.spreads),), field
        assert np.isfinite(outlook.expected_return_frac).all()


def assert_outlooks_equal(one: Outlook, other: Outlook) -> None:
    for field in one.__struct_fields__:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
