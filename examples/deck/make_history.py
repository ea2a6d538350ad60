"""Make the daily closes of the deck's example: 502 sessions of seven names, SYNTHETIC.

A market, two sectors and a noise of each name, seeded. The closes end where the simulated bars of
config/astra.toml begin. Run it from the repository:  python examples/deck/make_history.py
"""

from __future__ import annotations

import csv
import math
from datetime import date
from pathlib import Path

import numpy as np

from feeds.calendars import date_of, day_of, sessions_for

FIRST, LAST = date(2024, 1, 3), date(2026, 1, 2)
MARKET_DAILY = 0.0095

#: Close on the last day, loading on market, daily volatility of its sector factor and of its own.
NAMES = {
    "JPM": (318.22, 0.95, "banks", 0.008, 0.0060),
    "C": (118.00, 1.15, "banks", 0.010, 0.0065),
    "GS": (914.14, 1.10, "banks", 0.009, 0.0070),
    "MS": (180.74, 1.10, "banks", 0.009, 0.0065),
    "AAPL": (277.02, 1.10, "technology", 0.007, 0.0100),
    "MSFT": (416.00, 1.05, "technology", 0.008, 0.0085),
    "GOOGL": (332.70, 1.15, "technology", 0.008, 0.0110),
}


def main() -> None:
    """Write ``daily.csv`` beside this file."""
    sessions = sessions_for("XNYS", day_of(FIRST), day_of(LAST), 1)
    n = len(sessions.day)
    rng = np.random.Generator(np.random.Philox(11))
    market = MARKET_DAILY * rng.standard_normal(n)
    factors = {name: rng.standard_normal(n) for name in ("banks", "technology")}
    closes = {}
    for symbol, (last_usd, beta, sector, sector_sd, own_sd) in NAMES.items():
        returns = beta * market + sector_sd * factors[sector] + own_sd * rng.standard_normal(n)
        path = np.cumsum(returns)
        closes[symbol] = np.exp(path - path[-1] + math.log(last_usd))
    with (Path(__file__).parent / "daily.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["date", "symbol", "close"])
        for t, day in enumerate(sessions.day.tolist()):
            for symbol, close in closes.items():
                writer.writerow([date_of(day), symbol, f"{close[t]:.2f}"])


if __name__ == "__main__":
    main()
