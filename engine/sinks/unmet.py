"""What strategies wanted and did not get, and why: counted as a run goes, for the notes of its summary."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from engine.desk import TradingDesk
from engine.events import AllocationDone, Side, Signal

#: Notes; their meanings are in docs/run-folder.md.
NOT_MEASURED: Final = "not_measured"
NO_TARGET: Final = "allocator_no_target"
_HISTORY: Final = "history_return_frac"
_BP: Final = 1e4


class Unmet:
    """Wishes of a run that came to nothing.

    Parameters
    ----------
    desk : TradingDesk
        Of the run; read, never changed.
    weighs_returns : bool
        Whether the allocator weighs what is expected of a spread against its costs.
    """

    def __init__(self, desk: TradingDesk, weighs_returns: bool) -> None:
        self._desk = desk
        self._weighs_returns = weighs_returns
        layout = desk.book.layout
        self._names = layout.sleeve_names
        self._sleeve = {(spread.strategy, spread.name): k for k, spread in enumerate(layout.spreads)}
        self._is_wanted = np.zeros(layout.n_sleeves, dtype=np.bool_)
        self._bars = np.zeros(layout.n_sleeves, dtype=np.int64)
        self._lacks_history = False
        self._entries = self._answers = self._solved = 0
        self._best_frac = -math.inf
        self._is_target_made = False

    def on_signal(self, signal: Signal) -> None:
        """Take a change of side."""
        is_entry = signal.side is not Side.FLAT
        self._is_wanted[self._sleeve[signal.strategy, signal.spread]] = is_entry
        if is_entry:
            self._entries += 1
            toward = signal.expected_return_frac if signal.side is Side.LONG else -signal.expected_return_frac
            self._best_frac = max(self._best_frac, toward)  # NaN is never the larger

    def on_answer(self, done: AllocationDone) -> None:
        """Take an answer of the allocator."""
        self._answers += 1
        self._solved += done.status == "optimal"
        self._lacks_history = done.status == "bad_input" and _HISTORY in done.binding

    def on_target(self) -> None:
        """Note that the allocator wished to trade something."""
        self._is_target_made = True

    def on_bars(self, n: int) -> None:
        """Count bars at whose end a spread is wanted that risk, or the allocator, cannot measure yet."""
        if not self._is_wanted.any():
            return
        if self._lacks_history:
            self._bars[self._is_wanted] += n
            return
        known = self._desk.risk.market.known
        if not known.all():
            layout = self._desk.book.layout
            is_unknown = np.zeros_like(self._is_wanted)
            is_unknown[layout.leg_sleeve[~known[layout.leg_symbol]]] = True
            self._bars[self._is_wanted & is_unknown] += n

    def notes(self) -> list[dict[str, Any]]:
        """Return the spreads that were wanted before they could be measured, and why nothing was traded."""
        found: list[dict[str, Any]] = [
            {
                "strategy": self._names[k][0],
                "spread": self._names[k][1],
                "note": NOT_MEASURED,
                "bars": int(self._bars[k]),
            }
            for k in np.flatnonzero(self._bars).tolist()
        ]
        if self._entries and not self._is_target_made and self._solved == self._answers:
            found.append(
                {"strategy": "", "spread": "", "note": NO_TARGET, "entries": self._entries, **self._figures()}
            )
        return found

    def _figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"times": self._answers, "answers": self._answers}
        if self._weighs_returns and math.isfinite(self._best_frac):
            cost_bps = self._desk.costs.linear_bps
            figures |= {"expected_best_bps": _BP * self._best_frac, "cost_bps": cost_bps}
        return figures
