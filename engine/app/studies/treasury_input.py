"""The file of ``optimise`` for Treasuries: its historical scenarios may be those of a file of curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.errors import ConfigError
from feeds.yields_file import CurveTable, read_curve, tenor_code

#: Key of historical scenarios that names a file of curves in the place of ``yield_pct``.
HISTORY: Final = "history"
_FIELD: Final = f"scenarios.{HISTORY}"


def with_yields(document: Any, folder: Path) -> Any:
    """Read the curves that the historical scenarios of a Treasury problem name, if they name a file.

    Parameters
    ----------
    document : Any
        With ``"scenarios": {"kind": "historical", "history": "yields.csv"}``; anything else is returned as
        it is, to be judged by whoever solves it.
    folder : Path
        Of the document: a relative path starts from there.

    Returns
    -------
    Any
        The document with the yields of its tenors as ``scenarios.yield_pct``, oldest first.

    Raises
    ------
    ConfigError
        C020 if the file lacks a tenor, or a row of it is no curve; or there are yields in the document too.
    DataError
        D001, D003 and D004 as ``feeds.yields_file.read_curve``.
    """
    scenarios = document.get("scenarios") if isinstance(document, Mapping) else None
    if not isinstance(scenarios, Mapping) or HISTORY not in scenarios:
        return document
    name, tenors = scenarios[HISTORY], document.get("tenors")
    if "yield_pct" in scenarios:
        raise _bad("is a file of yields, and there is yield_pct too; give one of the two")
    if not isinstance(name, str) or not name:
        raise _bad(f"must be the path of a CSV of par yields, was {name!r:.40}")
    if not (isinstance(tenors, list) and all(isinstance(tenor, str) for tenor in tenors)):
        return document
    path = folder / name
    rows = _rows(read_curve(path), tenors, path.name)
    rest = {key: value for key, value in scenarios.items() if key != HISTORY}
    return {**document, "scenarios": {**rest, "yield_pct": rows}}


def _rows(table: CurveTable, tenors: list[str], name: str) -> list[list[float | None]]:
    """Return the yields of the tenors, one row a day, None where a tenor was not quoted."""
    column = {code: k for k, code in enumerate(table.codes)}
    codes = {tenor: code[0] if (code := tenor_code(tenor)) else tenor for tenor in tenors}
    absent = [tenor for tenor in tenors if codes[tenor] not in column]
    if absent:
        raise _bad(f"{name} has no {', '.join(absent)}; it has {', '.join(table.codes)}")
    chosen = [column[codes[tenor]] for tenor in tenors]
    yield_pct, is_blank = table.yield_pct[:, chosen], table.is_blank[:, chosen]
    n_broken = table.n_broken + int((np.isnan(yield_pct) & ~is_blank).any(axis=1).sum())
    if n_broken:
        raise _bad(f"{name} has {n_broken:,} rows that are no curve; a change over them would be made up")
    if (np.diff(table.day) == 0).any():
        day = np.datetime64(int(table.day[1:][np.diff(table.day) == 0][0]), "D")
        raise _bad(f"{name} has two curves of {day}; which of them held cannot be known")
    return [[None if np.isnan(one) else float(one) for one in row] for row in yield_pct]


def _bad(what: str) -> ConfigError:
    return ConfigError("C020", f"{_FIELD} {what}", _FIELD)
