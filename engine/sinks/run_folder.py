"""The run folder: every table, alert and verdict of a run, streamed to disk in chunks.

Names and columns are a contract (docs/run-folder.md). Memory does not grow with the length of a run: a table
keeps at most one chunk of rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.desk import TradingDesk
from engine.events import (
    Alert,
    AllocationDone,
    BarRejected,
    BarSlice,
    BookMarked,
    Event,
    Filled,
    FloatArray,
    IntArray,
    Record,
    RiskMeasured,
    Signal,
    SleevesMarked,
    SliceClosed,
    TargetApproved,
    TargetRefused,
    TradingState,
)
from engine.ports import Strategy
from engine.sinks.round_trips import RoundTrips, Trade
from engine.sinks.unmet import Unmet

_CHUNK_ROWS: Final = 16_384
_QUARANTINE_MAX: Final = 10_000

_TS = ("ts", pa.timestamp("ns", tz="UTC"))
_TEXT = pa.string()
_NUMBER = pa.float64()


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([_TS, *columns.items()])


SCHEMAS: Final = {
    "signals": _schema(
        strategy=_TEXT, spread=_TEXT, side=_TEXT, z=_NUMBER, beta=_NUMBER, expected_return_frac=_NUMBER
    ),
    "trace": _schema(
        strategy=_TEXT,
        spread=_TEXT,
        beta=_NUMBER,
        alpha=_NUMBER,
        innovation=_NUMBER,
        innovation_var=_NUMBER,
        z=_NUMBER,
    ),
    "targets": _schema(symbol=_TEXT, weight_frac=_NUMBER, status=_TEXT, reason=_TEXT),
    "fills": _schema(symbol=_TEXT, quantity=_NUMBER, price_usd=_NUMBER, cost_usd=_NUMBER),
    "book": _schema(
        equity_usd=_NUMBER,
        cash_usd=_NUMBER,
        gross_usd=_NUMBER,
        net_usd=_NUMBER,
        funding_usd=_NUMBER,
        costs_usd=_NUMBER,
    ),
    "sleeves": _schema(
        strategy=_TEXT,
        spread=_TEXT,
        gross_usd=_NUMBER,
        pnl_usd=_NUMBER,
        costs_usd=_NUMBER,
        gross_mean_usd=_NUMBER,
    ),
    "trades": _schema(
        ts_entry=_TS[1],
        strategy=_TEXT,
        spread=_TEXT,
        side=_TEXT,
        gross_usd=_NUMBER,
        pnl_usd=_NUMBER,
        costs_usd=_NUMBER,
    ),
    "risk": _schema(
        var_usd=_NUMBER,
        var_analytic_usd=_NUMBER,
        var_upper_usd=_NUMBER,
        es_usd=_NUMBER,
        state=_TEXT,
        var_limit_usd=_NUMBER,
    ),
}


class Table:
    """One Parquet file, written a chunk at a time; an empty table is a file without rows.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
    on_chunk : callable or None
        Is shown every chunk before it is written.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, on_chunk: Callable[[pa.Table], None] | None = None
    ) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows: list[Sequence[Any]] = []
        self._on_chunk = on_chunk

    def append(self, row: Sequence[Any]) -> None:
        """Add one row, in the order of the columns."""
        self._rows.append(row)
        if len(self._rows) >= _CHUNK_ROWS:
            self._flush()

    def write(self, columns: list[Any]) -> None:
        """Write a ready chunk, a column a list or array."""
        self._flush()
        arrays = [pa.array(c, type=field.type) for c, field in zip(columns, self._schema, strict=True)]
        self._write_chunk(pa.Table.from_arrays(arrays, schema=self._schema))

    def _flush(self) -> None:
        if self._rows:
            columns = list(zip(*self._rows, strict=True))
            self._rows.clear()
            self.write(columns)

    def _write_chunk(self, chunk: pa.Table) -> None:
        if self._on_chunk is not None:
            self._on_chunk(chunk)
        self._writer.write_table(chunk)

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()


class RunFolder:
    """Listener that writes the tables of a run.

    Parameters
    ----------
    folder : Path
        Exists, and is empty of tables.
    symbols : tuple of str
        The universe.
    strategies : sequence of Strategy
        Asked for their outlook after every slice when a trace is kept.
    trace : bool
        Keep ``trace.parquet``.
    on_equity : callable
        Is shown ``(ts_ns, equity_usd)`` arrays as they are written: for the statistics of the summary.
    desk : TradingDesk or None
        Of the run; None when nothing trades.
    weighs_returns : bool
        Whether the allocator weighs what is expected of a spread.
    """

    def __init__(
        self,
        folder: Path,
        symbols: tuple[str, ...],
        strategies: Sequence[Strategy],
        trace: bool,
        on_equity: Callable[[IntArray, FloatArray], None],
        desk: TradingDesk | None = None,
        weighs_returns: bool = False,
    ) -> None:
        def show_equity(chunk: pa.Table) -> None:
            ts_ns = chunk["ts"].to_numpy().astype(np.int64)
            on_equity(ts_ns, chunk["equity_usd"].to_numpy())

        book = desk.book if desk is not None else None
        self._symbols = symbols
        self._latch = desk.latch if desk is not None else None
        self._ledger = book
        self._names = book.layout.sleeve_names if book is not None else []
        self._trips = RoundTrips(book.layout) if book is not None else None
        self._unmet = Unmet(desk, weighs_returns) if desk is not None else None
        self._tables = {
            name: Table(folder / f"{name}.parquet", schema, show_equity if name == "book" else None)
            for name, schema in SCHEMAS.items()
            if name != "trace" or trace
        }
        self._book = self._tables["book"]
        self._risk = self._tables["risk"]
        self._trace = Trace(self._tables["trace"], strategies) if trace else None
        self._alerts: TextIO = (folder / "alerts.jsonl").open("w", encoding="utf-8")
        self._quarantine_path = folder / "quarantine.jsonl"
        self._quarantine: TextIO | None = None
        self._quarantined = 0
        self._answers: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def on_step(self, seq: int, record: Record, events: list[Event], state: TradingState) -> None:
        """Take one step of the loop; ``state`` is the trading state after it."""
        n_marked = 0
        for index, event in enumerate(events):
            kind = type(event)
            if kind is BookMarked:
                n_marked += 1
                self._book.append(msgspec.structs.astuple(event))
            elif kind is RiskMeasured:
                limit_usd = self._latch.var_limit_usd if self._latch is not None else math.nan
                self._risk.append(_risk_row(event, state, limit_usd))  # type: ignore[arg-type]
            else:
                self._rare(f"{seq}-{index}", event)
        if n_marked and self._ledger is not None and self._trips is not None and self._unmet is not None:
            self._trades(self._trips.look(self._ledger, n_marked))
            self._unmet.on_bars(n_marked)
        if self._trace is not None:
            slice_ = record if type(record) is BarSlice else _last_closed(events)
            if slice_ is not None:
                self._trace.on_slice(slice_.ts_close_ns)

    def _rare(self, effect_id: str, event: Event) -> None:
        match event:
            case Signal():
                self._tables["signals"].append(msgspec.structs.astuple(event))
                if self._unmet is not None:
                    self._unmet.on_signal(event)
            case Filled():
                self._tables["fills"].append(msgspec.structs.astuple(event))
            case TargetApproved():
                status = "approved" if event.scale == 1.0 else "scaled"
                self._targets(event.ts_ns, event.weight_frac, status, "")
            case TargetRefused():
                self._targets(event.ts_ns, event.weight_frac, "refused", event.reason)
            case AllocationDone(status=status, binding=binding):
                self._answers[status, () if status == "optimal" else binding] += 1
                if self._unmet is not None:
                    self._unmet.on_answer(event)
            case SleevesMarked():
                self._sleeves(event)
            case Alert():
                self._alerts.write(_line({"id": effect_id, **_fields(event)}))
            case BarRejected(bar=bar) if bar is not None:
                self._keep(effect_id, event)
            case _:
                pass

    def _targets(self, ts_ns: int, weight_frac: Sequence[float], status: str, reason: str) -> None:
        table = self._tables["targets"]
        if not weight_frac:
            table.append((ts_ns, None, None, status, reason))
        elif self._unmet is not None:
            self._unmet.on_target()
        for symbol, weight in zip(self._symbols, weight_frac, strict=False):
            table.append((ts_ns, symbol, weight, status, reason))

    def _sleeves(self, marked: SleevesMarked) -> None:
        """One row for each sleeve; one of the opening book has no strategy, and its symbol for a name."""
        assert self._trips is not None  # noqa: S101 - a book has marked them
        mean_usd = self._trips.end_session(marked).tolist()
        rows = zip(self._names, marked.gross_usd, marked.pnl_usd, marked.costs_usd, mean_usd, strict=True)
        for (strategy, spread), *values in rows:
            self._tables["sleeves"].append((marked.ts_ns, strategy, spread, *values))

    def _trades(self, trades: Sequence[Trade]) -> None:
        for trade in trades:
            strategy, spread = self._names[trade.sleeve]
            values = (trade.gross_usd, trade.pnl_usd, trade.costs_usd)
            self._tables["trades"].append(
                (trade.ts_ns, trade.ts_entry_ns, strategy, spread, trade.side.value, *values)
            )

    def _keep(self, effect_id: str, rejected: BarRejected) -> None:
        """Quarantine a rejected bar; bounded, since a broken feed could fill a disk."""
        self._quarantined += 1
        if self._quarantined > _QUARANTINE_MAX:
            return
        if self._quarantine is None:
            self._quarantine = self._quarantine_path.open("w", encoding="utf-8")
        bar = _fields(rejected.bar)
        self._quarantine.write(_line({"id": effect_id, "reason": rejected.reason.value, **bar}))

    def notes(self) -> list[dict[str, Any]]:
        """Say what was wanted in vain, and why the allocator gave no target: ``notes`` of the summary."""
        answers = self._answers.total()
        unmet = self._unmet.notes() if self._unmet is not None else []
        return unmet + [
            {
                "strategy": "",
                "spread": "",
                "note": f"allocator_{status}",
                "reason": ", ".join(binding),
                "times": times,
                "answers": answers,
            }
            for (status, binding), times in self._answers.most_common()
            if status != "optimal"
        ]

    def close(self) -> None:
        """Write everything that is left, and what the sleeves have earned in the end."""
        if self._ledger is not None and self._ledger.session >= 0:
            self._sleeves(self._ledger.sleeves())
        if self._trace is not None:
            self._trace.flush()
        for table in self._tables.values():
            table.close()
        self._alerts.close()
        if self._quarantine is not None:
            self._quarantine.close()


class Trace:
    """Every slice of every spread: what the filter saw."""

    def __init__(self, table: Table, strategies: Sequence[Strategy]) -> None:
        self._table = table
        self._strategies = strategies
        self._ts: list[int] = []
        self._values: list[FloatArray] = []
        spreads = [spread for strategy in strategies for spread in strategy.spreads]
        self._names = ([s.strategy for s in spreads], [s.name for s in spreads])

    def on_slice(self, ts_ns: int) -> None:
        """Note the outlook of every strategy."""
        outlooks = [strategy.outlook() for strategy in self._strategies]
        self._values.append(
            np.concatenate([(o.beta, o.alpha, o.innovation, o.innovation_var, o.z) for o in outlooks], axis=1)
        )
        self._ts.append(ts_ns)
        if len(self._ts) * len(self._names[0]) >= _CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the noted slices."""
        if self._ts:
            n_slices, n_spreads = len(self._ts), len(self._names[0])
            values = np.concatenate(self._values, axis=1)
            names = [names * n_slices for names in self._names]
            self._table.write([np.repeat(self._ts, n_spreads), *names, *values])
            self._ts.clear()
            self._values.clear()


def _last_closed(events: list[Event]) -> SliceClosed | None:
    """Find the live minute that the outlooks of the strategies are of now."""
    return next((event for event in reversed(events) if type(event) is SliceClosed), None)


def _risk_row(event: RiskMeasured, state: TradingState, limit_usd: float) -> tuple[Any, ...]:
    return (
        event.ts_ns,
        event.var_usd,
        event.var_analytic_usd,
        event.var_upper_usd,
        event.es_usd,
        state.value,
        limit_usd,
    )


def _fields(struct: Any) -> dict[str, Any]:
    fields = msgspec.structs.asdict(struct)
    for name in ("ts_ns", "ts_close_ns"):
        if name in fields:
            fields["ts"] = str(np.datetime64(fields.pop(name), "ns")) + "Z"
    return fields


def _line(fields: dict[str, Any]) -> str:
    return msgspec.json.encode(fields, order="sorted").decode() + "\n"
