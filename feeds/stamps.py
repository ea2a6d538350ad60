"""Time stamps of files: instants with a zone, or an error that says what to do; never a guess."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import ConfigError, DataError
from engine.events import DAY_NS, IntArray
from feeds.calendars import AROUND_THE_CLOCK, DAY_MIN, sessions_for, zone_of
from feeds.spacing import wrong_size

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
#: Midnight as a vendor of daily bars writes a date, with or without a zone.
_MIDNIGHT = r"^\s*\d{4}-\d{2}-\d{2}([T ]00:00(:00(\.0+)?)?\s*(Z|z|UTC|[+-]\d{2}(:?\d{2})?)?)?\s*$"
#: Midnights that typed stamps of minutes may begin with.
_MIDNIGHTS_MAX = 2
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
    is_daily : bool
        A bar is a session: a date stands for its close, and so does a midnight, at which no session of an
        exchange closes. A date without a session is given as its midnight.
    """

    def __init__(self, path: Path, tz: str | None, calendar: str, *, is_daily: bool = False) -> None:
        self._is_daily = is_daily
        self._path = path
        self._tz = tz
        self._calendar = calendar
        self._is_first = True

    def read(self, column: Any) -> IntArray:
        """Return the instants of a batch, ``UNREADABLE`` where a cell is none.

        Raises
        ------
        DataError
            D005 for stamps without a zone, D006 for numbers and other things that are no stamps, D016 for
            dates unless a bar is a session.
        """
        kind = column.type
        if self._is_daily or self._is_first:
            days = dates_of(column, with_midnights=self._is_daily and self._calendar != AROUND_THE_CLOCK)
            if days is not None and self._is_daily:
                return closes_of(days, self._calendar)
            is_typed = pa.types.is_timestamp(kind)
            if days is not None and (not is_typed or len(set(days)) > _MIDNIGHTS_MAX):
                raise wrong_size(self._path, DAY_MIN, "less")
        if pa.types.is_timestamp(kind):
            stamps = self._typed(column)
        elif _is_text(kind):
            stamps = self._text(column)
        else:
            raise self._not_a_stamp(f"is of type {kind}", column)
        self._is_first = False
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

        is_zoned = _numpy(pc.fill_null(pc.match_substring_regex(column, _ZONED), False))
        is_number = _numpy(pc.fill_null(pc.match_substring_regex(column, _NUMBER), False))
        text = pd.Series(column.to_pandas(), dtype=object)
        if self._is_first and is_number.mean() > 0.5:
            raise self._not_a_stamp("holds numbers", column)
        stamps = np.full(len(text), UNREADABLE)
        zoned = pd.to_datetime(text[is_zoned], utc=True, format="ISO8601", errors="coerce")
        stamps[is_zoned] = nanos(zoned)
        is_odd = _numpy(pc.fill_null(pc.match_substring_regex(column, _ODDLY_ZONED), False))
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
        return DataError(
            "D006",
            f'column "ts" {what}: {_first_cell(column)}',
            where=str(self._path),
            detail="A number could be seconds, milliseconds or nanoseconds, start or end of the minute; it "
            "is not guessed.\nWrite the END of each minute with its zone, for example 2026-01-05T14:31:00Z, "
            "or convert the file once:  astra data import",
        )


def dates_of(column: Any, *, with_midnights: bool) -> IntArray | None:
    """Return dates as days since 1970-01-01, -1 where a cell is none; None for a column of instants.

    Stamps without a zone that are midnights throughout are dates; with one, ``with_midnights`` decides.
    """
    kind = column.type
    if not len(column):
        return None
    if pa.types.is_date(kind):
        return _numpy(column.cast(pa.date32()).cast(pa.int32()).fill_null(UNREADABLE)).astype(np.int64)
    if pa.types.is_timestamp(kind) and (kind.tz is None or with_midnights):
        local = column if kind.tz is None else pc.local_timestamp(column)
        try:
            nanos_ = _numpy(local.cast(pa.timestamp("ns")).cast(pa.int64()).fill_null(UNREADABLE))
        except pa.ArrowInvalid:  # years beyond 2262
            return None
        is_date = (nanos_ % DAY_NS == 0) | (nanos_ == UNREADABLE)
        return np.where(nanos_ > 0, nanos_ // DAY_NS, UNREADABLE) if is_date.all() else None
    if _is_text(kind):
        pattern = _MIDNIGHT if with_midnights else _DATE
        is_date = _numpy(pc.fill_null(pc.match_substring_regex(column, pattern), False))
        if is_date.mean() <= 0.5:
            return None
        import pandas as pd

        text = pd.Series(column.to_pandas(), dtype=object).where(is_date).str.strip().str.slice(0, 10)
        days = pd.to_datetime(text, format="%Y-%m-%d", errors="coerce")
        return np.where(days.notna(), days.to_numpy("datetime64[D]").astype(np.int64), UNREADABLE)
    return None


def closes_of(days: IntArray, calendar: str) -> IntArray:
    """Return the closes of sessions by their days since 1970-01-01; midnight where a day has no session."""
    days = np.where((days > 0) & (days < _LAST_NS // DAY_NS), days, UNREADABLE)
    known = days[days > 0]
    if not len(known):
        return np.full(len(days), UNREADABLE)
    sessions = sessions_for(calendar, int(known.min()), int(known.max()))
    stamps = days * DAY_NS
    row = np.searchsorted(sessions.day, days)
    is_session = np.isin(days, sessions.day)
    stamps[is_session] = sessions.close_ns[row[is_session]]
    return np.where(days > 0, stamps, UNREADABLE)


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
