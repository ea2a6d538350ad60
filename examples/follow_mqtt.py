#!/usr/bin/env python3
"""Follow the alerts and states of an engine on MQTT: print ``kind message`` a line, each message once.

    python examples/follow_mqtt.py --port 1883 --instance astra --name desk-screen

The broker keeps a session under ``--name`` for a day: what is said while this script is away comes when it is
back. MQTT delivers at least once, so repetitions are told apart by the id.
"""

from __future__ import annotations

import argparse
import asyncio
import json

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

KINDS = ("alerts", "state", "online")
DAY_S = 86_400


class Seen:
    """Remembers the last id of each kind: within an epoch, ids of one kind only grow."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, tuple[int, ...]]] = {}

    def is_new(self, kind: str, message: dict[str, str]) -> bool:
        """Whether this message was not here before. Compare ids as two numbers: 9-0 comes before 10-0."""
        here = message["epoch"], tuple(map(int, message["id"].split("-")))
        is_new = kind not in self._last or here > self._last[kind]
        self._last[kind] = max(here, self._last.get(kind, here))
        return is_new


def client_of(host: str, port: int, name: str) -> aiomqtt.Client:
    """Return a client whose session outlives its connection."""
    session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    session.SessionExpiryInterval = DAY_S
    return aiomqtt.Client(
        host,
        port,
        identifier=name,
        clean_start=False,
        properties=session,
        protocol=aiomqtt.ProtocolVersion.V5,
    )


async def follow(client: aiomqtt.Client, prefix: str, seen: Seen) -> None:
    """Print messages until the connection breaks."""
    async with client:
        for kind in KINDS:
            await client.subscribe(f"{prefix}/{kind}", qos=1)
        async for message in client.messages:
            kind = message.topic.value.rpartition("/")[2]
            text = bytes(message.payload).decode()
            if kind == "online" or seen.is_new(kind, json.loads(text)):
                print(kind, text, flush=True)


async def main() -> None:
    """Read the command line and follow; connect again, for ever."""
    parser = argparse.ArgumentParser(description="Follow the alerts and states of an engine on MQTT.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--topic", default="astra", help="[mqtt] topic of the engine")
    parser.add_argument("--instance", default="astra")
    parser.add_argument("--name", default="follow-astra", help="of the session; one for each follower")
    given = parser.parse_args()
    seen = Seen()
    while True:
        try:
            client = client_of(given.host, given.port, given.name)
            await follow(client, f"{given.topic}/{given.instance}", seen)
        except aiomqtt.MqttError:
            await asyncio.sleep(1.0)


if __name__ == "__main__":
    asyncio.run(main())
