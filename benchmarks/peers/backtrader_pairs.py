"""The comparison's strategy in backtrader."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import backtrader as bt
import numpy as np

from benchmarks.peers.answer import Task, answer, read_task
from benchmarks.peers.pair_rule import PairRule, tally


class Minutes(bt.feed.DataBase):
    """Bars of one symbol out of an array of shape (n_minutes, 5)."""

    params = (("rows", None), ("times", None))

    def start(self) -> None:
        """Begin at the first minute."""
        super().start()
        self._rows = iter(zip(self.p.times, self.p.rows, strict=True))

    def _load(self) -> bool:
        found = next(self._rows, None)
        if found is None:
            return False
        lines = self.lines
        lines.datetime[0], row = found
        lines.open[0], lines.high[0], lines.low[0], lines.close[0], lines.volume[0] = row
        lines.openinterest[0] = 0.0
        return True


class Pairs(bt.Strategy):
    """Market orders on every change of side; they fill at the next open."""

    params = (("trades", False),)

    def __init__(self) -> None:
        self.fills = 0
        legs = self.datas
        self.rules = [PairRule() for _ in range(len(legs) // 2)]
        self._pairs = list(zip(self.rules, legs[0::2], legs[1::2], strict=True))

    def next(self) -> None:
        """Step every pair by a minute."""
        for rule, y, x in self._pairs:
            if rule.step(y.close[0], x.close[0]) and self.p.trades:
                self._trade(y, rule.y_shares)
                self._trade(x, rule.x_shares)

    def _trade(self, leg: Any, shares: int) -> None:
        delta = shares - self.getposition(leg).size
        if delta > 0:
            self.buy(data=leg, size=delta)
        elif delta < 0:
            self.sell(data=leg, size=-delta)

    def notify_order(self, order: Any) -> None:
        """Count fills."""
        if order.status == order.Completed:
            self.fills += 1


def run(task: Task) -> None:
    """Run the tape, with backtrader's arrays preloaded and its indicators off."""
    started = time.perf_counter()
    engine = bt.Cerebro(stdstats=False, preload=True, runonce=True)
    start = dt.datetime(2018, 1, 1)  # noqa: DTZ001 - backtrader's clock is naive
    times = [bt.date2num(start + dt.timedelta(minutes=t)) for t in range(task.size.n_minutes)]
    for i in range(task.size.n_symbols):
        rows = np.ascontiguousarray(task.bars[:, :, i]).tolist()
        engine.adddata(Minutes(rows=rows, times=times, timeframe=bt.TimeFrame.Minutes), name=str(i))
    engine.addstrategy(Pairs, trades=task.trades)
    engine.broker.setcash(1e9)
    loaded = time.perf_counter()
    (strategy,) = engine.run()
    seconds = time.perf_counter() - loaded
    answer(bt.__version__, seconds, loaded - started, tally(strategy.rules), strategy.fills)


if __name__ == "__main__":
    run(read_task())
