"""Exceptions against their nominal share where the law is known: the table of docs/maths/risk_models.md."""

from __future__ import annotations

import math

import pytest
from scipy.stats import t as students_t

from risk import REGISTRY
from tests.support.coverage import LAWS, exception_rates

CONFIDENCES = (0.95, 0.99)
DAYS = 800


@pytest.mark.parametrize(
    ("law", "model"),
    [
        ("normal", "gaussian"),
        ("normal", "historical"),
        ("normal", "filtered_historical"),
        ("t(4)", "student_t"),
        ("t(4)", "historical"),
        ("GARCH", "filtered_historical"),
    ],
)
def test_the_right_model_is_right(law: str, model: str) -> None:
    """A model that knows the law of the days is exceeded as often as it says (four standard errors)."""
    rates = exception_rates(law, model, CONFIDENCES, DAYS, seed=1)
    for rate, confidence in zip(rates, CONFIDENCES, strict=True):
        assert abs(rate - (1.0 - confidence)) < 4.0 * math.sqrt(confidence * (1.0 - confidence) / DAYS)


def test_a_wrong_law_is_wrong_by_what_its_tails_say() -> None:
    """Normal VaR under t(4) has 1.51% exceptions at 99%, and 4.0% at 95%: the count is that of the law."""
    days = 8_000
    rates = exception_rates("t(4)", "gaussian", CONFIDENCES, days, seed=2)
    for rate, z in zip(rates, (1.6448536269514722, 2.3263478740408408), strict=True):
        expected = float(students_t.cdf(-z * math.sqrt(2.0), 4.0))
        assert abs(rate - expected) < 4.0 * math.sqrt(expected / days)
    assert rates[1] > 0.01 + 2.0 * math.sqrt(0.01 / days)
    assert rates[0] < 0.05 - 2.0 * math.sqrt(0.05 / days)


@pytest.mark.parametrize("model", sorted(REGISTRY))
@pytest.mark.parametrize("law", sorted(LAWS))
def test_no_model_is_far_off(law: str, model: str) -> None:
    """Whatever the days are, a 95% VaR is exceeded on 2 to 10 of a hundred: not never, not at every turn."""
    [rate] = exception_rates(law, model, (0.95,), 400, seed=3)
    assert 0.02 <= rate <= 0.10
