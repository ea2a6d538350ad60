"""How the best weights move with the two levers: risk aversion and trade aversion.

The weights are piecewise smooth in either lever, with kinks where one leaves zero, stops being traded, or a
cap begins to bind. Each kink is found by bisection between two answers that differ in this; the answers are
exact (``polish``), so that a weight is zero or it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal

import msgspec
import numpy as np

from engine.events import FloatArray
from strategies.allocators.names import NamesProblem, Weighting
from strategies.allocators.names_program import NamesProgram

Lever = Literal["risk_aversion", "trade_aversion"]

#: Weights and trades under this are zero.
ZERO_FRAC: Final = 1e-11
#: Kinks are found to the first, relative; to the second where the answers next to them cannot be polished.
_PRECISION: Final = 1e-10
_PRECISION_OF_TIES: Final = 1e-6
#: Trade aversions beyond this count as never trading.
_LEVER_MAX: Final = 1e12
_ENTERS: Final = {1: "enters long", -1: "enters short"}


class Point(msgspec.Struct, frozen=True):
    """The best weights at one value of a lever.

    Parameters
    ----------
    value : float
        Of the lever.
    status : str
        As of ``NamesAnswer``; unless it is ``optimal`` there are no weights.
    weights_frac, trades_frac : FloatArray, shape (n,)
    binding : tuple of str
    is_exact : bool
        Whether zeros are exact.
    """

    value: float
    status: str
    weights_frac: FloatArray
    trades_frac: FloatArray
    binding: tuple[str, ...]
    is_exact: bool


class Kink(msgspec.Struct, frozen=True):
    """What changes at a value of a lever, going up.

    Parameters
    ----------
    lever : str
    value : float
    subject : str
        A symbol or a cap (``gross``, ``net``, ``return``).
    change : str
        Of a symbol: ``enters long``, ``enters short``, ``leaves``, ``turns``, ``starts trading``, ``stops
        trading``. Of a cap: ``binds``, ``goes slack``.
    """

    lever: Lever
    value: float
    subject: str
    change: str


def at(program: NamesProgram, lever: Lever, value: float) -> Point:
    """Solve with one lever moved, and the other as the problem has it."""
    problem = program.problem
    answer, is_exact = program.solve_exactly(_moved(problem.weighting, lever, value))
    if answer.status != "optimal":
        nothing = np.empty(0)
        return Point(value, answer.status, nothing, nothing, answer.binding, False)
    weights = answer.weights_frac
    weights = np.where(np.abs(weights) <= ZERO_FRAC, 0.0, weights) if is_exact else weights
    trades = weights - problem.held_frac
    trades = np.where(np.abs(trades) <= ZERO_FRAC, 0.0, trades) if is_exact else trades
    return Point(value, "optimal", weights, trades, answer.binding, is_exact)


def sweep(program: NamesProgram, lever: Lever, values: Sequence[float]) -> list[Point]:
    """Solve at each value of a lever."""
    return [at(program, lever, float(value)) for value in values]


def kinks(program: NamesProgram, lever: Lever, points: Sequence[Point]) -> list[Kink]:
    """Find every kink between neighbouring points of a sweep that differ, to 1e-10 of the lever.

    Two kinks of the same thing between two points (a weight that comes and goes) show on a finer grid only.
    """
    known = [point for point in points if point.is_exact and point.value > 0.0]
    found: list[Kink] = []
    open_ = list(pairwise(known))[::-1]
    while open_:
        low, high = open_.pop()
        before, after = _pattern(program.problem, low, lever), _pattern(program.problem, high, lever)
        if before == after:
            continue
        middle = at(program, lever, math.sqrt(low.value * high.value))
        if middle.is_exact and not _is_narrow(low.value, high.value, _PRECISION):
            open_ += [(middle, high), (low, middle)]
        elif _is_narrow(low.value, high.value, _PRECISION_OF_TIES):
            found += _named(lever, middle.value, before, after)
    return found


def no_trade_aversion(program: NamesProgram) -> float | None:
    """Return the trade aversion from which on nothing is traded; None if there is none.

    There is none if trading is free, or if what is held breaks a constraint.
    """

    def trades(value: float) -> bool | None:
        point = at(program, "trade_aversion", value)
        return bool(np.abs(point.trades_frac).max(initial=0.0) > ZERO_FRAC) if point.is_exact else None

    return _threshold(trades)


def _threshold(trades: Callable[[float], bool | None]) -> float | None:
    """Return where a predicate turns from true to false, on a logarithmic scale."""
    low = high = 1.0
    while trades(high) is not False:
        low, high = high, high * 8.0
        if high > _LEVER_MAX:
            return None
    while low >= high or trades(low) is not True:
        low, high = low / 8.0, min(low, high)
        if low < 1.0 / _LEVER_MAX:
            return 0.0
    while not _is_narrow(low, high, _PRECISION):
        middle = math.sqrt(low * high)
        answer = trades(middle)
        if answer is None:
            break
        low, high = (middle, high) if answer else (low, middle)
    return math.sqrt(low * high) if _is_narrow(low, high, _PRECISION_OF_TIES) else None


def _is_narrow(low: float, high: float, precision: float) -> bool:
    return high <= low * (1.0 + precision)


def _moved(weighting: Weighting, lever: Lever, value: float) -> Weighting:
    return msgspec.structs.replace(weighting, **{lever: value})


def _pattern(problem: NamesProblem, point: Point, lever: Lever) -> dict[tuple[str, str], int]:
    """Say of everything that can change which way it is; symbols first, in their order."""
    pattern = {
        ("weight", symbol): int(np.sign(weight))
        for symbol, weight in zip(problem.symbols, point.weights_frac.tolist(), strict=True)
    }
    if lever == "trade_aversion":  # what is not held trades exactly when it enters
        for k in np.flatnonzero(problem.held_frac):
            pattern["trade", problem.symbols[k]] = int(point.trades_frac[k] != 0.0)
    w = point.weights_frac
    room = {
        "gross": problem.gross_max_frac - float(np.abs(w).sum()),
        "net": problem.net_max_frac - abs(float(w.sum())),
        "return": float(problem.expected_return_frac @ w) - problem.return_min_frac,
    }
    for name, left in room.items():
        if math.isfinite(left):
            pattern["cap", name] = int(left <= ZERO_FRAC)
    return pattern


def _named(
    lever: Lever, value: float, before: dict[tuple[str, str], int], after: dict[tuple[str, str], int]
) -> list[Kink]:
    found = []
    for (kind, subject), was in before.items():
        now = after[kind, subject]
        if was == now:
            continue
        if kind == "cap":
            change = "binds" if now else "goes slack"
        elif kind == "trade":
            change = "starts trading" if now else "stops trading"
        else:
            change = "leaves" if now == 0 else _ENTERS[now] if was == 0 else "turns"
        found.append(Kink(lever, value, subject, change))
    return found
