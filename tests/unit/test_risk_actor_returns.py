"""Daily returns that the risk desk keeps for an allocator."""

from __future__ import annotations

import numpy as np
import pytest

from engine.events import FloatArray
from engine.ports import DailyHistory
from risk.actor import CovarianceOptions, RiskActor
from risk.historical import HistoricalVarOptions, build_historical
from risk.var import GaussianVarOptions, build_gaussian
from tests.support.engines import history_of

SYMBOLS = ("A", "B")


def actor_of(keep_days: int, history: DailyHistory | None = None) -> RiskActor:
    model = build_gaussian(GaussianVarOptions(scenarios=100), SYMBOLS)
    return RiskActor(CovarianceOptions(), model, SYMBOLS, 390, history, keep_days=keep_days)


def test_none_are_kept_unless_asked_for() -> None:
    """Years of returns in every snapshot would be a price that few allocators are worth."""
    actor = actor_of(0, history_of(SYMBOLS))
    assert actor.history_return_frac() is None
    assert "returns_daily" not in actor.state()


@pytest.mark.parametrize("keep_days", [0, 5])
def test_the_days_of_the_model_are_not_the_allocator_s(keep_days: int) -> None:
    """An allocator that asks for 5 days is not handed the 500 of the model; one that asks for none, none."""
    history = history_of(SYMBOLS)
    model = build_historical(HistoricalVarOptions(), SYMBOLS)
    given = RiskActor(CovarianceOptions(), model, SYMBOLS, 390, history, keep_days=keep_days)
    kept = given.history_return_frac()
    assert (0 if kept is None else len(kept)) == keep_days
    assert kept is None or kept.tobytes() == _kept(actor_of(5, history)).tobytes()


def _kept(actor: RiskActor) -> FloatArray:
    kept = actor.history_return_frac()
    assert kept is not None
    return np.ascontiguousarray(kept)


def test_the_newest_are_kept_as_simple_returns_and_survive_a_restart() -> None:
    """Losses of a book are linear in simple returns; after a restart the same days must be the worst."""
    history = history_of(SYMBOLS)
    actor = actor_of(5, history)
    kept = actor.history_return_frac()
    assert kept is not None
    assert kept == pytest.approx(history.close_usd[1:][-5:] / history.close_usd[:-1][-5:] - 1.0)
    again = actor_of(5)
    again.restore(actor.state())
    restored = again.history_return_frac()
    assert restored is not None
    assert restored.tobytes() == np.ascontiguousarray(kept).tobytes()
