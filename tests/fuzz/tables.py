"""What people keep in files, and what the package of a vendor answers with: tables of bars and of curves.

Each function takes any bytes, gives them to a reader, and asserts what the reader promises.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import AstraError, Errors
from engine.events import MINUTE_NS, Bar, BarConfirmed, BarRejected, BarSlice, BarSuspended, Reject
from feeds.bar_messages import judged
from feeds.convert import import_
from feeds.files import FileOptions, bar_min_in, file_bars, symbols_in
from feeds.recorded import RecordedBars
from feeds.yahoo import final_bars, newest_of, position_of
from feeds.yields import YieldOptions, yield_bars
from tests.fuzz.stored import scratch
from tests.support.publish import live_context

SYMBOLS: Final = ("AAA", "BBB")
T0_NS: Final = 1_767_623_460_000_000_000
#: How a file is read, as its first byte says: zone of naive stamps, sorted or not, minutes of a bar.
_WAYS: Final = {
    b"0": (None, False, 1),
    b"1": ("America/New_York", False, 1),
    b"2": ("UTC", True, 5),
    b"3": (None, True, 1_440),
}
_TYPES: Final[dict[str, Any]] = {
    "utc": pa.timestamp("ns", tz="UTC"),
    "local": pa.timestamp("us", tz="America/New_York"),
    "naive": pa.timestamp("ms"),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "text": pa.string(),
    "large": pa.large_string(),
    "coded": pa.dictionary(pa.int32(), pa.string()),
    "bytes": pa.binary(),
    "float": pa.float64(),
    "half": pa.float32(),
    "int": pa.int64(),
    "natural": pa.uint64(),
    "bool": pa.bool_(),
    "decimal": pa.decimal128(20, 4),
    "nothing": pa.null(),
    "list": pa.list_(pa.float64()),
}


class _Column(msgspec.Struct, forbid_unknown_fields=True):
    """A column of a table, in words."""

    name: str
    type: str
    cells: list[Any]


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    """A Parquet file, in words."""

    way: str
    columns: list[_Column]


class _Frame(msgspec.Struct, forbid_unknown_fields=True):
    """A history as the package gives it: starts in seconds since 1970, or null; a zone, or none."""

    zone: str | None
    starts: list[float | None]
    columns: list[_Column]


def csv(data: bytes) -> None:
    """Read a CSV file; the first byte says how."""
    if data[:1] in _WAYS:
        _judge(data[1:], ".csv", data[:1])


def parquet(data: bytes) -> None:
    """Read a Parquet file: one that is described, so that its bytes are sound, or any bytes."""
    if data[:1] != b"{":
        _judge(data[1:], ".parquet", data[:1])
    elif (described := _described(data)) is not None:
        _judge(described[1], ".parquet", described[0])


def foreign(data: bytes) -> None:
    """Convert a CSV file of somebody else's making: refused with a code, or every row is in the new one."""
    path, made = scratch() / "foreign.csv", scratch() / "made.parquet"
    path.write_bytes(data[1:])
    try:
        n_rows = import_(path, made, tz=_WAYS.get(data[:1], _WAYS[b"0"])[0], symbol="AAA").n_rows
    except (AstraError, Errors) as error:
        assert str(error)
        return
    assert pq.read_metadata(made).num_rows == n_rows


def curves(data: bytes) -> None:
    """Read a file of par yields: every cell that is not blank is a bar, or refused."""
    path = scratch() / "curves.csv"
    path.write_bytes(data)
    try:
        feed = yield_bars(YieldOptions(path=path), ("UST5Y", "UST10Y.Q"), "24/7")
    except (AstraError, Errors) as error:
        assert str(error)
        return
    _account(feed)


def yahoo(data: bytes) -> None:
    """Read a history of a vendor: minutes that are over, each once and by time, or an error of the poll."""
    try:
        frame = _frame(msgspec.json.decode(data, type=_Frame))
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, OSError, OverflowError):
        return
    after_ns, until_ns = T0_NS, T0_NS + 390 * MINUTE_NS
    try:
        bars = final_bars("AAA", frame, after_ns, until_ns)
    except Exception:  # noqa: BLE001 - a poll logs and counts whatever is raised
        return
    stamps = [bar.ts_close_ns for bar in bars]
    assert stamps == sorted(set(stamps))
    assert all(after_ns < ts_ns <= until_ns and ts_ns % MINUTE_NS == 0 for ts_ns in stamps)
    assert len(judged(bars, live_context(None))) == len(bars)
    encoded = msgspec.msgpack.encode(bars)
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(encoded, type=list[Bar])) == encoded
    newest_ns = {"AAA": stamps[-1] if stamps else after_ns, "BBB": after_ns}
    assert newest_of(position_of(newest_ns), ("AAA", "BBB")) == newest_ns


def _judge(content: bytes, suffix: str, kind: bytes) -> None:
    """Read a data set: refused as a whole with a code, or every row is judged, and counted."""
    tz, is_sorted, bar_min = _WAYS.get(kind, _WAYS[b"0"])
    path = scratch() / f"bars{suffix}"
    path.write_bytes(content)
    try:
        symbols_in(path)
        bar_min_in(path, tz, "XNYS")
        feed = file_bars(FileOptions(path=path, tz=tz, sort=is_sorted), SYMBOLS, "XNYS", bar_min=bar_min)
        _account(feed)
    except (AstraError, Errors) as error:
        assert str(error)


def _account(feed: RecordedBars) -> None:
    """Received = accepted + rejected + pending, told by the items alone, and as many as were announced."""
    accepted = rejected = pending = 0
    for item in feed.slices():
        if isinstance(item, BarSlice):
            accepted += item.accepted
        elif isinstance(item, BarRejected):
            rejected += item.count
            pending -= item.count if item.reason == Reject.COLLAR else 0
        elif isinstance(item, BarSuspended):
            pending += 1
        elif isinstance(item, BarConfirmed):
            accepted, pending = accepted + 1, pending - 1
    assert feed.received == feed.n_rows == accepted + rejected + pending
    assert pending == len(feed.slicer.pending)


def _described(data: bytes) -> tuple[bytes, bytes] | None:
    """Return how to read a table, and its file; None if there can be no such table."""
    try:
        table = msgspec.json.decode(data, type=_Table)
        arrays = [pa.array(map(_cell, column.cells), _TYPES[column.type]) for column in table.columns]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(arrays, [column.name for column in table.columns]), sink, row_group_size=2)
    except (msgspec.MsgspecError, pa.ArrowException, LookupError, ValueError, TypeError, OverflowError):
        return None
    return table.way.encode(errors="replace"), sink.getvalue().to_pybytes()


def _cell(value: Any) -> Any:
    """Return a stamp as what Arrow takes for one; anything else as it is."""
    if isinstance(value, str) and value.endswith("Z"):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def _frame(told: _Frame) -> pd.DataFrame:
    index = pd.to_datetime(np.array(told.starts, np.float64), unit="s", utc=True)
    index = index.tz_localize(None) if told.zone is None else index.tz_convert(told.zone)
    columns = [pd.Series(column.cells, index=index, name=column.name) for column in told.columns]
    return pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
