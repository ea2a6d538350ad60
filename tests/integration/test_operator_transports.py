"""Commands over real servers: what is not confirmed comes again, what is confirmed does not."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from redis.asyncio import Redis

from engine.app.live.operator_link import Admission, Received, from_mqtt, from_redis, from_spool
from engine.app.live.operator_send import MqttLine, RedisLine, SpoolLine, ask, read_status
from engine.app.live.servers import MqttBroker, RedisServer
from engine.app.live.state_folder import StateFolder
from engine.app.live.status_document import Extras, document, encode
from engine.clock import Clock
from engine.commands import MESSAGE_BYTES_MAX, Keys, message_of
from engine.connections import mqtt_client, redis_client
from engine.events import Command, CommandJudged
from tests.support import waiting
from tests.support.core import slice_of
from tests.support.engines import HALT_KEY, OPERATOR_KEY, command, engine_of
from tests.support.servers import fresh_redis, mqtt_broker, redis_server

__all__ = ["fresh_redis", "mqtt_broker", "redis_server"]

T0_NS = slice_of([1.0], minute=1, session=1).ts_close_ns + 1
KEYS = Keys(OPERATOR_KEY, HALT_KEY)
WAIT_S = 10.0


def admission() -> Admission:
    """Make a fresh one, as after a restart."""
    return Admission(KEYS, Clock(start_ns=T0_NS))


async def alone(_client: Any) -> bool:
    """Let it read: no other engine has the name."""
    return True


def a_halt(nonce: str) -> Command:
    """Sign a halt that counts now."""
    return command("halt", T0_NS, key=HALT_KEY, nonce=nonce)


async def take(source: AsyncIterator[Received], n: int = 1) -> list[Received]:
    """Take so many commands, or fail."""
    async with asyncio.timeout(WAIT_S):
        return [await anext(source) for _ in range(n)]


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, or fail."""
    async with asyncio.timeout(WAIT_S):
        while not await is_so():  # noqa: ASYNC110 - the condition lives in another process
            await asyncio.sleep(0.01)


async def turn(source: AsyncIterator[Received]) -> asyncio.Task[Any]:
    """Let a source go on reading: nothing is confirmed while nobody asks it for more."""
    task = asyncio.ensure_future(anext(source))
    await asyncio.sleep(0)
    return task


async def end(task: asyncio.Task[Any]) -> None:
    """Stop what ``turn`` began."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def pending(client: Redis, instance: str) -> int:
    """Count entries that were read and not confirmed."""
    return int((await client.xpending(f"astra:{instance}:commands", "engine"))["pending"])


async def test_redis_keeps_a_command_until_it_is_on_disk(redis_server: RedisServer) -> None:
    """A crash between reading and fsync must not lose a halt; after the fsync it is forgotten."""
    async with redis_client(redis_server.link, "test") as client:
        line = RedisLine(client, "keeps")
        sent = a_halt("one")
        await line.send(message_of(sent), "one")
        async with aclosing(from_redis(redis_server.link, "keeps", admission(), alone)) as source:
            [(first, _)] = await take(source)  # and the engine dies before it is on disk
        assert (first.body, first.signature) == (sent.body, sent.signature)
        async with aclosing(from_redis(redis_server.link, "keeps", admission(), alone)) as source:
            [(again, acknowledge)] = await take(source)
            assert again.body == first.body
            assert await pending(client, "keeps") == 1
            acknowledge()
            reading = await turn(source)
            await until(lambda: _is_zero(pending(client, "keeps")))
            await end(reading)
        await line.send(message_of(a_halt("two")), "two")
        async with aclosing(from_redis(redis_server.link, "keeps", admission(), alone)) as source:
            [(other, _)] = await take(source)
        assert '"nonce":"two"' in other.body


async def _is_zero(count: Awaitable[int]) -> bool:
    return await count == 0


async def test_redis_that_loses_its_data_and_comes_back_is_used_again(fresh_redis: RedisServer) -> None:
    """Stream and group are gone with the server's memory; the engine makes them anew and listens."""
    async with aclosing(from_redis(fresh_redis.link, "back", admission(), alone)) as source:
        reading = await turn(source)
        async with redis_client(fresh_redis.link, "test") as client:
            await until(lambda: _exists(client, "astra:back:commands"))
        fresh_redis.kill()
        fresh_redis.lose_data()
        fresh_redis.start()
        async with redis_client(fresh_redis.link, "test") as client:
            await RedisLine(client, "back").send(message_of(a_halt("n")), "n")
            async with asyncio.timeout(WAIT_S):
                received, _ = await reading
    assert '"nonce":"n"' in received.body


async def _exists(client: Redis, key: str) -> bool:
    return bool(await client.exists(key))


async def test_mqtt_keeps_a_command_until_it_is_on_disk(mqtt_broker: MqttBroker) -> None:
    """The PUBACK waits for the fsync; sent while the engine is away, it waits at the broker."""
    async with aclosing(from_mqtt(mqtt_broker.link, "keeps", admission(), lambda: True)) as source:
        reading = await turn(source)
        async with mqtt_client(mqtt_broker.link) as client:
            line = MqttLine(client, "astra/keeps")
            await until(lambda: _received_after(line, a_halt("one"), reading))
        received, _ = await reading
    assert '"kind":"halt"' in received.body
    async with aclosing(from_mqtt(mqtt_broker.link, "keeps", admission(), lambda: True)) as source:
        [(again, acknowledge)] = await take(source)
        assert again.body == received.body
        acknowledge()
        reading = await turn(source)
        async with mqtt_client(mqtt_broker.link) as client:
            await MqttLine(client, "astra/keeps").send(message_of(a_halt("two")), "two")
        async with asyncio.timeout(WAIT_S):
            other, acknowledge = await reading
        assert '"nonce":"two"' in other.body
        acknowledge()


async def _received_after(line: MqttLine, sent: Command, reading: asyncio.Task[Any]) -> bool:
    """Send until the subscription is there: a broker forgets what nobody has subscribed to."""
    if not reading.done():
        await line.send(message_of(sent), "")
        await asyncio.wait([reading], timeout=0.2)
    return reading.done()


async def test_mqtt_asks_again_when_the_subscription_is_refused(
    mqtt_broker: MqttBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker says so in its answer and then delivers nothing: the engine would be deaf for ever."""
    subscribe, admitting = aiomqtt.Client.subscribe, admission()
    refusals, seen = [ReasonCode(PacketTypes.SUBACK, "Not authorized")], []

    async def refused_once(client: aiomqtt.Client, *args: Any, **kwargs: Any) -> Any:
        seen.append(dict(admitting.links))
        granted = await subscribe(client, *args, **kwargs)
        return [refusals.pop()] if refusals else granted

    monkeypatch.setattr(aiomqtt.Client, "subscribe", refused_once)
    async with aclosing(from_mqtt(mqtt_broker.link, "deaf", admitting, lambda: True)) as source:
        reading = await turn(source)
        await waiting.until(lambda: admitting.links["mqtt"])
        async with mqtt_client(mqtt_broker.link) as client:
            await MqttLine(client, "astra/deaf").send(message_of(a_halt("one")), "one")
        async with asyncio.timeout(WAIT_S):
            received, _ = await reading
    assert '"nonce":"one"' in received.body
    assert seen == [{"mqtt": False}] * 2


async def test_spool_keeps_a_command_until_it_is_on_disk(tmp_path: Path) -> None:
    """Without any server: the file goes only after the fsync, and the folder is private."""
    state = StateFolder(tmp_path)
    line = SpoolLine(state)
    await line.send(message_of(a_halt("one")), "one")
    async with aclosing(from_spool(state.commands, admission())) as source:
        [(first, _)] = await take(source)
    async with aclosing(from_spool(state.commands, admission())) as source:
        [(again, acknowledge)] = await take(source)
        assert again.body == first.body
        assert (state.commands / "one.json").exists()
        acknowledge()
    assert list(state.commands.iterdir()) == []
    assert state.commands.stat().st_mode & 0o777 == 0o700


RUBBISH = [b"", b"\xff\x00", b"{}", b"[" * 5_000, b'{"body": 1}', b"x" * (MESSAGE_BYTES_MAX + 1)]


async def test_rubbish_on_every_transport_is_a_refused_command(
    redis_server: RedisServer, mqtt_broker: MqttBroker, tmp_path: Path
) -> None:
    """Undecodable and oversized messages are recorded in short, judged malformed, and end no reader."""
    loop, seen = engine_of(["A/B"], {})
    async with redis_client(redis_server.link, "test") as client:
        for data in RUBBISH:
            await client.xadd("astra:rubbish:commands", {"command": data})
        await client.xadd("astra:rubbish:commands", {"another": b"field"})
        async with aclosing(from_redis(redis_server.link, "rubbish", admission(), alone)) as source:
            received = await take(source, len(RUBBISH) + 1)
    spool = tmp_path / "commands"
    spool.mkdir()
    for k, data in enumerate(RUBBISH):
        (spool / f"{k}.json").write_bytes(data)
    (spool / "link.json").symlink_to("/etc/hostname")
    async with aclosing(from_spool(spool, admission())) as source:
        received += await take(source, len(RUBBISH) + 1)
    async with aclosing(from_mqtt(mqtt_broker.link, "rubbish", admission(), lambda: True)) as source:
        reading = await turn(source)
        async with mqtt_client(mqtt_broker.link) as publisher:
            line = MqttLine(publisher, "astra/rubbish")
            await until(lambda: _received_after(line, Command(0, "\x00", ""), reading))
        received.append(await reading)
    for rubbish, acknowledge in received:
        assert len(rubbish.body) <= 2_000
        loop.step(rubbish)
        acknowledge()
    verdicts = seen.events(CommandJudged)
    assert len(verdicts) == 2 * (len(RUBBISH) + 1) + 1
    assert {(v.verdict, v.reason) for v in verdicts} == {("refused", "malformed")}


class Engine:
    """The least of a daemon: takes commands, judges them, and shows its status."""

    def __init__(self) -> None:
        self.loop, _ = engine_of(["A/B"], {})
        self.loop.step(slice_of([100.0, 50.0], minute=1, session=1))

    async def obey(self, source: AsyncIterator[Received], show: Callable[[bytes], Awaitable[Any]]) -> None:
        """Obey until cancelled."""
        await show(self.status())
        async with aclosing(source):
            async for record, acknowledge in source:
                self.loop.step(record)
                await show(self.status())
                acknowledge()

    def status(self) -> bytes:
        """Return the status document."""
        extras = Extras(
            instance="test",
            epoch="e",
            version="v",
            clock_ns=T0_NS,
            written_ns=T0_NS,
            verdicts=self.loop.status.verdicts,
        )
        return encode(document(self.loop, T0_NS, extras))


@pytest.mark.parametrize("way", ["redis", "mqtt", "spool"])
async def test_a_sender_learns_the_verdict(
    way: str, redis_server: RedisServer, mqtt_broker: MqttBroker, tmp_path: Path
) -> None:
    """An operator must know whether the engine has halted, by every way, and what a refusal says."""
    engine, state = Engine(), StateFolder(tmp_path)
    resume = command("resume", T0_NS, nonce="r", halt_id="halt-other")

    async def talk(line: Any) -> None:
        await until(lambda: _has_status(line))
        accepted = await ask(line, a_halt("h"), "h", WAIT_S)
        assert accepted is not None
        assert (accepted.kind, accepted.verdict) == ("halt", "accepted")
        refused = await ask(line, resume, "r", WAIT_S)
        assert refused is not None
        assert (refused.verdict, "the halt in force is" in refused.reason) == ("refused", True)
        again = await ask(line, a_halt("never sent under this nonce"), "other", 0.0)
        assert again is None

    if way == "redis":
        async with redis_client(redis_server.link, "test") as client:
            source = from_redis(redis_server.link, "test", admission(), alone)

            async def put(body: bytes) -> None:
                await client.set("astra:test:status", body)

            await _converse(engine, source, put, talk, RedisLine(client, "test"))
    elif way == "mqtt":
        async with mqtt_client(mqtt_broker.link) as shower, mqtt_client(mqtt_broker.link) as client:
            source = from_mqtt(mqtt_broker.link, "test", admission(), lambda: True)
            line = MqttLine(client, "astra/test")
            listening = asyncio.create_task(line.listen())

            async def show(body: bytes) -> None:
                await shower.publish("astra/test/status", body, qos=1, retain=True)

            await _converse(engine, source, show, talk, line)
            await end(listening)
    else:

        async def write(body: bytes) -> None:
            state.status.write_bytes(body)

        await _converse(engine, from_spool(state.commands, admission()), write, talk, SpoolLine(state))


async def _has_status(line: Any) -> bool:
    return await read_status(line) is not None


async def _converse(engine: Engine, source: Any, show: Any, talk: Any, line: Any) -> None:
    obeying = asyncio.create_task(engine.obey(source, show))
    talking = asyncio.create_task(talk(line))
    done, _ = await asyncio.wait([obeying, talking], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*done)
    await end(obeying)


# A connection that is given up half way may leave its socket to the garbage collector: it runs here.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", ["redis", "mqtt"])
async def test_a_reader_that_is_told_to_stop_stops(
    way: str, redis_server: RedisServer, mqtt_broker: MqttBroker
) -> None:
    """Clients may forget a cancellation that comes while they connect; the run would then never end."""
    for k in range(30):
        source = (
            from_redis(redis_server.link, "stops", admission(), alone)
            if way == "redis"
            else from_mqtt(mqtt_broker.link, f"stops{k}", admission(), lambda: True)
        )
        reading = asyncio.ensure_future(anext(source))
        await asyncio.wait([reading], timeout=0.0004 * k)
        reading.cancel()
        done, _ = await asyncio.wait([reading], timeout=WAIT_S)
        assert done, f"still reading after {0.4 * k:.1f} ms and a cancellation"
        await source.aclose()  # type: ignore[attr-defined]
    gc.collect()
