"""Mean-variance with costs, carry and a VaR cone, over spreads: the default allocator, and two of its kin.

    maximise    alpha's - gamma w'(h Sigma)w - tau sum c|w - w0| - carry(w)
    subject to  gross, net, per-name and participation caps, the wanted sides, VaR upper <= budget

with w = Bs and column k of B equal to (1, -b)/(1 + |b|), so that the solver cannot break a hedge. The
formulas are explained in docs/maths/mean_variance.md; ``rebalance`` has the steps that lead to an answer.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from engine.ports import AllocationProblem, AllocatorContext, Targets
from engine.sessions import is_due
from strategies.allocators.checks import Limits, Rates
from strategies.allocators.parameters import Method
from strategies.allocators.plan import wire
from strategies.allocators.rebalance import ONE_STEP, checked_every_min, in_force, rebalance


class BookOptions(BaseModel):
    """When to rebalance, and under which caps: of every kind that solves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_min: int = Field(30, ge=1, description="Rebalance every so many minutes of the session.")
    gross_max_frac: float = Field(2.0, gt=0.0, le=20.0, description="Cap on the sum of |weights|.")
    net_max_frac: float = Field(0.05, gt=0.0, le=20.0, description="Cap on |sum of weights|.")
    name_max_frac: float = Field(1.0, gt=0.0, le=20.0, description="Cap on the |weight| of any symbol.")
    horizon_min: float = Field(
        60.0,
        gt=0.0,
        allow_inf_nan=False,
        description="Horizon of forecasts, risk and carry, session minutes.",
    )

    def limits(self) -> Limits:
        """Return the caps."""
        return Limits(self.gross_max_frac, self.net_max_frac, self.name_max_frac)


class MeanVarianceOptions(BookOptions):
    """``[allocator] kind = "mean_variance"``."""

    risk_aversion: float = Field(
        15.0, ge=0.0, allow_inf_nan=False, description="gamma; 0.5 bets like Kelly, larger bets less."
    )
    trade_aversion: float = Field(
        1.0, ge=0.0, allow_inf_nan=False, description="tau; 1 counts true costs, larger trades less."
    )


class NoTradeBufferOptions(BookOptions):
    """``[allocator] kind = "no_trade_buffer"``."""

    risk_aversion: float = Field(15.0, ge=0.0, allow_inf_nan=False, description="gamma of the target.")
    buffer_frac: float = Field(
        0.2, ge=0.0, le=1.0, description="Half-width of the band, as a fraction of the target."
    )


class MultiPeriodOptions(MeanVarianceOptions):
    """``[allocator] kind = "multi_period"``."""

    steps: int = Field(4, ge=1, le=50, description="Horizons that are planned; the first is traded.")
    forecast_half_life_min: float = Field(
        60.0, gt=0.0, allow_inf_nan=False, description="Minutes until a forecast has halved."
    )
    ends_flat: bool = Field(True, description="Charge the plan for leaving what it holds at its end.")


class MeanVariance:
    """The allocator; it keeps nothing but its options and index arrays.

    Caps and aversions are those of the problem's ``controls`` where it has them. A cap that is cut below what
    is held is reached as fast as participation allows, and never makes a problem infeasible.

    Parameters
    ----------
    options : BookOptions
        An aversion that it does not have is 0.
    context : AllocatorContext
    method : Method
        One step, and what the solver says, unless it says otherwise.

    Raises
    ------
    ConfigError
        C251 for an ``every_min`` longer than a session.
    """

    def __init__(self, options: BookOptions, context: AllocatorContext, method: Method = ONE_STEP) -> None:
        self._every_min, self._bar_min = checked_every_min(options.every_min, context), context.bar_min
        self._limits = options.limits()
        aversions = {"risk_aversion": 0.0, "trade_aversion": 0.0}
        aversions |= options.model_dump(include=set(aversions))
        self._rates = Rates(
            **aversions,
            horizon_sessions=options.horizon_min / context.session_min,
            horizon_days=context.calendar_days(options.horizon_min),
        )
        self._wiring = wire(context.layout, context.capital_frac)
        self._method = method

    def due(self, minute: int, n_changed: int) -> bool:  # noqa: ARG002 - the clock alone decides here
        """Rebalance in every bar that a multiple of ``every_min`` minutes of the session lies in."""
        return is_due(minute, self._bar_min, self._every_min)

    def allocate(self, problem: AllocationProblem) -> Targets:
        """Solve, check, and answer ``optimal`` or the reason why the book is held."""
        limits, rates = in_force(problem.controls, self._limits, self._rates)
        return rebalance(self._wiring, problem, limits, rates, self._method)


def no_trade_buffer(options: NoTradeBufferOptions, context: AllocatorContext) -> MeanVariance:
    """Hold each spread inside a band around its size without costs; trade from outside to the edge only."""
    return MeanVariance(options, context, Method(buffer_frac=options.buffer_frac))


def multi_period(options: MultiPeriodOptions, context: AllocatorContext) -> MeanVariance:
    """Plan several horizons under forecasts that decay, and trade the first (Boyd et al., 2017)."""
    decay_frac = 0.5 ** (options.horizon_min / options.forecast_half_life_min)
    return MeanVariance(options, context, Method(options.steps, decay_frac, options.ends_flat))
