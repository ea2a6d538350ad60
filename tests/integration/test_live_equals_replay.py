"""A day over a real broker, and over a real stream, is the day that a file of the same bars replays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from redis import Redis

from engine.app.assembly import assemble
from engine.app.config.load import Config
from engine.app.live.live_run import Links, LiveRun
from engine.app.live.servers import MqttBroker, RedisServer
from engine.app.live.state_folder import locked
from engine.app.replay.run import replay
from engine.app.source import open_source
from engine.app.terminal import Silent
from engine.commands import Keys
from engine.events import MINUTE_NS, Bar
from engine.links import MqttLink
from feeds.simulated import write_columns
from tests.campaign.day import config_of
from tests.campaign.judge import Outcome, outcome_of
from tests.support.columns import columns_of
from tests.support.publish import bars_of, publish_bars
from tests.support.servers import fresh_mqtt, redis_server
from tests.support.waiting import until

__all__ = ["fresh_mqtt", "redis_server"]

#: Bars of one minute may come while those of the next one do, as the grace of two minutes allows.
SPREAD_MIN = 1.9
DEADLINE_S = 20.0


@cache
def tape(folder: Path) -> tuple[Bar, ...]:
    """Return a simulated morning in the order of a file, complete at its end.

    Without late bars and contradictions: of two bars of a minute the first to come stands, here and there.
    """
    bars = bars_of(open_source(config_of(folder, "direct")).feed.columns())  # type: ignore[attr-defined]
    newest = np.maximum.accumulate([bar.ts_close_ns for bar in bars])
    first = {(bar.ts_close_ns, bar.symbol): bar for bar in reversed(bars)}
    in_time = [
        bar
        for bar, ns in zip(bars, newest, strict=True)
        if bar.ts_close_ns == ns and first.pop((ns, bar.symbol), None) is bar
    ]
    by_minute: dict[int, set[str]] = {}
    for bar in in_time:
        by_minute.setdefault(bar.ts_close_ns, set()).add(bar.symbol)
    minutes = sorted(by_minute)[:150]
    while any(len(by_minute[ns]) < 6 for ns in minutes[-4:]):
        minutes.pop()
    return tuple(bar for bar in in_time if bar.ts_close_ns <= minutes[-1])


def as_it_came(bars: Sequence[Bar], seed: int = 7) -> list[Bar]:
    """Mix bars within the grace, and send some of them twice; a run begins with its first minute in order."""
    rng = np.random.default_rng(seed)
    calm_ns = bars[0].ts_close_ns + MINUTE_NS
    sent = [bar for bar in bars for _ in range(1 + (rng.random() < 0.05))]
    delay = rng.random(len(sent)) * SPREAD_MIN * MINUTE_NS
    arrival = [bar.ts_close_ns + d * (bar.ts_close_ns > calm_ns) for bar, d in zip(sent, delay, strict=True)]
    return [sent[k] for k in np.argsort(arrival, kind="stable")]


class Running:
    """An engine in this process."""

    def __init__(self, live: LiveRun, parts: Any, root: Path) -> None:
        self.live, self.parts, self.root = live, parts, root

    @property
    def received(self) -> int:
        """Bars it has stepped."""
        return int(self.parts.loop.bus.intake.received)

    @property
    def feed(self) -> dict[str, Any]:
        """What its status says of the feed."""
        try:
            return dict(msgspec.json.decode((self.root / "status.json").read_bytes())["feed"])
        except FileNotFoundError:
            return {"is_connected": False, "reconnects": 0}


@asynccontextmanager
async def engine(config: Config, redis: RedisServer, mqtt: MqttLink | None = None) -> AsyncIterator[Running]:
    """Run the engine of ``astra run`` until the block ends, then stop it as SIGTERM does."""
    with locked(config.daemon.state_dir) as state:
        parts = assemble(config, state, Keys(), speed=1.0, lead_min=0, new_epoch=False, accept_version=False)
        live = LiveRun(config, state, Links(redis.link, mqtt), parts, Keys(), Silent())
        serving = asyncio.create_task(live.serve())
        try:
            yield Running(live, parts, state.root)
        finally:
            live._stop()
            assert await serving == 0


def replayed(config: Config, folder: Path, bars: Sequence[Bar], allocator: str) -> dict[str, Any]:
    """Replay a file with these bars; return the summary."""
    del config
    write_columns(columns_of(sorted(bars, key=lambda bar: bar.ts_close_ns)), folder / "bars.parquet")
    from_file = config_of(folder, allocator, feed="files")
    return replay(from_file, out=folder / "run", commands=None, argv=[], listener=Silent()).summary


def judged(config: Config, root: Path, redis: RedisServer) -> Outcome:
    """Read what a day left, twice: the journal gives the same again."""
    with Redis.from_url(redis.link.url) as client:
        first, second = (outcome_of(config, root, client) for _ in range(2))
    assert first == second
    return first


def agree(outcome: Outcome, summary: dict[str, Any]) -> None:
    """Compare a live day with a replay: decisions to the last bit, and something was decided."""
    assert outcome.digest == summary["digest"]
    assert len(outcome.entries["signals"]) == summary["signals"] > 20
    assert len(outcome.entries["fills"]) == summary["fills"] > 20
    assert len(outcome.entries["book"]) == summary["slices"]


@pytest.mark.parametrize("allocator", ["mean_variance", "direct"])
async def test_a_day_over_mqtt(tmp_path, redis_server, fresh_mqtt, allocator) -> None:
    """Duplicates, disorder within the grace, publishers and a broker that go away: the same decisions."""
    bars = tape(tmp_path)
    sent = as_it_came(bars)
    broker: MqttBroker = fresh_mqtt
    more = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    config = config_of(tmp_path, allocator, redis_server.link.url, feed="mqtt", more=more)
    third = len(sent) // 3
    async with engine(config, redis_server, broker.link) as running:
        await until(lambda: running.feed["is_connected"], DEADLINE_S)
        n_sent = await publish_bars(broker.link, sent[:third])
        n_sent += await publish_bars(broker.link, sent[third : 2 * third])  # another publisher
        await until(lambda: running.received == n_sent, DEADLINE_S)
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await until(lambda: running.feed["is_connected"] and running.feed["reconnects"] > 0, DEADLINE_S)
        n_sent += await publish_bars(broker.link, sent[2 * third - 10 :])  # who lost a broker sends again
        await until(lambda: running.received == n_sent, DEADLINE_S)
    outcome = judged(config, running.root, redis_server)
    agree(outcome, await asyncio.to_thread(replayed, config, tmp_path, bars, allocator))


async def test_a_day_over_a_redis_stream_with_a_restart(tmp_path, redis_server) -> None:
    """The journal knows where the stream was read to: nothing is missed, and nothing is read twice."""
    bars = tape(tmp_path)
    sent = as_it_came(bars)
    config = config_of(tmp_path, "mean_variance", redis_server.link.url, feed="redis_stream")
    half = len(sent) // 2
    async with engine(config, redis_server) as running:
        await publish_bars(redis_server.link, sent[:half])
        await until(lambda: running.received == half, DEADLINE_S)
    await publish_bars(redis_server.link, sent[half:])
    async with engine(config, redis_server) as running:
        assert running.parts.recovered.replayed == 0
        await until(lambda: running.received == len(sent), DEADLINE_S)
    outcome = judged(config, running.root, redis_server)
    assert len(outcome.bars) == len(sent)
    agree(outcome, await asyncio.to_thread(replayed, config, tmp_path, bars, "mean_variance"))
