"""Bars as the columns that a file of them would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.columns import BarColumns
from engine.events import Bar


def columns_of(bars: Sequence[Bar]) -> BarColumns:
    """Gather bars into columns."""
    names = tuple(sorted({bar.symbol for bar in bars}))
    code = {name: index for index, name in enumerate(names)}
    values = [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
    return BarColumns(
        np.array([bar.ts_close_ns for bar in bars], np.int64),
        np.array([code[bar.symbol] for bar in bars], np.int64),
        names,
        np.array(values, np.float64).reshape(-1, 5).T.copy(),
    )
