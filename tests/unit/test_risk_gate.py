"""The gate: what passes, what is scaled, what is refused, and that nothing else can let a trade through."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.events import FloatArray, TargetApproved, TargetRefused, TradingState
from engine.oversight import Change, Gate, Market, Verdict
from risk.gate import RiskGate, largest_scale, measurable
from risk.var import EllipticalVar, GaussianVarOptions
from tests.support.books import covariance_of, golden_var, market, pairs_layout

ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
MODEL = EllipticalVar(GaussianVarOptions(), 4)
#: Two hedged pairs (0, 1) and (2, 3): 2% a day, correlation 0.9 inside a pair, none across.
CORR = [[1.0, 0.9, 0, 0], [0.9, 1.0, 0, 0], [0, 0, 1.0, 0.9], [0, 0, 0.9, 1.0]]
MARKET = market(covariance_of([0.02] * 4, CORR))
LAYOUT = pairs_layout(4, [(0, 1), (2, 3)])
PRICE = np.array([100.0, 50.0, 20.0, 10.0])


def _shares(usd: list[float]) -> FloatArray:
    return np.array(usd) / PRICE[LAYOUT.leg_symbol]


def _recheck(
    held_usd: list[float],
    target_usd: list[float],
    state: TradingState = ACTIVE,
    budget_usd: float = 135_000.0,
    *,
    flatten: bool = False,
    with_market: Market = MARKET,
    price: FloatArray = PRICE,
) -> Verdict:
    gate = RiskGate(MODEL, budget_usd)
    change = Change(LAYOUT, _shares(held_usd), _shares(target_usd), price, with_market)
    return gate.recheck(change, state, flatten)


def _upper(usd: list[float]) -> float:
    return MODEL.measure(np.array(usd), MARKET).var_upper_usd


def test_target_within_the_budget_passes_whole() -> None:
    """A book that meets the budget is traded as asked, to the last bit."""
    target = [5e5, -5e5, 0.0, 0.0]
    verdict = _recheck([0.0] * 4, target)
    assert (verdict.reason, verdict.scale.tolist()) == ("", [1.0] * 4)
    assert verdict.var_upper_usd == pytest.approx(_upper(target), rel=1e-12)


def test_target_beyond_the_budget_is_scaled_to_it() -> None:
    """From a flat book VaR is proportional: the scale is budget over upper, and it meets the budget."""
    target = [4e6, -4e6, 0.0, 0.0]
    verdict = _recheck([0.0] * 4, target)
    expected = 135_000.0 / _upper(target)
    assert verdict.scale.tolist() == pytest.approx([expected] * 4, rel=1e-8)
    assert verdict.var_upper_usd <= 135_000.0


def test_scale_is_the_largest_from_a_held_book() -> None:
    """w0 + λ(w − w0) with the largest λ: a little more would break the budget."""
    held, target = [5e5, -4e5, 1e5, -1e5], [3e6, -2e6, -1e5, 2e5]
    scale = _recheck(held, target).scale[0]
    step = np.array(target) - np.array(held)
    assert 0.0 < scale < 1.0
    assert _upper((held + scale * step).tolist()) <= 135_000.0 * (1.0 + 1e-12)
    assert _upper((held + (scale + 1e-6) * step).tolist()) > 135_000.0


def test_no_scale_is_refused() -> None:
    """A book already at its budget has no room for more of the same."""
    full = 135_000.0 / _upper([1.0, 0.0, 0.0, 0.0])
    verdict = _recheck([full, 0.0, 0.0, 0.0], [2 * full, 0.0, 0.0, 0.0], budget_usd=134_999.0)
    assert (verdict.reason, verdict.scale.any()) == ("var_budget", False)


def test_book_above_its_budget_may_still_shrink() -> None:
    """Exits are never trapped: a cut that does not reach the budget passes, growth does not."""
    held = [4e6, -4e6, 0.0, 0.0]
    cut = _recheck(held, [3.9e6, -3.9e6, 0.0, 0.0])
    assert (cut.reason, cut.scale.tolist()) == ("", [1.0] * 4)
    mixed = _recheck(held, [3.9e6, -3.9e6, 1e6, -1e6])
    assert (mixed.reason, mixed.scale.tolist()) == ("", [1.0, 1.0, 0.0, 0.0])
    assert _recheck(held, [4.1e6, -4.1e6, 0.0, 0.0]).reason == "var_budget"


def test_book_above_its_budget_takes_the_step_that_meets_it() -> None:
    """Going through the budget and out on the other side stops at the last point inside."""
    verdict = _recheck([4e6, 0.0, 0.0, 0.0], [-4e6, 0.0, 0.0, 0.0])
    assert 0.5 < verdict.scale[0] < 1.0
    assert 0.999 * 135_000.0 < verdict.var_upper_usd <= 135_000.0


def test_warming_symbol_blocks_only_its_sleeves() -> None:
    """One name without history must not stop the other spreads from trading."""
    young = msgspec.structs.replace(MARKET, known=np.array([True, True, True, False]))
    part = _recheck([0.0] * 4, [1e5, -1e5, 1e5, -1e5], with_market=young)
    assert (part.reason, part.scale.tolist()) == ("", [1.0, 1.0, 0.0, 0.0])
    assert part.var_upper_usd == pytest.approx(_upper([1e5, -1e5, 0.0, 0.0]))
    none = _recheck([0.0] * 4, [0.0, 0.0, 1e5, -1e5], with_market=young)
    assert none.reason == "risk_warming_up"


@pytest.mark.parametrize("bad", [math.nan, 0.0, -3.0, math.inf])
def test_target_without_a_usable_price_is_refused(bad: float) -> None:
    """Shares without a price have no VaR: the sleeve stays, the reason says which kind it is."""
    price = np.array([100.0, 50.0, 20.0, bad])
    assert _recheck([0.0] * 4, [0.0, 0.0, 1e5, -1e5], price=price).reason == "price_unknown"
    kept = _recheck([0.0] * 4, [1e5, -1e5, 1e5, -1e5], price=price)
    assert kept.scale.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_untrusted_covariance_refuses_everything() -> None:
    """COV_NOT_PSD: nothing may be opened on a matrix that is not one."""
    broken = Market(np.zeros((4, 4)), np.zeros(4, dtype=bool), "COV_NOT_PSD")
    assert _recheck([0.0] * 4, [1e5, -1e5, 0.0, 0.0], with_market=broken).reason == "risk_unknown"


def test_target_that_is_not_a_number_is_refused() -> None:
    """A NaN out of a solver can never be within a budget."""
    assert _recheck([0.0] * 4, [math.nan, 1e5, 0.0, 0.0]).reason == "risk_unknown"
    assert _recheck([1e5, 0.0, 0.0, 0.0], [math.nan, 0.0, 0.0, 0.0], REDUCING).reason == "reducing"


@pytest.mark.parametrize("state", [ACTIVE, REDUCING])
def test_no_change_is_refused_as_such(state: TradingState) -> None:
    """An approval is a permission to trade: where nothing would, none is given out."""
    assert _recheck([1e5, -1e5, 0.0, 0.0], [1e5, -1e5, 0.0, 0.0], state).reason == "no_change"


def test_halted_refuses_everything_but_a_flatten() -> None:
    """HALTED holds the book: even a perfect reduction waits for a signed order."""
    held = [1e5, -5e4, 0.0, 0.0]
    assert _recheck(held, [0.0] * 4, HALTED).reason == "halted"
    assert _recheck(held, [0.0] * 4, HALTED, flatten=True).scale.tolist() == [1.0] * 4


@pytest.mark.parametrize("state", [ACTIVE, REDUCING, HALTED])
def test_flatten_must_lower_var(state: TradingState) -> None:
    """A flatten that can fill only the hedge would raise VaR: it is refused, whoever signed it."""
    assert _recheck([1e6, -1e6, 0.0, 0.0], [1e6, 0.0, 0.0, 0.0], state, flatten=True).reason == "reducing"


def test_flatten_works_without_any_covariance() -> None:
    """The way out of COV_NOT_PSD: cutting all positions by one fraction lowers VaR whatever Σ is."""
    broken = Market(np.zeros((4, 4)), np.zeros(4, dtype=bool), "COV_NOT_PSD")
    held = [1e6, -1e6, 5e5, 0.0]
    for kept in (0.0, 0.4):
        target = [kept * usd for usd in held]
        assert _recheck(held, target, HALTED, flatten=True, with_market=broken).reason == ""
    lopsided = _recheck(held, [0.0, -1e6, 5e5, 0.0], HALTED, flatten=True, with_market=broken)
    assert lopsided.reason == "reducing"
    assert _recheck(held, [0.0] * 4, REDUCING, with_market=broken).scale.tolist() == [0.0] * 4


def test_reducing_goes_by_var_not_by_position() -> None:
    """Golden trap: closing a hedge shrinks a position and takes VaR from $72k to $162k."""
    for case in golden_var()["cases"]:
        if "allowed_when_reducing" not in case["expect"] and case["id"] != "balanced_unwind_lowers_var":
            continue
        given = case["input"]
        before, after = ([*given[key], 0.0, 0.0] for key in ("exposures_before", "exposures_after"))
        verdict = _recheck(before, after, REDUCING, budget_usd=1e9)
        assert (verdict.reason == "") is case["expect"]["risk_reducing"]


def test_reducing_grows_and_flips_nothing() -> None:
    """A smaller VaR bought by a new or a flipped position is still a new position."""
    held = [1e6, 0.0, 0.0, 0.0]
    assert _recheck(held, [1e6, -5e5, 0.0, 0.0], REDUCING).reason == "reducing"
    assert _recheck(held, [-1e5, 0.0, 0.0, 0.0], REDUCING).reason == "reducing"
    assert _recheck([1e6, -5e5, 0.0, 0.0], [1e6, -8e5, 0.0, 0.0], REDUCING).reason == "reducing"
    assert _recheck(held, [5e5, 0.0, 0.0, 0.0], REDUCING).reason == ""


def test_reducing_takes_the_sleeves_that_reduce() -> None:
    """A rebalance that closes one spread and opens another is cut to the part that lowers VaR."""
    held = [5e5, -5e5, 0.0, 0.0]
    verdict = _recheck(held, [0.0, 0.0, 5e5, -5e5], REDUCING)
    assert (verdict.reason, verdict.scale.tolist()) == ("", [1.0, 1.0, 0.0, 0.0])
    assert verdict.var_upper_usd == 0.0


def test_each_sleeve_must_reduce_what_is_left() -> None:
    """Closing a spread pays for nothing: opening up a hedge is refused even if the sum is still below."""
    layout = pairs_layout(4, [(0, 1), (2, 3)], [0])
    price = np.ones(4)
    held = np.array([1e6, -1e6, 2e5, -2e5, 0.0])
    target = np.array([0.0, 0.0, 2e5, 0.0, -5e5])
    verdict = RiskGate(MODEL, 1e9).recheck(Change(layout, held, target, price, MARKET), REDUCING, False)
    assert verdict.scale.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_legs_that_share_a_symbol_are_judged_net() -> None:
    """Two spreads long and short the same name hold nothing of it; its price may even be missing."""
    layout = pairs_layout(3, [(0, 1), (2, 1)])
    model = EllipticalVar(GaussianVarOptions(), 3)
    held, target = np.zeros(4), np.array([0.0, 10.0, 0.0, -10.0])
    price = np.array([100.0, math.nan, 100.0])
    gate = RiskGate(model, 1e5)
    verdict = gate.recheck(Change(layout, held, target, price, market(np.eye(3) * 1e-4)), ACTIVE, False)
    assert verdict.reason == "price_unknown"
    price[1] = 50.0
    verdict = gate.recheck(Change(layout, held, target, price, market(np.eye(3) * 1e-4)), ACTIVE, False)
    assert (verdict.reason, verdict.var_upper_usd) == ("", 0.0)


def test_reducing_must_lower_var_strictly() -> None:
    """Moving a leg from one spread to another changes no risk: only the part that sells it passes."""
    layout = pairs_layout(4, [(0, 1), (2, 1)])
    held, target = np.array([0.0, 10.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 10.0])
    verdict = RiskGate(MODEL, 1e9).recheck(Change(layout, held, target, PRICE, MARKET), REDUCING, False)
    assert verdict.scale.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_judge_answers_with_events() -> None:
    """What the book obeys: shares by leg, net weights by symbol, the λ and the VaR it leads to."""
    gate: Gate = RiskGate(MODEL, 135_000.0)
    held, target = np.zeros(4), _shares([4e6, -4e6, 0.0, 0.0])
    answer = gate.judge(5, Change(LAYOUT, held, target, PRICE, MARKET), 1e6, ACTIVE, False)
    assert isinstance(answer, TargetApproved)
    assert answer.leg_quantity == pytest.approx((answer.scale * target).tolist())
    assert answer.weight_frac == pytest.approx((4 * answer.scale, -4 * answer.scale, 0.0, 0.0))
    assert (answer.ts_ns, answer.is_flatten) == (5, False)
    gate.set_budget(1e9)
    whole = gate.judge(5, Change(LAYOUT, held, target, PRICE, MARKET), 1e6, ACTIVE, False)
    assert isinstance(whole, TargetApproved)
    assert whole.leg_quantity == tuple(target.tolist())
    refused = gate.judge(6, Change(LAYOUT, held, target, PRICE, MARKET), 1e6, HALTED, False)
    assert refused == TargetRefused(6, "halted", (4.0, -4.0, 0.0, 0.0))


def test_approved_target_passes_the_recheck_at_the_same_prices() -> None:
    """A target scaled to its budget must not be refused a minute later by its own rounding."""
    gate = RiskGate(MODEL, 135_000.0)
    held, target = _shares([3e5, -1e5, 0.0, 0.0]), _shares([4e6, -3e6, 1e5, 0.0])
    answer = gate.judge(5, Change(LAYOUT, held, target, PRICE, MARKET), 1e6, ACTIVE, False)
    assert isinstance(answer, TargetApproved)
    again = gate.recheck(Change(LAYOUT, held, np.array(answer.leg_quantity), PRICE, MARKET), ACTIVE, False)
    assert again.reason == ""
    assert again.scale.tolist() == [1.0] * 4


def test_snapshot_of_an_approval_is_reissued() -> None:
    """Recovery continues with the approval that was pending, field by field."""
    approved = TargetApproved(1, (1.0, 2.0), (0.5, 0.5), 0.7, 9.0, True)
    fields = [list(f) if isinstance(f, tuple) else f for f in msgspec.structs.astuple(approved)]
    assert RiskGate(MODEL, 1.0).reissue(fields) == approved


@pytest.mark.parametrize(
    ("upper", "scale"),
    [
        (lambda s: 200.0 * s, 0.75),
        (lambda s: 400.0 * s * s, math.sqrt(0.375)),
        (lambda _: 100.0, 1.0),
        (lambda _: 160.0, 0.0),
        (lambda s: 100.0 + 1000.0 * abs(s - 0.5), 0.55),
        (lambda _: math.nan, 0.0),
        (lambda s: 100.0 if s == 0.0 else 1000.0, 0.0),
    ],
)
def test_largest_scale(upper: object, scale: float) -> None:
    """Linear, convex, flat, out of reach, reachable only inside, unknown, and a step at once."""
    found, value = largest_scale(upper, 150.0)  # type: ignore[arg-type]
    assert found == pytest.approx(scale, abs=1e-7)
    if found > 0.0:
        assert value <= 150.0


def test_sleeves_that_cannot_be_measured_by_hand() -> None:
    """Sleeve 0 holds what risk knows nothing of; sleeve 1 lacks a price, first where it holds nothing."""
    price, known = np.array([100.0, 50.0, 20.0, math.nan]), np.array([True, False, True, True])
    for kernel in (measurable, measurable.py_func):
        may_move, leg = np.empty(4), (LAYOUT.leg_symbol, LAYOUT.leg_sleeve, 2, price, known)
        assert kernel(np.array([1.0, -1.0, 5.0, 0.0]), *leg, may_move) == 2
        assert may_move.tolist() == [0.0, 0.0, 1.0, 1.0]
        assert kernel(np.array([1.0, 0.0, 5.0, -1.0]), *leg, may_move) == 1
        assert may_move.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_only_the_gate_makes_an_approval() -> None:
    """Permission is a type: no other file of the product may call its constructor."""
    root = Path(__file__).resolve().parents[2]
    makers = set()
    for package in ("engine", "feeds", "strategies", "risk"):
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    if name == "TargetApproved":
                        makers.add(path.relative_to(root).as_posix())
    assert makers == {"risk/gate.py"}
