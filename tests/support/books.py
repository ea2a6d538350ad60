"""Markets, layouts and golden books for tests of risk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.events import BoolArray, FloatArray
from engine.oversight import Market
from engine.ports import Layout
from risk.factor import market_of

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def golden_var() -> dict[str, Any]:
    """Return the golden numbers of VaR."""
    loaded: dict[str, Any] = json.loads((GOLDENS / "var.json").read_text())
    return loaded


def covariance_of(vol_daily: list[float], corr: list[list[float]]) -> FloatArray:
    """Return the covariance of these volatilities and correlations."""
    n = len(vol_daily)
    vol = np.array(vol_daily, dtype=np.float64)
    return np.array(corr, dtype=np.float64).reshape(n, n) * np.multiply.outer(vol, vol)


def market(covariance: FloatArray, known: BoolArray | None = None) -> Market:
    """Return the market of a covariance, taken as it is."""
    everything = np.ones(len(covariance), dtype=np.bool_)
    return market_of(covariance, everything if known is None else known, 0.0).market


def pairs_layout(n_symbols: int, legs: list[tuple[int, int]], singles: list[int] | None = None) -> Layout:
    """Return a layout of one sleeve for each (y, x), then one for each single name."""
    alone = singles or []
    leg_symbol = [symbol for pair in legs for symbol in pair] + alone
    leg_sleeve = [k for k in range(len(legs)) for _ in range(2)]
    leg_sleeve += [len(legs) + k for k in range(len(alone))]
    return Layout(
        symbols=tuple(f"S{i}" for i in range(n_symbols)),
        spreads=(),
        leg_symbol=np.array(leg_symbol, dtype=np.int64),
        leg_sleeve=np.array(leg_sleeve, dtype=np.int64),
        n_sleeves=len(legs) + len(alone),
    )
