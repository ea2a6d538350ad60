"""Properties of VaR that hold for every book."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from risk.attribution import component_usd
from risk.limits import HaltLatch
from risk.var import EllipticalVar, GaussianVarOptions
from tests.support.books import market

N = 5
MODEL = EllipticalVar(GaussianVarOptions(scenarios=1000), N)
_ROOT = 0.01 * np.random.default_rng(1).standard_normal((N, N))
MARKET = market(_ROOT @ _ROOT.T + 1e-6 * np.eye(N))
books = arrays(np.float64, N, elements=st.floats(-1e7, 1e7, allow_nan=False).map(lambda x: round(x, 2)))
quick = settings(max_examples=60, deadline=None)


@quick
@given(books, st.floats(1e-3, 1e3))
def test_homogeneous(book: np.ndarray, scale: float) -> None:
    """Twice the book is twice the risk: the gate's scaling and the budget rest on it (1e-9)."""
    one, many = MODEL.measure(book, MARKET), MODEL.measure(scale * book, MARKET)
    assert many.var_usd == pytest.approx(scale * one.var_usd, rel=1e-9)
    assert many.var_upper_usd == pytest.approx(scale * one.var_upper_usd, rel=1e-9)


@quick
@given(books)
def test_analytic_is_sign_symmetric(book: np.ndarray) -> None:
    """A linear book and its mirror image have the same analytic VaR, bit for bit."""
    there, back = MODEL.measure(book, MARKET), MODEL.measure(-book, MARKET)
    assert there.var_analytic_usd == back.var_analytic_usd


@quick
@given(books, books)
def test_analytic_is_subadditive(one: np.ndarray, other: np.ndarray) -> None:
    """Two books together are never riskier than apart: the gate's search along a line needs convexity."""
    together = MODEL.measure(one + other, MARKET).var_analytic_usd
    apart = MODEL.measure(one, MARKET).var_analytic_usd + MODEL.measure(other, MARKET).var_analytic_usd
    assert together <= apart * (1.0 + 1e-9) + 1e-6


@quick
@given(books)
def test_components_sum_to_the_analytic_var(book: np.ndarray) -> None:
    """Risk by name adds up to the risk of the book (1e-9)."""
    report = MODEL.measure(book, MARKET)
    assert component_usd(book, MODEL.marginal(book, MARKET)).sum() == pytest.approx(
        report.var_analytic_usd, rel=1e-9, abs=1e-6
    )


@quick
@given(books, st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, N - 1))
def test_what_is_not_a_number_is_never_active(book: np.ndarray, bad: float, place: int) -> None:
    """Whatever else is held, one NaN halts."""
    book[place] = bad
    latch = HaltLatch(1e300)
    latch.on_measured(0, MODEL.measure(book, MARKET), False, True)
    assert latch.trading_state.value == "HALTED"
