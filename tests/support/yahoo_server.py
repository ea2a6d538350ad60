"""A server on this machine that answers as Yahoo Finance does to yfinance, and can misbehave in its ways.

``GET /v8/finance/chart/<symbol>`` gives the rows of a symbol as columns with null where nothing was traded,
``/v1/test/getcrumb`` a crumb, and every other address an empty page.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any
from urllib.parse import unquote

from tests.support.http_server import http_server

#: Start of a minute (seconds), open, high, low, close, volume.
Row = tuple[int, float | None, float | None, float | None, float | None, int | None]
_CHART = "/v8/finance/chart/"


class YahooServer:
    """What the vendor knows, and how it behaves; made by ``yahoo_server``.

    Attributes
    ----------
    rows : dict of str to list of Row
        History by symbol; another symbol is not found.
    sessions : list of (int, int)
        Regular trading periods, seconds.
    failures : dict of str to deque of (int, str)
        Status and body of the next answers to a symbol's minutes.
    ranges : list of (str, str)
        Symbol and range of every request for minutes.
    paths : set of str
        Every address that was asked for.
    """

    def __init__(self, sessions: list[tuple[int, int]]) -> None:
        self.rows: dict[str, list[Row]] = {}
        self.sessions = sessions
        self.failures: dict[str, deque[tuple[int, str]]] = {}
        self.ranges: list[tuple[str, str]] = []
        self.paths: set[str] = set()
        self.url = ""
        self._lock = Lock()

    def on_get(self, path: str, query: dict[str, str]) -> tuple[int, str]:
        """Answer one request: status and body."""
        with self._lock:
            self.paths.add(path)
            if path == "/v1/test/getcrumb":
                return 200, "crumb"
            if not path.startswith(_CHART):
                return 200, ""
            symbol = unquote(path.removeprefix(_CHART))
            if query["interval"] == "1m":
                self.ranges.append((symbol, query["range"]))
                if waiting := self.failures.get(symbol):
                    return waiting.popleft()
            if symbol not in self.rows:
                error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
                return 404, json.dumps({"chart": {"result": None, "error": error}})
            return 200, json.dumps({"chart": {"result": [self._result(symbol)], "error": None}})

    def _result(self, symbol: str) -> dict[str, Any]:
        rows = self.rows[symbol]
        columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[]] * 6
        names = ("open", "high", "low", "close", "volume")
        periods = [
            [{"timezone": "EST", "start": start, "end": end, "gmtoffset": -18_000}]
            for start, end in self.sessions
        ]
        meta = {
            "currency": "USD", "symbol": symbol, "instrumentType": "EQUITY", "gmtoffset": -18_000,
            "exchangeTimezoneName": "America/New_York", "timezone": "EST", "priceHint": 2,
            "dataGranularity": "1m", "validRanges": ["1d", "5d", "1mo"], "tradingPeriods": periods,
        }  # fmt: skip
        quote = dict(zip(names, columns[1:], strict=True)) if rows else {}
        result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [quote]}}
        return {**result, "timestamp": columns[0]} if rows else result


@contextmanager
def yahoo_server(sessions: list[tuple[int, int]]) -> Iterator[YahooServer]:
    """Run it on loopback."""
    server = YahooServer(sessions)
    with http_server(lambda path, query, _headers: server.on_get(path, query)) as server.url:
        yield server
