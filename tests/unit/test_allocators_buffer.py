"""The band around a target, by itself."""

from __future__ import annotations

import numpy as np
import pytest

from strategies.allocators.buffer import nearest_allowed, to_edge


def test_short_targets_have_the_band_of_long_ones() -> None:
    """A width that took the sign of its target would turn the band inside out."""
    held = np.array([-0.7, -0.45, 0.0])
    assert to_edge(held, np.full(3, -0.5), 0.2) == pytest.approx([-0.6, -0.45, -0.4])


def test_the_walk_to_the_target_stops_where_it_may() -> None:
    """Further than needed would trade more than needed; less would break the cap."""
    edge, target = np.array([0.6, 0.6]), np.array([0.5, 0.5])
    found = nearest_allowed(edge, target, lambda w: float(w.sum()) <= 1.1)
    assert found == pytest.approx([0.55, 0.55], abs=1e-9)
    assert found.sum() <= 1.1
    assert nearest_allowed(edge, target, lambda _: True) is edge
