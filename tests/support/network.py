"""A wall around the tests: they may speak to servers on this machine and to nothing else."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from unittest.mock import patch


class NetworkError(AssertionError):
    """A test tried to reach another machine."""


def is_local(host: object) -> bool:
    """Tell whether an address or name means this machine."""
    if host in {None, "", "localhost", b"localhost"}:
        return True
    try:
        address = ip_address(host.decode() if isinstance(host, bytes) else str(host).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@contextmanager
def loopback_only() -> Iterator[None]:
    """Refuse connections beyond loopback, and answer look-ups of names as a machine without network would."""
    look_up = socket.getaddrinfo

    def guarded(method: Callable[..., Any], address_at: int) -> Callable[..., Any]:
        def call(sock: socket.socket, *args: Any) -> Any:
            address = args[address_at]
            if sock.family in {socket.AF_INET, socket.AF_INET6} and not is_local(address[0]):
                raise NetworkError(f"tests may only speak to this machine, was {address}")
            return method(sock, *args)

        return call

    def look_up_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_local(host):
            raise socket.gaierror(socket.EAI_NONAME, f"tests resolve no names, was {host}")
        return look_up(host, *args, **kwargs)

    with (
        patch.object(socket.socket, "connect", guarded(socket.socket.connect, 0)),
        patch.object(socket.socket, "connect_ex", guarded(socket.socket.connect_ex, 0)),
        patch.object(socket.socket, "sendto", guarded(socket.socket.sendto, -1)),
        patch.object(socket, "getaddrinfo", look_up_here),
    ):
        yield
