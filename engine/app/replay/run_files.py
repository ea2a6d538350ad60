"""The small files of a run folder (run.json, config.toml, summary.json), written and read back."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.app.build import installed_version, version_of
from engine.app.config.load import Config, load
from engine.app.config.resolved import config_hash, resolved_toml
from engine.app.replay.run_records import RunRecord, SummaryRecord, read_record
from engine.app.replay.statistics import EquityStatistics
from engine.app.source import fingerprint_of
from engine.clock import instant, instant_name, wall_ns
from engine.commands import read_commands
from engine.errors import CommandError, ConfigError, DataError
from engine.events import Command, TradingState
from engine.status import Status

_PACKAGES: Final = ("numpy", "numba", "scipy", "cvxpy", "clarabel", "pandas", "pyarrow", "msgspec")
_COMMANDS_NAME: Final = "commands.jsonl"


class PastRun(msgspec.Struct, frozen=True):
    """What is needed to run a folder again."""

    config: Config
    digest: str
    journal_digest: str | None
    commands: Path | None


def make_folder(config: Config, out: Path | None) -> Path:
    """Create the run folder; an existing one is never written over.

    Raises
    ------
    ConfigError
        C012 if ``out`` exists and is not empty, or cannot be created.
    """
    if out is None:
        stem = Path(config.source.name).stem
        name = stem if stem != "astra" else config.output.dir.parent.name or stem
        out = _free(config.output.dir / f"{instant_name(wall_ns())}-{name}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        hint = "A run never writes over another one. Choose a new folder or remove this one."
        raise ConfigError("C012", f"run folder {out} exists and is not empty", "--out", hint)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("C012", f"cannot create run folder {out}: {error.strerror}", "--out") from None
    return out


def require_place(folder: Path) -> None:
    """Refuse a folder of runs that cannot be made or written.

    Raises
    ------
    ConfigError
        C012.
    """
    place = next(one for one in (folder, *folder.parents) if one.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return
    why = "cannot be written" if place.is_dir() else "is no folder"
    hint = "Name another with [output] dir, or a run folder with --out."
    raise ConfigError("C012", f"cannot create run folders in {folder}: {place} {why}", "output.dir", hint)


def _free(folder: Path) -> Path:
    """Two runs may start within one second."""
    candidate, count = folder, 1
    while candidate.exists():
        count += 1
        candidate = folder.with_name(f"{folder.name}-{count}")
    return candidate


def discard(folder: Path, out: Path | None, *, is_old: bool) -> None:
    """Take back the folder of a run that never began.

    Parameters
    ----------
    folder : Path
    out : Path or None
        As it was asked for; the folder of all runs goes, too, if this was the first.
    is_old : bool
        It was there before, and empty: so it stays.
    """
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    if not is_old:
        folder.rmdir()
    if out is None and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def point_latest(folder: Path) -> None:
    """Make ``latest`` beside the folder point to it; silently not where links do not exist."""
    link = folder.parent / "latest"
    try:
        if link.is_symlink():
            link.unlink()
        link.symlink_to(folder.name, target_is_directory=True)
    except OSError:
        return


def read_command_file(path: Path | None) -> tuple[list[Command], str]:
    """Read a commands file; return the commands in order of time, and the text.

    Raises
    ------
    CommandError
        O003 if it cannot be read, naming the line.
    """
    if path is None:
        return [], ""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise CommandError("O003", f"cannot read commands: {why}", str(path)) from None
    commands: list[Command] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            commands += read_commands(line)
        except msgspec.MsgspecError as error:
            hint = (
                'A line is {"ts_ns": …, "body": "…", "signature": "…"}, as astra halt --commands writes it.'
            )
            raise CommandError("O003", f"not a signed command: {error}", f"{path}:{number}", hint) from None
    return sorted(commands, key=lambda command: command.ts_ns), text


def summary(
    status: Status,
    statistics: EquityStatistics,
    n_symbols: int,
    seconds: float,
    digests: tuple[str, str | None],
    equity_usd: float,
    further_notes: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Sum up a run; the keys are a contract (docs/run-folder.md). Unknown figures are None."""
    book, risk = status.book, status.risk
    end_usd = book.equity_usd if book is not None else equity_usd
    digest, journal_digest = digests
    bars = status.accounted
    return {
        "bars": bars,
        "accepted": status.accepted,
        "rejected": dict(sorted(status.rejected.items())),
        "pending": status.pending,
        "slices": status.slices,
        "symbols": n_symbols,
        "sessions": status.sessions,
        "signals": status.signals,
        "fills": status.fills,
        "rebalances": status.rebalances,
        "pnl_usd": end_usd - equity_usd,
        "total_return_frac": end_usd / equity_usd - 1.0,
        "costs_usd": book.costs_usd if book is not None else 0.0,
        "funding_usd": book.funding_usd if book is not None else 0.0,
        "max_drawdown_frac": _known(statistics.max_drawdown_frac) or 0.0,
        "sharpe": _known(statistics.sharpe),
        "sharpe_se": _known(statistics.sharpe_se),
        "sharpe_reason": statistics.sharpe_reason,
        "var_last_usd": _known(risk.var_usd) if risk is not None else 0.0,
        "var_peak_usd": status.var_peak_usd,
        "state": status.trading_state.value,
        "halts": status.halts,
        "halt_id": status.halt_id,
        "halted": _halted(status, equity_usd),
        "alerts": status.alerts,
        "notes": [
            *(
                {"strategy": n.strategy, "spread": n.spread, "note": n.note, **_known_values(n.values)}
                for n in status.notes.values()
            ),
            *further_notes,
        ],
        "seconds": seconds,
        "bars_per_s": bars / seconds if seconds > 0.0 else 0.0,
        "digest": digest,
        "journal_digest": journal_digest,
    }


def _halted(status: Status, equity_usd: float) -> dict[str, Any] | None:
    """Part the P&L by the first halt; None if there was none.

    While halted nothing is decided: what the book earns then is of what was held.
    """
    if not status.first_halt_ns:
        return None
    end_usd = status.book.equity_usd if status.book is not None else equity_usd
    first_usd, last_usd = (
        equity_usd if at is None else at for at in (status.first_halt_equity_usd, status.halt_equity_usd)
    )
    open_usd = end_usd - last_usd if status.trading_state is TradingState.HALTED else 0.0
    return {
        "first": instant(status.first_halt_ns),
        "pnl_before_usd": _known(first_usd - equity_usd),
        "pnl_since_usd": _known(end_usd - first_usd),
        "pnl_halted_usd": _known(status.pnl_halted_usd + open_usd),
    }


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _known_values(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _known(value) for name, value in values.items()}


def write(
    folder: Path,
    config: Config,
    bars: tuple[str, str],
    summary_: dict[str, Any],
    argv: list[str],
    command_text: str,
) -> None:
    """Write run.json, config.toml, summary.json, the commands that were replayed, and the report.

    ``bars`` is where they are, and their fingerprint.
    """
    from engine.app.report.page import write_report

    (folder / "config.toml").write_text(resolved_toml(config), encoding="utf-8")
    if command_text:
        (folder / _COMMANDS_NAME).write_text(command_text, encoding="utf-8")
    run = {
        "version": installed_version(),
        "argv": argv,
        "config_hash": config_hash(config),
        "data": {
            "path": bars[0],
            "fingerprint": bars[1],
            "first": config.universe.first,
            "last": config.universe.last,
        },
        "seed": getattr(config.risk, "seed", None),  # a model without chance has none
        "commands": _COMMANDS_NAME if command_text else None,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version_of(name) for name in _PACKAGES},
        "exit_reason": summary_["exit_reason"],
    }
    _dump(folder / "run.json", run)
    _dump(folder / "summary.json", summary_)
    write_report(folder)


def _dump(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_past_run(folder: Path, data: Path | None) -> PastRun:
    """Read what is needed to run a folder again.

    Raises
    ------
    DataError
        D011 if the folder is no run folder; D012 if the bars have changed since; D013 if run.json or
        summary.json is damaged.
    """
    run = read_record(folder / "run.json", RunRecord)
    past = read_record(folder / "summary.json", SummaryRecord)
    hint = "A run folder holds run.json, config.toml and summary.json; runs/latest is the newest."
    try:
        digest, journal_digest, reason = past["digest"], past["journal_digest"], past["exit_reason"]
        commands, path, fingerprint = run["commands"], run["data"]["path"], run["data"]["fingerprint"]
    except KeyError as error:
        what = f"{folder} is no complete run folder: there is no {error.args[0]}"
        raise DataError("D011", what, str(folder), hint) from None
    if not (folder / "config.toml").is_file():
        what = f"{folder} is no complete run folder: it has no config.toml"
        raise DataError("D011", what, str(folder), hint)
    config = load(folder / "config.toml", data=data)
    if reason not in {"completed", "halted"}:
        hint = "Only a run that reached the end of its bars can be repeated."
        if reason == "exported":
            hint += " This one was made of a journal, which proves itself: astra journal verify STATE"
        raise DataError("D011", f"the run in {folder} was {reason}", str(folder), hint)
    now = fingerprint_of(config)
    if now != fingerprint:
        hint = "The result would be another. Name the bars of the run with --data."
        raise DataError(
            "D012", "the bars, or a file of a strategy, have changed since the run", path or str(folder), hint
        )
    return PastRun(config, digest, journal_digest, folder / commands if commands else None)
