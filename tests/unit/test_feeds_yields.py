"""Par yield curves: files as the Treasury lays them out, what a par bond earns, and the bars made of both."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import DataError, Errors
from engine.events import CLOSE, VOLUME, BarRejected, BarSlice, Reject
from feeds.calendars import day_of
from feeds.recorded import RecordedBars
from feeds.yields import YieldOptions, yield_bars
from feeds.yields_file import read_curve, tenor_code
from feeds.yields_index import curve_index, full_price, growth, on_curve
from strategies.treasury_curve import par_duration_years, roll_pct
from tests.support.curves import curve_csv, made_yields, sessions_from

ROOT = Path(__file__).resolve().parents[2]


def bars_of(path: Path, text: str, symbols: tuple[str, ...], **options: Any) -> RecordedBars:
    path.write_text(text)
    return yield_bars(YieldOptions(path=path, **options), symbols, "XNYS")


def closes_of(feed: RecordedBars) -> np.ndarray:
    return np.array([item.bars[CLOSE] for item in feed.slices() if isinstance(item, BarSlice)])


@pytest.mark.parametrize(
    ("text", "code"),
    [("5 YR", "5Y"), ("30 Yr", "30Y"), ("r7", "7Y"), ("1.5 Month", "1.5M"), ("6 Mo", "6M"), ("20Y", "20Y")],
)
def test_tenors_however_they_are_written(text: str, code: str) -> None:
    """Real and nominal curves of several years write their columns differently."""
    found = tenor_code(text)
    assert found is not None
    assert found[0] == code


@pytest.mark.parametrize("text", ["Date", "5", "YR", "0 YR", "EXTRAPOLATION FACTOR", "5 YR x"])
def test_what_is_no_tenor(text: str) -> None:
    """A column that is taken for a tenor by mistake would be traded."""
    assert tenor_code(text) is None


def test_newest_first_and_oldest_first_are_the_same(tmp_path: Path) -> None:
    """The Treasury's newest row is the first: taking the last one for today is an old mistake."""
    dates, yields = sessions_from(dt.date(2024, 1, 2), 20), made_yields(20)
    newest, oldest, zipped = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv.gz"
    newest.write_text(curve_csv(dates, yields))
    oldest.write_text(curve_csv(dates, yields, is_newest_first=False))
    zipped.write_bytes(gzip.compress(newest.read_bytes()))
    for path in (newest, oldest, zipped):
        table = read_curve(path)
        assert table.day.tolist() == [day_of(date) for date in dates]
        np.testing.assert_array_equal(table.yield_pct, yields)


def test_the_example_is_what_it_says() -> None:
    """The curve of the example is made, not real: the same seed gives the same file."""
    made = curve_csv(sessions_from(dt.date(2024, 1, 2), 120), made_yields(120))
    assert (ROOT / "examples" / "treasury" / "curve.csv").read_text() == made


def test_price_and_growth_by_hand() -> None:
    """2 years at a coupon of 4% and a yield of 6%: 2/1.03 + 2/1.03^2 + 2/1.03^3 + 102/1.03^4 = 96.2829."""
    price = full_price(np.array([0.04]), np.array([0.06]), np.array([2.0]))
    assert 100.0 * price[0] == pytest.approx(2 / 1.03 + 2 / 1.03**2 + 2 / 1.03**3 + 102 / 1.03**4)
    assert full_price(np.array([0.04]), np.array([0.0]), np.array([2.0]))[0] == pytest.approx(1.08)
    # Half a year at an unchanged yield of 4% is half the coupon.
    assert growth(np.array([4.0]), np.array([4.0]), np.array([5.0]), np.array([182.5]))[0] == pytest.approx(
        1.02
    )


def derivatives(y: np.ndarray, years: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return duration and convexity of par bonds, as differences of the price that the bars are made of."""
    step = 0.01

    def price(change_pct: float) -> np.ndarray:
        return full_price(y / 100.0, (y + change_pct) / 100.0, years)

    up, down = price(step), price(-step)
    return -(up - down) / (2.0 * step / 100.0), (up - 2.0 * price(0.0) + down) / (step / 100.0) ** 2


@pytest.mark.parametrize("yield_pct", [-1.39, 0.0, 1e-9, 2.41, 9.0])
def test_duration_is_the_derivative_of_the_price(yield_pct: float) -> None:
    """What strategies call duration must be that of the bond that the bars are made of, below zero too."""
    years, y = np.array([5.0, 10.0, 30.0]), np.full(3, yield_pct)
    assert derivatives(y, years)[0] == pytest.approx(par_duration_years(y, years), rel=1e-4)


def test_growth_is_the_expansion_to_second_order() -> None:
    """1 + y dt - D dy + C dy^2 / 2: a sign the wrong way round would turn every P&L."""
    y, years = np.array([2.0, 2.5]), np.array([5.0, 30.0])
    change, days = 0.10, 1.0
    grown = growth(y, y + change, years, np.full(2, days))
    duration, convexity = par_duration_years(y, years), derivatives(y, years)[1]
    dy = change / 100.0
    expanded = 1.0 + y / 100.0 * days / 365.0 - duration * dy + 0.5 * convexity * dy**2
    np.testing.assert_allclose(grown, expanded, atol=2e-5)


def test_an_unchanged_curve_earns_carry_and_roll_down(tmp_path: Path) -> None:
    """What a strategy expects on an unchanged curve is what the index then does, to second order."""
    dates = sessions_from(dt.date(2024, 1, 2), 25)
    flat = np.tile([2.0, 2.2, 2.4, 2.7, 2.8], (25, 1))
    path = tmp_path / "curve.csv"
    path.write_text(curve_csv(dates, flat))
    table = read_curve(path)
    years, days = table.maturity_years, float(table.day[-1] - table.day[0])
    level = curve_index(table, 1.0).level
    expected = (
        flat[0] / 100.0 * days / 365.0
        - par_duration_years(flat[0], years) * roll_pct(flat[0], years, days) / 100.0
    )
    np.testing.assert_allclose(level[-1] / level[0] - 1.0, expected, rtol=0.02)
    financed = curve_index(table, 1.0, np.full(5, 2.0)).level
    np.testing.assert_allclose(level[-1] - financed[-1], 100.0 * 0.02 * days / 360.0, rtol=0.01)


def test_on_curve_goes_on_below_the_shortest() -> None:
    """A 5-year bond is 4.9 years old at its sale, and no curve of bonds has that point."""
    years, y = np.array([5.0, 7.0, 10.0]), np.array([2.0, np.nan, 3.0])
    assert on_curve(np.array([4.0, 6.0, 12.0]), years, y) == pytest.approx([1.8, 2.2, 3.0])
    assert on_curve(np.array([4.0]), np.array([5.0]), np.array([2.0])) == pytest.approx([2.0])


def test_any_bar_of_a_quote_gives_the_yield_back(tmp_path: Path) -> None:
    """Exactly, at every yield that is published, negative ones too, without the days before."""
    dates = sessions_from(dt.date(2024, 1, 2), 400)
    yields = np.round(np.linspace(-2.0, 1.99, 400), 2)[:, None]
    feed = bars_of(tmp_path / "c.csv", curve_csv(dates, yields, tenors=("5 YR",)), ("UST5Y.Q",))
    assert np.round(100.0 - closes_of(feed)[:, 0], 6).tolist() == yields[:, 0].tolist()


def test_a_bar_is_one_print_at_the_end_of_its_session(tmp_path: Path) -> None:
    """No open exists but the curve's own: an order decided on one curve fills at the next."""
    dates = sessions_from(dt.date(2024, 1, 2), 3)
    feed = bars_of(
        tmp_path / "c.csv",
        curve_csv(dates, made_yields(3)),
        ("UST10Y", "UST10Y.Q"),
        volume_musd={"UST10Y": 80},
    )
    slices = [item for item in feed.slices() if isinstance(item, BarSlice)]
    assert [item.minute for item in slices] == [390] * 3
    assert slices[0].bars[CLOSE, 0] == 100.0
    for item in slices:
        assert (item.bars[:4] == item.bars[CLOSE]).all()
        assert item.bars[VOLUME, 0] * item.bars[CLOSE, 0] == pytest.approx(80e6, rel=1e-5)
        assert item.bars[VOLUME, 1] == 0.0


def test_no_cell_is_lost(tmp_path: Path) -> None:
    """Blank is no bar; rubbish, a row without a date and a curve of no session are told; the rest goes on."""
    text = (
        'Date,"5 YR","10 YR"\n01/02/2024,1.00,2.00\n01/03/2024,N/A,2.01\n01/04/2024,oops,2.02\n'
        "01/05/2024,1.05\n2024-01-06,1.06,2.03\nsoon,1.06,2.03\n01/08/2024,1.07,2.04\n"
    )
    feed = bars_of(tmp_path / "c.csv", text, ("UST5Y", "UST10Y"))
    items = list(feed.slices())
    rejected = [item for item in items if isinstance(item, BarRejected)]
    assert [(item.symbol, item.reason, item.count) for item in rejected] == [
        ("UST5Y", Reject.OFF_SESSION, 1),  # a Saturday; such are counted ahead of the others of a block
        ("UST10Y", Reject.OFF_SESSION, 1),
        ("UST5Y", Reject.MALFORMED, 1),
        ("", Reject.MALFORMED, 4),  # two rows of two tenors
    ]
    slices = [item for item in items if isinstance(item, BarSlice)]
    assert np.isnan([item.bars[CLOSE, 0] for item in slices]).tolist() == [False, True, True, True, False]
    accepted = sum(item.accepted for item in slices)
    assert feed.received == feed.n_rows == accepted + sum(item.count for item in rejected)


def test_a_misprint_leaves_no_trace(tmp_path: Path) -> None:
    """25.0 for 2.50: refused with the figure on record, and the index goes on as if it had been blank."""
    dates = sessions_from(dt.date(2024, 1, 2), 5)
    header = 'Date,"10 YR"\n'
    rows = ["2.50", "2.51", "25.0", "2.49", "2.50"]
    symbols = ("UST10Y", "UST10Y.Q")

    def feed_of(name: str, misprint: str) -> RecordedBars:
        cells = [misprint if cell == "25.0" else cell for cell in rows]
        text = header + "".join(f"{date:%m/%d/%Y},{cell}\n" for date, cell in zip(dates, cells, strict=True))
        return bars_of(tmp_path / name, text, symbols)

    feed = feed_of("misprint.csv", "25.0")
    rejected = [item for item in feed.slices() if isinstance(item, BarRejected)]
    assert [(item.symbol, item.reason) for item in rejected] == [(name, Reject.MALFORMED) for name in symbols]
    assert rejected[1].bar is not None
    assert rejected[1].bar.close == 75.0
    np.testing.assert_array_equal(closes_of(feed), closes_of(feed_of("blank.csv", "")))


def test_a_jump_is_believed_once_it_is_confirmed(tmp_path: Path) -> None:
    """A crisis confirms itself the next day; until then nothing is traded on it."""
    dates = sessions_from(dt.date(2024, 1, 2), 4)
    text = 'Date,"10 YR"\n' + "".join(
        f"{date:%m/%d/%Y},{cell}\n" for date, cell in zip(dates, ["2.5", "4.0", "4.1", "4.1"], strict=True)
    )
    closes = closes_of(bars_of(tmp_path / "c.csv", text, ("UST10Y",)))[:, 0]
    assert np.isnan(closes).tolist() == [False, True, False, False]
    days = float(day_of(dates[2]) - day_of(dates[0]))
    grown = growth(np.array([2.5]), np.array([4.1]), np.array([10.0]), np.array([days]))
    assert closes[2] == pytest.approx(100.0 * grown[0])


def test_a_span_does_not_move_the_index(tmp_path: Path) -> None:
    """A run from the middle sees the very bars of the whole run."""
    dates = sessions_from(dt.date(2024, 1, 2), 10)
    whole = bars_of(tmp_path / "c.csv", curve_csv(dates, made_yields(10)), ("UST5Y",))
    stamps = [item.ts_close_ns for item in whole.slices() if isinstance(item, BarSlice)]
    part = yield_bars(
        YieldOptions(path=tmp_path / "c.csv"), ("UST5Y",), "XNYS", from_ns=stamps[4], to_ns=stamps[7]
    )
    assert closes_of(part).tolist() == closes_of(whole)[4:8].tolist()
    assert (part.first_ns, part.last_ns) == (stamps[4], stamps[7])


@pytest.mark.parametrize(
    ("text", "symbols", "options", "code"),
    [
        ('Date,"5 YR"\n', ("UST5Y",), {}, "D001"),
        ('Date,"5 YR"\nsoon,1\n', ("UST5Y",), {}, "D001"),
        ('Day,"5 YR"\n01/02/2024,1\n', ("UST5Y",), {}, "D003"),
        ('Date,"5 YR",5Y\n01/02/2024,1,1\n', ("UST5Y",), {}, "D003"),
        ('Date,"5 YR"\n01/02/2024,1\n', ("UST7Y",), {}, "D002"),
        ('Date,"1 Mo"\n01/02/2024,1\n', ("UST1M",), {}, "D002"),
        ('Date,"5 YR"\n01/02/2024,1\n', ("UST5Y",), {"repo_pct": {"UST7Y": 1.0}}, "D002"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, text: str, symbols: tuple[str, ...], options: dict[str, Any], code: str
) -> None:
    """Before the first bar, with the place of the fault: half a run is worse than none."""
    with pytest.raises(DataError) as caught:
        bars_of(tmp_path / "c.csv", text, symbols, **options)
    assert caught.value.code == code


def test_every_symbol_that_is_missing(tmp_path: Path) -> None:
    """One fault a run would cost the user one run a fault."""
    with pytest.raises(Errors) as caught:
        bars_of(tmp_path / "c.csv", 'Date,"5 YR"\n01/02/2024,1\n', ("UST7Y", "UST8Y"))
    assert [error.code for error in caught.value.errors] == ["D002", "D002"]


def test_minutes_are_no_place_for_curves(tmp_path: Path) -> None:
    """With minute bars every price would be stale for 389 minutes a day."""
    (tmp_path / "c.csv").write_text('Date,"5 YR"\n01/02/2024,1\n')
    with pytest.raises(DataError) as caught:
        yield_bars(YieldOptions(path=tmp_path / "c.csv"), ("UST5Y",), "XNYS", bar_min=1)
    assert caught.value.code == "D034"
