"""``astra optimise``: a document with a problem in, a document with the answer out.

Every kind is the one program of ``names_program`` with particular parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from engine.errors import AstraError
from engine.events import FloatArray
from strategies.allocators.buffer import nearest_allowed, to_edge
from strategies.allocators.conflict import conflicts_of, explained
from strategies.allocators.documents import all_of, bad_field, read_document
from strategies.allocators.names import NamesAnswer, NamesProblem, Weighting, examine
from strategies.allocators.names_program import NamesProgram
from strategies.allocators.treasury_file import optimise_treasury

_PSD_TOLERANCE = 1e-10
_ASYMMETRY_MAX = 1e-6
#: Keys that one kind alone understands.
_OWN_KEYS: Final = {
    "steps": "multi_period",
    "forecast_half_life": "multi_period",
    "ends_flat": "multi_period",
    "buffer_frac": "no_trade_buffer",
}
#: Keys with defaults that the answer of a kind depends on.
_COUNTED: Final = {
    "mean_variance": ("expected_return_frac", "held_frac", "cost_frac", "risk_aversion", "trade_aversion"),
    "min_variance": (),
    "downside": ("expected_return_frac", "held_frac", "cost_frac", "trade_aversion", "worst_frac"),
    "multi_period": (
        *("expected_return_frac", "held_frac", "cost_frac", "risk_aversion", "trade_aversion"),
        *("steps", "forecast_half_life", "ends_flat"),
    ),
    "no_trade_buffer": ("expected_return_frac", "held_frac", "risk_aversion", "buffer_frac"),
}
#: What ``min_variance`` decides by the limits it is given.
_CHOICES: Final = ("long_only", "fully_invested")


class ProblemDocument(BaseModel):
    """The keys of a problem file. Returns, covariance and history share one period."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    allocator: Literal["mean_variance", "min_variance", "downside", "multi_period", "no_trade_buffer"]
    symbols: list[str] = Field(min_length=1, max_length=5_000)
    expected_return_frac: list[FiniteFloat] | None = Field(None, description="Default 0 for every symbol.")
    covariance: list[list[FiniteFloat]] | None = None
    held_frac: list[FiniteFloat] | None = Field(None, description="Default 0 for every symbol.")
    cost_frac: FiniteFloat | list[FiniteFloat] = Field(0.0, description="One-way, per USD traded.")
    risk_aversion: FiniteFloat = Field(1.0, ge=0.0)
    trade_aversion: FiniteFloat = Field(1.0, ge=0.0)
    gross_max_frac: FiniteFloat | None = Field(None, ge=0.0, description="Absent: no such limit.")
    net_max_frac: FiniteFloat | None = Field(None, ge=0.0, description="Absent: no such limit.")
    name_max_frac: FiniteFloat | None = Field(None, ge=0.0, description="Absent: no such limit.")
    long_only: bool | None = None
    fully_invested: bool | None = None
    return_min_frac: FiniteFloat | None = Field(None, description="Least expected return of the book.")
    history_return_frac: list[list[FiniteFloat]] | None = Field(None, description="One row a day.")
    worst_frac: FiniteFloat = Field(0.05, gt=0.0, le=1.0, description="Share of the days that are the worst.")
    worst_day_max_loss_frac: FiniteFloat | None = Field(None, gt=0.0, description="Positive.")
    steps: int = Field(4, ge=1, le=50, description="Periods of the plan; the first is traded.")
    forecast_half_life: FiniteFloat = Field(1.0, gt=0.0, description="Periods until a forecast has halved.")
    ends_flat: bool = Field(True, description="Charge the plan for selling what it holds at its end.")
    buffer_frac: FiniteFloat = Field(0.2, ge=0.0, description="Half-width of the band, share of the target.")


def optimise(document: Mapping[str, Any]) -> dict[str, Any]:
    """Solve the problem of a file.

    Parameters
    ----------
    document : mapping
        Keys of ``ProblemDocument``. ``mean_variance`` maximises ``mu'w - gamma w'Sw - tau c'|w - w0|``,
        ``downside`` the same without variance, ``min_variance`` minimises ``w'Sw``; ``multi_period`` plans
        several periods, ``no_trade_buffer`` trades to the edge of a band around the target without costs;
        ``treasury`` has keys and figures of its own, those of ``treasury_file.optimise_treasury``.
        ``long_only`` and ``fully_invested`` default to false, except that ``min_variance`` without
        ``net_max_frac`` and ``return_min_frac`` is long-only and fully invested: with caps alone its optimum
        is the empty book.

    Returns
    -------
    dict
        ``status`` (``optimal``, ``infeasible``, ``unbounded``, ``solver_failed``, ``check_failed``),
        ``weights_frac`` (a list in the order of ``symbols``), ``objective``, ``gross_frac``, ``net_frac``,
        ``turnover_frac`` (sum of |w - w0|), ``binding``, and ``assumed``: keys that the file left out, as
        they were taken. Figures are None unless ``optimal``. If ``infeasible`` there is ``conflict``, a list
        of limits that cannot hold together (``limit``, ``value``, and ``needed``, the value that would do
        with the others as they are), and ``explanation``, which says the same in words. Further
        ``plan_frac`` of ``multi_period``, the weights of every step, and ``target_frac`` of
        ``no_trade_buffer``, the middle of the bands.

    Raises
    ------
    ConfigError
        C020 for a field that is missing, unknown or malformed, C021 for a covariance that is not symmetric
        and positive semidefinite. Several faults are raised together as ``Errors``.
    """
    if document.get("allocator") == "treasury":
        return optimise_treasury(document)
    problem, kind = read_problem(document)
    answer = NamesProgram(problem).solve(problem.weighting)
    assumed = _assumed(document, problem, kind)
    if answer.status != "optimal":
        figures = dict.fromkeys(("weights_frac", "objective", "gross_frac", "net_frac", "turnover_frac"))
        binding = list(answer.binding)
        return {"status": answer.status, **figures, "binding": binding, "assumed": assumed} | _why_not(
            problem, answer.status
        )
    further: dict[str, Any] = {}
    if kind == "multi_period":
        further["plan_frac"] = answer.plan_frac.tolist()
    if kind == "no_trade_buffer":
        further["target_frac"] = answer.weights_frac.tolist()
        answer = _buffered(problem, answer.weights_frac)
    w = answer.weights_frac
    objective = problem.utility(answer.plan_frac, problem.weighting)
    return {
        "status": answer.status,
        "weights_frac": w.tolist(),
        "objective": -objective if kind == "min_variance" else objective,
        "gross_frac": float(np.abs(w).sum()),
        "net_frac": float(w.sum()),
        "turnover_frac": float(np.abs(w - problem.held_frac).sum()),
        "binding": list(answer.binding),
        "assumed": assumed,
        **further,
    }


def _assumed(document: Mapping[str, Any], problem: NamesProblem, kind: str) -> dict[str, Any]:
    """Return what the file left open and the answer depends on; an absent limit is none, and not listed."""
    given = {key: value for key, value in document.items() if value is not None}
    fields = ProblemDocument.model_fields
    open_keys = [key for key in (*_COUNTED[kind], *_CHOICES) if key not in given]
    return {
        key: getattr(problem, key) if key in _CHOICES else fields[key].default or 0.0 for key in open_keys
    }


def _why_not(problem: NamesProblem, status: str) -> dict[str, Any]:
    """Say why there is no answer, as far as that can be said."""
    if status == "unbounded":
        return {
            "explanation": ["Nothing limits the book: name a gross_max_frac, or a risk_aversion above 0."]
        }
    if status != "infeasible":
        return {}
    conflicts = conflicts_of(problem)
    return {"conflict": [one.document() for one in conflicts], "explanation": explained(conflicts)}


def _buffered(problem: NamesProblem, target: FloatArray) -> NamesAnswer:
    edge = to_edge(problem.held_frac, target, problem.buffer_frac)
    w = nearest_allowed(edge, target, lambda weights: not examine(problem, weights)[0])
    return NamesAnswer("optimal", w[None], examine(problem, w)[1])


def read_problem(document: Mapping[str, Any]) -> tuple[NamesProblem, str]:
    """Read a document; return the problem and the kind of its allocator.

    Raises
    ------
    ConfigError
        As :func:`optimise`.
    """
    given = read_document(ProblemDocument, document)
    n, kind = len(given.symbols), given.allocator
    faults: list[AstraError] = [
        bad_field(key, f"belongs to {own}, and the allocator was {kind}")
        for key, own in _OWN_KEYS.items()
        if key in given.model_fields_set and kind != own
    ]
    if len(set(given.symbols)) < n:
        twice = next(symbol for symbol in given.symbols if given.symbols.count(symbol) > 1)
        faults.append(bad_field("symbols", f"must name every symbol once, was {twice} twice"))
    vectors: dict[str, Any] = {
        name: _vector(name, getattr(given, name), n, faults)
        for name in ("expected_return_frac", "held_frac", "cost_frac")
    }
    if (vectors["cost_frac"] < 0.0).any():
        faults.append(bad_field("cost_frac", f"must not be negative, was {vectors['cost_frac'].min():g}"))
    weighting = _weighting(given)
    needs_covariance = weighting.risk_aversion > 0.0
    covariance = _covariance(given.covariance, n, needs_covariance, kind, faults)
    history, worst_days = _history(given, n, faults)
    if faults:
        raise all_of(faults)
    is_pure = kind == "min_variance" and given.net_max_frac is None and given.return_min_frac is None
    max_loss = given.worst_day_max_loss_frac if kind == "downside" else None
    problem = NamesProblem(
        symbols=tuple(given.symbols),
        **vectors,
        covariance=covariance,
        weighting=weighting,
        gross_max_frac=_or_inf(given.gross_max_frac),
        net_max_frac=_or_inf(given.net_max_frac),
        name_max_frac=_or_inf(given.name_max_frac),
        long_only=is_pure if given.long_only is None else given.long_only,
        fully_invested=is_pure if given.fully_invested is None else given.fully_invested,
        return_min_frac=-math.inf if given.return_min_frac is None else given.return_min_frac,
        history_return_frac=history,
        worst_days=worst_days,
        worst_day_max_loss_frac=_or_inf(max_loss),
        **_plan_of(given),
    )
    return problem, kind


def _weighting(given: ProblemDocument) -> Weighting:
    """Return what the objective of a kind counts."""
    match given.allocator:
        case "min_variance":
            return Weighting(0.0, 1.0, 0.0)
        case "downside":
            return Weighting(1.0, 0.0, given.trade_aversion)
        case "no_trade_buffer":
            return Weighting(1.0, given.risk_aversion, 0.0)
        case _:
            return Weighting(1.0, given.risk_aversion, given.trade_aversion)


def _plan_of(given: ProblemDocument) -> dict[str, Any]:
    if given.allocator == "multi_period":
        decay_frac = 0.5 ** (1.0 / given.forecast_half_life)
        return {"steps": given.steps, "decay_frac": decay_frac, "ends_flat": given.ends_flat}
    return {"buffer_frac": given.buffer_frac} if given.allocator == "no_trade_buffer" else {}


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _vector(name: str, given: float | list[float] | None, n: int, faults: list[AstraError]) -> FloatArray:
    if given is None or isinstance(given, float | int):
        return np.full(n, 0.0 if given is None else given)
    if len(given) != n:
        faults.append(bad_field(name, f"must have one entry a symbol ({n}), was {len(given)} long"))
        return np.zeros(n)
    return np.array(given)


def _covariance(
    given: list[list[float]] | None, n: int, is_needed: bool, kind: str, faults: list[AstraError]
) -> FloatArray:
    """Return the covariance as it is, but for the rounding of its two triangles."""
    zero = np.zeros((n, n))
    if given is None:
        if is_needed:
            faults.append(bad_field("covariance", f"is missing; {kind} measures risk by it"))
        return zero
    if [len(row) for row in given] != [n] * n:
        faults.append(bad_field("covariance", f"must be {n} rows of {n}, one a symbol"))
        return zero
    matrix = np.array(given)
    if np.abs(matrix - matrix.T).max() > _ASYMMETRY_MAX * np.abs(matrix).max():
        faults.append(bad_field("covariance", "must be symmetric", "C021"))
        return zero
    matrix = np.asarray(0.5 * (matrix + matrix.T), dtype=np.float64)
    values = np.linalg.eigvalsh(matrix)
    if values[0] < -_PSD_TOLERANCE * max(values[-1], 0.0) or values[-1] < 0.0:
        what = f"must be positive semidefinite, was one with the eigenvalue {values[0]:.3g}"
        faults.append(bad_field("covariance", what, "C021"))
        return zero
    return matrix


def _history(given: ProblemDocument, n: int, faults: list[AstraError]) -> tuple[FloatArray, int]:
    """Return the history and how many of its days are the worst ones."""
    if given.allocator != "downside":
        return np.zeros((0, n)), 0
    if given.worst_day_max_loss_frac is None:
        faults.append(bad_field("worst_day_max_loss_frac", "is missing; downside limits risk by it"))
    rows = given.history_return_frac
    if not rows:
        faults.append(bad_field("history_return_frac", "is missing; downside measures risk by it"))
        return np.zeros((0, n)), 0
    if any(len(row) != n for row in rows):
        faults.append(bad_field("history_return_frac", f"must have {n} entries a row, one a symbol"))
        return np.zeros((0, n)), 0
    return np.array(rows), max(1, round(len(rows) * given.worst_frac))
