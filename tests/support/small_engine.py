"""An engine small enough to be started and killed often: one simulated pair, around the clock."""

from __future__ import annotations

CONFIG = """
[feed]
kind = "simulated"
sessions = 20
start = 2024-01-08
[universe]
calendar = "24/7"
[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/C"]
z = "rolling"
window_min = 40
noise = {delta = 1e-9, observation_variance = 1e-7}
warmup_min = 30
forecast_window_min = 40
[allocator]
kind = "direct"
[operator]
instance = "keeper"
"""
#: Minutes of the tape in a minute: so that it is met running, and as fast as it can go.
SLOW, FAST = "--speed=6000", "--speed=1e9"
