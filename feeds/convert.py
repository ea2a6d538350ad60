"""Foreign CSV files to the canonical Parquet: other column names, naive stamps, stamps of the START."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.columns import BarColumns
from engine.errors import ConfigError, DataError
from engine.events import MINUTE_NS
from feeds.columns import ALIASES, COLUMNS, PRICES, SUFFIXES, data_files, no_rows
from feeds.simulated import write_columns
from feeds.stamps import UNREADABLE, check_zone, nanos

if TYPE_CHECKING:
    import pandas as pd


def import_(
    src: Path,
    dst: Path,
    *,
    tz: str | None = None,
    stamp: Literal["start", "end"] = "end",
    symbol: str | None = None,
    rename: dict[str, str] | None = None,
) -> int:
    """Convert a CSV file, or a directory of them, to one file sorted by time.

    Parameters
    ----------
    src, dst : Path
        ``dst`` ends in ``.parquet``, ``.csv`` or ``.csv.gz``.
    tz : str or None
        Zone of stamps that carry none.
    stamp : {"start", "end"}
        What the stamps of ``src`` mark; those of the start are moved to the end of the minute.
    symbol : str or None
        For files without a column of symbols.
    rename : dict of str to str, optional
        Columns of ``src`` to canonical ones, beyond the usual names (``timestamp``, ``date`` and ``time``,
        ``ticker``, ``o``, ``vol``, ... in any case).

    Returns
    -------
    int
        Rows written; all rows of ``src`` are, unreadable cells as empty ones, for the slicer to judge.

    Raises
    ------
    DataError
        D001, D003, D004, or D005 for stamps without a zone when ``tz`` is not given.
    ConfigError
        C007 for an unknown time zone.
    """
    import pandas as pd

    if stamp not in {"start", "end"}:
        raise ConfigError("C013", f'stamp must be "start" or "end", was "{stamp}"', "--stamp")
    if tz is not None:
        check_zone(tz)
    if symbol is not None and src.is_dir():
        hint = "Import its files one by one, each with its symbol, or give them a column of symbols."
        raise DataError("D003", f"--symbol {symbol} would name every file of a folder", str(src), hint)
    if not dst.name.endswith(SUFFIXES):
        hint = f"Use {', '.join(SUFFIXES)}."
        raise DataError("D004", f"{dst.name} is of no known format", str(dst), hint)
    frames = [_canonical(path, symbol, rename or {}) for path in data_files(src)]
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise no_rows(src)
    ts = _instants(src, frame["ts"], tz)
    if stamp == "start":
        ts = np.where(ts == UNREADABLE, UNREADABLE, ts + MINUTE_NS)
    code, names = pd.factorize(frame["symbol"], sort=True)
    values = np.stack([pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64) for name in PRICES])
    columns = BarColumns(ts, code.astype(np.int64), tuple(names), values)
    order = np.lexsort((np.arange(len(ts)), columns.code, ts))
    write_columns(columns.take(order), dst)
    return len(ts)


def _canonical(path: Path, symbol: str | None, rename: dict[str, str]) -> pd.DataFrame:
    """Read one file as text, with canonical column names."""
    import pandas as pd

    if path.suffix == ".parquet":
        raise DataError("D004", f"{path.name} is a Parquet file", str(path), "Only CSV files are imported.")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, EOFError) as error:
        raise DataError("D004", f"{path.name} cannot be read: {error}", str(path)) from error
    present = [str(column) for column in frame.columns]
    named = {column: rename.get(column, ALIASES.get(column.strip().lower(), column)) for column in present}
    frame = frame.rename(columns=named)
    if "ts" not in frame and {"date", "time"} <= set(frame):
        frame["ts"] = frame["date"] + " " + frame["time"]
    elif "ts" not in frame and "date" in frame:
        frame = frame.rename(columns={"date": "ts"})
    if symbol is not None:
        frame["symbol"] = symbol
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise DataError(
            "D003",
            f"{path.name} has no column {', '.join(missing)}",
            str(path),
            f"found: {', '.join(present)}\nName them with --rename theirs=ours"
            + (", or the symbol with --symbol." if "symbol" in missing else "."),
        )
    return frame[list(COLUMNS)]


def _instants(src: Path, text: pd.Series[str], tz: str | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Read stamps of any common spelling; numbers are refused, for nobody knows their unit."""
    import pandas as pd

    stamps = np.full(len(text), UNREADABLE)
    is_zoned = text.str.contains(r":\d{2}.*(?:[zZ]|UTC|[+-]\d{2}:?\d{2})\s*$", regex=True).to_numpy(bool)
    is_clock = text.str.contains(":", regex=False).to_numpy(bool) & ~is_zoned
    if not (is_zoned | is_clock).any():
        raise DataError(
            "D006",
            f"stamps cannot be read: {text.iloc[0]}",
            str(src),
            "Expected a date and a time of day, for example 2026-01-05 09:31.",
        )
    if is_clock.any() and tz is None:
        raise DataError(
            "D005",
            "timestamps have no time zone",
            f"{src}:{2 + int(is_clock.argmax())}   {text[is_clock].iloc[0]}",
            'Say which one they are in:  --tz "America/New_York"',
        )
    stamps[is_zoned] = nanos(pd.to_datetime(text[is_zoned], utc=True, format="mixed", errors="coerce"))
    if is_clock.any():
        naive = pd.to_datetime(text[is_clock], format="mixed", errors="coerce")
        stamps[is_clock] = nanos(naive.dt.tz_localize(tz, ambiguous="NaT", nonexistent="NaT"))
    return stamps
