"""``astra run --demo``: a folder with a configuration, daily closes and a simulated tape around the clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from engine.app.config.load import Config, load

#: Minutes of the tape that are sent at once, so that there is something to see from the first minute.
LEAD_MIN: Final = 180
FOLDER: Final = "astra-demo"
_PAIRS: Final = ("JPM/C", "GS/MS", "KO/PEP")
_HISTORY_DAYS: Final = 120
_VOLATILITY_FRAC: Final = 0.015

_TEXT: Final = f"""\
# The demo: SIMULATED bars around the clock. `astra run` goes on with it, `astra status` tells how it is.
[feed]
kind = "simulated"
sessions = 7
spread_frac = 0.004
half_life_min = 20

[universe]
calendar = "24/7"

[[strategy]]
kind = "kalman_pairs"
pairs = [{", ".join(f'"{pair}"' for pair in _PAIRS)}]
z = "rolling"
window_min = 60
noise = {{delta = 1e-9, observation_variance = 1e-7}}
warmup_min = 60
forecast_window_min = 60

[allocator]
kind = "mean_variance"
every_min = 5
risk_aversion = 2.0

[risk]
var_limit_usd = 150_000
history = "daily.csv"           # made up, like the bars: without it VaR is unknown for two days

[operator]
instance = "demo"
"""


def demo_config(overrides: Sequence[str]) -> Config:
    """Return the configuration of the demo in the working folder, making it if there is none yet."""
    folder = Path.cwd() / FOLDER
    config = folder / "astra.toml"
    if not config.exists():
        folder.mkdir(exist_ok=True)
        _write_history(folder / "daily.csv")
        config.write_text(_TEXT, encoding="utf-8")
    return load(config, overrides)


def _write_history(path: Path) -> None:
    """Write daily closes before the tape: random walks as lively as the simulated bars."""
    symbols = [symbol for pair in _PAIRS for symbol in pair.split("/")]
    rng = np.random.Generator(np.random.Philox(7))
    market = 0.6 * rng.standard_normal((_HISTORY_DAYS, 1))
    steps = _VOLATILITY_FRAC * (market + 0.8 * rng.standard_normal((_HISTORY_DAYS, len(symbols))))
    closes = 100.0 * np.exp(np.cumsum(steps, axis=0))
    first = np.datetime64("2026-01-05") - _HISTORY_DAYS
    rows = [
        f"{first + day},{symbol},{close:.4f}"
        for day, values in enumerate(closes)
        for symbol, close in zip(symbols, values.tolist(), strict=True)
    ]
    path.write_text("\n".join(["date,symbol,close", *rows, ""]), encoding="ascii")
