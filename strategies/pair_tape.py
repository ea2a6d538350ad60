"""Prices of pairs, minute by minute: what a pair strategy sees of a slice, and the minutes it remembers.

One Numba call takes the slice's closes to log prices (or prices in units of a reference), marks the opening
observation of each pair in a session, and appends the minute to a ring.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np

from engine.events import CLOSE as CLOSE_ROW
from engine.events import BarSlice, FloatArray, IntArray
from engine.kernel import kernel
from engine.ports import State

#: Row of ``BarSlice.bars`` that is read (bound here, because a cached kernel freezes it).
CLOSE: Final = CLOSE_ROW

#: Rows of ``PairTape.prices``: model prices of this minute (NaN when missing), whether it is the pair's first
#: observation of the session, whether that is still to come, and the reference prices (USD).
Y: Final = 0
X: Final = 1
OPEN: Final = 2
PENDING: Final = 3
REF_Y: Final = 4
REF_X: Final = 5
PRICE_ROWS: Final = 6

#: Entries of ``PairTape.clock``.
SESSION: Final = 0
SLOT: Final = 1
SLICES: Final = 2
IS_LOG: Final = 3
OPEN_MODE: Final = 4
BAR_MIN: Final = 5
CLOCK_SIZE: Final = 6

#: Values of ``clock[OPEN_MODE]``: opens are not special, are marked, or are hidden from the model.
PLAIN: Final = 0
MARK: Final = 1
HIDE: Final = 2

Prices = Literal["log", "raw"]


@kernel
def gather(
    bars: FloatArray,
    legs: IntArray,
    prices: FloatArray,
    ring: FloatArray,
    clock: IntArray,
    session: int,
    minute: int,
) -> None:
    """Take one minute of closes to pair prices and append it to the ring.

    Parameters
    ----------
    bars : FloatArray, shape (5, n_symbols)
        ``BarSlice.bars``; only closes (USD) are read.
    legs : IntArray, shape (2, n_pairs)
        Column in ``bars`` of y and of x.
    prices : FloatArray, shape (PRICE_ROWS, n_pairs)
        Written: rows Y and X, OPEN and PENDING; REF_Y and REF_X where they are NaN.
    ring : FloatArray, shape (2 n_pairs + 1, capacity)
        Written at the current slot: y of every pair, x of every pair, 1 if the minute opens a session and
        opens are special. It keeps opening observations that the model does not see.
    clock : IntArray, shape (CLOCK_SIZE,)
        Written: SESSION, SLOT (of this minute), SLICES.
    session, minute : int
        Of the slice.
    """
    n_pairs = legs.shape[1]
    is_log = clock[IS_LOG] == 1
    mode = clock[OPEN_MODE]
    last = clock[SESSION]
    opens = session != last and (last >= 0 or minute <= clock[BAR_MIN])
    slot = clock[SLOT] + 1
    if slot == ring.shape[1]:
        slot = 0
    for k in range(n_pairs):
        y = bars[CLOSE, legs[0, k]]
        x = bars[CLOSE, legs[1, k]]
        if is_log:
            y = math.log(y)
            x = math.log(x)
        else:
            if math.isnan(prices[REF_Y, k]):
                prices[REF_Y, k] = y
            if math.isnan(prices[REF_X, k]):
                prices[REF_X, k] = x
            y = y / prices[REF_Y, k]
            x = x / prices[REF_X, k]
        ring[k, slot] = y
        ring[n_pairs + k, slot] = x
        if opens and mode != PLAIN:
            prices[PENDING, k] = 1.0
        is_open = 0.0
        if prices[PENDING, k] != 0.0 and not (math.isnan(y) or math.isnan(x)):
            is_open = 1.0
            prices[PENDING, k] = 0.0
            if mode == HIDE:
                y = math.nan
                x = math.nan
        prices[OPEN, k] = is_open
        prices[Y, k] = y
        prices[X, k] = x
    ring[2 * n_pairs, slot] = 1.0 if opens and mode != PLAIN else 0.0
    clock[SESSION] = session
    clock[SLOT] = slot
    clock[SLICES] += 1


class PairTape:
    """The current and the last ``capacity`` minutes of some pairs.

    Parameters
    ----------
    legs : IntArray, shape (2, n_pairs)
        Column of y and of x in every slice.
    prices : {"log", "raw"}
        Model prices: logarithms, or USD divided by the reference.
    open_mode : {PLAIN, MARK, HIDE}
        What the first observation of a pair in a session is to the model.
    capacity : int
        Minutes to remember.
    reference : {"first_price", "usd"}
        Raw prices are stated in units of the first price seen of each leg, or of 1 USD.
    bar_min : int
        Minutes of a bar.

    Attributes
    ----------
    prices : FloatArray, shape (PRICE_ROWS, n_pairs)
        This minute; one array for the life of the tape, so that views of it stay valid.
    ring : FloatArray, shape (2 n_pairs + 1, capacity)
        See `gather`; unused slots are NaN.
    """

    def __init__(
        self,
        legs: IntArray,
        prices: Prices,
        open_mode: int,
        capacity: int,
        reference: Literal["first_price", "usd"] = "usd",
        bar_min: int = 1,
    ) -> None:
        n_pairs = legs.shape[1]
        self.legs = legs
        self.prices: FloatArray = np.full((PRICE_ROWS, n_pairs), np.nan)
        self.prices[OPEN : PENDING + 1] = 0.0
        if prices == "log" or reference == "usd":
            self.prices[REF_Y:] = 1.0
        self.ring: FloatArray = np.full((2 * n_pairs + 1, capacity), np.nan)
        self.clock: IntArray = np.array([-1, -1, 0, prices == "log", open_mode, bar_min], dtype=np.int64)

    @property
    def slices(self) -> int:
        """Minutes taken so far."""
        return int(self.clock[SLICES])

    def take(self, slice_: BarSlice) -> None:
        """Take one minute of the tape."""
        gather(slice_.bars, self.legs, self.prices, self.ring, self.clock, slice_.session, slice_.minute)

    def first(self, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the first ``n`` minutes as the model saw them; nothing may have been overwritten yet.

        Returns
        -------
        y, x, opens : FloatArray, shape (n_pairs, n)
            Rows Y, X and OPEN of `prices`, minute by minute.
        """
        n_pairs = self.legs.shape[1]
        y = self.ring[:n_pairs, :n].copy()
        x = self.ring[n_pairs:-1, :n].copy()
        mode = self.clock[OPEN_MODE]
        opens = np.zeros_like(y)
        if mode != PLAIN:
            opens = opening_observations(y, x, self.ring[-1, :n])
        if mode == HIDE:
            y[opens == 1.0] = np.nan
            x[opens == 1.0] = np.nan
        return y, x, opens

    def trim(self, capacity: int) -> None:
        """Forget all but the last ``capacity`` minutes, and remember no more than that from now on."""
        order = np.roll(np.arange(self.ring.shape[1]), -int(self.clock[SLOT]) - 1)
        self.ring = np.ascontiguousarray(self.ring[:, order[-capacity:]])
        self.clock[SLOT] = capacity - 1

    def state(self) -> State:
        """Return prices, ring and clock."""
        return {"prices": self.prices.copy(), "ring": self.ring.copy(), "clock": self.clock.copy()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self.prices[:] = state["prices"]
        self.ring = np.array(state["ring"], dtype=np.float64, order="C")
        self.clock[:] = state["clock"]


def opening_observations(y: FloatArray, x: FloatArray, session_opens: FloatArray) -> FloatArray:
    """Mark each pair's first observation of a session, as `gather` does minute by minute.

    Parameters
    ----------
    y, x : FloatArray, shape (n_pairs, n_minutes)
        NaN where missing.
    session_opens : FloatArray, shape (n_minutes,)
        1 at the first minute of a session.

    Returns
    -------
    FloatArray, shape (n_pairs, n_minutes)
        1 at opening observations, else 0.
    """
    observed = ~(np.isnan(y) | np.isnan(x))
    marks = np.zeros_like(y)
    starts = np.flatnonzero(session_opens == 1.0)
    for start, stop in zip(starts, [*starts[1:], y.shape[1]], strict=True):
        day = observed[:, start:stop]
        has_any = day.any(axis=1)
        marks[has_any, start + day.argmax(axis=1)[has_any]] = 1.0
    return marks
