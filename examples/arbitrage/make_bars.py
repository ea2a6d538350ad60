"""Make the daily bars of the configurations of arbitrage, ``config/basis.toml`` and its like: invented.

    python examples/arbitrage/make_bars.py

writes beside this file

- ``basis.csv``: a fund and three contracts of its future, mispriced now and then but not at expiry;
- ``correlation.csv``: two assets that fall together for some months;
- ``pairs.csv``: two shares, of which 1 moves with 1.15 of the other;
- ``merger.csv``: three bids, of ``deals.csv``: one is raised and closes, one is in shares, one breaks;
- ``merger_daily.csv``: closes of these shares before the first bar, so that risk knows them from then on;
- ``convertible.csv``: a share that moves by 45% a year, and a bond whose option is priced for less;
- ``portfolio.csv``: the fund and its futures, the two shares, and bonds that fall with the fund for a while.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIRST = dt.date(2026, 1, 5)
EXPIRIES = {"ESH6": dt.date(2026, 3, 20), "ESM6": dt.date(2026, 6, 18), "ESU6": dt.date(2026, 9, 18)}
RATE_FRAC, DIVIDEND_FRAC = 0.036, 0.012
HOLIDAYS = frozenset(
    dt.date(2026, month, day)
    for month, day in ((1, 19), (2, 16), (4, 3), (5, 25), (6, 19), (7, 3), (9, 7), (11, 26), (12, 25))
)
Closes = NDArray[np.float64]


def weekdays(n: int) -> list[dt.date]:
    """List the first ``n`` days on which the exchange is open."""
    days: list[dt.date] = []
    day = FIRST
    while len(days) < n:
        if day.weekday() < 5 and day not in HOLIDAYS:
            days.append(day)
        day += dt.timedelta(days=1)
    return days


def basis(days: list[dt.date]) -> dict[str, Closes]:
    """Return closes of a fund and its futures; a contract has none once it has expired."""
    rng = np.random.Generator(np.random.Philox(11))
    fund = 680.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.009, len(days))))
    stress = np.zeros(len(days))
    for t in range(1, len(days)):
        stress[t] = 0.8 * stress[t - 1] + rng.normal(0.0, 0.0016)
    closes = {"SPY": fund}
    for symbol, expiry in EXPIRIES.items():
        left = np.array([(expiry - day).days for day in days], dtype=np.float64)
        fair = 10.0 * fund * (1.0 + (RATE_FRAC - DIVIDEND_FRAC) * left / 360.0)
        future = fair * (1.0 + stress * np.minimum(left / 10.0, 1.0))
        closes[symbol] = np.where(left >= 0.0, np.round(future * 4.0) / 4.0, np.nan)
    return closes


def regimes(days: list[dt.date]) -> dict[str, Closes]:
    """Return closes of stocks and bonds: apart at first, down together in the middle, apart again."""
    rng = np.random.Generator(np.random.Philox(12))
    n = len(days)
    common, own = rng.normal(0.0, 0.01, n), rng.normal(0.0, 0.006, n)
    together = (np.arange(n) >= n // 3) & (np.arange(n) < 2 * n // 3)
    drift = np.where(together, -0.002, 0.0005)
    bonds = drift + np.where(together, 0.7, -0.5) * common + own
    return {
        "SPY": 680.0 * np.exp(np.cumsum(drift + common)),
        "TLT": 90.0 * np.exp(np.cumsum(bonds)),
    }


def pair(days: list[dt.date]) -> dict[str, Closes]:
    """Return closes of two shares whose spread in dollars reverts to 2.50."""
    rng = np.random.Generator(np.random.Philox(13))
    other = 53.0 * np.exp(np.cumsum(rng.normal(0.0, 0.009, len(days))))
    spread = np.zeros(len(days))
    for t in range(1, len(days)):
        spread[t] = 0.93 * spread[t - 1] + rng.normal(0.0, 0.45)
    return {"KO": 2.50 + 1.15 * other + spread, "PEP": other}


def mergers(days: list[dt.date]) -> dict[str, Closes]:
    """Return closes of three targets and an acquirer; a target has none once it is bought."""
    rng = np.random.Generator(np.random.Philox(14))
    t = np.arange(len(days))
    noise = rng.normal(0.0, 0.003, (3, len(days)))
    alfa = np.select(
        [t < 10, t < 45, t <= 80], [40.0, 48.5 + (t - 10) / 20.0, 53.5 + 1.45 * (t - 45) / 35.0], np.nan
    )
    gama = 80.0 * np.exp(np.cumsum(rng.normal(0.0, 0.012, len(days))))
    beta = 0.5 * gama * np.where(t < 20, 0.75, 0.92 + 0.0007 * (t - 20))
    delt = np.select([t < 15, t < 60], [20.0, 27.0], 21.0)
    left = np.clip((80 - t) / 35.0, 0.0, 1.0)
    return {
        "ALFA": alfa * np.exp(left * noise[0]),
        "BETA": beta * np.exp(noise[1]),
        "GAMA": gama,
        "DELT": delt * np.exp(noise[2]),
    }


def before_mergers(days: list[dt.date]) -> dict[str, Closes]:
    """Return closes that end where ``mergers`` begins."""
    rng = np.random.Generator(np.random.Philox(17))
    walks = rng.normal(0.0, 0.012, (4, len(days))).cumsum(axis=1)
    ends = {"ALFA": 40.0, "BETA": 30.0, "GAMA": 80.0, "DELT": 20.0}
    return {
        name: end * np.exp(walk - walk[-1]) for (name, end), walk in zip(ends.items(), walks, strict=True)
    }


def convertible(days: list[dt.date]) -> dict[str, Closes]:
    """Return closes of a share, and of a bond of 15 shares for 1,000: a floor, and options that are cheap.

    They are priced at 42% a year, then at 30%, and in the end at 45%.
    """
    rng = np.random.Generator(np.random.Philox(15))
    stock = 60.0 * np.exp(np.cumsum(rng.normal(0.0002, 0.45 / math.sqrt(252.0), len(days))))
    years = np.array([(dt.date(2029, 1, 15) - day).days for day in days]) / 365.0
    strike = 1_000.0 / 15.0 * np.exp(-RATE_FRAC * years)
    width = np.interp(np.arange(len(days)), [20, 40, 180, 210], [0.42, 0.30, 0.30, 0.45]) * np.sqrt(years)
    d1 = np.log(stock / strike) / width + 0.5 * width
    below = np.array([[0.5 * math.erfc(-d / math.sqrt(2.0)) for d in ds] for ds in (d1, d1 - width)])
    option = stock * below[0] - strike * below[1]
    return {"CVB29": 100.0 * np.exp(-0.05 * years) + 1.5 * option, "CVS": stock}


def portfolio(days: list[dt.date]) -> dict[str, Closes]:
    """Return closes for three strategies at once; the bonds go against the fund but for the middle third."""
    closes = basis(days)
    rng = np.random.Generator(np.random.Philox(16))
    n = len(days)
    together = (np.arange(n) >= n // 3) & (np.arange(n) < 2 * n // 3)
    moved = np.diff(np.log(closes["SPY"]), prepend=np.log(680.0))
    bonds = np.where(together, 0.7, -0.5) * moved - np.where(together, 0.001, 0.0) + rng.normal(0.0, 0.004, n)
    return {**closes, **pair(days), "TLT": 90.0 * np.exp(np.cumsum(bonds))}


def write(path: Path, days: list[dt.date], closes: Mapping[str, Closes]) -> None:
    """Write daily bars; a bar opens at the close before it, moved by nothing."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["date", "symbol", "open", "high", "low", "close", "volume"])
        for t, day in enumerate(days):
            for symbol, close in closes.items():
                if np.isnan(close[t]):
                    continue
                opened, now = (f"{close[max(t - 1, 0)]:.2f}", f"{close[t]:.2f}")
                high, low = max(opened, now, key=float), min(opened, now, key=float)
                rows.writerow([day, symbol, opened, high, low, now, 2_000_000])


def write_closes(path: Path, days: list[dt.date], closes: Mapping[str, Closes]) -> None:
    """Write daily closes, a history for ``[risk]``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["date", "symbol", "close"])
        rows.writerows(
            [day, name, f"{close[t]:.2f}"] for t, day in enumerate(days) for name, close in closes.items()
        )


def main(folder: Path) -> None:
    """Write all files into a folder."""
    write(folder / "basis.csv", days := weekdays(150), basis(days))
    write(folder / "correlation.csv", days := weekdays(240), regimes(days))
    write(folder / "pairs.csv", days := weekdays(240), pair(days))
    write(folder / "merger.csv", days := weekdays(110), mergers(days))
    earlier = [FIRST - dt.timedelta(days=n) for n in range(45, 0, -1)]
    earlier = [day for day in earlier if day.weekday() < 5]
    write_closes(folder / "merger_daily.csv", earlier, before_mergers(earlier))
    write(folder / "convertible.csv", days := weekdays(240), convertible(days))
    write(folder / "portfolio.csv", days := weekdays(150), portfolio(days))


if __name__ == "__main__":
    main(Path(__file__).parent)
