"""Least variance: of a book that is fully invested, or that is expected to earn a given return.

    minimise    w'Sw
    subject to  gross, net, per-name and participation caps, VaR upper <= budget, the wanted sides,
                sum w = 1 and expected return >= return_min, as asked for

It is the program of mean-variance with neither forecasts, costs nor carry in what it minimises, and the
same steps lead to an answer. Long only is a strategy that wants no shorts. docs/maths/mean_variance.md.
"""

from __future__ import annotations

from typing import Any, Self

import msgspec
from pydantic import Field, model_validator

from engine.ports import AllocationProblem, AllocatorContext, Targets
from engine.sessions import is_due
from strategies.allocators.checks import Rates
from strategies.allocators.mean_variance import BookOptions
from strategies.allocators.parameters import Method
from strategies.allocators.plan import wire
from strategies.allocators.rebalance import checked_every_min, in_force, rebalance


class MinVarianceOptions(BookOptions):
    """``[allocator] kind = "min_variance"``."""

    return_min_annual_frac: float | None = Field(
        None,
        gt=0.0,
        le=10.0,
        description="Least expected return a year, fraction of equity, before financing.",
    )
    fully_invested: bool = Field(False, description="Weights sum to 1; net_max_frac is 1 then.")

    @model_validator(mode="before")
    @classmethod
    def _net_of_one(cls, given: Any) -> Any:
        """Let the net be 1 where it must be and nobody said otherwise."""
        if isinstance(given, dict) and given.get("fully_invested") is True:
            return {"net_max_frac": 1.0, **given}
        return given

    @model_validator(mode="after")
    def _can_be_invested(self) -> Self:
        """Refuse caps that no fully invested book obeys."""
        if self.fully_invested and (self.net_max_frac != 1.0 or self.gross_max_frac < 1.0):
            was = f"{self.net_max_frac:g} and {self.gross_max_frac:g}"
            raise ValueError(
                f"fully_invested needs net_max_frac = 1 (or none) and gross_max_frac of at least 1, was {was}"
            )
        return self


class MinVariance:
    """The allocator; it keeps nothing but its options and index arrays.

    Caps come before floors: a target that volumes, caps or a missing forecast put out of reach is approached
    as far as they allow, and ``binding`` has ``short:return`` or ``short:invested``. Without a floor the book
    of least variance is the empty one.

    Parameters
    ----------
    options : MinVarianceOptions
    context : AllocatorContext

    Raises
    ------
    ConfigError
        C251 for an ``every_min`` longer than a session.
    """

    def __init__(self, options: MinVarianceOptions, context: AllocatorContext) -> None:
        self._every_min, self._bar_min = checked_every_min(options.every_min, context), context.bar_min
        annual_frac, years = options.return_min_annual_frac, options.horizon_min / context.session_min
        years /= context.sessions_per_year
        self._limits = msgspec.structs.replace(
            options.limits(),
            net_min_frac=1.0 if options.fully_invested else None,
            return_min_frac=None if annual_frac is None else annual_frac * years,
        )
        # Variance alone, over a year: what is minimised is the square of the usual volatility.
        self._rates = Rates(1.0, 0.0, context.sessions_per_year, horizon_days=365.0, reward=0.0)
        self._wiring = wire(context.layout, context.capital_frac)
        self._method = Method(n_floors=options.fully_invested + (annual_frac is not None))

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - the clock alone decides here
        """Rebalance in every bar that a multiple of ``every_min`` minutes of the session lies in."""
        return is_due(minute, self._bar_min, self._every_min)

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Solve, check, and answer ``optimal`` or the reason why the book is held."""
        limits, rates = in_force(problem.controls, self._limits, self._rates)
        return rebalance(self._wiring, problem, limits, rates, self._method)
