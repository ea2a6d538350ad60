"""Bars from files: formats, time zones, order, data sets, and what is said when a file cannot be used."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import ConfigError, DataError
from engine.events import CLOSE, MINUTE_NS, BarSlice, Reject
from feeds import REGISTRY
from feeds.check import check
from feeds.context import FeedContext
from feeds.files import FileOptions, file_bars, fingerprint, symbols_in
from feeds.recorded import RecordedBars

#: Monday 2026-01-05: the first minute of the New York session ends at 14:31 UTC.
HEADER = "ts,symbol,open,high,low,close,volume\n"
ROWS = [
    "2026-01-05 14:31:00+00:00,KO,70,70.2,69.9,70.1,1000\n",
    "2026-01-05 14:31:00+00:00,PEP,150,150.5,149.9,150.4,500\n",
    "2026-01-05 14:32:00+00:00,KO,70.1,70.3,70.0,70.2,900\n",
    "2026-01-05 14:32:00+00:00,PEP,150.4,150.6,150.1,150.2,400\n",
]
FIRST_NS = pd.Timestamp("2026-01-05 14:31:00+00:00").value


def write_text(folder: Path, text: str, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def open_feed(path: Path, symbols: tuple[str, ...] = ("KO", "PEP"), **options: object) -> RecordedBars:
    return file_bars(FileOptions(path=path, **options), symbols, "XNYS")  # type: ignore[arg-type]


def slices_of(feed: RecordedBars) -> list[BarSlice]:
    return [item for item in feed.slices() if isinstance(item, BarSlice)]


def closes(feed: RecordedBars) -> list[list[float]]:
    return [slice_.bars[CLOSE].tolist() for slice_ in slices_of(feed)]


EXPECTED = [[70.1, 150.4], [70.2, 150.2]]


@pytest.mark.parametrize("name", ["bars.csv", "bars.csv.gz"])
def test_a_csv_becomes_slices(tmp_path: Path, name: str) -> None:
    """The plain case, compressed or not."""
    feed = open_feed(write_text(tmp_path, HEADER + "".join(ROWS), name))
    assert (feed.n_rows, feed.first_ns, feed.last_ns) == (4, FIRST_NS, FIRST_NS + MINUTE_NS)
    assert closes(feed) == EXPECTED
    assert closes(feed) == EXPECTED  # a second pass begins anew
    assert feed.received == 4


def test_columns_in_another_order_and_more_of_them(tmp_path: Path) -> None:
    """Vendors add columns and sort them as they like."""
    frame = pd.read_csv(write_text(tmp_path, HEADER + "".join(ROWS)))
    frame["vwap"] = "n/a"
    path = tmp_path / "other.csv"
    frame[["vwap", "close", "symbol", "volume", "open", "low", "high", "ts"]].to_csv(path, index=False)
    assert closes(open_feed(path)) == EXPECTED


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize(
    "symbol_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_of_every_unit_and_symbol_type(tmp_path: Path, unit: str, symbol_type: pa.DataType) -> None:
    """pandas, Polars and Arrow write different types for the same thing."""
    frame = pd.read_csv(write_text(tmp_path, HEADER + "".join(ROWS)), parse_dates=["ts"])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    ts = table["ts"].cast(pa.timestamp(unit, tz="America/New_York"))
    table = table.set_column(0, "ts", ts).set_column(1, "symbol", table["symbol"].cast(symbol_type))
    table = table.set_column(6, "volume", table["volume"].cast(pa.int32()))
    pq.write_table(table, tmp_path / "bars.parquet")
    assert closes(open_feed(tmp_path / "bars.parquet")) == EXPECTED


def test_a_directory_is_one_data_set(tmp_path: Path) -> None:
    """One file a symbol, mixed formats: merged by time; names decide nothing but ties."""
    write_text(tmp_path, HEADER + ROWS[1] + ROWS[3], "a.csv.gz")
    frame = pd.read_csv(write_text(tmp_path, HEADER + ROWS[0] + ROWS[2], "b.csv"), parse_dates=["ts"])
    frame.to_parquet(tmp_path / "b.parquet")
    (tmp_path / "b.csv").unlink()
    (tmp_path / "notes.txt").write_text("not data")
    feed = open_feed(tmp_path)
    assert closes(feed) == EXPECTED
    assert symbols_in(tmp_path) == ("KO", "PEP")
    assert (feed.first_ns, feed.last_ns) == (FIRST_NS, FIRST_NS + MINUTE_NS)


def test_from_and_to_are_inclusive_and_the_rest_is_no_part_of_the_run(tmp_path: Path) -> None:
    """--to D includes D; rows outside are not received at all."""
    path = write_text(tmp_path, HEADER + "".join(ROWS))
    options = FileOptions(path=path)
    early = file_bars(options, ("KO", "PEP"), "XNYS", to_ns=FIRST_NS)
    late = file_bars(options, ("KO", "PEP"), "XNYS", from_ns=FIRST_NS + 1)
    assert (closes(early), early.n_rows, early.received) == (EXPECTED[:1], 2, 2)
    assert (closes(late), late.n_rows, late.received) == (EXPECTED[1:], 2, 2)
    with pytest.raises(DataError) as caught:
        file_bars(options, ("KO", "PEP"), "XNYS", from_ns=FIRST_NS + 10 * MINUTE_NS)
    assert caught.value.code == "D001"


def test_rubbish_in_cells_costs_the_row_and_not_the_file(tmp_path: Path) -> None:
    """Every row is accounted for: unreadable cells and rows with too few of them are MALFORMED."""
    spoilt = [
        "2026-01-05 14:33:00+00:00,KO,70,abc,69.9,70.1,1000\n",
        "2026-01-05 14:33:00+00:00,PEP,150,150.5,,150.4,500\n",
        "yesterday,KO,70,70.2,69.9,70.1,1000\n",
        "2026-01-05 14:33:00,KO,70,70.2,69.9,70.1,1000\n",  # no zone, in a file that has zones
        "2026-01-05 14:33:00+00:00,KO,70\n",
        "2026-01-05 14:33:00+00:00,,70,70.2,69.9,70.1,1000\n",
    ]
    feed = open_feed(write_text(tmp_path, HEADER + "".join(ROWS + spoilt)))
    assert closes(feed) == EXPECTED
    rejected = {reason: count for reason, count in feed.slicer.rejected.items() if count}
    assert rejected == {Reject.MALFORMED: 5, Reject.UNKNOWN_SYMBOL: 1}
    assert feed.received == feed.n_rows == 10


def test_symbols_that_look_like_nothing_are_symbols(tmp_path: Path) -> None:
    """NA and NAN are tickers; a reader that takes them for missing values loses a company."""
    text = HEADER + "".join(ROWS).replace(",KO,", ",NA,").replace(",PEP,", ",NAN,")
    assert closes(open_feed(write_text(tmp_path, text), ("NA", "NAN"))) == EXPECTED


def naive_csv(folder: Path) -> Path:
    local = "".join(ROWS).replace("14:3", "09:3").replace("+00:00", "")
    return write_text(folder, HEADER + local)


def test_a_naive_stamp_is_an_error_that_proposes_the_zone(tmp_path: Path) -> None:
    """Five hours off, and every bar is in the wrong session: it is asked, never guessed."""
    path = naive_csv(tmp_path)
    with pytest.raises(DataError) as caught:
        open_feed(path)
    error = caught.value
    assert error.code == "D005"
    assert error.what == "timestamps have no time zone, and 100% fall outside XNYS hours if read as UTC"
    assert error.where == f"{path}:2   2026-01-05 09:31:00"
    assert "Read as America/New_York, 4 of 4 match the session" in error.detail
    assert 'tz = "America/New_York"' in error.detail
    assert closes(open_feed(path, tz="America/New_York")) == EXPECTED


def test_a_naive_parquet_is_no_different(tmp_path: Path) -> None:
    """The rule is about stamps, not about formats."""
    frame = pd.read_csv(naive_csv(tmp_path), parse_dates=["ts"])
    path = tmp_path / "bars.parquet"
    frame.to_parquet(path)
    with pytest.raises(DataError, match="no time zone"):
        open_feed(path)
    assert closes(open_feed(path, tz="America/New_York")) == EXPECTED


def test_an_hour_that_occurs_twice_is_not_guessed(tmp_path: Path) -> None:
    """01:30 on the day the clocks go back is two instants: such rows are MALFORMED, the others are read."""
    rows = "2025-11-02 01:30:00,KO,1,1,1,1,1\n2025-11-02 03:30:00,KO,1,1,1,1,1\n"
    path = write_text(tmp_path, HEADER + rows)
    feed = file_bars(FileOptions(path=path, tz="America/New_York"), ("KO",), "24/7")
    assert len(slices_of(feed)) == 1
    assert feed.slicer.rejected[Reject.MALFORMED] == 1


@pytest.mark.parametrize("stamp", ["1767623460", "1767623460000000000", "01/05/2026 9:31"])
def test_stamps_that_are_none_are_refused(tmp_path: Path, stamp: str) -> None:
    """A number has a unit that nobody stated; 01/05 is two different days."""
    path = write_text(tmp_path, HEADER + f"{stamp},KO,70,70.2,69.9,70.1,1000\n")
    with pytest.raises(DataError) as caught:
        open_feed(path)
    assert caught.value.code == "D006"
    assert stamp in caught.value.what


def test_a_numeric_parquet_column_is_refused(tmp_path: Path) -> None:
    """The same for typed files."""
    frame = pd.read_csv(write_text(tmp_path, HEADER + "".join(ROWS)))
    frame["ts"] = range(4)
    frame.to_parquet(tmp_path / "bars.parquet")
    with pytest.raises(DataError) as caught:
        open_feed(tmp_path / "bars.parquet")
    assert caught.value.code == "D006"


def test_a_file_sorted_by_symbol_names_the_remedy(tmp_path: Path) -> None:
    """Read as it stands, half of it would be LATE: that is an error, unless sorting is asked for."""
    path = write_text(tmp_path, HEADER + ROWS[0] + ROWS[2] + ROWS[1] + ROWS[3])
    with pytest.raises(DataError, match="1 of 4") as caught:
        open_feed(path)
    assert caught.value.code == "D007"
    assert "sort = true" in caught.value.detail
    assert closes(open_feed(path, sort=True)) == EXPECTED


def test_a_single_late_row_is_late(tmp_path: Path) -> None:
    """A file is an arrival log: what came late stays late."""
    minutes = [ROWS[0].replace("14:31", f"14:{m}") for m in range(31, 41)]
    path = write_text(tmp_path, HEADER + "".join(minutes) + ROWS[1])
    feed = open_feed(path)
    assert len(slices_of(feed)) == 10
    assert feed.slicer.rejected[Reject.LATE] == 1


@pytest.mark.parametrize(
    ("name", "content", "code", "text"),
    [
        ("bars.csv", b"", "D001", "is empty"),
        ("bars.csv", HEADER.encode(), "D001", "has a header but no rows (37 bytes)"),
        ("bars.csv", b"timestamp,symbol,open,high,low,close\n1,A,1,1,1,1\n", "D003", "ts, volume"),
        ("bars.parquet", b"no parquet at all", "D004", "cannot be read"),
        (
            "bars.csv.gz",
            gzip.compress((HEADER + "".join(ROWS)).encode(), mtime=0)[:60],
            "D004",
            "cannot be read",
        ),
        ("bars.csv", b"\xff\xfe\x00bad", "D004", "is UTF-16 text"),
        ("bars.csv", b"PAR1\x15\x04", "D004", "is Parquet"),
        ("bars.csv", gzip.compress(HEADER.encode(), mtime=0), "D004", "is compressed by gzip"),
        ("bars.csv", b"PK\x03\x04", "D004", "a spreadsheet"),
        ("bars.csv", b"ts,\0", "D004", "is not text"),
        ("bars.csv.gz", HEADER.encode(), "D004", "is not compressed by gzip"),
        ("bars.csv.gz", gzip.compress(b"", mtime=0), "D001", "holds nothing"),
        ("bars.csv", HEADER.replace(",", ";").encode(), "D003", "no column"),
        ("bars.xlsx", b"", "D004", "no known format"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, code: str, text: str) -> None:
    """Each says what, where and what to do; none is a traceback."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_feed(path)
    assert caught.value.code == code
    assert text in caught.value.what
    assert caught.value.where.startswith(str(path))
    assert caught.value.detail


def test_missing_paths_and_empty_directories(tmp_path: Path) -> None:
    """The commonest mistake of all."""
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(DataError) as caught:
            open_feed(path)
        assert caught.value.code == "D004"


def test_an_unknown_zone_is_refused(tmp_path: Path) -> None:
    """A mistyped zone gets a proposal."""
    with pytest.raises(ConfigError) as caught:
        open_feed(naive_csv(tmp_path), tz="America/New_Yrok")
    assert caught.value.code == "C007"
    assert "America/New_York" in caught.value.detail


def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    """It can be checked with sha256sum, and one changed byte changes it."""
    import hashlib

    path = write_text(tmp_path, HEADER + "".join(ROWS))
    assert fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest() == fingerprint(tmp_path)
    before = fingerprint(path)
    path.write_text(path.read_text() + ROWS[0])
    assert fingerprint(path) != before


async def test_the_registry_builds_it_and_it_streams(tmp_path: Path) -> None:
    """The asynchronous face yields what the synchronous one does."""
    plugin = REGISTRY["files"]
    options = plugin.options(path=write_text(tmp_path, HEADER + "".join(ROWS)))
    feed = plugin.build(options, FeedContext(("KO", "PEP"), "XNYS"))
    streamed = [item async for item in feed.bars()]
    assert [item.ts_close_ns for item in streamed] == [FIRST_NS, FIRST_NS + MINUTE_NS]


def daily_csv(folder: Path, column: str, dates: list[str]) -> Path:
    """Write daily bars of KO and PEP whose stamps are dates."""
    path = folder / "daily.csv"
    rows = [f"{date},{name},10,11,9,10,1000" for date in dates for name in ("KO", "PEP")]
    path.write_text(f"{column},symbol,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("column", ["date", "ts"])
def test_dates_of_daily_bars_stand_for_the_close_of_their_session(tmp_path: Path, column: str) -> None:
    """A date is no instant; of a daily bar it can only mean its session, half days included."""
    dates = ["2025-11-26", "2025-11-28", "2025-11-29"]  # a full day, a half day, a Saturday
    bars = file_bars(
        FileOptions(path=daily_csv(tmp_path, column, dates)), ("KO", "PEP"), "XNYS", bar_min=1_440
    )
    slices = [item for item in bars.slices() if isinstance(item, BarSlice)]
    stamps = [np.datetime64(item.ts_close_ns, "ns").astype("datetime64[m]").item() for item in slices]
    assert [(at.hour, item.minute) for at, item in zip(stamps, slices, strict=True)] == [(21, 390), (18, 210)]
    assert bars.slicer.rejected[Reject.OFF_SESSION] == 2


@pytest.mark.parametrize("column", ["ts", "date"])
def test_dates_are_refused_for_bars_of_minutes(tmp_path: Path, column: str) -> None:
    """There a date would be a guess at the minute; it is daily bars, and the key that says so is named."""
    path = daily_csv(tmp_path, column, ["2025-11-26"])
    with pytest.raises(DataError) as caught:
        file_bars(FileOptions(path=path), ("KO", "PEP"), "XNYS")
    assert caught.value.code == "D016"
    assert "bar_min = 1440" in caught.value.detail


def test_a_minute_within_a_daily_bar_is_malformed(tmp_path: Path) -> None:
    """Minutes in a daily run are another tape: they must not become a day."""
    path = tmp_path / "bars.csv"
    path.write_text(
        "ts,symbol,open,high,low,close,volume\n"
        "2025-11-26T20:59:00Z,KO,10,11,9,10,1000\n2025-11-26T21:00:00Z,KO,10,11,9,10,1000\n"
    )
    bars = file_bars(FileOptions(path=path), ("KO",), "XNYS", bar_min=1_440)
    assert sum(item.accepted for item in bars.slices() if isinstance(item, BarSlice)) == 1
    assert bars.slicer.rejected[Reject.MALFORMED] == 1


def test_a_table_that_holds_no_bars_is_named(tmp_path: Path) -> None:
    """Any folder of Parquet may be given by mistake: what is missing is said, not a traceback."""
    pd.DataFrame({"ts": [1], "equity_usd": [2.0]}).to_parquet(tmp_path / "book.parquet")
    with pytest.raises(DataError, match="has no column symbol") as caught:
        symbols_in(tmp_path)
    assert caught.value.code == "D003"


def test_a_row_that_is_no_text_is_counted_and_spoils_no_other(tmp_path: Path) -> None:
    """Bytes of another encoding in a row cut short: the file was refused, with a traceback beside it."""
    path = tmp_path / "bars.csv"
    rows = [row.encode() for row in ROWS]
    path.write_bytes(HEADER.encode() + rows[0] + b"\xff\xfe,broken\n" + b"".join(rows[1:]))
    feed = open_feed(path)
    assert closes(feed) == EXPECTED
    assert feed.slicer.rejected[Reject.MALFORMED] == 1
    assert feed.received == feed.n_rows == len(ROWS) + 1


def test_broken_rows_of_a_file_outside_the_span_are_no_part_of_the_run(tmp_path: Path) -> None:
    """They were announced and never came: progress stood still, and a live tape ended with rows of no day."""
    write_text(tmp_path, HEADER + "".join(ROWS), "a.csv")
    write_text(tmp_path, HEADER + "".join(ROWS).replace("2026-01-05", "2026-01-06") + "broken\n", "b.csv")
    feed = file_bars(FileOptions(path=tmp_path), ("KO", "PEP"), "XNYS", to_ns=FIRST_NS + 60 * MINUTE_NS)
    assert closes(feed) == EXPECTED
    assert feed.received == feed.n_rows == len(ROWS)


def test_the_bars_of_the_span_tell_their_size(tmp_path: Path) -> None:
    """Bars of five minutes before the run are no part of it; it was refused for them, with the wrong key."""
    sizes = {"2026-01-05": 5, "2026-03-02": 1}
    ends_ = [
        pd.date_range(f"{day} 14:30Z", f"{day} 21:00Z", freq=f"{bar_min}min")[1:]
        for day, bar_min in sizes.items()
    ]
    path = tmp_path / "bars.csv"
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 9.0)
    pd.DataFrame({"ts": ends_[0].append(ends_[1]), "symbol": "KO", **prices}).to_csv(path, index=False)
    march_ns = int(ends_[1][0].value)
    feed = file_bars(FileOptions(path=path), ("KO",), "XNYS", from_ns=march_ns)
    assert sum(item.accepted for item in feed.slices() if isinstance(item, BarSlice)) == 390
    assert check(FileOptions(path=path), from_ns=march_ns).bar_min == 1
    with pytest.raises(DataError, match="holds bars of 1 minute, "):
        file_bars(FileOptions(path=path), ("KO",), "XNYS", from_ns=march_ns, bar_min=5)
    assert check(FileOptions(path=path), to_ns=march_ns - 1).bar_min == 5


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    """Which of two closes counts nobody can say."""
    path = tmp_path / "bars.csv"
    path.write_text("ts,symbol,open,high,low,close,close,volume\n2026-01-05T14:31:00Z,KO,1,1,1,1,2,5\n")
    with pytest.raises(DataError, match="more than one column close") as caught:
        open_feed(path)
    assert caught.value.code == "D003"


def test_a_stamp_that_is_missing_leaves_the_others_exact(tmp_path: Path) -> None:
    """Nanoseconds of today have more digits than a float: beside an empty cell they were rounded."""
    stamps = ["2026-01-05T14:31:00.000000001+00:00", None]
    path = tmp_path / "bars.parquet"
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    pd.DataFrame({"ts": stamps, "symbol": "KO", **prices}).to_parquet(path)
    (columns,) = open_feed(path, ("KO",)).columns()
    assert columns.ts_close_ns.tolist() == [FIRST_NS + 1, -1]
