"""A run folder as a report reads it: tables as columns, the rest as plain values."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Set
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.app.config.plugins import z_unit
from engine.app.replay.run_records import RunRecord, SummaryRecord, damaged, read_record
from engine.app.report.charts import Z_EDGES, session_starts, utc_day, z_bins
from engine.app.report.spreads import DRAWN, Paths, SpreadPath
from engine.events import BoolArray, FloatArray, IntArray
from engine.sinks.run_folder import SCHEMAS
from feeds.calendars import AROUND_THE_CLOCK, minutes_per_session

_COLUMNS: Final = {
    "signals": ("ts", "strategy", "spread", "side"),
    "targets": ("ts", "status", "reason"),
    "fills": ("ts", "symbol", "quantity", "price_usd", "cost_usd"),
    "book": ("ts", "equity_usd", "gross_usd"),
    "risk": ("ts", "var_usd", "var_upper_usd", "state"),
    "sleeves": ("ts", "strategy", "spread", "pnl_usd"),
}
#: Columns that folders of earlier versions lack.
_OF_LATE: Final = {"risk": ("var_limit_usd",)}
_BATCH_ROWS: Final = 65_536


class Columns(msgspec.Struct, frozen=True):
    """One table: ``ts_ns`` and the other columns by name, numbers as float64, text as lists."""

    ts_ns: IntArray
    numbers: dict[str, FloatArray]
    texts: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.ts_ns)


class SpreadZ(msgspec.Struct, frozen=True):
    """z of one spread outside the first bar of each session: count, sd (ddof 1), count beyond 2."""

    strategy: str
    spread: str
    n: int
    sd: float
    beyond_2: int


class RunData(msgspec.Struct, frozen=True):
    """Everything a report is made from.

    ``z_counts`` has shape (len(Z_EDGES) - 1,), all zero without a trace; ``paths`` are of its first spreads.
    """

    name: str
    run: dict[str, Any]
    summary: dict[str, Any]
    config: dict[str, Any]
    config_text: str
    signals: Columns
    targets: Columns
    fills: Columns
    book: Columns
    risk: Columns
    sleeves: Columns
    alerts: list[dict[str, Any]]
    z_counts: IntArray
    z_spreads: list[SpreadZ]
    paths: list[SpreadPath]

    @property
    def var_limit_usd(self) -> FloatArray | None:
        """The limit in force at every measure, shape (n,); the configured one if it was not recorded."""
        limit = self.risk.numbers.get("var_limit_usd")
        if limit is not None and np.isfinite(limit).all():
            return limit
        configured = self.config.get("risk", {}).get("var_limit_usd")
        return None if configured is None else np.full(len(self.risk), float(configured))

    def z_unit(self, strategy: str) -> str:
        """Return the unit of a strategy's z; empty for standard deviations."""
        return _z_units(self.config).get(strategy, "")

    @property
    def has_openings(self) -> bool:
        """Whether a session has more bars than its first, which z leaves out."""
        return _has_openings(self.config)

    @property
    def calendar(self) -> str:
        """The calendar of the configuration."""
        return str(self.config.get("universe", {}).get("calendar", "24/7"))

    @property
    def bar_min(self) -> int:
        """Minutes of a bar."""
        return int(self.config.get("universe", {}).get("bar_min", 1))


def read_run(folder: Path) -> RunData:
    """Read a run folder; a table that was not written counts as empty.

    Parameters
    ----------
    folder : Path
        Must hold ``run.json`` and ``summary.json``.

    Raises
    ------
    DataError
        D011 if it is no run folder, D013 if a file in it cannot be read.
    """
    folder = folder.resolve()
    run = read_record(folder / "run.json", RunRecord)
    summary = read_record(folder / "summary.json", SummaryRecord)
    config_path = folder / "config.toml"
    config_text = _text(config_path) if config_path.exists() else ""
    try:
        config = tomllib.loads(config_text)
    except tomllib.TOMLDecodeError as error:
        raise damaged(config_path, error) from None
    measured = {name for name, unit in _z_units(config).items() if unit}
    moments, paths = _read_trace(folder / "trace.parquet", measured, has_openings=_has_openings(config))
    tables = {
        name: read_table(folder, name, needed, _OF_LATE.get(name, ())) for name, needed in _COLUMNS.items()
    }
    return RunData(
        name=folder.name,
        run=run,
        summary=summary,
        config=config,
        config_text=config_text,
        alerts=_read_alerts(folder / "alerts.jsonl"),
        z_counts=moments.z_counts,
        z_spreads=moments.spreads(),
        paths=paths.spreads(),
        **tables,
    )


def _z_units(config: dict[str, Any]) -> dict[str, str]:
    return {str(table.get("name")): z_unit(str(table.get("kind"))) for table in config.get("strategy", ())}


def _has_openings(config: dict[str, Any]) -> bool:
    """Tell whether a session has more bars than the first."""
    universe = config.get("universe", {})
    calendar = str(universe.get("calendar", AROUND_THE_CLOCK))
    return int(universe.get("bar_min", 1)) < minutes_per_session(calendar)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, error) from None


def _read_alerts(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        alerts = [json.loads(line) for line in _text(path).splitlines() if line]
    except json.JSONDecodeError as error:
        raise damaged(path, error) from None
    if not all(isinstance(alert, dict) for alert in alerts):
        raise damaged(path, "every line must hold an object")
    return alerts


def read_table(folder: Path, name: str, needed: tuple[str, ...], wanted: tuple[str, ...] = ()) -> Columns:
    """Read columns of a table of a run folder; one that is absent counts as empty.

    Parameters
    ----------
    folder : Path
    name : str
        Of the table, without its suffix.
    needed : tuple of str
        Columns, ``ts`` among them.
    wanted : tuple of str
        Further ones, read if they are there.

    Raises
    ------
    DataError
        D013 if the file cannot be read or lacks a column.
    """
    path = folder / f"{name}.parquet"
    if not path.exists():
        return Columns(np.empty(0, dtype=np.int64), *_empty(name, needed))
    try:
        file = pq.ParquetFile(path)
        missing = [column for column in needed if column not in file.schema_arrow.names]
        if missing:
            raise damaged(path, f"it has no column {', '.join(missing)}")
        return _columns(file, (*needed, *(name for name in wanted if name in file.schema_arrow.names)))
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from None


def _empty(name: str, needed: tuple[str, ...]) -> tuple[dict[str, FloatArray], dict[str, list[str]]]:
    kinds = {column: SCHEMAS[name].field(column).type for column in needed if column != "ts"}
    numbers = {column: np.empty(0) for column, kind in kinds.items() if not pa.types.is_string(kind)}
    return numbers, {column: [] for column in kinds if column not in numbers}


def _columns(file: pq.ParquetFile, needed: tuple[str, ...]) -> Columns:
    """Read columns batch by batch into their final place, so that no second copy of a long run is made."""
    n = file.metadata.num_rows
    kinds = {name: file.schema_arrow.field(name).type for name in needed if name != "ts"}
    numbers = {name: np.empty(n) for name, kind in kinds.items() if not pa.types.is_string(kind)}
    texts: dict[str, list[str]] = {name: [] for name in kinds if name not in numbers}
    ts_ns = np.empty(n, dtype=np.int64)
    words: dict[str, str] = {}
    row = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(needed)):
        stop = row + batch.num_rows
        ts_ns[row:stop] = _ts_ns(batch.column("ts"))
        for name, column in numbers.items():
            values = batch.column(name)
            is_instant = pa.types.is_timestamp(values.type)  # to a microsecond, as a number
            column[row:stop] = _ts_ns(values) if is_instant else values.to_numpy(zero_copy_only=False)
        for name, column_words in texts.items():
            # A few words stand in very many rows: they share their strings.
            coded = batch.column(name).fill_null("").dictionary_encode()
            names = [words.setdefault(word, word) for word in coded.dictionary.to_pylist()]
            column_words.extend(names[code] for code in coded.indices.to_numpy().tolist())
        row = stop
    return Columns(ts_ns, numbers, texts)


def _ts_ns(column: Any) -> IntArray:
    whole = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    return np.asarray(whole.to_numpy(zero_copy_only=False), dtype=np.int64)


class _Moments:
    """Sums of z by spread, session openings left out; z is of order 1, so plain sums are exact enough."""

    def __init__(self, measured: Set[str], has_openings: bool) -> None:
        #: Strategies whose z is no number of standard deviations.
        self._measured = measured
        self._has_openings = has_openings
        self.z_counts = np.zeros(len(Z_EDGES) - 1, dtype=np.int64)
        self.sums: dict[tuple[str, str], FloatArray] = {}
        self._opening_ns = -1

    def add(self, batch: pa.RecordBatch) -> None:
        table = pa.Table.from_batches([batch])
        ts_ns = _ts_ns(table["ts"])
        z = np.asarray(table["z"].to_numpy(), dtype=np.float64)
        is_used = np.isfinite(z) & ~(self._has_openings & self._is_opening(ts_ns))
        is_normal = np.array([name not in self._measured for name in table["strategy"].to_pylist()])
        self.z_counts += z_bins(z[is_used & is_normal])
        names = list(zip(table["strategy"].to_pylist(), table["spread"].to_pylist(), strict=True))
        codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
        code = np.fromiter((codes[name] for name in names), np.int64, len(names))[is_used]
        z = z[is_used]
        columns = [
            np.bincount(code, weights=weights, minlength=len(codes))
            for weights in (np.ones_like(z), z, z * z, (np.abs(z) > 2.0).astype(np.float64))
        ]
        for name, k in codes.items():
            self.sums[name] = self.sums.get(name, np.zeros(4)) + np.array([c[k] for c in columns])

    def _is_opening(self, ts_ns: IntArray) -> BoolArray:
        starts = session_starts(ts_ns)
        first_ns = ts_ns[starts]
        if len(starts) and utc_day(self._opening_ns) == utc_day(int(first_ns[0])):
            first_ns[0] = self._opening_ns
        lengths = np.diff(np.append(starts, len(ts_ns)))
        if len(starts):
            self._opening_ns = int(first_ns[-1])
        return np.asarray(ts_ns == np.repeat(first_ns, lengths), dtype=np.bool_)

    def spreads(self) -> list[SpreadZ]:
        found = []
        for (strategy, spread), (n, total, squares, beyond) in self.sums.items():
            variance = (squares - total * total / n) / (n - 1.0) if n > 1 else math.nan
            found.append(SpreadZ(strategy, spread, int(n), math.sqrt(max(variance, 0.0)), int(beyond)))
        return found


def _read_trace(path: Path, measured: Set[str], *, has_openings: bool) -> tuple[_Moments, Paths]:
    """Read a trace a batch at a time: it can be larger than memory."""
    moments, paths = _Moments(measured, has_openings), Paths()
    if path.exists():
        try:
            for batch in pq.ParquetFile(path).iter_batches(
                _BATCH_ROWS, columns=["ts", "strategy", "spread", *DRAWN]
            ):
                moments.add(batch)
                paths.add(batch, _ts_ns(batch.column("ts")))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise damaged(path, error) from None
    return moments, paths
