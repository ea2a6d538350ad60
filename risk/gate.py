"""The gate: the only place that makes a ``TargetApproved``, and so the only way to a trade.

It asks one question of every change of book, before any order and again at the prices of the fill: what will
VaR be afterwards? Rules and reasons are in docs/maths/gate_and_halt.md; they fail closed, since a VaR that is
NaN is not below anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from engine import legs
from engine.events import (
    BoolArray,
    FloatArray,
    IntArray,
    Nanos,
    TargetApproved,
    TargetRefused,
    TradingState,
)
from engine.kernel import kernel
from engine.oversight import Change, RiskModel, Verdict

HALTED: Final = "halted"
NO_CHANGE: Final = "no_change"
REDUCING: Final = "reducing"
RISK_UNKNOWN: Final = "risk_unknown"
RISK_WARMING_UP: Final = "risk_warming_up"
PRICE_UNKNOWN: Final = "price_unknown"
VAR_BUDGET: Final = "var_budget"

#: What ``measurable`` says, by index.
_WHY_NOT: Final = ("", PRICE_UNKNOWN, RISK_WARMING_UP)
#: Points at which a book above its budget is searched for a scale that meets it.
_GRID = 16
#: The scale is exact to this; a smaller one is none.
_SCALE_TOLERANCE = 1e-9
_MAX_STEPS = 60
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
#: Shares by which a position may seem to grow from rounding.
_POSITION_TOLERANCE = 1e-9


class RiskGate:
    """Prospective VaR of every change of book.

    Parameters
    ----------
    model : RiskModel
    var_budget_usd : float
        What the upper bound of VaR may reach.
    """

    def __init__(self, model: RiskModel, var_budget_usd: float) -> None:
        self._model = model
        self._budget_usd = var_budget_usd

    def set_budget(self, var_budget_usd: float) -> None:
        """Follow a change of the limit."""
        self._budget_usd = var_budget_usd

    def reissue(self, fields: Sequence[Any]) -> TargetApproved:
        """Make again the approval that a snapshot of this engine recorded, from its fields in order."""
        ts_ns, leg_quantity, weight_frac, *rest = fields
        return TargetApproved(ts_ns, tuple(leg_quantity), tuple(weight_frac), *rest)

    def judge(
        self,
        ts_ns: Nanos,
        change: Change,
        equity_usd: float,
        trading_state: TradingState,
        is_flatten: bool,
    ) -> TargetApproved | TargetRefused:
        """Approve, scale down, or refuse a target.

        Parameters
        ----------
        ts_ns : int
            Close of the slice the target was decided on.
        change : Change
            From the book as it is to the target.
        equity_usd : float
        trading_state : TradingState
        is_flatten : bool
            A signed order to go flat: the only change that HALTED lets through.

        Returns
        -------
        TargetApproved or TargetRefused
            ``scale`` is the largest granted to any leg that wanted to change.
        """
        verdict = self._decide(change, trading_state, is_flatten)
        if verdict.reason:
            weights = _holdings_usd(change, change.target) / equity_usd
            return TargetRefused(ts_ns, verdict.reason, tuple(weights.tolist()))
        granted, scale = change.target, 1.0
        if not verdict.is_whole:
            granted = legs.part_way(change.held, change.target, verdict.scale)
            scale = float(verdict.scale.max())
        weights = _holdings_usd(change, granted) / equity_usd
        return TargetApproved(
            ts_ns,
            tuple(granted.tolist()),
            tuple(weights.tolist()),
            scale,
            verdict.var_upper_usd,
            is_flatten,
        )

    def recheck(self, change: Change, trading_state: TradingState, is_flatten: bool) -> Verdict:
        """Test an approved target once more, at the prices of the fill."""
        return self._decide(change, trading_state, is_flatten)

    def _decide(self, change: Change, trading_state: TradingState, is_flatten: bool) -> Verdict:
        if trading_state is TradingState.HALTED and not is_flatten:
            return _refuse(change, HALTED)
        if legs.is_same(change.held, change.target):
            return _refuse(change, NO_CHANGE)
        if is_flatten or trading_state is TradingState.REDUCING:
            return self._reduce(change, is_flatten)
        return self._within_budget(change)

    def _upper(self, change: Change, leg_quantity: FloatArray) -> float:
        return self._model.measure(_holdings_usd(change, leg_quantity), change.market).var_upper_usd

    def _within_budget(self, change: Change) -> Verdict:
        """ACTIVE: the largest step towards the target that stays within the budget."""
        if change.market.reason:
            return _refuse(change, RISK_UNKNOWN)
        layout = change.layout
        may_move = np.empty(len(change.target))
        reason = measurable(
            change.target,
            layout.leg_symbol,
            layout.leg_sleeve,
            layout.n_sleeves,
            change.price_usd,
            change.market.known,
            may_move,
        )
        allowed = change
        if reason:
            allowed = msgspec.structs.replace(
                change, target=legs.part_way(change.held, change.target, may_move)
            )
            if legs.is_same(allowed.held, allowed.target):
                return _refuse(change, _WHY_NOT[reason])

        def upper(scale: float) -> float:
            holdings_usd = np.empty(len(change.price_usd))
            legs.holdings_part_way(
                allowed.held, allowed.target, scale, layout.leg_symbol, change.price_usd, holdings_usd
            )
            return self._model.measure(holdings_usd, change.market).var_upper_usd

        scale, upper_usd = largest_scale(upper, self._budget_usd)
        if scale > _SCALE_TOLERANCE:
            return Verdict(may_move if scale == 1.0 else may_move * scale, upper_usd)
        if math.isnan(upper_usd):
            return _refuse(change, RISK_UNKNOWN)
        if upper_usd > self._budget_usd:  # the book itself is above: what only reduces it may pass
            verdict = self._reduce(allowed, is_flatten=False)
            if not verdict.reason:
                return verdict
        return _refuse(change, VAR_BUDGET)

    def _reduce(self, change: Change, is_flatten: bool) -> Verdict:
        """Grant what lowers VaR and grows no position: the whole basket, or sleeve by sleeve in order."""
        held_usd = self._upper(change, change.held)
        target_usd = self._upper(change, change.target)
        is_unknown = math.isnan(held_usd) or math.isnan(target_usd)
        if is_flatten and _is_common_cut(change, within_lots=is_unknown):
            return Verdict(np.ones(len(change.held)), target_usd)
        if target_usd < held_usd and not _grows(change, change.held, change.target):
            return Verdict(np.ones(len(change.held)), target_usd)
        current, current_usd = change.held, held_usd
        scale = np.zeros(len(change.held))
        for sleeve in np.unique(change.layout.leg_sleeve[change.held != change.target]).tolist():
            of_sleeve = change.layout.leg_sleeve == sleeve
            trial = np.where(of_sleeve, change.target, current)
            trial_usd = self._upper(change, trial)
            if trial_usd < current_usd and not _grows(change, current, trial):
                current, current_usd = trial, trial_usd
                scale[of_sleeve] = 1.0
        return Verdict(scale, current_usd) if scale.any() else _refuse(change, REDUCING)


def largest_scale(upper: Callable[[float], float], budget_usd: float) -> tuple[float, float]:
    """Find the largest λ in [0, 1] with ``upper(λ)`` within the budget.

    Along a line the VaR of an elliptical book is convex, so what meets the budget is an interval: if the held
    book meets it, [0, λ], whose end regula falsi (Illinois) finds; else its lowest point is sought first.
    The answer has been evaluated itself, so it meets the budget to the last bit.

    Parameters
    ----------
    upper : callable
        VaR's upper bound at w0 + λ (w − w0).
    budget_usd : float

    Returns
    -------
    scale : float
        0 if there is none.
    upper_usd : float
        At that scale; NaN if the target cannot be measured.

    Examples
    --------
    >>> largest_scale(lambda scale: 100.0 + 100.0 * scale, 150.0)
    (0.5, 150.0)
    """
    high, at_high = 1.0, upper(1.0)
    if at_high <= budget_usd:
        return high, at_high
    if math.isnan(at_high):
        return 0.0, at_high
    low, at_low = 0.0, upper(0.0)
    if not at_low <= budget_usd:
        scale, value = _least(upper)
        if not value <= budget_usd:
            return 0.0, at_low
        low, at_low = scale, value
    over_low, over_high, side = at_low - budget_usd, at_high - budget_usd, 0
    for _ in range(_MAX_STEPS):
        if high - low <= _SCALE_TOLERANCE or budget_usd - at_low <= _SCALE_TOLERANCE * budget_usd:
            break
        middle = (low * over_high - high * over_low) / (over_high - over_low)
        if not low < middle < high:
            middle = 0.5 * (low + high)
        value = upper(middle)
        if value <= budget_usd:
            low, at_low, over_low = middle, value, value - budget_usd
            over_high = 0.5 * over_high if side < 0 else over_high
            side = -1
        else:
            high, over_high = middle, value - budget_usd
            over_low = 0.5 * over_low if side > 0 else over_low
            side = 1
    return low, at_low


def _least(upper: Callable[[float], float]) -> tuple[float, float]:
    """Find the least of a convex function on [0, 1]: the best of a grid, then golden section around it."""
    value, best = min((upper(step / _GRID), step) for step in range(_GRID + 1))
    low, high = max(best - 1, 0) / _GRID, min(best + 1, _GRID) / _GRID
    scale = best / _GRID
    for _ in range(_MAX_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        at_left, at_right = upper(left), upper(right)
        value, scale = min((value, scale), (at_left, left), (at_right, right))
        low, high = (low, right) if at_left <= at_right else (left, high)
        if high - low <= _SCALE_TOLERANCE:
            break
    return scale, value


def _holdings_usd(change: Change, leg_quantity: FloatArray) -> FloatArray:
    return legs.holdings_usd(leg_quantity, change.layout.leg_symbol, change.price_usd)


def _refuse(change: Change, reason: str) -> Verdict:
    return Verdict(np.zeros(len(change.held)), math.nan, reason)


@kernel
def measurable(
    target: FloatArray,
    leg_symbol: IntArray,
    leg_sleeve: IntArray,
    n_sleeves: int,
    price_usd: FloatArray,
    known: BoolArray,
    may_move: FloatArray,
) -> int:
    """Find the sleeves whose target holds no symbol that risk cannot measure.

    Parameters
    ----------
    target : FloatArray, shape (n_legs,)
        Shares.
    leg_symbol, leg_sleeve : IntArray, shape (n_legs,)
    n_sleeves : int
    price_usd : FloatArray, shape (n_symbols,)
    known : BoolArray, shape (n_symbols,)
    may_move : FloatArray, shape (n_legs,)
        Written: 1 for the legs of such sleeves, 0 for all others.

    Returns
    -------
    int
        Index into ``_WHY_NOT`` of the gravest obstacle, 0 for none.
    """
    blocked = np.zeros(n_sleeves, dtype=np.bool_)
    reason = 0
    for leg in range(target.size):
        symbol = leg_symbol[leg]
        is_priced = 0.0 < price_usd[symbol] < np.inf
        if target[leg] != 0.0 and not (known[symbol] and is_priced):
            blocked[leg_sleeve[leg]] = True
            reason = max(reason, 1 if known[symbol] else 2)
    for leg in range(target.size):
        may_move[leg] = 0.0 if blocked[leg_sleeve[leg]] else 1.0
    return reason


def _grows(change: Change, held: FloatArray, target: FloatArray) -> bool:
    """Whether a net position grows or changes its sign; NaN does."""
    before, after = change.layout.net(held), change.layout.net(target)
    along = after * np.sign(before)
    tolerance = _POSITION_TOLERANCE * (1.0 + np.abs(before))
    is_within = (along >= -tolerance) & (along <= np.abs(before) + tolerance)
    return not bool(np.where(before == 0.0, np.abs(after) <= tolerance, is_within).all())


def _is_common_cut(change: Change, *, within_lots: bool) -> bool:
    """Whether every net position is cut by one fraction: this lowers VaR whatever Σ is, known or not.

    With ``within_lots`` a position may be cut less, by no more than a lot for each of its legs.
    """
    layout = change.layout
    before, after = layout.net(change.held), layout.net(change.target)
    if not (before.any() and np.isfinite(before).all()) or _grows(change, change.held, change.target):
        return False
    is_held = before != 0.0
    size = np.abs(before[is_held])
    along = after[is_held] * np.sign(before[is_held])
    tolerance = _POSITION_TOLERANCE * (1.0 + size)
    slack, over = tolerance, tolerance
    if within_lots:
        n_legs = np.bincount(layout.leg_symbol[change.held != 0.0], minlength=len(before))[is_held]
        lot = layout.lot[is_held]
        slack, over = tolerance + n_legs * lot, tolerance + np.maximum(n_legs - 1, 0) * lot
    kept_min, kept_max = ((along - slack) / size).max(), ((along + over) / size).min()
    return bool(kept_min <= kept_max and kept_min < 1.0 and (along < size).any())
