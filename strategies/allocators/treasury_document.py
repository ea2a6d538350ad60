"""The keys of a problem file of Treasury relative value, and how they become a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from engine.errors import AstraError
from engine.events import FloatArray
from strategies.allocators.documents import all_of, bad_field, read_document
from strategies.allocators.treasury_program import Cap, Minimum, TreasuryProblem
from strategies.allocators.treasury_scenarios import loss_of_long, normal_shocks, yield_changes
from strategies.treasury_curve import par_duration_years, roll_pct

#: What one unit of ``cost`` is, as a fraction of notional.
COST_UNITS: Final = {"fraction": 1.0, "percent": 1e-2, "bp": 1e-4}
#: Days of the year that rates of financing are quoted on.
MONEY_MARKET_DAYS: Final = 360.0
_PSD_TOLERANCE: Final = 1e-10
PerTenor = FiniteFloat | list[FiniteFloat]


class NormalScenarios(BaseModel):
    """``{"kind": "normal"}``: a seeded sample, scaled by the volatilities of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["normal"] = "normal"
    n: int = Field(1_000, ge=20, le=50_000)
    seed: int = Field(2024, ge=0)
    correlation: FiniteFloat | list[list[FiniteFloat]] = Field(
        0.0, description="Of the tenors: one number for all pairs, or a matrix."
    )


class HistoricalScenarios(BaseModel):
    """``{"kind": "historical"}``: changes of the curve over ``cvar_horizon_days`` rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["historical"]
    yield_pct: list[list[FiniteFloat | None]] = Field(
        description="One row a day, oldest first, one entry a tenor; null where there is none."
    )


class TreasuryDocument(BaseModel):
    """The keys of a problem file with ``"allocator": "treasury"``. Amounts are in $M, rates in percent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allocator: Literal["treasury"]
    tenors: list[str] = Field(min_length=1, max_length=200)
    yield_pct: list[FiniteFloat]
    repo_pct: PerTenor = Field(description="What a long pays and a short earns, percent a year, actual/360.")
    horizon_days: FiniteFloat = Field(gt=0.0, le=3_660.0, description="Calendar days that carry accrues.")
    yield_day_count: Literal[360, 365] = Field(360, description="Days of the year that yields accrue on.")
    cost: PerTenor = Field(description="One-way, per unit traded, in cost_unit.")
    cost_unit: Literal["fraction", "percent", "bp"] = Field(description="Of notional.")
    maturity_years: list[FiniteFloat] | None = Field(None, description="Rising; for roll-down and durations.")
    duration_years: list[FiniteFloat] | None = Field(
        None, description="Modified; absent: of par bonds of these maturities."
    )
    roll_down: bool | None = Field(None, description="Absent: counted when maturities are given.")
    volatility: Literal["price", "yield"] | None = Field(
        None, description="What volatility_daily_pct is of: the price, or the yield, in percentage points."
    )
    volatility_daily_pct: PerTenor | None = None
    scenarios: NormalScenarios | HistoricalScenarios = Field(
        NormalScenarios.model_validate({}), discriminator="kind"
    )
    cvar_max_musd: FiniteFloat = Field(gt=0.0)
    cvar_horizon_days: int = Field(ge=1, le=250, description="Trading days that the loss is measured over.")
    cvar_level_frac: FiniteFloat = Field(0.95, gt=0.0, lt=1.0)
    liquidity_musd: PerTenor = Field(description="Largest position on either side.")
    gross_max_musd: FiniteFloat | None = Field(None, ge=0.0, description="Absent: no such limit.")
    equity_musd: FiniteFloat | None = Field(None, gt=0.0, description="For leverage, haircuts and weights.")
    leverage_max: FiniteFloat | None = Field(None, gt=0.0, description="Of gross over equity.")
    haircut_frac: PerTenor | None = Field(None, description="Margin per unit of position.")
    minimum: Minimum = Field(
        "semicontinuous",
        description="semicontinuous: nothing, or at least the minimum; forced: at least the minimum.",
    )
    min_position_musd: PerTenor = 0.0
    held_musd: list[FiniteFloat] | None = Field(None, description="Default 0 for every tenor.")


class TreasuryCase(msgspec.Struct, frozen=True):
    """A document as arrays of shape (n,), and the program they make."""

    given: TreasuryDocument
    program: TreasuryProblem
    carry_frac: FloatArray
    roll_frac: FloatArray
    repo_frac: FloatArray
    cost_frac: FloatArray
    duration_years: FloatArray
    is_rolling: bool


def read_case(document: Mapping[str, Any]) -> TreasuryCase:
    """Read a problem file.

    Raises
    ------
    ConfigError
        C020 for a field that is missing, unknown or malformed, C021 for a correlation that is none. Several
        faults are raised together as ``Errors``.
    """
    given = read_document(TreasuryDocument, document)
    faults: list[AstraError] = []
    if len(set(given.tenors)) < len(given.tenors):
        faults.append(bad_field("tenors", "must name every tenor once"))
    value = {name: _vector(given, name, faults) for name in _VECTORS}
    faults += [
        bad_field(name, f"must not be negative, was {value[name].min():g}")
        for name in ("cost", "volatility_daily_pct", "liquidity_musd", "haircut_frac", "min_position_musd")
        if (value[name] < 0.0).any()
    ]
    faults += _contradictions(given, value)
    if faults:
        raise all_of(faults)
    y, years = value["yield_pct"], value["maturity_years"]
    is_rolling = given.maturity_years is not None if given.roll_down is None else given.roll_down
    duration = value["duration_years"] if given.duration_years is not None else par_duration_years(y, years)
    carry = y / 100.0 * given.horizon_days / given.yield_day_count
    repo = value["repo_pct"] / 100.0 * given.horizon_days / MONEY_MARKET_DAYS
    zero = np.zeros(y.size)
    roll = -duration * roll_pct(y, years, given.horizon_days) / 100.0 if is_rolling else zero
    cost = value["cost"] * COST_UNITS[given.cost_unit]
    loss = _losses(given, value, duration, faults)
    if faults:
        raise all_of(faults)
    program = TreasuryProblem(
        names=tuple(given.tenors),
        edge=carry + roll - repo,
        cost=cost,
        held=value["held_musd"],
        long_max=value["liquidity_musd"],
        short_max=value["liquidity_musd"],
        minimum=given.minimum,
        position_min=value["min_position_musd"],
        caps=tuple(_caps(given, value["haircut_frac"])),
        loss=loss,
        loss_fixed=np.zeros(len(loss)),
        trade_max=np.full(y.size, np.inf),
        cvar_max=given.cvar_max_musd,
        cvar_level_frac=given.cvar_level_frac,
    )
    return TreasuryCase(given, program, carry, roll, repo, cost, duration, is_rolling)


_VECTORS: Final = (
    "yield_pct",
    "repo_pct",
    "cost",
    "maturity_years",
    "duration_years",
    "volatility_daily_pct",
    "liquidity_musd",
    "haircut_frac",
    "min_position_musd",
    "held_musd",
)


def _vector(given: TreasuryDocument, name: str, faults: list[AstraError]) -> FloatArray:
    n, value = len(given.tenors), getattr(given, name)
    if value is None or isinstance(value, float | int):
        return np.full(n, 0.0 if value is None else float(value))
    if len(value) != n:
        faults.append(bad_field(name, f"must have one entry a tenor ({n}), was {len(value)} long"))
        return np.zeros(n)
    return np.array(value, dtype=np.float64)


def _contradictions(given: TreasuryDocument, value: Mapping[str, FloatArray]) -> list[AstraError]:
    """Find keys that need one another."""
    years, faults = given.maturity_years, []
    if years is not None and (min(years) <= 0.0 or (np.diff(value["maturity_years"]) <= 0.0).any()):
        faults.append(bad_field("maturity_years", f"must be positive and rise, was {years}"))
    if years is None and given.roll_down:
        faults.append(bad_field("maturity_years", "is missing; roll_down needs it"))
    if years is None and given.duration_years is None and _needs_duration(given):
        faults.append(bad_field("duration_years", "is missing, and maturity_years too; losses need one"))
    if given.duration_years is not None and min(given.duration_years, default=1.0) <= 0.0:
        faults.append(bad_field("duration_years", f"must be positive, was {given.duration_years}"))
    if isinstance(given.scenarios, NormalScenarios):
        needed = ("volatility", "volatility_daily_pct")
        missing = [name for name in needed if getattr(given, name) is None]
        faults += [bad_field(name, "is missing; normal scenarios need it") for name in missing]
    shares = [name for name in ("leverage_max", "haircut_frac") if getattr(given, name) is not None]
    if given.equity_musd is None:
        faults += [bad_field("equity_musd", f"is missing; {name} is a share of it") for name in shares]
    return list(faults)


def _needs_duration(given: TreasuryDocument) -> bool:
    return bool(given.roll_down) or given.scenarios.kind == "historical" or given.volatility == "yield"


def _caps(given: TreasuryDocument, haircut_frac: FloatArray) -> list[Cap]:
    one, caps = np.ones(len(given.tenors)), []
    if given.gross_max_musd is not None:
        caps.append(Cap("gross", one, given.gross_max_musd))
    if given.equity_musd is not None and given.leverage_max is not None:
        caps.append(Cap("leverage", one, given.leverage_max * given.equity_musd))
    if given.equity_musd is not None and given.haircut_frac is not None:
        caps.append(Cap("haircut", haircut_frac, given.equity_musd))
    return caps


def _losses(
    given: TreasuryDocument, value: Mapping[str, FloatArray], duration: FloatArray, faults: list[AstraError]
) -> FloatArray:
    """Return the losses of a long $1M in each scenario, shape (m, n), $M."""
    n, days = len(given.tenors), given.cvar_horizon_days
    scenarios = given.scenarios
    if isinstance(scenarios, NormalScenarios):
        correlation = _correlation(scenarios.correlation, n, faults)
        shocks = normal_shocks(scenarios.n, scenarios.seed, correlation, n)
        scale = duration if given.volatility == "yield" else np.ones(n)
        daily = value["volatility_daily_pct"] / 100.0
        return loss_of_long(shocks, daily * scale * np.sqrt(days))
    field = "scenarios.yield_pct"
    if any(len(row) != n for row in scenarios.yield_pct):
        faults.append(bad_field(field, f"must have {n} entries a row, one a tenor"))
        return np.zeros((0, n))
    history = np.array(scenarios.yield_pct, dtype=np.float64).reshape(-1, n)
    change, _ = yield_changes(history, days) if len(history) > days else (np.zeros((0, n)), None)
    if len(change) < 20:
        what = f"must hold at least 20 changes over {days} rows of all tenors, was {len(change)}"
        faults.append(bad_field(field, what))
    return loss_of_long(change, duration / 100.0)


def _correlation(
    correlation: float | list[list[float]], n: int, faults: list[AstraError]
) -> FloatArray | None:
    field = "scenarios.correlation"
    if isinstance(correlation, float | int):
        if correlation == 0.0:
            return None
        matrix = np.full((n, n), float(correlation))
        np.fill_diagonal(matrix, 1.0)
    elif [len(row) for row in correlation] != [n] * n:
        faults.append(bad_field(field, f"must be {n} rows of {n}, one a tenor"))
        return None
    else:
        matrix = np.array(correlation, dtype=np.float64)
    is_correlation = np.array_equal(matrix, matrix.T) and bool((np.diag(matrix) == 1.0).all())
    if not is_correlation or np.linalg.eigvalsh(matrix)[0] < -_PSD_TOLERANCE * n:
        what = "must be symmetric, with a diagonal of 1, and positive semidefinite"
        faults.append(bad_field(field, what, "C021"))
        return None
    return matrix
