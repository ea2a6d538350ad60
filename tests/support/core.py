"""Small builders for tests of the core: every argument has a boring default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.book import Book
from engine.carry import Funding
from engine.events import MINUTE_NS, BarSlice, FloatArray, Nanos, TargetApproved, TradingState
from engine.oversight import Change, Market, Verdict
from engine.ports import Instrument, Layout, Spread

T0_NS: Nanos = 1_519_050_600_000_000_000  # 2018-02-19 14:30:00 UTC


def layout_of(*pairs: str, singles: Sequence[str] = (), lot: float = 0.0) -> Layout:
    """Lay out spreads "Y/X" and outrights "Y" of one strategy ``s``, and single names of an opening book."""
    spreads = tuple(Spread("s", pair, *pair.split("/")) for pair in pairs)
    symbols = tuple(dict.fromkeys([*(n for s in spreads for n in (s.y, s.x or s.y)), *singles]))
    legs = [(symbols.index(name), k) for k, s in enumerate(spreads) for name in (s.y, s.x or s.y)]
    legs += [(symbols.index(name), len(spreads) + k) for k, name in enumerate(singles)]
    leg_symbol, leg_sleeve = np.array(legs, dtype=np.int64).T.copy()
    instruments = tuple(Instrument(symbol, lot=lot) for symbol in symbols) if lot else ()
    return Layout(symbols, spreads, leg_symbol, leg_sleeve, len(spreads) + len(singles), instruments)


def slice_of(
    close: Sequence[float],
    minute: int = 1,
    session: int = 17_581,
    open_: Sequence[float] | None = None,
    volume: float | Sequence[float] = 1e6,
    suspect: tuple[int, ...] = (),
) -> BarSlice:
    """Build one minute; opens equal closes unless given; NaN closes make NaN columns."""
    closes = np.asarray(close, dtype=np.float64)
    opens = closes if open_ is None else np.asarray(open_, dtype=np.float64)
    volumes = np.where(np.isnan(closes), np.nan, np.broadcast_to(np.asarray(volume, float), closes.shape))
    high, low = np.fmax(opens, closes), np.fmin(opens, closes)
    bars = np.stack([opens, high, low, closes, volumes])
    ts_ns = T0_NS + ((session - 17_581) * 1440 + minute) * MINUTE_NS
    return BarSlice(ts_ns, session, minute, bars, suspect, int((~np.isnan(closes)).sum()))


def book_of(
    layout: Layout,
    equity_usd: float = 1_000_000.0,
    opening: Sequence[float] | None = None,
    funding: Funding | None = None,
    price_age_max_min: float = 15,
) -> Book:
    """Build a book, flat and free of funding by default."""
    quantity = np.zeros(len(layout.leg_symbol)) if opening is None else np.asarray(opening, dtype=np.float64)
    return Book(layout, equity_usd, quantity, funding or Funding(0, 0, 0, 0), price_age_max_min)


def approved(leg_quantity: Sequence[float], ts_ns: Nanos = T0_NS) -> TargetApproved:
    """Make a permission, as the gate would."""
    return TargetApproved(ts_ns, tuple(leg_quantity), (), 1.0, 0.0)


class OpenGate:
    """A gate for tests of what lies behind it: grants a scale once, and what is then asked in full."""

    def __init__(self, scale: float = 1.0, reason: str = "") -> None:
        self.scale = scale
        self.reason = reason
        self.asked: list[FloatArray] = []

    def recheck(self, change: Change, trading_state: TradingState, is_flatten: bool) -> Verdict:
        """Note the prices asked about and answer."""
        self.asked.append(change.price_usd.copy())
        scale = self.scale if len(self.asked) == 1 else 1.0
        return Verdict(np.full(len(change.held), scale), 0.0, self.reason)

    def judge(self, *args: Any) -> Any:
        raise AssertionError("not asked in these tests")

    def reissue(self, fields: Sequence[Any]) -> TargetApproved:
        return TargetApproved(*fields)

    def set_budget(self, var_budget_usd: float) -> None:
        raise AssertionError("not asked in these tests")


def market_of(n: int) -> Market:
    """Build a market of independent symbols with 2% a day."""
    return Market(np.eye(n) * 0.02, np.ones(n, dtype=np.bool_))
