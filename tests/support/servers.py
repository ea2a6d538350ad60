"""Real servers for the tests: use as ``from tests.support.servers import redis_server, mqtt_broker``.

Both are started once per test file and emptied, or restarted, between tests only by those who need it: take
a ``fresh_`` one to kill it, and another ``instance`` or topic to be alone on a shared one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.app.live.servers import MqttBroker, RedisServer


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """Give a Redis server without password, shared by the tests of a file."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def mqtt_broker() -> Iterator[MqttBroker]:
    """Give an MQTT 5 broker that lets everybody in, shared by the tests of a file."""
    with MqttBroker() as broker:
        yield broker


@pytest.fixture
def fresh_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis server of the test's own, to be killed and started again."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def fresh_mqtt(tmp_path: Path) -> Iterator[MqttBroker]:
    """Give an MQTT broker of the test's own, to be killed and started again."""
    with MqttBroker(tmp_path / "mqtt") as broker:
        yield broker
