"""Carry and roll-down against repo and costs, under a limit on CVaR, with a least position worth having.

    maximise    sum e_i x_i - c_i |x_i - x0_i|
    subject to  sum w_ki |x_i| <= b_k                       for each cap k: gross, leverage, margin
                -S_i <= x_i <= L_i                          liquidity
                a + sum u_j / ((1 - level) m) <= cvar_max,  u_j >= loss_j - a,  u_j >= 0
                x_i = 0 or |x_i| >= h_i                     (or |x_i| >= h_i always, or no minimum)

The CVaR rows are those of Rockafellar and Uryasev (2000). Without a minimum position, which is not convex,
the program is linear, and HiGHS solves it. A name that breaks its minimum is branched on: long, short or out;
a branch that cannot beat the best book found so far is cut. So the answer is an exact vertex of a linear
program with the pattern of longs and shorts fixed, and the shadow prices are its own. docs/maths/treasury.md
has the derivation. Every amount is in one unit of money, of the caller's choice.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import numpy as np

from engine.events import FloatArray

Minimum = Literal["semicontinuous", "forced", "none"]

#: In fractions of the largest position allowed: constraints hold to the first, bind within the second, and
#: positions and trades below the third are the solver's rounding.
TOLERANCE: Final = 1e-6
_BINDING: Final = 1e-5
_NOISE: Final = 1e-7
#: The objective is stated in millionths of the unit, so that HiGHS's tolerance of 1e-7 on a gain is nothing.
_SCALE: Final = 1e6
#: Linear programs that a search may take; with a handful of tenors it takes a few.
_NODES_MAX: Final = 1_000


class Cap(msgspec.Struct, frozen=True):
    """``sum weight_i |x_i| <= bound``; ``weight`` has shape (n,) and is not negative."""

    name: str
    weight: FloatArray
    bound: float


class TreasuryProblem(msgspec.Struct, frozen=True):
    """A problem over n names.

    Parameters
    ----------
    names : tuple of str
    edge : FloatArray, shape (n,)
        Expected gain of a long per unit over the horizon, after financing and before costs.
    cost : FloatArray, shape (n,)
        One-way, per unit traded.
    held : FloatArray, shape (n,)
    long_max, short_max : FloatArray, shape (n,)
        Largest long and short positions, not negative.
    minimum : str
        ``semicontinuous``, ``forced`` or ``none``.
    position_min : FloatArray, shape (n,)
        Smallest position, not negative.
    caps : tuple of Cap
    loss : FloatArray, shape (m, n)
        Loss of a long unit in each scenario.
    loss_fixed : FloatArray, shape (m,)
        Loss of what else is held and is not to be decided.
    trade_max : FloatArray, shape (n,)
        Most that may be traded; infinite for no such limit.
    cvar_max, cvar_level_frac : float
        Limit, and the level: 0.95 averages the worst twentieth.
    """

    names: tuple[str, ...]
    edge: FloatArray
    cost: FloatArray
    held: FloatArray
    long_max: FloatArray
    short_max: FloatArray
    minimum: Minimum
    position_min: FloatArray
    caps: tuple[Cap, ...]
    loss: FloatArray
    loss_fixed: FloatArray
    trade_max: FloatArray
    cvar_max: float
    cvar_level_frac: float

    def net(self, x: FloatArray) -> float:
        """Return what the program maximises, ``edge'x - cost'|x - held|``."""
        return float(self.edge @ x - self.cost @ np.abs(x - self.held))

    def cvar(self, x: FloatArray) -> float:
        """Return the mean loss of the worst ``1 - level`` of the scenarios, the last one counted in part.

        Rockafellar and Uryasev (2002), proposition 8: what the minimum over ``a`` amounts to.
        """
        loss = np.sort(self.loss @ x + self.loss_fixed)[::-1]
        tail = (1.0 - self.cvar_level_frac) * loss.size
        # 0.05 * 1000 is 50.000000000000044 in binary; that is fifty scenarios and not fifty-one.
        whole = int(np.floor(tail + 1e-9))
        rest = max(tail - whole, 0.0)
        part = rest * float(loss[whole]) if whole < loss.size else 0.0
        return float((loss[:whole].sum() + part) / tail)


class TreasuryAnswer(msgspec.Struct, frozen=True):
    """``optimal`` or ``do_not_trade`` with positions, or the reason why there are none.

    Parameters
    ----------
    status : str
        ``do_not_trade``: the best is what is held. Otherwise ``infeasible``, ``solver_failed``, or
        ``check_failed``, with the broken constraints in ``binding``.
    x : FloatArray, shape (n,)
    binding : tuple of str
        ``gross``, ``cvar``, ``liquidity:NAME``, ``min_position:NAME``, and so on.
    shadow_prices : dict of str to float
        Gain in the objective per unit by which a binding limit is eased, with the pattern of longs and
        shorts as it is.
    """

    status: str
    x: FloatArray
    binding: tuple[str, ...] = ()
    shadow_prices: dict[str, float] = {}


class _Ranges(msgspec.Struct, frozen=True):
    """Bounds on the long part p and the short part q of every name, shape (n,)."""

    p_low: FloatArray
    p_high: FloatArray
    q_low: FloatArray
    q_high: FloatArray

    def branch(self, i: int, long: tuple[float, float], short: tuple[float, float]) -> _Ranges:
        """Return these ranges with other ones for name ``i``."""
        parts = [part.copy() for part in (self.p_low, self.p_high, self.q_low, self.q_high)]
        for part, value in zip(parts, (*long, *short), strict=True):
            part[i] = value
        return _Ranges(*parts)


class _Statement(msgspec.Struct, frozen=True):
    """``minimise cost'z`` with ``rows z <= right``, ``z = (p, q, t, a, u)``; ``named`` are the first rows.

    ``t`` is the amount traded, ``a`` the VaR that CVaR is measured from, ``u`` the excess over it.
    """

    cost: FloatArray
    rows: Any
    right: FloatArray
    named: tuple[str, ...]


def solve(problem: TreasuryProblem) -> TreasuryAnswer:
    """Solve a problem and check the answer; statuses as in :class:`TreasuryAnswer`."""
    nothing, zero, least = np.empty(0), np.zeros(len(problem.names)), problem.position_min
    if problem.minimum == "forced" and any(cap.weight @ least > cap.bound for cap in problem.caps):
        return TreasuryAnswer("infeasible", nothing)  # no need to try every pattern
    statement = _state(problem)
    best, best_net, prices = nothing, -np.inf, {}
    open_ranges = [_Ranges(zero, problem.long_max, zero, problem.short_max)]
    for _ in range(_NODES_MAX):
        if not open_ranges:
            break
        ranges = open_ranges.pop()
        status, x, found = _solve_linear(problem, statement, ranges)
        if status == "solver_failed":
            return TreasuryAnswer(status, nothing)
        if status == "infeasible" or problem.net(x) <= best_net:
            continue
        short_of = _short_of_minimum(problem, x)
        if short_of.any():
            open_ranges += _branches(problem, ranges, int(np.argmax(short_of)), x)
        else:
            best, best_net, prices = x, problem.net(x), found
    else:
        return TreasuryAnswer("solver_failed", nothing)
    if not best.size:
        return TreasuryAnswer("infeasible", nothing)
    broken, binding = examine(problem, best)
    if broken:
        return TreasuryAnswer("check_failed", nothing, broken)
    is_still = bool((best == problem.held).all())
    shadow = {name: prices[name] for name in binding if name in prices}
    return TreasuryAnswer("do_not_trade" if is_still else "optimal", best, binding, shadow)


def examine(problem: TreasuryProblem, x: FloatArray) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the constraints that positions break, and those that bind; no solver is asked.

    Parameters
    ----------
    problem : TreasuryProblem
    x : FloatArray, shape (n,)
    """
    size = _size(problem)
    findings = [(cap.name, float(cap.weight @ np.abs(x)), cap.bound) for cap in problem.caps]
    findings.append(("cvar", problem.cvar(x), problem.cvar_max))
    traded = np.abs(x - problem.held)
    for i, name in enumerate(problem.names):
        if traded[i] > 0.0:
            findings.append((f"trade:{name}", float(traded[i]), float(problem.trade_max[i])))
        side_max = problem.long_max[i] if x[i] >= 0.0 else problem.short_max[i]
        if x[i] != 0.0 or side_max < 0.0:
            findings.append((f"liquidity:{name}", abs(float(x[i])), float(side_max)))
        is_in = problem.minimum == "forced" or (problem.minimum == "semicontinuous" and x[i] != 0.0)
        if is_in and problem.position_min[i] > 0.0:
            findings.append((f"min_position:{name}", -abs(float(x[i])), -float(problem.position_min[i])))
    broken = tuple(name for name, value, bound in findings if not value <= bound + TOLERANCE * size)
    binding = tuple(name for name, value, bound in findings if value >= bound - _BINDING * size)
    return broken, binding


def _size(problem: TreasuryProblem) -> float:
    return float(max(problem.long_max.max(), problem.short_max.max(), 1e-12))


def _short_of_minimum(problem: TreasuryProblem, x: FloatArray) -> FloatArray:
    """Return by how much each name is short of its minimum position, shape (n,)."""
    if problem.minimum == "none":
        return np.zeros(x.size)
    is_in = (x != 0.0) | (problem.minimum == "forced")
    short_of = np.where(is_in, problem.position_min - np.abs(x), 0.0)
    return np.where(short_of > _NOISE * _size(problem), short_of, 0.0)


def _branches(problem: TreasuryProblem, ranges: _Ranges, i: int, x: FloatArray) -> list[_Ranges]:
    """Return what name ``i`` may be instead; the most promising comes last, and is searched first."""
    least, out = float(problem.position_min[i]), (0.0, 0.0)
    branches = []
    if problem.short_max[i] >= least:
        branches.append((float(x[i]), ranges.branch(i, out, (least, float(problem.short_max[i])))))
    if problem.long_max[i] >= least:
        branches.append((-float(x[i]), ranges.branch(i, (least, float(problem.long_max[i])), out)))
    if problem.minimum == "semicontinuous":
        nearer_to_nothing = 2.0 * abs(float(x[i])) < least
        branches.append((-np.inf if nearer_to_nothing else 0.0, ranges.branch(i, out, out)))
    branches.sort(key=lambda branch: -branch[0])
    return [ranges for _, ranges in branches]


def _state(problem: TreasuryProblem) -> _Statement:
    import scipy.sparse

    sparse: Any = scipy.sparse  # its stubs know no blocks of mixed kinds
    n, m = len(problem.names), len(problem.loss)
    eye, tail = sparse.eye_array(n), (1.0 - problem.cvar_level_frac) * m
    caps = [np.concatenate([cap.weight, cap.weight, np.zeros(n + 1 + m)]) for cap in problem.caps]
    cvar = np.concatenate([np.zeros(3 * n), [1.0], np.full(m, 1.0 / tail)])
    rest = sparse.block_array(
        [
            [eye, -eye, -eye, None, None],
            [-eye, eye, -eye, None, None],
            [problem.loss, -problem.loss, None, -np.ones((m, 1)), -sparse.eye_array(m)],
        ]
    )
    bounds = [*(cap.bound for cap in problem.caps), problem.cvar_max]
    return _Statement(
        cost=-_SCALE * np.concatenate([problem.edge, -problem.edge, -problem.cost, np.zeros(1 + m)]),
        rows=sparse.vstack([sparse.csr_array(np.array([*caps, cvar])), rest], format="csr"),
        right=np.concatenate([bounds, problem.held, -problem.held, -problem.loss_fixed]),
        named=(*(cap.name for cap in problem.caps), "cvar"),
    )


def _solve_linear(
    problem: TreasuryProblem, statement: _Statement, ranges: _Ranges
) -> tuple[str, FloatArray, dict[str, float]]:
    """Solve within ranges; return positions and what easing each limit by one unit gains."""
    import scipy.optimize

    n, m, named = len(problem.names), len(problem.loss), statement.named
    lower = np.concatenate([ranges.p_low, ranges.q_low, np.zeros(n), [-np.inf], np.zeros(m)])
    upper = np.concatenate([ranges.p_high, ranges.q_high, problem.trade_max, np.full(1 + m, np.inf)])
    solver: Any = scipy.optimize.linprog
    bounds = np.column_stack((lower, upper))
    answer = solver(statement.cost, A_ub=statement.rows, b_ub=statement.right, bounds=bounds, method="highs")
    if answer.status != 0:
        return ("infeasible" if answer.status == 2 else "solver_failed"), np.empty(0), {}
    x, noise = answer.x[:n] - answer.x[n : 2 * n], _NOISE * _size(problem)
    x[np.abs(x) <= noise] = 0.0
    x = np.where(np.abs(x - problem.held) <= noise, problem.held, x)
    prices = dict(zip(named, (-answer.ineqlin.marginals[: len(named)] / _SCALE).tolist(), strict=True))
    above, below = -answer.upper.marginals / _SCALE, answer.lower.marginals / _SCALE
    for i, name in enumerate(problem.names):
        k = i if x[i] >= 0.0 else n + i
        prices[f"liquidity:{name}"] = float(above[k])
        prices[f"min_position:{name}"] = float(below[k])
        prices[f"trade:{name}"] = float(above[2 * n + i])
    return "optimal", x, {name: price + 0.0 for name, price in prices.items()}
