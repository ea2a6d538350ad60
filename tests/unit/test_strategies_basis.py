"""Futures against funds: fair value, sides, the roll, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.errors import ConfigError
from engine.events import BarSlice, Side, Signal, SpreadNoted
from engine.ports import Instrument, StrategyContext
from strategies.basis import Basis, BasisOptions

NAN = float("nan")
DAY = 18_337  # 2020-03-16
SYMBOLS = ("SPY", "ESM0", "ESH0")
#: March expires on Friday the 20th, June on the 19th: 4 and 95 days after the first day.
INSTRUMENTS = (
    Instrument("SPY"),
    Instrument("ESM0", multiplier=50.0, is_funded=False, expiry_day=DAY + 95),
    Instrument("ESH0", multiplier=50.0, is_funded=False, expiry_day=DAY + 4),
)
OPTIONS: dict[str, Any] = {
    "pairs": ["SPY/ESM0", "SPY/ESH0"],
    "quote_ratio": 10,
    "rate_frac": 0.0475,
    "dividend_frac": 0.01,
    "roll_days": 2,
}


def strategy_of(instruments: tuple[Instrument, ...] = INSTRUMENTS, **changes: Any) -> Basis:
    context = StrategyContext(
        "basis", SYMBOLS, horizon_min=390.0, session_min=390, bar_min=1_440, instruments=instruments
    )
    return Basis(BasisOptions.model_validate({**OPTIONS, **changes}), context)


def day(number: int, fund: float, june: float, march: float) -> BarSlice:
    close = np.array([fund, june, march])
    return BarSlice((DAY + number) * 86_400 * 10**9, DAY + number, 390, np.stack([close] * 4 + [close]))


def said(strategy: Basis, slice_: BarSlice) -> list[tuple[str, Side, str]]:
    """Return spread, side and reason of every transition."""
    events = strategy.on_slice(slice_)
    signals = [event for event in events if isinstance(event, Signal)]
    notes = [event for event in events if isinstance(event, SpreadNoted)]
    assert len(signals) == len(notes)
    return [(s.spread, s.side, n.note) for s, n in zip(signals, notes, strict=True)]


def test_the_outlook_by_hand() -> None:
    """240 is worth 2,401 points in four days at 3.75% net; at 2,420 it is 19 points dear, 79.17 bp of 240."""
    strategy = strategy_of()
    strategy.on_slice(day(0, 240.0, 2_423.75, 2_420.0))
    outlook = strategy.outlook()
    assert outlook.alpha == pytest.approx([2_400.0 * (1.0 + 0.0375 * 95 / 360), 2_401.0])
    assert outlook.innovation == pytest.approx([0.0, 19.0], abs=1e-9)
    assert outlook.z == pytest.approx([0.0, 1e4 * 19.0 / 2_400.0], abs=1e-9)
    assert outlook.beta.tolist() == [10.0, 10.0]
    assert outlook.usd_ratio == pytest.approx([2_423.75 / 2_400.0, 2_420.0 / 2_400.0])
    # A session is 1.4 calendar days of the 4 that are left; gross is 1 + b for 1 USD of the fund.
    carry = 0.0375 * 1.4 / 360
    expected = (19.0 / 2_400.0 * 0.35 + carry) / (1.0 + 2_420 / 2_400)
    fair = carry / (1.0 + 2_423.75 / 2_400.0)
    assert outlook.expected_return_frac == pytest.approx([fair, expected], abs=1e-12)


@pytest.mark.parametrize(("side", "left_frac"), [(1.0, -0.0025), (-1.0, -0.00325)])
def test_a_fair_future_is_financed_once(side: float, left_frac: float) -> None:
    """Of a year on carry alone only the desk's spread is lost: r - 4.1% and 2.95% - r, on half the gross."""
    strategy = strategy_of(rate_frac=0.036, dividend_frac=0.0)
    strategy.on_slice(day(0, 240.0, 2_400.0 * (1.0 + 0.036 * 95 / 360), 2_420.0))
    alpha, ratio = strategy.outlook().expected_return_frac[0], strategy.outlook().usd_ratio[0]
    held_days = 1.4
    paid = 0.041 if side > 0.0 else 0.0295
    left = side * alpha - side * paid * held_days / 360 / (1.0 + ratio)
    assert left * 360 / held_days == pytest.approx(left_frac, rel=0.01)


@pytest.mark.parametrize(("after_days", "roll_days", "is_late"), [(4, 1, False), (7, 2, True), (7, 3, False)])
def test_a_roll_after_expiry_is_refused(after_days: int, roll_days: int, is_late: bool) -> None:
    """Decided at Monday's close, an exit of what expired on Monday finds no bar, and the run halts."""
    march = Instrument("ESH0", is_funded=False, expiry_day=DAY + after_days)
    instruments = (*INSTRUMENTS[:2], march)
    if not is_late:
        strategy_of(instruments, roll_days=roll_days)
        return
    with pytest.raises(ConfigError, match="too late for 'ESH0', which expires on 2020-03-23") as caught:
        strategy_of(instruments, roll_days=roll_days)
    assert caught.value.code == "C223"


def test_days_may_be_counted_of_365() -> None:
    """The same rate on another year is another fair value, and is said so in the configuration."""
    strategy = strategy_of(day_count=365)
    strategy.on_slice(day(0, 240.0, 2_400.0, 2_400.0))
    assert strategy.outlook().alpha[1] == pytest.approx(2_400.0 * (1.0 + 0.0375 * 4 / 365))


def test_what_is_said_of_an_entry() -> None:
    """Points, money for a contract and a fraction of the fund are three numbers with three names."""
    signal, note = strategy_of().on_slice(day(0, 240.0, 2_423.75, 2_420.0))
    assert isinstance(signal, Signal)
    assert isinstance(note, SpreadNoted)
    assert (signal.spread, signal.side, signal.beta) == ("SPY/ESH0", Side.LONG, 10.0)
    assert signal.z == pytest.approx(79.1667, abs=1e-4)
    assert note.values == pytest.approx(
        {
            "fair_points": 2_401.0,
            "mispricing_points": 19.0,
            "mispricing_usd": 950.0,
            "mispricing_frac": 19.0 / 2_400.0,
            "days_to_expiry": 4.0,
        }
    )


def test_sides_follow_the_mispricing() -> None:
    """In beyond 30 bp, out within 5 or on the other side, and never from one side to the other at once."""
    strategy = strategy_of(pairs=["SPY/ESM0"], rate_frac=0.0, dividend_frac=0.0)
    quotes = (2_407.2, 2_407.3, 2_402.0, 2_401.1, 2_390.0, 2_415.0, 2_415.0)
    sides = [said(strategy, day(n, 240.0, quote, NAN)) for n, quote in enumerate(quotes)]
    assert sides == [
        [],
        [("SPY/ESM0", Side.LONG, "mispriced")],
        [],
        [("SPY/ESM0", Side.FLAT, "converged")],
        [("SPY/ESM0", Side.SHORT, "mispriced")],
        [("SPY/ESM0", Side.FLAT, "converged")],
        [("SPY/ESM0", Side.LONG, "mispriced")],
    ]


def test_the_front_contract_is_traded_and_rolled() -> None:
    """Both contracts are dear; June is entered when March is left, two days before it expires."""
    strategy = strategy_of()
    assert said(strategy, day(0, 240.0, 2_450.0, 2_420.0)) == [("SPY/ESH0", Side.LONG, "mispriced")]
    assert said(strategy, day(1, 240.0, 2_450.0, 2_420.0)) == []
    assert said(strategy, day(2, 240.0, 2_450.0, 2_420.0)) == [
        ("SPY/ESM0", Side.LONG, "mispriced"),
        ("SPY/ESH0", Side.FLAT, "rolled"),
    ]
    assert said(strategy, day(3, 240.0, 2_450.0, 2_420.0)) == []


def test_the_contracts_of_a_fund_are_a_chain() -> None:
    """They share one part of the capital; what expires together may be held together, and has its own."""
    symbols = (*SYMBOLS, "IVV", "MESH0", "MESM0")
    futures = {"ESM0": 95, "ESH0": 4, "MESH0": 4, "MESM0": 95}
    listed = tuple(
        Instrument(name, expiry_day=DAY + futures[name] if name in futures else -1) for name in symbols
    )
    pairs = ["SPY/ESM0", "SPY/MESH0", "IVV/ESH0", "SPY/ESH0", "SPY/MESM0"]
    context = StrategyContext("basis", symbols, 390.0, 390, bar_min=1_440, instruments=listed)
    strategy = Basis(BasisOptions.model_validate({**OPTIONS, "pairs": pairs}), context)
    assert [spread.chain for spread in strategy.spreads] == ["SPY-0", "SPY-0", "IVV-0", "SPY-1", "SPY-1"]


def test_the_next_contract_waits_until_the_last_is_left() -> None:
    """March has no bar on the day of its roll: June beside it would be a second part of the capital."""
    strategy = strategy_of()
    assert said(strategy, day(0, 240.0, 2_450.0, 2_420.0)) == [("SPY/ESH0", Side.LONG, "mispriced")]
    assert said(strategy, day(2, 240.0, 2_450.0, NAN)) == []
    assert said(strategy, day(3, 240.0, 2_450.0, 2_420.0)) == [
        ("SPY/ESM0", Side.LONG, "mispriced"),
        ("SPY/ESH0", Side.FLAT, "rolled"),
    ]


def test_a_contract_that_never_had_another_bar_does_not_block_the_chain() -> None:
    """If it was held the stale price halts; if its entry was refused, nothing should keep June out."""
    strategy = strategy_of()
    assert said(strategy, day(0, 240.0, 2_450.0, 2_420.0)) == [("SPY/ESH0", Side.LONG, "mispriced")]
    assert said(strategy, day(4, 240.0, 2_450.0, NAN)) == []
    assert said(strategy, day(5, 240.0, 2_450.0, NAN)) == [("SPY/ESM0", Side.LONG, "mispriced")]


@given(
    off=st.lists(st.tuples(*[st.sampled_from([-0.02, 0.0, 0.004, 0.02, NAN])] * 2), min_size=2, max_size=12)
)
def test_at_most_one_contract_of_a_chain_is_wanted(off: list[tuple[float, float]]) -> None:
    """Whatever the quotes, and whichever are missing: direct gives the whole part to the one."""
    strategy = strategy_of(roll_days=3)
    for number, (june, march) in enumerate(off):
        strategy.on_slice(day(number, 240.0, 2_400.0 * (1.0 + june), 2_400.0 * (1.0 + march)))
        alive = strategy.outlook().side[[True, number <= 4]]
        assert np.count_nonzero(alive) <= 1


def test_a_ratio_that_cannot_be_true_is_not_traded() -> None:
    """After a split of the fund every contract looks 50% dear: that is no mispricing."""
    strategy = strategy_of()
    assert said(strategy, day(0, 120.0, 2_450.0, 2_420.0)) == []
    assert said(strategy, day(1, 240.0, 2_450.0, 2_420.0)) != []


def test_the_hedge_is_that_of_the_entry() -> None:
    """What was bought unit for unit stays so; only a new entry takes a new ratio."""
    strategy = strategy_of()
    strategy.on_slice(day(0, 240.0, 2_423.75, 2_420.0))
    strategy.on_slice(day(1, 240.0, 2_423.75, 2_415.0))
    outlook = strategy.outlook()
    assert outlook.frozen_usd_ratio == pytest.approx([2_423.75 / 2_400.0, 2_420.0 / 2_400.0])
    assert outlook.usd_ratio[1] == pytest.approx(2_415.0 / 2_400.0)


def test_without_a_quote_the_last_one_stands_and_nothing_is_said() -> None:
    """A missing bar is no convergence; even a roll waits for a bar of both."""
    strategy = strategy_of()
    assert np.isnan(strategy.outlook().usd_ratio).all()
    assert strategy.outlook().expected_return_frac.tolist() == [0.0, 0.0]
    strategy.on_slice(day(0, 240.0, NAN, 2_420.0))
    assert said(strategy, day(2, 240.0, NAN, NAN)) == []
    outlook = strategy.outlook()
    assert outlook.side.tolist() == [0.0, 1.0]
    assert np.isnan(outlook.z).all()
    assert outlook.usd_ratio[1] == pytest.approx(2_420.0 / 2_400.0)
    assert said(strategy, day(3, 240.0, NAN, 2_420.0)) == [("SPY/ESH0", Side.FLAT, "rolled")]


def test_a_future_that_never_expires_is_refused() -> None:
    """A continuous series has no expiry, and so no fair value."""
    with pytest.raises(ConfigError, match="'ESM0' of pair 'SPY/ESM0' has no expiry") as caught:
        strategy_of(instruments=())
    assert caught.value.code == "C220"


def test_two_currencies_are_refused() -> None:
    """A basis in EUR against USD would be an exchange rate."""
    foreign = (Instrument("SPY", currency="EUR"), *INSTRUMENTS[1:])
    with pytest.raises(ConfigError, match="is quoted in EUR and USD") as caught:
        strategy_of(instruments=foreign)
    assert caught.value.code == "C221"


def test_a_symbol_outside_the_universe_is_refused() -> None:
    """As for every pair."""
    with pytest.raises(ConfigError) as caught:
        strategy_of(pairs=["SPY/ESU0"])
    assert caught.value.code == "C210"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exit_frac": 0.004}, "exit_frac < entry_frac < mispricing_max_frac"),
        ({"entry_frac": 0.06}, "exit_frac < entry_frac < mispricing_max_frac"),
        ({"quote_ratio": {"SPY/ESH0": 10}}, "one ratio a pair"),
        ({"quote_ratio": -10}, "greater than 0"),
        ({"roll_days": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    """A threshold in the wrong order would trade on every bar, or never."""
    with pytest.raises(ValidationError, match=message):
        strategy_of(**changes)
