"""A server on this machine that speaks Alpaca's documented protocol, and can misbehave in its ways.

The stream: welcome, authentication, subscription, then arrays of bars stamped with the START of the minute.
The history: ``GET /v2/stocks/bars``, pages sorted by symbol and then time, with ``next_page_token``.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import Message
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from engine.events import MINUTE_NS, Bar
from tests.support.http_server import http_server

KEY, SECRET = "PKTEST", "not-a-secret"


def start_of(bar: Bar) -> str:
    """Write the START of a bar's minute as the vendor does."""
    start_s = (bar.ts_close_ns - MINUTE_NS) // 1_000_000_000
    return datetime.fromtimestamp(start_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def row(bar: Bar) -> dict[str, Any]:
    """Return a bar as a row of the history."""
    volume = int(bar.volume) if bar.volume.is_integer() else bar.volume
    return {
        "t": start_of(bar), "o": bar.open, "h": bar.high, "l": bar.low, "c": bar.close,
        "v": volume, "n": 3, "vw": bar.close,
    }  # fmt: skip


def message(bar: Bar, kind: str = "b") -> dict[str, Any]:
    """Return a bar as a message of the stream."""
    return {"T": kind, "S": bar.symbol, **row(bar)}


class AlpacaServer:
    """Both endpoints; made by ``alpaca_server``.

    Attributes
    ----------
    tape : list of Bar
        What the history knows.
    page_rows : int
        Rows of a page, however many are asked for.
    refusals : deque of (int, str)
        Errors that the next connections get instead of "authenticated".
    failures : deque of (int, str)
        Status and body of the next answers of the history.
    queries : list of dict
        What the history was asked.
    subscriptions : list of list of str
        One for each connection that got that far.
    """

    def __init__(self) -> None:
        self.tape: list[Bar] = []
        self.page_rows = 10_000
        self.refusals: deque[tuple[int, str]] = deque()
        self.failures: deque[tuple[int, str]] = deque()
        self.queries: list[dict[str, str]] = []
        self.subscriptions: list[list[str]] = []
        self.stream_url = self.history_url = ""
        self._open: list[ServerConnection] = []
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def subscribed(self, n_connections: int = 1) -> None:
        """Wait until so many connections in all have subscribed."""
        await self._until(lambda: len(self.subscriptions) >= n_connections)

    async def asked(self) -> None:
        """Wait until the history was asked since ``queries`` was last cleared."""
        await self._until(lambda: bool(self.queries))

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def send(self, *bars: Bar, kind: str = "b") -> None:
        """Push bars in one frame to whoever is connected."""
        await self.send_text(json.dumps([message(bar, kind) for bar in bars]))

    async def send_text(self, text: str) -> None:
        """Push any frame."""
        for connection in self._open:
            await connection.send(text)

    def drop(self) -> None:
        """Cut every connection without a word."""
        for connection in self._open:
            connection.transport.abort()
        self._open.clear()

    async def on_stream(self, connection: ServerConnection) -> None:
        """Serve one connection of the stream."""
        try:
            await connection.send('[{"T":"success","msg":"connected"}]')
            login = json.loads(await connection.recv())
            if self.refusals:
                code, text = self.refusals.popleft()
            elif (login["action"], login["key"], login["secret"]) != ("auth", KEY, SECRET):
                code, text = 402, "auth failed"
            else:
                code, text = 0, ""
            if code:
                await connection.send(json.dumps([{"T": "error", "code": code, "msg": text}]))
                return
            await connection.send('[{"T":"success","msg":"authenticated"}]')
            wanted = json.loads(await connection.recv())
            await connection.send(json.dumps([{"T": "subscription", "trades": [], "bars": wanted["bars"]}]))
            self._open.append(connection)
            self.subscriptions.append(wanted["bars"])
            self._changed.set()
            await connection.wait_closed()
        except ConnectionClosed:
            return
        finally:
            self._open = [other for other in self._open if other is not connection]

    def on_history(self, query: dict[str, str], headers: Any) -> tuple[int, str]:
        """Answer one request of the history: status and body."""
        self.queries.append(query)
        self._loop.call_soon_threadsafe(self._changed.set)
        if self.failures:
            return self.failures.popleft()
        if (headers["APCA-API-KEY-ID"], headers["APCA-API-SECRET-KEY"]) != (KEY, SECRET):
            return 403, '{"message": "forbidden."}'
        names = query["symbols"].split(",")
        found = [
            bar
            for bar in self.tape
            if bar.symbol in names and query["start"] <= start_of(bar) <= query["end"]
        ]
        found.sort(key=lambda bar: (bar.symbol, bar.ts_close_ns))
        first = int(query.get("page_token", "0"))
        last = first + min(self.page_rows, int(query["limit"]))
        bars: dict[str, list[dict[str, Any]]] = {}
        for bar in found[first:last]:
            bars.setdefault(bar.symbol, []).append(row(bar))
        return 200, json.dumps({"bars": bars, "next_page_token": str(last) if last < len(found) else None})


@asynccontextmanager
async def alpaca_server(tape: Iterable[Bar] = ()) -> AsyncIterator[AlpacaServer]:
    """Run both endpoints on loopback."""
    server = AlpacaServer()
    server.tape = list(tape)

    def on_get(path: str, query: dict[str, str], headers: Message) -> tuple[int, str]:
        return server.on_history(query, headers) if path == "/v2/stocks/bars" else (404, "")

    with http_server(on_get) as server.history_url:
        async with serve(server.on_stream, "127.0.0.1", 0, close_timeout=0.2) as stream:
            port = next(iter(stream.sockets)).getsockname()[1]
            server.stream_url = f"ws://127.0.0.1:{port}/v2/iex"
            yield server
