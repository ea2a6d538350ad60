"""What a rebalance must do, before anything is optimised: exits, re-hedges, and the room left for the rest.

A wanted side fixes the direction of a spread, v >= 0 USD of gross per USD of equity along its column
(1, -b)/(1 + |b|) times the side. What is held beyond that column (an exit, a flip, a ratio that moved) must
go, as far as participation allows, each sleeve at the pace of its tightest leg. Only v is left to the solver.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from engine.events import BoolArray, FloatArray, IntArray
from engine.ports import NO_CONTROLS, AllocationProblem, Layout

#: Weights under this (a ten-thousandth of a dollar on $1M) are rounding, not holdings.
DUST_FRAC = 1e-10


class Share(msgspec.Struct, frozen=True):
    """The most gross that the spreads of a strategy may have together.

    ``is_member`` marks them, shape (n_spreads,); ``gross_max_frac`` is a fraction of equity.
    """

    strategy: str
    gross_max_frac: float
    is_member: BoolArray


class Wiring(msgspec.Struct, frozen=True):
    """A layout as index arrays: the y and x legs of each spread, and the legs outside any spread.

    ``is_crowded`` marks the symbols that more than one sleeve trades, shape (n_symbols,).
    """

    layout: Layout
    y_leg: IntArray
    x_leg: IntArray
    single_leg: IntArray
    is_crowded: BoolArray
    shares: tuple[Share, ...] = ()

    @property
    def n_symbols(self) -> int:
        """Symbols in the universe."""
        return len(self.layout.symbols)

    def gross_of(self, share: Share, leg_frac: FloatArray) -> float:
        """Sum |weights| of the legs of a strategy's spreads; what nets with others still uses its share."""
        size = np.abs(leg_frac[self.y_leg]) + np.abs(leg_frac[self.x_leg])
        return float(size[share.is_member].sum())


class Plan(msgspec.Struct, frozen=True):
    """The mandatory part of a rebalance, and what bounds the rest.

    Sleeve arrays cover the spreads only, shape (n_spreads,); single names are never wanted.

    Parameters
    ----------
    held_frac : FloatArray, shape (n_symbols,)
        Net weights held.
    up_frac, down_frac : FloatArray, shape (n_symbols,)
        The most that may be bought and sold.
    fixed_leg_frac : FloatArray, shape (n_legs,)
        What stays whatever the solver says: frozen sleeves, and what participation keeps from going.
    column_y, column_x : FloatArray
        Weights of the legs at v = 1, with the sign of the wanted side; zero unless live.
    start : FloatArray
        v of what is held along the column: v = start trades only what is mandatory.
    v_max : FloatArray
    is_live : BoolArray
        Spreads whose v is left to the solver.
    is_shrink_only : BoolArray, shape (n_symbols,)
        Symbols whose position may not grow or flip: unknown to risk, or all of them when REDUCING.
    """

    held_frac: FloatArray
    up_frac: FloatArray
    down_frac: FloatArray
    fixed_leg_frac: FloatArray
    column_y: FloatArray
    column_x: FloatArray
    start: FloatArray
    v_max: FloatArray
    is_live: BoolArray
    is_shrink_only: BoolArray


def wire(layout: Layout, capital_frac: Mapping[str, float] = NO_CONTROLS) -> Wiring:
    """Index a layout; the legs of a spread are y first, then x.

    ``capital_frac`` is the share of each strategy that has one, by name.
    """
    order = np.argsort(layout.leg_sleeve, kind="stable")
    n_spreads = len(layout.spreads)
    n_symbols = len(layout.symbols)
    # The two legs of an outright are of one symbol and one sleeve: that is no crowd.
    of_sleeves = np.unique(layout.leg_sleeve * n_symbols + layout.leg_symbol) % n_symbols
    sleeves_of = np.bincount(of_sleeves, minlength=n_symbols)
    strategies = [spread.strategy for spread in layout.spreads]
    return Wiring(
        layout=layout,
        y_leg=order[0 : 2 * n_spreads : 2],
        x_leg=order[1 : 2 * n_spreads : 2],
        single_leg=order[2 * n_spreads :],
        is_crowded=sleeves_of > 1,
        shares=tuple(
            Share(name, frac, np.array([strategy == name for strategy in strategies]))
            for name, frac in capital_frac.items()
            if name in strategies
        ),
    )


def make_plan(wiring: Wiring, problem: AllocationProblem, gross_max_frac: float) -> Plan:
    """Settle what is mandatory; the solver is left with the live spreads.

    Parameters
    ----------
    wiring : Wiring
    problem : AllocationProblem
        Finite where :func:`strategies.allocators.checks.bad_inputs` demands it.
    gross_max_frac : float
        No single spread may be larger than the whole book may be.

    Notes
    -----
    A sleeve is frozen (held as it is) when a leg cannot trade (no price, no volume), or when its side is
    wanted and its ratio unknown. A sleeve that cannot finish its mandatory trade does not grow, nor does one
    that touches a symbol risk cannot measure, nor any when REDUCING.
    """
    y_leg, x_leg, symbol = wiring.y_leg, wiring.x_leg, wiring.layout.leg_symbol
    y, x = symbol[y_leg], symbol[x_leg]
    held_leg = problem.held_leg_frac
    held = wiring.layout.net(held_leg)
    up, down, is_dead, is_shrink_only = _room(problem, held)

    n_spreads = len(y_leg)
    side, ratio = problem.side[:n_spreads], problem.usd_ratio[:n_spreads]
    is_frozen = is_dead[y] | is_dead[x] | ((side != 0.0) & ~np.isfinite(ratio))
    is_wanted = (side != 0.0) & ~is_frozen
    b = np.where(is_wanted, ratio, 0.0)
    unit = np.where(is_wanted, side, 0.0) / (1.0 + np.abs(b))
    column_y, column_x = unit, -b * unit

    held_y, held_x = held_leg[y_leg], held_leg[x_leg]
    along_y = np.divide(held_y, column_y, out=np.full(n_spreads, np.inf), where=column_y != 0.0)
    along_x = np.divide(held_x, column_x, out=np.full(n_spreads, np.inf), where=column_x != 0.0)
    start = np.where(is_wanted, np.maximum(np.minimum(along_y, along_x), 0.0), 0.0)

    surplus = np.zeros_like(held_leg)  # what of each leg must go
    surplus[y_leg] = np.where(is_frozen, 0.0, held_y - column_y * start)
    surplus[x_leg] = np.where(is_frozen, 0.0, held_x - column_x * start)
    singles = wiring.single_leg
    is_stuck = is_dead[symbol[singles]]
    surplus[singles] = np.where(is_stuck, 0.0, held_leg[singles])
    surplus[np.abs(surplus) < DUST_FRAC] = 0.0

    pace = pace_of(wiring, surplus, up, down)
    fixed = (1.0 - pace[wiring.layout.leg_sleeve]) * surplus
    fixed[y_leg] += np.where(is_frozen, held_y, 0.0)
    fixed[x_leg] += np.where(is_frozen, held_x, 0.0)
    fixed[singles] += np.where(is_stuck, held_leg[singles], 0.0)

    may_grow = (pace[:n_spreads] == 1.0) & ~is_shrink_only[y] & ~is_shrink_only[x]
    v_max = np.where(may_grow, np.maximum(gross_max_frac, start), start)
    is_live = is_wanted & (v_max > DUST_FRAC)
    return Plan(
        held_frac=held,
        up_frac=up,
        down_frac=down,
        fixed_leg_frac=fixed,
        column_y=np.where(is_live, column_y, 0.0),
        column_x=np.where(is_live, column_x, 0.0),
        start=np.where(is_live, start, 0.0),
        v_max=v_max,
        is_live=is_live,
        is_shrink_only=is_shrink_only,
    )


def legs_at(wiring: Wiring, plan: Plan, v: FloatArray) -> FloatArray:
    """Weights of all legs, shape (n_legs,), when the spreads have size ``v``, shape (n_spreads,)."""
    legs = plan.fixed_leg_frac.copy()
    legs[wiring.y_leg] += plan.column_y * v
    legs[wiring.x_leg] += plan.column_x * v
    return legs


def _room(
    problem: AllocationProblem, held: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray, BoolArray]:
    """Return how much of each symbol may be bought and sold, and which are dead and shrink-only."""
    volume = np.where(problem.volume_usd > 0.0, problem.volume_usd, 0.0)
    room = problem.participation_max_frac * volume / problem.equity_usd
    is_dead = ~(problem.price_usd > 0.0) | ~(room > DUST_FRAC)
    room = np.where(is_dead, 0.0, room)
    is_shrink_only = ~problem.known | problem.is_reducing
    up = np.where(is_shrink_only, np.clip(-held, 0.0, room), room)
    down = np.where(is_shrink_only, np.clip(held, 0.0, room), room)
    return up, down, is_dead, is_shrink_only


def pace_of(wiring: Wiring, surplus: FloatArray, up: FloatArray, down: FloatArray) -> FloatArray:
    """Return the share of its trade (minus ``surplus``, by leg) that each sleeve may do now, by sleeve.

    All of it when the net trades fit. Otherwise each symbol's room is shared pro rata among the legs that
    trade in that direction, without counting on others to net: what is allowed then fits for certain.
    """
    layout = wiring.layout
    n_sleeves = layout.n_sleeves
    net = layout.net(-surplus)
    if np.all((net <= up + DUST_FRAC) & (net >= -down - DUST_FRAC)):
        return np.ones(n_sleeves)
    bought = layout.net(np.maximum(-surplus, 0.0))
    sold = layout.net(np.maximum(surplus, 0.0))
    share_up = np.divide(up, bought, out=np.ones_like(up), where=bought > up)
    share_down = np.divide(down, sold, out=np.ones_like(down), where=sold > down)
    symbol = layout.leg_symbol
    share = np.where(surplus < 0.0, share_up[symbol], np.where(surplus > 0.0, share_down[symbol], 1.0))
    pace = np.ones(n_sleeves)
    np.minimum.at(pace, layout.leg_sleeve, share)
    return pace
