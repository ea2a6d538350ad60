"""What goes wrong in real feeds, seeded and at given rates."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.columns import BarColumns
from engine.events import CLOSE, LOW, OPEN, VOLUME, FloatArray, IntArray

#: A late bar comes so many rows after its place.
_LATE_ROWS = 400


class Faults(BaseModel):
    """Shares of bars that something happens to; 0 is a clean tape."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gap_frac: float = Field(default=0.0, ge=0, le=1, description="bars that never come")
    duplicate_frac: float = Field(default=0.0, ge=0, le=1, description="bars that come twice")
    conflict_frac: float = Field(
        default=0.0, ge=0, le=1, description="bars that come again with another close"
    )
    late_frac: float = Field(default=0.0, ge=0, le=1, description="bars that come minutes after their time")
    fat_finger_frac: float = Field(
        default=0.0, ge=0, le=1, description="bars with prices a hundred times too high"
    )
    nan_frac: float = Field(default=0.0, ge=0, le=1, description="bars with a price that is no number")
    split: bool = Field(
        default=False, description="4:1 split of the first symbol in the middle of the tape, unadjusted"
    )


def _split(columns: BarColumns) -> FloatArray:
    """Divide the first symbol's prices by 4, and multiply its volumes, from the middle of the tape on."""
    values = columns.values.copy()
    middle = columns.ts_close_ns[len(columns) // 2]
    is_after = (columns.code == 0) & (columns.ts_close_ns >= middle)
    values[OPEN:VOLUME, is_after] = np.round(values[OPEN:VOLUME, is_after] / 4.0, 4)
    values[VOLUME, is_after] *= 4.0
    return values


def with_faults(columns: BarColumns, faults: Faults, seed: int) -> BarColumns:
    """Return the tape with faults; each kind has a stream of its own, so that one does not shift another.

    Parameters
    ----------
    columns : BarColumns
        A clean tape in time order.
    faults : Faults
    seed : int

    Returns
    -------
    BarColumns
        In arrival order.
    """
    if faults == Faults():
        return columns

    def chosen(stream: int, share: float) -> IntArray:
        rng = np.random.Generator(np.random.Philox(key=[seed, 16 + stream]))
        return np.flatnonzero(rng.random(len(columns)) < share)

    values = _split(columns) if faults.split else columns.values.copy()
    values[OPEN:VOLUME, chosen(0, faults.fat_finger_frac)] *= 100.0
    values[CLOSE, chosen(1, faults.nan_frac)] = np.nan
    twice, again = chosen(2, faults.duplicate_frac), chosen(3, faults.conflict_frac)
    place = np.arange(len(columns), dtype=np.int64)
    kept = np.ones(len(columns), bool)
    kept[chosen(4, faults.gap_frac)] = False
    place[chosen(5, faults.late_frac)] += _LATE_ROWS

    rows = np.concatenate([np.flatnonzero(kept), twice, again])
    values = values[:, rows]
    # The second version of a bar closes at its low: other content, and yet a sound bar.
    repeated = slice(len(rows) - len(again), None)
    values[CLOSE, repeated] = values[LOW, repeated]
    order = np.argsort(place[rows], kind="stable")
    taken = rows[order]
    return BarColumns(columns.ts_close_ns[taken], columns.code[taken], columns.names, values[:, order])
