"""``astra risk stress``: what a frozen book would lose on days of which VaR says nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from engine.app.given import bad_argument
from engine.app.render import percent, usd
from engine.app.studies.risk_inputs import FrozenBook
from engine.errors import InvariantError
from risk.stress import Stress, hedges_fail, k_sigma, named_stretch, sigma_usd, worst_stretches

#: Of the worst stretches: their length, and how many of them.
_LENGTH_DAYS: Final = 10
_WORST: Final = 3


def stress_book(
    book: FrozenBook,
    *,
    sigmas: Sequence[float],
    length_days: int | None,
    worst: int | None,
    stretches: Sequence[tuple[str, int, int]],
) -> dict[str, Any]:
    """Stress a book.

    Parameters
    ----------
    book : FrozenBook
    sigmas : sequence of float
        Multiples of the standard deviation over the horizon of VaR.
    length_days : int or None
        Of the worst stretches of the history; None for 10, or none where there is no history.
    worst : int or None
        How many of them; None for 3, or as many as fit.
    stretches : sequence of (str, int, int)
        Name, first and last day (since 1970-01-01) of further stretches.

    Returns
    -------
    dict
        ``var_usd`` (analytic, at the confidence and horizon given), ``var_limit_usd``, ``equity_usd``, and
        ``stresses``: ``name``, ``first`` and ``last`` date or None, ``loss_usd``, ``loss_frac`` of equity,
        ``of_var`` and ``of_limit``; figures are None when unknown, because of ``unknown_symbols``.

    Raises
    ------
    ConfigError
        C013 if there is neither a covariance nor a history, or what was asked for does not fit into it.
    """
    held = book.holdings_usd != 0.0
    variances = book.covariance_daily.diagonal()[held]
    if held.any() and not np.isfinite(variances).all() and not len(book.days):
        hint = "Give covariance_daily in the file, or daily closes with --history."
        raise bad_argument("nothing is known of how the held symbols move", "--history", hint)
    _must_fit(len(book.days), length_days, worst, stretches)
    confidence = float(book.options.get("confidence", 0.99))
    horizon_days = float(book.options.get("horizon_days", 10.0))
    quantile = NormalDist().inv_cdf(confidence)
    var_usd = quantile * math.sqrt(horizon_days) * sigma_usd(book.holdings_usd, book.covariance_daily)
    stresses = k_sigma(book.holdings_usd, book.covariance_daily, horizon_days, sigmas)
    stresses += hedges_fail(book.holdings_usd, book.covariance_daily, horizon_days, quantile)
    stresses += worst_stretches(
        book.holdings_usd,
        book.returns_daily,
        book.days,
        length_days or _LENGTH_DAYS,
        _WORST if worst is None else worst,
    )
    for name, first, last in stretches:
        try:
            found = named_stretch(name, book.holdings_usd, book.returns_daily, book.days, (first, last))
        except InvariantError as error:
            raise bad_argument(str(error), f"--stretch {name}") from None
        stresses.append(found)
    return {
        "var_usd": _known(var_usd),
        "confidence": confidence,
        "horizon_days": horizon_days,
        "var_limit_usd": book.var_limit_usd,
        "equity_usd": book.equity_usd,
        "unknown_symbols": [book.symbols[i] for i in np.flatnonzero(held)[~np.isfinite(variances)].tolist()],
        "stresses": [_row(one, book, var_usd) for one in stresses],
    }


def _must_fit(
    n_days: int, length_days: int | None, worst: int | None, stretches: Sequence[tuple[str, int, int]]
) -> None:
    """Refuse stretches that the history has no room for."""
    given = {"--days": length_days is not None, "--worst": bool(worst), "--stretch": bool(stretches)}
    option = next((option for option, is_given in given.items() if is_given), None)
    if option is not None and not n_days:
        hint = "Name daily closes with --history."
        raise bad_argument(f"{option} asks for stretches of a history, and there is none", option, hint)
    length, count = length_days or _LENGTH_DAYS, worst or 1
    if length_days is None and not worst:
        return
    if length > n_days:
        what = f"the history has {n_days:,} daily returns, and no stretch of {length:,} days"
        raise bad_argument(what, "--days", "Name shorter stretches, or a longer history.")
    if count > n_days // length:
        fit = f"{n_days // length:,} stretches of {length:,} days"
        what = f"--worst must be at most the {fit} that {n_days:,} daily returns have, was {count:,}"
        raise bad_argument(what, "--worst", "None overlaps another: ask for fewer, or shorter ones.")


def remarks(answer: dict[str, Any]) -> list[str]:
    """Say why figures are unknown."""
    unknown = ", ".join(answer["unknown_symbols"])
    why = "they have no covariance, or fewer than 20 daily returns that moved"
    return [f"VaR, sigmas and correlations are not known for {unknown}: {why}."] if unknown else []


def _row(one: Stress, book: FrozenBook, var_usd: float) -> dict[str, Any]:
    loss_usd = _known(one.loss_usd)
    return {
        "name": one.name,
        "first": _date(one.first_day),
        "last": _date(one.last_day),
        "loss_usd": loss_usd,
        "loss_frac": _share(loss_usd, book.equity_usd),
        "of_var": _share(loss_usd, var_usd),
        "of_limit": _share(loss_usd, book.var_limit_usd),
    }


def _share(loss_usd: float | None, whole_usd: float | None) -> float | None:
    if loss_usd is None or whole_usd is None or not whole_usd > 0.0:
        return None
    return loss_usd / whole_usd


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _date(day: int) -> str | None:
    return str(np.datetime64(day, "D")) if day >= 0 else None


HEADER = ("stress", "from", "to", "loss", "of equity", "of VaR", "of limit")


def rows_of(answer: dict[str, Any]) -> list[list[str]]:
    """Return the table of an answer, in the columns of ``HEADER``."""
    label = f"VaR {answer['confidence']:.4g}, {answer['horizon_days']:g} days"
    var = answer["var_usd"]
    limit, equity = answer["var_limit_usd"], answer["equity_usd"]
    first = [label, "-", "-", usd(var), _percent(_share(var, equity)), "100%", _percent(_share(var, limit))]
    return [first, *(_cells(one) for one in answer["stresses"])]


def _cells(one: dict[str, Any]) -> list[str]:
    return [
        one["name"],
        one["first"] or "-",
        one["last"] or "-",
        usd(one["loss_usd"]),
        *(_percent(one[key]) for key in ("loss_frac", "of_var", "of_limit")),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else percent(share, 2)
