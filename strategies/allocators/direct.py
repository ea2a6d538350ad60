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

    def _unit_frac(self, equity_usd: float) -> FloatArray:
        """Gross of every sleeve at its entry: its part of its strategy's share, or else ``unit_usd``."""
        share = self._share_frac
        return np.where(np.isfinite(share), share, self._unit_usd / equity_usd)

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - transitions alone decide here
        """Trade when a spread changed its side."""
        return n_changed > 0

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Set the legs of the sleeves that changed.

        A spread without a price is left as it is. One that may not be entered (ratio unknown, a symbol risk
        cannot measure, state REDUCING) is closed instead, since its old side is no longer wanted. Statuses:
        ``optimal`` and ``bad_input`` (``binding`` names the fields).
        """
        wiring, legs = self._wiring, problem.held_leg_frac.copy()
        is_good = 0.0 < problem.equity_usd < np.inf and set_legs(
            np.array(problem.changed, dtype=np.int64),
            problem.side,
            problem.frozen_usd_ratio,
            problem.price_usd,
            problem.known,
            problem.layout.leg_symbol,
            wiring.y_leg,
            wiring.x_leg,
            self._unit_frac(problem.equity_usd),
            problem.is_reducing,
            legs,
        )
        if not is_good:
            return Targets("bad_input", _NONE, binding=_bad_inputs(problem), by_sleeve=True)
        return Targets("optimal", legs, solver="direct", by_sleeve=True)


@kernel
def set_legs(  # noqa: PLR0913, PLR0917 - arrays, since a kernel knows no structs
    changed: IntArray,
    side: FloatArray,
    ratio: FloatArray,
    price_usd: FloatArray,
    known: BoolArray,
    leg_symbol: IntArray,
    y_leg: IntArray,
    x_leg: IntArray,
    unit_frac: FloatArray,
    is_reducing: bool,
    legs: FloatArray,
) -> bool:
    """Set the legs of the sleeves that changed: y gets side unit / (1 + |b|), x gets -b times that.

    A spread that says its side again while it is held on it is hedged anew: y stays, x follows the ratio.

    Parameters
    ----------
    changed : IntArray, shape (n_changed,)
        Sleeves.
    side, ratio : FloatArray, shape (n_sleeves,)
        1, 0 or -1; and b, USD of x against 1 USD of y.
    price_usd, known : shape (n_symbols,)
    leg_symbol : IntArray, shape (n_legs,)
    y_leg, x_leg : IntArray, shape (n_spreads,)
    unit_frac : FloatArray, shape (n_sleeves,)
        Gross of a spread at its entry, fraction of equity.
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
        size = side[k] * unit_frac[k] / (1.0 + abs(b)) if may_enter else 0.0
        held = legs[y_leg[k]]
        if may_enter and held * side[k] > 0.0:
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
