"""What a peer's process is given, and what it prints."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.tape import Size, Tally


class Task(NamedTuple):
    """A tape, and whether to trade it."""

    bars: NDArray[np.float64]
    trades: bool

    @property
    def size(self) -> Size:
        """Pairs and minutes of the tape."""
        return Size(self.bars.shape[2] // 2, self.bars.shape[0])


def read_task() -> Task:
    """Read ``TAPE.npy signals|fills`` from the command line."""
    path, what = sys.argv[1:3]
    return Task(np.load(path), what == "fills")


def answer(version: str, seconds: float, load_s: float, tally: Tally, fills: int) -> None:
    """Print the result as the last line.

    Parameters
    ----------
    version : str
        Of the peer.
    seconds, load_s : float
        Of the run, and of making the peer's own bars before it.
    tally : Tally
    fills : int
    """
    print(
        json.dumps({"version": version, "seconds": seconds, "load_s": load_s, "tally": tally, "fills": fills})
    )
