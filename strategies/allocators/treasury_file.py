"""``astra optimise`` for Treasury relative value: the answer, and what it means in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from engine.events import BoolArray, FloatArray
from strategies.allocators.conflict import Conflict, explained
from strategies.allocators.treasury_conflict import conflicts_of
from strategies.allocators.treasury_document import TreasuryCase, read_case
from strategies.allocators.treasury_program import TreasuryAnswer, solve

_BP: Final = 1e4
_USD: Final = 1e6
_FIGURES: Final = (
    "positions_musd",
    "weights_frac",
    "net_musd",
    "carry_musd",
    "roll_down_musd",
    "repo_musd",
    "cost_musd",
    "gross_musd",
    "traded_musd",
    "cvar_musd",
)


def optimise_treasury(document: Mapping[str, Any]) -> dict[str, Any]:
    """Solve the problem of a file.

    Parameters
    ----------
    document : mapping
        Keys of :class:`strategies.allocators.treasury_document.TreasuryDocument`.

    Returns
    -------
    dict
        ``status``: ``optimal``; ``do_not_trade`` (the best is what is held); ``infeasible``,
        ``solver_failed``, ``check_failed``, with figures of None. ``positions_musd`` and, of
        ``equity_musd`` if that is given, ``weights_frac``, in the order of ``tenors``; what they are expected
        to earn over the horizon, ``net_musd = carry + roll_down - repo - cost``; ``cvar_musd``; ``binding``
        and ``shadow_prices`` ($ of net per $ by which the limit is eased); ``by_tenor``, the arithmetic of
        each; ``conflict``, empty unless ``infeasible``, the limits that cannot hold together, each with its
        ``limit``, ``value`` and ``needed``; ``explanation``, sentences.

    Raises
    ------
    ConfigError or Errors
        C020 and C021, as :func:`strategies.allocators.treasury_document.read_case`.
    """
    case = read_case(document)
    answer = solve(case.program)
    is_solved = answer.x.size > 0
    conflicts = conflicts_of(case) if answer.status == "infeasible" else []
    figures = _figures(case, answer.x) if is_solved else dict.fromkeys(_FIGURES)
    return {
        "status": answer.status,
        **figures,
        "binding": list(answer.binding),
        "shadow_prices": answer.shadow_prices,
        "by_tenor": _by_tenor(case, answer.x if is_solved else None),
        "conflict": [conflict.document() for conflict in conflicts],
        "explanation": list(_explain(case, answer, conflicts)),
    }


def breakeven_days(case: TreasuryCase) -> FloatArray:
    """Return after how many days the carry of each tenor, on its better side, has paid its one-way cost."""
    daily = np.abs(case.program.edge) / case.given.horizon_days
    infinite = np.full(daily.size, np.inf)
    return np.asarray(np.divide(case.cost_frac, daily, out=infinite, where=daily > 0.0), dtype=np.float64)


def _figures(case: TreasuryCase, x: FloatArray) -> dict[str, Any]:
    program, equity = case.program, case.given.equity_musd
    traded = np.abs(x - program.held)
    return {
        "positions_musd": x.tolist(),
        "weights_frac": None if equity is None else (x / equity).tolist(),
        "net_musd": program.net(x),
        "carry_musd": float(case.carry_frac @ x),
        "roll_down_musd": float(case.roll_frac @ x),
        "repo_musd": float(case.repo_frac @ x),
        "cost_musd": float(case.cost_frac @ traded),
        "gross_musd": float(np.abs(x).sum()),
        "traded_musd": float(traded.sum()),
        "cvar_musd": program.cvar(x),
    }


def _by_tenor(case: TreasuryCase, x: FloatArray | None) -> list[dict[str, Any]]:
    days, edge = breakeven_days(case), case.program.edge
    return [
        {
            "tenor": name,
            "carry_bp": _BP * float(case.carry_frac[i]),
            "roll_down_bp": _BP * float(case.roll_frac[i]),
            "repo_bp": _BP * float(case.repo_frac[i]),
            "cost_bp": _BP * float(case.cost_frac[i]),
            "net_bp": _BP * float(abs(edge[i]) - case.cost_frac[i]),
            "better_side": "long" if edge[i] >= 0.0 else "short",
            "breakeven_days": float(days[i]) if np.isfinite(days[i]) else None,
            "position_musd": None if x is None else float(x[i]),
        }
        for i, name in enumerate(case.program.names)
    ]


def _explain(case: TreasuryCase, answer: TreasuryAnswer, conflicts: Sequence[Conflict]) -> Iterator[str]:
    """Say what the answer is, why, and what stands in its way."""
    program, days = case.program, _days(case.given.horizon_days)
    rolled = "and roll-down " if case.is_rolling else "(no roll-down: it is not asked for) "
    if answer.status == "infeasible":
        yield f"No book satisfies all limits with minimum = {case.given.minimum!r}."
        yield from explained(conflicts)
        return
    if not answer.x.size:
        yield f"No answer can be believed ({answer.status}): change nothing."
        return
    x, pays = answer.x, np.abs(program.edge) > case.cost_frac
    if answer.status == "do_not_trade" and not pays.any():
        yield f"Do not trade: over {days} no tenor's carry {rolled}less repo covers its one-way cost."
        yield from _say_nearest(case)
    elif answer.status == "do_not_trade":
        better = " more than what is held" if program.held.any() else ""
        yield f"Do not trade: within the limits nothing pays{better} over {days}."
    else:
        traded = [
            f"{'buy' if by > 0.0 else 'sell'} {abs(by):,.3f} $M of {name}"
            for name, by in zip(program.names, (x - program.held).tolist(), strict=True)
            if by != 0.0
        ]
        yield f"Trade: {', '.join(traded)}."
        net = f"Carry {rolled}less repo and one-way costs is ${_USD * program.net(x):,.0f} over {days}."
        yield net
        yield from _say_losing(case, x, days)
    for name, price in answer.shadow_prices.items():
        if price > 0.0:
            gained = f"{_USD * price:,.0f}" if _USD * price >= 10.0 else f"{_USD * price:.2g}"
            yield f"Binding: {_say_limit(name)}; each $M by which it is eased adds ${gained}."
    if answer.shadow_prices and case.given.minimum != "none":
        yield "These prices are of the linear program, with the choice of long, short and out as it is."


def _say_nearest(case: TreasuryCase) -> Iterator[str]:
    breakeven = breakeven_days(case)
    i = int(np.argmin(breakeven))
    if np.isfinite(breakeven[i]):
        yield f"The nearest is {case.program.names[i]}, which would have to be held {breakeven[i]:.1f} days."


def _say_losing(case: TreasuryCase, x: FloatArray, days: str) -> Iterator[str]:
    program, net_frac = case.program, np.abs(case.program.edge) - case.cost_frac
    is_losing = (net_frac <= 0.0) & (program.held == 0.0)

    def named(which: BoolArray) -> str:
        indices = np.flatnonzero(which).tolist()
        return ", ".join(f"{program.names[i]} ({_BP * net_frac[i]:+.2f} bp)" for i in indices)

    if (out := is_losing & (x == 0.0)).any():
        yield f"Do not trade {named(out)}: over {days} they do not earn their cost."
    if not (kept := is_losing & (x != 0.0)).any():
        return
    if program.minimum == "forced":
        lost = -_USD * float(net_frac[kept] @ np.abs(x[kept]))
        yield f"Held only because a minimum is forced, at a loss of ${lost:,.0f}: {named(kept)}."
    else:
        yield f"Held for the risk they take away, though they do not earn their cost: {named(kept)}."


def _days(days: float) -> str:
    return "1 day" if days == 1.0 else f"{days:g} days"


def _say_limit(name: str) -> str:
    kind, _, tenor = name.partition(":")
    return f"{kind.replace('_', ' ')} of {tenor}" if tenor else kind.replace("cvar", "CVaR")
