"""Bars and errors as Alpaca writes them, and its history of minute bars over HTTP.

The vendor stamps the START of a minute. Here every stamp is its END.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import stamina

from engine.clock import instant, nanos_of
from engine.errors import ConfigError
from engine.events import MINUTE_NS, Bar, Nanos
from engine.secret import secret
from feeds.bar_messages import FIRST_NS, LAST_NS, READ_ERRORS
from feeds.extras import needed

if TYPE_CHECKING:
    import requests

#: The vendor's own names.
KEY_ENV: Final = "APCA_API_KEY_ID"
SECRET_ENV: Final = "APCA_API_SECRET_KEY"  # noqa: S105 - the name, not the secret

#: Rows of a page: the most the vendor gives.
_PAGE_ROWS: Final = 10_000
#: Symbols of a request, so that its address stays short.
_SYMBOLS_MAX: Final = 400
#: To connect, and between two pieces of an answer: a thread that waits cannot be stopped from outside.
_TIMEOUT_S: Final = (5.0, 10.0)
#: Answers that asking again does not change.
_FINAL_STATUS: Final = frozenset({400, 401, 403, 404, 422})
_WAIT_MAX_S: Final = 5.0


class TroubleError(Exception):
    """The vendor cannot be reached or refuses; unless ``is_final``, it may be different in a moment."""

    def __init__(self, what: str, *, is_final: bool = False) -> None:
        super().__init__(what)
        self.is_final = is_final


class _Row(msgspec.Struct):
    """A bar as the vendor writes it; ``t`` is the START of its minute, and must carry its zone."""

    t: Annotated[datetime, msgspec.Meta(tz=True)]
    o: float
    h: float
    l: float  # noqa: E741 - the vendor's name
    c: float
    v: float
    S: str = ""


class _Page(msgspec.Struct):
    """A page of the history: rows by symbol."""

    bars: dict[str, list[msgspec.Raw]] | None
    next_page_token: str | None = None


def credentials(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the account's key and secret.

    Raises
    ------
    ConfigError
        D041 if one of them is not set.
    CommandError
        O010, O011 for a file that cannot be used (``engine.secret``).
    """
    key, key_secret = (secret(name, environment) for name in (KEY_ENV, SECRET_ENV))
    missing = [name for name, value in ((KEY_ENV, key), (SECRET_ENV, key_secret)) if not value]
    if missing:
        raise ConfigError(
            "D041",
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            "feed.kind",
            "Alpaca shows the keys of an account on its dashboard. They stand in the environment,\n"
            f"or in private files that {KEY_ENV}_FILE and {SECRET_ENV}_FILE name, and in no configuration:\n"
            f"    export {KEY_ENV}=...  {SECRET_ENV}=...",
        )
    return key, key_secret


def bar_of(row: bytes | msgspec.Raw, symbol: str = "") -> Bar | None:
    """Read one bar.

    Parameters
    ----------
    row : bytes
        JSON object with ``t, o, h, l, c, v``, and ``S`` if ``symbol`` is not given.
    symbol : str

    Returns
    -------
    Bar or None
        Stamped with the END of its minute; None if it cannot be read.
    """
    try:
        fields = msgspec.json.decode(row, type=_Row)
    except READ_ERRORS:
        return None
    name = symbol or fields.S
    start_ns = nanos_of(fields.t)
    if not name or not FIRST_NS <= start_ns < LAST_NS:
        return None
    return Bar(start_ns + MINUTE_NS, name, fields.o, fields.h, fields.l, fields.c, fields.v)


class AlpacaHistory:
    """Past minute bars, as they were traded (not adjusted).

    Parameters
    ----------
    url : str
        Server, without ``/v2``.
    keys : tuple of str
        Key and secret.
    feed : str
        ``iex`` or ``sip``.
    symbols : sequence of str
    patience_s : float
        How long a request that fails is tried again.
    """

    def __init__(
        self, url: str, keys: tuple[str, str], feed: str, symbols: Sequence[str], patience_s: float
    ) -> None:
        self._session: requests.Session = needed("requests", "alpaca").Session()
        self._session.headers.update({"APCA-API-KEY-ID": keys[0], "APCA-API-SECRET-KEY": keys[1]})
        self._url = f"{url.rstrip('/')}/v2/stocks/bars"
        self._feed = feed
        self._symbols = tuple(symbols)
        self._order = {symbol: index for index, symbol in enumerate(symbols)}
        self._patience_s = patience_s

    async def bars(self, from_ns: Nanos, to_ns: Nanos) -> list[Bar | None]:
        """Return the bars that closed in ``(from_ns, to_ns]``, by time and universe.

        Returns
        -------
        list of Bar or None
            None, at the end, for each row that cannot be read.

        Raises
        ------
        TroubleError
            If the vendor cannot be reached, or refuses, for ``patience_s``.
        """
        bars: list[Bar | None] = []
        for start in range(0, len(self._symbols), _SYMBOLS_MAX):
            bars += await self._pages(self._symbols[start : start + _SYMBOLS_MAX], from_ns, to_ns)
        known = [bar for bar in bars if bar is not None]
        known.sort(key=lambda bar: (bar.ts_close_ns, self._order.get(bar.symbol, len(self._order))))
        return [*known, *[None] * (len(bars) - len(known))]

    async def _pages(self, symbols: Sequence[str], from_ns: Nanos, to_ns: Nanos) -> list[Bar | None]:
        query: dict[str, Any] = {
            "symbols": ",".join(symbols),
            "timeframe": "1Min",
            "start": instant(from_ns),
            "end": instant(to_ns - MINUTE_NS),
            "limit": _PAGE_ROWS,
            "adjustment": "raw",
            "feed": self._feed,
            "sort": "asc",
        }
        bars: list[Bar | None] = []
        token: str | None = ""
        while token is not None:
            page = await self._page(query | {"page_token": token} if token else query)
            for symbol, rows in (page.bars or {}).items():
                bars += [bar_of(row, symbol) for row in rows]
            token = page.next_page_token or None
        return bars

    async def _page(self, query: dict[str, Any]) -> _Page:
        wait_max_s = min(_WAIT_MAX_S, self._patience_s)
        async for attempt in stamina.retry_context(
            lambda error: isinstance(error, TroubleError) and not error.is_final,
            attempts=None,
            timeout=self._patience_s,
            wait_max=wait_max_s,
            wait_jitter=wait_max_s / 10.0,
        ):
            with attempt:
                page = await asyncio.to_thread(self._fetch, query)
        return page

    def _fetch(self, query: dict[str, Any]) -> _Page:
        """Fetch one page; runs in a thread, and ends by itself whatever the server does."""
        import requests

        try:
            answer = self._session.get(self._url, params=query, timeout=_TIMEOUT_S, allow_redirects=False)
        except requests.RequestException as error:
            raise TroubleError(f"{type(error).__name__}: {error}") from error
        status = answer.status_code
        if status != requests.codes.ok:
            text = " ".join(answer.text.split())[:200]
            raise TroubleError(f"HTTP {status}: {text}", is_final=status in _FINAL_STATUS)
        try:
            return msgspec.json.decode(answer.content, type=_Page)
        except READ_ERRORS as error:
            raise TroubleError(f"the history answered with something unreadable: {error}") from error
