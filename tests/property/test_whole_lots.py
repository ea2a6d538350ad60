"""Whatever is approved, and whatever a minute allows: no hedge loses a leg in silence, and exits end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.events import TargetRefused, TradingState
from engine.execution import Costs, fill
from engine.ports import Instrument
from tests.support.core import OpenGate, approved, book_of, layout_of, market_of, slice_of

LOTS = {"A": 1.0, "B": 10.0, "C": 0.0, "D": 0.1}
PLAIN = layout_of("A/B", "C/B", "A/D")
LAYOUT = replace(PLAIN, instruments=tuple(Instrument(name, lot=LOTS[name]) for name in PLAIN.symbols))
COSTS = Costs(0, 0, 0, participation_max_frac=0.1)
PRICES = [10.0] * 4

minutes = st.lists(
    st.tuples(
        st.lists(st.floats(-60.0, 60.0), min_size=6, max_size=6),
        st.lists(st.sampled_from([30.0, 150.0, 1e3, 1e6]), min_size=4, max_size=4),
        st.sampled_from([1.0, 1.0, 0.6, 0.1]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def is_whole(quantity: np.ndarray) -> bool:
    """Whether every leg is a multiple of its lot."""
    lots = LAYOUT.lot[LAYOUT.leg_symbol]
    count = np.divide(quantity, lots, out=np.zeros(6), where=lots > 0.0)
    return bool((np.abs(count - np.rint(count)) < 1e-6).all())


@pytest.mark.parametrize("by_sleeve", [True, False])
@given(minutes=minutes)
@settings(max_examples=60, deadline=None)
def test_hedges_keep_both_legs_and_exits_end(minutes, by_sleeve) -> None:
    """Both legs trade or neither, in whole lots, within the volume; what stays is said; zero is reached."""
    book = book_of(LAYOUT)
    book.mark(slice_of(PRICES))
    for minute, (target, volume, scale, is_exit) in enumerate(minutes, start=2):
        wanted = np.zeros(6) if is_exit else np.array(target)
        held, net = book.leg_quantity.copy(), book.quantity.copy()
        slice_ = slice_of(PRICES, minute=minute, volume=volume)
        gate, state = OpenGate(scale), TradingState.ACTIVE
        events = fill(approved(wanted), by_sleeve, slice_, book, gate, market_of(4), state, COSTS)
        step, done = (wanted - held).reshape(3, 2), (book.leg_quantity - held).reshape(3, 2)
        is_pair = (np.abs(step) > 1e-6).all(axis=1)
        assert (np.abs(done) <= np.abs(step) * (1.0 + 1e-9) + 1e-9).all()
        if not (is_exit and by_sleeve):  # of an exit a leg may go ahead of the other
            assert ((done[is_pair] != 0.0).all(axis=1) | (done[is_pair] == 0.0).all(axis=1)).all()
        assert (np.abs(book.quantity - net) <= 0.1 * np.array(volume) * (1.0 + 1e-9)).all()
        assert is_whole(book.leg_quantity)
        stays = is_pair & (done == 0.0).all(axis=1)
        assert not stays.any() or any(isinstance(event, TargetRefused) for event in events)
    wide = slice_of(PRICES, minute=99, volume=1e9)
    fill(approved(np.zeros(6)), by_sleeve, wide, book, OpenGate(), market_of(4), TradingState.ACTIVE, COSTS)
    assert book.is_flat
