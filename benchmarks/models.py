"""Every risk model beside the normal one: what a bar, a session and the first session of a run take.

`--readme` puts the table into README.md, `--quick` takes one turn of each (for a look, not for figures).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from benchmarks.run import into_readme, machine, warn_of_load
from benchmarks.timing import Case, stopwatch, take_turns
from engine.events import FloatArray
from engine.oversight import Market, RiskModel
from risk import REGISTRY
from risk.rolling import market_of_days, with_scenarios

SYMBOLS: Final = (6, 40, 200, 500)
_DAYS: Final = 500
#: Symbols whose measure fills a turn: a bar takes microseconds, and a turn should take tens of milliseconds.
_MEASURED: Final = 16_000
_NOTHING: Final = np.empty((0, 0))


class Figures(NamedTuple):
    """What one model took over a number of symbols, seconds, one a turn; no session for one that has none."""

    n_symbols: int
    model: str
    bar_s: tuple[float, ...]
    session_s: tuple[float, ...]
    first_s: tuple[float, ...]


def measure(repeats: int, symbols: Sequence[int] = SYMBOLS) -> list[Figures]:
    """Measure all models in turns, over a full book and the default window of daily returns."""
    found: list[Figures] = []
    for n in symbols:
        returns = 0.01 * np.random.Generator(np.random.PCG64(7)).standard_t(5, (_DAYS + 1, n))
        models = {name: _build(name, n) for name in REGISTRY}
        cases: dict[str, Case] = {}
        for name, model in models.items():
            market, memory = with_scenarios(model, market_of_days(returns[:-1]), returns[:-1], _NOTHING)
            cases[f"{name} bar"] = partial(_bars, model, market, _book(n))
            if model.window_days:
                days = returns[-model.window_days :]
                cases[f"{name} session"] = partial(stopwatch, partial(model.prepare, days, memory), 1)
                cases[f"{name} first"] = partial(stopwatch, partial(model.prepare, days, _NOTHING), 1)
        taken = take_turns(cases, repeats)
        found += [
            Figures(n, name, *(taken.get(f"{name} {what}", ()) for what in ("bar", "session", "first")))
            for name in models
        ]
    return found


def _build(name: str, n_symbols: int) -> RiskModel:
    plugin = REGISTRY[name]
    return plugin.build(plugin.options.model_validate({}), tuple(f"S{k}" for k in range(n_symbols)))


def _book(n_symbols: int) -> FloatArray:
    """Return a book that holds every symbol, long and short in turn."""
    return np.where(np.arange(n_symbols) % 2 == 0, 1e5, -9e4)


def _bars(model: RiskModel, market: Market, book: FloatArray) -> float:
    n_bars = _MEASURED // len(book)

    def many() -> None:
        for _ in range(n_bars):
            model.measure(book, market)

    return stopwatch(many, n_bars)


def table(found: Sequence[Figures]) -> str:
    """Return the figures as a Markdown table; a ratio is of the same turns."""
    header = "| symbols | model | bar, µs | min – max | times `gaussian` | session, ms | min – max | first |"
    lines = [header, "|--:|---|--:|--:|--:|--:|--:|--:|"]
    normal = {one.n_symbols: statistics.median(one.bar_s) for one in found if one.model == "gaussian"}
    for one in found:
        ratio = statistics.median(one.bar_s) / normal[one.n_symbols]
        cells = [
            f"{one.n_symbols}",
            f"`{one.model}`",
            *_cells(one.bar_s, 1e6),
            f"{ratio:.2f}",
            *_cells(one.session_s, 1e3),
            _cells(one.first_s, 1e3)[0],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(seconds: tuple[float, ...], units: float) -> tuple[str, str]:
    if not seconds:
        return "–", "–"
    least, most, middle = (units * pick(seconds) for pick in (min, max, statistics.median))
    return _figure(middle), f"{_figure(least)} – {_figure(most)}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and as wished put into README.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn of each")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args(arguments)
    warn_of_load()
    text = f"{machine()}\n\n{table(measure(1 if options.quick else 11))}"
    print(f"\n{text}")
    if options.readme:
        into_readme("models", text)


if __name__ == "__main__":
    main()
