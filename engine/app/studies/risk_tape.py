"""What a run held, and what risk knew, at the close of each of its sessions."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from engine.app.config.load import Config
from engine.app.replay.past_bars import PastBars
from engine.app.studies.risk_inputs import build_model
from engine.app.wiring import quotes_of, read_history
from engine.events import CLOSE, BarSlice, FloatArray, IntArray
from engine.oversight import Market
from feeds.calendars import minutes_per_session
from risk.actor import RiskActor


class SessionClose(msgspec.Struct, frozen=True):
    """The close of one session.

    Parameters
    ----------
    holdings_usd : FloatArray, shape (n,)
    market : Market
        Covariance as it stood then, without scenarios.
    returns_daily : FloatArray, shape (n_days, n)
        Log returns up to this close.
    pnl_usd : float
        Of the book frozen until the next close.
    """

    holdings_usd: FloatArray
    market: Market
    returns_daily: FloatArray
    pnl_usd: float


class _Fills:
    """Shares held at any time: the opening positions and the fills of a run, in order."""

    def __init__(self, config: Config, path: Path) -> None:
        table = pq.read_table(path, columns=["ts", "symbol", "quantity"])
        column = {symbol: i for i, symbol in enumerate(config.symbols)}
        self._ts_ns: IntArray = table["ts"].to_numpy().astype("datetime64[ns]").astype(np.int64)
        self._symbol = [column[symbol] for symbol in table["symbol"].to_pylist()]
        self._quantity = table["quantity"].to_numpy()
        self._next = 0
        self.held: FloatArray = np.zeros(len(config.symbols))
        for symbol, quantity in config.book.positions.items():
            self.held[column[symbol]] = quantity

    def advance(self, ts_close_ns: int) -> None:
        """Take the fills of the bars that closed by then; a fill bears the opening instant of its bar."""
        while self._next < len(self._symbol) and self._ts_ns[self._next] < ts_close_ns:
            self.held[self._symbol[self._next]] += self._quantity[self._next]
            self._next += 1


async def tape_closes(config: Config, source: PastBars, fills: Path, keep_days: int) -> list[SessionClose]:
    """Play the bars of a run through its covariance, with the book that its fills made.

    Parameters
    ----------
    config : Config
    source : PastBars
        The bars that the run saw.
    fills : Path
        ``fills.parquet`` of the run.
    keep_days : int
        Daily returns that are wanted at each close.

    Returns
    -------
    list of SessionClose
        All sessions but the last, which nothing came after.
    """
    symbols = config.symbols
    history = read_history(config.risk.history, symbols, source.first_day)
    session_min = minutes_per_session(config.universe.calendar)
    model = build_model("gaussian", config.risk.model_dump(), symbols)
    actor = RiskActor(config.risk, model, symbols, session_min, history, config.universe.bar_min, keep_days)
    quotes = quotes_of(config)
    book = _Fills(config, fills)
    price_usd: FloatArray = np.full(len(symbols), np.nan)
    # Prices less what of them only a rate's move has made since the first: of a future nobody gains that.
    worth_usd, moved_usd = price_usd, np.zeros(len(symbols))
    open_: list[tuple[FloatArray, FloatArray, FloatArray, Market, FloatArray]] = []
    session = -1
    async for record in source.records():
        if type(record) is not BarSlice:
            continue
        slice_ = quotes.to_usd(record)
        market = actor.market
        actor.observe(quotes.at_constant_rates(record, slice_))
        if slice_.session != session and session >= 0:
            open_.append((book.held.copy(), price_usd, worth_usd, market, _returns(actor)))
        session = slice_.session
        close = slice_.bars[CLOSE]
        if (move_frac := quotes.rate_move_frac) is not None:
            moved_usd += np.where(move_frac[0] != 0.0, price_usd * move_frac[0], 0.0)
        price_usd = np.where(np.isnan(close), price_usd, close)
        worth_usd = price_usd - moved_usd
        book.advance(slice_.ts_close_ns)
    ends = [*(worth for _, _, worth, _, _ in open_[1:]), worth_usd][: len(open_)]
    return [
        SessionClose(_usd(held, price), market, returns, float(_usd(held, after - worth).sum()))
        for (held, price, worth, market, returns), after in zip(open_, ends, strict=True)
    ]


def _usd(held: FloatArray, price_usd: FloatArray) -> FloatArray:
    return np.where(held == 0.0, 0.0, held * price_usd)


def _returns(actor: RiskActor) -> FloatArray:
    returns = actor.history_return_frac()
    return np.empty((0, 0)) if returns is None else np.log1p(returns)
