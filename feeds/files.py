"""Bars from files: CSV, gzipped CSV or Parquet; one file, or a directory as a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from pydantic import Field

from engine.columns import BarColumns
from engine.errors import DataError
from engine.events import DAY_NS, BoolArray, IntArray, Nanos
from engine.slices import Slicer
from feeds.calendars import DAY_MIN, sessions_for
from feeds.collar import CollarOptions
from feeds.columns import Decoder, data_files, no_rows, nothing_readable
from feeds.merge import joined, merged
from feeds.recorded import RecordedBars, nothing_in_span
from feeds.spacing import SAMPLE_STAMPS, bar_min_of, check_bar_size, distinct
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
    every_min: int | None = Field(
        default=None, ge=1, le=DAY_MIN, description="minutes between bars that come less often than bar_min"
    )


class Survey(msgspec.Struct, frozen=True):
    """What a pass over the stamps of one file tells.

    Parameters
    ----------
    path : Path
    n_rows, n_inside, n_broken, n_late : int
        Rows, those of the wanted span, those that cannot become bars, and those after a later minute.
    head_ns, first_ns, last_ns : int
        Stamp of the first row; the earliest and latest stamps of the span, 0 without any.
    ends_ns : (int, int)
        Earliest and latest stamps of the whole file, 0 without any.
    sample : IntArray
        Some of the stamps of the span, for the distance of bars.
    """

    path: Path
    n_rows: int
    n_inside: int
    n_broken: int
    n_late: int
    head_ns: Nanos
    first_ns: Nanos
    last_ns: Nanos
    ends_ns: tuple[Nanos, Nanos]
    sample: IntArray


class _Span(msgspec.Struct, frozen=True):
    """From when to when rows are part of a run, ns UTC, both ends included."""

    from_ns: Nanos
    to_ns: Nanos

    @property
    def is_all(self) -> bool:
        return (self.from_ns, self.to_ns) == (_FIRST_NS, _LAST_NS)

    def holds(self, stamps: IntArray) -> BoolArray:
        """Tell which rows are; one without a readable stamp cannot be placed, and stays to be counted."""
        inside: BoolArray = ((stamps >= self.from_ns) & (stamps <= self.to_ns)) | (stamps == UNREADABLE)
        return inside


def _span(from_ns: Nanos | None, to_ns: Nanos | None) -> _Span:
    return _Span(_FIRST_NS if from_ns is None else from_ns, _LAST_NS if to_ns is None else to_ns)


def file_bars(
    options: FileOptions,
    symbols: Sequence[str],
    calendar: str,
    *,
    from_ns: Nanos | None = None,
    to_ns: Nanos | None = None,
    bar_min: int = 1,
    batch_rows: int = BATCH_ROWS,
) -> RecordedBars:
    """Return a data set as a feed of slices.

    A file is an arrival log: what comes after a later minute is LATE, in whatever order a minute's own rows
    stand. All stamps are read once here, so that faults of the whole show before the first slice.

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

    Raises
    ------
    DataError
        D001 no rows, D003 missing column, D004 unreadable, D005 naive stamps, D006 no stamps, D007 not in
        time order, D008 wrong type, D015 no readable row, D016 bars of another size.
    """
    if options.tz is not None:
        check_zone(options.tz)
    span = _span(from_ns, to_ns)
    decoder = partial(Decoder, options.tz, calendar, bar_min=bar_min)
    surveys = _surveys(options, decoder(), span)
    span_ns = min(survey.first_ns for survey in surveys), max(survey.last_ns for survey in surveys)
    # A day more on each side: the date of a session is that of its exchange, not of UTC.
    sessions = sessions_for(calendar, span_ns[0] // DAY_NS - 1, span_ns[1] // DAY_NS + 1, bar_min)
    sample = np.unique(np.concatenate([survey.sample for survey in surveys]))
    check_bar_size(options.path, sample, calendar, sessions, options.every_min)
    return RecordedBars(
        lambda: _rows(surveys, decoder(), span, batch_rows, is_sorted=options.sort),
        partial(
            Slicer,
            tuple(symbols),
            sessions,
            collar_frac=options.collar_frac,
            collar_sigmas=options.collar_sigmas,
        ),
        span_ns,
        sum(survey.n_inside for survey in surveys),
        sum(survey.n_broken for survey in surveys),
    )


def _surveys(options: FileOptions, decoder: Decoder, span: _Span) -> list[Survey]:
    """Pass over the stamps of all files; return what was found in those with bars of the span."""
    all_ = [_survey(path, decoder, span) for path in data_files(options.path)]
    found = [survey for survey in all_ if survey.last_ns]
    if not found:
        raise _nothing(options.path, all_)
    for survey in found:
        if not options.sort and survey.n_late >= _UNSORTED_FRAC * survey.n_rows:
            raise DataError(
                "D007",
                f"{survey.path.name} is not in time order: {survey.n_late:,} of {survey.n_rows:,} "
                "rows come after a later minute",
                where=str(survey.path),
                detail="A file is read as bars arrive, so these rows would all be refused as LATE. "
                "If it is only stored in another order (by symbol, newest first; for data check and "
                "screen: --sort):\n"
                "    [feed]  sort = true",
            )
    return found


def _survey(path: Path, decoder: Decoder, span: _Span) -> Survey:
    n_rows = n_inside = n_late = newest = head_ns = last_ns = 0
    first_ns, broken_before = _LAST_NS, decoder.broken
    earliest_ns, latest_ns, sample = _LAST_NS, 0, np.empty(0, np.int64)
    for stamps in decoder.stamps(path, BATCH_ROWS):
        keys = np.maximum.accumulate(np.maximum(stamps, newest))
        head_ns = head_ns if n_rows else int(keys[0])
        newest = int(keys[-1])
        n_rows += len(stamps)
        n_late += int(np.count_nonzero((stamps < keys) & (stamps != UNREADABLE)))
        known = stamps[stamps != UNREADABLE]
        if len(known):
            earliest_ns, latest_ns = min(earliest_ns, int(known.min())), max(latest_ns, int(known.max()))
        inside = stamps[span.holds(stamps)]
        n_inside += len(inside)
        inside = inside[inside != UNREADABLE]
        if len(inside):
            first_ns, last_ns = min(first_ns, int(inside.min())), max(last_ns, int(inside.max()))
        sample = _more(sample, inside)
    n_broken = decoder.broken - broken_before
    return Survey(
        path,
        n_rows,
        n_inside,
        n_broken,
        n_late,
        head_ns,
        first_ns if last_ns else 0,
        last_ns,
        (earliest_ns if latest_ns else 0, latest_ns),
        sample,
    )


def _nothing(path: Path, surveys: Sequence[Survey]) -> DataError:
    """Say why there is no bar: the files have no rows, none that can be read, or none of the span."""
    dated = [survey.ends_ns for survey in surveys if survey.ends_ns[1]]
    if dated:
        return nothing_in_span(str(path), min(dated)[0], max(last for _, last in dated))
    n_broken = sum(survey.n_broken for survey in surveys)
    if n_broken or any(survey.n_rows for survey in surveys):
        return nothing_readable(path, n_broken)
    return no_rows(path)


def _rows(
    surveys: Sequence[Survey], decoder: Decoder, span: _Span, batch_rows: int, *, is_sorted: bool
) -> Iterator[BarColumns]:
    """Yield the rows of the span, of all files in the order of time."""
    files = [(survey.head_ns, partial(decoder.bars, survey.path, batch_rows)) for survey in surveys]
    for columns in _sorted(merged(files), batch_rows) if is_sorted else merged(files):
        if span.is_all:
            yield columns
            continue
        inside = np.flatnonzero(span.holds(columns.ts_close_ns))
        if len(inside):
            yield columns if len(inside) == len(columns) else columns.take(inside)


def _sorted(batches: Iterator[BarColumns], batch_rows: int) -> Iterator[BarColumns]:
    rows = joined(list(batches))
    order = np.argsort(rows.ts_close_ns, kind="stable")
    for start in range(0, len(order), batch_rows):
        yield rows.take(order[start : start + batch_rows])


def _more(sample: IntArray, stamps: IntArray) -> IntArray:
    """Return a sample with what it lacks from a batch."""
    return sample if len(sample) == SAMPLE_STAMPS else distinct(np.concatenate([sample, stamps]))


def sample_of(
    path: Path, tz: str | None, calendar: str, from_ns: Nanos | None = None, to_ns: Nanos | None = None
) -> IntArray:
    """Return some of the stamps of a data set, the first of the span in each file; dates as closes."""
    span, decoder = _span(from_ns, to_ns), Decoder(tz, calendar, DAY_MIN)
    samples = []
    for file in data_files(path):
        sample = np.empty(0, np.int64)
        for stamps in decoder.stamps(file, BATCH_ROWS):
            sample = _more(sample, stamps[span.holds(stamps)])
            if len(sample) == SAMPLE_STAMPS:
                break
        samples.append(sample)
    return np.unique(np.concatenate(samples))


def bar_min_in(path: Path, tz: str | None, calendar: str) -> int | None:
    """Tell the size of the bars of a data set from its stamps; None where these do not say."""
    return bar_min_of(sample_of(path, tz, calendar), calendar)


def symbols_in(path: Path) -> tuple[str, ...]:
    """Return the symbols of a data set, sorted."""
    decoder = Decoder(None, "24/7")
    found: set[str] = set()
    for file in data_files(path):
        found |= decoder.symbols(file, BATCH_ROWS)
    return tuple(sorted(found - {""}))


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a data set: of the bytes of its files, in name order, hexadecimal."""
    digest = hashlib.sha256()
    for file in data_files(path):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
