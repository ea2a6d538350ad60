"""The scripts of ``examples/``, run as a reader runs them: real servers, a real engine, three processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from engine.app.live.servers import MqttBroker, RedisServer
from examples.follow_mqtt import Seen
from examples.follow_redis import follow
from feeds.simulated import SimulatedOptions, write
from tests.support.servers import mqtt_broker, redis_server
from tests.support.source import ROOT
from tests.support.waiting import until

__all__ = ["mqtt_broker", "redis_server"]

WAIT_S = 60.0
N_BARS = 2 * 390
CONFIG = """
[feed]
kind = "mqtt"
[[strategy]]
kind = "kalman_pairs"
pairs = ["KO/PEP"]
[operator]
instance = "examples"
[daemon]
clock = "bars"
[redis]
url = "redis://127.0.0.1:{redis}"
[mqtt]
host = "127.0.0.1"
port = {mqtt}
"""


class Stage(NamedTuple):
    """What scripts and engine share: a folder, and the ports of two servers."""

    folder: Path
    redis: int
    mqtt: int

    @contextmanager
    def running(self, out: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command beside the test, its output in a file; on leaving it has ended."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ASTRA_")}
        with (self.folder / out).open("ab") as file:
            child = subprocess.Popen(
                [sys.executable, *command], cwd=self.folder, env=kept, stdout=file, stderr=subprocess.STDOUT
            )
            try:
                yield child
            finally:
                child.terminate()
                child.wait(WAIT_S)

    def example(self, name: str, *options: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run a script of the examples, its output in a file of its name."""
        return self.running(name, str(ROOT / "examples" / name), *options)

    def said(self, out: str) -> list[str]:
        """Return the lines a command has written so far."""
        path = self.folder / out
        return path.read_text().splitlines() if path.exists() else []

    def status(self) -> dict[str, Any]:
        """Return the status document of the engine; empty before there is one."""
        path = self.folder / "state" / "status.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def heard(self) -> dict[str, str]:
        """Return the last message of each kind that the follower on MQTT has printed."""
        return dict(line.split(" ", 1) for line in self.said("follow_mqtt.py"))

    def is_listening(self) -> bool:
        """Whether the engine is subscribed to the bars."""
        return bool(self.status().get("feed", {}).get("is_connected"))


@pytest.fixture
def stage(tmp_path: Path, redis_server: RedisServer, mqtt_broker: MqttBroker) -> Stage:
    """Give a folder with a configuration that names real servers."""
    stage = Stage(tmp_path, redis_server.port, mqtt_broker.port)
    (tmp_path / "astra.toml").write_text(CONFIG.format(redis=stage.redis, mqtt=stage.mqtt))
    return stage


@pytest.mark.slow
async def test_bars_go_in_and_alerts_come_out(stage: Stage) -> None:
    """What a newcomer copies must work as it stands: publish bars, halt, and hear of it on both servers."""
    write(SimulatedOptions(pairs=("KO/PEP",), sessions=1), stage.folder / "bars.csv.gz")
    to_redis = [f"--url=redis://127.0.0.1:{stage.redis}", "--instance=examples", "--place=place"]
    to_mqtt = [f"--port={stage.mqtt}", "--instance=examples"]
    with ExitStack() as stack:
        engine = stack.enter_context(stage.running("engine.log", "-m", "engine.app.main", "run"))
        stack.enter_context(stage.example("follow_mqtt.py", *to_mqtt))
        stack.enter_context(stage.example("follow_redis.py", *to_redis))
        await until(lambda: "online 1" in stage.said("follow_mqtt.py"), WAIT_S)
        await until(stage.is_listening, WAIT_S)
        pace = [f"--port={stage.mqtt}", "--minutes-per-s=10000"]
        stack.enter_context(stage.example("publish_bars.py", "bars.csv.gz", *pace))
        # The last minute has no bar behind it that would show that it is over.
        await until(lambda: stage.status()["bars"]["accepted"] >= N_BARS - 2, WAIT_S)
        await until(lambda: stage.said("publish_bars.py") != [], WAIT_S)
        engine.send_signal(signal.SIGUSR1)
        await until(lambda: stage.said("follow_redis.py") != [] and (stage.folder / "place").exists(), WAIT_S)
        await until(lambda: {"alerts", "state"} <= stage.heard().keys(), WAIT_S)
    assert stage.said("publish_bars.py") == [f"published {N_BARS} bars to astra/bars"]
    [alert] = [json.loads(line) for line in stage.said("follow_redis.py")]
    assert (alert["severity"], alert["kind"]) == ("critical", "halted")
    assert json.loads(stage.heard()["alerts"]) == alert
    assert json.loads(stage.heard()["state"])["state"] == "HALTED"
    assert (stage.folder / "place").read_text() == f"{alert['epoch']} {alert['id']}\n"


def test_a_follower_goes_on_where_it_was(redis_server: RedisServer) -> None:
    """Whoever starts again must hear what came meanwhile, in the old journal and in the new, and no more."""
    with redis.Redis.from_url(redis_server.link.url, protocol=2, decode_responses=True) as client:
        client.set("astra:two:status", '{"epoch": "20260102T000000Z"}')
        for epoch, id_ in (("1", "9-0"), ("1", "10-0"), ("1", "10-1"), ("2", "1-0")):
            client.xadd(f"astra:two:2026010{epoch}T000000Z:alerts", {"message": f"{epoch} {id_}"}, id=id_)
        behind = follow(client, "two", "alerts", ("20260101T000000Z", "9-0"))
        assert [next(behind) for _ in range(3)] == [
            (("20260101T000000Z", "10-0"), "1 10-0"),
            (("20260101T000000Z", "10-1"), "1 10-1"),
            (("20260102T000000Z", "1-0"), "2 1-0"),
        ]


def test_a_follower_tells_repetitions_apart() -> None:
    """MQTT delivers at least once; an id that is compared as text would drop the tenth message."""
    seen = Seen()
    said = [("a", "9-0"), ("a", "10-0"), ("a", "10-0"), ("a", "9-0"), ("b", "1-0"), ("a", "10-1")]
    new = [seen.is_new("alerts", {"epoch": epoch, "id": id_}) for epoch, id_ in said]
    assert new == [True, True, False, False, True, False]
    assert seen.is_new("state", {"epoch": "a", "id": "9-0"})
