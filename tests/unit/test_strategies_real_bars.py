"""Calibrated pairs on real bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.events import BarSlice, Signal, SpreadNoted
from engine.ports import StrategyContext
from strategies.kalman_pairs import KalmanPairs, KalmanPairsOptions
from tests.support.shared import SHARED

pytestmark = pytest.mark.shared
BARS = SHARED / "data" / "us_equities_1m_2018.parquet"
PAIRS = ("JPM/C", "BAC/C", "GS/MS", "KO/PEP", "V/MA", "XOM/CVX")


@pytest.fixture(scope="module")
def real_slices() -> tuple[tuple[str, ...], list[BarSlice]]:
    if not BARS.exists():
        pytest.skip("needs the real bars beside the project")
    bars = pd.read_parquet(BARS)
    local = bars["ts"].dt.tz_convert("America/New_York")
    bars = bars[local.dt.strftime("%H:%M") > "09:30"]
    wide = [
        bars.pivot(index="ts", columns="symbol", values=f) for f in ("open", "high", "low", "close", "volume")
    ]
    cube = np.stack([frame.to_numpy(dtype=np.float64) for frame in wide], axis=1)
    index = pd.DatetimeIndex(wide[0].index)
    days = index.tz_convert("America/New_York").tz_localize(None).normalize().to_numpy()
    session = days.astype("datetime64[D]").astype(np.int64)
    ts_ns = index.as_unit("ns").asi8
    slices, minute = [], 0
    for t in range(len(cube)):
        minute = minute + 1 if t and session[t] == session[t - 1] else 1
        slices.append(BarSlice(int(ts_ns[t]), int(session[t]), minute, cube[t].copy()))
    return tuple(wide[0].columns), slices


def test_calibrated_z_is_standard(real_slices: tuple[tuple[str, ...], list[BarSlice]]) -> None:
    """Textbook noise never trades these bars; with calibrated noise z is of about unit size.

    The seven sessions after the warm-up are more volatile than the three of it, so sd(z) is above 1 for the
    banks: the bounds are 0.9 and 1.35 for each pair, 0.9 and 1.2 for their mean.
    """
    symbols, slices = real_slices
    strategy = KalmanPairs(KalmanPairsOptions(pairs=PAIRS), StrategyContext("real", symbols, 30.0, 390))
    notes, z, n_signals = [], [], 0
    for t, slice_ in enumerate(slices):
        for event in strategy.on_slice(slice_):
            if isinstance(event, SpreadNoted):
                notes.append(event)
            n_signals += isinstance(event, Signal)
        if t >= 1_170 and slice_.minute > 1:
            z.append(strategy.outlook().z.copy())
    calibrated = {e.spread: e.values for e in notes if e.note == "calibrated"}
    assert set(calibrated) == set(PAIRS)
    for values in calibrated.values():
        assert 0.95 < values["sd_z"] < 1.05
        assert 1e-9 < values["delta"] < 1e-7
    sd = np.nanstd(np.array(z), axis=0)
    assert ((sd > 0.9) & (sd < 1.35)).all()
    assert 0.9 < sd.mean() < 1.2
    assert n_signals > 500


def test_textbook_noise_never_trades(real_slices: tuple[tuple[str, ...], list[BarSlice]]) -> None:
    """With delta 1e-4 and Ve 1e-3 the filter swallows the spread: not one |z| above 2."""
    symbols, slices = real_slices
    noise = {"delta": 1e-4, "observation_variance": 1e-3}
    options = KalmanPairsOptions.model_validate({"pairs": PAIRS, "noise": noise, "session_open": "none"})
    strategy = KalmanPairs(options, StrategyContext("real", symbols, 30.0, 390))
    assert not [event for slice_ in slices for event in strategy.on_slice(slice_)]
