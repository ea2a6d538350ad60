"""Why a problem file has no answer: limits that cannot hold together, and how far each would have to give.

A set of limits is irreducible if it is a conflict, and is none once any one of them is left out. It is found
by leaving out one limit after the other (the deletion filter of Chinneck and Dravnieks, 1991), a program for
each. How far a limit has to give, with all others in place, is one more: what it limits is minimised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from strategies.allocators.names import NamesProblem, Weighting
from strategies.allocators.names_program import NamesProgram, constraints_of

_FEASIBILITY: Final = Weighting(0.0, 0.0, 0.0)
#: What a limit is when it is left out.
_ABSENT: Final[Mapping[str, Any]] = {
    "gross_max_frac": np.inf,
    "net_max_frac": np.inf,
    "name_max_frac": np.inf,
    "long_only": False,
    "fully_invested": False,
    "return_min_frac": -np.inf,
    "worst_day_max_loss_frac": np.inf,
}
#: What a solver says of zero is no larger.
_ZERO: Final = 1e-8
_GIVES: Final = {
    "gross_max_frac": "gross_max_frac of at least {:.6g}",
    "net_max_frac": "net_max_frac of at least {:.6g}",
    "name_max_frac": "name_max_frac of at least {:.6g}",
    "long_only": "a short of {:.6g} in the place of long_only",
    "fully_invested": "weights that sum to {:.6g} in the place of fully_invested",
    "return_min_frac": "return_min_frac of at most {:.6g}",
    "worst_day_max_loss_frac": "worst_day_max_loss_frac of at least {:.6g}",
}


class Conflict(msgspec.Struct, frozen=True):
    """A limit that cannot hold together with the others of its set.

    Parameters
    ----------
    limit : str
        Its key in the file.
    value : float or bool
        As it is.
    needed : float or None
        As it would have to be, all others unchanged; None if that alone would not do. Of a limit that has an
        entry for each name both are multiples of what the file has, so ``value`` is 1.
    gives : str
        The same in words; empty if that alone would not do.
    """

    limit: str
    value: float | bool
    needed: float | None
    gives: str

    def document(self) -> dict[str, Any]:
        """Return what an answer says of it."""
        return {"limit": self.limit, "value": self.value, "needed": self.needed}


def irreducible(limits: Sequence[str], is_feasible: Callable[[frozenset[str]], bool]) -> list[str]:
    """Return limits that conflict, and of which none can be spared.

    Parameters
    ----------
    limits : sequence of str
        A conflict.
    is_feasible : callable
        Whether limits can hold together.

    Examples
    --------
    >>> irreducible(["a", "b", "c", "d"], lambda held: not {"b", "d"} <= held)
    ['b', 'd']
    """
    kept = list(limits)
    for limit in limits:
        rest = [other for other in kept if other != limit]
        if not is_feasible(frozenset(rest)):
            kept = rest
    return kept


def conflicts_of(problem: NamesProblem) -> list[Conflict]:
    """Return the limits of an infeasible problem that cannot hold together.

    No limit spans two periods, so one period of a plan tells all.
    """
    problem = msgspec.structs.replace(problem, steps=1, decay_frac=1.0, ends_flat=False)
    limits = [name for name, absent in _ABSENT.items() if getattr(problem, name) != absent]

    def is_feasible(held: frozenset[str]) -> bool:
        left_out = {name: _ABSENT[name] for name in limits if name not in held}
        eased = msgspec.structs.replace(problem, **left_out)
        return NamesProgram(eased).solve(_FEASIBILITY).status != "infeasible"

    found = []
    for name in irreducible(limits, is_feasible):
        needed = _needed(problem, name)
        gives = "" if needed is None else _GIVES[name].format(needed)
        found.append(Conflict(name, getattr(problem, name), needed, gives))
    return found


def explained(conflicts: Sequence[Conflict]) -> list[str]:
    """Say in sentences which limits conflict, and what would do."""
    named = ", ".join(c.limit if isinstance(c.value, bool) else f"{c.limit} = {c.value:g}" for c in conflicts)
    ways = [c.gives for c in conflicts if c.gives]
    cure = f"{'Any one of these' if len(ways) > 1 else 'This'} would do: {'; '.join(ways)}."
    none = "Easing one of them alone would not do: further limits conflict, too."
    return [f"These limits cannot hold together: {named}.", cure if ways else none]


def _needed(problem: NamesProblem, limit: str) -> float | None:
    """Minimise what a limit is about, the others in place; a least return is maximised."""
    import cvxpy

    cp: Any = cvxpy  # its atoms are assembled at import and unknown to type checkers
    w = cp.Variable(len(problem.symbols))
    total = cp.sum(w)
    measures: dict[str, Callable[[], Any]] = {
        "gross_max_frac": lambda: cp.norm1(w),
        "net_max_frac": lambda: cp.abs(total),
        "name_max_frac": lambda: cp.norm_inf(w),
        "long_only": lambda: cp.max(-w),
        "fully_invested": lambda: cp.abs(total - 1.0),
        "return_min_frac": lambda: -(problem.expected_return_frac @ w),
        "worst_day_max_loss_frac": lambda: (
            -cp.sum_smallest(problem.history_return_frac @ w, problem.worst_days) / problem.worst_days
        ),
    }
    eased = msgspec.structs.replace(problem, **{limit: _ABSENT[limit]})
    program = cp.Problem(cp.Minimize(measures[limit]()), constraints_of(eased, w))
    program.solve(solver=cp.CLARABEL)
    if program.status not in {cp.OPTIMAL, cp.OPTIMAL_INACCURATE}:
        return None
    reached = {"fully_invested": total.value, "return_min_frac": -program.value}.get(limit, program.value)
    return 0.0 if abs(reached) < _ZERO else float(f"{reached:.6g}")  # the solver knows no more of it
