"""Whose name it is at a real broker that compares nothing: of two that claim it together one stays."""

from __future__ import annotations

import asyncio
from itertools import repeat

import pytest

from engine.app.live import owner_mqtt
from engine.app.live.owner_mqtt import MqttOwner
from engine.connections import mqtt_client
from engine.errors import ServiceError
from engine.links import MqttLink
from tests.support.servers import fresh_mqtt, mqtt_broker

__all__ = ["fresh_mqtt", "mqtt_broker"]


def owner_of(link: MqttLink, place: str, told: list[str]) -> MqttOwner:
    """Return the claim of a machine to one name."""
    return MqttOwner(link, "same", f"{place}:/state:1:2 ", told.append)


async def test_of_two_that_claim_together_one_stays(mqtt_broker) -> None:
    """Both looked and saw nobody; each hears the other, and one rule says to both who it is."""
    told: list[str] = []
    owners = [owner_of(mqtt_broker.link, place, told) for place in ("b", "a", "c")]
    ends = await asyncio.gather(*(owner.claim() for owner in owners), return_exceptions=True)
    assert sum(owner.takes_commands for owner in owners) == 1
    refused = [end for end in ends if end is not None]
    assert len(refused) == 2
    assert all(isinstance(end, ServiceError) and end.code == "S037" for end in refused), refused
    for owner in owners:
        await owner.release()
    assert not told
    async with mqtt_client(mqtt_broker.link) as client:  # given back: nothing is retained
        await client.subscribe(f"{mqtt_broker.link.topic}/same/owner")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(aiter(client.messages))


async def test_an_owner_that_was_cut_off_looks_before_it_speaks(fresh_mqtt) -> None:
    """Back at the broker it would otherwise end the connections of the one that was promoted meanwhile."""
    told: list[str] = []
    first, second = (owner_of(fresh_mqtt.link, place, told) for place in ("first", "second"))
    await first.claim()
    fresh_mqtt.kill()
    async with asyncio.timeout(10.0):
        while first.takes_commands:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    await second.claim()  # the broker is away, and that is no owner
    assert not second.takes_commands
    fresh_mqtt.start()
    async with asyncio.timeout(30.0):
        while not told:  # noqa: ASYNC110 - the newcomer hears of it
            await asyncio.sleep(0.01)
    assert first.takes_commands
    assert not second.takes_commands
    assert told == ["'same' is also the name of the engine in first:/state"]
    for owner in (first, second):
        await owner.release()


async def test_an_owner_on_its_way_back_is_not_displaced(fresh_mqtt, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has forgotten everything is back; the owner waits its longest, a newcomer not at all."""
    monkeypatch.setattr(owner_mqtt, "waits_s", repeat)
    told: list[str] = []
    healthy, newcomer = (owner_of(fresh_mqtt.link, place, told) for place in ("healthy", "a newcomer"))
    await healthy.claim()
    fresh_mqtt.kill()
    async with asyncio.timeout(10.0):
        while healthy.takes_commands:  # noqa: ASYNC110 - from here its longest wait
            await asyncio.sleep(0.001)
    fresh_mqtt.start()
    with pytest.raises(ServiceError, match="healthy"):
        await newcomer.claim()
    assert healthy.takes_commands
    assert told == []
    for owner in (healthy, newcomer):
        await owner.release()
