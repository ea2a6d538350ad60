"""``astra run`` on a live feed, and ``astra`` commanding it: real processes, real servers, the wall clock."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.app.live.halt_marker import HaltMarker
from engine.app.live.servers import RedisServer
from engine.clock import wall_ns
from engine.connections import mqtt_client, redis_client
from engine.events import MINUTE_NS, Bar, LimitsDue, Nanos
from engine.links import MqttLink, RedisLink
from tests.support.children import halts, nursery, records, wait_for
from tests.support.nursery import Child, Nursery
from tests.support.publish import publish_bars
from tests.support.servers import fresh_redis, mqtt_broker, redis_server

__all__ = ["fresh_redis", "mqtt_broker", "nursery", "redis_server"]

CONFIG = """
[feed]
kind = "{feed}"
[universe]
symbols = ["JPM", "C"]
calendar = "24/7"
[daemon]
clock = "{clock}"
grace_s = 600
[[strategy]]
kind = "kalman_pairs"
pairs = ["JPM/C"]
z = "rolling"
window_min = 40
noise = {{delta = 1e-9, observation_variance = 1e-7}}
warmup_min = 30
forecast_window_min = 40
[allocator]
kind = "direct"
[operator]
instance = "{instance}"
var_limit_max_usd = 200_000
"""
KEYS = {"ASTRA_OPERATOR_KEY": "operator-key-of-these-tests", "ASTRA_HALT_KEY": "halt-key-of-these-tests"}
PATIENCE_S = 20.0


class Desk:
    """A folder with a configuration, the engine in it, and an operator."""

    def __init__(self, nursery: Nursery, folder: Path) -> None:
        self._nursery = nursery
        self.folder = folder

    def configure(self, redis: RedisServer | None, mqtt_port: int = 1, **changes: str) -> None:
        """Write astra.toml, with the servers that there are."""
        self.folder.mkdir(exist_ok=True)
        values = {"feed": "redis_stream", "clock": "wall", "instance": self.folder.name} | changes
        text = CONFIG.format(**values)
        if redis is not None:
            text += f'[redis]\nurl = "redis://127.0.0.1:{redis.port}"\n'
        if mqtt_port > 1:
            text += f'[mqtt]\nhost = "127.0.0.1"\nport = {mqtt_port}\n'
        (self.folder / "astra.toml").write_text(text)

    def start(self, *more: str, prepare: str = "") -> Child:
        """Start the engine."""
        return self._nursery.start(self.folder, "run", "--quiet", *more, prepare=prepare, **KEYS)

    def run(self) -> Child:
        """Start it, and wait until it takes bars."""
        child = self.start(prepare="tests.support.broken_runs:brief_lease")
        wait_for(lambda: '"event":"running"' in child.said, child)
        return child

    def astra(self, *argv: str) -> tuple[int, str]:
        """Give a command as an operator does; return the exit status and what it said."""
        child = self._nursery.start(self.folder, *argv, **KEYS)
        return child.wait(), child.said

    @property
    def status(self) -> dict[str, Any]:
        """The status document of the folder; empty before there is one."""
        try:
            return dict(msgspec.json.decode((self.folder / "state/status.json").read_bytes()))
        except FileNotFoundError:
            return {}

    @property
    def halts(self) -> list[str]:
        """The reasons of the edge's halts."""
        return halts(self.folder)


@pytest.fixture
def desk(nursery: Nursery, tmp_path: Path) -> Callable[[str], Desk]:
    return lambda name: Desk(nursery, tmp_path / name)


def minutes(newest_ns: Nanos, count: int) -> list[Bar]:
    """Return a bar of each symbol for the last minutes up to an instant."""
    newest_ns -= newest_ns % MINUTE_NS
    return [
        Bar(newest_ns - k * MINUTE_NS, symbol, usd, usd + 1.0, usd - 1.0, usd + 0.1 * (k % 3), 1_000.0)
        for k in reversed(range(count))
        for symbol, usd in (("JPM", 200.0), ("C", 60.0))
    ]


def send(link: RedisLink | MqttLink, bars: list[Bar]) -> None:
    """Publish bars as a vendor does."""
    asyncio.run(publish_bars(link, bars))


def test_every_way_commands_an_engine_on_a_live_feed(desk, redis_server, mqtt_broker) -> None:
    """The whole thing as it is deployed: bars of this minute, the wall clock, and each verb by each way."""
    here = desk("live")
    here.configure(redis_server, mqtt_broker.port, feed="mqtt")
    child = here.run()
    wait_for(lambda: here.status.get("feed", {}).get("is_connected"), child)
    send(mqtt_broker.link, minutes(wall_ns(), 4))
    wait_for(lambda: here.status.get("counts", {}).get("slices", 0) >= 4, child)
    for way in ("spool", "redis", "mqtt"):
        via = ("--via", way)
        code, said = here.astra("halt", *via)
        assert (code, "accepted  halt" in said) == (0, True), said
        code, said = here.astra("status", *via)
        assert (code, "HALTED" in said, "PAPER" in said) == (0, True, True), said
        code, said = here.astra("resume", *via, "--yes", "--reason", "drill")
        assert (code, "accepted  resume" in said) == (0, True), said
        code, said = here.astra("limits", *via, "--reason", "drill", "--var-limit-usd", "140000")
        assert (code, "accepted  limits" in said) == (0, True), said
        code, said = here.astra("flatten", *via, "--reason", "drill")
        assert (code, "accepted  flatten" in said) == (0, True), said
    assert here.status["trading_state"] == "REDUCING"
    code, said = here.astra("limits", "--reason", "lasts", "--var-limit-usd", "190000", "--expires", "8d")
    assert (code, "must revert within 7 days" in said) == (2, True), said
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    assert here.halts == []


def test_a_feed_that_falls_silent_halts_a_real_engine(desk, redis_server) -> None:
    """Connected and without bars, it would trade on prices that nobody has seen for minutes."""
    here = desk("silent")
    here.configure(redis_server)
    told = ("--set", "daemon.feed_silence_max_min=4", "--set", "daemon.grace_s=60")
    child = here.start(*told, prepare="tests.support.broken_runs:fast_clocks")
    wait_for(lambda: here.status.get("feed", {}).get("is_connected"), child)
    began_ns = heard_ns = here.status["clock_ns"]
    while heard_ns < began_ns + 5 * MINUTE_NS:  # for longer than it may be silent: bars keep it trading
        heard_ns = here.status["clock_ns"]
        send(redis_server.link, minutes(heard_ns, 3))
        time.sleep(0.1)
    assert here.status["trading_state"] == "ACTIVE", here.status["halt_reason"]
    wait_for(lambda: here.status["trading_state"] == "HALTED", child)
    assert here.halts == ["FEED_SILENT"]
    assert here.status["feed"]["is_connected"]
    assert here.status["clock_ns"] > heard_ns + 4 * MINUTE_NS
    child.send(signal.SIGTERM)
    assert child.wait() == 0


def test_where_bars_keep_the_time_commands_keep_the_clock(desk, redis_server) -> None:
    """A delayed or recorded stream is of another time than the operator, whose halt counts."""
    here = desk("bars")
    here.configure(redis_server, clock="bars")
    child = here.run()
    wait_for(lambda: here.status.get("feed", {}).get("is_connected"), child)
    send(redis_server.link, minutes(wall_ns() - 30 * MINUTE_NS, 4))
    wait_for(lambda: here.status.get("counts", {}).get("slices", 0) >= 2, child)
    for way in ("redis", "spool"):
        code, said = here.astra("halt", "--via", way)
        assert (code, said.startswith("accepted  halt")) == (0, True), said
        assert here.status["trading_state"] == "HALTED"
    raise_it = ("limits", "--reason", "news", "--var-limit-usd", "190000", "--expires", "2s")
    assert here.astra(*raise_it)[0] == 0
    limit = here.status["limits"]["var_limit_usd"]
    assert (limit["value"], limit["standing"]) == (190_000.0, 150_000.0)
    wait_for(lambda: here.status["limits"]["var_limit_usd"]["value"] == 150_000.0, child)
    assert sum(isinstance(record, LimitsDue) for record in records(here.folder)) == 1
    assert here.status["clock_ns"] - limit["revert_ns"] < PATIENCE_S * 1e9
    child.send(signal.SIGTERM)
    assert child.wait() == 0


def test_a_second_engine_of_one_name_is_refused_and_a_dead_one_is_not_waited_for(desk, redis_server) -> None:
    """Else a halt for one would be taken by the other, and the sender told that it was accepted."""
    first, second = desk("first"), desk("second")
    for one in (first, second):
        one.configure(redis_server, instance="same")
    child = first.run()
    refused = second.start(prepare="tests.support.broken_runs:brief_lease")
    assert refused.wait() == 5
    assert "error[S037] the instance 'same' is taken by another engine" in refused.said
    assert "/first/state" in refused.said
    child.send(signal.SIGKILL)
    child.wait()
    again = first.run()  # its own state folder: whoever had it is gone
    again.send(signal.SIGTERM)
    assert again.wait() == 0
    assert not asyncio.run(owner_of(redis_server.link, "same"))
    child = first.run()
    child.send(signal.SIGKILL)
    child.wait()
    other = second.run()  # a name without an engine is free after a while
    assert b"/second/state" in asyncio.run(owner_of(redis_server.link, "same"))
    other.send(signal.SIGTERM)
    assert other.wait() == 0


async def owner_of(link: RedisLink, instance: str) -> bytes:
    """Return whose name it is; empty if nobody has it."""
    async with redis_client(link, "test") as client:
        return await client.get(f"astra:{instance}:owner") or b""


def test_an_engine_whose_name_is_taken_halts_and_takes_no_commands(desk, redis_server) -> None:
    """Cut off for a while, it comes back to find another one: that one's commands are not its own."""
    here = desk("taken")
    here.configure(redis_server)
    child = here.run()
    asyncio.run(usurp(redis_server.link, "taken"))
    wait_for(lambda: here.halts == ["INSTANCE_TAKEN"], child)
    wait_for(lambda: here.status["trading_state"] == "HALTED", child)
    assert here.status["halt_reason"].startswith("INSTANCE_TAKEN: 'taken' is also the name of the engine in")
    code, said = here.astra("halt", "--via", "redis", "--timeout", "1")
    assert (code, "S035" in said) == (5, True), said
    code, said = here.astra("status", "--via", "spool")
    assert (code, "INSTANCE_TAKEN" in said) == (0, True), said
    child.send(signal.SIGKILL)
    child.wait()


async def usurp(link: RedisLink, instance: str) -> None:
    """Be another engine of that name."""
    async with redis_client(link, "test") as client:
        await client.set(f"astra:{instance}:owner", "elsewhere:/other/state:1:2 0", px=60_000)


def test_a_signal_before_the_engine_serves_halts_it(desk, fresh_redis) -> None:
    """It waits for a required server, somebody presses the button, the server comes: it must not trade."""
    here = desk("early")
    here.configure(fresh_redis)
    fresh_redis.kill()
    child = here.start("--set", "alerts.required=true")
    wait_for(lambda: here.status.get("phase") == "recovering", child)
    child.send(signal.SIGUSR1)
    wait_for(lambda: '"reason":"SIGNAL"' in child.said, child)
    fresh_redis.start()
    wait_for(lambda: '"event":"running"' in child.said, child)
    wait_for(lambda: here.status["trading_state"] == "HALTED", child)
    assert here.halts == ["SIGNAL"]
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    marker = HaltMarker(here.folder / "state/halt.marker")
    raised = marker.read()
    marker.close()
    assert raised is None


def test_a_broker_alone_refuses_a_second_engine_of_one_name_too(desk, mqtt_broker) -> None:
    """Without Redis nothing compares before it sets: the name is listened for, and said again and again."""
    first, second = desk("uno"), desk("due")
    for one in (first, second):
        one.configure(None, mqtt_broker.port, feed="mqtt", instance="alone")
    child = first.run()
    refused = second.start(prepare="tests.support.broken_runs:brief_lease")
    assert refused.wait() == 5
    assert "error[S037] the instance 'alone' is taken by another engine" in refused.said
    assert "/uno/state" in refused.said
    code, said = first.astra("halt", "--via", "mqtt")
    assert (code, "accepted  halt" in said) == (0, True), said
    child.send(signal.SIGKILL)
    child.wait()
    other = second.run()  # what is retained is of an engine that says nothing any more
    asyncio.run(say_owner(mqtt_broker.link, "alone", "elsewhere:/other/state:1:2 0"))
    wait_for(lambda: second.halts == ["INSTANCE_TAKEN"], other)
    other.send(signal.SIGTERM)
    assert other.wait() == 0


async def say_owner(link: MqttLink, instance: str, name: str) -> None:
    """Be another engine of that name, once."""
    async with mqtt_client(link) as client:
        await client.publish(f"{link.topic}/{instance}/owner", name, qos=1, retain=True)
