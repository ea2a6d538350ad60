"""The carry that allocators weigh is the one that the book pays: a basis at fair value, held for a week."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from engine.carry import Funding
from engine.events import BarSlice, FloatArray
from engine.ports import AllocationProblem, AllocatorContext, Instrument, Outlook, StrategyContext, Targets
from strategies.allocators.checks import Rates, utility
from strategies.allocators.mean_variance import MeanVariance, MeanVarianceOptions
from strategies.allocators.plan import make_plan, wire
from strategies.basis import Basis, BasisOptions
from tests.support.allocation import E, layout_of, problem_of
from tests.support.core import book_of, slice_of

#: Thursday 2020-03-12 and its next five sessions: a week, with its weekend.
DAY = 18_333
SESSIONS = (0, 1, 4, 5, 6, 7)
#: 1.46% of dividends a year of 365 days are 1.44% of 360, as the fair value counts them.
FUND = Instrument("SPY", borrow_bps=30.0, income_frac=0.0146)
FUTURE = Instrument("ESM0", multiplier=50.0, is_funded=False, expiry_day=DAY + 98)
LAYOUT = replace(layout_of(["SPY/ESM0"]), instruments=(FUND, FUTURE))
TERMS = {"pairs": ["SPY/ESM0"], "quote_ratio": 10, "rate_frac": 0.036, "dividend_frac": 0.0144}
FIVE_SESSIONS_MIN = 5 * 390.0


def fair(number: int) -> FloatArray:
    """Return fund and future: the fund stands still, the future comes down by carry alone."""
    return np.array([240.0, 2_400.0 * (1.0 + (0.036 - 0.0144) * (98 - number) / 360.0)])


def outlook_of(number: int) -> Outlook:
    context = StrategyContext(
        "basis", LAYOUT.symbols, FIVE_SESSIONS_MIN, 390, bar_min=1_440, instruments=LAYOUT.instruments
    )
    strategy = Basis(BasisOptions.model_validate(TERMS), context)
    bars = np.stack([fair(number)] * 5)
    strategy.on_slice(BarSlice((DAY + number) * 86_400 * 10**9, DAY + number, 390, bars))
    return strategy.outlook()


def problem_at_fair_value(funding: Funding, side: float) -> AllocationProblem:
    outlook = outlook_of(0)
    return problem_of(
        LAYOUT,
        side=np.array([side]),
        expected_return_frac=outlook.expected_return_frac,
        usd_ratio=outlook.usd_ratio,
        price_usd=fair(0) * [1.0, 50.0],
        cost_frac=np.zeros(2),
        carry=funding.carry(LAYOUT.listed),
    )


def allocate(problem: AllocationProblem) -> Targets:
    options = MeanVarianceOptions(horizon_min=FIVE_SESSIONS_MIN, risk_aversion=0.0)
    return MeanVariance(options, AllocatorContext(LAYOUT, 390, bar_min=1_440)).allocate(problem)


def earned_usd(funding: Funding, leg_frac: FloatArray) -> float:
    """Hold weights for a week in a book, at fair prices all the time."""
    usd = np.array([1.0, 50.0])
    book = book_of(LAYOUT, E, leg_frac * E / (fair(0) * usd), funding, price_age_max_min=1_000)
    return [
        book.mark(slice_of(fair(number) * usd, minute=390, session=DAY + number)).equity_usd
        for number in SESSIONS
    ][-1] - E


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_what_is_expected_of_a_fair_basis_is_what_the_book_earns(side: float) -> None:
    """Nothing is approximate while the fund stands still: to a millionth of a dollar, on both sides.

    LONG, on half a million of the fund: the future earns 2.16% a year, and the fund costs 4.1% - 1.44%.
    """
    funding = Funding(0.036, 50.0, 25.0, 40.0)
    problem, wiring = problem_at_fair_value(funding, side), wire(LAYOUT)
    legs = side * np.array([0.5, -0.5 * problem.usd_ratio[0]])
    held = replace(problem, held_leg_frac=legs)
    expected_usd = E * utility(wiring, held, make_plan(wiring, held, 2.0), Rates(0.0, 1.0, 5.0, 7.0), legs)
    assert earned_usd(funding, legs) == pytest.approx(expected_usd, abs=1e-6)
    a_year = {1.0: 0.0216 - 0.041 + 0.0144, -1.0: -0.0216 + 0.036 - 0.0025 - 0.0030 - 0.0144}[side]
    assert expected_usd == pytest.approx(500_000.0 * a_year * 7.0 / 360.0, abs=1e-6)
    assert expected_usd < 0.0


def test_a_long_basis_that_loses_by_its_financing_is_not_bought() -> None:
    """Counted on sessions, 4.1% would be 2.9% of what accrues, and a sure loss would look like a gain."""
    targets = allocate(problem_at_fair_value(Funding(0.036, 50.0, 25.0, 40.0), 1.0))
    assert (targets.status, targets.leg_frac.tolist()) == ("optimal", [0.0, 0.0])
    assert targets.binding == ("side:SPY/ESM0",)


def test_a_long_basis_that_gains_by_its_financing_gains_what_was_expected() -> None:
    """Financed at 3.1% where the future pays 3.6%: half a per cent of the fund, a year, and no more."""
    funding = Funding(0.031, 0.0, 25.0, 40.0)
    targets = allocate(problem_at_fair_value(funding, 1.0))
    assert targets.status == "optimal"
    assert targets.leg_frac[0] > 0.9
    assert targets.objective == pytest.approx(targets.leg_frac[0] * 0.005 * 7.0 / 360.0, rel=1e-9)
    assert earned_usd(funding, targets.leg_frac) == pytest.approx(E * targets.objective, abs=1e-6)
