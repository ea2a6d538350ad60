"""A fixed amount per spread, traded on transitions only; no solver."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

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

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - transitions alone decide here
        """Trade when a spread changed its side."""
        return n_changed > 0

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Set the legs of the sleeves that changed.

        A spread without a price is left as it is. One that may not be entered (ratio unknown, a symbol risk
        cannot measure, state REDUCING) is closed instead, since its old side is no longer wanted. Statuses:
        ``optimal`` and ``bad_input`` (``binding`` names the fields).
        """
        faults = _bad_inputs(problem)
        if faults:
            return Targets("bad_input", _NONE, binding=faults, by_sleeve=True)
        wiring, symbol = self._wiring, problem.layout.leg_symbol
        legs = problem.held_leg_frac.copy()
        unit_frac = self._unit_usd / problem.equity_usd
        for k in problem.changed:
            y_leg, x_leg = wiring.y_leg[k], wiring.x_leg[k]
            pair = symbol[[y_leg, x_leg]]
            if not np.all(problem.price_usd[pair] > 0.0):
                continue
            side, b = problem.side[k], problem.frozen_usd_ratio[k]
            may_enter = np.isfinite(b) and problem.known[pair].all() and not problem.is_reducing
            size = side * unit_frac / (1.0 + abs(b)) if may_enter else 0.0
            legs[y_leg] = size
            legs[x_leg] = -b * size if may_enter else 0.0
        return Targets("optimal", legs, solver="direct", by_sleeve=True)


def _bad_inputs(problem: AllocationProblem) -> tuple[str, ...]:
    tests = {
        "equity_usd": 0.0 < problem.equity_usd < np.inf,
        "side": ((problem.side == 0.0) | (np.abs(problem.side) == 1.0)).all(),
        "held_leg_frac": np.isfinite(problem.held_leg_frac).all(),
    }
    return tuple(name for name, is_good in tests.items() if not is_good)
