"""The engine's HTTP side for machines: is it alive, does it do its work, what are its figures.

    /livez     the process and its event loop are alive                          open
    /readyz    it does its work; 503 with the reasons when it does not           open
    /metrics   figures, in the text format of Prometheus                         bearer token, if there is one
    /status    the status document, JSON                                         bearer token, if there is one

Liveness is no readiness: an engine that waits for its feed must not be restarted, it would only wait again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.app.config.addresses import is_loopback
from engine.app.live.health_view import HealthView, unready
from engine.app.live.metrics import Metrics
from engine.errors import ConfigError
from engine.events import TradingState

TOKEN: Final = "ASTRA_CONSOLE_TOKEN"  # noqa: S105 - the name of a variable, not a secret
#: What a load balancer or a container manager may ask without a token; the answers hold no figures.
OPEN_PATHS: Final = frozenset({"/livez", "/readyz"})
_TOKEN_BITS_MIN: Final = 128
_DISTINCT_MIN: Final = 8
_GRACE_S: Final = 1
#: Connections at once, one that keeps silent after an answer, and one altogether: every answer is short.
_CONNECTIONS_MAX: Final = 64
_IDLE_MAX_S: Final = 5
_CONNECTION_MAX_S: Final = 30.0
_LOOPBACK_HOSTS: Final = ["localhost", "127.0.0.1", "[::1]", "::1"]
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


def build_app(view: Callable[[], HealthView], metrics: Metrics, token: str = "") -> Starlette:
    """Return the application.

    Parameters
    ----------
    view : callable
        Takes a still of the engine; called for every answer.
    metrics : Metrics
    token : str
        What callers must show, empty for none; ``check_bind`` says where there must be one.
    """
    guard = (
        Middleware(BearerGuard, token=token)
        if token
        # Without a token the address is all there is: a web page that resolves its own name to loopback
        # must not read the book through the browser.
        else Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK_HOSTS, www_redirect=False)
    )
    return Starlette(routes=_routes(view, metrics), middleware=[guard])


def _routes(view: Callable[[], HealthView], metrics: Metrics) -> list[BaseRoute]:
    async def livez(_: Request) -> Response:
        return _json({"is_alive": True})

    async def readyz(_: Request) -> Response:
        now = view()
        reasons = unready(now)
        state = now.status.trading_state
        answer = {"is_ready": not reasons, "reasons": reasons, "trading_state": state}
        if state is TradingState.HALTED:
            # The typed reason alone: its detail is not for everybody who may ask.
            answer |= {"halt_reason": now.status.halt_reason.partition(":")[0]}
        return _json(answer, 503 if reasons else 200)

    async def figures(_: Request) -> Response:
        metrics.refresh(view())
        return Response(metrics.text(), headers={"content-type": _PROMETHEUS, **_NO_STORE})

    async def status(_: Request) -> Response:
        return Response(view().document, media_type="application/json", headers=_NO_STORE)

    return [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", figures),
        Route("/status", status),
    ]


_NO_STORE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def _json(content: dict[str, Any], status_code: int = 200) -> Response:
    return Response(
        msgspec.json.encode(content), status_code, media_type="application/json", headers=_NO_STORE
    )


class BearerGuard:
    """Lets only callers with the token through, except to ``OPEN_PATHS``; an ASGI middleware."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or self._is_shown(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            refusal = Response(status_code=401, headers={"www-authenticate": "Bearer"} | _NO_STORE)
            await refusal(scope, receive, send)

    def _is_shown(self, scope: Scope) -> bool:
        shown = HTTPConnection(scope).headers.get("authorization", "")
        return hmac.compare_digest(shown.encode(), self._expected)


def check_bind(host: str, token: str) -> None:
    """Refuse to listen beyond this machine without a token worth the name.

    Raises
    ------
    ConfigError
        C060 if ``host`` is not loopback and the token is absent, or holds less than 128 bits.
    """
    if is_loopback(host) and not token:
        return
    if _bits(token) >= _TOKEN_BITS_MIN and len(set(token)) >= _DISTINCT_MIN:
        return
    fault = f"has about {_bits(token)} bits" if token else "is not set"
    raise ConfigError(
        "C060",
        f"listening on {host} needs a token of {_TOKEN_BITS_MIN} bits or more; {TOKEN} {fault}",
        "console.host",
        "Book, limits and figures would be open to whoever can guess it.\n"
        "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(24))'\n"
        'or listen on this machine alone: host = "127.0.0.1", and no token.',
    )


def _bits(token: str) -> int:
    """Bits of a token drawn at random from the alphabet it seems to be of: hexadecimal, or base64."""
    if not token.isascii() or not token.isprintable() or " " in token:
        return 0
    is_hex = all(character in "0123456789abcdef" for character in token.lower())
    return len(token) * (4 if is_hex else 6)


class _Connection(H11Protocol):
    """A connection that is closed after a while whatever was sent: a silent one would stay for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_CONNECTION_MAX_S, transport.close)


class _Server(uvicorn.Server):
    """A server that leaves signals to the daemon, which has to hand over what it knows first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: ASGIApp, host: str, port: int, on_listening: Callable[[int], None] | None = None
) -> None:
    """Serve until cancelled, then close what is open and return: a task for a ``TaskGroup``.

    Parameters
    ----------
    app : ASGI application
    host : str
        Checked by ``check_bind`` before.
    port : int
        0 takes a free one.
    on_listening : callable or None
        Told the port, once connections are accepted.

    Raises
    ------
    ConfigError
        C061 if the address cannot be used.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        http=_Connection,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=_IDLE_MAX_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    with _bound(host, port) as listening:
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
        try:
            if on_listening is not None:
                on_listening(listening.getsockname()[1])
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise ConfigError(
            "C061",
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            "console.port",
            "Another engine may be running there. Choose another port, or 0 for a free one.",
        ) from error
    listening.setblocking(False)
    return listening
