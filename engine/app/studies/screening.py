"""``astra screen``: from a file of bars to pairs, their figures, and a table for the configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.app.given import bad_argument
from engine.app.render import percent, usd
from engine.app.wiring import read_history
from engine.errors import DataError
from engine.events import CLOSE, VOLUME, BarSlice, FloatArray
from engine.vocabulary import counted
from feeds.calendars import minutes_per_session
from feeds.files import FileOptions, file_bars, symbols_in
from strategies.allocators.mean_variance import BookOptions
from strategies.screening import COMMON_MIN, ScreenedPair, screen

#: Minutes between closes where there are too few days, as in the admission of pairs.
_STEP_MIN: Final = 5
_NEVER: Final = 10**9

HEADER: Final = ("pair", "p-value", "passes", "correlation", "ratio", "drift", "half-life", "capacity")


class Sample(msgspec.Struct, frozen=True):
    """Closes of a universe at equal distances.

    Parameters
    ----------
    what : str
        In words.
    log_close : FloatArray, shape (n_steps, n)
        NaN where there is none.
    step_sessions : float
        Distance of two closes.
    volume_usd : FloatArray, shape (n,)
        Median USD of a bar; NaN without bars.
    session_min, bar_min : int
        Minutes of a session, and of a bar.
    """

    what: str
    log_close: FloatArray
    step_sessions: float
    volume_usd: FloatArray
    session_min: int
    bar_min: int


def universe_of(path: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the symbols to pair: those of the bars, or of ``wanted``.

    Raises
    ------
    ConfigError
        C013 if the bars have none of a wanted symbol, or fewer than two are wanted.
    """
    held = symbols_in(path)
    absent = [symbol for symbol in wanted if symbol not in held]
    if absent:
        raise bad_argument(f"there are no bars of {', '.join(absent)} in {path}", "--pairs-from")
    symbols = tuple(dict.fromkeys(wanted)) or tuple(held)
    if len(symbols) < 2:
        raise bad_argument(f"a pair needs two symbols, was {', '.join(symbols)}", "--pairs-from")
    return symbols


def read_sample(
    options: FileOptions, symbols: tuple[str, ...], calendar: str, bar_min: int, history: Path | None
) -> Sample:
    """Read bars, and take closes from the daily history, else from sessions, else from every five minutes.

    Parameters
    ----------
    options : FileOptions
        Where the bars are.
    symbols : tuple of str
    calendar : str
    bar_min : int
        Minutes of a bar.
    history : Path or None
        Adjusted daily closes (``date``, ``symbol``, ``close``).

    Raises
    ------
    DataError
        For bars or closes that cannot be read; D051 if no pair has enough of them in common.
    """
    cells: dict[tuple[int, int], FloatArray] = {}
    volumes: list[FloatArray] = []
    step_min = math.ceil(_STEP_MIN / bar_min) * bar_min  # whole bars, so that cells are equally far apart
    feed = file_bars(options, symbols, calendar, bar_min=bar_min)
    for item in feed.slices():
        if isinstance(item, BarSlice):
            close = item.bars[CLOSE]
            cell = (item.session, (item.minute - 1) // step_min)
            before = cells.get(cell)
            cells[cell] = close.copy() if before is None else np.where(np.isnan(close), before, close)
            volumes.append(close * item.bars[VOLUME])
    volume_usd = _medians(np.array(volumes))
    session_min = minutes_per_session(calendar)
    step_sessions = min(1.0, step_min / session_min)
    if history is not None:
        daily = read_history(history, symbols, _NEVER)
        closes = daily.close_usd if daily is not None else np.empty((0, len(symbols)))
        what, step_sessions = f"daily closes of {history.name}", 1.0
    elif len({session for session, _ in cells}) >= COMMON_MIN:
        closes, what, step_sessions = _by_session(cells), "closes of sessions", 1.0
    else:
        closes = np.array(list(cells.values()))
        what = "closes of sessions" if step_sessions == 1.0 else f"closes of every {step_min} minutes"
    known = np.isfinite(closes).sum(axis=0)
    if np.count_nonzero(known >= COMMON_MIN) < 2:
        why = f"A pair needs {COMMON_MIN} closes in common; the symbols have {int(known.max(initial=0)):,}."
        hint = f"{why}\nGive more bars, or name daily closes with --history."
        raise DataError("D051", f"too few {what} to test any pair", str(options.path), hint)
    return Sample(what, np.log(closes), step_sessions, volume_usd, session_min, bar_min)


def _medians(volumes: FloatArray) -> FloatArray:
    """Median of every symbol over the bars it has; NaN without any."""
    return np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else math.nan for c in volumes.T])


def _by_session(cells: dict[tuple[int, int], FloatArray]) -> FloatArray:
    last: dict[int, FloatArray] = {}
    for (session, _), close in cells.items():
        before = last.get(session)
        last[session] = close if before is None else np.where(np.isnan(close), before, close)
    return np.array(list(last.values()))


def screen_sample(
    symbols: tuple[str, ...], sample: Sample, participation_frac: float, q: float, top: int
) -> dict[str, Any]:
    """Screen a universe.

    Parameters
    ----------
    symbols : tuple of str
    sample : Sample
    participation_frac : float
        Share of a bar's volume that one fill may take.
    q : float
        Share of discoveries that may be false, on average.
    top : int
        Most pairs in the snippet.

    Returns
    -------
    dict
        ``closes``, ``steps``, ``symbols``, ``tested`` and ``untested`` (pairs), ``q``, ``discoveries``,
        ``snippet`` (empty without a discovery), and ``pairs``, the best first; unknown figures are None.
    """
    found = screen(symbols, sample.log_close, sample.volume_usd, participation_frac, q)
    passed = [one for one in found if one.is_discovery]
    chosen = passed[:top]
    every = len(symbols) * (len(symbols) - 1) // 2
    return {
        "closes": sample.what,
        "steps": len(sample.log_close),
        "symbols": list(symbols),
        "tested": len(found),
        "untested": every - len(found),
        "q": q,
        "discoveries": len(passed),
        "snippet": snippet([one.pair for one in chosen], horizon_min_of(chosen, sample)),
        "pairs": [_row(one, sample.step_sessions) for one in found],
    }


def horizon_min_of(chosen: Sequence[ScreenedPair], sample: Sample) -> int | None:
    """Return the median half-life in minutes of the session, in whole bars and at least one.

    None for bars no longer than the horizon that allocators have by default, and for half-lives unknown.
    """
    bar_min = min(sample.bar_min, sample.session_min)
    known = [one.half_life_steps for one in chosen if math.isfinite(one.half_life_steps)]
    if bar_min <= BookOptions.model_fields["horizon_min"].default or not known:
        return None
    half_life_min = float(np.median(known)) * sample.step_sessions * sample.session_min
    return max(1, round(half_life_min / bar_min)) * bar_min


def snippet(pairs: Sequence[str], horizon_min: int | None = None) -> str:
    """Return the tables that trade these pairs; empty without any.

    Expected returns are weighed over the horizon of the allocator, so what reverts in days needs one of days:
    with ``horizon_min`` the table ``[allocator]`` comes as well.

    Examples
    --------
    >>> print(snippet(["JPM/C"]), end="")
    [[strategy]]
    kind = "kalman_pairs"
    pairs = ["JPM/C"]
    """
    if not pairs:
        return ""
    listed = ", ".join(f'"{pair}"' for pair in pairs)
    strategy = f'[[strategy]]\nkind = "kalman_pairs"\npairs = [{listed}]\n'
    if horizon_min is None:
        return strategy
    return f'{strategy}\n[allocator]\nkind = "mean_variance"\nhorizon_min = {horizon_min}\n'


def _row(one: ScreenedPair, step_sessions: float) -> dict[str, Any]:
    return {
        "pair": one.pair,
        "observations": one.n_observations,
        "p_value": one.p_value,
        "is_discovery": one.is_discovery,
        "correlation": _known(one.correlation),
        "usd_ratio": _known(one.usd_ratio),
        "ratio_drift_frac": _known(one.ratio_drift_frac),
        "half_life_sessions": _known(one.half_life_steps * step_sessions),
        "capacity_usd": _known(one.capacity_usd),
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def rows_of(answer: dict[str, Any], top: int) -> list[list[str]]:
    """Return the best pairs of an answer, in the columns of ``HEADER``; half-lives in sessions."""
    return [
        [
            one["pair"],
            f"{one['p_value']:.2g}",
            "yes" if one["is_discovery"] else "no",
            _cell(one["correlation"], ".2f"),
            _cell(one["usd_ratio"], ".3f"),
            "-" if one["ratio_drift_frac"] is None else percent(one["ratio_drift_frac"], 0),
            _cell(one["half_life_sessions"], ".3g"),
            "-" if one["capacity_usd"] is None else usd(one["capacity_usd"]),
        ]
        for one in answer["pairs"][:top]
    ]


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def remarks(answer: dict[str, Any]) -> list[str]:
    """Say how many were tested, how many pass, and what that is worth."""
    n, passed = answer["tested"], answer["discoveries"]
    lines = [
        f"{counted(n, 'pair')} of {counted(len(answer['symbols']), 'symbol')} tested on {answer['closes']}."
    ]
    if answer["untested"]:
        lines.append(f"{answer['untested']:,} pairs have fewer than {COMMON_MIN} closes in common.")
    if passed == 0:
        lines.append(
            f"None passes at a false discovery rate of {answer['q']:g}: no two are shown to move together."
        )
    else:
        lines.append(
            f"{passed:,} pass; of such screens {answer['q']:g} of the discoveries are false on average.\n"
            "Trade them on bars after these: in the sample they were chosen on they must look good."
        )
    return lines
