"""The kernels alone, called from Python as the engine calls them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import bare, tape
from benchmarks.tape import Size
from benchmarks.timing import Case, Goal, Row, rows_of, stopwatch
from engine.book import mark
from engine.events import CLOSE, FloatArray
from risk.covariance import accumulate
from risk.var import order_statistic, scenario_pnl
from strategies.kalman_kernel import OVERNIGHT, VE, VW_ALPHA, VW_BETA, kalman_step, start_filters
from strategies.rolling import Z_ROWS, rolling_z

#: Goal at 10,000 pairs, ns a pair-step: 1.5 times what the machine class can do.
_PAIR_STEP_NS = 1.5 * 1.4
_SCENARIOS = 5_000
_WINDOW_MIN = 60
#: About this much work in a turn, in bars.
_TURN_BARS = 4_000_000


def measure(repeats: int, turn_bars: int = _TURN_BARS) -> list[Row]:
    """Measure every kernel at its sizes."""
    rows: list[Row] = []
    for n_pairs in (1, 20, 500, 10_000):
        name = f"kalman_step, {n_pairs:,} pair{'s' if n_pairs > 1 else ''}"
        goal = Goal(f"< {_PAIR_STEP_NS:g} ns a pair", _PAIR_STEP_NS * 1e-9 * n_pairs)
        goals = {name: goal} if n_pairs == 10_000 else {}
        rows += _measured({name: _kalman(n_pairs)}, 2 * n_pairs, goals, repeats, turn_bars)
    for n in (40, 500):
        works = {
            f"rolling_z, {n} series": _rolling(n),
            f"mark, {n} symbols": _mark(n),
            f"covariance accumulate, {n} symbols": _accumulate(n),
            f"scenario P&L and quantile, {n} symbols": _scenarios(n),
        }
        rows += _measured(works, n, {}, repeats, turn_bars // 10)
    return rows


def _measured(
    works: dict[str, Callable[[], object]], n_bars: int, goals: dict[str, Goal], repeats: int, turn_bars: int
) -> list[Row]:
    n_calls = max(turn_bars // n_bars, 3)
    cases = {name: _case(work, n_calls) for name, work in works.items()}
    return rows_of(cases, bare_case(n_bars, n_calls), n_bars, goals, repeats)


def _case(work: Callable[[], object], n_calls: int) -> Case:
    def repeat() -> None:
        for _ in range(n_calls):
            work()

    return lambda: stopwatch(repeat, n_calls)


def bare_case(n_symbols: int, n_minutes: int) -> Case:
    """Return the bare loop over a tape of a size, at most 2,000 minutes of it."""
    n_minutes = min(n_minutes, 2_000)
    close = np.ascontiguousarray(tape.make_bars(Size(n_symbols // 2, n_minutes))[:, CLOSE])
    return lambda: stopwatch(lambda: bare.tally(close), n_minutes)


def _kalman(n_pairs: int) -> Callable[[], object]:
    rng = np.random.default_rng(tape.SEED)
    filters = start_filters(n_pairs, tape.INITIAL_COVARIANCE)
    filters[[VW_BETA, VW_ALPHA]] = tape.DELTA
    filters[VE] = tape.OBSERVATION_VARIANCE
    filters[OVERNIGHT] = 0.0
    prices = np.vstack((rng.uniform(70.0, 130.0, (2, n_pairs)), np.zeros((1, n_pairs))))
    return partial(kalman_step, prices, filters)


def _rolling(n: int) -> Callable[[], object]:
    values = np.random.default_rng(tape.SEED).standard_normal((64, n))
    window, moments, out = np.zeros((n, _WINDOW_MIN)), np.zeros((Z_ROWS, n)), np.empty((2, n))
    skipped = np.zeros(n)
    turn = iter(range(1 << 62))
    return lambda: rolling_z(values[next(turn) & 63], skipped, window, moments, out)


def _bars(n: int) -> FloatArray:
    return np.ascontiguousarray(tape.make_bars(Size(n // 2, 2))[1])


def _mark(n: int) -> Callable[[], object]:
    marks = np.ones((5, n))
    return partial(mark, _bars(n), marks, 1.0, 15.0)


def _accumulate(n: int) -> Callable[[], object]:
    state, sums = np.zeros((8, n)), np.zeros((2, n, n))
    return partial(accumulate, _bars(n), False, state, sums[0], sums[1], 0.9996, 0.966)


def _scenarios(n: int) -> Callable[[], object]:
    rng = np.random.default_rng(tape.SEED)
    scenarios, coefficient = rng.standard_normal((n, _SCENARIOS)), rng.standard_normal(n)
    pnl = np.empty(_SCENARIOS)

    def work() -> float:
        scenario_pnl(scenarios, coefficient, pnl)
        return order_statistic(pnl, 49)

    return work
