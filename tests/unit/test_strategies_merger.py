"""Announced deals: the figures, when they are entered and left, and that nothing is known in advance."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.events import BarSlice, Side, Signal, SpreadNoted
from engine.ports import Instrument, StrategyContext
from strategies.deals import day_number
from strategies.merger import Merger, MergerOptions

NAN = float("nan")
GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "textbook_deals.json").read_text())
SYMBOLS = ("ATVI", "BETA", "GAMA")
COLUMNS = ("target", "acquirer", "announced", "expected_close", "cash_usd", "stock_ratio", "break_price_usd")
COLUMNS += ("downside_frac", "probability", "status")
CASH = {"target": "ATVI", "announced": "2022-01-18", "expected_close": "2023-10-13", "cash_usd": 95}
CASH |= {"break_price_usd": 60, "probability": 0.9}
STOCK = {"target": "BETA", "acquirer": "GAMA", "announced": "2022-01-18", "expected_close": "2022-07-19"}
STOCK |= {"stock_ratio": 0.5, "cash_usd": 2, "break_price_usd": 30, "probability": 0.9}


def strategy_of(
    folder: Path,
    *rows: dict[str, Any],
    instruments: tuple[Instrument, ...] = (),
    symbols: tuple[str, ...] = SYMBOLS,
    **options: Any,
) -> Merger:
    lines = [",".join(str(row.get(column, "")) for column in COLUMNS) for row in rows]
    path = folder / "deals.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    context = StrategyContext(
        "deals", symbols, horizon_min=3_900.0, session_min=390, bar_min=1_440, instruments=instruments
    )
    return Merger(MergerOptions.model_validate({"deals": path, **options}), context)


def day(date: str, atvi: float = NAN, beta: float = NAN, gama: float = NAN) -> BarSlice:
    number = day_number(dt.date.fromisoformat(date))
    close = np.array([atvi, beta, gama])
    return BarSlice(number * 86_400 * 10**9, number, 390, np.stack([close] * 4 + [close]))


def said(strategy: Merger, slice_: BarSlice) -> list[tuple[str, str]]:
    """Return side and reason of every transition."""
    events = [e for e in strategy.on_slice(slice_) if not (isinstance(e, SpreadNoted) and "deal_" in e.note)]
    signals, notes = events[::2], events[1::2]
    assert all(isinstance(event, Signal) for event in signals)
    return [(s.side.value, n.note) for s, n in zip(signals, notes, strict=True)]  # type: ignore[union-attr]


def figures(strategy: Merger, slice_: BarSlice) -> dict[str, float]:
    notes = [event for event in strategy.on_slice(slice_) if isinstance(event, SpreadNoted)]
    return notes[0].values


def test_the_figures_of_the_textbook_deal(tmp_path: Path) -> None:
    """95 for 82: 15.9% gross, 9.16% a year simple and 8.87% compound over 632 days, break-even at 62.9%."""
    names = ("merger.spread", "merger.annualised", "merger.break")
    spread, annualised, broken = (GOLDENS[name]["correct"] for name in names)
    found = figures(strategy_of(tmp_path, CASH), day("2022-01-19", 82.0))
    assert found["spread_usd"] == spread["usd"]
    assert found["spread_frac"] == pytest.approx(spread["gross"], abs=1e-6)
    assert found["spread_usd"] / found["deal_usd"] == pytest.approx(spread["discount"], abs=1e-6)
    assert found["days_to_close"] == annualised["days_2022-01-19_2023-10-13"]
    assert found["annualised_frac"] == pytest.approx(annualised["simple_365"], abs=1e-5)
    assert found["compound_frac"] == pytest.approx(annualised["compound_365"], abs=1e-4)
    assert found["breakeven_probability"] == pytest.approx(broken["breakeven_p_60"], abs=1e-4)
    assert found["break_usd"] / 82.0 - 1.0 == pytest.approx(broken["loss"][0], abs=1e-4)
    at_65 = figures(strategy_of(tmp_path, CASH | {"break_price_usd": 65}), day("2022-01-19", 82.0))
    assert at_65["breakeven_probability"] == pytest.approx(broken["breakeven_p_65"], abs=1e-4)
    assert at_65["break_usd"] / 82.0 - 1.0 == pytest.approx(broken["loss"][1], abs=1e-4)


def test_a_downside_is_a_fraction_of_the_price(tmp_path: Path) -> None:
    """16% up against 27% down needs 27/43 = 62.8%, whatever the price is."""
    deal = {**CASH, "cash_usd": 116, "break_price_usd": "", "downside_frac": 0.27}
    found = figures(strategy_of(tmp_path, deal), day("2022-01-19", 100.0))
    golden = GOLDENS["merger.break"]["correct"]["with_27pct_16pct"]
    assert found["breakeven_probability"] == pytest.approx(golden, abs=1e-4)
    assert found["break_usd"] == pytest.approx(73.0)


def test_shares_stand_against_shares(tmp_path: Path) -> None:
    """Half a share at 80 and 2 in cash for one at 38: 42, and 40/38 USD short for 1 USD long."""
    strategy = strategy_of(tmp_path, STOCK, entry_edge=0.0)
    assert said(strategy, day("2022-01-19", NAN, 38.0, 80.0)) == [("LONG", "spread_open")]
    assert (strategy.spreads[0].y, strategy.spreads[0].x) == ("BETA", "GAMA")
    outlook = strategy.outlook()
    assert (outlook.alpha[0], outlook.innovation[0], outlook.beta[0]) == (42.0, 4.0, 0.5)
    assert outlook.usd_ratio[0] == pytest.approx(40.0 / 38.0)
    # 14 calendar days of 181; 0.9 times 42 and 0.1 times 30 on 38, per USD of gross.
    expected = (0.9 * 42.0 + 0.1 * 30.0) / 38.0 - 1.0
    assert outlook.expected_return_frac[0] == pytest.approx(expected / (1.0 + 40.0 / 38.0) * 14.0 / 181.0)
    strategy.on_slice(day("2022-01-20", NAN, 40.0, 84.0))
    assert strategy.outlook().frozen_usd_ratio[0] == pytest.approx(0.5 * 84.0 / 40.0)


def test_a_deal_in_cash_is_an_outright(tmp_path: Path) -> None:
    """The acquirer's price is nothing to it."""
    strategy = strategy_of(tmp_path, CASH)
    assert strategy.spreads[0].x is None
    strategy.on_slice(day("2022-01-19", 82.0))
    assert (strategy.outlook().usd_ratio[0], strategy.outlook().frozen_usd_ratio[0]) == (0.0, 0.0)


def test_nothing_is_known_on_the_day_itself(tmp_path: Path) -> None:
    """A date says no hour: the bar of that day may have closed before the news."""
    strategy = strategy_of(tmp_path, CASH)
    assert strategy.on_slice(day("2022-01-18", 82.0)) == ()
    outlook = strategy.outlook()
    assert np.isnan(outlook.alpha[0])
    assert np.isnan(outlook.z[0])
    assert outlook.expected_return_frac[0] == 0.0
    note, signal, why = strategy.on_slice(day("2022-01-19", 82.0))
    assert isinstance(note, SpreadNoted)
    assert isinstance(signal, Signal)
    assert isinstance(why, SpreadNoted)
    assert (note.note, signal.side, why.note) == ("deal_open", Side.LONG, "spread_open")
    assert signal.z == pytest.approx(1e4 * 13.0 / 82.0)


@pytest.mark.parametrize(
    ("changes", "price", "options"),
    [
        ({}, 82.0, {"entry_annualised_frac": 0.10}),
        ({"probability": 0.65}, 82.0, {}),  # 62.9% break even: an edge of 2.1 points
        ({}, 96.0, {}),
        ({}, 59.0, {}),  # below the break price: the table is wrong, or the deal is dead
        ({"expected_close": "2022-01-23"}, 94.0, {}),
    ],
)
def test_what_is_not_entered(tmp_path: Path, changes: Any, price: float, options: Any) -> None:
    """Too slow, too risky, beyond the deal, at the break, or too late."""
    strategy = strategy_of(tmp_path, CASH | changes, **options)
    assert said(strategy, day("2022-01-19", price)) == []


def test_a_deal_is_held_until_it_has_converged(tmp_path: Path) -> None:
    """The break-even probability rises with the price, and is no reason to leave unless one says so."""
    strategy = strategy_of(tmp_path, CASH | {"probability": 0.7})
    prices = [("2022-01-19", 82.0), ("2022-01-20", NAN), ("2022-01-21", 92.0), ("2022-01-24", 94.9)]
    assert [said(strategy, day(date, price)) for date, price in prices] == [
        [("LONG", "spread_open")],
        [],
        [],
        [("FLAT", "converged")],
    ]
    strict = strategy_of(tmp_path, CASH | {"probability": 0.7}, exit_edge=-0.1)
    said(strict, day("2022-01-19", 82.0))
    assert said(strict, day("2022-01-21", 92.0)) == [("FLAT", "no_edge")]


def test_a_position_is_left_before_the_target_stops_trading(tmp_path: Path) -> None:
    """After the closing there is no bar to sell at."""
    strategy = strategy_of(tmp_path, CASH)
    said(strategy, day("2022-01-19", 82.0))
    assert said(strategy, day("2023-10-07", 93.0)) == []
    assert said(strategy, day("2023-10-08", 93.0)) == [("FLAT", "closing")]
    assert said(strategy, day("2023-10-09", 82.0)) == []


def test_a_deal_that_moves_on_is_judged_by_its_newest_row(tmp_path: Path) -> None:
    """A later close keeps the position; a break ends it, from the next session on and for good."""
    later = CASH | {"announced": "2022-02-01", "expected_close": "2024-01-31"}
    broken = {"target": "ATVI", "announced": "2022-03-01", "status": "broken"}
    strategy = strategy_of(tmp_path, CASH | {"expected_close": "2022-02-10"}, later, broken)
    assert said(strategy, day("2022-01-19", 82.0)) == [("LONG", "spread_open")]
    assert said(strategy, day("2022-02-08", 82.0)) == []
    assert said(strategy, day("2022-03-01", 65.0)) == []
    events = strategy.on_slice(day("2022-03-02", 65.0))
    assert [e.note for e in events if isinstance(e, SpreadNoted)] == ["deal_broken", "over"]
    assert said(strategy, day("2022-03-03", 65.0)) == []


def test_at_the_break_price_it_is_given_up(tmp_path: Path) -> None:
    """The market has it for broken; it is not entered again before the desk has judged anew."""
    anew = CASH | {"announced": "2022-01-24", "break_price_usd": 50}
    strategy = strategy_of(tmp_path, CASH, anew)
    said(strategy, day("2022-01-19", 82.0))
    assert said(strategy, day("2022-01-20", 60.0)) == [("FLAT", "at_break_price")]
    assert said(strategy, day("2022-01-21", 70.0)) == []
    assert said(strategy, day("2022-01-25", 70.0)) == [("LONG", "spread_open")]


def test_a_target_outside_the_universe_is_refused(tmp_path: Path) -> None:
    """It would have no bars."""
    with pytest.raises(ConfigError, match="GAMA") as caught:
        strategy_of(tmp_path, STOCK, symbols=("ATVI", "BETA"))
    assert caught.value.code == "C210"


def test_a_target_in_another_currency_is_refused(tmp_path: Path) -> None:
    """The table is in USD, its quotes would not be."""
    with pytest.raises(ConfigError, match="GBP") as caught:
        strategy_of(tmp_path, CASH, instruments=(Instrument("ATVI", currency="GBP"),))
    assert caught.value.code == "C233"
