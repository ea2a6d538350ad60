"""The stamps of a vendor's CSV: the year first, or as is said; whatever else they could be is not guessed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa

from engine.errors import ConfigError, DataError
from engine.events import BoolArray, IntArray
from feeds.calendars import DAY_MIN, minutes_per_session
from feeds.spacing import wrong_size
from feeds.stamps import UNREADABLE, Stamps, nanos
from feeds.vendor_rows import Rows

if TYPE_CHECKING:
    import pandas as pd

_Unit = Literal["s", "ms", "us", "ns"]
#: Units of numbers since 1970-01-01, in the place of a date's form.
EPOCH_UNITS: Final[dict[str, _Unit]] = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}
_FORM: Final = (
    r"(?:(?P<y>[0-9]{4})-(?P<m>[0-9]{1,2})-(?P<d>[0-9]{1,2})|(?P<y1>[0-9]{4})/(?P<m1>[0-9]{1,2})/(?P<d1>[0-9]{1,2})"
    r"|(?P<y2>[0-9]{4})(?P<m2>[0-9]{2})(?P<d2>[0-9]{2}))"
    r"(?:(?:[Tt]| +)(?P<H>[0-9]{1,2}):?(?P<M>[0-9]{2})(?::?(?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,9})[0-9]*)?)?"
    r" *(?P<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_CLOCK: Final = r"[0-9]{1,2}:[0-9]{2}.*"
_HINT: Final = (
    "The year comes first: 2026-01-05 09:31, 2026-01-05T14:31:00Z, 20260105 09:31; or 2026-01-05.\n"
    'Another order is not guessed:  --date-format "%d/%m/%Y %H:%M"\n'
    "Numbers since 1970 need their unit:  --date-format ms  (s, ms, us or ns)"
)
_NO_DATE: Final = (
    "A time of day needs its date. Columns date and time are joined; call yours so:\n"
    "    --rename theirs=date --rename theirs=time"
)


def stamps_in(
    rows: Rows, tz: str | None, calendar: str, bar_min: int | None, date_format: str | None
) -> tuple[IntArray, bool]:
    """Return the instants of all rows, ns UTC, and whether they were dates.

    Parameters
    ----------
    rows : Rows
    tz : str or None
        Zone of stamps that carry none.
    calendar : str
        A date becomes the close of its session.
    bar_min : int or None
        Minutes of a bar, if they are told.
    date_format : str or None
        As of ``strptime``, or one of ``EPOCH_UNITS``; by default the year comes first.

    Raises
    ------
    ConfigError
        C013 for a form that is none.
    DataError
        D006 for a row whose stamp cannot be read, or names no single instant, D005 for stamps without a zone
        when ``tz`` is not given, D016 for dates when ``bar_min`` is less than a session.
    """
    text = rows.text["ts"]
    iso = _iso(text) if date_format is None else _told(text, date_format)
    is_unread = (iso == "").to_numpy(bool)
    if is_unread.any():
        raise _unread(rows, is_unread, date_format)
    reader = Stamps(rows.paths[0], tz, calendar, DAY_MIN)
    dates = pa.array(iso, pa.string())
    if reader.holds_dates(dates):
        if bar_min is not None and bar_min < minutes_per_session(calendar):
            raise wrong_size(rows.paths[0], DAY_MIN, bar_min)
        stamps = reader.read(dates)
        if (is_bad := stamps == UNREADABLE).any():
            raise rows.refusal("D006", "that are no dates, among dates", is_bad, _HINT)
        return stamps, True
    return _instants(rows, iso, tz), False


def _unread(rows: Rows, is_unread: BoolArray, date_format: str | None) -> DataError:
    first = rows.text["ts"].iloc[int(is_unread.argmax())]
    if date_format is not None:
        what = f'with a stamp that is not of the form {date_format}, first "{first:.40}"'
        return rows.refusal("D006", what, is_unread, "The form is that of every row: date, and time if any.")
    what = f'with a stamp that cannot be read, first "{first:.40}"'
    return rows.refusal("D006", what, is_unread, _NO_DATE if re.fullmatch(_CLOCK, first) else _HINT)


def _iso(text: pd.Series[str]) -> pd.Series[str]:
    """Return stamps whose year comes first in one spelling, empty where a cell is none."""
    part = text.str.extract(f"^{_FORM}$").fillna("")
    year, month, day = (part[a] + part[f"{a}1"] + part[f"{a}2"] for a in "ymd")
    date = year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2)
    seconds = part["S"].where(part["S"] != "", "00") + ("." + part["f"]).where(part["f"] != "", "")
    zone = part["zone"].str.replace(r"^(?:[Zz]|UTC|GMT)$", "+00", regex=True)
    zone = zone.str.replace(r"^([+-][0-9]{2}):?([0-9]{2})?$", r"\1:\2", regex=True)
    zone = zone.str.replace(r":$", ":00", regex=True)
    clock = ("T" + part["H"].str.zfill(2) + ":" + part["M"] + ":" + seconds + zone).where(part["H"] != "", "")
    return (date + clock).where(year != "", "")


def _told(text: pd.Series[str], form: str) -> pd.Series[str]:
    """Return stamps of a form that was said in one spelling, empty where a cell is of another."""
    import pandas as pd

    if form in EPOCH_UNITS:
        is_number = text.str.fullmatch(r"[0-9]{1,18}|[1-4][0-9]{18}|[0-9]{1,18}\.0+")
        counts = text.where(is_number, "-1").str.replace(r"\..*", "", regex=True).astype("int64")
        read = pd.to_datetime(counts, unit=EPOCH_UNITS[form], utc=True, errors="coerce").where(is_number)
    else:
        try:
            read = pd.to_datetime(text, format=form, utc="%z" in form, errors="coerce")
        except (ValueError, re.error) as error:
            what = f'"{form}" is no form of a date: {error}'
            hint = 'For example "%d/%m/%Y %H:%M"; numbers since 1970: s, ms, us or ns.'
            raise ConfigError("C013", what, "--date-format", hint) from error
    is_dated = not (form in EPOCH_UNITS or re.search(r"%[HIMScTRXz]", form))
    spelling: pd.Series[str] = read.map(
        lambda at: at.isoformat()[: 10 if is_dated else None], na_action="ignore"
    )
    told: pd.Series[str] = spelling.astype(object).where(read.notna(), "")
    return told


def _instants(rows: Rows, iso: pd.Series[str], tz: str | None) -> IntArray:
    import pandas as pd

    has_zone = iso.str.contains(r"[+-][0-9]{2}:[0-9]{2}$", regex=True).to_numpy(bool)
    is_naive = ~has_zone
    has_time = iso.str.contains("T", regex=False).to_numpy(bool)
    if not has_time.all():
        raise rows.refusal("D006", "without a time of day", ~has_time, _HINT)
    if is_naive.any() and tz is None:
        hint = 'Say which one they are in:  --tz "America/New_York"'
        raise rows.refusal("D005", "with a time that has no time zone", is_naive, hint)
    stamps = np.full(len(iso), UNREADABLE)
    stamps[has_zone] = nanos(pd.to_datetime(iso[has_zone], utc=True, format="ISO8601", errors="coerce"))
    naive = pd.to_datetime(iso[is_naive], format="ISO8601", errors="coerce")
    in_range = (naive >= pd.Timestamp(1970, 1, 1)) & (
        naive < pd.Timestamp(2100, 1, 1)
    )  # a zone has rules for years
    if is_naive.any():
        local = naive.where(in_range).dt.tz_localize(tz, ambiguous="NaT", nonexistent="NaT")
        stamps[is_naive] = nanos(local)
    if not (is_bad := stamps == UNREADABLE).any():
        return stamps
    is_skipped = is_bad.copy()
    is_skipped[is_naive] &= in_range.to_numpy(bool)
    is_skipped[has_zone] = False
    if is_skipped.any():
        hint = "Its clock is put forward or back then: only a stamp with its zone says which instant it is."
        raise rows.refusal("D006", f"with a time that {tz} skips or has twice", is_skipped, hint)
    what = "with a day or time that does not exist, or is out of [1970, 2100)"
    raise rows.refusal("D006", what, is_bad, _HINT)
