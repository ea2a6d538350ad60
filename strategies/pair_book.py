"""Sides of pairs: from z to signals and to the outlook that allocators read."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from engine.events import SIDES, FloatArray, Nanos, Signal, SpreadNoted
from engine.ports import Outlook, Spread, State, StrategyContext
from strategies.forecast import announce, look_ahead
from strategies.pair_options import PairRules, rules_array
from strategies.pair_tape import IS_LOG, OPEN, REF_X, REF_Y, SLOT, PairTape
from strategies.transitions import BOOK_ROWS, CHANGED, ENABLED, SIDE, decide


class Reading(msgspec.Struct, frozen=True):
    """What a model says of this minute, in the tape's prices: views of shape (n_pairs,), valid for life.

    ``beta`` and ``alpha`` are those the innovation was measured with: of t-1.
    """

    z: FloatArray
    beta: FloatArray
    alpha: FloatArray
    innovation: FloatArray
    innovation_var: FloatArray


class PairBook:
    """Sides that pairs want, and the coefficients they hold them with.

    Parameters
    ----------
    context : StrategyContext
    spreads : tuple of Spread
    rules : PairRules
    tape : PairTape
        Its ring is the window of the forecast.
    reading : Reading
        What the model writes before each `decide`.

    Attributes
    ----------
    enabled : FloatArray, shape (n_pairs,)
        1 where a pair may signal; 0 everywhere at the start.
    """

    def __init__(
        self,
        context: StrategyContext,
        spreads: tuple[Spread, ...],
        rules: PairRules,
        tape: PairTape,
        reading: Reading,
    ) -> None:
        n_pairs = len(spreads)
        self._context = context
        self._spreads = spreads
        self._tape = tape
        self._reading = reading
        self._is_log = bool(tape.clock[IS_LOG])
        self._rules = rules_array(rules, context)
        self._sides: FloatArray = np.zeros((BOOK_ROWS, n_pairs))
        self._frozen: FloatArray = np.full((3, n_pairs), np.nan)
        self._found: FloatArray = np.zeros((n_pairs, 2))
        self._quiet: FloatArray = tape.prices[OPEN]
        self._ref_y: FloatArray = tape.prices[REF_Y]
        self._ref_x: FloatArray = tape.prices[REF_X]
        self._z = reading.z
        self.enabled: FloatArray = self._sides[ENABLED]

    def decide(self, ts_ns: Nanos) -> Sequence[Signal]:
        """Move the sides by one minute and return the transitions, in the order of the pairs."""
        n_changed = decide(self._z, self._quiet, self._sides, self._rules)
        if n_changed == 0:
            return ()
        reading = self._reading
        announce(
            self._tape.ring,
            self._tape.clock[SLOT],
            reading.beta,
            reading.alpha,
            self._sides[CHANGED],
            self._frozen,
            self._context.horizon_bars,
            self._is_log,
            self._found,
        )
        return [self._signal(ts_ns, int(k), expected) for k, expected in self._found[:n_changed].tolist()]

    def note(self, ts_ns: Nanos, k: int, note: str, values: dict[str, float]) -> SpreadNoted:
        """Say something about spread ``k``."""
        return SpreadNoted(ts_ns, self._context.name, self._spreads[k].name, note, values)

    def outlook(self) -> Outlook:
        """Return the view after the last minute."""
        reading = self._reading
        ref_y, ref_x = self._ref_y, self._ref_x
        side = self._sides[SIDE]
        ahead = np.empty((3, side.size))
        look_ahead(
            self._tape.ring,
            self._tape.clock[SLOT],
            reading.beta,
            reading.alpha,
            side,
            self._frozen,
            self._context.horizon_bars,
            self._is_log,
            self._context.is_return_weighed,
            ahead,
        )
        return Outlook(
            side=side,
            z=self._z,
            beta=reading.beta * (ref_y / ref_x),
            alpha=reading.alpha * ref_y,
            innovation=reading.innovation * ref_y,
            innovation_var=reading.innovation_var * (ref_y * ref_y),
            usd_ratio=ahead[1],
            expected_return_frac=ahead[0],
            frozen_usd_ratio=ahead[2],
        )

    def state(self) -> State:
        """Return sides and frozen coefficients."""
        return {"sides": self._sides.copy(), "frozen": self._frozen.copy()}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._sides[:] = state["sides"]
        self._frozen[:] = state["frozen"]

    def _signal(self, ts_ns: Nanos, k: int, expected_return_frac: float) -> Signal:
        return Signal(
            ts_ns,
            self._context.name,
            self._spreads[k].name,
            SIDES[int(self._sides[SIDE, k])],
            self._z.item(k),
            self._reading.beta.item(k) * (self._ref_y.item(k) / self._ref_x.item(k)),
            expected_return_frac,
        )
