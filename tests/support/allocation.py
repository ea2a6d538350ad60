"""Allocation problems for tests: layouts from pairs, and problems with every field sensible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.carry import Carry, Funding
from engine.ports import AllocationProblem, Instrument, Layout, Spread

E = 1_000_000.0


def layout_of(pairs: Sequence[str], singles: Sequence[str] = ()) -> Layout:
    """Build a layout from ``["JPM/C", ...]`` and the names held outside any spread."""
    spreads = tuple(Spread("test", pair, *pair.split("/")) for pair in pairs)
    names = [name for spread in spreads for name in (spread.y, spread.x or spread.y)] + list(singles)
    symbols = tuple(dict.fromkeys(names))
    return Layout(
        symbols=symbols,
        spreads=spreads,
        leg_symbol=np.array([symbols.index(name) for name in names]),
        leg_sleeve=np.array(
            [*np.repeat(np.arange(len(pairs)), 2), *range(len(pairs), len(pairs) + len(singles))]
        ),
        n_sleeves=len(pairs) + len(singles),
    )


def problem_of(layout: Layout, **changes: Any) -> AllocationProblem:
    """Build a flat book of $1M with no wish to trade; ``changes`` replace fields."""
    n, n_sleeves = len(layout.symbols), layout.n_sleeves
    covariance = np.full((n, n), 0.5e-4) + 0.5e-4 * np.eye(n)  # 1% a day, correlation 0.5
    if "covariance_daily" in changes:
        covariance = changes["covariance_daily"]
    ratio = np.where(np.arange(n_sleeves) < len(layout.spreads), 1.0, np.nan)
    fields: dict[str, Any] = {
        "ts_ns": 0,
        "state_version": 1,
        "layout": layout,
        "equity_usd": E,
        "price_usd": np.full(n, 100.0),
        "side": np.zeros(n_sleeves),
        "expected_return_frac": np.zeros(n_sleeves),
        "usd_ratio": ratio,
        "frozen_usd_ratio": ratio,
        "changed": (),
        "held_leg_frac": np.zeros(layout.leg_symbol.size),
        "covariance_daily": covariance,
        "factor_daily": np.linalg.cholesky(covariance),
        "known": np.ones(n, dtype=bool),
        "cost_frac": np.full(n, 1e-4),
        "volume_usd": np.full(n, 1e9),
        "participation_max_frac": 0.05,
        "var_budget_usd": 135_000.0,
        "var_factor": 2.3263478740408408 * np.sqrt(10.0) * 1.0373,
        "carry": Carry(np.zeros(n), np.zeros(n)),
        "is_reducing": False,
    }
    return AllocationProblem(**{**fields, **changes})


def random_carry(rng: np.random.Generator, layout: Layout) -> Carry:
    """Build a carry as a desk has it: some names hard to borrow, some with income."""
    instruments = [
        Instrument(
            symbol,
            borrow_bps=None if rng.random() < 0.5 else float(rng.uniform(0.0, 2_000.0)),
            income_frac=float(rng.choice([0.0, 0.02, 0.09])),
        )
        for symbol in layout.symbols
    ]
    return Funding(0.036, 50.0, 25.0, 40.0).carry(instruments)


def random_problem(
    seed: int, *, is_shared: bool | None = None, is_tight: bool | None = None
) -> AllocationProblem:
    """Build a problem of 1 to 7 spreads: held, wanted, flipped, unwanted; sometimes sharing symbols.

    ``is_tight`` makes volumes small against the holdings, so that participation stops most trades, and adds
    unknown symbols, missing prices and ratios, and the state REDUCING.
    """
    rng = np.random.default_rng(seed)
    is_shared = bool(rng.integers(2)) if is_shared is None else is_shared
    is_tight = bool(rng.integers(2)) if is_tight is None else is_tight
    n_spreads = int(rng.integers(1, 8))
    if is_shared:
        pool = [f"S{i}" for i in range(max(3, n_spreads))]
        pairs = ["/".join(rng.choice(pool, 2, replace=False)) for _ in range(n_spreads)]
    else:
        pairs = [f"Y{k}/X{k}" for k in range(n_spreads)]
    pairs = list(dict.fromkeys(pairs))
    n_spreads = len(pairs)
    singles = [] if rng.random() < 0.6 else [pairs[0].split("/")[0], "LONE"]
    layout = layout_of(pairs, singles)
    n, pad = len(layout.symbols), len(singles)
    noise = rng.normal(size=(n, n + 4)) * 0.012 / np.sqrt(n + 4) + rng.normal(size=(1, n + 4)) * 0.003
    side = rng.choice([-1.0, 0.0, 1.0], n_spreads)
    ratio = rng.uniform(0.5, 1.6, n_spreads) * rng.choice([1.0, 1.0, 1.0, -1.0], n_spreads)
    held_side = np.where(rng.random(n_spreads) < 0.7, side, rng.choice([-1.0, 0.0, 1.0], n_spreads))
    size = held_side * rng.uniform(0.0, 0.8, n_spreads) * (rng.random(n_spreads) < 0.6)
    old = ratio * rng.uniform(0.95, 1.05, n_spreads)
    legs = np.column_stack((size, -old * size)) / (1.0 + np.abs(old))[:, None]
    rough = is_tight and rng.random() < 0.5
    return problem_of(
        layout,
        side=np.r_[side, np.zeros(pad)],
        usd_ratio=np.r_[
            np.where(rng.random(n_spreads) < (0.1 if rough else 0.0), np.nan, ratio), np.full(pad, np.nan)
        ],
        expected_return_frac=np.r_[side * rng.uniform(-2e-4, 40e-4, n_spreads), np.zeros(pad)],
        held_leg_frac=np.r_[legs.ravel(), rng.uniform(-0.2, 0.2, pad)],
        covariance_daily=noise @ noise.T,
        known=rng.random(n) >= (0.1 if rough else 0.0),
        price_usd=np.where(rng.random(n) < (0.1 if rough else 0.0), np.nan, 100.0),
        volume_usd=rng.uniform(0.0, 4e6, n) if is_tight else rng.uniform(1e8, 1e9, n),
        var_budget_usd=float(rng.choice([20_000.0, 135_000.0])),
        carry=random_carry(np.random.default_rng([seed, 2]), layout),
        is_reducing=bool(rough and rng.random() < 0.5),
        history_return_frac=np.random.default_rng([seed, 1]).normal(0.0, 0.012, (80, n)),
    )
