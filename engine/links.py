"""How to reach the servers: addresses and secrets of one Redis and one MQTT broker.

Feeds, sinks and the operator's transport use the same links, so that a server is named once. Secrets come
from the environment and are never shown.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class RedisLink(msgspec.Struct, frozen=True):
    """A Redis server.

    Parameters
    ----------
    url : str
        ``redis://`` or ``rediss://`` (TLS).
    password : str
        Replaces the one of the address, if not empty.
    ca_file : Path or None
        Certificate authority for TLS.
    """

    url: str
    password: str = ""
    ca_file: Path | None = None

    def __repr__(self) -> str:
        """Never show a secret."""
        return "RedisLink(***)"


class MqttLink(msgspec.Struct, frozen=True):
    """An MQTT broker; TLS when ``ca_file`` is given. ``topic`` is what every topic begins with."""

    host: str
    port: int = 1883
    username: str = ""
    password: str = ""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    topic: str = "astra"

    def __repr__(self) -> str:
        """Never show a secret."""
        return f"MqttLink({self.host}:{self.port})"
