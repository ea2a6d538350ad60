"""Minute bars from Yahoo Finance, for people without an account: polled, delayed and unofficial.

Every minute of a session, a little after its end, the history of each symbol is asked for through
``yfinance``, in threads. A row is a bar once its minute is over; the running minute, rows without any trade,
and the latest quote that Yahoo appends to a history are none. Yahoo stamps the START of a minute; here every
stamp is its END.

A poll that fails is a log line and a count; the next one asks for what was missed. A row that is not yet over
is not received, however far ahead its stamp is: it is looked at again when its time has come. So nothing here
is ever rejected as FUTURE or UNDECODABLE.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import numpy as np
import structlog

from engine.events import DAY_NS, MINUTE_NS, SECOND_NS, Bar, Nanos
from engine.ports import Arrival
from engine.sessions import Sessions
from feeds.bar_messages import judged
from feeds.calendars import sessions_for
from feeds.extras import needed
from feeds.live_context import LiveContext, wrong_position
from feeds.live_options import YahooOptions

if TYPE_CHECKING:
    import pandas as pd

_log = structlog.get_logger("astra.feeds.yahoo")

_HTTP_TIMEOUT_S: Final = 10.0
#: In slices, so that a clock that is set, or a machine that slept, is noticed.
_SLEEP_MAX_S: Final = 5.0
#: After the close, for bars that are late.
_AFTER_CLOSE_NS: Final = 5 * MINUTE_NS
#: How far the next session may be away.
_CALENDAR_DAYS: Final = 20
#: A history of one day is enough if the last answer is as young as this.
_FRESH_NS: Final = 60 * MINUTE_NS
#: Waits after "too many requests": doubled each time.
_LIMITED_FIRST_S: Final = 60.0
_LIMITED_MAX_S: Final = 900.0
_PRICES: Final = ("Open", "High", "Low", "Close", "Volume")
_POSITION: Final = re.compile(r"yahoo (\d{1,12})((?: [^ ]+=\d{1,12})*)", re.ASCII)


class YahooBars:
    """Bars of the minutes that are over, by polling.

    Parameters
    ----------
    options : YahooOptions
    context : LiveContext

    Attributes
    ----------
    is_connected : bool
        The last round had an answer.
    polls, errors : int
        Requests for a symbol, and those that failed.
    limited : int
        Rounds in which the vendor asked to be left alone.

    Raises
    ------
    ConfigError
        D040 without the extra.
    """

    def __init__(self, options: YahooOptions, context: LiveContext) -> None:
        self._yfinance: Any = needed("yfinance", "yahoo")
        # Its errors are otherwise lines of its own log, and empty answers.
        self._yfinance.config.debug.hide_exceptions = False
        # What its authors will have to change for coming versions of pandas is no news to a user.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"yfinance\.")
        self._options = options
        self._context = context
        self._session = _rerouted(options.base_url) if options.base_url else None
        self._tickers: dict[str, Any] = {}
        self._answered_ns: dict[str, Nanos] = {}
        self._wait_ns = round(options.settle_s * SECOND_NS) + options.delay_min * MINUTE_NS
        self.is_connected = False
        self.polls = 0
        self.errors = 0
        self.limited = 0

    async def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:
        """Yield bars until closed, by time and universe within each round.

        Without a position it begins with the span of the run, or else with the minute that ended last.

        Raises
        ------
        DataError
            D032 if ``after`` is no position of this feed.
        """
        clock = self._context.clock
        newest_ns = self._resumed(after)
        limited_s = 0.0
        while True:
            now_ns = clock.now_ns()
            bars, is_limited = await self._round(newest_ns, now_ns)
            if bars:
                yield self._arrivals(bars, newest_ns)
            due_ns = next_poll_ns(partial(_sessions, self._context.calendar), now_ns, self._wait_ns)
            if is_limited:
                limited_s = min(_LIMITED_MAX_S, max(_LIMITED_FIRST_S, 2.0 * limited_s))
                _log.warning("yahoo feed limited", wait_s=limited_s)
                due_ns = max(due_ns, now_ns + round(limited_s * SECOND_NS))
            else:
                limited_s = 0.0
            while (wait_s := clock.seconds_until(due_ns)) > 0.0:  # noqa: ASYNC110 - time is no event
                await asyncio.sleep(min(wait_s, _SLEEP_MAX_S))

    def _resumed(self, after: str) -> dict[str, Nanos]:
        """Return the newest stamp of every symbol that was handed on."""
        context = self._context
        if after:
            newest_ns = newest_of(after, context.symbols)
        else:
            last_ns = (context.clock.now_ns() - self._wait_ns) // MINUTE_NS * MINUTE_NS - MINUTE_NS
            newest_ns = dict.fromkeys(context.symbols, last_ns if context.from_ns is None else 0)
        if context.from_ns is not None:
            before_ns = (context.from_ns - 1) // MINUTE_NS * MINUTE_NS
            newest_ns = {symbol: max(before_ns, ts_ns) for symbol, ts_ns in newest_ns.items()}
        return newest_ns

    def _arrivals(self, bars: list[Bar], newest_ns: dict[str, Nanos]) -> list[Arrival]:
        order = {symbol: index for index, symbol in enumerate(self._context.symbols)}
        bars.sort(key=lambda bar: (bar.ts_close_ns, order[bar.symbol]))
        batch: list[Arrival] = []
        for bar, record in zip(bars, judged(bars, self._context), strict=True):
            newest_ns[bar.symbol] = bar.ts_close_ns
            batch.append(Arrival(record, position_of(newest_ns)))
        return batch

    # ------------------------------------------------------------------------------------------ polling

    async def _round(self, newest_ns: dict[str, Nanos], now_ns: Nanos) -> tuple[list[Bar], bool]:
        """Ask for every symbol once; return the new bars, and whether the vendor wants to be left alone."""
        room = asyncio.Semaphore(self._options.parallel)
        is_limited = False

        async def ask(symbol: str) -> list[Bar]:
            nonlocal is_limited
            async with room:
                if is_limited:
                    return []
                self.polls += 1
                try:
                    answer = await asyncio.to_thread(self._history, symbol, now_ns)
                    bars = final_bars(symbol, answer, newest_ns[symbol], now_ns - self._wait_ns)
                except Exception as error:  # noqa: BLE001 - the package raises whatever its parser trips over
                    is_limited = is_limited or isinstance(error, self._yfinance.exceptions.YFRateLimitError)
                    self.errors += 1
                    _log.warning(
                        "yahoo feed poll failed", symbol=symbol, error=f"{type(error).__name__}: {error}"
                    )
                    return []
                self._answered_ns[symbol] = now_ns
                return bars

        found = await asyncio.gather(*map(ask, self._context.symbols))
        self.limited += is_limited
        self.is_connected = now_ns in self._answered_ns.values()
        return [bar for bars in found for bar in bars], is_limited

    def _history(self, symbol: str, now_ns: Nanos) -> pd.DataFrame:
        """Fetch the minutes of today, or of five sessions after a gap; runs in a thread."""
        if symbol not in self._tickers:
            self._tickers[symbol] = self._yfinance.Ticker(symbol, session=self._session)
        is_fresh = now_ns - self._answered_ns.get(symbol, 0) < _FRESH_NS
        frame: pd.DataFrame = self._tickers[symbol].history(
            period="1d" if is_fresh else "5d",
            interval="1m",
            prepost=False,
            actions=False,
            auto_adjust=False,
            keepna=True,
            timeout=_HTTP_TIMEOUT_S,
        )
        return frame


def final_bars(symbol: str, frame: pd.DataFrame, after_ns: Nanos, until_ns: Nanos) -> list[Bar]:
    """Return the bars of a history that closed in ``(after_ns, until_ns]``, each minute once, by time.

    Parameters
    ----------
    symbol : str
    frame : DataFrame
        Columns Open, High, Low, Close and Volume; the index holds the START of each minute, with a zone.

    Returns
    -------
    list of Bar
        Rows without any price are minutes without a trade, and rows that start within a minute are Yahoo's
        latest quote: neither is a bar. Of several rows of a minute the first stands.

    Raises
    ------
    ValueError
        If the index has no time zone: it is not guessed.
    """
    if frame.empty:
        return []
    zone = getattr(frame.index, "tz", None)
    if zone is None:
        raise ValueError(f"the history of {symbol} has no time zone")
    index: Any = frame.index
    close_ns = index.tz_convert("UTC").as_unit("ns").asi8 + MINUTE_NS
    values = frame[list(_PRICES)].to_numpy(np.float64)
    is_bar = (close_ns % MINUTE_NS == 0) & ~np.isnan(values[:, :4]).all(axis=1)
    is_bar &= (close_ns > after_ns) & (close_ns <= until_ns)
    stamps, first = np.unique(close_ns[is_bar], return_index=True)
    rows = values[is_bar][first]
    return [Bar(ts, symbol, *row) for ts, row in zip(stamps.tolist(), rows.tolist(), strict=True)]


def position_of(newest_ns: dict[str, Nanos]) -> str:
    """Write the newest stamp of every symbol: that of most, and how many minutes the others are behind.

    >>> position_of({"KO": 3 * MINUTE_NS, "PEP": 2 * MINUTE_NS})
    'yahoo 3 PEP=1'
    """
    newest = max(newest_ns.values(), default=0)
    behind = (
        f" {symbol}={(newest - ts_ns) // MINUTE_NS}" for symbol, ts_ns in newest_ns.items() if ts_ns < newest
    )
    return f"yahoo {newest // MINUTE_NS}{''.join(behind)}"


def newest_of(position: str, symbols: Sequence[str]) -> dict[str, Nanos]:
    """Read what ``position_of`` wrote; a symbol that is new in the universe begins with the newest stamp.

    Raises
    ------
    DataError
        D032 if it is none of this feed.
    """
    parts = _POSITION.fullmatch(position)
    if parts is None:
        raise wrong_position(position, "yahoo")
    behind = {name: int(n_min) for name, n_min in (part.rsplit("=", 1) for part in parts[2].split())}
    return {symbol: (int(parts[1]) - behind.get(symbol, 0)) * MINUTE_NS for symbol in symbols}


def next_poll_ns(sessions_at: Callable[[int], Sessions], now_ns: Nanos, wait_ns: Nanos) -> Nanos:
    """Return when to ask next: ``wait_ns`` after the end of a session minute, or of one soon after the close.

    Parameters
    ----------
    sessions_at : callable
        Sessions around a day (days since 1970-01-01).
    now_ns, wait_ns : int
    """
    minute_ns = ((now_ns - wait_ns) // MINUTE_NS + 1) * MINUTE_NS
    sessions = sessions_at(minute_ns // DAY_NS)
    if sessions.locate(minute_ns) is None and sessions.locate(minute_ns - _AFTER_CLOSE_NS) is None:
        later = sessions.open_ns[sessions.open_ns >= minute_ns]
        minute_ns = int(later[0]) + MINUTE_NS if len(later) else minute_ns + DAY_NS
    return minute_ns + wait_ns


@lru_cache(maxsize=2)
def _sessions(calendar: str, day: int) -> Sessions:
    return sessions_for(calendar, day - 1, day + _CALENDAR_DAYS)


def _rerouted(base_url: str) -> Any:
    """Return a session for yfinance that sends every request to one server.

    The package has no setting for its addresses, some of which are written into its functions; but it takes
    a session, and what a session is asked for can be asked for elsewhere.
    """
    session_type: Any = needed("curl_cffi.requests", "yahoo").Session
    origin = base_url.rstrip("/")

    class Rerouted(session_type):  # type: ignore[misc]
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            parts = urlsplit(url)
            path = parts.path or "/"
            query = f"?{parts.query}" if parts.query else ""
            return super().request(method, f"{origin}{path}{query}", *args, **kwargs)

    return Rerouted(impersonate="chrome")
