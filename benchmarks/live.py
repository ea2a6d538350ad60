"""`make bench-live`: measure the way of a live bar: to the gate, to the disk, to Redis and MQTT.

A real daemon and real servers, on this machine's disk: the cases that the goals name, and one in memory,
where no disk is waited for. `--full` takes all cases and longer phases (a quarter of an hour), `--quick`
little of everything (for a look, not for figures), `--case 40-mqtt` one case alone; `--readme` also puts the
tables into README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import redis.asyncio

from benchmarks.live_driver import (
    Driver,
    Pace,
    Tape,
    hear_file,
    hear_mqtt,
    hear_publish,
    hear_xread,
    sender,
)
from benchmarks.live_figures import (
    BehindError,
    Case,
    Figures,
    Run,
    Spread,
    bars_table,
    figures_of,
    goals_table,
    halts_table,
    markdown,
    parts_table,
    spread,
    stages_table,
)
from benchmarks.live_rig import (
    INSTANCE,
    Operator,
    Servers,
    child,
    mqtt_client,
    until_running,
    write_config,
)
from benchmarks.run import into_readme, machine, warn_of_load, write_json
from engine.app.live.operator_send import MqttLine, RedisLine
from engine.app.live.servers import MqttBroker, RedisServer
from engine.events import MINUTE_NS, Bar, IntArray
from engine.journal import JournalWriter
from engine.journal_format import Identity

NORMAL: Final = Pace(100.0)
LOAD: Final = Pace(1_000.0)
AT_ONCE: Final = Pace(1_000.0, is_at_once=True)
_KINDS: Final = ("signals", "state", "risk")
_LOOK_EVERY_S: Final = 0.1
_BURST: Final = 1_000


class Plan(NamedTuple):
    """How long, and how often, everything is measured."""

    warm_s: float
    normal_s: float
    load_s: float
    halts: int
    halts_max_s: float
    bursts: int


FULL: Final = Plan(8.0, 20.0, 20.0, 300, 180.0, 300)
USUAL: Final = Plan(4.0, 16.0, 6.0, 100, 14.0, 200)
QUICK: Final = Plan(4.0, 4.0, 4.0, 20, 20.0, 50)
#: A disk that is none, where there is one.
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - its folder has a name that nobody can guess
NAMED: Final = (Case(2, "redis", "mqtt"), Case(40, "mqtt", "redis"))
IN_MEMORY: Final = Case(2, "redis", is_in_memory=True)
CASES: Final = (
    Case(2, "redis"),
    Case(2, "mqtt"),
    Case(40, "redis", "mqtt"),
    Case(40, "mqtt", "redis"),
    Case(200, "redis"),
    Case(200, "mqtt"),
    IN_MEMORY,
)


def watch(folder: Path, until: Callable[[], bool]) -> IntArray:
    """Look ten times a second how long an fsync takes and who keeps the machine busy; see ``Run.machine``."""
    rows: list[tuple[int, ...]] = []
    pids = _family()
    with (folder / "fsync.probe").open("wb") as file:
        while not until():
            now_ns, took_ns = time.monotonic_ns(), _synced_ns(file, 512)
            ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split()[1:9]]
            busy = sum(ticks) - ticks[3] - ticks[4]  # but for idle, and idle until a disk answers
            rows.append((now_ns, took_ns, busy, _ticks(pids), sum(ticks)))
            time.sleep(_LOOK_EVERY_S)
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


def _family() -> list[int]:
    """Return this process and its children: driver, daemon, servers."""
    own = os.getpid()
    found = [own]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(_stat(path)[1]) == own:
                found.append(int(path.parent.name))
    return found


def _ticks(pids: Iterable[int]) -> int:
    """Return what these processes have run, in ticks."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = _stat(Path(f"/proc/{pid}/stat"))
            total += int(fields[11]) + int(fields[12])
    return total


def _stat(path: Path) -> list[str]:
    """Return what the kernel says of a process, from its state on."""
    return path.read_text(encoding="ascii").rpartition(")")[2].split()


def _synced_ns(file: BinaryIO, n_bytes: int) -> int:
    """Append bytes and fsync; return how long that took."""
    began_ns = time.monotonic_ns()
    file.write(bytes(n_bytes))
    file.flush()
    os.fsync(file.fileno())
    return time.monotonic_ns() - began_ns


def group_commit(folder: Path, bursts: int) -> dict[str, Spread]:
    """Append and commit 1,000 bars at a time, in turns with an fsync of as many bytes; milliseconds."""
    taken: dict[str, list[int]] = {"append": [], "commit": [], "fsync of as many bytes": []}
    writer = JournalWriter(folder / "journal", Identity("bench"))
    seq = 0
    with (folder / "fsync.probe").open("wb") as probe:
        for minute in range(1, bursts + 1):
            bars = [
                Bar(minute * MINUTE_NS, f"S{i:04d}", 100.0, 100.5, 99.5, 100.25, 1e6) for i in range(_BURST)
            ]
            began_ns = time.monotonic_ns()
            for bar in bars:
                seq += 1
                writer.append(seq, bar, "1700000000000-0")
            appended_ns = time.monotonic_ns()
            writer.commit()
            taken["append"].append(appended_ns - began_ns)
            taken["commit"].append(time.monotonic_ns() - appended_ns)
            taken["fsync of as many bytes"].append(_synced_ns(probe, 90 * _BURST))
    writer.close()
    return {name: found for name, ns in taken.items() if (found := spread(np.array(ns))) is not None}


def measure(case: Case, plan: Plan, scratch: Path) -> Run:
    """Start servers and a daemon, drive it through its phases, and collect what both sides noted."""
    with ExitStack() as stack:
        if case.is_in_memory:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="astra-live-", dir=MEMORY)))
        folder = scratch / str(case)
        folder.mkdir(parents=True)
        times = folder / "times.npz"
        servers = Servers(
            stack.enter_context(RedisServer(folder / "redis")),
            stack.enter_context(MqttBroker(folder / "mqtt")),
        )
        config = write_config(folder, case.feed, case.n_symbols, servers)
        with child(config, "--times", str(times)) as process:
            driver, tape, machine_ = asyncio.run(_drive(case, plan, folder, servers, process))
        with np.load(times) as noted:
            tables = {name: noted[name] for name in ("bars", "commits", "handed", "deliveries")}
            return Run(case, tape, driver.heard, driver.phases, machine=machine_, **tables)


async def _drive(
    case: Case, plan: Plan, folder: Path, servers: Servers, process: subprocess.Popen[bytes]
) -> tuple[Driver, Tape, IntArray]:
    document = await until_running(process, folder)
    seconds = plan.warm_s + 2 * plan.load_s + plan.halts_max_s * (2 if case.down else 1)
    n_bars = LOAD.bars_per_s * seconds + NORMAL.bars_per_s * plan.normal_s
    tape = Tape(case.n_symbols, int(1.1 * n_bars / case.n_symbols) + 10)
    stop = threading.Event()
    async with AsyncExitStack() as stack:
        driver = Driver(tape, await stack.enter_async_context(sender(case.feed, servers)))
        ears = [
            asyncio.create_task(work)
            for work in (
                *(hear_xread(servers, document["epoch"], kind, driver.on) for kind in _KINDS),
                hear_publish(servers, _KINDS, driver.on),
                hear_mqtt(servers, _KINDS, driver.on),
                hear_file(folder / "state" / "alerts.jsonl", driver.on),
            )
        ]
        watching = asyncio.create_task(asyncio.to_thread(watch, folder, stop.is_set))
        try:
            await _phases(driver, case, plan, servers, stack)
        finally:
            stop.set()
            for ear in ears:
                ear.cancel()
            await asyncio.gather(*ears, return_exceptions=True)
        return driver, tape, await watching


async def _phases(driver: Driver, case: Case, plan: Plan, servers: Servers, stack: AsyncExitStack) -> None:
    await driver.steady("warm-up", LOAD, plan.warm_s)
    await driver.steady("normal", NORMAL, plan.normal_s)
    await driver.steady("load", LOAD, plan.load_s)
    await driver.steady("at once", AT_ONCE, plan.load_s)
    if case.is_in_memory:
        return
    client = await stack.enter_async_context(redis.asyncio.Redis.from_url(servers.redis.link.url))
    by_redis = Operator(RedisLine(client, INSTANCE))
    often = (plan.halts, plan.halts_max_s)
    await driver.halts("halts", LOAD, by_redis, *often)
    if case.down == "mqtt":
        servers.mqtt.kill()
        await driver.halts("mqtt away", LOAD, by_redis, *often)
    elif case.down == "redis":
        driver.control = "mqtt"
        mqtt = await stack.enter_async_context(mqtt_client(servers.mqtt))
        servers.redis.kill()
        await driver.halts("redis away", LOAD, Operator(MqttLine(mqtt, f"astra/{INSTANCE}")), *often)


def report(figures: Sequence[Figures], commits: dict[str, Spread]) -> str:
    """Return everything as Markdown; milliseconds, median / p99 / most."""
    journal = markdown(
        ("1,000 bars at once", "times", "ms"), [(k, v.n, v) for k, v in commits.items()], left=1
    )
    return "\n\n".join(
        [
            f"{machine()}. Milliseconds: median / p99 / most.",
            goals_table(figures, commits["commit"]),
            bars_table(figures),
            stages_table(figures),
            halts_table(figures),
            parts_table(figures),
            journal,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep; return 1 if the engine did not keep up in some case."""
    parser = argparse.ArgumentParser(prog="make bench-live", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a little of everything")
    size.add_argument("--full", action="store_true", help="all cases, for longer")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    parser.add_argument("--case", choices=[str(case) for case in CASES], help="one case alone")
    parser.add_argument("--dir", type=Path, help="where state is kept; default a temporary folder")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL if options.full else USUAL
    cases = [
        case
        for case in (CASES if options.full or options.case else (*NAMED, IN_MEMORY))
        if options.case in {None, str(case)} and (MEMORY.is_dir() or not case.is_in_memory)
    ]
    figures: list[Figures] = []
    faults: list[str] = []
    warn_of_load()
    with tempfile.TemporaryDirectory(prefix="astra-live-", dir=options.dir) as scratch:
        for case in cases:
            print(f"measuring: {case}", flush=True)
            try:
                figures += figures_of(measure(case, plan, Path(scratch)))
            except BehindError as error:
                faults.append(f"**Not measured** – {error}.")
                print(faults[-1], flush=True)
        print("measuring: group commit", flush=True)
        commits = group_commit(Path(scratch), plan.bursts)
    text = "\n\n".join([report(figures, commits), *faults])
    print(f"\n{text}")
    kept = [one._asdict() | {"case": str(one.case)} for one in figures]
    print(f"\nkept: {write_json('live.json', {'phases': kept, 'group_commit': commits})}")
    if options.readme:
        into_readme("live", text)
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
