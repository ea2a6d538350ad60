"""What was wanted in vain is counted from signals, answers and what risk can measure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.events import AllocationDone, Side, Signal
from engine.sinks.unmet import Unmet
from tests.support.core import layout_of


def unmet_of(known: list[bool], weighs_returns: bool = True) -> tuple[Unmet, Any]:
    """Return the tally of a desk with the spreads A/B and C/B, and what its risk knows of A, B and C."""
    layout = layout_of("A/B", "C/B")
    market = SimpleNamespace(known=np.array(known))
    desk: Any = SimpleNamespace(
        book=SimpleNamespace(layout=layout),
        risk=SimpleNamespace(market=market),
        costs=SimpleNamespace(linear_bps=1.2),
    )
    return Unmet(desk, weighs_returns), market


def signal(spread: str, side: Side, expected_frac: float = 0.0) -> Signal:
    layout = layout_of("A/B", "C/B")
    [strategy] = {one.strategy for one in layout.spreads}
    return Signal(0, strategy, spread, side, 0.0, 1.0, expected_frac)


def answer(status: str, *binding: str) -> AllocationDone:
    return AllocationDone(0, status, 0.0, 0.0, 0.0, binding, "")


def test_bars_are_counted_while_a_leg_is_unknown() -> None:
    """Only what is wanted counts, only while risk cannot say, and of each spread by itself."""
    symbols = layout_of("A/B", "C/B").symbols
    unmet, market = unmet_of([name != "C" for name in symbols])
    unmet.on_bars(3)  # nothing is wanted yet
    unmet.on_signal(signal("A/B", Side.LONG))
    unmet.on_signal(signal("C/B", Side.SHORT))
    unmet.on_bars(2)
    market.known[:] = True
    unmet.on_bars(5)
    market.known[:] = False
    unmet.on_signal(signal("C/B", Side.FLAT))
    unmet.on_bars(1)
    unmet.on_target()
    assert {note["spread"]: note["bars"] for note in unmet.notes()} == {"A/B": 1, "C/B": 2}


def test_an_allocator_that_lacks_days_makes_wait_as_well() -> None:
    """Days for a limit on the worst of them are missing as days for a covariance are: one note for both."""
    unmet, _ = unmet_of([True] * 3)
    unmet.on_signal(signal("A/B", Side.LONG))
    unmet.on_answer(answer("bad_input", "history_return_frac"))
    unmet.on_bars(4)
    unmet.on_answer(answer("optimal"))
    unmet.on_bars(4)
    [note] = unmet.notes()  # and why nothing was traded is said by the answer itself
    assert (note["spread"], note["note"], note["bars"]) == ("A/B", "not_measured", 4)


@pytest.mark.parametrize("weighs_returns", [True, False])
def test_entries_that_never_paid(weighs_returns: bool) -> None:
    """The best of them is shown beside the way in, toward its side: a SHORT that expects -3 bp gains 3."""
    unmet, _ = unmet_of([True] * 3, weighs_returns)
    unmet.on_signal(signal("A/B", Side.LONG, 1e-4))
    unmet.on_signal(signal("C/B", Side.SHORT, -3e-4))
    unmet.on_signal(signal("C/B", Side.FLAT, 9e-4))
    unmet.on_answer(answer("optimal"))
    [note] = unmet.notes()
    assert (note["note"], note["entries"], note["answers"]) == ("allocator_no_target", 2, 1)
    assert note.get("cost_bps") == (1.2 if weighs_returns else None)
    assert note.get("expected_best_bps") == (pytest.approx(3.0) if weighs_returns else None)
    unmet.on_target()
    assert unmet.notes() == []
