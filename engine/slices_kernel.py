"""The policy for bars, row by row: the one place that says what happens to a bar (docs/maths/bars.md).

The same kernel judges a single live bar and a batch of a million rows from a file, so both give the same
slices to the last bit.
"""

from __future__ import annotations

from math import inf, sqrt

from engine.events import MINUTE_NS, FloatArray, IntArray
from engine.kernel import kernel

#: Verdicts; those from UNKNOWN_SYMBOL to LATE are reasons of ``BarRejected``.
ACCEPTED = 0
UNKNOWN_SYMBOL = 1
MALFORMED = 2
INCONSISTENT = 3
OFF_SESSION = 4
DUPLICATE = 5
CONFLICT = 6
LATE = 7
SUSPENDED = 8
#: Added to ACCEPTED or SUSPENDED when the bar also decided about the symbol's suspended one.
CONFIRMS = 16
DENIES = 32

#: Elements of ``clock``.
NEWEST = 0  # the latest minute that holds a bar, ns
BEFORE = 1  # the latest minute before it that holds a bar, ns
CLOSED = 2  # minutes up to this instant are closed, ns
BASE = 3  # ordinal of the first minute of ``block``; -1 until the first bar
OPEN_ORDINAL = 4  # ordinal of NEWEST
OCCUPIED = 5  # symbols with a bar in NEWEST, suspended ones included
SESSION = 6  # session of NEWEST
CLOCK_SIZE = 7

#: Rows of ``marks``, by symbol.
GOOD_TS = 0  # minute of the last good close, ns
HELD_TS = 1  # minute of the suspended bar, ns; 0 when none is
LAST_TS = 2  # minute of the last bar that took a slot, ns
PREVIOUS_TS = 3  # and of the one before
MARKS_SIZE = 4

#: Rows of ``levels``, by symbol.
GOOD_CLOSE = 0
VARIANCE = 1  # EWMA of squared one-minute close returns
HELD_CLOSE = 2
LAST = 3  # OHLCV of the bar of LAST_TS: five rows
PREVIOUS = 8  # OHLCV of the bar of PREVIOUS_TS: five rows
LEVELS_SIZE = 13

#: Elements of ``collar``.
COLLAR_FRAC = 0
COLLAR_SIGMAS = 1
DECAY = 2  # weight of the newest return in VARIANCE


@kernel
def judge(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - one pass, so that the policy reads from top to bottom
    start: int,
    ts: IntArray,
    symbol: IntArray,
    values: FloatArray,
    sessions: IntArray,
    collar: FloatArray,
    clock: IntArray,
    marks: IntArray,
    levels: FloatArray,
    block: FloatArray,
    counts: IntArray,
    verdicts: IntArray,
    references: FloatArray,
) -> int:
    """Judge rows from ``start`` on until one needs a minute beyond the block.

    Parameters
    ----------
    start : int
    ts : IntArray, shape (n_rows,)
        Ends of the minutes, ns UTC, in arrival order.
    symbol : IntArray, shape (n_rows,)
        Index in the universe; -1 when unknown.
    values : FloatArray, shape (5, n_rows)
        Open, high, low, close, volume.
    sessions : IntArray, shape (3, n_sessions)
        ``Sessions.table``.
    collar : FloatArray, shape (3,)
    clock : IntArray, shape (CLOCK_SIZE,)
        Modified.
    marks : IntArray, shape (MARKS_SIZE, n_symbols)
        Modified.
    levels : FloatArray, shape (LEVELS_SIZE, n_symbols)
        Modified.
    block : FloatArray, shape (n_minutes, 5, n_symbols)
        Accepted bars are written to the minute ``ordinal - clock[BASE]``.
    counts : IntArray, shape (n_minutes,)
        Accepted bars of each minute; modified.
    verdicts : IntArray, shape (2, n_rows)
        Output: the verdict, and the ordinal of the newest minute once the row was judged (-1 before the
        first bar); the verdict belongs in front of that minute's slice.
    references : FloatArray, shape (n_rows,)
        Output, for SUSPENDED rows only: the last good close.

    Returns
    -------
    int
        Row to continue with, once the block is closed; ``n_rows`` when all are judged.
    """
    n_rows = len(ts)
    n_sessions = sessions.shape[1]
    for i in range(start, n_rows):
        t = ts[i]
        s = symbol[i]
        o = values[0, i]
        h = values[1, i]
        lo = values[2, i]
        c = values[3, i]
        v = values[4, i]
        verdicts[1, i] = clock[OPEN_ORDINAL]

        # What the bar says by itself. Comparisons with NaN are false, so NaN is malformed.
        if s < 0:
            verdicts[0, i] = UNKNOWN_SYMBOL
            continue
        is_whole = t > 0 and t % MINUTE_NS == 0
        is_number = 0.0 < o < inf and 0.0 < h < inf and 0.0 < lo < inf and 0.0 < c < inf and 0.0 <= v < inf
        if not (is_whole and is_number):
            verdicts[0, i] = MALFORMED
            continue
        if h < lo or not (lo <= o <= h and lo <= c <= h):
            verdicts[0, i] = INCONSISTENT
            continue

        # Its session: usually that of the newest minute, otherwise the first that closes at or after it.
        k = clock[SESSION]
        if not (k < n_sessions and sessions[0, k] < t <= sessions[1, k]):
            k = 0
            end = n_sessions
            while k < end:
                middle = (k + end) // 2
                if sessions[1, middle] < t:
                    k = middle + 1
                else:
                    end = middle
            if k == n_sessions or t <= sessions[0, k]:
                verdicts[0, i] = OFF_SESSION
                continue

        # Its place in time: a slot is taken once, and only while its minute is open.
        if t <= clock[NEWEST] or t <= clock[CLOSED]:
            row = -1
            if t == marks[LAST_TS, s]:
                row = LAST
            elif t == marks[PREVIOUS_TS, s]:
                row = PREVIOUS
            if row >= 0 and t >= clock[BEFORE]:
                is_same = (
                    o == levels[row, s]
                    and h == levels[row + 1, s]
                    and lo == levels[row + 2, s]
                    and c == levels[row + 3, s]
                    and v == levels[row + 4, s]
                )
                verdicts[0, i] = DUPLICATE if is_same else CONFLICT
                continue
            if t < clock[NEWEST] or t <= clock[CLOSED]:
                verdicts[0, i] = LATE
                continue

        ordinal = sessions[2, k] + (t - sessions[0, k]) // MINUTE_NS - 1
        if clock[BASE] < 0:
            clock[BASE] = ordinal
        if ordinal - clock[BASE] >= len(block):
            return i
        if t > clock[NEWEST]:
            clock[BEFORE] = clock[NEWEST]
            clock[NEWEST] = t
            clock[OPEN_ORDINAL] = ordinal
            clock[OCCUPIED] = 0
            clock[SESSION] = k
        clock[OCCUPIED] += 1
        verdicts[1, i] = ordinal
        marks[PREVIOUS_TS, s] = marks[LAST_TS, s]
        marks[LAST_TS, s] = t
        for j in range(5):
            levels[PREVIOUS + j, s] = levels[LAST + j, s]
        levels[LAST, s] = o
        levels[LAST + 1, s] = h
        levels[LAST + 2, s] = lo
        levels[LAST + 3, s] = c
        levels[LAST + 4, s] = v

        # Its distance from the last good close, and from the suspended one if there is any.
        good = levels[GOOD_CLOSE, s]
        verdict = ACCEPTED
        if good > 0.0:
            width = collar[COLLAR_FRAC]
            jump = max(abs(o / good - 1.0), abs(c / good - 1.0))
            is_held = marks[HELD_TS, s] > 0
            if jump > width or is_held:
                width = max(width, collar[COLLAR_SIGMAS] * sqrt(levels[VARIANCE, s]))
                is_near = jump <= width
                if is_held:
                    held = levels[HELD_CLOSE, s]
                    from_held = abs(c / held - 1.0)
                    is_confirmed = max(abs(o / held - 1.0), from_held) <= width
                    if is_confirmed and (not is_near or from_held < abs(c / good - 1.0)):
                        verdict = CONFIRMS
                        levels[GOOD_CLOSE, s] = held
                        marks[GOOD_TS, s] = marks[HELD_TS, s]
                        is_near = True
                    else:
                        verdict = DENIES
                    marks[HELD_TS, s] = 0
                if not is_near:
                    verdicts[0, i] = verdict + SUSPENDED
                    references[i] = good
                    levels[HELD_CLOSE, s] = c
                    marks[HELD_TS, s] = t
                    continue
            if t - marks[GOOD_TS, s] == MINUTE_NS:
                step = c / levels[GOOD_CLOSE, s] - 1.0
                levels[VARIANCE, s] += collar[DECAY] * (step * step - levels[VARIANCE, s])

        verdicts[0, i] = verdict
        levels[GOOD_CLOSE, s] = c
        marks[GOOD_TS, s] = t
        m = ordinal - clock[BASE]
        block[m, 0, s] = o
        block[m, 1, s] = h
        block[m, 2, s] = lo
        block[m, 3, s] = c
        block[m, 4, s] = v
        counts[m] += 1
    return n_rows
