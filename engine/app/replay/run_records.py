"""``run.json`` and ``summary.json`` of a run folder, read back with the shape that they must have.

Files get edited, cut short and mixed up; whoever reads a folder learns it here, by the file and the key, and
not from a figure further on. Keys may be absent: other versions wrote other ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.errors import DataError


class BarsRecord(msgspec.Struct, frozen=True):
    """Key ``data`` of ``run.json``: the bars of the run."""

    path: str | None = None
    fingerprint: str | None = None
    first: str | None = None
    last: str | None = None


class RunRecord(msgspec.Struct, frozen=True):
    """Keys of ``run.json`` that somebody reads."""

    version: str | None = None
    argv: list[str] | str | None = None
    config_hash: str | None = None
    data: BarsRecord = BarsRecord()
    seed: int | None = None
    commands: str | None = None
    packages: dict[str, str | None] | None = None
    exit_reason: str | None = None


class SummaryRecord(msgspec.Struct, frozen=True):
    """Keys of ``summary.json`` (docs/run-folder.md); a figure that is unknown is null."""

    bars: int | None = None
    received: int | None = None
    accepted: int | None = None
    rejected: dict[str, int] | None = None
    pending: int | None = None
    slices: int | None = None
    symbols: int | None = None
    sessions: int | None = None
    signals: int | None = None
    fills: int | None = None
    rebalances: int | None = None
    pnl_usd: float | None = None
    total_return_frac: float | None = None
    costs_usd: float | None = None
    funding_usd: float | None = None
    max_drawdown_frac: float | None = None
    sharpe: float | None = None
    sharpe_se: float | None = None
    sharpe_reason: str | None = None
    var_last_usd: float | None = None
    var_peak_usd: float | None = None
    state: str | None = None
    halts: int | None = None
    halt_id: str | None = None
    halted: dict[str, float | str | None] | None = None
    alerts: int | None = None
    notes: list[dict[str, Any]] | None = None
    seconds: float | None = None
    bars_per_s: float | None = None
    digest: str | None = None
    journal_digest: str | None = None
    holding_usd: dict[str, float | None] | None = None
    component_var_usd: dict[str, float | None] | None = None
    marginal_var_frac: dict[str, float | None] | None = None
    strategy_gross_usd: dict[str, float | None] | None = None
    strategy_var_usd: dict[str, float | None] | None = None
    strategies: dict[str, dict[str, float | None]] | None = None
    exit_reason: str | None = None


def read_record(path: Path, shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Read an account of a run folder.

    Parameters
    ----------
    path : Path
    shape : type
        ``RunRecord`` or ``SummaryRecord``.

    Returns
    -------
    dict
        All of its keys, as they stand there.

    Raises
    ------
    DataError
        D011 if there is no such file, D013 if it is damaged: no JSON, or a value of another type.
    """
    try:
        document: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        msgspec.convert(document, shape)
    except (FileNotFoundError, NotADirectoryError):
        detail = "It needs the run's own account of itself.\nGive a folder that astra replay has written."
        what = f"{path.parent.name} is not the folder of a finished run: it has no {path.name}"
        raise DataError("D011", what, str(path.parent), detail) from None
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise damaged(path, str(error).replace(", got ", ", was ")) from None
    return document


def damaged(path: Path, cause: object) -> DataError:
    """Make the error for a file of a run folder that cannot be read (D013)."""
    detail = f"{cause}\nHalf a run would mislead. Run the replay again, or restore the file."
    return DataError("D013", f"{path.name} could not be read", str(path), detail)
