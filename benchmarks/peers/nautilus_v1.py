"""The comparison's strategy in NautilusTrader 1.x."""

from __future__ import annotations

import time
from decimal import Decimal

import nautilus_trader
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from benchmarks.peers.answer import Task, answer, read_task
from benchmarks.peers.pair_rule import PairRule, tally
from benchmarks.tape import symbols_of

_VENUE = Venue("SIM")
_START_NS = 1_514_764_800_000_000_000
_MINUTE_NS = 60_000_000_000


class Pairs(Strategy):
    """Market orders on every change of side, sent when both legs of a minute are in."""

    def __init__(self, ids: list[InstrumentId], trades: bool) -> None:
        super().__init__()
        self.fills = 0
        self.rules = [PairRule() for _ in range(len(ids) // 2)]
        self._ids = ids
        self._types = [BarType.from_str(f"{id_}-1-MINUTE-LAST-EXTERNAL") for id_ in ids]
        self._leg = {type_: i for i, type_ in enumerate(self._types)}
        self._close = [0.0] * len(ids)
        self._held = [0] * len(ids)
        self._trades = trades

    def on_start(self) -> None:
        """Subscribe to every symbol."""
        for type_ in self._types:
            self.subscribe_bars(type_)

    def on_bar(self, bar: Bar) -> None:
        """Note a close; step the pair when it is that of x, which comes second."""
        i = self._leg[bar.bar_type]
        close = bar.close.as_double()
        if i % 2 == 0:
            self._close[i] = close
            return
        rule = self.rules[i // 2]
        if rule.step(self._close[i - 1], close) and self._trades:
            self._trade(i - 1, rule.y_shares)
            self._trade(i, rule.x_shares)

    def _trade(self, i: int, shares: int) -> None:
        delta = shares - self._held[i]
        if delta == 0:
            return
        self._held[i] = shares
        side = OrderSide.BUY if delta > 0 else OrderSide.SELL
        self.submit_order(self.order_factory.market(self._ids[i], side, Quantity.from_int(abs(delta))))

    def on_order_filled(self, event: OrderFilled) -> None:  # noqa: ARG002 - the engine names it
        """Count fills."""
        self.fills += 1


def instrument(id_: InstrumentId) -> Equity:
    """Return a share with four decimals."""
    return Equity(
        instrument_id=id_,
        raw_symbol=Symbol(id_.symbol.value),
        currency=USD,
        price_precision=4,
        price_increment=Price.from_str("0.0001"),
        lot_size=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
    )


def bars_of(task: Task, types: list[BarType]) -> list[Bar]:
    """Return the tape as the engine's own bars, in time order, y before x."""
    found = []
    for t, (opens, highs, lows, closes, volumes) in enumerate(task.bars.tolist()):
        ts_ns = _START_NS + t * _MINUTE_NS
        found += [
            Bar(
                types[i],
                Price(opens[i], 4),
                Price(highs[i], 4),
                Price(lows[i], 4),
                Price(closes[i], 4),
                Quantity(volumes[i], 0),
                ts_ns,
                ts_ns,
            )
            for i in range(len(types))
        ]
    return found


def run(task: Task) -> None:
    """Run the tape on a netting margin account with money enough."""
    started = time.perf_counter()
    engine = BacktestEngine(
        BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    )
    engine.add_venue(_VENUE, OmsType.NETTING, AccountType.MARGIN, [Money(1e9, USD)], USD, Decimal(10))
    ids = [InstrumentId(Symbol(name), _VENUE) for name in symbols_of(task.size)]
    for id_ in ids:
        engine.add_instrument(instrument(id_))
    strategy = Pairs(ids, task.trades)
    engine.add_data(bars_of(task, [BarType.from_str(f"{id_}-1-MINUTE-LAST-EXTERNAL") for id_ in ids]))
    engine.add_strategy(strategy)
    loaded = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - loaded
    answer(nautilus_trader.__version__, seconds, loaded - started, tally(strategy.rules), strategy.fills)


if __name__ == "__main__":
    run(read_task())
