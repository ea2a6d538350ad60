"""What every test runs under: one BLAS thread, no network, repeatable examples."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.network import loopback_only

# Read when NumPy is first imported, which nothing above does: sums must not depend on the number of cores.
for _library in ("OPENBLAS", "OMP", "MKL", "VECLIB", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

# The first example of a property test may compile a kernel, so no example has a deadline.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _COMMON, max_examples=20)
settings.register_profile("ci", _COMMON, max_examples=50, derandomize=True, print_blob=True)
settings.register_profile("thorough", _COMMON, max_examples=2_000)
# --hypothesis-profile has the last word.
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    with loopback_only():
        yield
