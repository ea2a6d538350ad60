"""A future in another currency has the risk of its quote alone, in every risk model."""

from __future__ import annotations

import numpy as np
import pytest

import risk
from engine.events import BarSlice, FloatArray
from engine.layout import Instrument, Layout
from engine.oversight import RiskReport
from engine.quotes import Quotes
from risk.actor import CovarianceOptions, RiskActor
from tests.support.core import slice_of

NONE = np.zeros(0, dtype=np.int64)
SYMBOLS = (
    Instrument("FESX", multiplier=10.0, currency="EUR", is_funded=False),
    Instrument("EXW1", currency="EUR"),
    Instrument("EURUSD"),
)
LAYOUT = Layout(tuple(i.symbol for i in SYMBOLS), (), NONE, NONE, 0, SYMBOLS)
SESSIONS = 302  # as many as a bound of a historical quantile takes


def tape(rate_vol: float, future_vol: float = 0.01) -> list[BarSlice]:
    """Three bars a session: the rate gaps and drifts as it is told, the others do so always alike."""
    rng = np.random.default_rng(11)
    price, bars = np.array([4_000.0, 40.0, 1.1]), []
    vol = np.array([future_vol, 0.01, rate_vol])
    for session in range(SESSIONS):
        for minute in (1, 2, 3):
            opens = price * np.exp(vol * rng.standard_normal(3) * (minute == 1))
            price = opens * np.exp(vol * rng.standard_normal(3))
            bars.append(slice_of(price, minute, session, opens))
    return bars


def risk_after(model: str, bars: list[BarSlice], holdings_usd: FloatArray) -> tuple[RiskReport, RiskActor]:
    """Let a risk desk see a tape as a trading desk shows it, and measure a book."""
    plugin, quotes = risk.REGISTRY[model], Quotes(LAYOUT, 10.0)
    options = {"window_days": 300} if "window_days" in plugin.options.model_fields else {}
    if "scenarios" in plugin.options.model_fields:
        options["scenarios"] = 1_000
    built = plugin.build(plugin.options.model_validate(options), LAYOUT.symbols)
    actor = RiskActor(CovarianceOptions(), built, LAYOUT.symbols, 3, keep_days=30)
    for quoted in bars:
        actor.observe(quotes.at_constant_rates(quoted, quotes.to_usd(quoted)))
    actor.refresh()
    return actor.measure(holdings_usd), actor


@pytest.mark.parametrize("model", sorted(risk.REGISTRY))
def test_the_rate_is_no_risk_of_a_future_and_one_of_a_fund(model: str) -> None:
    """The VaR of a still rate but for the shrinkage to the mean variance: nobody owns the notional."""
    future, fund = np.array([1e6, 0.0, 0.0]), np.array([0.0, 1e6, 0.0])
    still, _ = risk_after(model, tape(1e-9), future)
    moved, _ = risk_after(model, tape(0.03), future)
    assert still.reason == ""
    assert still.var_usd > 10_000.0
    assert moved.var_usd == pytest.approx(still.var_usd, rel=1e-4)
    owned, _ = risk_after(model, tape(0.03), fund)
    bare, _ = risk_after(model, tape(1e-9), fund)
    assert owned.var_usd > 2.0 * bare.var_usd


def test_a_quote_that_stands_still_has_no_variance_whatever_the_rate_does() -> None:
    """Exactly none: by the minute, overnight and by the day."""
    _, actor = risk_after("historical", tape(0.03, future_vol=0.0), np.zeros(3))
    assert (actor.covariance_daily[0] == 0.0).all()
    returns = actor.history_return_frac()
    assert returns is not None
    assert (returns[:, 0] == 0.0).all()
    assert (returns[:, 1] != 0.0).all()
