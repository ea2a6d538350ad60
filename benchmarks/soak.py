"""`make soak`: run live at a hundred times the pace for 20 minutes, and measure what grows.

A daemon on simulated bars around the clock, with everything switched on; every few minutes an operator halts
and resumes it, and Redis and the broker are killed and come back. All figures are looked at every five
seconds. The first third is to warm up; a line through the rest shows what grows. Ends with status 1 if
something does, or if the accounts do not balance.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import redis.asyncio
from redis.exceptions import RedisError

from benchmarks.live_rig import INSTANCE, Operator, Servers, child, until_running
from benchmarks.run import machine, warn_of_load, write_json
from benchmarks.soak_figures import Account, Looks, Watched, answer, judge, line_of, report
from engine.app.live.operator_send import RedisLine, engine_now_ns, read_status, verdict_in
from engine.app.live.servers import MqttBroker, RedisServer
from engine.app.live.state_folder import StateFolder
from engine.clock import wall_ns
from engine.events import Bar, BarRejected
from engine.journal import JournalReader

_SYMBOLS: Final = 40
_ANSWER_S: Final = 20.0
#: Looks between two lines on the terminal.
_TELL_EVERY: Final = 12
_MIN_PER_DAY: Final = 1_440

_CONFIG: Final = """
[feed]
kind = "simulated"
sessions = {sessions}
faults = {{ gap_frac = 0.002, duplicate_frac = 0.002, conflict_frac = 0.0005, nan_frac = 0.0005 }}

[universe]
calendar = "24/7"
symbols = {symbols}

[risk]
var_limit_usd = 150_000

[operator]
instance = "{instance}"
var_limit_max_usd = 300_000

[[strategy]]
kind = "kalman_pairs"
pairs = {pairs}
warmup_min = 240

[allocator]
kind = "mean_variance"
every_min = 30

[daemon]
state_dir = "state"
snapshot_every_s = 30
feed_silence_max_min = 30

[redis]
url = "{redis_url}"

[mqtt]
host = "127.0.0.1"
port = {mqtt_port}

[alerts]

[console]
port = {port}
"""


class Plan(NamedTuple):
    """How long a soak takes, how fast its tape runs, and how often it is looked at and disturbed."""

    minutes: float = 20.0
    speed: float = 100.0
    rounds: int = 7
    look_every_s: float = 5.0
    away_s: float = 2.0


class Outcome(NamedTuple):
    """What came of a soak."""

    looks: Looks
    events: list[str]
    accounts: list[Account]


# ------------------------------------------------------------------------------------------ disturbances


async def operate(watched: Watched) -> str:
    """Halt, resume, and move the limit; return what came of each."""
    said = []
    async with redis.asyncio.Redis.from_url(watched.servers.redis.link.url) as client:
        line = RedisLine(client, INSTANCE)
        status = await read_status(line) or {}
        limit_usd = 140_000.0 if status.get("var_limit_usd") == 150_000.0 else 150_000.0
        for kind in ("halt", "resume", "limits"):
            status = await read_status(line) or {}
            now_ns, speed = engine_now_ns(status, wall_ns())
            operator = Operator(line, now_ns, speed)
            halt_id = status.get("halt_id", "") if kind == "resume" else ""
            values = {"var_limit_usd": limit_usd} if kind == "limits" else {}
            nonce = await operator.command(kind, halt_id=halt_id, **values)
            said.append(f"{kind} {await _verdict(line, nonce)}")
    return ", ".join(said)


async def _verdict(line: RedisLine, nonce: str) -> str:
    with suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_S):
            while True:
                found = verdict_in(await read_status(line), nonce)
                if found is not None:
                    return f"{found.verdict}" + (f" ({found.reason})" if found.verdict == "refused" else "")
                await asyncio.sleep(0.1)
    return "unanswered"


async def disturb(watched: Watched, away_s: float) -> list[str]:
    """Let an operator work, then take away each server for a while; return what happened."""
    events = []
    try:
        events.append(await operate(watched))
    except (RedisError, OSError) as error:
        events.append(f"operator: {error}")
    for name, server in (("Redis", watched.servers.redis), ("broker", watched.servers.mqtt)):
        server.kill()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(server.start)
        events.append(f"{name} killed, back after {away_s:g} s")
        await asyncio.sleep(away_s)
    return events


async def soak(watched: Watched, plan: Plan) -> tuple[Looks, list[str]]:
    """Look and disturb until the time is over."""
    looks, events = Looks(watched), []
    seconds = 60.0 * plan.minutes
    end_s = time.monotonic() + seconds

    async def disturb_now_and_then() -> None:
        while True:
            await asyncio.sleep(seconds / (plan.rounds + 1))
            at = f"{plan.minutes + (time.monotonic() - end_s) / 60.0:5.1f} min"
            for event in await disturb(watched, plan.away_s):
                events.append(f"{at}  {event}")
                print(events[-1], flush=True)

    disturbing = asyncio.create_task(disturb_now_and_then())
    try:
        while time.monotonic() < end_s and not disturbing.done():
            await asyncio.sleep(plan.look_every_s)
            row = await asyncio.to_thread(looks.look)
            if len(looks.rows) % _TELL_EVERY == 0:
                print(line_of(row), flush=True)
    finally:
        disturbing.cancel()
        with suppress(asyncio.CancelledError):
            await disturbing
    for server in watched.servers:  # so that what waits can still be delivered
        await asyncio.to_thread(server.start)
    await asyncio.sleep(plan.away_s)
    return looks, events


# ----------------------------------------------------------------------------------------------- accounts


def accounts_of(watched: Watched, looks: Looks) -> list[Account]:
    """Compare the journal, the last status, the alerts and the streams of a daemon that has ended."""
    state = watched.state
    status = msgspec.json.decode(state.status.read_bytes(), type=dict[str, Any])
    bars, received = status["bars"], 0
    for _, record in JournalReader(state.journal):
        if isinstance(record, Bar):
            received += 1
        elif isinstance(record, BarRejected):
            received += record.count
    accounted = bars["accepted"] + sum(bars["rejected"].values()) + bars["pending"]
    alerts = len(state.alerts.read_bytes().splitlines())
    client: Any = redis.Redis.from_url(watched.servers.redis.link.url)
    with client:
        streamed = client.xlen(f"astra:{INSTANCE}:{status['epoch']}:alerts")
    return [
        Account("bars received = accepted + rejected + pending", received, accounted),
        Account("records stepped = on disk", status["seq"], status["durable_seq"]),
        Account("alerts raised = in the file", status["counts"]["alerts"], alerts),
        Account("alerts raised = in Redis", status["counts"]["alerts"], streamed),
        Account("effects dropped = 0", looks.dropped, 0),
        Account("effects waiting at the end = 0", sum(status["outbox"].values()), 0),
        Account("exit status = 0", watched.process.returncode, 0),
    ]


def write_config(folder: Path, plan: Plan, servers: Servers, port: int) -> Path:
    """Write the configuration of the daemon."""
    symbols = [f"{leg}{k:02d}" for k in range(_SYMBOLS // 2) for leg in "YX"]
    path = folder / "astra.toml"
    text = _CONFIG.format(
        sessions=int(plan.minutes * plan.speed / _MIN_PER_DAY) + 2,
        symbols=symbols,
        pairs=[f"{y}/{x}" for y, x in zip(symbols[0::2], symbols[1::2], strict=True)],
        instance=INSTANCE,
        redis_url=servers.redis.link.url,
        mqtt_port=servers.mqtt.port,
        port=port,
    )
    path.write_text(text, encoding="utf-8")
    return path


def run(plan: Plan, folder: Path, allocations: Path | None = None) -> Outcome:
    """Start servers and a daemon, soak it, end it, and compare its accounts."""
    with ExitStack() as stack:
        servers = Servers(
            stack.enter_context(RedisServer(folder / "redis")),
            stack.enter_context(MqttBroker(folder / "mqtt")),
        )
        port = _free_port()
        config = write_config(folder, plan, servers, port)
        options = ["--speed", str(plan.speed)]
        if allocations is not None:
            options += ["--allocations", str(allocations), "--allocations-after", str(20.0 * plan.minutes)]
        with child(config, *options) as process:
            watched = Watched(process, StateFolder(folder / "state"), servers, port)
            looks, events = asyncio.run(_soak_from_start(watched, folder, plan))
        return Outcome(looks, events, accounts_of(watched, looks))


async def _soak_from_start(watched: Watched, folder: Path, plan: Plan) -> tuple[Looks, list[str]]:
    await until_running(watched.process, folder)
    await _until_listening(watched)
    return await soak(watched, plan)


async def _until_listening(watched: Watched) -> None:
    async with asyncio.timeout(_ANSWER_S):
        while True:
            with suppress(OSError):
                await asyncio.to_thread(answer, watched.port, "/livez")
                return
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak; return 1 if something grows or does not balance."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long, in real minutes")
    parser.add_argument("--speed", type=float, default=100.0, help="minutes of the tape in a minute")
    parser.add_argument("--allocations", type=Path, help="write which lines allocated what has grown")
    parser.add_argument("--dir", type=Path, help="where state is kept; default a temporary folder")
    options = parser.parse_args(arguments)
    plan = Plan(options.minutes, options.speed)
    warn_of_load()
    with tempfile.TemporaryDirectory(prefix="astra-soak-", dir=options.dir) as folder:
        looks, events, accounts = run(plan, Path(folder), options.allocations)
    judged = judge(looks)
    print(
        f"\n{machine()}; {plan.minutes:g} minutes at {plan.speed:g} times the pace, {len(looks.rows)} looks"
    )
    print(f"\n{report(judged, accounts, looks)}")
    kept = {
        "plan": plan._asdict(),
        "slopes": {name: fit._asdict() | {"verdict": verdict} for name, (_, fit, verdict) in judged.items()},
        "accounts": [account._asdict() for account in accounts],
        "events": events,
        "looks": looks.rows,
    }
    print(f"\nkept: {write_json('soak.json', kept)}")
    grows = any(verdict == "grows" for _, _, verdict in judged.values())
    return int(grows or not all(account.is_balanced for account in accounts))


if __name__ == "__main__":
    raise SystemExit(main())
