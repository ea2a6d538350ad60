"""Convertible bonds against their stock: sides, hedges, the realised volatility, and what is refused."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import ConfigError
from engine.events import BarSlice, FloatArray, Signal, SpreadNoted
from engine.ports import DailyHistory, Instrument, StrategyContext
from strategies.convertible import Convertible, ConvertibleOptions, realised_vol_frac
from strategies.convertible_bond import BondModel, ConvertibleTerms
from strategies.deals import day_number

pytest.importorskip("QuantLib", reason="the extra convertible is not installed")

NAN = float("nan")
DAY = day_number(dt.date(2021, 6, 1))
TERMS: dict[str, Any] = {
    "symbol": "TSLA24",
    "stock": "TSLA",
    "conversion_ratio": 1.5,
    "maturity": "2024-06-01",
    "coupon_frac": 0.01,
    "credit_spread_frac": 0.05,
    "vol_frac": 0.45,
}
OPTIONS: dict[str, Any] = {"rate_frac": 0.01, "delta_band": 0.04}


def context_of(
    symbols: tuple[str, ...] = ("TSLA", "TSLA24"),
    instruments: tuple[Instrument, ...] = (),
    history: DailyHistory | None = None,
) -> StrategyContext:
    return StrategyContext(
        "vol", symbols, 3_900.0, 390, bar_min=1_440, instruments=instruments, history=history
    )


def strategy_of(context: StrategyContext | None = None, terms: Any = TERMS, **changes: Any) -> Convertible:
    options = ConvertibleOptions.model_validate({"bonds": [terms], **OPTIONS, **changes})
    return Convertible(options, context or context_of())


def worth(number: int, stock: float, vol_frac: float) -> float:
    """Return the clean price that implies a volatility."""
    return BondModel(ConvertibleTerms.model_validate(TERMS), 0.01, 51, DAY + number).price(stock, vol_frac)


def day(number: int, stock: float, bond: float) -> BarSlice:
    close = np.array([stock, bond])
    return BarSlice((DAY + number) * 86_400 * 10**9, DAY + number, 390, np.stack([close] * 4 + [close]))


def said(strategy: Convertible, slice_: BarSlice) -> list[tuple[str, str]]:
    """Return side and reason of everything said."""
    events = strategy.on_slice(slice_)
    signals = [event for event in events if isinstance(event, Signal)]
    notes = [event for event in events if isinstance(event, SpreadNoted)]
    return [(s.side.value, n.note) for s, n in zip(signals, notes, strict=True)]


def test_a_cheap_bond_is_bought_and_hedged_by_delta() -> None:
    """At 35% where 45% is fair: ten points; USD of stock for 1 USD of bond are delta S / P."""
    strategy = strategy_of()
    clean = worth(0, 600.0, 0.35)
    signal, note = strategy.on_slice(day(0, 600.0, clean))
    assert isinstance(signal, Signal)
    assert isinstance(note, SpreadNoted)
    assert (signal.spread, signal.side.value, note.note) == ("TSLA24/TSLA", "LONG", "cheap")
    assert signal.z == pytest.approx(10.0, abs=0.02)
    outlook = strategy.outlook()
    up, down = worth(0, 606.0, 0.35), worth(0, 594.0, 0.35)
    delta = (up - down) / 12.0
    assert outlook.beta[0] == pytest.approx(delta, rel=1e-3)
    assert note.values["delta_frac"] == pytest.approx(delta / 0.15, rel=1e-3)
    assert note.values["parity"] == pytest.approx(90.0)
    ratio = delta * 600.0 / clean
    assert outlook.usd_ratio[0] == outlook.frozen_usd_ratio[0] == pytest.approx(ratio, rel=1e-3)
    fair = worth(0, 600.0, 0.45)
    assert (outlook.alpha[0], outlook.innovation[0]) == pytest.approx((fair, fair - clean))
    # Ten sessions are 14 calendar days of 1,096; gross is 1 + b for 1 USD of the bond.
    cheap = (fair / clean - 1.0) * 14.0 / 1_096.0
    # The bond has to earn 1% and pays 1 of it as coupon; what the short stock earns by 1%, it gives back.
    drift = (0.01 - 1.0 / clean - ratio * 0.01) * 14.0 / 365.0
    assert outlook.expected_return_frac[0] == pytest.approx((cheap + drift) / (1.0 + ratio), rel=1e-3)


def test_a_fair_bond_drifts_by_its_financing() -> None:
    """What the model's own prices gain in 28 days, hedged: over all ends of the stock, weighed by their odds.

    Without the drift an allocator would charge a fair position its financing, and not buy a cheap one.
    """
    terms = {
        **TERMS,
        "credit_spread_frac": 0.0,
        "coupon_frac": 0.02,
        "dividend_frac": 0.01,
        "borrow_frac": 0.03,
    }
    options = {"rate_frac": 0.05, "steps": 201}
    today, later = (BondModel(ConvertibleTerms.model_validate(terms), 0.05, 201, DAY + n) for n in (0, 28))
    clean = today.price(600.0, 0.45)
    strategy = strategy_of(StrategyContext("vol", ("TSLA", "TSLA24"), 20 * 390.0, 390), terms, **options)
    strategy.on_slice(day(0, 600.0, clean))
    outlook = strategy.outlook()
    years, delta, ratio = 28.0 / 365.0, outlook.beta[0], outlook.usd_ratio[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(25)
    ends = 600.0 * np.exp((0.01 - 0.45**2 / 2.0) * years + 0.45 * np.sqrt(years) * nodes)
    gains = np.array([later.price(end, 0.45) - clean - delta * (end - 600.0) for end in ends.tolist()])
    gained = gains @ weights / weights.sum() / clean
    assert outlook.expected_return_frac[0] * (1.0 + ratio) == pytest.approx(gained, rel=0.01)
    # By hand: a bond that earns 5% less its coupon of 2 on 114.66, and 0.456 of stock that grows at 1%.
    assert gained == pytest.approx((0.05 - 2.0 / 114.66 - 0.456 * 0.01) * years, rel=0.01)


def test_sides_follow_the_cheapness() -> None:
    """In above five points, out at one; the stock may move without either."""
    strategy = strategy_of(delta_band=0.9)
    tape = [(0, 600.0, 0.41), (1, 600.0, 0.39), (2, 640.0, 0.43), (3, 640.0, 0.445), (4, 640.0, 0.445)]
    assert [said(strategy, day(n, s, worth(n, s, vol))) for n, s, vol in tape] == [
        [],
        [("LONG", "cheap")],
        [],
        [("FLAT", "repriced")],
        [],
    ]


def test_the_side_is_said_again_when_delta_has_left_its_band() -> None:
    """Between two hedges the shares stay: what is frozen is their number, and not the ratio of USD."""
    strategy = strategy_of()
    said(strategy, day(0, 600.0, worth(0, 600.0, 0.35)))
    hedged = strategy.outlook().beta[0]
    clean = worth(1, 610.0, 0.35)
    assert said(strategy, day(1, 610.0, clean)) == []
    assert strategy.outlook().frozen_usd_ratio[0] == pytest.approx(hedged * 610.0 / clean)
    assert strategy.outlook().beta[0] > hedged
    clean = worth(2, 700.0, 0.35)
    assert said(strategy, day(2, 700.0, clean)) == [("LONG", "hedged")]
    assert strategy.outlook().beta[0] > hedged + 0.04 * 0.15
    assert strategy.outlook().frozen_usd_ratio[0] == strategy.outlook().usd_ratio[0]


#: Callable now at 101, with a coupon that the company would rather not pay: worth 101.2 at any volatility.
CALLED: dict[str, Any] = {
    **TERMS,
    "coupon_frac": 0.06,
    "credit_spread_frac": 0.02,
    "vol_frac": 0.30,
    "calls": [{"date": "2021-01-01", "price": 101.0}],
}


@pytest.mark.parametrize("below", [0.014, 0.02, 0.03])
def test_volatility_that_a_price_does_not_show_is_not_bought(below: float) -> None:
    """Ten points cheap for 1.4 bp of the price: less than a tenth of what a round trip costs."""
    model = BondModel(ConvertibleTerms.model_validate(CALLED), 0.01, 51, DAY)
    fair = model.price(500.0, 0.30)
    assert model.price(500.0, 0.10) == pytest.approx(fair, abs=0.1)
    assert 0.30 - model.implied_vol(fair - below, 500.0) > 0.05
    strategy = strategy_of(None, CALLED)
    assert said(strategy, day(0, 500.0, fair - below)) == []
    # A point counts in full where it is worth 0.1% of the price.
    assert strategy.outlook().z[0] == pytest.approx(100.0 * below / (fair - below) / 0.1, abs=1e-6)


def test_the_least_vega_that_counts_is_a_choice() -> None:
    """Five points of 0.1% are 0.5% of the price; of a vega of 0.5% a point the same bond counts as less."""
    fair = worth(0, 600.0, 0.45)
    clean = worth(0, 600.0, 0.39)  # six points, of 0.5% each
    gap = fair / clean - 1.0
    assert 0.06 * 0.4 < gap < 0.06 * 0.6
    assert said(strategy_of(), day(0, 600.0, clean)) == [("LONG", "cheap")]
    assert said(strategy_of(vega_min_frac=gap / 0.0501), day(0, 600.0, clean)) == [("LONG", "cheap")]
    strategy = strategy_of(vega_min_frac=gap / 0.0499)
    assert said(strategy, day(0, 600.0, clean)) == []
    assert strategy.outlook().z[0] == pytest.approx(4.99)


def test_what_has_lost_its_volatility_is_left() -> None:
    """Bought with an option in it; deep in the money the price shows none any more, cheap as it may look."""
    strategy = strategy_of(delta_band=0.9)
    assert said(strategy, day(0, 600.0, worth(0, 600.0, 0.35))) == [("LONG", "cheap")]
    deep = worth(1, 3_000.0, 0.45) * (1.0 - 0.0005)  # 5 bp below fair: half a point at 0.1%
    implied = BondModel(ConvertibleTerms.model_validate(TERMS), 0.01, 51, DAY + 1).implied_vol(deep, 3_000.0)
    assert 0.45 - implied > 0.05
    assert said(strategy, day(1, 3_000.0, deep)) == [("FLAT", "repriced")]


@pytest.mark.parametrize("bond", [50.0, NAN])
def test_a_price_that_implies_nothing_is_not_bought(bond: float) -> None:
    """Far below what the debt alone is worth, the terms are wrong or the spread is."""
    assert said(strategy_of(), day(0, 600.0, bond)) == []


def test_a_missing_bar_moves_nothing() -> None:
    """A hedge without a price of both is a guess."""
    strategy = strategy_of()
    said(strategy, day(0, 600.0, worth(0, 600.0, 0.35)))
    assert said(strategy, day(1, 900.0, NAN)) == []
    assert said(strategy, day(2, NAN, 150.0)) == []
    assert strategy.outlook().side[0] == 1.0


def test_it_is_left_before_it_matures() -> None:
    """And not entered any more; what has matured has no model."""
    strategy = strategy_of()
    said(strategy, day(0, 600.0, worth(0, 600.0, 0.35)))
    assert said(strategy, day(1_065, 600.0, 100.0)) == [("LONG", "hedged")]
    assert said(strategy, day(1_066, 600.0, 100.0)) == [("FLAT", "maturing")]
    assert said(strategy, day(1_067, 600.0, worth(1_067, 600.0, 0.3))) == []
    late = strategy_of()
    said(late, day(0, 600.0, worth(0, 600.0, 0.35)))
    (signal, _) = late.on_slice(day(1_100, 600.0, 100.0))
    assert isinstance(signal, Signal)
    assert (signal.side.value, signal.z, signal.expected_return_frac) == ("FLAT", 0.0, 0.0)


def test_the_realised_volatility_by_hand() -> None:
    """Up and down by 1% a session is 15.9% a year; a window that is not full has none."""
    closes = 100.0 * np.exp(0.01 * np.array([[0.0, 1.0, 0.0, 1.0], [NAN, 0.0, 1.0, 0.0]]))
    found: FloatArray = realised_vol_frac(closes, 252)
    assert found[0] == pytest.approx(0.01 * np.sqrt(252.0))
    assert np.isnan(found[1])


def test_without_a_fair_volatility_it_is_the_realised_one() -> None:
    """Of the sessions before this one: of history first, then of the tape."""
    terms = {key: value for key, value in TERMS.items() if key != "vol_frac"}
    moves = np.where(np.arange(8) % 2 == 0, 0.0, 0.03)  # 47.6% a year
    history = DailyHistory(
        ("TSLA", "TSLA24"), np.arange(8), np.stack((600.0 * np.exp(moves), np.full(8, NAN)), axis=1)
    )
    strategy = strategy_of(context_of(history=history), terms, vol_window_sessions=10)
    prices = [600.0, 600.0 * np.exp(0.03), 600.0, 600.0]
    tape = [day(n, stock, worth(n, stock, 0.35)) for n, stock in enumerate(prices)]
    assert [said(strategy, slice_) for slice_ in tape] == [[], [], [], [("LONG", "cheap")]]
    assert strategy.outlook().z[0] == pytest.approx(100.0 * (0.03 * np.sqrt(252.0) - 0.35), abs=0.05)


def test_a_bar_within_a_session_is_no_new_close() -> None:
    """Of larger samples only the last bar of a session counts."""
    terms = {key: value for key, value in TERMS.items() if key != "vol_frac"}
    strategy = strategy_of(None, terms, vol_window_sessions=10)
    for n in range(11):
        for stock in (500.0, 600.0 * np.exp(0.02 * (n % 2))):
            strategy.on_slice(day(n, stock, NAN))
    strategy.on_slice(day(11, 600.0, worth(11, 600.0, 0.2)))
    assert strategy.outlook().z[0] == pytest.approx(100.0 * (0.02 * np.sqrt(252.0) - 0.2), abs=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {"exit_vol_frac": 0.05},
        {"steps": 100},
        {"bonds": []},
        {"bonds": [TERMS, TERMS]},
        {"bonds": [TERMS | {"symbol": "TSLA 1/24"}]},
    ],
)
def test_options_that_contradict_are_refused(changes: Any) -> None:
    """An even tree swings around its answer; a name with a slash is no leg."""
    with pytest.raises(ValidationError):
        ConvertibleOptions.model_validate({"bonds": [TERMS], **OPTIONS, **changes})


def test_what_it_cannot_trade_is_refused() -> None:
    """A bond without bars, or in another currency than its stock."""
    with pytest.raises(ConfigError) as caught:
        strategy_of(context_of(("TSLA",)))
    assert caught.value.code == "C210"
    euro = (Instrument("TSLA"), Instrument("TSLA24", currency="EUR"))
    with pytest.raises(ConfigError, match="EUR") as caught:
        strategy_of(context_of(instruments=euro))
    assert caught.value.code == "C235"


def test_without_quantlib_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and not at the first bar."""
    monkeypatch.setitem(sys.modules, "QuantLib", None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        strategy_of()
    assert caught.value.code == "C234"
    assert "astra-quant[convertible]" in caught.value.detail
