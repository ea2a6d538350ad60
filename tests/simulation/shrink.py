"""From a world that fails to the smallest that fails in the same way: parts are left out while it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from tests.simulation.market import messages_of
from tests.simulation.plan import Knobs, Plan
from tests.simulation.world import Outcome, simulate

T = TypeVar("T")
#: Worlds that are tried: shrinking is worth a minute, not an hour.
_TRIALS: Final = 400


class _TriedEnoughError(Exception):
    """Enough has been tried."""


def smallest(plan: Plan, outcome: Outcome, trials: int = _TRIALS) -> tuple[Plan, Outcome]:
    """Shrink a plan that breaks a promise to one that breaks the same promise with less.

    Parameters
    ----------
    plan : Plan
    outcome : Outcome
        Its own.
    trials : int
        Worlds that may be tried.

    Returns
    -------
    Plan, Outcome
    """
    promise, found, left = outcome.fault.partition(":")[0], (plan, outcome), [trials]

    def fails(tried: Plan) -> bool:
        nonlocal found
        if not left[0]:
            raise _TriedEnoughError
        left[0] -= 1
        became = simulate(tried)
        if became.fault.partition(":")[0] != promise:
            return False
        found = (tried, became)
        return True

    try:
        for kept in (_faults, _knobs, _bars, _messages, _faults):
            kept(lambda: found[0], fails)
    except _TriedEnoughError:
        pass
    return found


def _faults(now: Callable[[], Plan], fails: Callable[[Plan], bool]) -> None:
    plan = now()
    _fewest(plan.faults, lambda kept: fails(msgspec.structs.replace(plan, faults=tuple(kept))))


def _bars(now: Callable[[], Plan], fails: Callable[[Plan], bool]) -> None:
    plan = now()
    _fewest(plan.bar_faults, lambda kept: fails(msgspec.structs.replace(plan, bar_faults=tuple(kept))))


def _messages(now: Callable[[], Plan], fails: Callable[[Plan], bool]) -> None:
    plan = now()
    everything = range(len(messages_of(plan)))

    def still(kept: Sequence[int]) -> bool:
        return fails(msgspec.structs.replace(plan, left_out=frozenset(everything) - frozenset(kept)))

    _fewest(everything, still)


def _knobs(now: Callable[[], Plan], fails: Callable[[Plan], bool]) -> None:
    """Set what can be as usual."""
    usual = Knobs()
    for name in Knobs.__struct_fields__:
        plan = now()
        if getattr(plan.knobs, name) != getattr(usual, name):
            knobs = msgspec.structs.replace(plan.knobs, **{name: getattr(usual, name)})
            fails(msgspec.structs.replace(plan, knobs=knobs))


def _fewest(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Leave out runs of items, long ones first, while it still fails (delta debugging)."""
    kept = list(items)
    size = len(kept)
    while size:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if fails(fewer):
                kept = fewer
            else:
                at += size
        size //= 2
    return kept
