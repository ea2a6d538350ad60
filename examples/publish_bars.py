#!/usr/bin/env python3
"""Publish recorded bars to an MQTT broker: one message a bar, minute by minute, each confirmed.

    python examples/publish_bars.py bars.csv.gz --port 1883 --minutes-per-s 20

At the other end is an engine whose configuration says ``[feed] kind = "mqtt"`` and, since these bars are
not of today, ``[daemon] clock = "bars"``. For bars of your own, give ``publish`` another source of minutes.

Not sure what arrived? Start it again: what comes twice is counted as DUPLICATE or LATE, and harms nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import aiomqtt

#: ``ts`` (END of the minute, with its zone), ``symbol``, and the numbers below.
Bar: TypeAlias = dict[str, str | float]
NUMBERS = ("open", "high", "low", "close", "volume")


def minutes(path: Path) -> Iterator[list[Bar]]:
    """Yield the bars of a CSV that is sorted by time, one minute at a time."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for _, rows in groupby(csv.DictReader(file), key=itemgetter("ts")):
            yield [{**row, **{name: float(row[name]) for name in NUMBERS}} for row in rows]


async def publish(
    client: aiomqtt.Client, topic: str, source: Iterable[list[Bar]], minutes_per_s: float
) -> int:
    """Publish minutes at a pace; return how many bars that were."""
    count = 0
    for minute in source:
        for bar in minute:
            # QoS 1: this returns when the broker has it. Not retained: yesterday's bar is no news.
            await client.publish(f"{topic}/bars/{bar['symbol']}", json.dumps(bar), qos=1)
        count += len(minute)
        await asyncio.sleep(1.0 / minutes_per_s)
    return count


async def main() -> None:
    """Read the command line and publish."""
    parser = argparse.ArgumentParser(description="Publish the bars of a CSV to an MQTT broker.")
    parser.add_argument("path", type=Path, help="CSV: ts, symbol, open, high, low, close, volume")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--topic", default="astra", help="[mqtt] topic of the engine")
    parser.add_argument("--minutes-per-s", type=float, default=20.0)
    given = parser.parse_args()
    async with aiomqtt.Client(given.host, given.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        count = await publish(client, given.topic, minutes(given.path), given.minutes_per_s)
    print(f"published {count:,} bars to {given.topic}/bars")


if __name__ == "__main__":
    asyncio.run(main())
