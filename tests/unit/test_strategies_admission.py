"""Admission of pairs: the test, both orders, many at once, and how a strategy obeys it."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.stattools import coint

from engine.errors import ConfigError
from engine.events import FloatArray, Signal, SpreadNoted
from engine.ports import DailyHistory, StrategyContext
from strategies.admission import benjamini_hochberg, engle_granger, history_of
from strategies.zscore_pairs import ZscorePairs, ZscorePairsOptions
from tests.support.tapes import SYMBOLS, random_closes, slices_of, tape


def history(seed: int, n_days: int = 300) -> DailyHistory:
    """AAA/BBB are cointegrated, CCC and DDD walk alone."""
    rng = np.random.default_rng(seed)
    walks = np.cumsum(rng.normal(0, 0.01, (n_days, 4)), axis=0)
    walks[:, 0] = walks[:, 1] + rng.normal(0, 0.01, n_days)
    return DailyHistory(SYMBOLS, np.arange(n_days, dtype=np.int64), 50.0 * np.exp(walks))


def logs(daily: DailyHistory, *columns: int) -> list[FloatArray]:
    return [np.log(daily.close_usd[:, c]) for c in columns]


def test_both_orders_are_paid_for() -> None:
    """Looking twice doubles the p-value; it never exceeds 1."""
    y, x = logs(history(1), 2, 3)
    single = [float(coint(a, b, trend="c", autolag="bic")[1]) for a, b in ((y, x), (x, y))]
    assert engle_granger(y, x) == pytest.approx(min(1.0, 2 * min(single)))
    assert engle_granger(x, y) == engle_granger(y, x)


def test_it_tells_a_pair_from_two_walks() -> None:
    """Which is all it is for."""
    daily = history(5)
    assert engle_granger(*logs(daily, 0, 1)) < 0.01
    assert engle_granger(*logs(daily, 2, 3)) > 0.05


def test_degenerate_series_are_not_admitted() -> None:
    """A series against itself, or one that never moved, proves nothing."""
    (y,) = logs(history(3), 0)
    assert engle_granger(y, y) == 1.0
    assert engle_granger(y, np.ones_like(y)) == 1.0
    assert engle_granger(y[:20], y[:20]) == 1.0


def test_history_needs_250_common_days() -> None:
    """Fewer say too little; days that lack one leg do not count."""
    daily = history(4, 260)
    assert history_of("AAA/BBB", daily) is not None
    daily.close_usd[:11, 1] = np.nan
    assert history_of("AAA/BBB", daily) is None
    assert history_of("AAA/ZZZ", daily) is None
    assert history_of("AAA/BBB", None) is None


def test_false_discovery_rate_by_hand() -> None:
    """Thresholds q k/n: the largest passing p admits all below it, its own failures included."""
    p = np.array([0.30, 0.01, 0.04, 0.039, 0.9])
    assert benjamini_hochberg(p, 0.10).tolist() == [False, True, True, True, False]
    assert not benjamini_hochberg(np.array([0.2, 0.3]), 0.10).any()


def run(daily: DailyHistory | None, **options: object) -> list[Signal | SpreadNoted]:
    made = ZscorePairs(
        ZscorePairsOptions.model_validate(
            {"pairs": ["AAA/BBB", "DDD/CCC"], "hedge_window_min": 60, "window_min": 30, **options}
        ),
        StrategyContext("test", SYMBOLS, 30.0, 100, daily),
    )
    return [event for slice_ in tape(6) for event in made.on_slice(slice_)]


def test_history_decides_on_the_first_slice() -> None:
    """What was not admitted never signals, and each verdict is said once with its p-value."""
    events = run(history(6))
    notes = [e for e in events if isinstance(e, SpreadNoted)]
    assert [(e.spread, e.note) for e in notes] == [("AAA/BBB", "admitted"), ("DDD/CCC", "not_admitted")]
    assert {e.ts_ns for e in notes} == {tape(6)[0].ts_close_ns}
    assert notes[0].values["p_value"] < 0.05 < notes[1].values["p_value"]
    assert {e.spread for e in events if isinstance(e, Signal)} == {"AAA/BBB"}


def test_without_history_the_tape_decides() -> None:
    """Nothing signals before the stretch is over; 5-minute closes are what is tested."""
    events = run(None, admission_min=200, significance=0.9)
    notes = [e for e in events if isinstance(e, SpreadNoted)]
    assert {e.ts_ns for e in notes} == {tape(6)[199].ts_close_ns}
    assert all(30 <= e.values["observations"] <= 40 for e in notes)
    assert min(e.ts_ns for e in events if isinstance(e, Signal)) > tape(6)[199].ts_close_ns


def test_longer_bars_are_all_tested() -> None:
    """Every fifth of 60 daily bars would be 12 closes: too few to admit any pair, ever."""
    made = ZscorePairs(
        ZscorePairsOptions.model_validate({"pairs": ["AAA/BBB"], "significance": 0.9}),
        StrategyContext("test", SYMBOLS, 390.0, 390, bar_min=1_440),
    )
    events = [event for slice_ in slices_of(random_closes(6, 80, 0.0), 1) for event in made.on_slice(slice_)]
    (note,) = [event for event in events if isinstance(event, SpreadNoted)]
    assert (note.note, note.values["observations"]) == ("admitted", 60.0)


@pytest.mark.parametrize(
    ("key", "minutes", "bars"),
    [
        ("hedge_window_min", 390, 1),
        ("window_min", 780, 2),
        ("forecast_window_min", 390, 1),
        ("admission_min", 29 * 390, 29),
    ],
)
def test_a_window_of_too_few_bars_is_refused(key: str, minutes: int, bars: int) -> None:
    """390 minutes are one daily bar: ratio and z would be unknown for ever, and no signal would come."""
    options = ZscorePairsOptions.model_validate({"pairs": ["AAA/BBB"], key: minutes})
    with pytest.raises(ConfigError, match=f"{key} = {minutes} is {bars} of this run's bars") as caught:
        ZscorePairs(options, StrategyContext("test", SYMBOLS, 390.0, 390, bar_min=1_440))
    assert caught.value.code == "C222"


def test_admission_off_is_labelled() -> None:
    """The report has to be able to say that nothing was tested."""
    events = run(None, admission="off")
    assert [e.note for e in events if isinstance(e, SpreadNoted)] == ["admission_off"] * 2
