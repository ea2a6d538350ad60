"""Pictures of a frontier study: SVG without scripts, the same bytes from the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from engine.events import FloatArray

WIDTH, HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 132, 16, 46
#: Told apart by most eyes; the last is for what is summed up.
_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8f7700", "#7f7f7f")
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3", "", "7 3", "2 3", "")
_STYLE: Final = (
    ".study{font:12px system-ui,'Segoe UI','Liberation Sans',Arial,sans-serif;background:#fff}"
    ".study text{fill:#3d4a58}.study .grid{stroke:#d3d9e0}.study .zero{stroke:#51606f}"
    ".study .kink{stroke:#51606f;stroke-dasharray:3 3}.study .ring{fill:#fff}"
    "@media (prefers-color-scheme:dark){.study{background:#0f1419}.study text{fill:#b7c2cd}"
    ".study .grid{stroke:#303b47}"
    ".study .zero,.study .kink{stroke:#a2afbc}.study .ring{fill:#0f1419}}"
)


class Series(msgspec.Struct, frozen=True):
    """One line or band: ``values`` of shape (n,)."""

    label: str
    values: FloatArray


class Axis(msgspec.Struct, frozen=True):
    """One scale: from values to pixels, with its ticks."""

    title: str
    low: float
    high: float
    from_px: float
    to_px: float
    is_log: bool = False

    def px(self, value: float) -> float:
        """Return where a value stands."""
        low, high, at = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.from_px + (at - low) / (high - low) * (self.to_px - self.from_px)

    def ticks(self) -> list[float]:
        """Return round values inside the scale: powers of ten, or steps of 1, 2 or 5."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last > first:
                return [10.0**k for k in range(first, last + 1, 1 + (last - first) // 8)]
            return [self.low * (self.high / self.low) ** (k / 4) for k in range(5)]
        rough = (self.high - self.low) / 8
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def legend_series(symbols: Sequence[str], table: FloatArray) -> list[Series]:
    """Turn columns into series; beyond as many as can be told apart, the smallest are summed up.

    Parameters
    ----------
    symbols : sequence of str
    table : FloatArray, shape (n_points, n_symbols)
    """
    if len(symbols) <= len(_COLOURS):
        return [Series(symbol, table[:, k]) for k, symbol in enumerate(symbols)]
    order = np.argsort(-np.abs(table).max(axis=0), kind="stable")
    kept = sorted(order[: len(_COLOURS) - 1].tolist())
    rest = np.delete(table, kept, axis=1)
    return [
        *(Series(symbols[k], table[:, k]) for k in kept),
        Series(f"{rest.shape[1]} others", rest.sum(axis=1)),
    ]


def frontier_chart(
    volatility: FloatArray, expected: FloatArray, marks: Sequence[tuple[float, float, str]], alt: str
) -> str:
    """Draw expected return over volatility, with labelled marks (volatility, return, text)."""
    x = _linear("volatility", [0.0, *volatility.tolist()], _LEFT, WIDTH - _RIGHT, is_tight=True)
    y = _linear("expected return", [0.0, *expected.tolist()], HEIGHT - _BOTTOM, _TOP)
    points = " ".join(f"{x.px(v):.1f},{y.px(r):.1f}" for v, r in zip(volatility, expected, strict=True))
    body = [f'<polyline fill="none" stroke="{_COLOURS[0]}" stroke-width="2" points="{points}"/>']
    for v, r, text in marks:
        px, py = x.px(v), y.px(r)
        body.append(f'<circle class="ring" cx="{px:.1f}" cy="{py:.1f}" r="4" stroke="{_COLOURS[0]}"/>')
        body.append(f'<text x="{px + 8:.1f}" y="{py + 14:.1f}">{escape(text)}</text>')
    return _drawing(x, y, body, alt)


def stacked_chart(
    values: Sequence[float], series: Sequence[Series], lever: str, kinks: Sequence[float], alt: str
) -> str:
    """Draw weights as bands over a lever: long ones pile up from zero, short ones down."""
    x = _log(lever, values)
    table = np.stack([one.values for one in series], axis=1)
    above, below = np.maximum(table, 0.0).cumsum(axis=1), np.minimum(table, 0.0).cumsum(axis=1)
    y = _linear("weight", [0.0, float(above.max()), float(below.min())], HEIGHT - _BOTTOM, _TOP)
    body = []
    for k, one in enumerate(series):
        for piled, part in ((above, np.maximum(table, 0.0)), (below, np.minimum(table, 0.0))):
            if part[:, k].any():
                outer, inner = piled[:, k], piled[:, k] - part[:, k]
                there = [f"{x.px(v):.1f},{y.px(w):.1f}" for v, w in zip(values, outer, strict=True)]
                back = [f"{x.px(v):.1f},{y.px(w):.1f}" for v, w in zip(values, inner, strict=True)][::-1]
                body.append(
                    f'<polygon fill="{_COLOURS[k]}" fill-opacity="0.85" points="{" ".join(there + back)}">'
                    f"<title>{escape(one.label)}</title></polygon>"
                )
    body += _kink_lines(x, kinks) + _legend(series, is_band=True)
    return _drawing(x, y, body, alt)


def line_chart(
    values: Sequence[float],
    series: Sequence[Series],
    lever: str,
    title: str,
    kinks: Sequence[float],
    alt: str,
) -> str:
    """Draw lines over a lever."""
    x = _log(lever, values)
    every = [v for one in series for v in one.values.tolist()]
    y = _linear(title, [0.0, *every], HEIGHT - _BOTTOM, _TOP)
    body = _kink_lines(x, kinks)
    for k, one in enumerate(series):
        points = " ".join(f"{x.px(v):.1f},{y.px(w):.1f}" for v, w in zip(values, one.values, strict=True))
        body.append(
            f'<polyline fill="none" stroke="{_COLOURS[k]}" stroke-width="2" stroke-dasharray="{_DASHES[k]}" '
            f'points="{points}"><title>{escape(one.label)}</title></polyline>'
        )
    return _drawing(x, y, body + _legend(series, is_band=False), alt)


def _linear(
    title: str, values: Sequence[float], from_px: float, to_px: float, *, is_tight: bool = False
) -> Axis:
    low, high = min(values), max(values)
    room = (high - low) * 0.05
    if low == high:
        return Axis(title, low, high + 1.0, from_px, to_px)
    is_floor = is_tight or low == 0.0
    return Axis(title, low if is_floor else low - room, high if high == 0.0 else high + room, from_px, to_px)


def _log(title: str, values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    return Axis(title, low, high if high > low else low * 10.0, _LEFT, WIDTH - _RIGHT, is_log=True)


def _drawing(x: Axis, y: Axis, body: Sequence[str], alt: str) -> str:
    """Put a frame around what was drawn: grid, ticks, titles, and a text for those who cannot see it."""
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="study" {size} role="img"',
        f' aria-label="{escape(alt)}">',
        f"<style>{_STYLE}</style>",
    ]
    write = _writer(y)
    for tick in y.ticks():
        at = y.px(tick)
        kind = "zero" if tick == 0.0 else "grid"
        parts.append(f'<line class="{kind}" x1="{left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{write(tick)}</text>')
    write = _writer(x)
    for tick in x.ticks():
        at = x.px(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 5}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 19}" text-anchor="middle">{write(tick)}</text>')
    parts.append(f'<text x="{(left + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{x.title}</text>')
    turned = f'transform="translate(13 {(top + bottom) / 2:.0f}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">{y.title}</text>')
    return "\n".join([*parts, *body, "</svg>"]) + "\n"


def _writer(axis: Axis) -> Callable[[float], str]:
    """Write ticks with as many digits as tell them apart."""
    ticks = axis.ticks()
    if axis.is_log:
        return lambda value: f"{value:,.0f}" if 1.0 <= value < 1e6 else f"{value:.3g}"
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    write: Callable[[float], str] = (
        (lambda value: f"{value + 0.0:,.{digits}f}") if digits <= 4 else (lambda value: f"{value:.3g}")
    )
    return lambda value: write(value).replace("-", "\u2212")


def _kink_lines(x: Axis, kinks: Sequence[float]) -> list[str]:
    inside = [value for value in dict.fromkeys(kinks) if x.low <= value <= x.high]
    lines = []
    for value in inside:
        at = x.px(value)
        lines.append(
            f'<line class="kink" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{HEIGHT - _BOTTOM}">'
            f"<title>{value:.6g}</title></line>"
        )
    return lines


def _legend(series: Sequence[Series], *, is_band: bool) -> list[str]:
    left = WIDTH - _RIGHT + 16
    parts = []
    for k, one in enumerate(series):
        at = _TOP + 8 + 20 * k
        parts.append(
            f'<rect x="{left}" y="{at - 6}" width="18" height="12" fill="{_COLOURS[k]}" fill-opacity="0.85"/>'
            if is_band
            else f'<line x1="{left}" y1="{at}" x2="{left + 18}" y2="{at}" stroke="{_COLOURS[k]}" '
            f'stroke-width="2" stroke-dasharray="{_DASHES[k]}"/>'
        )
        parts.append(f'<text x="{left + 25}" y="{at + 4}">{escape(one.label[:14])}</text>')
    return parts
