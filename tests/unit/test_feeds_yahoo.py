"""Yahoo without a network: which rows are bars, when to ask, and what a position says."""

from __future__ import annotations

import datetime as dt
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import Clock
from engine.errors import AstraError
from engine.events import MINUTE_NS, Bar
from engine.sessions import Sessions
from feeds.calendars import day_of, sessions_for
from feeds.live_context import LiveContext
from feeds.live_options import YahooOptions
from feeds.yahoo import YahooBars, final_bars, newest_of, next_poll_ns, position_of

NAN = float("nan")
SOUND = (70.1, 70.3, 70.05, 70.2, 1200.0)
#: 2026-01-05 14:30:00 UTC, the opening of a New York session.
OPEN_NS = 1_767_623_400 * 1_000_000_000


def frame(*rows: tuple[str, tuple[float, ...]], zone: str | None = "America/New_York") -> pd.DataFrame:
    """Return a history as yfinance does: New York's clock at the START of each minute."""
    index = pd.DatetimeIndex([f"2026-01-05 {time}" for time, _ in rows])
    index = index if zone is None else index.tz_localize(zone)
    columns = ["Open", "High", "Low", "Close", "Volume"]
    return pd.DataFrame([values for _, values in rows], index=index, columns=columns)


def bar(minute: int, values: tuple[float, ...] = SOUND) -> Bar:
    """Return the bar that ENDS so many minutes after the opening."""
    return Bar(OPEN_NS + minute * MINUTE_NS, "KO", *values)


def bars_of(history: pd.DataFrame, after: int = 0, until: int = 390) -> list[Bar]:
    """Take what closed between two minutes of the session."""
    return final_bars("KO", history, OPEN_NS + after * MINUTE_NS, OPEN_NS + until * MINUTE_NS)


def test_the_start_of_a_minute_becomes_its_end() -> None:
    """Yahoo labels 09:30 what closes at 09:31; a minute early would be look-ahead."""
    assert bars_of(frame(("09:30", SOUND), ("09:31", SOUND))) == [bar(1), bar(2)]


def test_only_what_is_over_and_new_is_a_bar() -> None:
    """The running minute still changes, and what was handed on must not come again."""
    history = frame(*[(f"09:3{minute}", SOUND) for minute in range(5)])
    assert bars_of(history, after=2, until=4) == [bar(3), bar(4)]


def test_a_minute_without_a_trade_is_no_bar_and_half_a_row_is_a_bad_one() -> None:
    """A gap is silent by nature; a damaged row must reach the slicer and be counted there."""
    history = frame(("09:30", (NAN, NAN, NAN, NAN, 0.0)), ("09:31", (70.1, 70.3, 70.05, NAN, 5.0)))
    (damaged,) = bars_of(history)
    assert damaged.ts_close_ns == OPEN_NS + 2 * MINUTE_NS
    assert damaged.close != damaged.close


def test_the_latest_quote_is_no_bar() -> None:
    """Yahoo appends the price of this second to a history; as a bar it would be malformed, every minute."""
    assert bars_of(frame(("09:30", SOUND), ("09:31:17", SOUND))) == [bar(1)]


def test_rows_in_disorder_come_once_each_and_by_time() -> None:
    """The first of two versions stands, as everywhere."""
    other = (71.0, 71.0, 71.0, 71.0, 1.0)
    history = frame(("09:32", SOUND), ("09:30", SOUND), ("09:32", other))
    assert bars_of(history) == [bar(1), bar(3)]


def test_a_history_without_a_zone_is_refused() -> None:
    """New York or UTC: five hours, and nobody would notice before the first trade."""
    with pytest.raises(ValueError, match="no time zone"):
        bars_of(frame(("09:30", SOUND), zone=None))
    assert bars_of(frame(("09:30", SOUND), zone=None).iloc[:0]) == []


@given(
    st.dictionaries(st.sampled_from(["KO", "BRK-B", "EURUSD=X", "^GSPC"]), st.integers(1, 10_000), min_size=1)
)
def test_a_position_is_read_as_it_was_written(minutes: dict[str, int]) -> None:
    """Whatever the vendor puts into a symbol, a restart must know where each one stood."""
    newest_ns = {symbol: minute * MINUTE_NS for symbol, minute in minutes.items()}
    position = position_of(newest_ns)
    assert newest_of(position, tuple(newest_ns)) == newest_ns
    assert newest_of(position, ("NEW",)) == {"NEW": max(newest_ns.values())}


@pytest.mark.parametrize("position", ["17", "alpaca 1 00000000 0", "yahoo", "yahoo 5 KO", "yahoo 5 KO=-1"])
def test_the_position_of_another_feed_is_refused(position: str) -> None:
    """State of another feed would begin the polling at a random minute."""
    with pytest.raises(AstraError) as caught:
        newest_of(position, ("KO",))
    assert caught.value.code == "D032"


def sessions_at(day: int) -> Sessions:
    """Return New York's sessions around a day."""
    return sessions_for("XNYS", day - 1, day + 20)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-01-05T14:32:05", "2026-01-05T14:32:10"),  # this minute's end is not settled yet
        ("2026-01-05T14:32:10", "2026-01-05T14:33:10"),
        ("2026-01-05T21:00:05", "2026-01-05T21:00:10"),  # the last minute
        ("2026-01-05T21:03:30", "2026-01-05T21:04:10"),  # a little longer, for late bars
        ("2026-01-05T21:05:11", "2026-01-06T14:31:10"),  # then not before the next session
        ("2026-01-09T23:00:00", "2026-01-12T14:31:10"),  # over a weekend
    ],
)
def test_it_asks_after_each_minute_of_a_session(now: str, due: str) -> None:
    """Polling through the night would spend the vendor's patience on nothing."""
    assert next_poll_ns(sessions_at, nanos(now), 10_000_000_000) == nanos(due)


def nanos(text: str) -> int:
    """Read an instant in UTC."""
    return int(dt.datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1_000_000_000


def test_around_the_clock_there_is_no_night() -> None:
    """Midnight is a minute like any other."""

    def always(day: int) -> Sessions:
        return sessions_for("24/7", day - 1, day + 20)

    assert next_poll_ns(always, nanos("2026-01-05T23:59:50"), 0) == nanos("2026-01-06T00:00:00")
    assert day_of(dt.date(2026, 1, 5)) == nanos("2026-01-05T00:00:00") // (1_440 * MINUTE_NS)


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line to type is worth more than a traceback of an import."""
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(AstraError) as caught:
        YahooBars(YahooOptions(), LiveContext(("KO",), "XNYS", Clock()))
    assert caught.value.code == "D040"
    assert 'pip install "astra-quant[yahoo]"' in caught.value.detail
