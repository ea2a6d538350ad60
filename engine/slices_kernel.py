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
SESSION = 5  # session of NEWEST
CLOCK_SIZE = 6

#: Rows of ``marks``, by symbol.
GOOD_TS = 0  # minute of the last good close, ns
HELD_TS = 1  # minute of the suspended bar, ns; 0 when none is
LAST_TS = 2  # minute of the last bar that took a slot, ns
PREVIOUS_TS = 3  # and of the one before
MARKS_SIZE = 4

#: Rows of ``levels``, by symbol.
GOOD_CLOSE = 0
VARIANCE = 1  # EWMA of squared close returns from bar to bar
HELD_CLOSE = 2
LAST = 3  # OHLCV of the bar of LAST_TS: five rows
PREVIOUS = 8  # OHLCV of the bar of PREVIOUS_TS: five rows
LEVELS_SIZE = 13

#: Elements of ``collar``.
COLLAR_FRAC = 0
COLLAR_SIGMAS = 1
DECAY = 2  # weight of the newest return in VARIANCE


@kernel
def own_fault(t: int, o: float, h: float, lo: float, c: float, v: float) -> int:
    """Judge a bar by itself; comparisons with NaN are false, so NaN is malformed."""
    is_whole = t > 0 and t % MINUTE_NS == 0
    is_number = 0.0 < o < inf and 0.0 < h < inf and 0.0 < lo < inf and 0.0 < c < inf and 0.0 <= v < inf
    if not (is_whole and is_number):
        return MALFORMED
    return ACCEPTED if lo <= o <= h and lo <= c <= h else INCONSISTENT


@kernel
def session_of(t: int, sessions: IntArray, newest: int) -> int:
    """Find the session of a minute: usually that of the newest one, else by bisection; -1 for none."""
    n_sessions = sessions.shape[1]
    if newest < n_sessions and sessions[0, newest] < t <= sessions[1, newest]:
        return newest
    k = 0
    end = n_sessions
    while k < end:
        middle = (k + end) // 2
        if sessions[1, middle] < t:
            k = middle + 1
        else:
            end = middle
    return -1 if k == n_sessions or t <= sessions[0, k] else k


@kernel
def slot_fault(t: int, s: int, bar: FloatArray, clock: IntArray, marks: IntArray, levels: FloatArray) -> int:
    """Judge a bar by its place in time: a slot is taken once, and only while its minute is open."""
    if t > clock[NEWEST] and t > clock[CLOSED]:
        return ACCEPTED
    row = -1
    if t == marks[LAST_TS, s]:
        row = LAST
    elif t == marks[PREVIOUS_TS, s]:
        row = PREVIOUS
    if row >= 0 and t >= clock[BEFORE]:
        for j in range(5):
            if bar[j] != levels[row + j, s]:
                return CONFLICT
        return DUPLICATE
    return LATE if t < clock[NEWEST] or t <= clock[CLOSED] else ACCEPTED


@kernel
def collar_verdict(
    t: int, s: int, o: float, c: float, step_ns: int, collar: FloatArray, marks: IntArray, levels: FloatArray
) -> int:
    """Judge a bar by its distance from the last good close, and from the suspended one if there is any.

    Modifies what is known of the suspended bar; the caller notes an accepted close. Of returns those over
    ``step_ns`` count for the variance; of 0 none does.
    """
    good = levels[GOOD_CLOSE, s]
    if not good > 0.0:
        return ACCEPTED
    verdict = ACCEPTED
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
            levels[HELD_CLOSE, s] = c
            marks[HELD_TS, s] = t
            return verdict + SUSPENDED
    if t - marks[GOOD_TS, s] == step_ns:
        step = c / levels[GOOD_CLOSE, s] - 1.0
        levels[VARIANCE, s] += collar[DECAY] * (step * step - levels[VARIANCE, s])
    return verdict


@kernel
def judge(  # noqa: PLR0913, PLR0917 - one call a batch; what it changes are arrays of their own
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
    sessions : IntArray, shape (4, n_sessions)
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
    for i in range(start, n_rows):
        t = ts[i]
        s = symbol[i]
        bar = values[:, i]
        verdicts[1, i] = clock[OPEN_ORDINAL]
        fault = UNKNOWN_SYMBOL if s < 0 else own_fault(t, bar[0], bar[1], bar[2], bar[3], bar[4])
        k = -1
        if fault == ACCEPTED:
            k = session_of(t, sessions, clock[SESSION])
            if k < 0:
                fault = OFF_SESSION
            elif t != sessions[1, k] and (t - sessions[0, k]) % sessions[3, k] != 0:
                fault = MALFORMED  # within a bar, not at the end of one
            else:
                fault = slot_fault(t, s, bar, clock, marks, levels)
        if fault != ACCEPTED:
            verdicts[0, i] = fault
            continue

        bar_ns = sessions[3, k]
        ordinal = sessions[2, k] + (t - sessions[0, k] + bar_ns - 1) // bar_ns - 1
        if clock[BASE] < 0:
            clock[BASE] = ordinal
        minute = ordinal - clock[BASE]
        if minute >= len(block):
            return i
        if t > clock[NEWEST]:
            clock[BEFORE] = clock[NEWEST]
            clock[NEWEST] = t
            clock[OPEN_ORDINAL] = ordinal
            clock[SESSION] = k
        verdicts[1, i] = ordinal
        marks[PREVIOUS_TS, s] = marks[LAST_TS, s]
        marks[LAST_TS, s] = t
        for j in range(5):
            levels[PREVIOUS + j, s] = levels[LAST + j, s]
            levels[LAST + j, s] = bar[j]

        good = levels[GOOD_CLOSE, s]
        # A session of one bar has no step within it: nights are no measure of what a bar may do.
        step_ns = bar_ns if sessions[1, k] - sessions[0, k] > bar_ns else 0
        verdict = collar_verdict(t, s, bar[0], bar[3], step_ns, collar, marks, levels)
        verdicts[0, i] = verdict
        if verdict & SUSPENDED:
            references[i] = good
            continue
        levels[GOOD_CLOSE, s] = bar[3]
        marks[GOOD_TS, s] = t
        for j in range(5):
            block[minute, j, s] = bar[j]
        counts[minute] += 1
    return n_rows
