"""Round trips of spreads, from flat to flat: what each earned, on how much, and for how long."""

from __future__ import annotations

import msgspec
import numpy as np

from engine.book import Book
from engine.events import SIDES, FloatArray, Nanos, Side, SleevesMarked
from engine.ports import Layout


class Trade(msgspec.Struct, frozen=True):
    """A round trip of a spread.

    Parameters
    ----------
    ts_ns, ts_entry_ns : int
        Ends of the bars whose opens filled the way out, and the way in.
    sleeve : int
    side : Side
    gross_usd : float
        The most gross it had after any of its fills, at the closes of their bars.
    pnl_usd, costs_usd : float
        Of the trip; P&L is after costs and funding.
    """

    ts_ns: Nanos
    ts_entry_ns: Nanos
    sleeve: int
    side: Side
    gross_usd: float
    pnl_usd: float
    costs_usd: float


class RoundTrips:
    """Watches the sleeves of a book; to be shown the book after every bar.

    What a flat sleeve has earned does not move, so a trip has earned the difference between two flat moments.
    A sleeve that turns from one side to the other in one fill ends a trip and begins another: they are told
    apart at the close of that bar, and the fill's cost is the first one's. What is held at the end, and names
    of the opening book, are no round trips.

    Parameters
    ----------
    layout : Layout
    """

    def __init__(self, layout: Layout) -> None:
        n = len(layout.spreads)
        self._n = n
        self._seen = b""
        self._side: FloatArray = np.zeros(n)
        self._entry_ns = np.zeros(n, dtype=np.int64)
        self._pnl_usd: FloatArray = np.zeros(n)  # before the trip
        self._costs_usd: FloatArray = np.zeros(n)
        self._peak_usd: FloatArray = np.zeros(n)
        self._gross_usd: FloatArray = np.zeros(layout.n_sleeves)
        self._gross_bars_usd: FloatArray = np.zeros(layout.n_sleeves)
        self._bars = 0
        self._counted = 0

    def look(self, book: Book, n_bars: int = 1) -> list[Trade]:
        """Take the book as it was marked; return the trips that its last fills have ended.

        Parameters
        ----------
        book : Book
        n_bars : int
            Bars since the last look, the fills at the opening of the first of them.
        """
        seen = book.leg_quantity.tobytes()  # by far the cheapest question, and nearly always the last
        trades: list[Trade] = []
        if seen != self._seen:
            self._seen = seen
            self._count()
            marked = book.sleeves()
            self._gross_usd = np.array(marked.gross_usd)
            trades = self._turned(marked, book.leg_quantity[: 2 * self._n])
        self._bars += n_bars
        return trades

    def end_session(self, marked: SleevesMarked) -> FloatArray:
        """Return the mean gross of each sleeve over the bars since the last session, shape (n_sleeves,).

        Between fills a sleeve counts with what it was after the last one, or at the last session's close.
        """
        self._count()
        mean_usd: FloatArray = self._gross_bars_usd / max(self._counted, 1)
        self._gross_bars_usd = np.zeros_like(mean_usd)
        self._counted = 0
        self._gross_usd = np.array(marked.gross_usd)
        return mean_usd

    def _count(self) -> None:
        self._gross_bars_usd += self._gross_usd * self._bars
        self._counted += self._bars
        self._bars = 0

    def _turned(self, marked: SleevesMarked, legs: FloatArray) -> list[Trade]:
        """Compare sides with those before; a spread whose y is gone keeps its side until x has gone too."""
        y, x = legs[::2], legs[1::2]
        known = np.where(self._side != 0.0, self._side, -np.sign(x))
        side = np.where(y != 0.0, np.sign(y), np.where(x != 0.0, known, 0.0))
        trades = []
        for k in np.flatnonzero(side != self._side).tolist():
            if self._side[k] != 0.0:
                trades.append(self._trade(marked, k))
            self._entry_ns[k] = marked.ts_ns
            self._pnl_usd[k], self._costs_usd[k] = self._before(marked, k)
            self._peak_usd[k] = 0.0
        self._peak_usd = np.fmax(self._peak_usd, self._gross_usd[: self._n])
        self._side = side
        return trades

    def _before(self, marked: SleevesMarked, k: int) -> tuple[float, float]:
        """Return P&L and costs at the flat moment before a trip: its first fill has cost something."""
        if self._side[k] != 0.0:
            return marked.pnl_usd[k], marked.costs_usd[k]
        return self._pnl_usd.item(k), self._costs_usd.item(k)

    def _trade(self, marked: SleevesMarked, k: int) -> Trade:
        return Trade(
            marked.ts_ns,
            self._entry_ns.item(k),
            k,
            SIDES[int(self._side[k])],
            self._peak_usd.item(k),
            marked.pnl_usd[k] - self._pnl_usd.item(k),
            marked.costs_usd[k] - self._costs_usd.item(k),
        )
