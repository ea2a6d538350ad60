"""One day at the desk, record by record: the best documentation of how the parts work together.

Two spreads, A/B and C/B, share the leg B. A scripted strategy says when; everything else is real: allocator,
gate, fills, book, covariance, VaR, latch, commands. Prices are round so that every figure can be checked by
hand; VaR is computed again here, from the covariance and a second implementation of the formula.
"""

from __future__ import annotations

import numpy as np
import pytest

from engine.events import (
    Alert,
    AllocationDone,
    BarRejected,
    BookMarked,
    CommandJudged,
    Filled,
    LimitChanged,
    Reject,
    RiskMeasured,
    Side,
    Signal,
    TargetApproved,
    TradingState,
    TradingStateChanged,
)
from engine.execution import Costs
from tests.support.core import slice_of
from tests.support.engines import command, engine_of

NAN = float("nan")
Z_99 = 2.3263478740408408
SCRIPT = {
    (1, 2): {"A/B": 1},
    (1, 5): {"C/B": 1},
    (1, 11): {"A/B": 0},
    (1, 18): {"C/B": 0},
}


class Day:
    """The engine of the story, and how the test talks to it."""

    def __init__(self) -> None:
        self.loop, self.seen = engine_of(
            ["A/B", "C/B"], SCRIPT, options={"unit_usd": 400_000.0}, costs=Costs(1.0, 0.0, 0.0, 1.0)
        )
        self.desk = self.loop.bus.desk

    def minute(self, minute: int, close, open_=None, suspect=()) -> list:
        """Play one minute; return everything that was said, the answer of the allocator included."""
        return self.say(slice_of(close, minute=minute, session=1, open_=open_, suspect=suspect))

    def say(self, record) -> list:
        """Play one record."""
        before = len(self.seen.steps)
        self.loop.step(record)
        return [event for _, _, events in self.seen.steps[before:] for event in events]

    def after(self, minute: int, seconds: int = 1) -> int:
        """Return an instant shortly after the close of a minute."""
        return slice_of([1.0], minute=minute, session=1).ts_close_ns + seconds * 1_000_000_000

    def var_by_hand(self) -> tuple[float, float, float]:
        """Measure the held book a second time: analytic VaR, Monte Carlo, and the upper bound."""
        held = self.desk.book.holdings_usd
        factor = self.desk.risk.market.factor_daily
        analytic = Z_99 * np.sqrt(10.0) * np.sqrt(held @ factor @ factor.T @ held)
        draws = np.random.Generator(np.random.PCG64(7)).standard_normal((5_000, len(held)))
        losses = np.sort(-np.sqrt(10.0) * (draws @ (factor.T @ held)))[::-1]
        mc = losses[49]  # the 50th worst of 5,000
        return analytic, mc, max(mc * (1 + 1.645 * 0.022694771538437977), analytic)


def kinds(events) -> list[type]:
    """Return the kinds of events, in order."""
    return [type(event) for event in events]


def of(events, kind):
    """Return the only event of a kind."""
    (found,) = [event for event in events if type(event) is kind]
    return found


QUIET = [BookMarked, RiskMeasured]


def test_the_day_the_feed_went_quiet() -> None:
    """Entry, a conflict, a cut limit, a scaled target, a bad tick, silence, a halt, and the way back."""
    day = Day()

    # 09:31. Nothing is held: the book is worth what it started with, and VaR is exactly zero.
    events = day.minute(1, [100.0, 50.0, 80.0])
    assert kinds(events) == QUIET
    assert of(events, BookMarked).equity_usd == 1_000_000.0
    assert of(events, RiskMeasured).var_usd == 0.0

    # 09:32. A/B turns LONG. 400,000 USD of gross at ratio 1: 2,000 A and -4,000 B, approved in full.
    events = day.minute(2, [100.0, 50.0, 80.0])
    assert kinds(events) == [*QUIET, Signal, AllocationDone, TargetApproved]
    assert (of(events, Signal).spread, of(events, Signal).side) == ("A/B", Side.LONG)
    assert of(events, AllocationDone).gross_frac == pytest.approx(0.4)
    approved = of(events, TargetApproved)
    assert approved.leg_quantity == (2_000.0, -4_000.0, 0.0, 0.0)
    assert (approved.scale, approved.weight_frac) == (1.0, pytest.approx((0.2, -0.2, 0.0)))

    # 09:33. It fills at the open (101 and 50), 1 bp on each leg: 20.20 and 20.00 USD. The close is 102.
    events = day.minute(3, [102.0, 50.0, 80.0], open_=[101.0, 50.0, 80.0])
    assert kinds(events) == [Filled, Filled, *QUIET]
    assert [(f.symbol, f.quantity, f.price_usd) for f in events[:2]] == [
        ("A", 2_000.0, 101.0),
        ("B", -4_000.0, 50.0),
    ]
    assert [f.cost_usd for f in events[:2]] == pytest.approx([20.20, 20.00])
    marked = of(events, BookMarked)
    assert marked.equity_usd == pytest.approx(1_000_000 + 2_000 * (102 - 101) - 40.20)
    assert (marked.gross_usd, marked.net_usd) == pytest.approx((404_000.0, 4_000.0))
    assert marked.costs_usd == pytest.approx(40.20)
    measured = of(events, RiskMeasured)
    analytic, mc, upper = day.var_by_hand()
    assert measured.var_analytic_usd == pytest.approx(analytic, rel=1e-12)
    assert measured.var_mc_usd == pytest.approx(mc, rel=1e-9)
    assert measured.var_usd == max(measured.var_analytic_usd, measured.var_mc_usd)
    assert measured.var_upper_usd == pytest.approx(upper, rel=1e-9)
    assert measured.es_usd > measured.var_usd

    # 09:34. The feed sends another bar for a minute that has one: refused, kept aside, and told to a person.
    events = day.say(BarRejected(day.after(3, 0), "B", Reject.CONFLICT))
    assert kinds(events) == [BarRejected, Alert]
    assert "CONFLICT" in of(events, Alert).text
    events = day.minute(4, [102.0, 50.0, 80.0])
    assert kinds(events) == QUIET

    # 09:34:01. Risk cuts the limit to 60,000 USD. VaR is under it, but over 80% of it: a warning, no more.
    events = day.say(command("limits", day.after(4), args={"var_limit_usd": 60_000.0}))
    assert kinds(events) == [CommandJudged, LimitChanged, Alert]
    assert 0.8 < measured.var_usd / 60_000 < 0.9
    assert of(events, Alert).kind == "var_near_limit"
    assert (of(events, LimitChanged).previous, of(events, LimitChanged).value) == (150_000.0, 60_000.0)

    # 09:35. C/B turns LONG too. Both spreads in full would pass 90% of the new limit, so the gate scales:
    # the part that is new comes in by λ, what is held stays, and the upper bound meets 54,000 exactly.
    events = day.minute(5, [102.0, 50.0, 80.0])
    assert kinds(events) == [*QUIET, Signal, AllocationDone, TargetApproved]
    scaled = of(events, TargetApproved)
    assert 0.0 < scaled.scale < 1.0
    assert scaled.leg_quantity == pytest.approx(
        (2_000.0, -4_000.0, scaled.scale * 2_500, -scaled.scale * 4_000)
    )
    assert 54_000 * (1 - 1e-6) < scaled.var_upper_usd <= 54_000

    # 09:36. It fills at unchanged prices; the shared leg B trades once, for C/B alone.
    events = day.minute(6, [102.0, 50.0, 80.0])
    assert kinds(events) == [Filled, Filled, *QUIET]
    assert [f.symbol for f in events[:2]] == ["B", "C"]
    assert [f.quantity for f in events[:2]] == pytest.approx([-4_000 * scaled.scale, 2_500 * scaled.scale])
    assert of(events, RiskMeasured).var_upper_usd <= 54_000

    # 09:37. A prints far off. Its bar is held back (NaN here), and while a held price is suspect only trades
    # that lower VaR pass. It is no halt: one bad tick must not stop a desk.
    events = day.minute(7, [NAN, 50.0, 80.0], suspect=(0,))
    assert kinds(events) == [*QUIET, TradingStateChanged, Alert]
    assert of(events, TradingStateChanged).state is TradingState.REDUCING
    assert of(events, BookMarked).equity_usd == of(day.minute(8, [102.0, 50.0, 80.0]), BookMarked).equity_usd

    # 09:38 was the first calm measure, 09:39 the second, 09:40 the third: trading is open again by itself.
    assert kinds(day.minute(9, [102.0, 50.0, 80.0])) == QUIET
    events = day.minute(10, [102.0, 50.0, 80.0])
    assert kinds(events) == [*QUIET, TradingStateChanged, Alert]
    assert of(events, TradingStateChanged).state is TradingState.ACTIVE

    # 09:41. A/B is done: its own legs close, B keeps what C/B needs. 09:42: filled at A = 103.
    events = day.minute(11, [103.0, 50.0, 80.0])
    assert kinds(events) == [*QUIET, Signal, AllocationDone, TargetApproved]
    assert of(events, TargetApproved).leg_quantity[:2] == (0.0, 0.0)
    events = day.minute(12, [103.0, 50.0, 80.0])
    assert [(f.symbol, f.quantity) for f in events[:2]] == [("A", -2_000.0), ("B", 4_000.0)]

    # 09:43 to 09:45. C stops printing. Its price grows old; for three minutes that is tolerated ...
    for minute in (13, 14, 15):
        assert kinds(day.minute(minute, [103.0, 50.0, NAN])) == QUIET
    # 09:46. ... then VaR is unknown, and unknown halts.
    events = day.minute(16, [103.0, 50.0, NAN])
    assert kinds(events) == [*QUIET, TradingStateChanged, Alert]
    halt = of(events, TradingStateChanged)
    assert (halt.state, halt.previous) == (TradingState.HALTED, TradingState.ACTIVE)
    assert np.isnan(of(events, RiskMeasured).var_usd)
    assert of(events, RiskMeasured).reason == "PRICE_STALE"
    assert of(events, Alert).severity == "critical"

    # Somebody without the operator's key tries to resume; somebody with it tries too early.
    events = day.say(command("resume", day.after(16), key=b"guess", halt_id=halt.halt_id))
    assert [of(events, CommandJudged).reason, of(events, Alert).kind] == ["bad_signature", "command_refused"]
    events = day.say(command("resume", day.after(16, 2), halt_id=halt.halt_id))
    assert kinds(events) == [CommandJudged]
    assert of(events, CommandJudged).verdict == "refused"
    assert "unknown" in of(events, CommandJudged).reason

    # 09:47. C is back. The halt stands until the command that names it; that gives REDUCING, never ACTIVE.
    assert kinds(day.minute(17, [103.0, 50.0, 81.0])) == QUIET
    events = day.say(command("resume", day.after(17), halt_id=halt.halt_id))
    assert kinds(events) == [CommandJudged, TradingStateChanged, Alert]
    assert of(events, TradingStateChanged).state is TradingState.REDUCING

    # 09:48. C/B turns FLAT. Closing lowers VaR and grows no position, so it passes. 09:49: the book is flat.
    events = day.minute(18, [103.0, 50.0, 81.0])
    assert kinds(events) == [*QUIET, Signal, AllocationDone, TargetApproved]
    events = day.minute(19, [103.0, 50.0, 81.0])
    assert kinds(events) == [Filled, Filled, *QUIET]
    assert of(events, RiskMeasured).var_usd == 0.0

    # 09:50. Third calm measure after the resume: ACTIVE.
    events = day.minute(20, [103.0, 50.0, 81.0])
    assert of(events, TradingStateChanged).state is TradingState.ACTIVE

    # The day's sum, by hand: A earned 2,000 x (103 - 101), C earned its shares x (81 - 80), B nothing;
    # costs are 1 bp of everything traded.
    shares_c, shares_b = 2_500 * scaled.scale, 4_000 * scaled.scale
    traded_usd = 2_000 * (101 + 103) + 4_000 * 50 * 2 + shares_c * (80 + 81) + shares_b * 50 * 2
    expected = 1_000_000 + 2_000 * 2 + shares_c * 1.0 - traded_usd * 1e-4
    assert day.desk.book.equity_usd == pytest.approx(expected, abs=1e-6)
    assert day.desk.book.costs_usd == pytest.approx(traded_usd * 1e-4, rel=1e-12)
    assert day.loop.status.halts == 1
