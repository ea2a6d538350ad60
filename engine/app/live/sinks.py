"""Which sinks a live run has, by name."""

from __future__ import annotations

import os
from pathlib import Path

from engine.app.config.load import Config
from engine.links import MqttLink, RedisLink
from engine.ports import Sink
from engine.secret import secret
from engine.sinks.alert_file import AlertFile
from engine.sinks.messages import Wire

APPRISE_URLS = "ASTRA_APPRISE_URLS"
FILE = "file"


def sinks_of(
    config: Config, redis: RedisLink | None, mqtt: MqttLink | None, wire: Wire, alerts: Path
) -> dict[str, Sink]:
    """Build the sinks: the file of alerts always, the others where they are configured.

    Parameters
    ----------
    config : Config
    redis, mqtt : link or None
        Servers of the run.
    wire : Wire
        Writes the messages.
    alerts : Path
        The file of alerts.
    """
    sinks: dict[str, Sink] = {FILE: AlertFile(alerts, wire)}
    if redis is not None:
        from engine.sinks.redis import RedisSink

        kept = {} if config.redis is None else {"stream_max": config.redis.stream_max}
        sinks["redis"] = RedisSink(redis, wire, **kept)
    if mqtt is not None:
        from engine.sinks.mqtt import MqttSink

        sinks["mqtt"] = MqttSink(mqtt, wire)
    urls = secret(APPRISE_URLS, os.environ)
    if config.alerts is not None and urls:
        from engine.sinks.notify import notify_sinks

        severity, is_required = config.alerts.severity, config.alerts.required
        sinks |= notify_sinks(urls, wire.instance, severity, greets=is_required)
    return sinks
