"""Bars from files: CSV, gzipped CSV or Parquet; one file, or a directory as a data set."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from pydantic import Field

from engine.columns import BarColumns
from engine.errors import AstraError, DataError, Errors
from engine.events import DAY_NS, BarRejected, BoolArray, IntArray, Nanos, Reject
from engine.slices import Sliced, Slicer
from feeds.calendars import DAY_MIN, sessions_for
from feeds.collar import CollarOptions
from feeds.columns import Decoder, data_files, no_rows
from feeds.merge import joined, merged
from feeds.stamps import UNREADABLE, check_zone

BATCH_ROWS = 131_072
#: A file with this share of rows behind their time is not an arrival log.
_UNSORTED_FRAC = 0.25
_FIRST_NS = 0
_LAST_NS = (1 << 63) - 1


class FileOptions(CollarOptions):
    """The keys of ``[feed]`` for files."""

    path: Path = Field(description="CSV, CSV.gz or Parquet file, or a directory of them")
    tz: str | None = Field(default=None, description="time zone of stamps that carry none")
    sort: bool = Field(default=False, description="sort the data set by time first (loads all of it)")


class Survey(msgspec.Struct, frozen=True):
    """What a pass over the stamps of one file tells.

    Parameters
    ----------
    path : Path
    n_rows, n_inside, n_late : int
        Rows, those of the wanted span, and those that come after a later minute.
    head_ns, first_ns, last_ns : int
        Stamp of the first row; the earliest and latest stamps of the span, 0 without any.
    """

    path: Path
    n_rows: int
    n_inside: int
    n_late: int
    head_ns: Nanos
    first_ns: Nanos
    last_ns: Nanos


def _survey(path: Path, decoder: Decoder, from_ns: Nanos, to_ns: Nanos) -> Survey:
    n_rows = n_inside = n_late = newest = head_ns = last_ns = 0
    first_ns = _LAST_NS
    for stamps in decoder.stamps(path, BATCH_ROWS):
        keys = np.maximum.accumulate(np.maximum(stamps, newest))
        head_ns = head_ns if n_rows else int(keys[0])
        newest = int(keys[-1])
        n_rows += len(stamps)
        n_late += int(np.count_nonzero((stamps < keys) & (stamps != UNREADABLE)))
        inside = stamps[_inside(stamps, from_ns, to_ns)]
        n_inside += len(inside)
        inside = inside[inside != UNREADABLE]
        if len(inside):
            first_ns, last_ns = min(first_ns, int(inside.min())), max(last_ns, int(inside.max()))
    return Survey(path, n_rows, n_inside, n_late, head_ns, first_ns if last_ns else 0, last_ns)


def _inside(stamps: IntArray, from_ns: Nanos, to_ns: Nanos) -> BoolArray:
    """Rows of the span; one without a readable stamp cannot be placed, and stays to be counted."""
    inside: BoolArray = ((stamps >= from_ns) & (stamps <= to_ns)) | (stamps == UNREADABLE)
    return inside


class FileBars:
    """A data set as a feed of slices.

    A file is an arrival log: what comes after a later minute is LATE, in whatever order a minute's own rows
    stand. Building the feed reads all stamps once, so that faults of the whole show before the first slice.

    Parameters
    ----------
    options : FileOptions
    symbols : sequence of str
        The universe; rows of others are UNKNOWN_SYMBOL.
    calendar : str
        Its sessions; rows outside are OFF_SESSION.
    from_ns, to_ns : int, optional
        Rows that close outside ``[from_ns, to_ns]`` are not part of the run.
    bar_min : int
        Minutes of a bar.
    batch_rows : int
        Rows decoded at a time; nothing but speed depends on it.

    Attributes
    ----------
    n_rows : int
        Rows of the run, for progress.
    first_ns, last_ns : int
        Earliest and latest stamps of the run.
    sessions : Sessions
    slicer : Slicer
        Its counters are those of the run in progress.

    Raises
    ------
    DataError
        D001 no rows, D003 missing column, D004 unreadable, D005 naive stamps, D006 no stamps, D007 not in
        time order, D008 wrong type.
    """

    def __init__(
        self,
        options: FileOptions,
        symbols: Sequence[str],
        calendar: str,
        *,
        from_ns: Nanos | None = None,
        to_ns: Nanos | None = None,
        bar_min: int = 1,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        if options.tz is not None:
            check_zone(options.tz)
        self._options = options
        self._symbols = tuple(symbols)
        self._calendar = calendar
        self._batch_rows = batch_rows
        self._from_ns = _FIRST_NS if from_ns is None else from_ns
        self._to_ns = _LAST_NS if to_ns is None else to_ns
        self._bar_min = bar_min
        decoder = self._decoder()
        surveys = [_survey(path, decoder, self._from_ns, self._to_ns) for path in data_files(options.path)]
        self._surveys = [survey for survey in surveys if survey.last_ns]
        self._check(surveys)
        self.n_rows = sum(survey.n_inside for survey in surveys) + decoder.broken
        self.first_ns = min(survey.first_ns for survey in self._surveys)
        self.last_ns = max(survey.last_ns for survey in self._surveys)
        # A day more on each side: the date of a session is that of its exchange, not of UTC.
        days = (self.first_ns // DAY_NS - 1, self.last_ns // DAY_NS + 1)
        self.sessions = sessions_for(calendar, *days, bar_min)
        self.slicer = self._new_slicer()

    @property
    def received(self) -> int:
        """Rows judged so far."""
        return self.slicer.received

    def slices(self) -> Iterator[Sliced]:
        """Yield slices, and verdicts in front of the slice they belong to, from the beginning."""
        self.slicer = slicer = self._new_slicer()
        decoder = self._decoder()
        for columns in self._rows(decoder):
            yield from slicer.offer_columns(columns)
        yield from slicer.finish()
        if decoder.broken:
            yield slicer.note(BarRejected(UNREADABLE, "", Reject.MALFORMED, decoder.broken))

    async def bars(self) -> AsyncIterator[Sliced]:
        """Yield what ``slices`` yields."""
        for item in self.slices():
            yield item

    def columns(self) -> Iterator[BarColumns]:
        """Yield the rows of the run, not judged; ``n_rows`` counts the broken ones too, which are no rows."""
        return self._rows(self._decoder())

    def _decoder(self) -> Decoder:
        return Decoder(self._options.tz, self._calendar, is_daily=self._bar_min >= DAY_MIN)

    def _new_slicer(self) -> Slicer:
        return Slicer(
            self._symbols,
            self.sessions,
            collar_frac=self._options.collar_frac,
            collar_sigmas=self._options.collar_sigmas,
        )

    def _rows(self, decoder: Decoder) -> Iterator[BarColumns]:
        files = [
            (survey.head_ns, partial(decoder.bars, survey.path, self._batch_rows)) for survey in self._surveys
        ]
        is_whole = self._from_ns == _FIRST_NS and self._to_ns == _LAST_NS
        for columns in self._sorted(merged(files)) if self._options.sort else merged(files):
            if is_whole:
                yield columns
                continue
            inside = np.flatnonzero(_inside(columns.ts_close_ns, self._from_ns, self._to_ns))
            if len(inside):
                yield columns if len(inside) == len(columns) else columns.take(inside)

    def _sorted(self, batches: Iterator[BarColumns]) -> Iterator[BarColumns]:
        rows = joined(list(batches))
        order = np.argsort(rows.ts_close_ns, kind="stable")
        for start in range(0, len(order), self._batch_rows):
            yield rows.take(order[start : start + self._batch_rows])

    def _check(self, surveys: Sequence[Survey]) -> None:
        path = self._options.path
        if not self._surveys:
            is_empty = not any(survey.n_rows for survey in surveys)
            raise no_rows(path, "" if is_empty else "in the span that was asked for")
        for survey in self._surveys:
            if not self._options.sort and survey.n_late >= _UNSORTED_FRAC * survey.n_rows:
                raise DataError(
                    "D007",
                    f"{survey.path.name} is not in time order: {survey.n_late:,} of {survey.n_rows:,} "
                    "rows come after a later minute",
                    where=str(survey.path),
                    detail="A file is read as bars arrive, so these rows would all be refused as LATE. "
                    "If it is only stored in another order (by symbol, newest first):\n"
                    "    [feed]  sort = true",
                )


def span(path: Path, tz: str | None = None, calendar: str = "XNYS") -> tuple[Nanos, Nanos]:
    """Return the earliest and latest stamps of a data set, ns UTC."""
    decoder = Decoder(tz, calendar)
    found = [_survey(file, decoder, _FIRST_NS, _LAST_NS) for file in data_files(path)]
    found = [survey for survey in found if survey.last_ns]
    if not found:
        raise no_rows(path)
    return min(survey.first_ns for survey in found), max(survey.last_ns for survey in found)


def symbols_in(path: Path) -> tuple[str, ...]:
    """Return the symbols of a data set, sorted."""
    decoder = Decoder(None, "24/7")
    found: set[str] = set()
    for file in data_files(path):
        found |= decoder.symbols(file, BATCH_ROWS)
    return tuple(sorted(found - {""}))


def require_symbols(path: Path, symbols: Sequence[str], where: str = "") -> None:
    """Refuse a universe that the data set does not hold.

    Raises
    ------
    DataError or Errors
        D002 for each missing symbol, with the nearest one in the data.
    """
    present = symbols_in(path)
    errors: list[AstraError] = []
    for symbol in symbols:
        if symbol in present:
            continue
        near = difflib.get_close_matches(symbol, present, n=1)
        hint = f'nearest in the data: "{near[0]}". ' if near else ""
        what = f'symbol "{symbol}" is not in {path}'
        detail = f"{hint}The data has {len(present)} symbols: astra data check {path}"
        errors.append(DataError("D002", what, where, detail))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise Errors(errors)


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a data set: of the bytes of its files, in name order, hexadecimal."""
    digest = hashlib.sha256()
    for file in data_files(path):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
