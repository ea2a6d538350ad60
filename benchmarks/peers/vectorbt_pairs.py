"""The comparison's strategy in vectorbt, which no event drives: first all signals, then all orders."""

from __future__ import annotations

import time

import numba
import numpy as np
import vectorbt as vbt
from numpy.typing import NDArray

from benchmarks.peers.answer import Task, answer, read_task
from benchmarks.tape import DELTA, ENTRY_Z, EXIT_Z, INITIAL_COVARIANCE, OBSERVATION_VARIANCE, UNIT_USD, Tally

FloatArray = NDArray[np.float64]


@numba.njit
def shares_of(
    close: FloatArray, delta: float, ve: float, p0: float, entry_z: float, exit_z: float, unit_usd: float
) -> tuple[FloatArray, int, int, float]:
    """Return the shares to order at the open after each minute, entries, exits and the sum of abs(z)."""
    n_minutes, n_symbols = close.shape
    orders = np.full((n_minutes, n_symbols), np.nan)
    entries, exits, z_sum = 0, 0, 0.0
    for i in range(0, n_symbols, 2):
        beta, alpha, p00, p01, p11 = 0.0, 0.0, p0, 0.0, p0
        side, y_shares, x_shares = 0.0, 0.0, 0.0
        for t in range(n_minutes):
            y, x = close[t, i], close[t, i + 1]
            p00 += delta
            p11 += delta
            e = y - beta * x - alpha
            h0, h1 = p00 * x + p01, p01 * x + p11
            r = 1.0 / (h0 * x + h1 + ve)
            k0, k1 = h0 * r, h1 * r
            t00, t01, t10, t11 = p00 - k0 * h0, p01 - k0 * h1, p01 - k1 * h0, p11 - k1 * h1
            g0, g1 = ve * k0 - (t00 * x + t01), ve * k1 - (t10 * x + t11)
            z = e * np.sqrt(r)
            z_sum += abs(z)
            before = side
            if side == 0.0 and abs(z) > entry_z:
                side = -1.0 if z > 0.0 else 1.0
                entries += 1
                y_shares = np.round(side * unit_usd / (y + abs(beta) * x))
                x_shares = np.round(-beta * side * unit_usd / (y + abs(beta) * x))
            elif side != 0.0 and side * z >= -exit_z:
                side = 0.0
                exits += 1
            if side != before and t + 1 < n_minutes:
                orders[t + 1, i] = y_shares if side != 0.0 else -y_shares
                orders[t + 1, i + 1] = x_shares if side != 0.0 else -x_shares
            beta, alpha = beta + k0 * e, alpha + k1 * e
            p00, p01, p11 = t00 + k0 * g0, t01 + k1 * g0, t11 + k1 * g1
    return orders, entries, exits, z_sum


def _run(task: Task) -> tuple[float, Tally, int]:
    open_, close = (np.ascontiguousarray(task.bars[:, row]) for row in (0, 3))
    started = time.perf_counter()
    orders, *said = shares_of(
        close, DELTA, OBSERVATION_VARIANCE, INITIAL_COVARIANCE, ENTRY_Z, EXIT_Z, UNIT_USD
    )
    fills = 0
    if task.trades:
        book = vbt.Portfolio.from_orders(
            close, orders, price=open_, init_cash=1e9, cash_sharing=True, group_by=True, freq="1min"
        )
        fills = len(book.order_records)
    return time.perf_counter() - started, Tally(*said), fills


def run(task: Task) -> None:
    """Run the tape twice: the first time compiles."""
    _run(task)
    seconds, said, fills = _run(task)
    answer(vbt.__version__, seconds, 0.0, said, fills)


if __name__ == "__main__":
    run(read_task())
