"""The convex program of the book: stated in cvxpy, compiled once per structure, solved by Clarabel.

One statement serves every allocator that solves: a plan of one step is mean-variance, of several it is
multi-period; with days of history the mean of the worst of them is limited. ``compiled`` turns it into maps.

Units: sizes, weights and caps are fractions of equity; returns and costs are in basis points; sigma, the
daily volatility of the book, is in percent, so that risk * sigma^2 is in basis points as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from engine.errors import InvariantError
from engine.events import FloatArray, IntArray
from strategies.allocators.compiled import Compiled, compile_statement

#: Clarabel's settings, tried in this order. No time limit: an answer may not depend on the clock. The gap is
#: in basis points of equity, so even the second attempt is far finer than a cent on a million.
ATTEMPTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("clarabel", {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}),
    (
        "clarabel_patient",
        {
            "tol_gap_abs": 1e-7,
            "tol_gap_rel": 1e-7,
            "tol_feas": 1e-8,
            "max_step_fraction": 0.9,
            "iterative_refinement_max_iter": 50,
            "max_iter": 500,
        },
    ),
)


#: By how much a floor that is out of reach is missed further, as a fraction of it: room for the solver, whose
#: constraints hold to 1e-9. The book spends it on less risk: 1e-5 of room would buy weights of 1e-4 that
#: nobody wants, while what this buys is below the noise that a rebalance leaves untraded.
_REACH = 2e-8
#: Price of a broken cap, in floors that are missed.
_CAPS_FIRST = 10.0


class Structure(msgspec.Struct, frozen=True):
    """What a compiled program depends on.

    A crowded symbol may carry more than the one leg of a live spread, so the sign of its weight is open:
    |w| needs a variable, and its bounds need rows. Everywhere else |w| is linear in v, and bounds on w are
    bounds on v.

    Parameters
    ----------
    n_symbols : int
    y, x : tuple of int
        Symbols of each spread's legs.
    crowded : tuple of int
        Symbols.
    steps : int
        Periods of the plan; the first is traded.
    ends_flat : bool
        Whether the plan pays for leaving what it holds at its end.
    n_days : int
        Rows of the history whose worst days are limited; 0 for no such limit.
    n_shares : int
        Strategies whose spreads have a share of the capital together.
    n_floors : int
        Rows that want at least so much of something of the first step, where caps allow it.
    """

    n_symbols: int
    y: tuple[int, ...]
    x: tuple[int, ...]
    crowded: tuple[int, ...] = ()
    steps: int = 1
    ends_flat: bool = False
    n_days: int = 0
    n_shares: int = 0
    n_floors: int = 0


def disjoint(n_spreads: int) -> Structure:
    """Spreads that share no symbol: 0/1, 2/3, ..."""
    return Structure(2 * n_spreads, tuple(range(0, 2 * n_spreads, 2)), tuple(range(1, 2 * n_spreads, 2)))


class Statement(msgspec.Struct, frozen=True):
    """The cvxpy problem and its parameters; ``parts`` are the slices of ``theta`` by name."""

    problem: Any
    theta: Any
    risk: Any
    v: Any
    parts: dict[str, slice]


class Program(msgspec.Struct, frozen=True):
    """A compiled statement.

    The parameter vector is ``theta``, then ``risk``, then the constant 1. ``triangle`` holds the rows and
    columns of the part ``factor``; ``now`` the columns of v at the first step.
    """

    statement: Statement
    triangle: tuple[IntArray, IntArray]
    compiled: Compiled
    now: slice

    def solve(self, vector: FloatArray, settings: dict[str, Any]) -> tuple[str, FloatArray]:
        """Solve from scratch: no warm start, no memory of answers.

        Returns
        -------
        status : str
            Clarabel's: ``Solved``, ``PrimalInfeasible``, ...; all others are failures.
        v : FloatArray, shape (n_spreads,)
            Of the first step.
        """
        answer = self.compiled.solve(self.compiled.data(vector), settings)
        return answer.status, answer.x[self.now]

    def within_reach(self, vector: FloatArray) -> FloatArray | None:
        """Lower each floor to what caps and volumes leave in reach, and make it binding.

        The most of the floors is found first, with nothing else in the objective: a price of missing one
        beside risk would miss each a little.

        Returns
        -------
        FloatArray or None
            The parameters; None if that could not be solved.
        """
        parts, wish, within = self.statement.parts, vector.copy(), vector.copy()
        for name in ("gain", "cost", "crowd_carry"):
            wish[parts[name]] = 0.0
        wish[-2], wish[parts["penalty"]] = 0.0, _CAPS_FIRST
        status, v = self.solve(wish, ATTEMPTS[0][1])
        if status != "Solved":
            return None
        missed = vector[parts["floor_room"]] - vector[parts["floor"]].reshape(-1, v.size) @ v
        within[parts["floor_room"]] -= np.where(missed > _REACH, missed + _REACH, 0.0)
        within[parts["floor_give"]] = 0.0
        return within


def state_program(structure: Structure) -> Statement:
    """State the program of docs/maths/mean_variance.md and trade_offs.md for a structure.

    ``slack`` relaxes every cap that the mandatory trades already break, in proportion, at a high price; where
    nothing is broken the excesses are zero and so is its effect. Bounds of trading hold at the first step;
    what is planned after it has its caps only, and is planned again before it is traded.
    """
    import cvxpy

    cp: Any = cvxpy  # its atoms are assembled at import and unknown to type checkers
    n, steps = len(structure.y), structure.steps
    parts = _parts(structure)
    theta = cp.Parameter(max(where.stop for where in parts.values()))
    risk = cp.Parameter(nonneg=True)
    part = {name: theta[where] for name, where in parts.items() if where.stop > where.start}
    n_trades = steps + structure.ends_flat
    v, traded = cp.Variable(n * steps), cp.Variable(structure.n_symbols * n_trades)
    sigma, slack = cp.Variable(steps), cp.Variable(1)
    to_y, to_x = _selector(structure.y, structure.n_symbols), _selector(structure.x, structure.n_symbols)

    utility: Any = 0.0
    constraints: list[Any] = []
    before: Any = part["base"]
    for step in range(n_trades):
        if step < steps:
            v_now = v if steps == 1 else v[step * n : (step + 1) * n]
            w = to_y @ cp.multiply(part["column_y"], v_now) + to_x @ cp.multiply(part["column_x"], v_now)
        else:
            w = np.zeros(structure.n_symbols)
        moved = traded if n_trades == 1 else traded[step * structure.n_symbols :][: structure.n_symbols]
        constraints += [moved >= w - before, moved >= before - w]
        before = w
        if step == steps:
            utility = utility - part["cost"] @ moved
            continue
        utility = utility + part["gain"][step * n : (step + 1) * n] @ v_now - part["cost"] @ moved
        if step == 0:
            utility = utility - cp.multiply(part["penalty"], slack)
        if step == 0 and structure.n_floors:
            # Only where ``floor_give`` is 1 may one be missed: see ``within_reach``.
            missed = cp.Variable(structure.n_floors)
            rows = cp.reshape(part["floor"], (structure.n_floors, n), order="C") @ v_now
            constraints += [
                missed >= 0.0,
                rows >= part["floor_room"] - cp.multiply(part["floor_give"], missed),
            ]
            utility = utility - cp.sum(missed)
        carry, bounds = _of_step(structure, part, step == 0, v_now, w, sigma[step], slack)
        utility = utility - carry
        constraints += bounds
    objective = cp.Maximize(cp.sum(utility) - risk * cp.sum_squares(sigma))
    return Statement(cp.Problem(objective, constraints), theta, risk, v, parts)


def _of_step(
    structure: Structure, part: dict[str, Any], is_now: bool, v: Any, w: Any, sigma: Any, slack: Any
) -> tuple[Any, list[Any]]:
    """Return the carry of crowded symbols at a step of the plan, and what binds the step."""
    import cvxpy

    cp: Any = cvxpy
    n = len(structure.y)
    carry: Any = 0.0
    rows, columns = triangle_of(n)
    spread_v = _selector(columns, n).T @ v
    exposure = _selector(rows, n + 1) @ cp.multiply(part["factor"], spread_v) + part["factor_fixed"]
    gross, net = part["gross"] @ v, part["net"] @ v
    constraints = [
        v >= (part["low"] if is_now else 0.0),
        v <= part["high" if is_now else "ceiling"],
        net <= part["net_room_up"] + cp.multiply(part["net_excess"], slack),
        -net <= part["net_room_down"] + cp.multiply(part["net_excess"], slack),
        sigma <= part["sigma_room"] + cp.multiply(part["sigma_excess"], slack),
        *([slack >= 0] if is_now else []),
        cp.SOC(sigma, exposure),
    ]
    if structure.crowded:
        size, crowd_w = cp.Variable(len(structure.crowded)), w[list(structure.crowded)] + part["crowd_fixed"]
        constraints += [
            size >= crowd_w,
            size >= -crowd_w,
            size <= part["crowd_cap"] + part["crowd_excess"] * slack[0],
        ]
        if is_now:
            constraints += [crowd_w >= part["crowd_low"], crowd_w <= part["crowd_high"]]
        gross = gross + cp.sum(size)
        carry = part["crowd_carry"] @ size
    constraints.append(gross <= part["gross_room"] + cp.multiply(part["gross_excess"], slack))
    if structure.n_shares:
        members = cp.reshape(part["share"], (structure.n_shares, n), order="C")
        constraints.append(members @ v <= part["share_room"] + part["share_excess"] * slack[0])
    if structure.n_days:
        # The k worst of all days lose sum(loss): min over a of k a + sum max(loss - a, 0).
        quantile, beyond = cp.Variable(1), cp.Variable(structure.n_days)
        day_pct = cp.reshape(part["day"], (structure.n_days, n), order="C") @ v + part["day_fixed"]
        worst = cp.multiply(part["worst_days"], quantile) + cp.sum(beyond)
        constraints += [
            beyond >= -day_pct - quantile,
            beyond >= 0.0,
            worst <= part["worst_room"] + cp.multiply(part["worst_excess"], slack),
        ]
    return carry, constraints


@lru_cache(maxsize=64)
def compile_program(structure: Structure) -> Program:
    """Compile the program of a structure, once per process.

    Raises
    ------
    InvariantError
        If the statement breaks cvxpy's DPP rules, or compiles to other cones than it states.
    """
    statement = state_program(structure)
    compiled = compile_statement(statement.problem, (statement.theta, statement.risk))
    if compiled.n_zero or len(compiled.second_order) != structure.steps:
        raise InvariantError(f"the book's program compiled to unexpected cones: {compiled.second_order}")
    first = compiled.first_column[statement.v.id]
    n = len(structure.y)
    return Program(statement, triangle_of(n), compiled, slice(first, first + n))


def triangle_of(n_spreads: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of the upper triangle of a (n_spreads + 1, n_spreads) factor."""
    rows, columns = np.triu_indices(n_spreads)
    return rows.astype(np.int64), columns.astype(np.int64)


def _parts(structure: Structure) -> dict[str, slice]:
    n, n_symbols, n_crowded = len(structure.y), structure.n_symbols, len(structure.crowded)
    sizes = {
        **dict.fromkeys(("column_y", "column_x"), n),
        "gain": n * structure.steps,
        **dict.fromkeys(("low", "high", "gross", "net"), n),
        **dict.fromkeys(("base", "cost"), n_symbols),
        "factor": n * (n + 1) // 2,
        "factor_fixed": n + 1,
        **dict.fromkeys(("gross_room", "net_room_up", "net_room_down", "sigma_room"), 1),
        **dict.fromkeys(("gross_excess", "net_excess", "sigma_excess", "penalty"), 1),
        **dict.fromkeys(("crowd_fixed", "crowd_low", "crowd_high", "crowd_cap", "crowd_excess"), n_crowded),
        "crowd_carry": n_crowded,
        "ceiling": n if structure.steps > 1 else 0,
        "day": structure.n_days * n,
        "day_fixed": structure.n_days,
        "share": structure.n_shares * n,
        **dict.fromkeys(("share_room", "share_excess"), structure.n_shares),
        **dict.fromkeys(("worst_days", "worst_room", "worst_excess"), min(structure.n_days, 1)),
        "floor": structure.n_floors * n,
        **dict.fromkeys(("floor_room", "floor_give"), structure.n_floors),
    }
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


def _selector(positions: Sequence[int] | IntArray, n_rows: int) -> Any:
    """Return the 0/1 matrix, shape (n_rows, len(positions)), that sends entry j to row ``positions[j]``."""
    from scipy.sparse import csr_array

    n = len(positions)
    return csr_array((np.ones(n), (np.asarray(positions), np.arange(n))), shape=(n_rows, n))
