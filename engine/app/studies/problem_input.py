"""The file of ``optimise`` and ``frontier``: a covariance may be estimated from the history in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from engine.errors import ConfigError

HALF_LIFE: Final = "covariance_half_life"
SHRINK: Final = "covariance_shrink_frac"
#: Shrinkage of an estimate when the file does not say.
SHRINK_FRAC: Final = 0.1


def with_covariance(document: Any) -> dict[str, Any]:
    """Estimate the covariance of a document from ``history_return_frac``, if it asks for that.

    Parameters
    ----------
    document : mapping
        With ``covariance_half_life`` (periods) and perhaps ``covariance_shrink_frac`` (0.1), which are taken
        out; without them it is returned as it is.

    Raises
    ------
    ConfigError
        C020 if it is no JSON object, or has a half-life or a history that cannot be used.
    """
    if not isinstance(document, Mapping):
        raise ConfigError("C020", f"a problem must be a JSON object, was {type(document).__name__}")
    out = dict(document)
    half_life, shrink_frac = out.pop(HALF_LIFE, None), out.pop(SHRINK, SHRINK_FRAC)
    if half_life is None:
        if SHRINK in document:
            raise _bad(SHRINK, f"shrinks an estimate, and there is no {HALF_LIFE}")
        return out
    if out.get("covariance") is not None:
        raise _bad(HALF_LIFE, "asks for an estimate, and there is a covariance; give one of the two")
    if not (_is_number(half_life) and half_life > 0.0):
        raise _bad(HALF_LIFE, f"must be a positive number of periods, was {half_life!r:.40}")
    if not (_is_number(shrink_frac) and 0.0 <= shrink_frac <= 1.0):
        raise _bad(SHRINK, f"must be from 0 to 1, was {shrink_frac!r:.40}")
    from risk.ewma import ewma_covariance

    returns = _history(out.get("history_return_frac"))
    out["covariance"] = ewma_covariance(returns, float(half_life), float(shrink_frac)).tolist()
    return out


def _history(rows: Any) -> Any:
    is_table = isinstance(rows, list) and len(rows) > 0 and all(isinstance(row, list) for row in rows)
    if not is_table or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise _bad("history_return_frac", f"must be rows of one length, oldest first; {HALF_LIFE} needs them")
    if not all(_is_number(value) for row in rows for value in row):
        raise _bad("history_return_frac", "must be finite numbers throughout")
    return np.array(rows, dtype=np.float64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bad(field: str, what: str) -> ConfigError:
    return ConfigError("C020", f"{field} {what}", field)
