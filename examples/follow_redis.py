#!/usr/bin/env python3
"""Follow what an engine says on Redis, missing nothing: print one JSON object a line.

    python examples/follow_redis.py --url redis://127.0.0.1:6379 --kind alerts --place alerts.place

The stream is the record, so it is read and not the channel. The place reached is kept in a file: whoever
starts again goes on behind it. A new journal of the engine is a new epoch, with a stream of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, cast

import redis

#: Epoch, and the id of the last message read in it; ``"0"`` is before the first.
Place: TypeAlias = tuple[str, str]
#: Entries of a stream: id, and fields.
Entries: TypeAlias = list[tuple[str, dict[str, str]]]
WAIT_MS = 1_000


def epoch_of(client: redis.Redis, instance: str) -> str:
    """Return the epoch the engine is in, as its status says; empty if there never was an engine."""
    status = client.get(f"astra:{instance}:status")
    return str(json.loads(str(status))["epoch"]) if status else ""


def follow(client: redis.Redis, instance: str, kind: str, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield each message behind ``place``, with its own place; wait for more, for ever."""
    epoch, last = place
    while True:
        stream = f"astra:{instance}:{epoch}:{kind}"
        found = cast("list[tuple[str, Entries]]", client.xread({stream: last}, block=WAIT_MS))
        for _, entries in found:
            for last, fields in entries:
                yield (epoch, last), fields["message"]
        if not found and (now := epoch_of(client, instance)) not in {"", epoch}:
            epoch, last = now, "0"


def read_place(path: Path) -> Place:
    """Return the place kept in a file, or the beginning of everything."""
    epoch, last = path.read_text().split() if path.exists() else ("", "0")
    return epoch, last


def main() -> None:
    """Read the command line and follow."""
    parser = argparse.ArgumentParser(description="Follow what an engine says on Redis.")
    parser.add_argument("--url", default="redis://127.0.0.1:6379")
    parser.add_argument("--instance", default="astra")
    parser.add_argument("--kind", default="alerts", help="alerts, state, verdicts, signals, fills, ...")
    parser.add_argument("--place", type=Path, required=True, help="file that keeps the place reached")
    given = parser.parse_args()
    while True:
        client = redis.Redis.from_url(given.url, protocol=2, decode_responses=True)
        try:
            for (epoch, last), message in follow(client, given.instance, given.kind, read_place(given.place)):
                print(message, flush=True)
                # Kept after the message was dealt with: a crash in between repeats one and loses none.
                draft = given.place.with_suffix(".draft")
                draft.write_text(f"{epoch} {last}\n")
                draft.replace(given.place)  # whole, or not at all
        except redis.ConnectionError:
            time.sleep(1.0)


if __name__ == "__main__":
    main()
