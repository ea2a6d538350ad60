"""When a spread changes its side: the state machine FLAT, LONG, SHORT (docs/maths/signals.md)."""

from __future__ import annotations

import math
from typing import Final

from engine.events import FloatArray
from engine.kernel import kernel

#: Rows of a book of sides, one column a pair: 1 LONG, 0 FLAT, -1 SHORT; whether a stop bars re-entry; minutes
#: since entry; whether the pair may signal at all; whether this minute changed its side.
SIDE: Final = 0
LOCKED: Final = 1
HELD_MIN: Final = 2
ENABLED: Final = 3
CHANGED: Final = 4
BOOK_ROWS: Final = 5

#: Entries of the rules: thresholds of |z|, minutes (infinite when unused), 1 for the exit rule ``abs``.
ENTRY: Final = 0
EXIT: Final = 1
STOP: Final = 2
HOLD_MAX_MIN: Final = 3
IS_ABS: Final = 4
RULES_SIZE: Final = 5


@kernel
def decide(z: FloatArray, quiet: FloatArray, book: FloatArray, rules: FloatArray) -> int:
    """Move every pair's side by one minute.

    FLAT: LONG when z < -entry, SHORT when z > entry. LONG closes at z >= -exit and SHORT at z <= exit, so
    that a jump across zero closes too (rule ``abs``: both close at |z| <= exit). Any position closes when
    |z| > stop or after ``HOLD_MAX_MIN`` minutes, and then the pair may not enter again before |z| <= exit.
    A minute that closes never opens the other side. Where z is NaN or the minute is quiet nothing changes,
    except that the minutes of a position count on.

    Parameters
    ----------
    z : FloatArray, shape (n_pairs,)
        Of this minute; NaN where there is no observation.
    quiet : FloatArray, shape (n_pairs,)
        Not 0 where this minute must not signal.
    book : FloatArray, shape (BOOK_ROWS, n_pairs)
        Read and written in place.
    rules : FloatArray, shape (RULES_SIZE,)

    Returns
    -------
    int
        How many pairs changed side; row CHANGED says which.
    """
    n_changed = 0
    for k in range(z.size):
        side = book[SIDE, k]
        book[CHANGED, k] = 0.0
        if side != 0.0:
            book[HELD_MIN, k] += 1.0
        zk = z[k]
        if math.isnan(zk) or quiet[k] != 0.0 or book[ENABLED, k] == 0.0:
            continue
        size = abs(zk)
        if side == 0.0:
            if size <= rules[EXIT]:
                book[LOCKED, k] = 0.0
            if size > rules[ENTRY] and book[LOCKED, k] == 0.0:
                book[SIDE, k] = -1.0 if zk > 0.0 else 1.0
                book[HELD_MIN, k] = 0.0
                book[CHANGED, k] = 1.0
                n_changed += 1
            continue
        is_stopped = size > rules[STOP]
        is_done = size <= rules[EXIT] if rules[IS_ABS] != 0.0 else side * zk >= -rules[EXIT]
        if is_stopped or is_done or book[HELD_MIN, k] >= rules[HOLD_MAX_MIN]:
            book[SIDE, k] = 0.0
            book[LOCKED, k] = 1.0 if is_stopped or not is_done else 0.0
            book[CHANGED, k] = 1.0
            n_changed += 1
    return n_changed
