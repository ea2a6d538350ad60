"""Telling systemd how the engine is: a few datagrams (sd_notify(3)); nothing where nobody listens."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

_US_PER_S = 1_000_000


class Systemd:
    """The service manager that started this process, if there is one.

    Parameters
    ----------
    environment : mapping
        ``NOTIFY_SOCKET`` names the socket, ``WATCHDOG_USEC`` how often it wants to hear from us, and
        ``WATCHDOG_PID`` whom it means.
    pid : int
        Of this process.

    Attributes
    ----------
    watchdog_s : float or None
        It kills a service that is silent for longer, seconds; None when it does not ask.
    """

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of Linux' abstract socket names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        asked = environment.get("WATCHDOG_USEC", "")
        is_meant = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        self.watchdog_s = int(asked) / _US_PER_S if asked.isdecimal() and int(asked) and is_meant else None

    def ready(self) -> None:
        """Say that start-up, recovery included, is over."""
        self._tell("READY=1")

    def pet(self) -> None:
        """Keep systemd's own watchdog quiet; call only while healthy."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the process is on its way out."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        # A service manager that cannot be reached must never harm the engine.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.sendto(text.encode(), self._address)
