"""The composition root: from a configuration to a loop. The only file that names concrete parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from engine.app.config.adjustable import controls_of
from engine.app.config.load import Config
from engine.app.config.plugins import registry, weighs_returns
from engine.app.config.tables import InstrumentTable
from engine.book import Book
from engine.bus import Bus
from engine.carry import Funding
from engine.commands import Keys, Verifier
from engine.desk import RiskRule, TradingDesk
from engine.errors import DataError
from engine.events import FloatArray
from engine.execution import Costs
from engine.intake import Intake
from engine.journal import JournalWriter
from engine.loop import Listener, Loop
from engine.ports import (
    Allocator,
    AllocatorContext,
    DailyHistory,
    Instrument,
    Layout,
    Spread,
    Strategy,
    StrategyContext,
)
from engine.quotes import Quotes
from engine.sessions import Sessions
from engine.slices import Slicer
from feeds.calendars import day_of, minutes_per_session
from risk.actor import RiskActor
from risk.gate import RiskGate
from risk.limits import HaltLatch

#: Horizon of expected returns for an allocator that has none of its own.
_HORIZON_MIN = 60.0


def at_least_two_bars(config: Config, limit_min: int) -> int:
    """Return a limit on age in session minutes: one missing bar, however long, is no reason to halt."""
    bar_min = config.universe.bar_min
    if bar_min == 1:
        return limit_min
    return max(limit_min, 2 * min(bar_min, minutes_per_session(config.universe.calendar)))


def layout_of(
    symbols: tuple[str, ...],
    spreads: Sequence[Spread],
    singles: Sequence[str],
    instruments: tuple[Instrument, ...] = (),
) -> Layout:
    """Lay out the legs: two for each spread, then one for each name of the opening book."""
    index = {symbol: i for i, symbol in enumerate(symbols)}
    legs = [(index[name], k) for k, spread in enumerate(spreads) for name in (spread.y, spread.x or spread.y)]
    legs += [(index[name], len(spreads) + k) for k, name in enumerate(singles)]
    table = np.array(legs, dtype=np.int64).reshape(-1, 2)
    return Layout(
        symbols,
        tuple(spreads),
        table[:, 0].copy(),
        table[:, 1].copy(),
        len(spreads) + len(singles),
        instruments,
    )


def quotes_of(config: Config) -> Quotes:
    """Return what turns the quotes of a run into USD, as its trading desk does."""
    layout = layout_of(config.symbols, (), (), instruments_of(config))
    age_max_min = at_least_two_bars(config, config.risk.price_max_age_min)
    return Quotes(layout, age_max_min, config.universe.bar_min)


def build_loop(
    config: Config,
    history: DailyHistory | None,
    keys: Keys,
    listener: Listener,
    journal: JournalWriter | None = None,
    sessions: Sessions | None = None,
) -> Loop:
    """Build an engine.

    Parameters
    ----------
    config : Config
    history : DailyHistory or None
        Daily closes before the tape: for the covariance and for admission.
    keys : Keys
        Secrets that operator commands are verified with.
    listener : callable
        Is shown every step.
    journal : JournalWriter or None
    sessions : Sessions or None
        Given for a live run, whose bars come one by one; a feed of slices knows its own.

    Returns
    -------
    Loop
        Ready for its first record.
    """
    symbols = config.symbols
    session_min, bar_min = minutes_per_session(config.universe.calendar), config.universe.bar_min
    instruments = instruments_of(config)
    weighed = getattr(config.allocator.options, "horizon_min", None)
    shared = StrategyContext(
        "",
        symbols,
        float(_HORIZON_MIN if weighed is None else weighed),
        session_min,
        history,
        bar_min,
        instruments,
        is_horizon_weighed=weighed is not None,
        is_return_weighed=weighs_returns(config.allocator.kind),
    )
    strategies = [
        _strategy(table.kind, table.options, replace(shared, name=table.name)) for table in config.strategy
    ]
    spreads = [spread for strategy in strategies for spread in strategy.spreads]
    layout = layout_of(symbols, spreads, tuple(config.book.positions), instruments)
    allocator = _allocator(config, layout, session_min)
    has_desk = allocator is not None or bool(config.book.positions)
    desk = _desk(config, layout, session_min, history) if has_desk else None
    intake = None if sessions is None else Intake(_slicer(config, sessions))
    verifier = Verifier(config.operator.instance, keys)
    bus = Bus(strategies, desk, allocator, verifier, intake, controls_of(config))
    return Loop(bus, listener, journal)


def instruments_of(config: Config) -> tuple[Instrument, ...]:
    """Return what every symbol of the universe is; nothing when all are plain shares."""
    if not config.instruments and config.book.lot is None:
        return ()
    lot = config.book.lot or 0.0
    tables = [config.instruments.get(symbol, InstrumentTable()) for symbol in config.symbols]
    return tuple(
        Instrument(
            symbol,
            table.multiplier,
            table.currency,
            table.kind != "future",
            lot if table.lot is None else table.lot,
            -1 if table.expiry is None else day_of(table.expiry),
            table.sector,
            table.role,
            table.borrow_bps,
            table.income_frac,
        )
        for symbol, table in zip(config.symbols, tables, strict=True)
    )


def capital_of(config: Config) -> dict[str, float]:
    """Return the share of equity of every strategy that has one, by name."""
    return {one.name: one.capital_frac for one in config.strategy if one.capital_frac is not None}


def _slicer(config: Config, sessions: Sessions) -> Slicer:
    given = config.feed.options.model_dump()
    collar = {key: given[key] for key in ("collar_frac", "collar_sigmas") if key in given}
    return Slicer(config.symbols, sessions, **collar)


def _strategy(kind: str, options: object, context: StrategyContext) -> Strategy:
    strategy: Strategy = registry("strategies")[kind].build(options, context)
    return strategy


def _allocator(config: Config, layout: Layout, session_min: int) -> Allocator | None:
    if config.allocator.kind == "none":
        return None
    plugin = registry("allocators")[config.allocator.kind]
    context = AllocatorContext(layout, session_min, config.universe.bar_min, capital_of(config))
    allocator: Allocator = plugin.build(config.allocator.options, context)
    return allocator


def _desk(config: Config, layout: Layout, session_min: int, history: DailyHistory | None) -> TradingDesk:
    table = config.risk
    model = registry("risk_models")[table.model].build(table, layout.symbols)
    funding = Funding(**config.funding.model_dump())
    opening = np.concatenate([np.zeros(2 * len(layout.spreads)), np.array([*config.book.positions.values()])])
    bar_min = config.universe.bar_min
    age_max_min = at_least_two_bars(config, table.price_max_age_min)
    keep_days = int(getattr(config.allocator.options, "history_days", 0))
    book = Book(layout, config.book.equity_usd, opening, funding, age_max_min, bar_min)
    return TradingDesk(
        book,
        RiskActor(table, model, layout.symbols, session_min, history, bar_min, keep_days),
        RiskGate(model, table.budget_frac * table.var_limit_usd),
        HaltLatch(table.var_limit_usd, table.warn_frac),
        Costs(**config.costs.model_dump(exclude={"preset"})),
        RiskRule(
            table.budget_frac,
            model.z_horizon,
            model.mc_margin,
            at_least_two_bars(config, table.var_max_age_min),
        ),
    )


def read_history(path: Path | None, symbols: tuple[str, ...], before_day: int) -> DailyHistory | None:
    """Read daily closes (``date``, ``symbol``, ``close``) of the days before a tape.

    Parameters
    ----------
    path : Path or None
        CSV or Parquet; adjusted closes.
    symbols : tuple of str
        The universe; a symbol the file lacks is a column of NaN.
    before_day : int
        Days since 1970-01-01; that day and later ones are left out, so that nothing is known in advance.

    Raises
    ------
    DataError
        D014 if the file cannot be read or lacks a column.
    """
    if path is None:
        return None
    import pandas as pd

    absent: list[str] = []
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        absent = [name for name in ("date", "symbol", "close") if name not in frame]
        frame = frame[["date", "symbol", "close"]]
        days = pd.to_datetime(frame["date"]).to_numpy("datetime64[D]").astype(np.int64)
        frame = frame.assign(day=days, close=pd.to_numeric(frame["close"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "It needs the columns date, symbol and close (adjusted)."
        why = getattr(error, "strerror", None) or error
        if absent:
            why = f"there is no column {', '.join(absent)}"
        raise DataError("D014", f"cannot read daily closes: {why}", str(path), hint) from None
    table = (
        frame[(frame["day"] < before_day) & frame["symbol"].isin(symbols)]
        .drop_duplicates(["day", "symbol"])
        .pivot_table(index="day", columns="symbol", values="close", aggfunc="first")
        .reindex(columns=list(symbols))
        .sort_index()
    )
    close: FloatArray = table.to_numpy(dtype=np.float64)
    is_bad = np.isinf(close) | (close <= 0.0)
    if is_bad.any():
        bad = [symbols[k] for k in np.flatnonzero(is_bad.sum(axis=0)).tolist()]
        raise DataError("D014", f"daily closes must be positive; look at {', '.join(bad)}", str(path))
    if np.isnan(close).all():
        hint = f"Wanted are closes of {', '.join(symbols)} before the first session of the bars."
        raise DataError("D014", "daily closes hold nothing that the run could use", str(path), hint)
    return DailyHistory(symbols, table.index.to_numpy(dtype=np.int64), close)
