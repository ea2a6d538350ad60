"""Files to columns: CSV, gzipped CSV and Parquet, in batches, so that memory is flat for any length."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from engine.columns import BarColumns
from engine.errors import DataError
from engine.events import FloatArray, IntArray
from feeds.stamps import Stamps
from feeds.text_stream import Utf8Stream

COLUMNS = ("ts", "symbol", "open", "high", "low", "close", "volume")
PRICES = COLUMNS[2:]
#: Usual names of these columns elsewhere, in lower case.
ALIASES = {
    **{name: name for name in COLUMNS},
    **dict.fromkeys(("timestamp", "datetime", "date_time", "window_end", "close_time"), "ts"),
    **dict.fromkeys(("ticker", "sym", "instrument", "name"), "symbol"),
    **dict.fromkeys(("volume_shares", "vol", "v", "size"), "volume"),
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "last": "close",
    "date": "date",
    "time": "time",
}
SUFFIXES = (".csv", ".csv.gz", ".parquet")
_CSV_BLOCK_BYTES = 1 << 22
_PARQUET_BUFFER_BYTES = 1 << 20


def data_files(path: Path) -> list[Path]:
    """Return the files of a data set in name order: the file itself, or all in a directory.

    Raises
    ------
    DataError
        D004, if there is nothing to read.
    """
    if path.is_dir():
        found = sorted(
            (child for child in path.rglob("*") if child.is_file() and child.name.endswith(SUFFIXES)),
            key=lambda child: child.relative_to(path).as_posix(),
        )
        if not found:
            raise DataError("D004", f"{path} holds no data file", str(path), _EXPECTED)
        return found
    if not path.exists():
        raise DataError("D004", f"{path} does not exist", str(path), _EXPECTED)
    if not path.name.endswith(SUFFIXES):
        raise DataError("D004", f"{path.name} is of no known format", str(path), _EXPECTED)
    return [path]


_EXPECTED = (
    f"Expected a file that ends in {', '.join(SUFFIXES)}, or a directory of such files.\n"
    "make sample data:  astra data synth -o data/bars.csv"
)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            "D004",
            f"{path.name} cannot be read: {reason}",
            where=str(path),
            detail="The file is damaged, cut short, or not of the format that its name says.",
        ) from error


#: First bytes of what is no CSV, and what to do with it.
_NOT_CSV = {
    b"PAR1": "is Parquet: let its name end in .parquet",
    b"\x1f\x8b": "is compressed by gzip: let its name end in .csv.gz",
    b"PK\x03\x04": "is a ZIP archive or a spreadsheet: take the CSV out of it",
    b"\xff\xfe": "is UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text: save it as UTF-8",
}


def check_text(path: Path) -> None:
    """Refuse what cannot be CSV whatever it is called.

    Raises
    ------
    DataError
        D001 for an empty file, D004 for another format.
    """
    with path.open("rb") as file:
        head = file.read(1 << 12)
    if not head:
        raise no_rows(path)
    is_gzip = path.suffix == ".gz"
    what = next((what for magic, what in _NOT_CSV.items() if head.startswith(magic)), "")
    if is_gzip and not head.startswith(b"\x1f\x8b"):
        what = "is not compressed by gzip: let its name end in what it is"
    elif is_gzip:
        what = ""
    elif not what and b"\0" in head:
        what = "is not text"
    if what:
        hint = "The first bytes of the file are not those of the format that its name says."
        raise DataError("D004", f"{path.name} {what}", str(path), hint)


def _columns_of(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        names: list[str] = pq.read_schema(path).names
        return names
    return _header(path)


def _check_columns(path: Path, present: list[str], read: tuple[str, ...]) -> None:
    wanted = read if read == ("symbol",) else (read[0], *COLUMNS[1:])
    if repeated := [name for name in wanted if present.count(name) > 1]:
        what = f"{path.name} has more than one column {', '.join(repeated)}"
        raise DataError("D003", what, str(path), "Which of them counts is not guessed: rename the others.")
    missing = [name for name in wanted if name not in present]
    if not missing:
        return
    alias = {ALIASES.get(name.strip().lower(), ""): name for name in present}
    near = []
    for name in missing:
        match = [alias[name]] if name in alias else difflib.get_close_matches(name, present, n=1)
        near += [f'"{found}" may be "{name}"' for found in match]
    raise DataError(
        "D003",
        f"{path.name} has no column {', '.join(missing)}",
        where=str(path),
        detail=f"expected columns: {', '.join(COLUMNS)}; found: {', '.join(present) or 'none'}\n"
        + (f"{'; '.join(near)}. " if near else "")
        + _remedy(path, present),
    )


def headless(present: list[str]) -> bool:
    """Whether the first line of a file seems to be a row: names are no numbers."""
    return any(re.fullmatch(r"\s*[+-]?[\d.]+\s*", name) for name in present)


def _remedy(path: Path, present: list[str]) -> str:
    if path.suffix == ".parquet":
        return "Rename them in what writes the file."
    mark = next((mark for mark in ";\t|" if len(present) == 1 and mark in present[0]), None)
    if mark is not None:
        sep = "\\t" if mark == "\t" else mark
        return f'Cells must be divided by commas. Convert the file once:  astra data import --sep "{sep}"'
    if headless(present):
        return f"The first line seems to be a row: put a header before it, {','.join(COLUMNS)}"
    return "Rename them once and for all:  astra data import --rename theirs=ours"


class Decoder:
    """Read the files of one data set.

    Parameters
    ----------
    tz : str or None
        Zone of naive stamps.
    calendar : str
        For the proposal in the error about naive stamps, and the closes of daily bars.
    bar_min : int
        Minutes of a bar. The stamp of a daily one may be the date of its session, in a column ``date`` or
        ``ts``; of shorter bars a date says too little, and is refused.

    Attributes
    ----------
    broken : int
        CSV rows so far with a wrong number of cells; they cannot become bars.
    """

    def __init__(self, tz: str | None, calendar: str, bar_min: int = 1) -> None:
        self._tz = tz
        self._calendar = calendar
        self._bar_min = bar_min
        self._codes: dict[str, int] = {}
        self.broken = 0

    def bars(self, path: Path, batch_rows: int) -> Iterator[BarColumns]:
        """Yield the bars of one file in its own order; codes are common to all files of this decoder."""
        stamps, ts = self._stamps(path)
        for batch in self._batches(path, (ts, *COLUMNS[1:]), batch_rows):
            values = np.empty((5, len(batch)))
            for row, name in enumerate(PRICES):
                values[row] = _floats(batch.column(name))
            code = self._encode(path, batch.column("symbol"))
            yield BarColumns(stamps.read(batch.column(ts)), code, tuple(self._codes), values)

    def stamps(self, path: Path, batch_rows: int) -> Iterator[IntArray]:
        """Yield only the stamps of one file."""
        stamps, ts = self._stamps(path)
        for batch in self._batches(path, (ts,), batch_rows):
            yield stamps.read(batch.column(ts))

    def _stamps(self, path: Path) -> tuple[Stamps, str]:
        """Return the reader of stamps, and the name of their column."""
        with _reading(path):
            present = _columns_of(path)
        is_dated = "date" in present and not {"ts", "time"} & set(present)
        column = "date" if is_dated else "ts"
        return Stamps(path, self._tz, self._calendar, self._bar_min), column

    def symbols(self, path: Path, batch_rows: int) -> set[str]:
        """Return the symbols of one file."""
        found: set[str] = set()
        for batch in self._batches(path, ("symbol",), batch_rows):
            found.update(_dictionary(path, batch.column("symbol"))[0])
        return found - {""}

    def _encode(self, path: Path, column: Any) -> IntArray:
        names, indices = _dictionary(path, column)
        codes = self._codes
        lookup = np.array([codes.setdefault(name, len(codes)) for name in names], np.int64)
        code: IntArray = lookup[indices]
        return code

    def _batches(self, path: Path, columns: tuple[str, ...], batch_rows: int) -> Iterator[Any]:
        with _reading(path):
            if path.suffix == ".parquet":
                yield from _parquet(path, columns, batch_rows)
            else:
                yield from self._csv(path, columns, batch_rows)

    def _csv(self, path: Path, columns: tuple[str, ...], batch_rows: int) -> Iterator[Any]:
        _check_columns(path, _header(path), columns)

        def on_broken(_: Any) -> str:
            self.broken += 1
            return "skip"

        # Everything is read as text: a cell that is no number then spoils its row, not the file.
        reader = pyarrow.csv.open_csv(
            pa.PythonFile(Utf8Stream(path), mode="r"),
            read_options=pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=on_broken),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
        for block in reader:
            for start in range(0, len(block), batch_rows):
                yield block.slice(start, batch_rows)


def _parquet(path: Path, columns: tuple[str, ...], batch_rows: int) -> Iterator[Any]:
    # By default the reader keeps the raw bytes of the whole file: memory would grow with its length.
    options = {"pre_buffer": False, "buffer_size": _PARQUET_BUFFER_BYTES}
    _check_columns(path, pq.read_schema(path).names, columns)
    with pq.ParquetFile(path, read_dictionary=["symbol"], **options) as file:
        for batch in file.iter_batches(batch_rows, columns=list(columns)):
            if len(batch):
                yield batch


def _header(path: Path) -> list[str]:
    check_text(path)
    with pa.input_stream(str(path)) as stream:
        head = stream.read(1 << 16).decode("utf-8-sig", errors="replace").splitlines()
    if not head:
        raise DataError("D001", f"{path} holds nothing", str(path), _LAYOUT)
    return next(csv.reader(head[:1]))


_LAYOUT = f"expected columns: {', '.join(COLUMNS)}\nmake sample data:  astra data synth -o data/bars.csv"


def no_rows(path: Path) -> DataError:
    """Return the error for a data set without bars (D001)."""
    n_bytes = path.stat().st_size if path.is_file() else None
    what = f"{path} has a header but no rows{'' if n_bytes is None else f' ({n_bytes} bytes)'}"
    what = f"{path} is empty" if n_bytes == 0 else what
    return DataError("D001", what, str(path), _LAYOUT)


def nothing_readable(path: Path, n_broken: int) -> DataError:
    """Return the error for a data set without a single readable row (D015)."""
    why = f"{n_broken:,} with another number of cells than the header" if n_broken else "no stamp is one"
    hint = (
        "Cells are divided by commas. Convert a file with another mark, or stamps of another form, once:\n"
        "    astra data import --sep, --date-format"
    )
    return DataError("D015", f"no row of {path.name} can be read: {why}", first_row(path), hint)


def first_row(path: Path) -> str:
    """Return where the first row of a data set stands, and how it reads."""
    file = data_files(path)[0]
    if file.suffix == ".parquet":
        return str(file)
    with _reading(file), pa.input_stream(str(file)) as stream:
        lines = stream.read(1 << 16).decode("utf-8-sig", errors="replace").splitlines()
    return f"{file}:2   {lines[1]:.120}" if len(lines) > 1 else str(file)


def _dictionary(path: Path, column: Any) -> tuple[list[str], Any]:
    """Return the distinct symbols of a batch, and the index of each row's; no symbol is the empty one.

    One with U+FFFD was no UTF-8, so others may read the same: it is none.
    """
    if not pa.types.is_dictionary(column.type):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise DataError(
                "D008",
                f'column "symbol" is of type {column.type}, expected text',
                where=str(path),
                detail="A symbol is matched letter by letter with those of the strategies.",
            )
        column = pc.dictionary_encode(column)
    found = column.dictionary.to_pylist()
    names = [name if isinstance(name, str) and "\ufffd" not in name else "" for name in found]
    indices = column.indices
    if indices.null_count:
        indices = indices.fill_null(len(names))
        names.append("")
    return names, indices.to_numpy(zero_copy_only=False)


def _floats(column: Any) -> FloatArray:
    """Return numbers, NaN where a cell is none."""
    try:
        numbers: FloatArray = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        import pandas as pd

        numbers = pd.to_numeric(pd.Series(column.to_pandas(), dtype=object), errors="coerce").to_numpy(
            np.float64
        )
    return numbers
