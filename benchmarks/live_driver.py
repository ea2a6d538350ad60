"""The driver of a measurement: it sends bars to a daemon and hears what the daemon says.

It is one event loop. Bars go out when they are due, whatever the daemon does meanwhile (an open loop: a slow
engine cannot slow down the load it is measured under), and everything that is heard is stamped with the
monotonic clock at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import aiomqtt
import msgspec
import numpy as np
import redis.asyncio

from benchmarks.live_rig import INSTANCE, Operator, Servers, mqtt_client
from benchmarks.tape import Size, make_bars, symbols_of
from engine.clock import instant
from engine.events import MINUTE_NS, FloatArray, IntArray, Nanos, TradingState

#: Stamp at which the tape begins: a recorded stream, sent again.
START_NS: Final = 1_704_067_200_000_000_000
#: How much dearer everything is in a minute that is to breach, and VaR with it.
SHOCK_FRAC: Final = 0.05
_KINDS: Final = ("signals", "state", "risk")
_HALT_MAX_S: Final = 3.0
_CATCH_UP_S: Final = 30.0
_SETTLE_S: Final = 0.5
_POLL_S: Final = 0.001


class Message(msgspec.Struct):
    """The part of a message of the engine that is looked at here."""

    id: str
    ts: str
    type: str
    state: str = ""
    reason: str = ""
    kind: str = ""
    halt_id: str = ""
    var_usd: float | None = None


class Heard(NamedTuple):
    """One message, the way by which it came (``xread``, ``publish``, ``mqtt``, ``file``), and when."""

    way: str
    topic: str
    message: Message
    at_ns: int


_decode: Final = msgspec.json.Decoder(Message).decode


class Tape:
    """Bars of every minute of a run, and when each was sent.

    Parameters
    ----------
    n_symbols : int
    n_minutes : int
        Sending ends with the tape.

    Attributes
    ----------
    sent_ns : IntArray, shape (n_minutes, n_symbols)
        0 for what was not sent.
    due_ns : IntArray, shape (n_minutes, n_symbols)
        When it should have been.
    """

    def __init__(self, n_symbols: int, n_minutes: int) -> None:
        size = Size(n_symbols // 2, n_minutes)
        self.symbols = symbols_of(size)
        self.minute = 0
        self.is_shock_asked = False
        self.shocks: set[int] = set()
        self.sent_ns = np.zeros((n_minutes, n_symbols), dtype=np.int64)
        self.due_ns = np.zeros((n_minutes, n_symbols), dtype=np.int64)
        self._bars = make_bars(size)
        self._minute_of: dict[str, int] = {}

    def begin_minute(self) -> FloatArray:
        """Return the bars of the next minute, shape (5, n_symbols), dearer if a shock was asked for."""
        bars = self._bars[self.minute].copy()
        if self.is_shock_asked:
            self.is_shock_asked = False
            self.shocks.add(self.minute)
            bars[:4] *= 1.0 + SHOCK_FRAC
        self._minute_of[instant(self.end_ns(self.minute))] = self.minute
        return bars

    @staticmethod
    def end_ns(minute: int) -> Nanos:
        """Return the end of a minute."""
        return START_NS + (minute + 1) * MINUTE_NS

    @staticmethod
    def minute_at(end_ns: IntArray) -> IntArray:
        """Return the minutes that end at these instants."""
        return (end_ns - START_NS) // MINUTE_NS - 1

    def minute_of(self, ts: str) -> int:
        """Return the minute that a message speaks of; -1 for none of this tape."""
        return self._minute_of.get(ts, -1)


class Pace(NamedTuple):
    """How bars are sent: evenly, or all those of a minute at once."""

    bars_per_s: float
    is_at_once: bool = False


class Sender(Protocol):
    """Sends one bar without waiting for an answer."""

    def send(self, fields: dict[str, Any]) -> None:
        """Hand it to the socket."""
        ...


class RedisSender:
    """Adds bars to the stream; answers are read, and not waited for."""

    def __init__(self, connection: redis.asyncio.Connection) -> None:
        self._connection = connection
        self._writer: asyncio.StreamWriter = connection._writer  # type: ignore[assignment]

    def send(self, fields: dict[str, Any]) -> None:
        """Write one XADD."""
        flat = [part for pair in fields.items() for part in pair]
        self._writer.writelines(self._connection.pack_command("XADD", "astra:bars", "*", *flat))

    async def read_answers(self) -> None:
        """Read until cancelled; an error of the server is an error of the benchmark."""
        while True:
            await self._connection.read_response(timeout=None, disconnect_on_error=False)


class MqttSender:
    """Publishes bars with QoS 1."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client._client

    def send(self, fields: dict[str, Any]) -> None:
        """Hand one bar to the connection."""
        self._client.publish(f"astra/bars/{fields['symbol']}", msgspec.msgpack.encode(fields), qos=1)


@asynccontextmanager
async def sender(feed: str, servers: Servers) -> AsyncIterator[Sender]:
    """Open the way of the bars."""
    if feed == "mqtt":
        async with mqtt_client(servers.mqtt, max_inflight_messages=1_000) as client:
            yield MqttSender(client)
        return
    host, _, port = servers.redis.link.url.removeprefix("redis://").partition(":")
    connection = redis.asyncio.Connection(host=host, port=int(port), socket_timeout=None)
    await connection.connect()
    made = RedisSender(connection)
    reading = asyncio.create_task(made.read_answers())
    try:
        yield made
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await connection.disconnect()


async def send_bars(tape: Tape, way: Sender, pace: Pace, until: Callable[[], bool]) -> None:
    """Send whole minutes at a pace until told to stop; nothing else slows it down."""
    due_ns = float(time.monotonic_ns())
    while not until() and tape.minute < len(tape.sent_ns):
        minute, bars = tape.minute, tape.begin_minute()
        ts_ns, rows = tape.end_ns(minute), bars.T.tolist()
        for place, (open_, high, low, close, volume) in enumerate(rows):
            while (wait_s := (due_ns - time.monotonic_ns()) / 1e9) > 0.0:  # noqa: ASYNC110 - time is no event
                await asyncio.sleep(max(wait_s, _POLL_S))
            fields = {
                "ts": ts_ns,
                "symbol": tape.symbols[place],
                "open": open_,
                "high": high,
                "low": low,
                "close": close,
                "volume": volume,
            }
            tape.due_ns[minute, place] = int(due_ns)
            tape.sent_ns[minute, place] = time.monotonic_ns()
            way.send(fields)
            if not pace.is_at_once:
                due_ns += 1e9 / pace.bars_per_s
        if pace.is_at_once:
            due_ns += len(rows) * 1e9 / pace.bars_per_s
        tape.minute += 1
        await asyncio.sleep(0.0)


# --------------------------------------------------------------------------------------------- listening


async def hear_xread(servers: Servers, epoch: str, kind: str, on: Callable[[Heard], None]) -> None:
    """Read the stream of a kind as entries come."""
    stream, after = f"astra:{INSTANCE}:{epoch}:{kind}", b"0"
    url = servers.redis.link.url
    async with redis.asyncio.Redis.from_url(url, protocol=2, socket_timeout=None) as client:
        while True:
            answer: Any = await client.xread({stream: after}, count=1_000, block=0)
            now_ns = time.monotonic_ns()
            for after, fields in answer[0][1]:  # noqa: B007 - the last one is where to go on
                on(Heard("xread", kind, _decode(fields[b"message"]), now_ns))


async def hear_publish(servers: Servers, kinds: tuple[str, ...], on: Callable[[Heard], None]) -> None:
    """Listen to the channels of some kinds."""
    async with redis.asyncio.Redis.from_url(servers.redis.link.url, socket_timeout=None) as client:
        channels = client.pubsub(ignore_subscribe_messages=True)
        await channels.subscribe(*(f"astra:{INSTANCE}:{kind}" for kind in kinds))
        async for told in channels.listen():
            now_ns = time.monotonic_ns()
            topic = told["channel"].decode().rpartition(":")[2]
            on(Heard("publish", topic, _decode(told["data"]), now_ns))


async def hear_mqtt(servers: Servers, kinds: tuple[str, ...], on: Callable[[Heard], None]) -> None:
    """Listen to the topics of some kinds."""
    async with mqtt_client(servers.mqtt) as client:
        await client.subscribe([(f"astra/{INSTANCE}/{kind}", 1) for kind in kinds])
        async for message in client.messages:
            now_ns = time.monotonic_ns()
            if not message.retain and isinstance(message.payload, bytes):
                topic = str(message.topic).rpartition("/")[2]
                on(Heard("mqtt", topic, _decode(message.payload), now_ns))


async def hear_file(path: Path, on: Callable[[Heard], None]) -> None:
    """Read a file of alerts as it grows; looked at every millisecond. A running daemon has made it."""
    with path.open("rb") as file:
        rest = b""
        while True:
            await asyncio.sleep(_POLL_S)
            if more := file.read():
                now_ns = time.monotonic_ns()
                *lines, rest = (rest + more).split(b"\n")
                for line in lines:
                    on(Heard("file", "alerts", _decode(line), now_ns))


# ------------------------------------------------------------------------------------------------ phases


class Phase(NamedTuple):
    """Minutes ``[first, last)`` of a tape, sent in one way between two instants."""

    name: str
    first: int
    last: int
    began_ns: int
    ended_ns: int


class Driver:
    """Sends the phases of a measurement, one after the other, and keeps what it hears meanwhile.

    Parameters
    ----------
    tape : Tape
    way : Sender
    control : str
        The way by which it learns what to do next: ``xread`` or ``mqtt``.
    """

    def __init__(self, tape: Tape, way: Sender, control: str = "xread") -> None:
        self.control = control
        self.heard: list[Heard] = []
        self.phases: list[Phase] = []
        self._tape = tape
        self._way = way
        self._news = asyncio.Event()
        self._state: Message | None = None
        self._risk: Message | None = None

    def on(self, heard: Heard) -> None:
        """Keep what was heard of signals, states and alerts; of risk only the latest is needed."""
        if heard.topic != "risk":
            self.heard.append(heard)
        if heard.way != self.control:
            return
        if heard.topic == "state":
            self._state = heard.message
        elif heard.topic == "risk":
            self._risk = heard.message
        self._news.set()

    async def steady(self, name: str, pace: Pace, seconds: float) -> None:
        """Send calm bars for a while."""
        first, began_ns = self._tape.minute, time.monotonic_ns()
        await send_bars(self._tape, self._way, pace, lambda: time.monotonic_ns() > began_ns + seconds * 1e9)
        await self._settle(name, first, began_ns)

    async def halts(self, name: str, pace: Pace, operator: Operator, count: int, seconds_max: float) -> None:
        """Breach the limit, lift the halt, and again, while bars go on at their pace."""
        first, began_ns = self._tape.minute, time.monotonic_ns()
        end_ns = began_ns + seconds_max * 1e9
        stop = asyncio.Event()
        sending = asyncio.create_task(send_bars(self._tape, self._way, pace, stop.is_set))
        done = 0
        while done < count and time.monotonic_ns() < end_ns and not sending.done():
            done += await self._halt_once(operator)
        stop.set()
        await sending
        await self._settle(name, first, began_ns)

    async def _halt_once(self, operator: Operator) -> bool:
        """Set the limit between a calm minute and a dear one, lift the halt, and send a dear minute."""
        dear = max(self._tape.shocks, default=-1)
        if not await self._until(
            lambda: self._risk is not None and self._tape.minute_of(self._risk.ts) > dear
        ):
            return False
        assert self._risk is not None
        limit_usd = (self._risk.var_usd or 0.0) * (1.0 + SHOCK_FRAC / 2.0)
        await operator.command("limits", var_limit_usd=round(limit_usd, 2))
        if self._state is not None and self._state.state == TradingState.HALTED:
            await operator.command("resume", halt_id=self._state.halt_id)
            if not await self._until(lambda: not self._is_halted):
                return False
        self._tape.is_shock_asked = True
        return await self._until(lambda: self._is_halted)

    @property
    def _is_halted(self) -> bool:
        return self._state is not None and self._state.state == TradingState.HALTED

    async def _until(self, is_so: Callable[[], bool], seconds: float = _HALT_MAX_S) -> bool:
        """Wait for news that make it so; False if they do not come in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        return is_so()

    async def _settle(self, name: str, first: int, began_ns: int) -> None:
        """End a phase once its last minute was heard of, and a little later everything else."""
        self.phases.append(Phase(name, first, self._tape.minute, began_ns, time.monotonic_ns()))
        last = self._tape.minute - 1
        await self._until(
            lambda: self._risk is not None and self._tape.minute_of(self._risk.ts) >= last, _CATCH_UP_S
        )
        await asyncio.sleep(_SETTLE_S)
