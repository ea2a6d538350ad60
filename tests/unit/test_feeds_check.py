"""The report on a data set, and the conversion of foreign files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.errors import ConfigError, DataError
from feeds.check import check
from feeds.convert import import_

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
    report = check(path)
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
    assert check(path).is_clean


def foreign(folder: Path, **columns: list[Any]) -> Path:
    path = folder / "foreign.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_start_stamps_in_local_time_with_other_names(tmp_path: Path) -> None:
    """The usual vendor file: 09:30 New York is the START of the bar that ends at 14:31 UTC."""
    path = foreign(
        tmp_path,
        Date=["01/05/2026", "01/05/2026"],
        Time=["09:31", "09:30"],
        O=[1.1, 1.0],
        High=[1.1, 1.0],
        low=[1.1, 1.0],
        Close=[1.1, 1.0],
        Vol=[5, 6],
    )
    out = tmp_path / "bars.parquet"
    assert import_(path, out, tz="America/New_York", stamp="start", symbol="KO") == 2
    frame = pd.read_parquet(out)
    assert frame["ts"].astype(str).tolist() == ["2026-01-05 14:31:00+00:00", "2026-01-05 14:32:00+00:00"]
    assert frame["close"].tolist() == [1.0, 1.1]
    assert frame["symbol"].tolist() == ["KO", "KO"]
    assert check(out).is_clean


def test_end_stamps_with_a_zone_and_a_column_of_ones_own(tmp_path: Path) -> None:
    """A stamp that has a zone keeps it; rubbish stays a row, for the slicer to count."""
    path = foreign(
        tmp_path,
        timestamp=["2026-01-05T09:31:00-05:00", "rubbish"],
        ticker=["NA", "KO"],
        open=[1.0, 1.0],
        high=[1.0, 1.0],
        low=[1.0, 1.0],
        px_last=[1.0, 1.0],
        volume=[5, 6],
    )
    out = tmp_path / "bars.csv.gz"
    assert import_(path, out, rename={"px_last": "close"}) == 2
    report = check(out)
    assert {s.symbol: s.bars for s in report.symbols} == {"KO": 0, "NA": 1}
    assert report.rejected == {"MALFORMED": 1}


def test_what_import_refuses(tmp_path: Path) -> None:
    """No zone, no symbol, no time of day, an unknown zone: each is said, none is guessed."""
    prices = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    out = tmp_path / "bars.parquet"
    for ts, options, code in [
        ("2026-01-05 09:31", {"symbol": "KO"}, "D005"),
        ("2026-01-05 09:31", {"tz": "America/New_York"}, "D003"),
        ("2026-01-05", {"symbol": "KO", "tz": "America/New_York"}, "D006"),
        ("1767623460", {"symbol": "KO"}, "D006"),
    ]:
        with pytest.raises(DataError) as caught:
            import_(foreign(tmp_path, ts=[ts], **prices), out, **options)
        assert caught.value.code == code
    with pytest.raises(ConfigError):
        import_(foreign(tmp_path, ts=["2026-01-05 09:31"], **prices), out, tz="Mars/Olympus")
    assert not out.exists()
