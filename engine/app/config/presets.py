"""Values for keys that a configuration leaves out, where another key decides them; keys it has stay.

``[costs] preset`` fills ``[costs]`` and ``[funding]`` with what trading and financing cost a private account
or an institution (docs/maths/costs.md says where the figures come from); bars of whole sessions fill the
half-life of the covariance (docs/maths/covariance.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.app.config.toml_text import Path_
from engine.errors import AstraError

#: By preset, table and key. Half spread and fee together are 7.5 and 1.5 bp a trade and leg; longs pay 10%
#: and 4% a year at the default reference rate; borrowing is at the cheap end of what is hard to borrow.
PRESETS: Final[Mapping[str, Mapping[str, Mapping[str, float]]]] = {
    "retail": {
        "costs": {"half_spread_bps": 5.0, "fee_bps": 2.5},
        "funding": {"long_spread_bps": 640.0, "borrow_bps": 500.0},
    },
    "institutional": {
        "costs": {"half_spread_bps": 1.0, "fee_bps": 0.5},
        "funding": {"long_spread_bps": 40.0, "borrow_bps": 100.0},
    },
}

#: Half-life of covariance, sessions, where a bar is a session: one of 5 is a mean of some 14 squares, noise.
DAILY_HALF_LIFE_SESSIONS: Final = 60.0


def fill_in(document: dict[str, Any]) -> dict[Path_, str]:
    """Write what a document's preset, and the size of its bars, say where the document says nothing.

    Parameters
    ----------
    document : dict
        Tables by name; not validated yet, and changed in place.

    Returns
    -------
    dict
        Where each value that was written comes from, by its path; empty without a (known) preset or
        daily bars.

    Examples
    --------
    >>> document = {"costs": {"preset": "institutional", "fee_bps": 0.1}}
    >>> sorted(fill_in(document))
    [('costs', 'half_spread_bps'), ('funding', 'borrow_bps'), ('funding', 'long_spread_bps')]
    >>> document["costs"]["fee_bps"], document["costs"]["half_spread_bps"]
    (0.1, 1.0)
    """
    costs = document.get("costs")
    name = costs.get("preset") if isinstance(costs, Mapping) else None
    written: dict[Path_, str] = {}
    for table_name, values in PRESETS.get(str(name), {}).items():
        table = document.setdefault(table_name, {})
        if not isinstance(table, dict):
            continue
        for key, value in values.items():
            if key not in table:
                table[key] = value
                written[table_name, key] = f"preset {name}"
    table = document.setdefault("risk", {}) if _is_daily(document.get("universe")) else None
    if isinstance(table, dict) and "half_life_sessions" not in table:
        table["half_life_sessions"] = DAILY_HALF_LIFE_SESSIONS
        written["risk", "half_life_sessions"] = "daily bars"
    return written


def _is_daily(universe: Any) -> bool:
    """Whether a bar is a session, as far as a table that is not validated yet can tell."""
    bar_min = universe.get("bar_min", 1) if isinstance(universe, Mapping) else 1
    if type(bar_min) is not int or bar_min == 1:
        return False
    from feeds.calendars import minutes_per_session

    try:
        return bar_min >= minutes_per_session(str(universe.get("calendar", "XNYS")))
    except AstraError:
        return False  # no such calendar: said where the calendar is opened
