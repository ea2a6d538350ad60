"""Par yield curves as a feed: every tenor is a bond index to trade, and a quote to read the yield from.

``UST5Y`` is the total return of a 5-year par bond of constant maturity, 100 at the first curve
(``feeds.yields_index``); ``UST5Y.Q`` quotes the yield itself as ``100 - yield_pct``, as rate futures do, so
that any single bar gives the yield back, negative ones too; ``UST5Y.R`` quotes in the same way the repo rate
that the index is financed at, so that whoever weighs carry reads the number that is charged. A curve is one
print a day: open, high, low and close of a bar are equal, and an order fills at the level of the next curve
(docs/maths/treasury.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

from engine.columns import BarColumns
from engine.errors import AstraError, DataError, Errors
from engine.events import DAY_NS, FloatArray, IntArray, Nanos
from engine.sessions import Sessions
from engine.slices import Slicer
from feeds.calendars import DAY_MIN, minutes_per_session, sessions_for
from feeds.recorded import RecordedBars, in_memory, nothing_in_span, of_span
from feeds.yields_file import CurveTable, read_curve
from feeds.yields_index import curve_index
from feeds.yields_repo import repo_on

#: What the symbol of the quote of a yield, and of a repo rate, ends with.
QUOTE: Final = ".Q"
REPO_QUOTE: Final = ".R"
_DECIMALS: Final = 6


class YieldOptions(BaseModel):
    """The keys of ``[feed]`` for ``kind = "yields"``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    path: Path = Field(description='CSV of par yields in percent: Date,"5 YR","7 YR",...')
    prefix: str = Field(default="UST", description='what a symbol begins with: "UST" and "5Y" make UST5Y')
    volume_musd: NonNegativeFloat | dict[str, NonNegativeFloat] = Field(
        default=1_000.0, description="traded a day, $M: of every tenor, or by symbol"
    )
    repo_pct: float | dict[str, float] | None = Field(
        default=None,
        description="rate that the index is financed at, percent a year, actual/360: of every tenor, or by "
        "symbol; absent as repo is, too: total return, and [funding] charges the book",
    )
    repo: Path | None = Field(
        default=None,
        description="instead of repo_pct: CSV of rates over time, Date,REPO or a column for each tenor; the "
        "last of the day or before holds",
    )
    jump_max_pct: float = Field(
        default=1.0, gt=0, description="change of a yield, in percentage points, that needs confirmation"
    )

    @model_validator(mode="after")
    def _is_financed_once(self) -> Self:
        if self.repo is not None and self.repo_pct is not None:
            raise ValueError("repo and repo_pct both finance the index; keep one of the two")
        return self


class _Tenor(msgspec.Struct, frozen=True):
    """A symbol of the universe: the column of the table; of a quote what it ends with, else nothing."""

    symbol: str
    column: int
    quote: str


def yield_bars(
    options: YieldOptions,
    symbols: Sequence[str],
    calendar: str,
    *,
    from_ns: Nanos | None = None,
    to_ns: Nanos | None = None,
    bar_min: int = DAY_MIN,
) -> RecordedBars:
    """Return a file of curves as a feed of daily bars.

    A blank cell is no bar, as when a bond did not trade. A cell that is no number, a yield that is not
    believed, and a row without a date are bars that are rejected as MALFORMED; a date twice is a DUPLICATE or
    a CONFLICT, one without a session OFF_SESSION. Columns that no symbol names are used for roll-down only.

    Parameters
    ----------
    options : YieldOptions
    symbols : sequence of str
        The universe: tenors and quotes.
    calendar : str
        A curve is of the end of its session.
    from_ns, to_ns : int, optional
        Bars that close outside ``[from_ns, to_ns]`` are not part of the run; their index runs on from before.
    bar_min : int
        Minutes of a bar: a session or more.

    Raises
    ------
    DataError
        D001, D003 and D004 for a file, D002 for a symbol that is no tenor of it or an option by symbol that
        does not match, D034 if bars are shorter than a session; D036 for repo rates that cannot be used, or
        are not known yet when the bars begin.
    """
    if bar_min < minutes_per_session(calendar):
        hint = "A curve is published once a day:\n    [universe]  bar_min = 1440"
        what = f"yields come once a session, universe.bar_min was {bar_min}"
        raise DataError("D034", what, "universe.bar_min", hint)
    table = read_curve(options.path)
    sessions = sessions_for(calendar, int(table.day[0]) - 1, int(table.day[-1]) + 1, bar_min)
    tenors = _tenors(table, symbols, options)
    ts_ns, repo_pct = _stamps(table.day, sessions), _repo_pct(table, tenors, options)
    n_before = _unfinanced(table, repo_pct, options)
    if n_before and (from_ns is None or ts_ns[n_before - 1] >= from_ns):
        raise _repo_too_late(table, n_before, options)
    if repo_pct is not None:
        repo_pct = repo_pct[n_before:]
    whole = _bars(table.since(n_before), tenors, options, ts_ns[n_before:], repo_pct)
    columns = of_span(whole, from_ns, to_ns)
    if not len(columns):
        ts_ns = whole.ts_close_ns
        raise nothing_in_span(str(options.path), int(ts_ns.min()), int(ts_ns.max()))
    return in_memory(columns, partial(Slicer, tuple(symbols), sessions), table.n_broken * len(tenors))


def _tenors(table: CurveTable, symbols: Sequence[str], options: YieldOptions) -> list[_Tenor]:
    """Find the column of every symbol."""
    known = {options.prefix + code: k for k, code in enumerate(table.codes)}
    found: list[_Tenor] = []
    errors: list[AstraError] = []
    for symbol in symbols:
        quote = next((end for end in (QUOTE, REPO_QUOTE) if symbol.endswith(end)), "")
        column = known.get(symbol.removesuffix(quote))
        if quote == REPO_QUOTE and options.repo is None and options.repo_pct is None:
            hint = "Give [feed] repo or repo_pct: an index of total return is not financed."
            errors.append(DataError("D002", f'there is no repo for "{symbol}"', "feed.repo", hint))
            continue
        if column is not None and table.maturity_years[column] * 2.0 % 1.0 == 0.0:
            found.append(_Tenor(symbol, column, quote))
            continue
        why = "is not in" if column is None else "is no bond with half-yearly coupons in"
        hint = f"The file has {', '.join(known)}; add {QUOTE} for the quote of a yield, {REPO_QUOTE} of repo."
        what = f'symbol "{symbol}" {why} {options.path}'
        errors.append(DataError("D002", what, "feed.prefix" if column is None else "universe.symbols", hint))
    if errors:
        raise errors[0] if len(errors) == 1 else Errors(errors)
    return found


def _stamps(day: IntArray, sessions: Sessions) -> IntArray:
    """Return the close of each day's session; of a day without one its end, which no session holds."""
    index = np.minimum(np.searchsorted(sessions.day, day), len(sessions) - 1)
    return np.where(sessions.day[index] == day, sessions.close_ns[index], (day + 1) * DAY_NS).astype(np.int64)


def _bars(
    table: CurveTable,
    tenors: Sequence[_Tenor],
    options: YieldOptions,
    ts_ns: IntArray,
    repo_pct: FloatArray | None,
) -> BarColumns:
    """Return the bars of all tenors, day by day, in the order of the universe."""
    index = curve_index(table, options.jump_max_pct, repo_pct)
    closes: list[FloatArray] = []
    opens: list[FloatArray] = []
    for tenor in tenors:
        if tenor.quote == REPO_QUOTE and repo_pct is not None:
            closes.append(100.0 - repo_pct[:, tenor.column])
            opens.append(closes[-1])
            continue
        quote = 100.0 - table.yield_pct[:, tenor.column]
        close = quote if tenor.quote else index.level[:, tenor.column]
        # What was not believed shows as it came, without an open: no price, but the figure is on record.
        refused = index.is_refused[:, tenor.column]
        closes.append(np.where(refused, quote, close))
        opens.append(np.where(refused, np.nan, close))
    close, open_ = (np.stack(each, axis=1).round(_DECIMALS) for each in (closes, opens))
    volume = np.round(_volume_usd(tenors, options) / np.where(close > 0.0, close, 100.0))
    is_bar = ~table.is_blank[:, [tenor.column for tenor in tenors]]
    values = np.stack([each[is_bar] for each in (open_, open_, open_, close, volume)])
    code = np.broadcast_to(np.arange(len(tenors)), close.shape)[is_bar]
    stamps = np.broadcast_to(ts_ns[:, None], close.shape)[is_bar]
    return BarColumns(stamps, code, tuple(tenor.symbol for tenor in tenors), values)


def _volume_usd(tenors: Sequence[_Tenor], options: YieldOptions) -> FloatArray:
    traded = [tenor.symbol for tenor in tenors if not tenor.quote]
    given = _by_symbol(options.volume_musd, traded, "feed.volume_musd")
    return np.array([1e6 * given.get(tenor.symbol, 0.0) for tenor in tenors])


def _repo_pct(table: CurveTable, tenors: Sequence[_Tenor], options: YieldOptions) -> FloatArray | None:
    """Return the rate of every row and column, 0 where none is needed; None for total return.

    Rates over time are NaN in rows before the first one.
    """
    needed = list(
        dict.fromkeys(each.symbol.removesuffix(REPO_QUOTE) for each in tenors if each.quote != QUOTE)
    )
    rates = np.zeros(table.yield_pct.shape)
    columns = [table.codes.index(symbol.removeprefix(options.prefix)) for symbol in needed]
    if options.repo is not None:
        rates[:, columns] = repo_on(options.repo, table.day, [table.codes[k] for k in columns])
    elif options.repo_pct is not None:
        given = _by_symbol(options.repo_pct, needed, "feed.repo_pct")
        rates[:, columns] = [given[symbol] for symbol in needed]
    else:
        return None
    return rates


def _unfinanced(table: CurveTable, repo_pct: FloatArray | None, options: YieldOptions) -> int:
    """Count the rows before every repo rate is known.

    Raises
    ------
    DataError
        D036 if that is all of them.
    """
    is_known = np.ones(1) if repo_pct is None else np.isfinite(repo_pct).all(axis=1)
    if not is_known.any():
        raise _repo_too_late(table, len(table.day), options)
    return int(is_known.argmax())


def _repo_too_late(table: CurveTable, n_before: int, options: YieldOptions) -> DataError:
    what = (
        f"{n_before:,} curves from {np.datetime64(int(table.day[0]), 'D')} on come before the first repo rate"
    )
    hint = "A rate is used from its day on, never before. Give earlier ones"
    if n_before < len(table.day):
        hint += f', or begin later:\n    [universe]  first = "{np.datetime64(int(table.day[n_before]), "D")}"'
    return DataError("D036", f"{what} of {options.repo}", "feed.repo", hint)


def _by_symbol(given: float | dict[str, float], symbols: Sequence[str], key: str) -> dict[str, float]:
    """Return a value for every symbol; a table must have exactly these."""
    if not isinstance(given, dict):
        return dict.fromkeys(symbols, given)
    if wrong := sorted(set(given) ^ set(symbols)):
        what = f"{key} must have one entry a tenor that is traded; look at {', '.join(wrong)}"
        raise DataError("D002", what, key, f"Traded are {', '.join(symbols)}.")
    return given
