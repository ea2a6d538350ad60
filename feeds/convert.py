"""Foreign CSV files to the canonical one: names, naive stamps, stamps of the START, dates of sessions."""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np

from engine.columns import BarColumns
from engine.errors import ConfigError, DataError
from engine.events import DAY_NS, MINUTE_NS, IntArray
from feeds.calendars import AROUND_THE_CLOCK, DAY_MIN, minutes_per_session, sessions_for
from feeds.columns import ALIASES, COLUMNS, PRICES, SUFFIXES, check_text, data_files, no_rows
from feeds.simulated import write_columns
from feeds.spacing import bar_min_of, distinct, usual_distance_min, wrong_size
from feeds.stamps import UNREADABLE, check_zone, closes_of, dates_of, nanos

if TYPE_CHECKING:
    import pandas as pd

#: A date without dashes.
_COMPACT: Final = r"^\s*(\d{4})(\d{2})(\d{2})\s*$"
#: Share of bars inside its sessions that makes a calendar theirs.
_INSIDE_FRAC: Final = 0.9


class Imported(msgspec.Struct, frozen=True):
    """What was written: rows, and minutes of a bar (None where the stamps do not say)."""

    n_rows: int
    bar_min: int | None


def import_(
    src: Path,
    dst: Path,
    *,
    tz: str | None = None,
    stamp: Literal["start", "end"] = "end",
    symbol: str | None = None,
    rename: dict[str, str] | None = None,
    calendar: str = "XNYS",
    bar_min: int | None = None,
) -> Imported:
    """Convert a CSV file, or a directory of them, to one file sorted by time.

    Parameters
    ----------
    src, dst : Path
        ``dst`` ends in ``.parquet``, ``.csv`` or ``.csv.gz``.
    tz : str or None
        Zone of stamps that carry none.
    stamp : {"start", "end"}
        What the stamps of ``src`` mark; those of the start are moved to the end of the bar. Dates mark their
        session either way.
    symbol : str or None
        For files without a column of symbols.
    rename : dict of str to str, optional
        Columns of ``src`` to canonical ones, beyond the usual names (``timestamp``, ``date`` and ``time``,
        ``ticker``, ``o``, ``vol``, ... in any case).
    calendar : str
        A date becomes the close of its session; a bar ends no later than the session it begins in.
    bar_min : int or None
        Minutes of a bar; by default the usual distance of stamps.

    Returns
    -------
    Imported
        All rows of ``src`` are written, unreadable cells as empty ones, for the slicer to judge.

    Raises
    ------
    DataError
        D001, D003, D004, D006, D005 for stamps without a zone when ``tz`` is not given, or D016 for dates
        when ``bar_min`` is less than a session.
    ConfigError
        C006 for an unknown calendar, C007 for an unknown time zone.
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
    days = _days(frame["ts"], calendar)
    if days is not None:
        if bar_min is not None and bar_min < minutes_per_session(calendar):
            raise wrong_size(src, DAY_MIN, bar_min)
        ts = closes_of(days, calendar)
    else:
        ts = _instants(src, frame["ts"], tz)
        if stamp == "start":
            ts = _ends(ts, bar_min or usual_distance_min(np.unique(ts[ts > 0]))[0] or 1, calendar)
    code, names = pd.factorize(frame["symbol"], sort=True)
    values = np.stack([pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64) for name in PRICES])
    columns = BarColumns(ts, code.astype(np.int64), tuple(names), values)
    order = np.lexsort((np.arange(len(ts)), columns.code, ts))
    write_columns(columns.take(order), dst)
    return Imported(len(ts), bar_min or bar_min_of(distinct(ts), calendar))


def _canonical(path: Path, symbol: str | None, rename: dict[str, str]) -> pd.DataFrame:
    """Read one file as text, with canonical column names."""
    import pandas as pd

    if path.suffix == ".parquet":
        raise DataError("D004", f"{path.name} is a Parquet file", str(path), "Only CSV files are imported.")
    check_text(path)
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise no_rows(path) from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        hint = "The file is damaged or cut short, or it is not CSV in UTF-8."
        raise DataError("D004", f"{path.name} cannot be read: {error}", str(path), hint) from error
    present = [str(column) for column in frame.columns]
    named = {column: rename.get(column, ALIASES.get(column.strip().lower(), column)) for column in present}
    frame = frame.rename(columns=named)
    if repeated := sorted({*frame.columns[frame.columns.duplicated()]} & {*ALIASES.values()}):
        what = f"{path.name} has more than one column {', '.join(repeated)}"
        hint = f"found: {', '.join(present)}\nWhich of them counts is not guessed: --rename theirs=unused"
        raise DataError("D003", what, str(path), hint)
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


def _days(text: pd.Series[str], calendar: str) -> IntArray | None:
    """Read dates, with or without dashes, as days since 1970-01-01; None for stamps with a time of day."""
    import pyarrow as pa

    dashed = text.str.replace(_COMPACT, r"\1-\2-\3", regex=True)
    return dates_of(pa.array(dashed, pa.string()), with_midnights=calendar != AROUND_THE_CLOCK)


def _ends(starts: IntArray, bar_min: int, calendar: str) -> IntArray:
    """Move starts of bars to their ends; the last bar of a session may be shorter."""
    ends = starts + bar_min * MINUTE_NS
    known = starts[starts > 0]
    if len(known):
        days = int(known.min()) // DAY_NS - 1, int(known.max()) // DAY_NS + 1
        sessions = sessions_for(calendar, *days)
        index, _ = sessions.locate_many(starts + 1)  # a bar that starts with a session is inside
        # Bars of another calendar than was said are not cut.
        if np.count_nonzero(index >= 0) > _INSIDE_FRAC * len(known):
            ends = np.where(index >= 0, np.minimum(ends, sessions.close_ns[np.maximum(index, 0)]), ends)
    return np.where(starts == UNREADABLE, UNREADABLE, ends)


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
            "Expected a date and a time of day, for example 2026-01-05 09:31, or dates of daily bars, for "
            "example 2026-01-05.",
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
        naive = _clocks(text[is_clock])
        stamps[is_clock] = nanos(naive.dt.tz_localize(tz, ambiguous="NaT", nonexistent="NaT"))
    return stamps


def _clocks(text: pd.Series[str]) -> pd.Series[Any]:
    """Read times of a clock; a cell that has a zone after all, in an odd spelling, is none."""
    import pandas as pd

    with suppress(ValueError):  # of cells with and without a zone
        found: pd.Series[Any] = pd.to_datetime(text, format="mixed", errors="coerce")
        if found.dt.tz is None:
            return found
    cells: list[Any] = [pd.to_datetime(cell, format="mixed", errors="coerce") for cell in text]
    bare = [pd.NaT if cell.tzinfo is not None else cell for cell in cells]
    return pd.Series(bare, index=text.index, dtype="datetime64[ns]")
