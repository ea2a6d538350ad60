"""A fixed amount per spread, traded on transitions only; no solver."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.events import BoolArray, FloatArray, IntArray
from engine.kernel import kernel
from engine.ports import AllocationProblem, AllocatorContext, Targets
from strategies.allocators.plan import wire

_NONE = np.empty(0)


class DirectOptions(BaseModel):
    """``[allocator] kind = "direct"``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit_usd: float = Field(
        100_000.0, gt=0.0, allow_inf_nan=False, description="USD of gross in every spread that is not flat."
    )


class Direct:
    """Enter with ``unit_usd`` of gross at the ratio frozen at entry, leave on the exit, hold in between.

    Sleeves that did not change on this slice keep their legs; legs that share a symbol net in the book. Caps
    and VaR are left to the gate.

    Parameters
    ----------
    options : DirectOptions
    context : AllocatorContext
    """

    def __init__(self, options: DirectOptions, context: AllocatorContext) -> None:
        self._unit_usd = options.unit_usd
        self._wiring = wire(context.layout)
        self._share_frac = context.share_frac
        self._basket = context.layout.leg_basket[self._wiring.y_leg]
        self._no_rolls = np.zeros(self._basket.size, dtype=np.bool_)
        self._has_chains = np.unique(self._basket).size < self._basket.size

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - transitions alone decide here
        """Trade when a spread changed its side."""
        return n_changed > 0

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Set the legs of the sleeves that changed.

        A spread without a price is left as it is. One that may not be entered (ratio unknown, a symbol risk
        cannot measure, state REDUCING) is closed instead, since its old side is no longer wanted. Statuses:
        ``optimal`` and ``bad_input`` (``binding`` names the fields). What is left of a chain trades with what
        is wanted of it, at one pace, so each is asked for as long as the other is not done.
        """
        wiring, legs = self._wiring, problem.held_leg_frac.copy()
        rolls, changed = self._no_rolls, np.array(problem.changed, dtype=np.int64)
        if self._has_chains:
            rolls, waits = self._rolls(problem)
            changed = np.setdiff1d(np.union1d(changed, np.flatnonzero(rolls)), np.flatnonzero(waits))
        is_good = 0.0 < problem.equity_usd < np.inf and set_legs(
            changed,
            rolls,
            problem.side,
            problem.frozen_usd_ratio,
            problem.price_usd,
            problem.known,
            problem.layout.leg_symbol,
            wiring.y_leg,
            wiring.x_leg,
            self._share_frac,
            self._unit_usd / problem.equity_usd,
            problem.is_reducing,
            legs,
        )
        if not is_good:
            return Targets("bad_input", _NONE, binding=_bad_inputs(problem), by_sleeve=True)
        return Targets("optimal", legs, solver="direct", by_sleeve=True)

    def _rolls(self, problem: AllocationProblem) -> tuple[BoolArray, BoolArray]:
        """Find what is wanted of chains that hold anything else, shape (n_spreads,); none if REDUCING.

        The second array marks those that have to wait, since what is held has no price to leave at.
        """
        wiring, held, symbol = self._wiring, problem.held_leg_frac, problem.layout.leg_symbol
        is_wanted = problem.side[: len(self._basket)] != 0.0
        is_old = ~is_wanted & ((held[wiring.y_leg] != 0.0) | (held[wiring.x_leg] != 0.0))
        is_priced = problem.price_usd[symbol] > 0.0
        is_stuck = is_old & ~(is_priced[wiring.y_leg] & is_priced[wiring.x_leg])
        rolls = is_wanted & np.isin(self._basket, self._basket[is_old]) & (not problem.is_reducing)
        return rolls, is_wanted & np.isin(self._basket, self._basket[is_stuck])


@kernel
def set_legs(  # noqa: PLR0913, PLR0917 - arrays, since a kernel knows no structs
    changed: IntArray,
    rolls: BoolArray,
    side: FloatArray,
    ratio: FloatArray,
    price_usd: FloatArray,
    known: BoolArray,
    leg_symbol: IntArray,
    y_leg: IntArray,
    x_leg: IntArray,
    share_frac: FloatArray,
    unit_frac: float,
    is_reducing: bool,
    legs: FloatArray,
) -> bool:
    """Set the legs of the sleeves that changed: y gets side unit / (1 + |b|), x gets -b times that.

    A spread that says its side again while it is held on it is hedged anew: y stays, x follows the ratio.

    Parameters
    ----------
    changed : IntArray, shape (n_changed,)
        Sleeves.
    rolls : BoolArray, shape (n_spreads,)
        Those whose entry goes on, at its full size, though something is held.
    side, ratio : FloatArray, shape (n_sleeves,)
        1, 0 or -1; and b, USD of x against 1 USD of y.
    price_usd, known : shape (n_symbols,)
    leg_symbol : IntArray, shape (n_legs,)
    y_leg, x_leg : IntArray, shape (n_spreads,)
    share_frac : FloatArray, shape (n_sleeves,)
        Gross of a spread at its entry, fraction of equity: its part of its strategy's share; NaN without one.
    unit_frac : float
        The same where there is no share.
    is_reducing : bool
    legs : FloatArray, shape (n_legs,)
        Held weights; output.

    Returns
    -------
    bool
        False if a side is none of the three, or a weight is not finite.
    """
    is_good = True
    for k in range(side.size):
        is_good &= side[k] == 0.0 or abs(side[k]) == 1.0
    for k in changed:
        y, x = leg_symbol[y_leg[k]], leg_symbol[x_leg[k]]
        if not (price_usd[y] > 0.0 and price_usd[x] > 0.0):
            continue
        b = ratio[k]
        may_enter = np.isfinite(b) and known[y] and known[x] and not is_reducing
        gross = share_frac[k] if np.isfinite(share_frac[k]) else unit_frac
        size = side[k] * gross / (1.0 + abs(b)) if may_enter else 0.0
        held = legs[y_leg[k]]
        if may_enter and held * side[k] > 0.0 and not rolls[k]:
            size = held  # said again while held: only the hedge moves
        legs[y_leg[k]] = size
        legs[x_leg[k]] = -b * size if may_enter else 0.0
    for leg in range(legs.size):
        is_good &= np.isfinite(legs[leg])
    return is_good


def _bad_inputs(problem: AllocationProblem) -> tuple[str, ...]:
    tests = {
        "equity_usd": 0.0 < problem.equity_usd < np.inf,
        "side": ((problem.side == 0.0) | (np.abs(problem.side) == 1.0)).all(),
        "held_leg_frac": np.isfinite(problem.held_leg_frac).all(),
    }
    return tuple(name for name, is_good in tests.items() if not is_good)
