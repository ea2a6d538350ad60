"""Alerts to people: rarely, the worst first, and never in silence."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import ConfigError, ServiceError
from engine.sinks.notify import NotifySink, notify_sinks
from tests.support.effects import alert, risk
from tests.support.webhook import Webhook, webhook

__all__ = ["webhook"]

pytest.importorskip("apprise")
# Apprise imports every service it knows, one of which asks for a module that Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")


def sink_of(webhook: Webhook, every_s: float = 1_000.0) -> NotifySink:
    [made] = notify_sinks(webhook.url, "desk", "warning").values()
    return NotifySink(made._service, "notify-1", "desk", "warning", every_s=every_s)


async def test_an_alert_reaches_the_address(webhook: Webhook) -> None:
    """The whole point: somebody's telephone shows what happened and where."""
    await sink_of(webhook).deliver([risk(1), alert(2, 0, "critical"), alert(3, 0, "info")])
    [post] = webhook.posts
    assert post["title"] == "desk: CRITICAL tested"
    assert post["message"] == "2026-01-05T12:02:00Z alert 2"
    assert post["type"] == "failure"


async def test_what_is_not_serious_enough_is_not_sent(webhook: Webhook) -> None:
    """Who is called for nothing stops answering."""
    await sink_of(webhook).deliver([alert(1, 0, "info"), risk(2)])
    assert webhook.posts == []


async def test_a_burst_is_one_message_with_the_worst_first(webhook: Webhook) -> None:
    """500 calls say less than one that names the halt among them."""
    batch = [alert(seq) for seq in range(1, 500)] + [alert(500, 0, "critical")]
    await sink_of(webhook).deliver(batch)
    [post] = webhook.posts
    assert post["title"] == "desk: CRITICAL tested and 499 more"
    lines = post["message"].splitlines()
    assert lines[0].startswith("critical tested 2026-01-05T20:20:00Z alert 500")
    assert (len(lines), lines[-1]) == (11, "and 490 more")


async def test_after_a_few_messages_people_are_left_in_peace(webhook: Webhook) -> None:
    """Alerts that come one by one must not become calls one by one."""
    sink = sink_of(webhook)
    for seq in (1, 2, 3):
        await sink.deliver([alert(seq)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sink.deliver([alert(4)])
    assert len(webhook.posts) == 3


async def test_peace_ends_after_the_interval(webhook: Webhook) -> None:
    """A delayed digest is a delay, not a loss."""
    sink = sink_of(webhook, every_s=0.01)
    for seq in range(1, 9):
        await asyncio.wait_for(sink.deliver([alert(seq)]), 5.0)
    assert len(webhook.posts) == 8


async def test_a_service_that_refuses_is_a_failed_delivery(webhook: Webhook) -> None:
    """Apprise answers False and says no more; taken for a yes it would lose the alert."""
    webhook.answer = 500
    with pytest.raises(ServiceError, match="did not take") as raised:
        await sink_of(webhook).deliver([alert(1)])
    assert (raised.value.code, raised.value.where) == ("S014", "notify-1")
    assert "127.0.0.1" not in str(vars(raised.value))


async def test_a_greeting_proves_that_the_address_works(webhook: Webhook) -> None:
    """Nobody can be asked what he has read: only a message that was taken shows that one can be sent."""
    [sink] = notify_sinks(webhook.url, "desk", "warning", greets=True).values()
    webhook.answer = 500
    assert await sink.held("routine") == {}
    with pytest.raises(ServiceError) as raised:
        await sink.held("urgent")
    assert raised.value.code == "S014"
    webhook.answer = 200
    for _ in range(2):
        assert await sink.held("urgent") == {}
    [post] = webhook.posts  # once
    assert (post["title"], post["type"]) == ("desk: INFO started", "info")
    assert post["message"].endswith("alerts from `warning` upwards will be sent here")


async def test_nobody_is_greeted_who_need_not_prove_anything(webhook: Webhook) -> None:
    """Where alerts are not required a restart is nobody's business at night."""
    assert await sink_of(webhook).held("urgent") == {}
    assert webhook.posts == []


def test_each_address_is_a_sink_of_its_own(webhook: Webhook) -> None:
    """One that fails must not make the others repeat themselves."""
    assert list(notify_sinks(f"{webhook.url}/a\n {webhook.url}/b ", "desk", "info")) == [
        "notify-1",
        "notify-2",
    ]
    assert notify_sinks("  ", "desk", "info") == {}


def test_an_unknown_address_is_refused_without_showing_it() -> None:
    """Addresses hold tokens, and errors end in logs."""
    with pytest.raises(ConfigError) as raised:
        notify_sinks("json://127.0.0.1 nosuch://token-of-somebody", "desk", "info")
    assert raised.value.code == "S016"
    assert "token-of-somebody" not in str(vars(raised.value))
    assert "address 2 of 2" in raised.value.what
