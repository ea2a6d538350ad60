"""Health over real HTTP: what a container manager, Prometheus and a stranger are answered."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from engine.app.live.health import build_app, check_bind, serve
from engine.app.live.health_view import HealthView, Phase
from engine.app.live.metrics import Metrics
from engine.errors import ConfigError
from engine.events import MINUTE_NS, TradingState
from tests.support.stills import CLOSE_NS, OPEN_NS, figures, still

STRONG = "0123456789abcdef0123456789abcdef"


class Answer(NamedTuple):
    """Status code, headers and body."""

    code: int
    headers: dict[str, str]
    body: bytes


def _ask(port: int, path: str, headers: dict[str, str]) -> Answer:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


class Client(NamedTuple):
    """Asks the server on a port."""

    port: int

    async def __call__(self, path: str, **headers: str) -> Answer:
        return await asyncio.to_thread(_ask, self.port, path, headers)


@asynccontextmanager
async def _served(view: HealthView, token: str = "") -> AsyncIterator[Client]:
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    app = build_app(lambda: view, Metrics(), token)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(app, "127.0.0.1", 0, listening.set_result))
        yield Client(await listening)
        task.cancel()


async def test_a_working_engine_is_ready() -> None:
    """A manager that is told otherwise restarts, or bypasses, an engine that works."""
    async with _served(still()) as ask:
        alive, ready = await ask("/livez"), await ask("/readyz")
    assert alive.code == ready.code == 200
    assert json.loads(ready.body) == {"is_ready": True, "reasons": [], "trading_state": "ACTIVE"}
    assert ready.headers["cache-control"] == "no-store"


def _silent() -> HealthView:
    return still(now_ns=OPEN_NS + 36 * MINUTE_NS)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (still(phase=Phase.RECOVERING), "recovering: not stepping records"),
        (still(phase=Phase.STOPPING), "stopping: not stepping records"),
        (still(is_feed_connected=False), "feed: not connected"),
        (_silent(), "bars: last one 7 session minutes ago, at most 5 allowed"),
        (
            still(sinks={("redis", "urgent"): figures(waiting_s=61.0, error="refused")}),
            "sink redis: urgent effects undelivered for 61 s (refused)",
        ),
    ],
)
async def test_what_does_not_work_is_said(view: HealthView, reason: str) -> None:
    """Alive but stuck is what a process check never sees; the reason saves the first ten minutes."""
    async with _served(view) as ask:
        alive, ready = await ask("/livez"), await ask("/readyz")
    assert (alive.code, ready.code) == (200, 503)
    assert json.loads(ready.body)["reasons"] == [reason]


@pytest.mark.parametrize(
    "view",
    [
        still(now_ns=CLOSE_NS + MINUTE_NS),
        still(now_ns=OPEN_NS - MINUTE_NS),
        still(sinks={("mqtt", "urgent"): figures(waiting_s=900.0)}),
        still(now_ns=OPEN_NS + 34 * MINUTE_NS),
    ],
    ids=["after the close", "before the open", "optional sink", "just quiet enough"],
)
async def test_what_may_be_is_no_fault(view: HealthView) -> None:
    """Nights, weekends and optional receivers must not page anybody."""
    async with _served(view) as ask:
        assert (await ask("/readyz")).code == 200


async def test_a_halt_is_reported_and_is_no_fault() -> None:
    """A halted engine does what it should; restarting it would hide the halt from those who must see it."""
    view = still()
    view.status.trading_state = TradingState.HALTED
    view.status.halt_reason = "WATCHDOG: the step of record 7"
    async with _served(view) as ask:
        ready = await ask("/readyz")
    assert ready.code == 200
    assert json.loads(ready.body)["halt_reason"] == "WATCHDOG"


async def test_metrics_and_status_are_served() -> None:
    """Prometheus refuses a scrape without the right content type."""
    async with _served(still()) as ask:
        metrics, status, nothing = await ask("/metrics"), await ask("/status"), await ask("/nothing")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\nastra_var_usd 12345.0\n" in metrics.body
    assert (status.body, status.headers["content-type"]) == (b'{"state":"ACTIVE"}', "application/json")
    assert nothing.code == 404


async def test_figures_need_the_token() -> None:
    """The book is nobody's business; whether the engine lives is everybody's."""
    async with _served(still(), STRONG) as ask:
        for path in ("/metrics", "/status", "/nothing"):
            for shown in ({}, {"authorization": "Bearer wrong"}, {"authorization": STRONG}):
                refused = await ask(path, **shown)
                assert (refused.code, refused.body) == (401, b"")
        assert (await ask("/livez")).code == (await ask("/readyz")).code == 200
        assert (await ask("/metrics", authorization=f"Bearer {STRONG}")).code == 200


async def test_a_foreign_page_cannot_read_through_the_browser() -> None:
    """Without a token the name of the host is checked: a page can make its own name mean loopback."""
    async with _served(still()) as ask:
        assert (await ask("/status", host="evil.example")).code == 400
        assert (await ask("/status", host="localhost:8787")).code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "engine"])  # noqa: S104
@pytest.mark.parametrize("token", ["", "short", "a" * 64, "0123456789abcdef", "pass word " * 10])
def test_beyond_this_machine_a_token_is_needed(host: str, token: str) -> None:
    """An open port with the book behind it is found within hours."""
    with pytest.raises(ConfigError) as refused:
        check_bind(host, token)
    assert refused.value.code == "C060"
    assert token not in str(refused.value.what) or not token


@pytest.mark.parametrize(
    ("host", "token"),
    [
        ("127.0.0.1", ""),
        ("::1", ""),
        ("localhost", ""),
        ("0.0.0.0", STRONG),  # noqa: S104
        ("engine", "dG9rZW4tZm9yLXRoZS10ZXN0"),
    ],
)
def test_what_is_safe_may_listen(host: str, token: str) -> None:
    """The default needs no preparation, and a token as the message proposes it suffices."""
    check_bind(host, token)


async def test_a_taken_port_is_said() -> None:
    """Two engines on one machine is the usual cause; a traceback would not say so."""
    async with _served(still()) as ask:
        with pytest.raises(ConfigError, match="cannot listen on") as refused:
            await serve(build_app(still, Metrics()), "127.0.0.1", ask.port)
    assert refused.value.code == "C061"


async def test_signals_stay_with_the_daemon() -> None:
    """SIGTERM must reach the daemon, which hands over first; a server that took it would end the loop."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with _served(still()) as ask:
        await ask("/livez")
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_cancelling_ends_it_with_a_client_connected() -> None:
    """A browser that keeps its connection open must not hold up the shutdown."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(build_app(still, Metrics()), "127.0.0.1", 0, listening.set_result))
    reader, writer = await asyncio.open_connection("127.0.0.1", await listening)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    task.cancel()
    async with asyncio.timeout(10.0):
        with pytest.raises(asyncio.CancelledError):
            await task
        while await reader.read(1000):
            pass
    writer.close()


async def test_a_silent_connection_is_closed_and_a_crowd_is_refused(monkeypatch) -> None:
    """Whoever connects and says nothing would hold a descriptor, until the journal has none left."""
    monkeypatch.setattr("engine.app.live.health._CONNECTION_MAX_S", 0.3)
    monkeypatch.setattr("engine.app.live.health._CONNECTIONS_MAX", 3)
    async with _served(still()) as ask:
        crowd = [await asyncio.open_connection("127.0.0.1", ask.port) for _ in range(3)]
        crowd[1][1].write(b"GET /livez HTTP/1.1\r\nhost: ")  # begun, and never ended
        assert (await ask("/livez")).code == 503
        assert [await reader.read() for reader, _ in crowd] == [b""] * 3
        assert (await ask("/livez")).code == 200
        for _, writer in crowd:
            writer.close()
            await writer.wait_closed()
