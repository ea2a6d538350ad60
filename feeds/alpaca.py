"""Minute bars of US equities from Alpaca: its WebSocket stream, and its history to fill what was missed.

The vendor's documented protocol is spoken directly, with ``websockets`` and ``requests``, not through its own
package ``alpaca-py``, because a feed must account for every bar and stop when it is told to. That package's
stream reconnects by itself and says nothing of it, so what was missed meanwhile cannot be fetched; it logs a
wrong key and tries again for ever; it drops the rest of a message when one part cannot be read; and it stands
on a module of ``websockets`` that is marked for removal. Its client of the history has no time limit: one
lost connection would keep a stopped process alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from engine.connections import waits_s
from engine.errors import ServiceError
from engine.events import DAY_NS, MINUTE_NS, SECOND_NS, Bar, Nanos
from engine.ports import Arrival
from feeds.alpaca_history import (
    KEY_ENV,
    SECRET_ENV,
    AlpacaHistory,
    TroubleError,
    bar_of,
    credentials,
)
from feeds.bar_messages import READ_ERRORS, judged
from feeds.delivered import Delivered
from feeds.extras import needed
from feeds.live_context import LiveContext
from feeds.live_options import AlpacaOptions

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_log = structlog.get_logger("astra.feeds.alpaca")

#: Errors of the stream that trying again does not mend: keys, symbol limit, subscription, unknown channel.
_FINAL_CODES: Final = frozenset({402, 405, 409, 410})
_HANDSHAKE_S: Final = 10.0
#: Frames that may wait while missed minutes are fetched; one holds up to some hundred bars.
_FRAMES_MAX: Final = 4_096
#: Arrivals that are handed on together at most.
_BATCH_MAX: Final = 10_000


class _Message(msgspec.Struct):
    """What every message of the stream has, and what control messages add."""

    T: str
    code: int = 0
    msg: str = ""


class AlpacaBars:
    """Bars as they happen, and those missed while the connection was lost or the engine was down.

    After every (re)connection the stream is subscribed first; then the minutes from the last complete one to
    that instant are taken from the history, then what the stream sent meanwhile. A bar that both have comes
    once. A bar that the stream itself repeats or corrects is handed on: it is for the slicer to judge.

    Parameters
    ----------
    options : AlpacaOptions
    context : LiveContext

    Attributes
    ----------
    is_connected : bool
        There is a connection and a subscription.
    reconnects : int
        Connections after the first.
    errors : int
        Of the vendor or the line.
    backfilled, overlapped : int
        Bars from the history, and those of them that the stream had, too.
    backfills_failed : int
        Times the history could not be had: the minutes in between stay missing.

    Raises
    ------
    ConfigError
        D040 without the extra, D041 without keys.
    """

    def __init__(self, options: AlpacaOptions, context: LiveContext) -> None:
        needed("websockets", "alpaca")
        self._keys = credentials()
        self._options = options
        self._context = context
        self._url = options.stream_url or f"wss://stream.data.alpaca.markets/v2/{options.feed}"
        self._history = AlpacaHistory(
            options.history_url or "https://data.alpaca.markets",
            self._keys,
            options.feed,
            context.symbols,
            options.backfill_max_s,
        )
        self._was_welcome = False
        self._asked_ns: Nanos = 0
        self._overlap: set[tuple[Nanos, str]] = set()
        self.is_connected = False
        self.reconnects = 0
        self.errors = 0
        self.backfilled = 0
        self.overlapped = 0
        self.backfills_failed = 0

    async def arrivals(self, after: str) -> AsyncIterator[Sequence[Arrival]]:
        """Yield bars until closed, reconnecting for ever.

        Without a position it begins with the span of the run, or else with the minute that ended last.

        Raises
        ------
        ServiceError
            D042 if the vendor refuses keys or subscription before it has ever accepted them.
        DataError
            D032 if ``after`` is no position of this feed.
        """
        delivered = self._resumed(after)
        waits = waits_s(self._options.reconnect_max_s)
        while True:
            try:
                async with (
                    await self._opened() as stream,
                    aclosing(self._taken(stream, delivered)) as batches,
                ):
                    async for batch in batches:
                        waits = waits_s(self._options.reconnect_max_s)
                        yield batch
            except TroubleError as error:
                self._note("alpaca feed disconnected", error)
            finally:
                self.is_connected = False
            await asyncio.sleep(next(waits))

    def _resumed(self, after: str) -> Delivered:
        symbols, from_ns = self._context.symbols, self._context.from_ns
        delivered = Delivered.at(after, symbols, "alpaca") if after else Delivered(symbols, 0)
        if from_ns is not None:
            delivered.complete((from_ns - 1) // MINUTE_NS * MINUTE_NS)
        elif not after:
            delivered.complete(self._minute_ns() - MINUTE_NS)
        return delivered

    def _minute_ns(self) -> Nanos:
        """Return the end of the last minute that is over, within the span of the run."""
        now_ns, to_ns = self._context.clock.now_ns(), self._context.to_ns
        return (now_ns if to_ns is None else min(now_ns, to_ns)) // MINUTE_NS * MINUTE_NS

    # ------------------------------------------------------------------------------------------- stream

    async def _opened(self) -> ClientConnection:
        """Connect, authenticate and subscribe."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        stream: ClientConnection | None = None
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                stream = await connect(self._url, close_timeout=1.0, max_queue=_FRAMES_MAX)
                await self._expect(stream, "success", "connected")
                await _send(stream, action="auth", key=self._keys[0], secret=self._keys[1])
                await self._expect(stream, "success", "authenticated")
                self._asked_ns = self._context.clock.now_ns()
                await _send(stream, action="subscribe", bars=list(self._context.symbols))
                await self._expect(stream, "subscription")
        except BaseException as error:
            if stream is not None:
                await stream.close()
            if isinstance(error, (WebSocketException, OSError, TimeoutError)):
                raise TroubleError(f"{type(error).__name__}: {error}") from error
            raise
        self.reconnects += self._was_welcome
        self.is_connected = self._was_welcome = True
        _log.info("alpaca feed connected", url=self._url, symbols=len(self._context.symbols))
        return stream

    async def _expect(self, stream: ClientConnection, kind: str, text: str = "") -> None:
        """Await one answer of the handshake; control messages come alone."""
        try:
            answer = msgspec.json.decode(await stream.recv(decode=False), type=list[_Message])[0]
        except (*READ_ERRORS, IndexError) as error:
            raise TroubleError(f"the stream answered with something unreadable: {error}") from error
        if answer.T == "error":
            what = f"{answer.msg} (code {answer.code})"
            if answer.code in _FINAL_CODES and not self._was_welcome:
                raise _refusal(what, self._options.feed)
            raise TroubleError(what)
        if kind != answer.T or answer.msg != text:
            raise TroubleError(f'the stream answered "{answer.T} {answer.msg}" where "{kind} {text}" was due')

    async def _taken(self, stream: ClientConnection, delivered: Delivered) -> AsyncGenerator[list[Arrival]]:
        """Yield what was missed until now, then what comes, until the connection is lost."""
        from websockets.exceptions import ConnectionClosed

        async with aclosing(self._missed(delivered, self._minute_ns())) as batches:
            async for batch in batches:
                yield batch
        while True:
            try:
                frame = await stream.recv(decode=False)
            except ConnectionClosed as error:
                raise TroubleError(f"{type(error).__name__}: {error}") from error
            if batch := self._arrivals([*self._bars_of(frame)], delivered):
                yield batch

    def _bars_of(self, frame: bytes | str) -> Iterator[Bar | None]:
        """Read a frame: its bars, and None for each part that cannot be read. Other messages are no bars."""
        try:
            parts = msgspec.json.decode(frame, type=list[msgspec.Raw])
        except READ_ERRORS:
            parts = [msgspec.Raw(b"")]
        for part in parts:
            try:
                message = msgspec.json.decode(part, type=_Message)
            except READ_ERRORS:
                yield None
                continue
            if message.T == "error":
                self._note("alpaca feed error", f"{message.msg} (code {message.code})")
            if message.T not in {"b", "u"}:
                continue
            bar = bar_of(part)
            if bar is not None and message.T == "b" and (bar.ts_close_ns, bar.symbol) in self._overlap:
                self._overlap.remove((bar.ts_close_ns, bar.symbol))
                self.overlapped += 1
                continue
            yield bar

    def _arrivals(self, bars: Sequence[Bar | None], delivered: Delivered) -> list[Arrival]:
        """Judge bars, and note each with the position after it."""
        batch: list[Arrival] = []
        for record in judged(bars, self._context):
            if isinstance(record, Bar):
                delivered.add(record)
            batch.append(Arrival(record, delivered.position("alpaca")))
        return batch

    # ------------------------------------------------------------------------------------------ history

    async def _missed(self, delivered: Delivered, until_ns: Nanos) -> AsyncGenerator[list[Arrival]]:
        """Yield the bars that closed after the last complete minute and until ``until_ns``, in time order."""
        self._overlap.clear()
        if delivered.complete_ns >= until_ns:
            return
        settled_ns = until_ns + round(self._options.settle_s * SECOND_NS)
        await asyncio.sleep(self._context.clock.seconds_until(settled_ns))
        while (from_ns := delivered.complete_ns) < until_ns:
            to_ns = min(from_ns + DAY_NS, until_ns)
            try:
                bars = await self._history.bars(from_ns, to_ns)
            except TroubleError as error:
                # Old prices are worth less than those of now: a gap, rather than a standstill.
                self.backfills_failed += 1
                self._note("alpaca feed gap", error, from_ns=from_ns, until_ns=until_ns)
                delivered.complete(until_ns)
                return
            # What ended about the subscription, or since, may come by the stream, too.
            since_ns = self._asked_ns - 2 * MINUTE_NS
            recent = [bar for bar in bars if bar is not None and bar.ts_close_ns > since_ns]
            self._overlap.update((bar.ts_close_ns, bar.symbol) for bar in recent)
            new = [bar for bar in bars if bar is None or not delivered.has(bar)]
            self.backfilled += len(new)
            for start in range(0, len(new), _BATCH_MAX):
                yield self._arrivals(new[start : start + _BATCH_MAX], delivered)
            delivered.complete(to_ns)

    def _note(self, event: str, error: object, **facts: Any) -> None:
        self.errors += 1
        _log.warning(event, error=str(error), **facts)


async def _send(stream: ClientConnection, **message: Any) -> None:
    await stream.send(msgspec.json.encode(message).decode())


def _refusal(what: str, feed: str) -> ServiceError:
    return ServiceError(
        "D042",
        f"Alpaca refused the connection: {what}",
        "feed",
        f"Check {KEY_ENV} and {SECRET_ENV} (a new key pair makes the old one void), and that the\naccount's "
        f'subscription includes feed = "{feed}": without one it is "iex".',
    )
