"""When GARCH fits are made; what they are is in test_risk_models."""

from __future__ import annotations

import numpy as np
import pytest

from risk.filtered import FilteredHistoricalVarOptions


def test_no_session_but_the_first_makes_all_fits() -> None:
    """A halt must not wait for hundreds of fits at one bar: forty symbols are fitted two a session."""
    options = FilteredHistoricalVarOptions(confidence=0.95, window_days=60, scenarios=100, refit_sessions=20)
    returns = 0.01 * np.random.default_rng(5).standard_t(5, (101, 40))
    memory, made = np.empty((0, 0)), []
    for last in range(60, 101):
        after = options.prepare(returns[:last], memory).memory
        made.append(40 if not memory.size else int((after[:3] != memory[:3]).any(axis=0).sum()))
        memory = after
    assert made[0] == 40
    assert set(made[1:]) <= {1, 2}  # a fit that fails twice gives the same weights twice
    assert sum(made[1:21]) == pytest.approx(40, abs=4)
