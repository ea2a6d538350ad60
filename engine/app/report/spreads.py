"""What a report shows of single spreads: beta, spread and z over time, with the signals on them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from engine.app.report.charts import Clock, Line, chart
from engine.events import FloatArray, IntArray

#: More spreads than these would make the page long; trace.parquet has them all.
SPREADS_MAX: Final = 3
#: Columns of trace.parquet that are drawn.
DRAWN: Final = ("beta", "innovation", "z")
_POINTS_MAX: Final = 1_000
_MARKS_MAX: Final = 300
_TITLES: Final = {
    "beta": "{spread}: hedge ratio (beta)",
    "innovation": "{spread}: spread{forecast}",
    "z": "{spread}: z{unit}, and signals",
}
_FORECAST: Final = ", against the model's forecast"


class SpreadPath(msgspec.Struct, frozen=True):
    """What a run traced of one spread: ``values`` has shape (len(DRAWN), n_slices), NaN where unknown."""

    strategy: str
    spread: str
    ts_ns: IntArray
    values: FloatArray


class Paths:
    """Gathers the first ``SPREADS_MAX`` spreads of a trace, batch by batch."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], list[tuple[IntArray, FloatArray]]] = {}

    def add(self, batch: pa.RecordBatch, ts_ns: IntArray) -> None:
        """Take the rows of the chosen spreads."""
        strategy, spread = (batch.column(name).dictionary_encode() for name in ("strategy", "spread"))
        codes = strategy.indices.to_numpy(), spread.indices.to_numpy()
        names = strategy.dictionary.to_pylist(), spread.dictionary.to_pylist()
        values = np.array([batch.column(name).to_numpy(zero_copy_only=False) for name in DRAWN])
        pairs = list(zip(codes[0].tolist(), codes[1].tolist(), strict=True))
        for i, j in dict.fromkeys(pairs):
            name = (names[0][i], names[1][j])
            if name in self._parts or len(self._parts) < SPREADS_MAX:
                rows = np.flatnonzero((codes[0] == i) & (codes[1] == j))
                self._parts.setdefault(name, []).append((ts_ns[rows], values[:, rows]))

    def spreads(self) -> list[SpreadPath]:
        """Return what was gathered, in the order of the trace."""
        return [
            SpreadPath(
                *name,
                np.concatenate([ts_ns for ts_ns, _ in parts]),
                np.concatenate([values for _, values in parts], axis=1),
            )
            for name, parts in self._parts.items()
        ]


class Signals(msgspec.Struct, frozen=True):
    """Signals of one spread, in order of time: side is LONG, SHORT or FLAT."""

    ts_ns: IntArray
    sides: list[str]


def spread_charts(
    path: SpreadPath, signals: Signals, entry_z: float | None, clock: Clock, number: int, z_unit: str
) -> list[dict[str, Any]]:
    """Return the charts of one spread: beta if it moves, spread and z, each without what was never known.

    Parameters
    ----------
    path : SpreadPath
    signals : Signals
        Of that spread.
    entry_z : float or None
        Drawn as two lines beside z.
    clock : Clock
    number : int
        Of the spread on the page.
    z_unit : str
        Unit of z; empty for standard deviations.
    """
    at = np.searchsorted(path.ts_ns, signals.ts_ns)
    marks = [(int(row), side) for row, side in zip(at, signals.sides, strict=True) if row < len(path.ts_ns)]
    # Only a filter that forecasts the spread measures z in standard deviations of what it missed.
    words = {"unit": f" in {z_unit}" if z_unit else "", "forecast": "" if z_unit else _FORECAST}
    charts = []
    for name, values in zip(DRAWN, _once_settled(path.values), strict=True):
        known = values[np.isfinite(values)]
        if not known.size or (name == "beta" and known.min() == known.max()):
            continue
        shown = [] if name == "beta" else marks[-_MARKS_MAX:]
        lines = [Line({"innovation": "Spread"}.get(name, name.capitalize()), "main", values)]
        if name == "z" and entry_z is not None:
            lines += [
                Line(f"{label} beyond", "budget", np.full(len(values), level))
                for label, level in (("Short", entry_z), ("Long", -entry_z))
            ]
        rows = np.array([row for row, _ in shown], dtype=np.int64)
        charts.append(
            {
                "id": f"spread-{number}-{name}",
                "section": "spreads",
                "title": _TITLES[name].format(spread=path.spread, **words),
                "height": 150 if name == "beta" else 180,
                "alt": _alt(values, len(shown), len(marks) if name != "beta" else 0),
                "marks": [(row, _drawn(values[row]), side) for row, side in shown],
                **chart(path.ts_ns, lines, "number", clock, _POINTS_MAX, rows),
            }
        )
    return charts


def _once_settled(values: FloatArray) -> FloatArray:
    """Leave out what stands before the first z: a filter on its way to its first estimate hides all else."""
    first = np.flatnonzero(np.isfinite(values[DRAWN.index("z")]))[:1]
    settled = values.copy()
    settled[:, : int(first.sum())] = np.nan
    return settled


def _drawn(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _alt(values: FloatArray, n_shown: int, n_signals: int) -> str:
    known = values[np.isfinite(values)]
    first, last, lowest, highest = (f"{v:.4g}" for v in (known[0], known[-1], known.min(), known.max()))
    words = f"It began at {first} and ended at {last}; lowest {lowest}, highest {highest}."
    if n_signals == 0:
        return words
    which = f"the last {n_shown:,} of {n_signals:,}" if n_shown < n_signals else f"{n_signals:,}"
    return f"{words} Marked are {which} signals: ▲ long, ▼ short, ○ flat."
