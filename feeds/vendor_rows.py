"""The rows of a vendor's CSV as text, each with its line: what is no bar is refused, naming the first."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from engine.errors import ConfigError, DataError
from engine.events import BoolArray, FloatArray
from engine.vocabulary import counted
from feeds.columns import ALIASES, COLUMNS, PRICES, check_text, headless, no_rows

if TYPE_CHECKING:
    import pandas as pd

#: What may divide cells.
SEPARATORS: Final = (",", ";", "\t", "|")
#: Cells that say that there is no value; such a bar is written, and judged as any other.
_NO_VALUE: Final = frozenset({"", "nan", "na", "n/a", "null", "none"})
_NUMBER: Final = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NOT_NUMBERS: Final = (
    "Marks of thousands and commas as decimal points are not guessed: write 1070.5 for 1,070.5. "
    "A cell without a value is empty."
)


class Rows(msgspec.Struct, frozen=True):
    """The rows of some files.

    Attributes
    ----------
    text : pandas.DataFrame
        Cells of the canonical columns, without spaces around them.
    paths : tuple of Path
    file, line : pandas.Series of int
        Where each row stands: index into ``paths``, and line of that file, counted from 1.
    """

    text: pd.DataFrame
    paths: tuple[Path, ...]
    file: pd.Series[int]
    line: pd.Series[int]

    def refusal(self, code: str, what: str, is_bad: BoolArray, hint: str) -> DataError:
        """Return the error for some rows: their number, and the first with its line and text."""
        first = int(is_bad.argmax())
        where = line_of(self.paths[int(self.file.iloc[first])], int(self.line.iloc[first]))
        return DataError(code, f"{counted(int(np.count_nonzero(is_bad)), 'row')} {what}", where, hint)


def read_rows(paths: list[Path], symbol: str | None, rename: dict[str, str], sep: str) -> Rows:
    """Read files as text, with canonical column names.

    Parameters
    ----------
    paths : list of Path
    symbol : str or None
        For files without a column of symbols.
    rename : dict of str to str
        Columns of the files to canonical ones, beyond ``ALIASES``.
    sep : str
        What divides cells, one of ``SEPARATORS``.

    Raises
    ------
    ConfigError
        C013 for another separator.
    DataError
        D001 no rows, D003 columns that are missing or stand twice, D004 unreadable, or rows with another
        number of cells than the header, D008 for a row without a symbol.
    """
    import pandas as pd

    if sep not in SEPARATORS:
        raise ConfigError("C013", f'cells are divided by , ; | or a tab, was "{sep}"', "--sep")
    frames = []
    for index, path in enumerate(paths):
        header, cells, lines = _cells(path, sep)
        at = _places(path, header, symbol, rename, sep)
        text = pd.DataFrame({name: _joined(cells, columns) for name, columns in at.items()}, dtype=object)
        if symbol is not None:
            text["symbol"] = symbol
        frames.append(text.assign(_file=index, _line=lines))
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise no_rows(paths[0] if len(paths) == 1 else paths[0].parent)
    rows = Rows(frame[list(COLUMNS)], tuple(paths), frame["_file"], frame["_line"])
    is_nameless = (rows.text["symbol"] == "").to_numpy(bool)
    if is_nameless.any():
        raise rows.refusal("D008", "without a symbol", is_nameless, "Nobody could tell whose bars they are.")
    return rows


def numbers_in(rows: Rows) -> FloatArray:
    """Return prices and volumes, ``(5, n_rows)``, NaN where a cell has no value.

    Raises
    ------
    DataError
        D008 for a cell that is no finite number.
    """
    import pandas as pd

    values = np.full((len(PRICES), len(rows.text)), np.nan)
    for row, name in enumerate(PRICES):
        cells = rows.text[name]
        is_number = cells.str.fullmatch(_NUMBER).to_numpy(bool)
        values[row, is_number] = pd.to_numeric(cells[is_number]).to_numpy(np.float64)
        is_bad = ~(is_number | cells.str.lower().isin(_NO_VALUE).to_numpy(bool)) | np.isinf(values[row])
        if is_bad.any():
            cell = cells.iloc[int(is_bad.argmax())]
            what = f'with no number in column "{name}", first "{cell:.40}"'
            raise rows.refusal("D008", what, is_bad, _NOT_NUMBERS)
    return values


def line_of(path: Path, line: int) -> str:
    """Return where a line stands, and how it reads."""
    with _text(path) as stream:
        found = next(islice(stream, line - 1, line), "").strip()
    return f"{path}:{line}   {found:.120}"


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    with pa.input_stream(str(path)) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as stream:
        yield stream


def _cells(path: Path, sep: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header of a file, its rows, and their lines."""
    if path.suffix == ".parquet":
        raise DataError("D004", f"{path.name} is a Parquet file", str(path), "Only CSV files are imported.")
    check_text(path)
    cells, lines, broken = [], [], []
    try:
        with _text(path) as stream:
            reader = csv.reader(stream, delimiter=sep, skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(reader, [])]
            for row in reader:
                if len(row) == len(header):
                    cells.append(row)
                    lines.append(reader.line_num)
                elif any(cell.strip() for cell in row):
                    broken.append(reader.line_num)
    except (csv.Error, pa.ArrowException, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        hint = "The file is damaged or cut short, or it is not CSV in UTF-8."
        raise DataError("D004", f"{path.name} cannot be read: {error}", str(path), hint) from error
    if not header:
        raise no_rows(path)
    if broken and len(header) > 1:
        what = f"{counted(len(broken), 'row')} of {path.name} with another number of cells than the header"
        raise DataError("D004", what, line_of(path, broken[0]), f"The header has {len(header)} cells.")
    return header, cells, lines


def _joined(cells: list[list[str]], columns: list[int]) -> list[str]:
    """Return one column, or a date and a time as one."""
    if len(columns) == 1:
        (at,) = columns
        return [row[at].strip() for row in cells]
    return [" ".join(row[at].strip() for at in columns).strip() for row in cells]


def _places(
    path: Path, header: list[str], symbol: str | None, rename: dict[str, str], sep: str
) -> dict[str, list[int]]:
    """Return where each canonical column stands; a date and a time stand for ``ts``."""
    named = [rename.get(name, ALIASES.get(name.lower(), name)) for name in header]
    if repeated := sorted({name for name in named if named.count(name) > 1} & {*ALIASES.values()}):
        what = f"{path.name} has more than one column {', '.join(repeated)}"
        hint = f"found: {', '.join(header)}\nWhich of them counts is not guessed: --rename theirs=unused"
        raise DataError("D003", what, str(path), hint)
    at = {name: [named.index(name)] for name in COLUMNS if name in named}
    if "ts" not in at and "date" in named:
        at["ts"] = [named.index(name) for name in ("date", "time") if name in named]
    told = {*at} | ({"symbol"} if symbol is not None else set())
    missing = [name for name in COLUMNS if name not in told]
    if missing:
        what = f"{path.name} has no column {', '.join(missing)}"
        hint = f"found: {', '.join(header)}\n{_advice(header, missing, sep)}"
        raise DataError("D003", what, str(path), hint)
    return at


def _advice(header: list[str], missing: list[str], sep: str) -> str:
    other = next((mark for mark in SEPARATORS if mark != sep and mark in header[0]), None)
    if len(header) == 1 and other is not None:
        mark = "\\t" if other == "\t" else other
        return f'Cells seem to be divided by another mark: --sep "{mark}"'
    if headless(header):
        return f"The first line seems to be a row. Give the file a header, for example {','.join(COLUMNS)}"
    symbols = ", or the symbol with --symbol." if "symbol" in missing else "."
    return f"Name them with --rename theirs=ours{symbols}"
