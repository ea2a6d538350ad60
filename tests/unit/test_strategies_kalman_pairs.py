"""Kalman pairs from slices to signals: options, warm-up, sessions, units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import ConfigError
from engine.events import BarSlice, FloatArray, Side, Signal, SpreadNoted
from engine.state import to_bytes
from strategies.kalman_pairs import KalmanPairs, KalmanPairsOptions
from tests.support.tapes import context, random_closes, slices_of, tape

NOISE = {"delta": 1e-9, "observation_variance": 1e-7}


def build(**options: Any) -> KalmanPairs:
    return KalmanPairs(KalmanPairsOptions.model_validate({"pairs": ["AAA/BBB"], **options}), context())


def run(strategy: KalmanPairs, slices: list[BarSlice]) -> list[Signal | SpreadNoted]:
    return [event for slice_ in slices for event in strategy.on_slice(slice_)]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pairs": ["AAA-BBB"]}, "written \"Y/X\", was 'AAA-BBB'"),
        ({"pairs": ["AAA/AAA"]}, "two different symbols"),
        ({"pairs": ["AAA/BBB", "BBB/AAA"]}, "appears twice"),
        ({"pairs": []}, "at least 1"),
        ({"entry_z": 0.4}, r"exit_z must be below entry_z \(0.4\), was 0.5"),
        ({"stop_z": 2.0}, r"stop_z must be above entry_z \(2\), was 2"),
        ({"exit_z": -0.1}, "greater than or equal to 0"),
        ({"exit_z": float("nan")}, "greater than or equal to 0"),
        ({"hold_max_min": 0}, "greater than or equal to 1"),
        ({"noise": {"delta": 0, "observation_variance": 1}}, "greater than 0"),
        ({"warmup_min": 100}, "warmup_min must be at least 180"),
        ({"window_min": 30}, 'window_min is for z = "rolling"'),
        ({"entry": 2.0}, "Extra inputs"),
    ],
)
def test_bad_options_say_what_to_change(options: dict[str, Any], text: str) -> None:
    """A configuration error is read by a person."""
    with pytest.raises(ValidationError, match=text):
        KalmanPairsOptions.model_validate({"pairs": ["AAA/BBB"], **options})


def test_an_unknown_symbol_is_named() -> None:
    """A pair that never trades because of a typing error must not start."""
    with pytest.raises(ConfigError, match="'XXX' of pair 'AAA/XXX' is not in the universe"):
        build(pairs=["AAA/XXX"])


def test_every_option_is_described() -> None:
    """The reference of the configuration is made from these descriptions."""
    for name, field in KalmanPairsOptions.model_fields.items():
        assert field.description, name


def test_a_cheap_y_is_bought() -> None:
    """Y falls against x: z is negative and the signal is LONG."""
    closes = np.tile([80.0, 50.0, 120.0, 30.0], (60, 1)) * np.exp(
        np.random.default_rng(0).normal(0, 1e-5, (60, 4))
    )
    closes[50:, 0] *= 0.99
    events = run(build(noise=NOISE, warmup_min=20), slices_of(closes))
    assert isinstance(events[0], Signal)
    assert events[0].side is Side.LONG
    assert events[0].z < -2.0
    assert events[0].ts_ns == slices_of(closes)[50].ts_close_ns


def test_the_warmup_masks_signals() -> None:
    """The first minutes of a filter are about its start, not about the market."""
    slices = tape(1)
    events = run(build(noise=NOISE, warmup_min=40, entry_z=0.6), slices)
    assert min(e.ts_ns for e in events) == slices[40].ts_close_ns
    assert run(build(noise=NOISE, warmup_min=0, entry_z=0.6), slices)[0].ts_ns < slices[40].ts_close_ns


@pytest.mark.parametrize(("mode", "is_observed"), [("inflate", True), ("skip", False)])
def test_the_open_of_a_session_never_signals(mode: str, is_observed: bool) -> None:
    """The overnight gap is no signal, whenever in the session its first observation comes."""
    closes = random_closes(2, 320, 0.0)
    closes[200:203, 0] = np.nan  # the third session's first observation is its fourth minute
    closes[100:, 0] *= 1.05
    closes[203:, 0] *= 0.95
    strategy = build(noise=NOISE, warmup_min=50, session_open=mode)
    quiet = {slices_of(closes)[t].ts_close_ns for t in (100, 203, 300)}
    for slice_ in slices_of(closes):
        events = strategy.on_slice(slice_)
        if slice_.ts_close_ns in quiet:
            assert not events
            assert np.isfinite(strategy.outlook().z[0]) == is_observed
    plain = run(build(noise=NOISE, warmup_min=50, session_open="none"), slices_of(closes))
    assert quiet & {e.ts_ns for e in plain}


def test_a_tape_that_begins_in_mid_session_has_no_open() -> None:
    """Its first minute is not an overnight gap; the next session's is."""
    strategy = build(noise={**NOISE, "overnight_variance": 1.0}, warmup_min=0, session_open="skip")
    seen = []
    for slice_ in slices_of(random_closes(3, 120, 0.0), first_minute=31):
        strategy.on_slice(slice_)
        seen.append(bool(np.isfinite(strategy.outlook().z[0])))
    assert [i for i, ok in enumerate(seen) if not ok] == [70]


def test_overnight_variance_takes_up_the_gap() -> None:
    """With it the gap becomes alpha, and the minutes after the open are like any others."""
    closes = random_closes(4, 200, 0.0)
    closes[100:, 0] *= 1.03
    after = []
    for variance in (0.0, 1e-3):
        strategy = build(noise={**NOISE, "overnight_variance": variance}, warmup_min=0)
        z = []
        for slice_ in slices_of(closes):
            strategy.on_slice(slice_)
            z.append(abs(float(strategy.outlook().z[0])))
        after.append(z[100:105])
    assert after[0][0] > 10
    assert max(after[1]) < 4


def test_calibration_is_announced_once_and_restarts_the_filter() -> None:
    """After the warm-up the filter is where it would have been with the calibrated noise all along."""
    slices = tape(5, 260)
    strategy = build(warmup_min=200, entry_z=50.0)
    notes = [e for e in run(strategy, slices) if isinstance(e, SpreadNoted)]
    assert [e.note for e in notes if e.note == "calibrated"] == ["calibrated"]
    assert notes[0].ts_ns == slices[199].ts_close_ns
    values = notes[0].values
    assert 0.9 < values["sd_z"] < 1.1
    stated = {k: values[k] for k in ("delta", "observation_variance", "overnight_variance")}
    told = build(noise=stated, warmup_min=200, entry_z=50.0)
    run(told, slices)
    for field in ("z", "beta", "alpha", "innovation_var", "expected_return_frac"):
        np.testing.assert_array_equal(
            getattr(strategy.outlook(), field), getattr(told.outlook(), field), err_msg=field
        )


def test_the_warmup_buffer_is_released() -> None:
    """State is small once the noise is known: a day of prices and a few numbers a pair."""
    strategy = build(warmup_min=2_000, forecast_window_min=60)
    assert len(to_bytes(strategy.state())) > 2_000 * 3 * 8
    strategy = build(warmup_min=200, forecast_window_min=60)
    run(strategy, tape(6, 210))
    assert len(to_bytes(strategy.state())) < 60 * 3 * 8 + 1_500


def test_too_few_observations_are_not_calibrated() -> None:
    """A pair that hardly traded in the warm-up stays silent and says why."""
    closes = random_closes(7, 320, 0.0)
    closes[:150, 0] = np.nan
    events = run(build(warmup_min=200), slices_of(closes))
    assert [(e.note, e.values) for e in events if isinstance(e, SpreadNoted)] == [
        ("not_calibrated", {"observations": 50.0})
    ]
    assert len(events) == 1


def outlooks(closes: FloatArray, **options: Any) -> dict[str, FloatArray]:
    strategy = build(warmup_min=0, session_open="none", **options)
    path: dict[str, list[float]] = {}
    for slice_ in slices_of(closes):
        strategy.on_slice(slice_)
        outlook = strategy.outlook()
        for field in outlook.__struct_fields__:
            path.setdefault(field, []).append(float(getattr(outlook, field)[0]))
    return {field: np.array(values) for field, values in path.items()}


@pytest.mark.parametrize("prices", ["log", "raw"])
def test_the_innovation_is_that_of_the_prices(prices: str) -> None:
    """Whatever unit the noise is in, e = y - beta x - alpha in USD or in logarithms."""
    closes = random_closes(8, 80, 0.0)
    seen = outlooks(closes, prices=prices, noise=NOISE)
    y, x = (np.log(closes[:, :2]) if prices == "log" else closes[:, :2]).T
    e = y - seen["beta"] * x - seen["alpha"]
    np.testing.assert_allclose(seen["innovation"], e, atol=1e-9)
    np.testing.assert_allclose(seen["z"], e / np.sqrt(seen["innovation_var"]), atol=1e-6)
    ratio = seen["beta"] if prices == "log" else seen["beta"] * x / y
    np.testing.assert_allclose(seen["usd_ratio"], ratio, rtol=1e-12)


def test_raw_prices_do_not_depend_on_the_unit_of_account() -> None:
    """Noise in units of the first price: prices times 7 give the same z, and without it they do not."""
    closes = random_closes(9, 80, 0.0)
    one, seven = outlooks(closes, prices="raw", noise=NOISE), outlooks(7 * closes, prices="raw", noise=NOISE)
    np.testing.assert_allclose(one["z"], seven["z"], atol=1e-6)
    np.testing.assert_allclose(one["beta"], seven["beta"], rtol=1e-6)
    usd = {"prices": "raw", "noise": NOISE, "raw_unit": "usd"}
    assert np.abs(outlooks(closes, **usd)["z"] - outlooks(7 * closes, **usd)["z"]).max() > 0.1


def test_the_ratio_is_frozen_while_held() -> None:
    """A position is closed with the hedge it was opened with."""
    strategy = build(prices="raw", noise=NOISE, warmup_min=30, entry_z=1.0, exit_z=0.0)
    frozen, held = set(), False
    for slice_ in slices_of(random_closes(10, 320, 0.0)):
        strategy.on_slice(slice_)
        outlook = strategy.outlook()
        if outlook.side[0] == 0.0:
            assert len(frozen) <= 1
            frozen.clear()
            assert outlook.frozen_usd_ratio[0] == outlook.usd_ratio[0]
        else:
            held = True
            frozen.add(float(outlook.frozen_usd_ratio[0]))
    assert held


def test_rolling_z_standardises_the_innovation() -> None:
    """The other z of the configuration, from the same filter."""
    closes = random_closes(11, 90, 0.0)
    seen = outlooks(closes, noise=NOISE, z="rolling", window_min=30)
    part = seen["innovation"][60:90]
    assert seen["z"][89] == pytest.approx((part[-1] - part.mean()) / part.std(ddof=1), abs=1e-9)
    assert np.isnan(seen["z"][28])


def test_signal_carries_the_outlook() -> None:
    """What a signal says is what allocators see on the same minute."""
    strategy = build(noise=NOISE, warmup_min=30, entry_z=1.0, forecast_window_min=50)
    n = 0
    for slice_ in tape(12):
        for event in strategy.on_slice(slice_):
            assert isinstance(event, Signal)
            outlook = strategy.outlook()
            assert (event.z, event.beta) == (outlook.z[0], outlook.beta[0])
            assert event.expected_return_frac == outlook.expected_return_frac[0]
            n += event.expected_return_frac != 0.0
    assert n > 0
