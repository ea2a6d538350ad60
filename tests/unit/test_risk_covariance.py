"""The covariance of one-minute bars, by hand and against a NumPy oracle."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InvariantError
from engine.events import BarSlice
from engine.ports import DailyHistory
from risk import covariance
from risk.covariance import EwmaCovariance, close_to_close_ratio, prior_covariance

NAN = float("nan")


def _slice(session: int, minute: int, opens: list[float], closes: list[float]) -> BarSlice:
    opens_, closes_ = np.array(opens), np.array(closes)
    low, high = np.minimum(opens_, closes_), np.maximum(opens_, closes_)
    bars = np.array([opens_, high, low, closes_, np.where(np.isnan(closes_), np.nan, 100.0)])
    return BarSlice((session * 1440 + minute) * 60_000_000_000, session, minute, bars)


def _estimator(n: int, session_bars: int = 3, history: DailyHistory | None = None) -> EwmaCovariance:
    return EwmaCovariance(tuple(f"S{i}" for i in range(n)), session_bars, 5.0, 20.0, 20.0, history)


def _random_tape(n: int, sessions: int, minutes: int, seed: int, missing: float = 0.0) -> list[BarSlice]:
    rng = np.random.default_rng(seed)
    price = np.full(n, 50.0)
    tape = []
    for session in range(sessions):
        for minute in range(1, minutes + 1):
            gap = 0.02 if minute == 1 else 0.0
            opens = price * np.exp(gap * rng.standard_normal(n))
            price = opens * np.exp(0.001 * rng.standard_normal(n))
            absent = rng.random(n) < missing
            tape.append(
                _slice(
                    session,
                    minute,
                    np.where(absent, NAN, opens).tolist(),
                    np.where(absent, NAN, price).tolist(),
                )
            )
    return tape


def test_two_sessions_by_hand() -> None:
    """Two minutes a session: u = (a, b + a) and so on, a night of log 1.1; every weight written out."""
    estimate = _estimator(1, session_bars=2)
    e = np.exp
    estimate.add(_slice(0, 1, [1.0], [e(0.01)]))
    estimate.add(_slice(0, 2, [e(0.01)], [e(0.03)]))
    night_open = e(0.03 + 0.10)
    estimate.add(_slice(1, 1, [night_open], [night_open * e(0.04)]))
    decay = 0.5 ** (1.0 / 10.0)
    u = np.array([0.01, 0.01 + 0.02, 0.02 + 0.04])
    weights = decay ** np.array([2.0, 1.0, 0.0])
    minute_var = float((weights * u * u / 2.0).sum() / weights.sum())
    assert estimate.daily()[0, 0] == pytest.approx(2.0 * minute_var + 0.10**2, rel=1e-12)


def test_white_noise_gives_its_variance() -> None:
    """Weights and the Newey-West term are unbiased: iid returns of 10 bp give 390 x 1e-6 + 4e-4 (3%)."""
    tape = _random_tape(12, 8, 390, seed=4)
    estimate = _estimator(12, session_bars=390)
    minute_only = _estimator(12, session_bars=390)
    for slice_ in tape:
        estimate.add(slice_)
        if slice_.session == 0:
            minute_only.add(slice_)
    state = minute_only.state()
    per_minute = state["minute_sum"].diagonal() / state["state"][2]
    assert per_minute.mean() == pytest.approx(1e-6, rel=0.05)
    assert estimate.daily().diagonal().mean() == pytest.approx(390e-6 + 4e-4, rel=0.35)


def test_newey_west_finds_a_hedge_that_trades_a_minute_late() -> None:
    """Leg x repeats y one minute later: bare minutes see correlation 0, the spread's true risk is near 0."""
    rng = np.random.default_rng(9)
    steps = 0.001 * rng.standard_normal(391)
    y, x = np.exp(np.cumsum(steps))[1:], np.exp(np.cumsum(steps))[:-1]
    estimate = _estimator(2, session_bars=390)
    before = [1.0, 1.0]
    for minute, now in enumerate(zip(y.tolist(), x.tolist(), strict=True), 1):
        estimate.add(_slice(0, minute, before, list(now)))
        before = list(now)
    estimate.add(_slice(1, 1, before, before))
    sigma = estimate.daily()
    assert sigma[0, 1] / np.sqrt(sigma[0, 0] * sigma[1, 1]) == pytest.approx(0.5, abs=0.06)


def test_missing_bar_is_a_zero_return_and_catches_up() -> None:
    """A gap must not lose the move across it: 1 -> (gap) -> e^0.05 is one return of 5%, not none."""
    estimate = _estimator(1)
    estimate.add(_slice(0, 1, [1.0], [1.0]))
    estimate.add(_slice(0, 2, [NAN], [NAN]))
    estimate.add(_slice(0, 3, [1.0], [np.exp(0.05)]))
    assert estimate.state()["minute_sum"][0, 0] == pytest.approx(0.05**2 / 2.0)


@pytest.mark.parametrize("late", [0, 1])
def test_latecomer_completes_the_night_of_the_others(late: int) -> None:
    """One opens a minute late: the night's outer product is that of both overnight returns all the same."""
    estimate = _estimator(2)
    estimate.add(_slice(0, 1, [1.0, 1.0], [1.0, 1.0]))
    o = np.array([0.03, -0.02])
    both = np.exp(o).tolist()
    early = [NAN if i == late else price for i, price in enumerate(both)]
    estimate.add(_slice(1, 1, early, early))
    assert np.count_nonzero(estimate.state()["night_sum"]) == 1
    estimate.add(_slice(1, 2, both, both))
    np.testing.assert_allclose(estimate.state()["night_sum"], np.tril(np.outer(o, o)), rtol=1e-12)
    assert estimate.state()["minute_sum"].max() == pytest.approx(0.0, abs=1e-30)


def test_symbol_needs_two_sessions_and_a_night() -> None:
    """Without history nothing may be held on the strength of one day's bars."""
    estimate = _estimator(2, session_bars=10)
    knowledge = []
    for session in range(4):
        opens = [1.0, 1.0 if session else NAN]
        estimate.add(_slice(session, 1, opens, opens))
        knowledge.append(estimate.known().tolist())
    assert knowledge == [[False, False], [False, False], [True, False], [True, True]]


def test_kernel_equals_its_twin() -> None:
    """Numba is an optimisation, never another result: equal but for the last bit of log, gaps included."""
    tape = _random_tape(5, 3, 20, seed=1, missing=0.2)
    fast = (np.zeros((8, 5)), np.zeros((5, 5)), np.zeros((5, 5)))
    twin = (np.zeros((8, 5)), np.zeros((5, 5)), np.zeros((5, 5)))
    for slice_ in tape:
        covariance.accumulate(slice_.bars, slice_.minute == 1, *fast, 0.99, 0.9)
        covariance.accumulate.py_func(slice_.bars, slice_.minute == 1, *twin, 0.99, 0.9)
    for a, b in zip(fast, twin, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=0.0)
    out, out_twin, scale = np.empty((5, 5)), np.empty((5, 5)), np.arange(1.0, 6.0)
    covariance.blend(fast[1], fast[2], np.eye(5), scale, scale, scale, out)
    covariance.blend.py_func(fast[1], fast[2], np.eye(5), scale, scale, scale, out_twin)
    assert out.tobytes() == out_twin.tobytes()


def test_sums_equal_a_numpy_oracle() -> None:
    """The recursive sums are weighted sums of outer products over the whole tape (1e-10)."""
    tape = _random_tape(4, 3, 30, seed=2)
    estimate = _estimator(4, session_bars=30)
    for slice_ in tape:
        estimate.add(slice_)
    closes, opens = np.array([s.bars[3] for s in tape]), np.array([s.bars[0] for s in tape])
    first = np.array([s.minute == 1 for s in tape])
    previous = np.vstack([opens[:1], closes[:-1]])
    returns = np.log(closes / np.where(first[:, None], opens, previous))
    u = returns + np.vstack([np.zeros((1, 4)), returns[:-1]])
    nights = np.log(opens[first][1:] / closes[:-1][first[1:]])
    decay, night_decay = 0.5 ** (1.0 / 150.0), 0.5 ** (1.0 / 20.0)
    weights = decay ** np.arange(len(tape) - 1.0, -1.0, -1.0)
    night_weights = night_decay ** np.arange(len(nights) - 1.0, -1.0, -1.0)
    expected = 30.0 * (u.T * weights) @ u / 2.0 / weights.sum()
    expected += (nights.T * night_weights) @ nights / night_weights.sum()
    np.testing.assert_allclose(estimate.daily(), expected, rtol=1e-10, atol=1e-18)


def test_prior_is_the_covariance_until_the_tape_has_a_night() -> None:
    """With daily history the first session is measured by it alone: half a day is not a day."""
    rng = np.random.default_rng(6)
    closes = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal((60, 2)), axis=0))
    history = DailyHistory(("S1", "S0"), np.arange(60), closes)
    estimate = _estimator(2, history=history)
    assert estimate.known().all()
    returns = np.diff(np.log(closes[:, ::-1]), axis=0)
    expected = returns.T @ returns / len(returns)
    estimate.add(_slice(0, 1, [1.0, 1.1], [1.0, 1.0]))
    np.testing.assert_allclose(estimate.daily(), expected, rtol=1e-12)
    for session in range(1, 60):
        estimate.add(_slice(session, 1, [1.0, 1.0], [1.0, 1.0]))
        for minute in (2, 3):
            estimate.add(_slice(session, minute, [1.0, 1.0], [1.0, 1.0]))
    assert (estimate.daily().diagonal() < 0.01 * expected.diagonal()).all()


def test_history_of_few_or_no_returns_is_none() -> None:
    """Nineteen returns are no history, a constant price none either, and a strange symbol is left alone."""
    closes = np.full((25, 3), 10.0)
    closes[:, 0] = np.linspace(10.0, 11.0, 25)
    closes[:, 1] = np.linspace(10.0, 11.0, 25)
    closes[:6, 1] = NAN
    history = DailyHistory(("A", "B", "C"), np.arange(25), closes)
    matrix, has_history = prior_covariance(("D", "C", "B", "A"), history)
    assert has_history.tolist() == [False, False, False, True]
    assert np.count_nonzero(matrix) == 1
    for absent in (None, DailyHistory(("Z",), np.arange(25), closes[:, :1])):
        assert not prior_covariance(("A",), absent)[1].any()


def test_gap_in_history_carries_the_close() -> None:
    """A holiday of one name moves its return to the next day; it must not vanish or become NaN."""
    closes = np.full((30, 1), 100.0)
    closes[15:] = 110.0
    closes[14] = NAN
    matrix, _ = prior_covariance(("A",), DailyHistory(("A",), np.arange(30), closes))
    assert matrix[0, 0] == pytest.approx(np.log(1.1) ** 2 / 29.0)


def test_ratio_to_daily_closes_by_hand() -> None:
    """Closes that move by 2% a day against a covariance that says 4%: ratio one half, days known alone."""
    returns = 0.02 * np.array([[1.0, 1.0], [-1.0, NAN], [1.0, -3.0]])
    covariance = np.diag([0.04**2, 0.0])
    names = close_to_close_ratio(covariance, returns, np.eye(2))
    assert names[0] == pytest.approx(0.5)
    assert np.isnan(names[1])
    # Long both, on the two days that are known: 4% and -4%, of which the covariance says 4%.
    assert close_to_close_ratio(covariance, returns, np.ones((1, 2)))[0] == pytest.approx(1.0)


def test_slice_of_another_universe_is_a_defect() -> None:
    """A kernel does not check bounds: the estimator does."""
    with pytest.raises(InvariantError):
        _estimator(2).add(_slice(0, 1, [1.0], [1.0]))


@pytest.mark.parametrize(("session_bars", "sessions_needed"), [(1, 20), (7, 3), (10, 2), (390, 2)])
def test_a_symbol_is_known_after_twenty_bars_at_least(session_bars: int, sessions_needed: int) -> None:
    """Three daily bars of six names span a plane: an optimiser would find a hedge without risk."""
    estimate = _estimator(6, session_bars)
    for session, slices in enumerate(_sessions(session_bars, sessions_needed + 1)):
        assert not estimate.known().any()
        for slice_ in slices:
            estimate.add(slice_)
        assert estimate.known().all() == (session == sessions_needed)
    eigenvalues = np.linalg.eigvalsh(estimate.daily())
    assert eigenvalues[0] > 1e-3 * eigenvalues[-1]  # 1e-17 after three daily bars


def _sessions(session_bars: int, count: int) -> list[list[BarSlice]]:
    tape = _random_tape(6, count, session_bars, seed=2)
    return [tape[i : i + session_bars] for i in range(0, len(tape), session_bars)]
