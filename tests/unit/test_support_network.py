"""The wall around the tests holds, or a green run could depend on somebody's server."""

import asyncio
import socket

import pytest

from tests.support.network import NetworkError, is_local

ELSEWHERE = ("192.0.2.1", 9)  # a block reserved for documentation


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_connecting_elsewhere_is_refused(kind: int) -> None:
    """The refusal is no OSError, which code under test would rightly survive."""
    with socket.socket(socket.AF_INET, kind) as sock:
        with pytest.raises(NetworkError, match=r"192\.0\.2\.1"):
            sock.connect(ELSEWHERE)
        with pytest.raises(NetworkError):
            sock.connect_ex(ELSEWHERE)


def test_sending_a_datagram_elsewhere_is_refused() -> None:
    """Datagrams need no connection."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(NetworkError):
        sock.sendto(b"x", ELSEWHERE)


async def test_asyncio_is_inside_the_wall() -> None:
    """The edges of the engine connect through asyncio."""
    with pytest.raises(NetworkError):
        await asyncio.open_connection(*ELSEWHERE)


def test_names_do_not_resolve() -> None:
    """A look-up leaves the machine too; it fails as it would without a network."""
    with pytest.raises(socket.gaierror):
        socket.create_connection(("broker.example", 1883), timeout=1)


def test_this_machine_is_reachable() -> None:
    """Real servers on loopback are what the integration tests speak to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()[:2], timeout=5).close()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("", True)],
        *[("10.0.0.1", False), ("fe80::1%eth0", False), ("localhost.example", False), (b"127.0.0.1", True)],
    ],
)
def test_local_means_loopback(host: str | bytes, local: bool) -> None:
    """A private address is still another machine."""
    assert is_local(host) is local
