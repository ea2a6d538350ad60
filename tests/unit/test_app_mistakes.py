"""Common mistakes are found, with both numbers; and a sound desk hears nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.app.checks.entry_sizes import LegSize
from engine.app.checks.mistakes import (
    Measured,
    Mistake,
    empty_book,
    entry_below_costs,
    find_mistakes,
    less_than_a_lot,
    no_costs,
    not_cointegrated,
    opens_over_leveraged,
    over_leveraged,
    round_trip_bps,
    short_horizon,
    small_entry,
)
from engine.app.checks.tape_sample import measure
from engine.app.config.load import load, parse
from engine.app.config.tables import CostsTable
from engine.app.main import run
from engine.app.source import open_source
from strategies.allocators.mean_variance import MeanVarianceOptions
from strategies.allocators.min_variance import MinVarianceOptions
from strategies.basis import BasisOptions
from strategies.correlation import CorrelationOptions
from strategies.zscore_pairs import ZscorePairsOptions
from tests.support.daily_bars import run_daily, session_dates, write_daily

ROOT = Path(__file__).resolve().parents[2]
FREE = CostsTable(half_spread_bps=0.0, fee_bps=0.0, impact_bps=0.0)
DESK = """
[feed]
kind = "simulated"
sessions = 3
beta_daily = 0.0
half_life_min = 15.0
[costs]
half_spread_bps = {half_spread_bps}
[[strategy]]
kind = "zscore_pairs"
pairs = [{pairs}]
entry_z = {entry_z}
hedge_window_min = 390
window_min = 120
[allocator]
gross_max_frac = {gross_max_frac}
"""


def pair(
    p_value: float = math.nan, entry_bps: float = math.nan, ratio: float = 1.0, name: str = "A/B"
) -> Measured:
    return Measured("s", name, entry_bps, ratio, p_value, "500 days")


def test_least_variance_of_nothing() -> None:
    """Under caps alone the optimum is the empty book, which a desk may take for a fault."""
    [found] = empty_book(MinVarianceOptions())
    assert "w = 0" in found.text
    for options in (
        MinVarianceOptions(fully_invested=True),
        MinVarianceOptions(return_min_annual_frac=0.1),
        MeanVarianceOptions(),
        None,
    ):
        assert not [*empty_book(options)]


def test_trading_for_nothing() -> None:
    """The first mistake of all: 20 to 50 trades a year at 10 bp are 2 to 5%."""
    [found] = no_costs(FREE)
    assert found.name == "costs"
    assert list(no_costs(CostsTable())) == []
    assert list(no_costs(CostsTable(half_spread_bps=0.0, fee_bps=0.0))) == []  # size still costs


def test_leverage_and_shares() -> None:
    """2x is the most that is advised; shares that add up to more than the book cannot all be used."""
    assert list(over_leveraged(2.0, [0.8, 0.8, 0.4])) == []
    assert [one.name for one in over_leveraged(4.0, [])] == ["leverage"]
    assert [one.name for one in over_leveraged(None, [1.5, 1.0])] == ["leverage"]
    assert list(over_leveraged(None, [1.0, 1.0])) == []
    assert [one.name for one in over_leveraged(2.5, [2.0, 1.0])] == ["leverage", "capital"]
    [found] = over_leveraged(1.0, [0.4, 0.7])
    assert found == Mistake(
        "capital", "capital_frac adds up to 1.1, gross_max_frac is 1: not every strategy can use its share"
    )


def test_small_dislocations() -> None:
    """Under 1.5 standard deviations, or 0.3% of a basis, costs usually win."""
    pairs = ("A/B",)
    [z] = small_entry("s", ZscorePairsOptions(pairs=pairs, entry_z=1.4))
    assert z.text == "s: entry_z is 1.4, and under 1.5 a dislocation rarely pays"
    [basis] = small_entry("s", BasisOptions(pairs=pairs, quote_ratio=10.0, rate_frac=0.0, entry_frac=0.002))
    assert "entry_frac is 0.002, and under 0.003" in basis.text
    assert list(small_entry("s", ZscorePairsOptions(pairs=pairs, entry_z=1.5))) == []
    assert list(small_entry("s", BasisOptions(pairs=pairs, quote_ratio=10.0, rate_frac=0.0))) == []
    assert list(small_entry("s", CorrelationOptions(pairs=pairs))) == []


def test_pairs_that_are_only_correlated() -> None:
    """The p-value is printed; a pair that could not be tested is no evidence of anything."""
    assert list(not_cointegrated("s", [pair(0.05), pair(math.nan)])) == []
    [found] = not_cointegrated("s", [pair(0.049), pair(0.42, name="C/D")])
    assert found.text == "s: no evidence (Engle-Granger) for C/D p 0.42 on 500 days"
    [many] = not_cointegrated("s", [pair(0.9)] * 5)
    assert many.text.endswith("; and 2 more")


def test_a_round_trip_is_two_trades_of_two_legs() -> None:
    """At 1.2 bp and equal legs 4 x 1.2 = 4.8 bp; with a leg of 0.5 it is 2 x 1.5 x 1.2 = 3.6."""
    assert round_trip_bps(1.0, CostsTable()) == pytest.approx(4.8)
    assert round_trip_bps(-0.5, CostsTable()) == pytest.approx(3.6)


def test_entries_that_cannot_pay() -> None:
    """An entry at 4.7 bp against 4.8 is lost before it begins; both numbers are shown."""
    assert list(entry_below_costs("s", [pair(entry_bps=4.9), pair()], CostsTable())) == []
    [found] = entry_below_costs("s", [pair(entry_bps=4.7)], CostsTable())
    assert found.text == "s: A/B enters at 4.7 bp, a round trip costs 4.8"


def test_an_opening_book_above_its_cap() -> None:
    """An optimiser sells what is above its cap at once; a person should know before it does."""
    assert list(opens_over_leveraged(2.0, 2.0)) == []
    assert list(opens_over_leveraged(2.12, 2.5)) == [*opens_over_leveraged(2.12, None)]
    [found] = opens_over_leveraged(2.12, 2.0)
    assert found.text.startswith("the book opens at 2.12x equity, gross_max_frac is 2:")
    [shown] = opens_over_leveraged(1.2, 1.0)
    assert shown.name == "opening book"


def test_a_horizon_shorter_than_a_bar() -> None:
    """The default of an hour is 15% of a daily bar: both numbers, and what to set."""
    assert list(short_horizon(MeanVarianceOptions(), 60)) == []
    assert list(short_horizon(None, 390)) == []
    [found] = short_horizon(MeanVarianceOptions(), 390)
    assert "horizon_min is 60, a bar has 390" in found.text
    assert "15% of a bar" in found.text
    assert "3900 for 10 bars" in found.text


def test_daily_bars_under_the_default_allocator() -> None:
    """Who takes a strategy of days and leaves [allocator] out must hear why nothing will be traded."""
    text = (ROOT / "config" / "correlation.toml").read_text()
    solving = parse(text.replace('kind = "direct"', 'kind = "mean_variance"'), ROOT / "config")
    assert {"horizon", "no forecast"} <= {one.name for one in find_mistakes(solving, [])}
    names = {one.name for one in find_mistakes(parse(text, ROOT / "config"), [])}
    assert names.isdisjoint({"horizon", "no forecast"})


@pytest.mark.parametrize(("half_spread_bps", "is_minded"), [(2.0, False), (800.0, True)])
def test_a_deal_that_pays_less_than_its_way_in_and_out(half_spread_bps: float, is_minded: bool) -> None:
    """A deal at 98 for 100 has 2% to give: less than a round trip at 8% a trade."""
    override = (f"costs.half_spread_bps={half_spread_bps}",)
    config = load(ROOT / "config" / "merger.toml", override)
    measured, _ = measure(config, open_source(config), None)
    assert all(0.0 < one.entry_bps < 2_000.0 for one in measured)
    found = [one for one in find_mistakes(config, measured) if one.name == "entry"]
    assert bool(found) is is_minded
    assert not found or "a round trip costs 1600.4" in found[0].text


def test_a_position_smaller_than_its_lot() -> None:
    """Half a contract is never traded, and neither is the fund beside it: the strategy would stand still."""
    fits = LegSize("SPY", 60_000.0, 600.0, "unit_usd", 120_000.0)
    small = LegSize("ESH6", 60_000.0, 300_500.0, "unit_usd", 120_000.0)
    assert list(less_than_a_lot("s", [replace(pair(), legs=(fits,)), pair()])) == []
    [found] = less_than_a_lot("s", [replace(pair(), legs=(fits, small))])
    assert found == Mistake(
        "lot",
        "s: A/B enters with 60,000 USD of ESH6 at most, one lot is 300,500: "
        "neither leg trades before unit_usd = 610,000, or a smaller lot",
    )
    others = [replace(pair(name=name), legs=(small,)) for name in ("C/D", "E/F")]
    [many] = less_than_a_lot("s", [replace(pair(), legs=(replace(small, size_usd=50_000.0),)), *others])
    assert "A/B enters with 50,000 USD" in many.text
    assert many.text.endswith("; and 2 more")


SPY_USD, CONTRACT_USD = 600.0, 50.0 * 6_060.0
LOTS = """
[instruments.SPY]
lot = 10
[instruments.ESH6]
kind = "future"
multiplier = 50
lot = 1
expiry = 2026-03-20
[instruments.ESM6]
kind = "future"
multiplier = 50
lot = 1
expiry = 2026-06-18
[book]
equity_usd = 1_000_000
[[strategy]]
kind = "basis"
pairs = ["SPY/ESH6", "SPY/ESM6"]
quote_ratio = 10
rate_frac = 0.0
{share}
[allocator]
{allocator}
"""


@pytest.mark.parametrize(
    ("allocator", "share", "size_usd", "key", "value"),
    [
        ('kind = "direct"\nunit_usd = 201_000', "", 101_000.0, "unit_usd", 201_000.0),
        ('kind = "direct"', "capital_frac = 0.402", 202_000.0, "capital_frac", 0.402),
        ("name_max_frac = 0.1", "", 100_000.0, "name_max_frac", 0.1),
        ("gross_max_frac = 0.201", "", 101_000.0, "gross_max_frac", 0.201),
        ("", "capital_frac = 0.201", 101_000.0, "capital_frac", 0.201),
    ],
)
def test_the_size_of_an_entry(
    allocator: str, share: str, size_usd: float, key: str, value: float, tmp_path: Path
) -> None:
    """A contract of 303,000 USD is 1.01 for 1 of the fund, and both contracts of the fund share one part."""
    n = 40
    closes = {"SPY": [SPY_USD] * n, "ESH6": [6_060.0] * n, "ESM6": [6_060.0] * n}
    text = LOTS.format(allocator=allocator, share=share)
    write_daily(tmp_path, text, session_dates("2026-01-05", n), closes)
    config = parse((tmp_path / "astra.toml").read_text(), tmp_path)
    (march, june), _ = measure(config, open_source(config), None)
    fund, future = march.legs
    assert (fund.symbol, fund.lot_usd) == ("SPY", 10 * SPY_USD)
    assert (future.symbol, future.lot_usd, future.key) == ("ESH6", CONTRACT_USD, key)
    assert (future.size_usd, future.value) == pytest.approx((size_usd, value), rel=1e-12)
    assert june.legs[1] == replace(future, symbol="ESM6")
    [found] = [one for one in find_mistakes(config, [march, june]) if one.name == "lot"]
    assert found.text.endswith("; and 1 more")


def test_who_has_no_lots_hears_nothing_of_them() -> None:
    """Shares in fractions have a size whatever the price."""
    config = parse(DESK.format(half_spread_bps=1.0, pairs='"A/B"', entry_z=2.0, gross_max_frac=2.0), Path())
    [found], _ = measure(config, open_source(config), None)
    assert found.legs == ()


def test_the_width_is_what_z_is_made_with() -> None:
    """Spreads of 0.2%: two sigmas are 40 bp, and windows of two hours see a little less."""
    text = DESK.format(half_spread_bps=1.0, pairs='"A/B", "A/C"', entry_z=2.0, gross_max_frac=2.0)
    config = parse(text.replace("sessions = 3", 'sessions = 3\npairs = ["A/B", "C/D"]'), Path())
    (own, stranger), _ = measure(config, open_source(config), None)
    assert (own.strategy, own.spread) == ("zscore_pairs", "A/B")
    assert 25.0 < own.entry_bps < 50.0
    assert 0.5 < own.usd_ratio < 1.6
    assert own.p_value < 0.01
    assert stranger.p_value > 0.05
    assert own.tested_on == "234 bars"


def test_raw_prices_have_a_width_in_dollars(tmp_path: Path) -> None:
    """A spread of $1 or -$1 has a deviation of about $1, of a price near $106: 190 bp at two sigmas."""
    n = 60
    x = [50.0 + (k % 7) for k in range(n)]
    y = [2.0 * price + (1.0 if k % 2 else -1.0) for k, price in enumerate(x)]
    strategy = """
[[strategy]]
kind = "zscore_pairs"
pairs = ["Y/X"]
prices = "raw"
hedge_ratio = {"Y/X" = 2.0}
window_min = 7800
admission = "off"
[allocator]
kind = "none"
"""
    run_daily(tmp_path, strategy, session_dates("2026-01-05", n), {"Y": y, "X": x})
    config = parse((tmp_path / "astra.toml").read_text(), tmp_path)
    [found], _ = measure(config, open_source(config), None)
    assert found.entry_bps == pytest.approx(1e4 * 2.0 * math.sqrt(20.0 / 19.0) / 106.0, rel=0.03)


@pytest.mark.parametrize("is_sound", [True, False])
def test_check_warns_and_passes(is_sound: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings are lines, also in JSON, and never an exit status: somebody may have a reason."""
    values = (1.0, 2.0, 2.0) if is_sound else (20.0, 1.0, 3.0)
    text = DESK.format(half_spread_bps=values[0], pairs='"A/B"', entry_z=values[1], gross_max_frac=values[2])
    path = tmp_path / "astra.toml"
    path.write_text(text)
    assert run(["check", str(path)]) == 0
    minded = [line.split(maxsplit=2)[0] for line in capsys.readouterr().out.splitlines() if " mind " in line]
    assert run(["check", str(path), "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    checks = json.loads(line)["checks"]
    names = [one["name"] for one in checks if one["state"] == "mind"]
    assert names == ([] if is_sound else ["leverage", "small entry", "entry"])
    assert len(minded) == len(names)


def test_the_examples_say_what_they_are() -> None:
    """A configuration that ships is read as advice: those that trade spreads must pass their own check."""
    for name in ("pairs", "zscore", "basis", "correlation"):
        config = parse((ROOT / "config" / f"{name}.toml").read_text(), ROOT / "config")
        assert list(over_leveraged(getattr(config.allocator.options, "gross_max_frac", None), [])) == []
        for one in config.strategy:
            assert list(small_entry(one.name, one.options)) == []
