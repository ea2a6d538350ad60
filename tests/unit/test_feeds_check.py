"""The report on a data set, and the conversion of foreign files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.errors import ConfigError, DataError
from feeds.check import check, report_lines
from feeds.convert import import_
from feeds.files import FileOptions

HEADER = "ts,symbol,open,high,low,close,volume\n"


def rows(*cells: tuple[str, str, float]) -> str:
    return "".join(f"2026-01-05 {t}+00:00,{symbol},{p},{p},{p},{p},10\n" for t, symbol, p in cells)


def test_every_count_of_the_report(tmp_path: Path) -> None:
    """By hand: A misses 14:33 and 14:34, B misses 14:34; one repeat, one bar before the open, one NaN."""
    text = HEADER + rows(
        ("14:30", "A", 10.0),
        ("14:31", "A", 10.0),
        ("14:31", "B", 20.0),
        ("14:31", "B", 20.0),
        ("14:32", "A", 10.0),
        ("14:32", "B", 20.0),
        ("14:33", "B", 20.0),
        ("14:33", "A", float("nan")),
        ("14:35", "A", 10.0),
        ("14:35", "B", 20.0),
    )
    path = tmp_path / "bars.csv"
    path.write_text(text)
    report = check(FileOptions(path=path), bar_min=1)
    assert [(s.symbol, s.bars, s.gaps) for s in report.symbols] == [("A", 3, 2), ("B", 4, 1)]
    assert report.rejected == {"DUPLICATE": 1, "OFF_SESSION": 1, "MALFORMED": 1}
    assert (report.rows, report.slices, report.sessions) == (10, 5, 1)
    assert (report.gaps, report.one_sided, report.empty) == (3, 1, 1)
    assert (report.first_day, report.last_day) == ("2026-01-05", "2026-01-05")
    assert not report.is_clean


def test_a_clean_file_is_clean(tmp_path: Path) -> None:
    """No news about a file without faults."""
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + rows(("14:31", "A", 10.0), ("14:32", "A", 10.0)))
    assert check(FileOptions(path=path)).is_clean


def foreign(folder: Path, **columns: list[Any]) -> Path:
    path = folder / "foreign.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_start_stamps_in_local_time_with_other_names(tmp_path: Path) -> None:
    """The usual vendor file: 09:30 New York is the START of the bar that ends at 14:31 UTC."""
    path = foreign(
        tmp_path,
        Date=["2026/01/05", "20260105"],
        Time=["09:31", "09:30"],
        O=[1.1, 1.0],
        High=[1.1, 1.0],
        low=[1.1, 1.0],
        Close=[1.1, 1.0],
        Vol=[5, 6],
    )
    out = tmp_path / "bars.parquet"
    assert import_(path, out, tz="America/New_York", stamp="start", symbol="KO").n_rows == 2
    frame = pd.read_parquet(out)
    assert frame["ts"].astype(str).tolist() == ["2026-01-05 14:31:00+00:00", "2026-01-05 14:32:00+00:00"]
    assert frame["close"].tolist() == [1.0, 1.1]
    assert frame["symbol"].tolist() == ["KO", "KO"]
    assert check(FileOptions(path=out)).is_clean


def test_end_stamps_with_a_zone_and_a_column_of_ones_own(tmp_path: Path) -> None:
    """A stamp that has a zone keeps it; a price without a value stays a row, for the slicer to count."""
    path = foreign(
        tmp_path,
        timestamp=["2026-01-05T09:31:00-05:00", "2026-01-05T14:31:00.000Z"],
        ticker=["NA", " KO "],
        open=[1.0, None],
        high=[1.0, 1.0],
        low=[1.0, 1.0],
        px_last=[1.0, 1.0],
        volume=[5, 6],
    )
    out = tmp_path / "bars.csv.gz"
    assert import_(path, out, rename={"px_last": "close"}).n_rows == 2
    report = check(FileOptions(path=out))
    assert {s.symbol: s.bars for s in report.symbols} == {"KO": 0, "NA": 1}
    assert report.rejected == {"MALFORMED": 1}


def test_what_import_refuses(tmp_path: Path) -> None:
    """No zone, no symbol, no time of day, an unknown zone: each is said, none is guessed."""
    prices = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    out = tmp_path / "bars.parquet"
    for ts, options, code in [
        ("2026-01-05 09:31", {"symbol": "KO"}, "D005"),
        ("2026-01-05 09:31", {"tz": "America/New_York"}, "D003"),
        ("05.01.2026", {"symbol": "KO", "tz": "America/New_York"}, "D006"),
        ("2026-01-05", {"symbol": "KO", "bar_min": 5}, "D016"),
        ("1767623460", {"symbol": "KO"}, "D006"),
    ]:
        with pytest.raises(DataError) as caught:
            import_(foreign(tmp_path, ts=[ts], **prices), out, **options)
        assert caught.value.code == code
    with pytest.raises(ConfigError):
        import_(foreign(tmp_path, ts=["2026-01-05 09:31"], **prices), out, tz="Mars/Olympus")
    assert not out.exists()


def daily(folder: Path, spelling: str, n: int = 4) -> Path:
    """Write daily bars of a vendor, Monday 5 January 2026 and the days after."""
    dates = [spelling.format(f"2026-01-{day:02}", f"202601{day:02}") for day in range(5, 5 + n)]
    prices = {name: [10.0] * n for name in ("Open", "High", "Low", "Close", "Volume")}
    return foreign(folder, Date=dates, Ticker=["KO"] * n, **prices)


@pytest.mark.parametrize("spelling", ["{0}", "{1}", "{0} 00:00:00", "{0} 00:00:00-05:00", "{0}T00:00:00Z"])
@pytest.mark.parametrize("stamp", ["start", "end"])
def test_a_date_becomes_the_close_of_its_session(tmp_path: Path, spelling: str, stamp: Any) -> None:
    """However a vendor writes the date; and the result is read without being told what it is."""
    out = tmp_path / "bars.parquet"
    done = import_(daily(tmp_path, spelling), out, stamp=stamp)
    assert (done.n_rows, done.bar_min) == (4, 1_440)
    stamps = pd.read_parquet(out)["ts"]
    assert [str(ts) for ts in stamps[:2]] == ["2026-01-05 21:00:00+00:00", "2026-01-06 21:00:00+00:00"]
    report = check(FileOptions(path=out))
    assert (report.bar_min, report.gaps, report.rejected) == (1_440, 0, {})
    assert report_lines(report)[0] == (
        "1 symbol, 2026-01-05..2026-01-08, 4 sessions XNYS, daily bars, 4 rows, 0 gaps"
    )


def test_a_half_day_and_another_calendar(tmp_path: Path) -> None:
    """The close is that of the calendar: 13:00 on the day after Thanksgiving, midnight around the clock."""
    prices = {name: [10.0] for name in ("open", "high", "low", "close", "volume")}
    for calendar, close in (("XNYS", "2025-11-28 18:00:00+00:00"), ("24/7", "2025-11-29 00:00:00+00:00")):
        out = tmp_path / f"{len(calendar)}.parquet"
        import_(foreign(tmp_path, date=["2025-11-28"], **prices), out, symbol="KO", calendar=calendar)
        assert str(pd.read_parquet(out)["ts"][0]) == close


@pytest.mark.parametrize(("every_min", "n", "last"), [(5, 78, "21:00"), (60, 7, "21:00")])
def test_starts_are_moved_by_the_length_of_their_bars(
    tmp_path: Path, every_min: int, n: int, last: str
) -> None:
    """By a minute alone bars of five would hardly move; the last of a session is cut at its close."""
    starts = pd.date_range("2026-01-05 09:30", periods=n, freq=f"{every_min}min")
    prices = {name: [10.0] * n for name in ("open", "high", "low", "close", "volume")}
    path, out = foreign(tmp_path, time_stamp=starts.astype(str), **prices), tmp_path / "bars.parquet"
    options: Any = {"tz": "America/New_York", "symbol": "KO", "rename": {"time_stamp": "ts"}}
    import_(path, out, stamp="start", **options)
    stamps = pd.read_parquet(out)["ts"]
    assert stamps.iloc[0] == pd.Timestamp("2026-01-05 14:30Z") + pd.Timedelta(minutes=every_min)
    assert f"{stamps.iloc[-1]:%H:%M}" == last
    report = check(FileOptions(path=out), bar_min=every_min)
    assert (report.gaps, report.rejected) == (0, {})


def test_a_file_without_a_good_row_says_why(tmp_path: Path) -> None:
    """There is no span to show: what counts is the reason, and a row to look at."""
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + "2026-01-05 03:00:00Z,A,1,1,1,1,1\n2026-01-05 15:00:00Z,A,x,1,1,1,1\n")
    with pytest.raises(DataError) as caught:
        check(FileOptions(path=path))
    error = caught.value
    assert (error.code, error.what) == ("D015", "no bar was accepted: 1 MALFORMED, 1 OFF_SESSION")
    assert error.where == f"{path}:2   2026-01-05 03:00:00Z,A,1,1,1,1,1"
    assert "inside the sessions" in error.detail
    path.write_text(HEADER + "2026-01-05 15:00:00Z;A;1;1;1;1;1\n")
    with pytest.raises(DataError, match="1 with another number of cells") as caught:
        check(FileOptions(path=path))
    assert (caught.value.code, caught.value.where) == ("D015", f"{path}:2   2026-01-05 15:00:00Z;A;1;1;1;1;1")


def test_stamps_of_starts_are_suspected(tmp_path: Path) -> None:
    """One OFF_SESSION a day is easily overlooked, and every bar would be known a minute before its end."""
    days = [pd.date_range(f"2026-01-0{day} 14:30", periods=390, freq="min", tz="UTC") for day in (5, 6)]
    stamps = days[0].append(days[1])
    path = tmp_path / "bars.csv"
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 9.0)
    pd.DataFrame({"ts": stamps, "symbol": "KO", **prices}).to_csv(path, index=False)
    report = check(FileOptions(path=path))
    assert report.has_starts
    assert report.rejected == {"OFF_SESSION": 2}
    assert any("look like the STARTS of bars" in line for line in report_lines(report))
    pd.DataFrame({"ts": [day[0] for day in days], "symbol": "KO", **prices}).to_csv(path, index=False)
    with pytest.raises(DataError, match="2 OFF_SESSION") as caught:
        check(FileOptions(path=path), bar_min=1_440)
    assert "--stamp start" in caught.value.detail


def test_a_foreign_zone_in_another_spelling_is_refused(tmp_path: Path) -> None:
    """Written without its time the row would be lost, and read as local time it would be another bar."""
    path, out = tmp_path / "foreign.csv", tmp_path / "bars.csv"
    stamps = ["2026-01-05 09:31", "2026-01-05 09:32 -5", "2026-01-05 09:33+3"]
    path.write_text("timestamp,o,h,l,c,v\n" + "".join(f"{stamp},1,1,1,1,5\n" for stamp in stamps))
    with pytest.raises(DataError, match="2 rows with a stamp that cannot be read") as caught:
        import_(path, out, tz="America/New_York", symbol="KO")
    assert caught.value.where == f"{path}:3   2026-01-05 09:32 -5,1,1,1,1,5"
    assert not out.exists()


def test_two_columns_of_one_meaning_are_refused(tmp_path: Path) -> None:
    """``close`` and ``last`` both say what a bar closed at, and need not agree."""
    path = tmp_path / "foreign.csv"
    path.write_text("timestamp,o,h,l,close,last,v\n2026-01-05 09:31,1,1,1,1,2,5\n")
    with pytest.raises(DataError, match="more than one column close") as caught:
        import_(path, tmp_path / "bars.csv", tz="UTC", symbol="KO")
    assert caught.value.code == "D003"
    renamed = import_(path, tmp_path / "bars.csv", tz="UTC", symbol="KO", rename={"last": "unused"})
    assert renamed.n_rows == 1
