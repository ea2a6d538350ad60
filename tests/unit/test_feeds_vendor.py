"""Files of vendors: what could be read in two ways, or not at all, is refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.errors import ConfigError, DataError
from feeds.convert import import_
from feeds.files import FileOptions, file_bars, symbols_in

HEADER = "ts,symbol,open,high,low,close,volume\n"
NEW_YORK: dict[str, Any] = {"tz": "America/New_York"}


def vendor(folder: Path, text: str) -> Path:
    path = folder / "vendor.csv"
    path.write_text(text, encoding="utf-8")
    return path


def row(ts: str, symbol: str = "KO", price: str = "70.5") -> str:
    return f"{ts},{symbol},{price},{price},{price},{price},10\n"


def stamps_of(folder: Path, text: str, **options: Any) -> list[str]:
    out = folder / "bars.parquet"
    import_(vendor(folder, text), out, **options)
    return [str(ts) for ts in pd.read_parquet(out)["ts"]]


def refused(folder: Path, text: str, **options: Any) -> DataError:
    out = folder / "bars.csv"
    with pytest.raises(DataError) as caught:
        import_(vendor(folder, text), out, **options)
    assert not out.exists()
    return caught.value


@pytest.mark.parametrize(
    ("ts", "says"),
    [
        ("05/01/2026 09:31", "--date-format"),
        ("13/01/2026 09:32", "--date-format"),
        ("09:31", "--rename theirs=date --rename theirs=time"),
        ("Monday 9:31", "--date-format"),
        ("1767623460", "--date-format ms"),
        ("", "The year comes first"),
        ("2026-01-05 9:31 PM", "The year comes first"),
        ("2026-02-30 09:31", "The year comes first"),
        ("2026-01-05 24:31", "The year comes first"),
        ("2026-03-08 02:30", "only a stamp with its zone"),
        ("2026-11-01 01:31", "only a stamp with its zone"),
    ],
)
def test_a_stamp_of_two_meanings_or_none_is_refused_with_its_line(tmp_path: Path, ts: str, says: str) -> None:
    """Guessed row by row two days of a month changed places, and a time of day became today's."""
    error = refused(tmp_path, HEADER + row("2026-01-05 09:30") + "\n" + row(ts), **NEW_YORK)
    assert error.code == "D006"
    assert error.what.startswith("1 row with")
    assert error.where == f"{tmp_path / 'vendor.csv'}:4   {row(ts).strip()}"
    assert says in error.detail


@pytest.mark.parametrize(
    "ts",
    [
        "2026-01-05 09:31",
        "2026-01-05T09:31:00",
        "2026/1/5 9:31:00.000",
        "20260105 09:31:00",
        "20260105 093100",
        "20260105T093100.000",
        "2026-01-05T14:31:00Z",
        "2026-01-05 14:31 UTC",
        "2026-01-05 09:31:00-0500",
        "2026-01-05 09:31-05",
        "2026-01-05 20:01:00.000000000+05:30",
    ],
)
def test_the_year_first_says_it_all(tmp_path: Path, ts: str) -> None:
    """These spellings have one meaning, whoever writes them."""
    assert stamps_of(tmp_path, HEADER + row(ts), **NEW_YORK) == ["2026-01-05 14:31:00+00:00"]


@pytest.mark.parametrize(
    ("form", "ts"),
    [
        ("%d/%m/%Y %H:%M", "05/01/2026 09:31"),
        ("%m/%d/%Y %I:%M %p", "01/05/2026 9:31 AM"),
        ("%d.%m.%y %H:%M %z", "05.01.26 14:31 +0000"),
        ("s", "1767623460"),
        ("s", "1767623460.0"),
        ("ms", "1767623460000"),
        ("us", "1767623460000000"),
        ("ns", "1767623460000000000"),
    ],
)
def test_another_form_is_what_was_said(tmp_path: Path, form: str, ts: str) -> None:
    """Days first, months first, or numbers: said, it is read, and of every row alike."""
    told = {**NEW_YORK, "date_format": form}
    assert stamps_of(tmp_path, HEADER + row(ts), **told) == ["2026-01-05 14:31:00+00:00"]
    error = refused(tmp_path, HEADER + row(ts) + row("2026-01-05 09:32"), **told)
    assert (error.code, error.where.split(":")[-2][:1]) == ("D006", "3")


def test_dates_of_daily_bars_in_another_form(tmp_path: Path) -> None:
    """Monday 5 and Tuesday 6 January, not the first of May and of June."""
    text = HEADER + row("05/01/2026") + row("06/01/2026")
    closes = ["2026-01-05 21:00:00+00:00", "2026-01-06 21:00:00+00:00"]
    assert stamps_of(tmp_path, text, date_format="%d/%m/%Y") == closes
    error = refused(tmp_path, HEADER + row("2026-01-05") + row("2026-01-06") + row("2026-01-07 11:00"))
    assert (error.code, error.what) == ("D006", "1 row that are no dates, among dates")


def test_a_form_that_is_none_is_refused(tmp_path: Path) -> None:
    """The fault is in the option, not in the file."""
    wrong: list[dict[str, Any]] = [{"date_format": "%q"}, {"date_format": "%d%d"}, {"sep": "x"}]
    for options in wrong:
        with pytest.raises(ConfigError) as caught:
            import_(vendor(tmp_path, HEADER + row("2026-01-05")), tmp_path / "bars.csv", **options)
        assert caught.value.code == "C013"


def test_a_date_and_a_time_are_joined(tmp_path: Path) -> None:
    """Under names of the vendor's own they are told; today's date was put in for one that was not."""
    prices = ",KO,70.5,70.5,70.5,70.5,10\n"
    for header, rename in (("Date,Time", {}), ("Day,ts", {"Day": "date", "ts": "time"})):
        text = f"{header},symbol,open,high,low,close,volume\n2026-01-05,09:31{prices}"
        options = {**NEW_YORK, "rename": rename}
        assert stamps_of(tmp_path, text, **options) == ["2026-01-05 14:31:00+00:00"]
    error = refused(tmp_path, f"Date,{HEADER}2026-01-05,09:31{prices}", **NEW_YORK)
    assert "Columns date and time are joined" in error.detail


@pytest.mark.parametrize("cell", ['"1,070"', "1_000", '"70,5"', "1e400", "inf", "x", "0x10", "٣"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, cell: str) -> None:
    """Written as NaN the bar was lost without a word."""
    text = HEADER + row("2026-01-05 09:31") + row("2026-01-05 09:32", price=cell) * 2
    error = refused(tmp_path, text, **NEW_YORK)
    assert (error.code, error.what.split(",")[0]) == ("D008", '2 rows with no number in column "open"')
    assert error.where.startswith(f"{tmp_path / 'vendor.csv'}:3   2026-01-05 09:32,KO,{cell},")


def test_rows_of_another_length_or_without_a_symbol_are_refused(tmp_path: Path) -> None:
    """A short row had prices that were none, and a row longer than the header moved every cell."""
    short, long = "2026-01-05 09:31,KO,1\n", row("2026-01-05 09:31").strip() + ",1\n"
    for bad in (short, long):
        error = refused(tmp_path, HEADER + row("2026-01-05 09:30") + bad, **NEW_YORK)
        assert (error.code, error.where) == ("D004", f"{tmp_path / 'vendor.csv'}:3   {bad.strip()}")
    error = refused(tmp_path, HEADER + row("2026-01-05 09:31", '"  "'), **NEW_YORK)
    assert (error.code, error.what) == ("D008", "1 row without a symbol")
    import_(vendor(tmp_path, HEADER + row("2026-01-05 09:31", '" KO "')), tmp_path / "b.parquet", **NEW_YORK)
    assert pd.read_parquet(tmp_path / "b.parquet")["symbol"].tolist() == ["KO"]


def test_cells_divided_by_another_mark(tmp_path: Path) -> None:
    """The refusal names the option, and the option reads the file."""
    for mark, told in ((";", ";"), ("\t", "\\t")):
        text = (HEADER + row("2026-01-05 09:31")).replace(",", mark)
        assert f'--sep "{told}"' in refused(tmp_path, text, **NEW_YORK).detail
        with pytest.raises(DataError) as caught:
            symbols_in(vendor(tmp_path, text))
        assert f'astra data import --sep "{told}"' in caught.value.detail
        assert stamps_of(tmp_path, text, sep=mark, **NEW_YORK) == ["2026-01-05 14:31:00+00:00"]


def test_a_file_without_a_header_is_not_told_to_rename(tmp_path: Path) -> None:
    """Names that are a first row cannot be renamed; the row would be lost."""
    text = row("2026-01-05 09:31")
    assert "seems to be a row" in refused(tmp_path, text, **NEW_YORK).detail
    with pytest.raises(DataError, match="no column") as caught:
        symbols_in(vendor(tmp_path, text))
    assert "seems to be a row" in caught.value.detail


def test_symbols_that_are_no_utf8_are_not_one(tmp_path: Path) -> None:
    """Two shares whose names differ in one Latin letter were read as one, with the prices of both."""
    path = tmp_path / "latin.csv"
    rows = [row("2026-01-05T14:31:00Z", symbol) for symbol in ("KO", "SÖ", "SÄ")]
    path.write_bytes((HEADER + "".join(rows)).encode("latin-1"))
    assert list(symbols_in(path)) == ["KO"]
    feed = file_bars(FileOptions(path=path), ("KO", "S\ufffd"), "XNYS")
    items = list(feed.slices())
    assert sum(getattr(item, "accepted", 0) for item in items) == 1
    assert sum(getattr(item, "count", 0) for item in items) == 2
