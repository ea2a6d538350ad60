"""Common mistakes of those who trade dislocations, looked for in a configuration before anything runs.

Each is a warning with both numbers, never an error: somebody may have a reason. What cannot be read off the
configuration (does a pair hang together, how wide is its spread) is measured first, in ``tape_sample``.
docs/maths/costs.md says where the thresholds come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from engine.app.checks.entry_sizes import LegSize
from engine.app.config.load import Config
from engine.app.config.tables import CostsTable
from engine.app.render import percent
from feeds.calendars import minutes_per_session

#: More gross than this many times equity is paid for with interest.
GROSS_FRAC: Final = 2.0
#: Smaller dislocations rarely pay for their costs.
ENTRY_Z: Final = 1.5
ENTRY_FRAC: Final = 0.003
#: p above this is no evidence that a pair moves together.
P_VALUE: Final = 0.05
#: A round trip is in and out.
_TRADES: Final = 2.0
_BP: Final = 1e4
_SHOWN: Final = 3


class Mistake(msgspec.Struct, frozen=True):
    """What is probably wrong: the name of the check, and a sentence with the numbers."""

    name: str
    text: str


class Measured(msgspec.Struct, frozen=True):
    """What a sample of bars says of a spread.

    Parameters
    ----------
    strategy, spread : str
    entry_bps : float
        Dislocation at which it is entered, basis points of y; NaN when unknown.
    usd_ratio : float
        USD of x against 1 USD of y; NaN when unknown.
    p_value : float
        Of the null that y and x are not cointegrated; NaN when it was not, or could not be, tested.
    tested_on : str
        The data behind it, for people.
    legs : tuple of LegSize
        Those that are traded in lots, where their size at entry is known.
    """

    strategy: str
    spread: str
    entry_bps: float
    usd_ratio: float
    p_value: float
    tested_on: str = ""
    legs: tuple[LegSize, ...] = ()


def find_mistakes(
    config: Config, measured: Sequence[Measured], opening_gross_usd: float = 0.0
) -> Iterator[Mistake]:
    """Look for every mistake that is known here, in the order in which a desk should mind them."""
    shares = {one.name: one.capital_frac for one in config.strategy if one.capital_frac is not None}
    options = config.allocator.options
    gross_max_frac = getattr(options, "gross_max_frac", None)
    yield from no_costs(config.costs)
    yield from over_leveraged(gross_max_frac, [*shares.values()])
    yield from opens_over_leveraged(opening_gross_usd / config.book.equity_usd, gross_max_frac)
    yield from empty_book(options)
    if hasattr(options, "trade_aversion"):
        session_min = minutes_per_session(config.universe.calendar)
        yield from short_horizon(options, min(config.universe.bar_min, session_min))
    for one in config.strategy:
        own = [m for m in measured if m.strategy == one.name]
        yield from small_entry(one.name, one.options)
        yield from not_cointegrated(one.name, own)
        yield from entry_below_costs(one.name, own, config.costs)
        if one.kind == "correlation" and hasattr(options, "trade_aversion"):
            text = f'{one.name}: expects no return, so {config.allocator.kind} holds nothing; "direct" does'
            yield Mistake("no forecast", text)
        yield from less_than_a_lot(one.name, own)


def no_costs(costs: CostsTable) -> Iterator[Mistake]:
    """Mind a run that trades for nothing: 20 to 50 trades a year at 10 bp are 2 to 5% of what is traded."""
    if costs.half_spread_bps == costs.fee_bps == costs.impact_bps == 0.0:
        text = 'trading is free: half_spread_bps, fee_bps and impact_bps are 0; see [costs] preset = "retail"'
        yield Mistake("costs", text)


def over_leveraged(gross_max_frac: float | None, shares_frac: Sequence[float]) -> Iterator[Mistake]:
    """Mind gross above twice equity, and shares of the capital that cannot all be used.

    Examples
    --------
    >>> [one.text for one in over_leveraged(2.0, [1.0, 1.5])]
    ['capital_frac adds up to 2.5, gross_max_frac is 2: not every strategy can use its share']
    """
    total = sum(shares_frac)
    gross_frac = total if gross_max_frac is None else gross_max_frac
    if gross_frac > GROSS_FRAC:
        name = "capital_frac in sum" if gross_max_frac is None else "gross_max_frac"
        text = f"{name} is {gross_frac:g}: above {GROSS_FRAC:g}x equity interest eats what small edges earn"
        yield Mistake("leverage", text)
    if gross_max_frac is not None and total > gross_max_frac * (1.0 + 1e-12):
        text = (
            f"capital_frac adds up to {total:g}, gross_max_frac is {gross_max_frac:g}: "
            "not every strategy can use its share"
        )
        yield Mistake("capital", text)


def opens_over_leveraged(opening_gross_frac: float, gross_max_frac: float | None) -> Iterator[Mistake]:
    """Mind an opening book above the cap of the allocator, or above twice equity.

    Examples
    --------
    >>> [one.text for one in opens_over_leveraged(2.12, None)]
    ['the book opens at 2.12x equity: above 2x interest eats what small edges earn']
    """
    opens = f"the book opens at {opening_gross_frac:.2f}x equity"
    if gross_max_frac is not None and opening_gross_frac > gross_max_frac:
        text = f"{opens}, gross_max_frac is {gross_max_frac:g}: the first rebalance sells, whatever it costs"
        yield Mistake("opening book", text)
    elif opening_gross_frac > GROSS_FRAC:
        yield Mistake("opening book", f"{opens}: above {GROSS_FRAC:g}x interest eats what small edges earn")


def short_horizon(options: object, bar_min: int) -> Iterator[Mistake]:
    """Mind a horizon shorter than a bar: what reverts in days is asked to pay for the way in within minutes.

    ``bar_min`` counts minutes of the session: a daily bar of XNYS has 390.
    """
    horizon_min = getattr(options, "horizon_min", bar_min)
    if horizon_min < bar_min:
        text = (
            f"horizon_min is {horizon_min:g}, a bar has {bar_min}: the whole way in is weighed against what "
            f"{percent(horizon_min / bar_min, 0)} of a bar is expected to bring, so little or nothing may be "
            f"bought; set it to the half-life, {10 * bar_min} for 10 bars"
        )
        yield Mistake("horizon", text)


def empty_book(options: object) -> Iterator[Mistake]:
    """Mind least variance that nothing keeps from zero: under caps alone the best book is empty."""
    if getattr(options, "return_min_annual_frac", 0.0) is None and not getattr(
        options, "fully_invested", True
    ):
        text = (
            "nothing will be held: without return_min_annual_frac or fully_invested, w = 0 has least variance"
        )
        yield Mistake("empty book", text)


def small_entry(strategy: str, options: object) -> Iterator[Mistake]:
    """Mind thresholds that ask for less than what usually pays: 1.5 standard deviations, 0.3% of a basis."""
    for key, least in (("entry_z", ENTRY_Z), ("entry_frac", ENTRY_FRAC)):
        value = getattr(options, key, None)
        if isinstance(value, int | float) and value < least:
            text = f"{strategy}: {key} is {value:g}, and under {least:g} a dislocation rarely pays"
            yield Mistake("small entry", text)


def not_cointegrated(strategy: str, measured: Sequence[Measured]) -> Iterator[Mistake]:
    """Mind pairs that are only correlated: what drifts apart may never come back."""
    odd = [one for one in measured if one.p_value > P_VALUE]
    if odd:
        found = _listed([f"{one.spread} p {one.p_value:.2f} on {one.tested_on}" for one in odd])
        yield Mistake("cointegration", f"{strategy}: no evidence (Engle-Granger) for {found}")


def round_trip_bps(usd_ratio: float, costs: CostsTable) -> float:
    """Return what in and out cost, both legs, before impact: basis points of the USD in y.

    Two trades of 1 USD of y and |b| USD of x, each at half spread plus fee.
    """
    return _TRADES * (1.0 + abs(usd_ratio)) * (costs.half_spread_bps + costs.fee_bps)


def entry_below_costs(strategy: str, measured: Sequence[Measured], costs: CostsTable) -> Iterator[Mistake]:
    """Mind spreads whose whole dislocation at entry is less than a round trip costs."""
    found = [
        f"{one.spread} enters at {one.entry_bps:.1f} bp, a round trip costs {trip_bps:.1f}"
        for one in measured
        if one.entry_bps < (trip_bps := round_trip_bps(one.usd_ratio, costs))
    ]
    if found:
        yield Mistake("entry", f"{strategy}: {_listed(found)}")


def less_than_a_lot(strategy: str, measured: Sequence[Measured]) -> Iterator[Mistake]:
    """Mind spreads that can never be entered: a leg is smaller than one lot, so neither is traded."""
    small = [(leg, one) for one in measured for leg in one.legs if leg.size_usd < leg.lot_usd]
    if not small:
        return
    leg, one = max(small, key=lambda found: found[0].lot_usd / found[0].size_usd)
    needed = _rounded_up(leg.value * leg.lot_usd / leg.size_usd)
    others = len({other.spread for _, other in small}) - 1
    text = (
        f"{strategy}: {one.spread} enters with {leg.size_usd:,.0f} USD of {leg.symbol} at most, one lot is "
        f"{leg.lot_usd:,.0f}: neither leg trades before {leg.key} = {needed:,.10g}, or a smaller lot"
    )
    yield Mistake("lot", text + (f"; and {others} more" if others else ""))


def _rounded_up(value: float) -> float:
    """Two digits, and never less: 0.1234 becomes 0.13."""
    unit: float = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
