"""Time stamps of files: instants with a zone, or an error that says what to do; never a guess."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import ConfigError, DataError
from engine.events import DAY_NS, BoolArray, IntArray
from feeds.calendars import DAY_MIN, sessions_for, zone_of
from feeds.spacing import on_grid, wrong_size

if TYPE_CHECKING:
    import pandas as pd

#: Stamps outside [1970, 2100) are damage, not time.
_LAST_NS = 47_482 * DAY_NS
UNREADABLE = -1
_UTC_NS = pa.timestamp("ns", tz="UTC")
_ZONED = r"\d:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|z|UTC|[+-]\d{2}(:?\d{2})?)\s*$"
#: A zone in another spelling: such a cell has one, and which is not known.
_ODDLY_ZONED = r"[Tt ]\d.*([A-Za-z]|[+-][\d: ]*)\s*$"
_DATE = r"^\s*\d{4}-\d{2}-\d{2}\s*$"
#: Midnight as a vendor of daily bars may write a date, with or without a zone.
_MIDNIGHT = r"^\s*\d{4}-\d{2}-\d{2}([T ]00:00(:00(\.0+)?)?\s*(Z|z|UTC|[+-]\d{2}(:?\d{2})?)?)?\s*$"
_NUMBER = r"^\s*[+-]?\d+(\.\d*)?(e\d+)?\s*$"


def check_zone(tz: str) -> None:
    """Refuse a time zone that does not exist.

    Raises
    ------
    ConfigError
        C007.
    """
    import difflib
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = difflib.get_close_matches(tz, sorted(zoneinfo.available_timezones()), n=3)
        raise ConfigError(
            "C007",
            f'time zone "{tz}" is not known',
            where="feed.tz",
            detail=(f"Did you mean {' or '.join(near)}? " if near else "")
            + 'Write it as "America/New_York".',
        ) from error


class Stamps:
    """Turn one file's column ``ts`` into nanoseconds UTC, batch by batch.

    Parameters
    ----------
    path : Path
        For messages.
    tz : str or None
        Zone of stamps that carry none; stamps with a zone of their own keep it.
    calendar : str
        Its sessions tell which zone naive stamps probably have; that is proposed, not assumed.
    bar_min : int
        Minutes of a bar. Of daily bars a date stands for the close of its session; of shorter ones it would
        be a guess, and is refused. A date without a session is given as its midnight.
    """

    def __init__(self, path: Path, tz: str | None, calendar: str, bar_min: int = 1) -> None:
        self._path = path
        self._tz = tz
        self._calendar = calendar
        self._bar_min = bar_min
        self._is_first = True
        self._is_dated = False

    def read(self, column: Any) -> IntArray:
        """Return the instants of a batch, ``UNREADABLE`` where a cell is none.

        The first batch tells for all whether the column holds dates.

        Raises
        ------
        DataError
            D005 for stamps without a zone, D006 for numbers and other things that are no stamps, D016 for
            dates unless a bar is a session.
        """
        if self._is_first:
            self._is_dated = self.holds_dates(column)
            if self._is_dated and self._bar_min < DAY_MIN:
                raise wrong_size(self._path, DAY_MIN, self._bar_min)
        stamps = closes_of(days_in(column), self._calendar) if self._is_dated else self._instants(column)
        self._is_first = False
        return stamps

    def holds_dates(self, column: Any) -> bool:
        """Whether the cells name sessions rather than instants: dates, or midnights that end no bar.

        A date says so itself. Midnights throughout are dates if fewer of them are ends of bars than are dates
        of sessions: none at an exchange that closes in the evening, and around the clock all are ends. Where
        Friday's bar ends with the day (24/5), ends include Saturdays, and dates Mondays.
        """
        days = days_in(column)
        known = days[days > 0]
        is_typed = not _is_text(column.type)
        if not len(known) or 2 * len(known) <= len(days) - (column.null_count if is_typed else 0):
            return False
        if pa.types.is_date(column.type) or (not is_typed and _share(column, _DATE) > 0.5):
            return True
        has_zone = column.type.tz is not None if is_typed else _share(column, _ZONED) > 0.5
        if has_zone or self._tz is not None:
            stamps = self._instants(column)
            stamps = stamps[(days > 0) & (stamps > 0)]
        elif self._bar_min >= DAY_MIN:  # an instant needs a zone
            return True
        else:
            stamps = known * DAY_NS
        sessions = sessions_for(self._calendar, int(known.min()) - 1, int(known.max()) + 1, self._bar_min)
        is_end, is_session = on_grid(stamps, sessions), np.isin(known, sessions.day)
        return bool(np.count_nonzero(is_end) < np.count_nonzero(is_session))

    def _instants(self, column: Any) -> IntArray:
        kind = column.type
        if pa.types.is_timestamp(kind):
            stamps = self._typed(column)
        elif _is_text(kind):
            stamps = self._text(column)
        else:
            raise self._not_a_stamp(f"is of type {kind}", column)
        return np.where((stamps > 0) & (stamps < _LAST_NS), stamps, UNREADABLE)

    def _typed(self, column: Any) -> IntArray:
        if column.type.tz is None:
            import pandas as pd

            return self._naive(pd.Series(column.to_pandas()), column)
        try:
            instants = column.cast(_UTC_NS).cast(pa.int64()).fill_null(UNREADABLE)
        except pa.ArrowInvalid as error:
            raise self._not_a_stamp("holds years beyond 2262", column) from error
        return _numpy(instants)

    def _text(self, column: Any) -> IntArray:
        try:
            return _numpy(column.cast(_UTC_NS).cast(pa.int64()).fill_null(UNREADABLE))
        except pa.ArrowInvalid:
            return self._mixed_text(column)

    def _mixed_text(self, column: Any) -> IntArray:
        """Read cell by cell what the strict parser refused: no zone, odd spellings, rubbish."""
        import pandas as pd

        is_zoned = _matches(column, _ZONED)
        is_number = _matches(column, _NUMBER)
        text = pd.Series(column.to_pandas(), dtype=object)
        if self._is_first and is_number.mean() > 0.5:
            raise self._not_a_stamp("holds numbers", column)
        stamps = np.full(len(text), UNREADABLE)
        zoned = pd.to_datetime(text[is_zoned], utc=True, format="ISO8601", errors="coerce")
        stamps[is_zoned] = nanos(zoned)
        is_odd = _matches(column, _ODDLY_ZONED)
        is_bare = ~(is_zoned | is_number | is_odd)
        bare = pd.to_datetime(text[is_bare], format="ISO8601", errors="coerce")
        # Within a file that has zones, a stamp without one is a damaged row, not another convention.
        is_naive_file = self._is_first and int(bare.notna().sum()) > int(zoned.notna().sum())
        if len(bare) and (self._tz is not None or is_naive_file):
            stamps[is_bare] = self._naive(bare, column)
        if self._is_first and bool(np.all(stamps == UNREADABLE)):
            raise self._not_a_stamp("cannot be read", column)
        return stamps

    def _naive(self, naive: pd.Series[Any], column: Any) -> IntArray:
        if self._tz is None:
            raise self._no_zone(naive, column)
        return _localized(naive, self._tz)

    def _no_zone(self, naive: pd.Series[Any], column: Any) -> DataError:
        naive = naive.dropna()
        first = _first_cell(column)
        where = f"{self._path}:2   {first}" if str(self._path).endswith((".csv", ".gz")) else f"{self._path}"
        zone = zone_of(self._calendar)
        as_utc = self._share_inside(naive, "UTC")
        as_local = self._share_inside(naive, zone)
        n = len(naive)
        what = "timestamps have no time zone"
        if as_local > as_utc:
            outside = 100.0 * (n - as_utc) / max(n, 1)
            what += f", and {outside:.0f}% fall outside {self._calendar} hours if read as UTC"
            advice = f"Read as {zone}, {as_local:,} of {n:,} match the session. Say so; it is not guessed:"
        else:
            zone = "UTC"
            advice = f"Read as UTC, {as_utc:,} of {n:,} match the session. Say so; it is not guessed:"
        return DataError("D005", what, where, f'{advice}\n    [feed]  tz = "{zone}"')

    def _share_inside(self, naive: pd.Series[Any], zone: str) -> int:
        stamps = _localized(naive, zone)
        stamps = stamps[(stamps > 0) & (stamps < _LAST_NS)]
        if not len(stamps):
            return 0
        first, last = int(stamps.min()) // DAY_NS, int(stamps.max()) // DAY_NS
        index, _ = sessions_for(self._calendar, first - 1, last + 1).locate_many(stamps)
        return int(np.count_nonzero(index >= 0))

    def _not_a_stamp(self, what: str, column: Any) -> DataError:
        hint = "Write the END of each minute with its zone, for example 2026-01-05T14:31:00Z"
        if self._path.suffix == ".parquet":
            hint += ", or as timestamps with a zone. What else it could mean is not guessed."
        elif what == "holds numbers":
            hint += ". The unit of a number is not guessed; say it once, s, ms, us or ns:\n"
            hint += "    astra data import --date-format ms"
        else:
            hint += ". Another form is not guessed; say it once:\n"
            hint += '    astra data import --date-format "%d/%m/%Y %H:%M"'
        return DataError("D006", f'column "ts" {what}: {_first_cell(column)}', str(self._path), hint)


def days_in(column: Any) -> IntArray:
    """Return dates, and midnights as dates of their zone, as days since 1970-01-01; -1 for other cells."""
    kind = column.type
    none = np.full(len(column), UNREADABLE)
    if pa.types.is_date(kind):
        days = _numpy(column.cast(pa.date32()).cast(pa.int32()).fill_null(UNREADABLE)).astype(np.int64)
    elif pa.types.is_timestamp(kind):
        local = column if kind.tz is None else pc.local_timestamp(column)
        try:
            clock_ns = _numpy(local.cast(pa.timestamp("ns")).cast(pa.int64()).fill_null(UNREADABLE))
        except pa.ArrowInvalid:  # years beyond 2262
            return none
        days = np.where(clock_ns % DAY_NS == 0, clock_ns // DAY_NS, UNREADABLE)
    elif _is_text(kind):
        is_midnight = _matches(column, _MIDNIGHT)
        if not is_midnight.any():
            return none
        import pandas as pd

        text = pd.Series(column.to_pandas(), dtype=object).where(is_midnight).str.strip().str.slice(0, 10)
        read = pd.to_datetime(text, format="%Y-%m-%d", errors="coerce")
        days = np.where(read.notna(), read.to_numpy("datetime64[D]").astype(np.int64), UNREADABLE)
    else:
        return none
    return np.where((days > 0) & (days < _LAST_NS // DAY_NS), days, UNREADABLE)


def closes_of(days: IntArray, calendar: str) -> IntArray:
    """Return the closes of sessions by their days since 1970-01-01; midnight where a day has no session."""
    known = days[days > 0]
    if not len(known):
        return np.full(len(days), UNREADABLE)
    sessions = sessions_for(calendar, int(known.min()), int(known.max()))
    stamps = days * DAY_NS
    row = np.searchsorted(sessions.day, days)
    is_session = np.isin(days, sessions.day)
    stamps[is_session] = sessions.close_ns[row[is_session]]
    return np.where(days > 0, stamps, UNREADABLE)


def _matches(column: Any, pattern: str) -> BoolArray:
    return _numpy(pc.fill_null(pc.match_substring_regex(column, pattern), False))


def _share(column: Any, pattern: str) -> float:
    return float(_matches(column, pattern).mean())


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _numpy(column: Any) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return values


def _localized(naive: pd.Series[Any], zone: str) -> IntArray:
    """Return the instants of a zone's clock; an hour that a change repeats or skips names no single one."""
    believed = naive.where((naive >= "1970-01-01") & (naive < "2100-01-01"))  # a zone has rules for years
    return nanos(believed.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT"))


def nanos(stamps: pd.Series[Any]) -> IntArray:
    """Return instants as nanoseconds, ``UNREADABLE`` for NaT and for what nanoseconds cannot hold."""
    utc = stamps.dt.tz_convert("UTC")
    seconds = utc.dt.as_unit("s").astype("int64").to_numpy()
    is_known = utc.notna().to_numpy() & (seconds > 0) & (seconds < _LAST_NS // 1_000_000_000)
    nanos = np.full(len(utc), UNREADABLE)
    nanos[is_known] = utc[is_known].dt.as_unit("ns").astype("int64").to_numpy()
    return nanos


def _first_cell(column: Any) -> str:
    cells = column.drop_null()
    try:
        return str(cells[0].as_py()) if len(cells) else "(empty)"
    except (OverflowError, ValueError):
        return "(beyond the year 9999)"
