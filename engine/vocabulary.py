"""The few words that messages are made of: sides, trading states, reasons of rejection, numbers of things."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Side(StrEnum):
    """Position a spread wants: LONG is long y and short x."""

    FLAT = "FLAT"
    LONG = "LONG"
    SHORT = "SHORT"


#: ``Side`` by its sign: ``SIDES[0]`` is FLAT, ``SIDES[1]`` LONG, ``SIDES[-1]`` SHORT.
SIDES: Final = (Side.FLAT, Side.LONG, Side.SHORT)


class TradingState(StrEnum):
    """What may trade: everything, only what lowers VaR, or nothing."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


#: Reasons of halts of which the latch knows more than that they halt: the state was shown to be wrong, which
#: lasts until a new process has computed it anew.
STATE_MISMATCH: Final = "STATE_MISMATCH"
STATE_RECOMPUTED: Final = "STATE_RECOMPUTED"


class Reject(StrEnum):
    """Why a bar was not accepted (quantities and conventions in docs/maths/bars.md)."""

    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    LATE = "LATE"
    MALFORMED = "MALFORMED"
    INCONSISTENT = "INCONSISTENT"
    COLLAR = "COLLAR"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    OFF_SESSION = "OFF_SESSION"
    UNDECODABLE = "UNDECODABLE"
    FUTURE = "FUTURE"


def counted(count: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, "halt"), counted(1_200, "signal")
    ('1 halt', '1,200 signals')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
