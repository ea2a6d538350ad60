"""The configuration of ``astra run --demo``: simulated pairs around the clock, all in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.app.config import Config, parse

#: Minutes of the tape that are sent at once, so that there is something to see from the first minute.
LEAD_MIN: Final = 180

_TEXT: Final = """
[feed]
kind = "simulated"
sessions = 7
spread_frac = 0.004
half_life_min = 20

[universe]
calendar = "24/7"

[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/C", "GS/MS", "KO/PEP"]
z = "rolling"
window_min = 60
noise = {delta = 1e-9, observation_variance = 1e-7}
warmup_min = 60
forecast_window_min = 60

[allocator]
kind = "mean_variance"
every_min = 5
risk_aversion = 2.0

[risk]
var_limit_usd = 150_000

[operator]
instance = "demo"

[daemon]
state_dir = "astra-demo"
"""


def demo_config(overrides: Sequence[str]) -> Config:
    """Return the demo's configuration; its state goes to ``astra-demo`` in the working folder."""
    return parse(_TEXT, Path.cwd(), "demo", overrides)
