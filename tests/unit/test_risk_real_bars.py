"""The covariance of real one-minute bars: known in time, PSD, and near what daily closes say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.events import BarSlice, FloatArray
from risk.actor import CovarianceOptions, RiskActor
from risk.covariance import close_to_close_ratio
from risk.var import EllipticalVar, GaussianVarOptions
from tests.support.shared import SHARED

BARS = SHARED / "data" / "us_equities_1m_2018.parquet"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not BARS.exists(), reason="no real bars beside the project"),
]


def _tape() -> tuple[tuple[str, ...], list[BarSlice]]:
    bars = pd.read_parquet(BARS)
    local = bars["ts"].dt.tz_convert("America/New_York")
    bars["minute"] = local.dt.hour * 60 + local.dt.minute - 570
    bars["session"] = (local.dt.tz_localize(None).dt.normalize() - pd.Timestamp("1970-01-01")).dt.days
    bars = bars[bars["minute"].between(1, 390)]
    symbols = tuple(sorted(bars["symbol"].unique()))
    column = bars["symbol"].map({symbol: i for i, symbol in enumerate(symbols)}).to_numpy()
    tape = []
    for session in sorted(bars["session"].unique().tolist()):
        today = (bars["session"] == session).to_numpy()
        table = np.full((391, 5, len(symbols)), np.nan)
        fields = bars.loc[today, ["open", "high", "low", "close", "volume"]].to_numpy(np.float64)
        table[bars.loc[today, "minute"].to_numpy(), :, column[today]] = fields
        start_ns = session * 86_400_000_000_000 + 870 * 60_000_000_000
        tape += [BarSlice(start_ns + m * 60_000_000_000, session, m, table[m]) for m in range(1, 391)]
    return symbols, tape


def test_ten_real_sessions() -> None:
    """From the third session on every name is measured; VaR agrees with daily closes within their error."""
    symbols, tape = _tape()
    n = len(symbols)
    actor = RiskActor(CovarianceOptions(), EllipticalVar(GaussianVarOptions(), n), symbols, 390)
    closes: list[FloatArray] = []
    last = np.full(n, np.nan)
    for k, slice_ in enumerate(tape):
        actor.observe(slice_)
        last = np.where(np.isnan(slice_.bars[3]), last, slice_.bars[3])
        assert actor.market.reason == ""
        assert actor.market.known.all() == (k >= 2 * 390)
        if slice_.minute == 390:
            closes.append(last)
    ratio = close_to_close_ratio(actor.covariance_daily, np.diff(np.log(closes), axis=0), np.eye(n))
    assert 0.7 < np.median(ratio) < 1.1
    assert ((ratio > 0.4) & (ratio < 1.6)).all()
    report = actor.measure(np.full(n, 1e5))
    assert 50_000.0 < report.var_usd < 300_000.0
