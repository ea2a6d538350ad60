"""Make the daily bars of the trades that an article tells: prices as told, the days before them invented.

    python -m examples.figures.bars

writes ``basis.csv``, ``drinks.csv`` and ``together.csv`` beside this file, and ``basis_daily.csv``: closes
before the first bar, without which risk could measure neither fund nor future in so short a time.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.events import FloatArray
from feeds.calendars import day_of, sessions_for

HERE = Path(__file__).parent
#: Of the spread of two drinks: mean, standard deviation, and where the trade begins and ends.
MEAN, SD, ENTRY, EXIT = 2.50, 1.20, 4.05, 0.90
WINDOW, FALL = 60, 40
Closes = Mapping[str, Sequence[float]]


def sessions(first: str, n: int) -> list[str]:
    """List the first ``n`` sessions of XNYS on or after a day."""
    start = day_of(dt.date.fromisoformat(first))
    days = sessions_for("XNYS", start, start + 2 * n + 14).day[:n]
    return [(dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat() for day in days.tolist()]


def alternating(n: int) -> FloatArray:
    """Return 1, -1, 1, ...: n of them."""
    return np.where(np.arange(n) % 2 == 0, 1.0, -1.0)


def basis() -> Closes:
    """Return a fund at 240 and its future at 2,420 on the 16th of March; on the 19th they agree."""
    return {
        "SPY": [274.0, 248.0, 269.0, 240.0, 238.0, 236.0, 235.0, 235.0],
        "ESH0": [2_742.5, 2_482.0, 2_692.0, 2_420.0, 2_396.0, 2_366.0, 2_350.0, 2_350.0],
    }


def before_basis(n: int = 30) -> Closes:
    """Return ``n`` closes that end at the first ones of ``basis``: both fall and rise by 1% in turn."""
    moves = np.exp(0.01 * (1.0 + alternating(n)[::-1]) / 2.0 - 0.01)
    return {symbol: (close[0] * moves).tolist() for symbol, close in basis().items()}


def drinks() -> Closes:
    """Return sixty days whose spread y - 1.15 x has mean and deviation as told, the last one the entry.

    All but the last alternate about a level; level and width follow from mean and deviation of all sixty.
    """
    n = WINDOW - 1
    level = (WINDOW * MEAN - ENTRY) / n
    width = np.sqrt((n * SD**2 - (ENTRY - MEAN) ** 2 - n * (level - MEAN) ** 2) / (n - 1))
    spread = np.array([level, *(level + width * alternating(n - 1)), ENTRY, EXIT, EXIT])
    other = np.array([*(53.0 + 0.1 * alternating(n)), 53.0, 54.0, 54.0])
    return {"KO": (spread + 1.15 * other).tolist(), "PEP": other.tolist()}


def together() -> Closes:
    """Return stocks and bonds: against each other, then together until it shows; then both fall, as told."""
    shown = next(n for n in range(1, WINDOW) if _correlation(_moves(n)) > 0.3)
    stocks, bonds = _moves(shown)
    way = np.arange(1, FALL + 1) / FALL
    wave = 1.0 + 0.01 * (alternating(FALL) + 1.0)[::-1] * (way < 1.0)
    closes = {}
    for symbol, start, moves, fall in (("SPY", 470.0, stocks, 0.181), ("TLT", 145.0, bonds, 0.315)):
        before = start * np.cumprod(1.0 + moves)
        closes[symbol] = [*before.tolist(), *(before[-1] * (1.0 - fall * way) * wave).tolist()]
    return closes


def _moves(n_together: int) -> tuple[FloatArray, FloatArray]:
    sign = alternating(WINDOW + n_together)
    return 0.010 * sign, 0.005 * np.where(np.arange(sign.size) < WINDOW, -sign, sign)


def _correlation(moves: tuple[FloatArray, FloatArray]) -> float:
    return float(np.corrcoef(moves[0][-WINDOW:], moves[1][-WINDOW:])[0, 1])


def write(path: Path, dates: Sequence[str], closes: Closes) -> None:
    """Write daily bars; a bar opens at the close before it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["date", "symbol", "open", "high", "low", "close", "volume"])
        for t, date in enumerate(dates):
            for symbol, close in closes.items():
                prices = [round(close[max(t - 1, 0)], 9), round(close[t], 9)]
                rows.writerow([date, symbol, prices[0], max(prices), min(prices), prices[1], 1_000_000_000])


def main(folder: Path) -> None:
    """Write all files into a folder."""
    for name, first, closes in (
        ("basis", "2020-03-11", basis()),
        ("drinks", "2024-04-15", drinks()),
        ("together", "2021-09-01", together()),
    ):
        write(folder / f"{name}.csv", sessions(first, len(next(iter(closes.values())))), closes)
    earlier = before_basis()
    with (folder / "basis_daily.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["date", "symbol", "close"])
        for t, date in enumerate(sessions("2020-01-02", 30)):
            rows.writerows([date, symbol, round(close[t], 9)] for symbol, close in earlier.items())


if __name__ == "__main__":
    main(HERE)
