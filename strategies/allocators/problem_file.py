"""``astra optimise``: a document with a problem in, a document with the answer out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from engine.errors import AstraError, ConfigError, Errors
from engine.events import FloatArray
from strategies.allocators.downside import downside
from strategies.allocators.min_variance import min_variance
from strategies.allocators.names import NamesAnswer, NamesProblem, mean_variance

_PSD_TOLERANCE = 1e-10
_ASYMMETRY_MAX = 1e-6


class ProblemDocument(BaseModel):
    """The keys of a problem file. Returns, covariance and history share one period."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    allocator: Literal["mean_variance", "min_variance", "downside"]
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


_SOLVERS: dict[str, tuple[Callable[[NamesProblem], NamesAnswer], Callable[[NamesProblem, FloatArray], float]]]
_SOLVERS = {
    "mean_variance": (
        mean_variance,
        lambda problem, w: problem.net_return_frac(w) - problem.risk_aversion * problem.variance(w),
    ),
    "min_variance": (min_variance, NamesProblem.variance),
    "downside": (downside, NamesProblem.net_return_frac),
}


def optimise(document: Mapping[str, Any]) -> dict[str, Any]:
    """Solve the problem of a file.

    Parameters
    ----------
    document : mapping
        Keys of ``ProblemDocument``. ``mean_variance`` maximises ``mu'w - gamma w'Sw - tau c'|w - w0|``,
        ``downside`` the same without variance, ``min_variance`` minimises ``w'Sw``. ``long_only`` and
        ``fully_invested`` default to false, except that ``min_variance`` without ``net_max_frac`` and
        ``return_min_frac`` is long-only and fully invested: with caps alone its optimum is the empty book.

    Returns
    -------
    dict
        ``status`` (``optimal``, ``infeasible``, ``unbounded``, ``solver_failed``, ``check_failed``),
        ``weights_frac`` (a list in the order of ``symbols``), ``objective``, ``gross_frac``, ``net_frac``,
        ``turnover_frac`` (sum of |w - w0|) and ``binding``. Figures are None unless ``optimal``.

    Raises
    ------
    ConfigError
        C020 for a field that is missing, unknown or malformed, C021 for a covariance that is not symmetric
        and positive semidefinite. Several faults are raised together as ``Errors``.
    """
    problem, kind = _read(document)
    solve, objective = _SOLVERS[kind]
    answer = solve(problem)
    if answer.status != "optimal":
        figures = ("weights_frac", "objective", "gross_frac", "net_frac", "turnover_frac")
        return {"status": answer.status, **dict.fromkeys(figures), "binding": list(answer.binding)}
    w = answer.weights_frac
    return {
        "status": answer.status,
        "weights_frac": w.tolist(),
        "objective": objective(problem, w),
        "gross_frac": float(np.abs(w).sum()),
        "net_frac": float(w.sum()),
        "turnover_frac": float(np.abs(w - problem.held_frac).sum()),
        "binding": list(answer.binding),
    }


def _read(document: Mapping[str, Any]) -> tuple[NamesProblem, str]:
    try:
        given = ProblemDocument.model_validate(dict(document))
    except ValidationError as error:
        raise _as_astra([_fault(detail) for detail in error.errors()]) from None
    faults: list[AstraError] = []
    n, kind = len(given.symbols), given.allocator
    if len(set(given.symbols)) < n:
        twice = next(symbol for symbol in given.symbols if given.symbols.count(symbol) > 1)
        faults.append(_bad("symbols", f"must name every symbol once, was {twice} twice"))
    vectors = {
        name: _vector(name, getattr(given, name), n, faults)
        for name in ("expected_return_frac", "held_frac", "cost_frac")
    }
    if (vectors["cost_frac"] < 0.0).any():
        faults.append(_bad("cost_frac", f"must not be negative, was {vectors['cost_frac'].min():g}"))
    needs_covariance = kind == "min_variance" or (kind == "mean_variance" and given.risk_aversion > 0.0)
    covariance = _covariance(given.covariance, n, needs_covariance, kind, faults)
    history, worst_days = _history(given, n, faults)
    if faults:
        raise _as_astra(faults)
    is_pure = kind == "min_variance" and given.net_max_frac is None and given.return_min_frac is None
    max_loss = given.worst_day_max_loss_frac if kind == "downside" else None
    problem = NamesProblem(
        symbols=tuple(given.symbols),
        **vectors,
        covariance=covariance,
        risk_aversion=given.risk_aversion,
        trade_aversion=given.trade_aversion,
        gross_max_frac=_or_inf(given.gross_max_frac),
        net_max_frac=_or_inf(given.net_max_frac),
        name_max_frac=_or_inf(given.name_max_frac),
        long_only=is_pure if given.long_only is None else given.long_only,
        fully_invested=is_pure if given.fully_invested is None else given.fully_invested,
        return_min_frac=-math.inf if given.return_min_frac is None else given.return_min_frac,
        history_return_frac=history,
        worst_days=worst_days,
        worst_day_max_loss_frac=_or_inf(max_loss),
    )
    return problem, kind


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _vector(name: str, given: float | list[float] | None, n: int, faults: list[AstraError]) -> FloatArray:
    if given is None or isinstance(given, float | int):
        return np.full(n, 0.0 if given is None else given)
    if len(given) != n:
        faults.append(_bad(name, f"must have one entry a symbol ({n}), was {len(given)} long"))
        return np.zeros(n)
    return np.array(given)


def _covariance(
    given: list[list[float]] | None, n: int, is_needed: bool, kind: str, faults: list[AstraError]
) -> FloatArray:
    """Return the covariance as it is, but for the rounding of its two triangles."""
    zero = np.zeros((n, n))
    if given is None:
        if is_needed:
            faults.append(_bad("covariance", f"is missing; {kind} measures risk by it"))
        return zero
    if [len(row) for row in given] != [n] * n:
        faults.append(_bad("covariance", f"must be {n} rows of {n}, one a symbol"))
        return zero
    matrix = np.array(given)
    if np.abs(matrix - matrix.T).max() > _ASYMMETRY_MAX * np.abs(matrix).max():
        faults.append(_bad("covariance", "must be symmetric", "C021"))
        return zero
    matrix = np.asarray(0.5 * (matrix + matrix.T), dtype=np.float64)
    values = np.linalg.eigvalsh(matrix)
    if values[0] < -_PSD_TOLERANCE * max(values[-1], 0.0) or values[-1] < 0.0:
        what = f"must be positive semidefinite, was one with the eigenvalue {values[0]:.3g}"
        faults.append(_bad("covariance", what, "C021"))
        return zero
    return matrix


def _history(given: ProblemDocument, n: int, faults: list[AstraError]) -> tuple[FloatArray, int]:
    """Return the history and how many of its days are the worst ones."""
    if given.allocator != "downside":
        return np.zeros((0, n)), 0
    if given.worst_day_max_loss_frac is None:
        faults.append(_bad("worst_day_max_loss_frac", "is missing; downside limits risk by it"))
    rows = given.history_return_frac
    if not rows:
        faults.append(_bad("history_return_frac", "is missing; downside measures risk by it"))
        return np.zeros((0, n)), 0
    if any(len(row) != n for row in rows):
        faults.append(_bad("history_return_frac", f"must have {n} entries a row, one a symbol"))
        return np.zeros((0, n)), 0
    return np.array(rows), max(1, round(len(rows) * given.worst_frac))


def _bad(field: str, what: str, code: str = "C020") -> ConfigError:
    return ConfigError(code, f"{field} {what}", field)


def _fault(detail: Any) -> ConfigError:
    """Turn pydantic's finding into an error that names the field."""
    where = ".".join(str(part) for part in detail["loc"])
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = ", ".join(ProblemDocument.model_fields)
        return ConfigError("C020", f"{where} is not a key of a problem file", where, f"Known keys: {known}.")
    if kind == "missing":
        return ConfigError("C020", f"{where} is missing", where)
    return ConfigError("C020", f"{where}: {detail['msg']}, was {detail['input']!r:.60}", where)


def _as_astra(faults: list[AstraError]) -> AstraError:
    return faults[0] if len(faults) == 1 else Errors(faults)
