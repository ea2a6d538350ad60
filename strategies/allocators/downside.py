"""Expected return less costs, where the mean of the worst days of the past is limited.

Risk is what the book would have lost on its worst days in the returns of the last sessions; no covariance is
assumed. (The VaR budget of the gate stays a constraint: it is the desk's, not the allocator's.)
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from engine.events import FloatArray
from engine.ports import AllocationProblem, AllocatorContext, Targets
from engine.sessions import is_due
from strategies.allocators.checks import Rates, Tail, bad_inputs
from strategies.allocators.mean_variance import BookOptions
from strategies.allocators.parameters import Method
from strategies.allocators.plan import wire
from strategies.allocators.rebalance import checked_every_min, in_force, rebalance


class DownsideOptions(BookOptions):
    """``[allocator] kind = "downside"``."""

    trade_aversion: float = Field(
        1.0, ge=0.0, allow_inf_nan=False, description="tau; 1 counts true costs, larger trades less."
    )
    worst_day_max_loss_frac: float = Field(
        0.02, gt=0.0, allow_inf_nan=False, description="Most that the worst days may lose on average."
    )
    worst_frac: float = Field(0.05, gt=0.0, le=1.0, description="Share of the days that are the worst.")
    history_days: int = Field(500, ge=1, le=5_000, description="Most days of returns that are looked at.")
    history_days_min: int = Field(
        60, ge=1, description="Fewer days than this are no history: nothing is traded."
    )


class Downside:
    """The allocator; it keeps nothing but its options and index arrays.

    Parameters
    ----------
    options : DownsideOptions
    context : AllocatorContext

    Raises
    ------
    ConfigError
        C251 for an ``every_min`` longer than a session.
    """

    def __init__(self, options: DownsideOptions, context: AllocatorContext) -> None:
        self._options, self._bar_min = options, context.bar_min
        self._every_min = checked_every_min(options.every_min, context)
        self._rates = Rates(
            risk_aversion=0.0,
            trade_aversion=options.trade_aversion,
            horizon_sessions=options.horizon_min / context.session_min,
            horizon_days=context.calendar_days(options.horizon_min),
        )
        self._wiring = wire(context.layout, context.capital_frac)
        self._method = Method(n_days=options.history_days)

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - the clock alone decides here
        """Rebalance in every bar that a multiple of ``every_min`` minutes of the session lies in."""
        return is_due(minute, self._bar_min, self._every_min)

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Solve, check, and answer ``optimal`` or the reason why the book is held.

        Too short a history is ``bad_input``. Days on which a symbol of the book has no return do not count.
        """
        options = self._options
        faults = bad_inputs(problem)
        history = self._history(problem)
        if len(history) < options.history_days_min:
            faults = (*faults, "history_return_frac")
        if faults:
            return Targets("bad_input", np.empty(0), binding=faults)
        worst_days = max(1, round(len(history) * options.worst_frac))
        tail = Tail(history, worst_days, options.worst_day_max_loss_frac)
        limits, rates = in_force(problem.controls, options.limits(), self._rates)
        return rebalance(self._wiring, problem, limits, rates, self._method, tail)

    def _history(self, problem: AllocationProblem) -> FloatArray:
        """Return the days on which every symbol that is held or wanted has a return."""
        layout = problem.layout
        if problem.history_return_frac is None:
            return np.empty((0, len(layout.symbols)))
        is_used = (problem.side[layout.leg_sleeve] != 0.0) | (problem.held_leg_frac != 0.0)
        symbols = layout.leg_symbol[is_used]
        days = problem.history_return_frac[-self._options.history_days :]
        whole: FloatArray = days[np.isfinite(days[:, symbols]).all(axis=1)]
        return whole
