"""From the configuration and the environment to the links of the servers."""

from __future__ import annotations

import os
from ipaddress import ip_address

from engine.app.config.load import Config
from engine.app.config.tables import MqttTable, RedisTable
from engine.errors import ConfigError
from engine.links import MqttLink, RedisLink
from engine.secret import secret

REDIS_PASSWORD = "ASTRA_REDIS_PASSWORD"  # noqa: S105 - the name of a variable, not a secret
MQTT_PASSWORD = "ASTRA_MQTT_PASSWORD"  # noqa: S105


def redis_link(config: Config) -> RedisLink | None:
    """Return how to reach the configured Redis, with the password of the environment."""
    table = config.redis
    if table is None:
        return None
    _check("redis", table)
    return RedisLink(table.url, secret(REDIS_PASSWORD, os.environ), table.ca_file)


def mqtt_link(config: Config) -> MqttLink | None:
    """Return how to reach the configured broker, with the password of the environment."""
    table = config.mqtt
    if table is None:
        return None
    _check("mqtt", table)
    return MqttLink(
        table.host,
        table.port,
        table.username or "",
        secret(MQTT_PASSWORD, os.environ),
        table.ca_file,
        table.cert_file,
        table.key_file,
        table.topic,
    )


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(name: str, table: RedisTable | MqttTable) -> None:
    """Refuse a certificate that is not there: a link would be tried for ever."""
    for key in ("ca_file", "cert_file", "key_file"):
        path = getattr(table, key, None)
        if path is not None and not path.is_file():
            raise ConfigError("C062", f"there is no file {path}", f"{name}.{key}", "TLS needs it to connect.")
