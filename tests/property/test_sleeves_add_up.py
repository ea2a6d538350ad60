"""What the sleeves earn is what the book earns: nothing is attributed twice or to nobody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.carry import Funding
from engine.events import TradingState
from engine.execution import Costs, fill
from engine.ports import Instrument
from tests.support.core import OpenGate, approved, book_of, layout_of, market_of, slice_of

LAYOUT = replace(
    layout_of("A/B", "B/C", "A", singles=("C", "D")),
    instruments=(
        Instrument("A", income_frac=0.04),
        Instrument("B", borrow_bps=2_000.0, income_frac=0.01),
        Instrument("C"),
        Instrument("D", borrow_bps=0.0, income_frac=-0.01),
    ),
)
N_LEGS, N_SYMBOLS = len(LAYOUT.leg_symbol), len(LAYOUT.symbols)


def _a_day_usd(what: Instrument, held_usd: float) -> float:
    """Return what a holding receives for a day, from its own terms alone."""
    fee_frac = 0.0040 if what.borrow_bps is None else what.borrow_bps / 1e4
    rate_frac = 0.041 if held_usd > 0.0 else 0.036 - 0.0025 - fee_frac
    return held_usd * (what.income_frac / 365.0 - rate_frac / 360.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_sleeves_add_up_to_the_book(seed: int) -> None:
    """Over random days of trades, shared legs, missing prices and nights, to a millionth of a dollar.

    Every name has a carry of its own, and the book receives what its names do.
    """
    rng = np.random.default_rng(seed)
    opening = np.zeros(N_LEGS)
    opening[6:] = rng.integers(-500, 500, 2)
    book = book_of(LAYOUT, opening=opening, funding=Funding(0.036, 50, 25, 40))
    price = rng.uniform(20.0, 200.0, N_SYMBOLS)
    day, received_usd = 17_581, 0.0
    for minute in range(1, 13):
        price *= np.exp(0.01 * rng.standard_normal(N_SYMBOLS))
        close = np.where(rng.random(N_SYMBOLS) < 0.2, np.nan, price)
        slice_ = slice_of(close, minute=minute, session=day)
        if rng.random() < 0.6:
            target = np.where(rng.random(N_LEGS) < 0.5, rng.integers(-900, 900, N_LEGS), book.leg_quantity)
            # An unpriced symbol is not traded: the gate sees to that.
            target = np.where(np.isnan(book.price_usd[LAYOUT.leg_symbol]), book.leg_quantity, target)
            gate, market = OpenGate(), market_of(N_SYMBOLS)
            fill(approved(target), True, slice_, book, gate, market, TradingState.ACTIVE, Costs())
        nights = max(0, day - book.session) if book.session >= 0 else 0
        received_usd += nights * sum(map(_a_day_usd, LAYOUT.instruments, book.holdings_usd.tolist()))
        book.mark(slice_)
        assert book.funding_usd == pytest.approx(received_usd, abs=1e-9)
        day += int(rng.choice([0, 0, 1, 3]))
    marked = book.sleeves()
    if np.isnan(book.price_usd[book.quantity != 0.0]).any():
        return  # an opening position that never had a price is worth nothing yet
    assert sum(marked.pnl_usd) == pytest.approx(book.equity_usd - 1_000_000.0, abs=1e-6)
    assert sum(marked.costs_usd) == pytest.approx(book.costs_usd, abs=1e-9)
    again = book_of(LAYOUT, funding=Funding(0.036, 50, 25, 40))
    again.restore(book.state())
    assert again.sleeves() == marked
