"""A service that people are notified by: a web server that keeps what is posted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Webhook(ThreadingHTTPServer):
    """Takes what Apprise's ``json://`` posts, and answers as it is told to."""

    def __init__(self) -> None:
        self.answer = 200
        self.posts: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Return its address, as Apprise writes it."""
        return f"json://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keep the message, if it is taken."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Webhook)
        if self.server.answer == 200:
            self.server.posts.append(body)
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Give one that takes everything, until it is told otherwise."""
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
