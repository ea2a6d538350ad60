"""What a report's charts are drawn from: series thinned without losing an extreme, spans, a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

import msgspec
import numpy as np

from engine.events import DAY_NS, SECOND_NS, FloatArray, IntArray

#: About as many points as a chart has pixels.
POINTS_MAX: Final = 2_000


class Clock:
    """Local time of the exchange, for people; everything in the run folder is UTC.

    Parameters
    ----------
    zone : tzinfo
    name : str
        As printed: ``ET``.
    """

    def __init__(self, zone: tzinfo, name: str) -> None:
        self._zone = zone
        self.name = name

    def text(self, ts_ns: int) -> str:
        """Write an instant to the minute.

        Examples
        --------
        >>> from datetime import timezone
        >>> Clock(timezone.utc, "UTC").text(60_000_000_000)
        '1970-01-01 00:01'
        """
        return f"{self._local(ts_ns):%Y-%m-%d %H:%M}"

    def minutes(self, ts_ns: IntArray) -> list[int]:
        """Return local wall time as minutes since 1970-01-01 00:00 of the wall clock."""
        out = []
        for ts in ts_ns.tolist():
            offset = self._local(ts).utcoffset()
            out.append((ts // SECOND_NS + int(offset.total_seconds() if offset else 0)) // 60)
        return out

    def _local(self, ts_ns: int) -> datetime:
        return datetime.fromtimestamp(ts_ns // SECOND_NS, self._zone)


def extremes(values: FloatArray, points_max: int) -> IntArray:
    """Choose the rows of a series that a chart needs: of every bucket the lowest, the highest, a gap.

    Parameters
    ----------
    values : FloatArray, shape (n,)
        NaN where unknown.
    points_max : int
        About how many rows to keep; a series that is shorter is kept whole.

    Returns
    -------
    IntArray
        Ascending, without repeats; first and last row, minimum and maximum are always among them.

    Examples
    --------
    >>> extremes(np.array([0.0, 9.0, 1.0, 1.0, -5.0, 1.0, 1.0, 1.0]), 4).tolist()
    [0, 1, 4, 5, 7]
    """
    n = len(values)
    if n <= points_max:
        return np.arange(n)
    size = -(-n // max(points_max // 2, 1))
    buckets = np.full((-(-n // size), size), np.nan)
    buckets.reshape(-1)[:n] = values
    start = np.arange(len(buckets)) * size
    is_unknown = np.isnan(buckets)
    has_value = ~is_unknown.all(axis=1)
    lowest = start + np.where(is_unknown, np.inf, buckets).argmin(axis=1)
    highest = start + np.where(is_unknown, -np.inf, buckets).argmax(axis=1)
    gap = (start + is_unknown.argmax(axis=1))[is_unknown.any(axis=1)]
    rows = np.concatenate([[0, n - 1], lowest[has_value], highest[has_value], gap[gap < n]])
    return np.unique(rows).astype(np.int64)


def drawdown_frac(equity_usd: FloatArray) -> FloatArray:
    """Return ``E / cummax(E) - 1``, zero or negative, as it is drawn."""
    peaks = np.fmax.accumulate(equity_usd)
    drawdown: FloatArray = equity_usd / peaks - 1.0
    return drawdown


class Line(msgspec.Struct, frozen=True):
    """One line of a chart: ``kind`` is its look (``main``, ``second``, ``limit``, ``budget``, ``loss``)."""

    label: str
    kind: str
    values: FloatArray


def chart(
    ts_ns: IntArray,
    lines: Sequence[Line],
    unit: str,
    clock: Clock,
    points_max: int = POINTS_MAX,
    kept: IntArray | None = None,
) -> dict[str, Any]:
    """Thin the lines of one chart to about ``points_max`` common points.

    Parameters
    ----------
    ts_ns : IntArray, shape (n,)
    lines : sequence of Line, each of shape (n,)
        A constant line is sent as one number.
    unit : str
        ``usd``, ``frac`` or ``number``.
    clock : Clock
    points_max : int
    kept : IntArray or None
        Rows that are never left out.

    Returns
    -------
    dict
        ``row`` (x: the number of the bar, so that nights take no room), ``minute`` (local time of each
        point), ``sessions`` (row and time of each session's first bar), ``lines``.
    """
    moving = [line for line in lines if _constant(line.values) is None]
    chosen = [extremes(line.values, points_max // len(moving)) for line in moving]
    ends = np.array([0, len(ts_ns) - 1])
    rows = np.unique(np.concatenate([*(chosen or [ends]), *([] if kept is None else [kept])]))
    starts = session_starts(ts_ns)
    return {
        "unit": unit,
        "row": rows.tolist(),
        "minute": clock.minutes(ts_ns[rows]),
        "sessions": list(zip(starts.tolist(), clock.minutes(ts_ns[starts]), strict=True)),
        "lines": [
            {"label": ln.label, "kind": ln.kind, "values": _sent(ln.values, rows, unit)} for ln in lines
        ],
    }


def _constant(values: FloatArray) -> float | None:
    return float(values[0]) if len(values) and bool(np.all(values == values[0])) else None


def _sent(values: FloatArray, rows: IntArray, unit: str) -> float | list[float | None]:
    digits = 2 if unit == "usd" else 6
    constant = _constant(values)
    if constant is not None:
        return round(constant, digits)
    return [round(v, digits) if math.isfinite(v) else None for v in values[rows].tolist()]


def utc_day(ts_ns: int) -> int:
    """Return the session of a bar that ended at ``ts_ns``: UTC date of ``ts - 1 ns``, days since 1970."""
    return (ts_ns - 1) // DAY_NS


def session_starts(ts_ns: IntArray) -> IntArray:
    """Return the rows that begin a session (``utc_day``)."""
    if not len(ts_ns):
        return np.array([], dtype=np.int64)
    days = (ts_ns - 1) // DAY_NS
    return np.concatenate(([0], np.flatnonzero(np.diff(days)) + 1))


class Span(msgspec.Struct, frozen=True):
    """Consecutive rows ``start`` to ``stop - 1`` in one trading state."""

    state: str
    start: int
    stop: int


def spans(states: Sequence[str]) -> list[Span]:
    """Return the spans in which trading was not ACTIVE.

    Examples
    --------
    >>> spans(["ACTIVE", "REDUCING", "REDUCING", "HALTED"])
    [Span(state='REDUCING', start=1, stop=3), Span(state='HALTED', start=3, stop=4)]
    """
    found: list[Span] = []
    start = 0
    for row in range(1, len(states) + 1):
        if row == len(states) or states[row] != states[start]:
            if states[start] != "ACTIVE":
                found.append(Span(states[start], start, row))
            start = row
    return found


#: Histogram of z: from -6 to 6 in steps of 0.25; what lies beyond counts in the outermost bins.
Z_EDGES: Final = np.linspace(-6.0, 6.0, 49)


def z_bins(z: FloatArray) -> IntArray:
    """Count finite z by bin of ``Z_EDGES``."""
    counts, _ = np.histogram(np.clip(z, Z_EDGES[0], Z_EDGES[-1]), Z_EDGES)
    return counts.astype(np.int64, copy=False)


def histogram(counts: IntArray) -> dict[str, Any]:
    """Place the bars of the z histogram, and the standard normal curve, in a box of 480 by 160 units."""
    total = int(counts.sum())
    width = float(Z_EDGES[1] - Z_EDGES[0])
    middle = (Z_EDGES[:-1] + Z_EDGES[1:]) / 2.0
    normal = np.exp(-0.5 * middle**2) / math.sqrt(2.0 * math.pi) * width
    share = counts / total
    top = float(max(share.max(), normal.max()))
    step = 480.0 / len(counts)
    return {
        "bars": [(round(k * step + 0.5, 2), round(160.0 * s / top, 2)) for k, s in enumerate(share.tolist())],
        "width": round(step - 1.0, 2),
        "curve": " ".join(
            f"{(k + 0.5) * step:.1f},{160.0 * (1.0 - s / top):.1f}" for k, s in enumerate(normal.tolist())
        ),
    }
