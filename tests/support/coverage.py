"""How often losses go beyond VaR when the law of the days is known: every model against every law.

``python -m tests.support.coverage`` prints the table of docs/maths/risk_models.md. It shares nothing with
``risk/backtest.py`` and ``risk/rolling.py``: covariance, book and count are its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from engine.events import FloatArray
from engine.oversight import Market
from risk import REGISTRY

WINDOW: Final = 500
#: USD long and short of three names whose shocks correlate at 0.5.
BOOK: Final = np.array([400_000.0, -300_000.0, 200_000.0])
_ROOT: Final = np.linalg.cholesky(np.full((3, 3), 0.5) + 0.5 * np.eye(3))
_DAILY: Final = 0.01
#: Options of every model that has them: fewer paths than by default, and the degrees of freedom of the t law.
_OPTIONS: Final = {"window_days": WINDOW, "scenarios": 2_000, "freedom": 4.0, "horizon_days": 1}


def _normal(n: int, rng: np.random.Generator) -> FloatArray:
    return np.asarray(rng.standard_normal((n, 3)) @ _ROOT.T)


def normal(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw days of one normal law, log returns of shape (n, 3)."""
    return _DAILY * _normal(n, rng)


def t4(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw days of one multivariate t with four degrees of freedom and the same covariance."""
    return _DAILY * _normal(n, rng) * np.sqrt(2.0 / rng.chisquare(4.0, n))[:, None]


def garch(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw days whose variances follow GARCH(1,1), α = 0.1 and β = 0.88, each name its own."""
    shocks, out = _normal(n, rng), np.empty((n, 3))
    variance = np.full(3, _DAILY**2)
    for t in range(n):
        out[t] = np.sqrt(variance) * shocks[t]
        variance = 0.02 * _DAILY**2 + 0.1 * out[t] ** 2 + 0.88 * variance
    return out


def regimes(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw normal days in calm (0.7% a day, 100 days on average) and in storm (2%, 25 days)."""
    sigma, stays = (0.007, 0.02), (0.99, 0.96)
    state, scale, luck = 0, np.empty(n), rng.random(n)
    for t in range(n):
        scale[t] = sigma[state]
        state = state if luck[t] < stays[state] else 1 - state
    return scale[:, None] * _normal(n, rng)


LAWS: Final[dict[str, Callable[[int, np.random.Generator], FloatArray]]] = {
    "normal": normal,
    "t(4)": t4,
    "GARCH": garch,
    "two regimes": regimes,
}


def exception_rates(law: str, model: str, confidences: Sequence[float], n_days: int, seed: int) -> FloatArray:
    """Return the share of days on which the frozen book lost more than VaR, by confidence."""
    returns = LAWS[law](WINDOW + n_days, np.random.default_rng(seed))
    return np.array([_rate(model, confidence, returns) for confidence in confidences])


def _rate(name: str, confidence: float, returns: FloatArray) -> float:
    plugin = REGISTRY[name]
    given = {**_OPTIONS, "confidence": confidence}
    options = {key: value for key, value in given.items() if key in plugin.options.model_fields}
    model = plugin.build(plugin.options.model_validate(options), ("A", "B", "C"))
    memory, known, beyond = np.empty((0, 0)), np.ones(3, dtype=np.bool_), 0
    n_days = len(returns) - WINDOW
    for day in range(n_days):
        window = returns[day : day + WINDOW]
        prepared = model.prepare(window, memory) if model.window_days else None
        factor = np.linalg.cholesky(window.T @ window / WINDOW)
        market = Market(factor, known)
        if prepared is not None:
            market, memory = Market(factor, known, "", prepared.scenarios), prepared.memory
        beyond += float(BOOK @ np.expm1(returns[day + WINDOW])) < -model.measure(BOOK, market).var_usd
    return beyond / n_days


def table(n_days: int, seed: int) -> str:
    """Return a Markdown table: exceptions in a hundred days, by law and model, where 5 and 1 are right."""
    lines = [
        f"| days are | {' | '.join(f'`{name}`' for name in REGISTRY)} |",
        "|---|" + "--:|" * len(REGISTRY),
    ]
    for law in LAWS:
        rates = [100.0 * exception_rates(law, name, (0.95, 0.99), n_days, seed) for name in REGISTRY]
        lines.append(f"| {law} | {' | '.join(f'{a:.1f} / {b:.2f}' for a, b in rates)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, 1) + "\n")
