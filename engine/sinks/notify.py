"""Alerts to people, through any service that Apprise knows: chat, e-mail, telephone, webhook.

A person is not called 500 times: a few messages go out at once, after that one digest in each interval. Each
address is a sink of its own, so that one that fails neither delays nor repeats the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from engine.clock import instant, stopwatch_s, wall_ns
from engine.errors import ConfigError, ServiceError
from engine.events import Alert
from engine.ports import Effect
from engine.sinks.messages import EffectId

if TYPE_CHECKING:
    import apprise

#: Severities, least first.
SEVERITIES: Final = ("info", "warning", "critical")
_AT_ONCE: Final = 3
_EVERY_S: Final = 20.0
_SHOWN: Final = 10


class NotifySink:
    """One address of Apprise.

    Parameters
    ----------
    service : apprise.Apprise
        With that one address.
    name : str
        What it is called where an address, which may hold a secret, must not be shown.
    instance : str
        Which engine speaks.
    severity : str
        Least severity that is sent.
    greets : bool
        Send a message before the first alert: only a service that took one has shown that it works.
    every_s : float
        After the first few messages, seconds between two.
    """

    def __init__(
        self,
        service: apprise.Apprise,
        name: str,
        instance: str,
        severity: str,
        *,
        greets: bool = False,
        every_s: float = _EVERY_S,
    ) -> None:
        self._service = service
        self._name = name
        self._instance = instance
        self._severities = SEVERITIES[SEVERITIES.index(severity) :]
        self._severity = severity
        self._is_proven = not greets
        self._every_s = every_s
        self._tokens = float(_AT_ONCE)
        self._counted_s = stopwatch_s()

    async def held(self, lane: str) -> Mapping[str, EffectId]:
        """Send the greeting, if it is still to be sent; nobody can be asked what he has read.

        Raises
        ------
        ServiceError
            S014 if the service does not take it.
        """
        if lane == "urgent" and not self._is_proven:
            text = f"alerts from `{self._severity}` upwards will be sent here"
            await self._send([Alert(wall_ns(), "info", "started", text)])
        return {}

    async def deliver(self, effects: Sequence[Effect]) -> None:
        """Send one message about the alerts among ``effects``; while it may not be sent yet, wait.

        What gathers meanwhile in the outbox makes the next digest.

        Raises
        ------
        ServiceError
            S014 if the service does not take it.
        """
        alerts = [
            effect.event
            for effect in effects
            if isinstance(effect.event, Alert) and effect.event.severity in self._severities
        ]
        if alerts:
            await self._send(alerts)

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def _send(self, alerts: Sequence[Alert]) -> None:
        await self._take_token()
        title, body, kind = compose(self._instance, alerts)
        if not await asyncio.to_thread(self._service.notify, body=body, title=title, notify_type=kind):
            raise ServiceError(
                "S014",
                "the notification service did not take an alert",
                self._name,
                "Is its address in ASTRA_APPRISE_URLS still valid? It is tried again until it is taken.",
            )
        self._is_proven = True

    async def _take_token(self) -> None:
        now_s = stopwatch_s()
        gained = (now_s - self._counted_s) / self._every_s
        self._tokens = min(float(_AT_ONCE), self._tokens + gained) - 1.0
        self._counted_s = now_s
        if self._tokens < 0.0:
            await asyncio.sleep(-self._tokens * self._every_s)


def compose(instance: str, alerts: Sequence[Alert]) -> tuple[str, str, str]:
    """Write title, body and kind (in Apprise's words) of a message about one or more alerts.

    Examples
    --------
    >>> alert = Alert(1_519_137_060_000_000_000, "critical", "halted", "VAR_LIMIT; resume with h-7")
    >>> compose("desk", [alert])[:2]
    ('desk: CRITICAL halted', '2018-02-20T14:31:00Z VAR_LIMIT; resume with h-7')
    """
    worst = max(alerts, key=lambda alert: SEVERITIES.index(alert.severity))
    kind = {"info": "info", "warning": "warning", "critical": "failure"}[worst.severity]
    title = f"{instance}: {worst.severity.upper()} {worst.kind}"
    if len(alerts) == 1:
        return title, f"{instant(worst.ts_ns)} {worst.text}", kind
    # The worst first, the latest of these first: what is cut off matters least.
    shown = sorted(alerts, key=lambda alert: (SEVERITIES.index(alert.severity), alert.ts_ns), reverse=True)[
        :_SHOWN
    ]
    lines = [f"{alert.severity} {alert.kind} {instant(alert.ts_ns)} {alert.text}" for alert in shown]
    if len(alerts) > len(shown):
        lines.append(f"and {len(alerts) - len(shown)} more")
    return f"{title} and {len(alerts) - 1} more", "\n".join(lines), kind


def notify_sinks(urls: str, instance: str, severity: str, *, greets: bool = False) -> dict[str, NotifySink]:
    """Make a sink, ``notify-1`` and so on, of each address in ASTRA_APPRISE_URLS.

    Parameters
    ----------
    urls : str
        Addresses, separated by spaces or new lines.
    instance, severity, greets
        As in ``NotifySink``.

    Raises
    ------
    ServiceError
        S015 if the extra ``notify`` is not installed.
    ConfigError
        S016 if Apprise does not know an address; it is not shown, since it may hold a secret.
    """
    addresses = urls.split()
    if not addresses:
        return {}
    try:
        import apprise
    except ImportError:
        raise ServiceError(
            "S015",
            "people cannot be notified: the extra `notify` is not installed",
            "ASTRA_APPRISE_URLS",
            "Install astra-quant[notify], or unset ASTRA_APPRISE_URLS.",
        ) from None
    sinks = {}
    for number, address in enumerate(addresses, start=1):
        service = apprise.Apprise()
        if not service.add(address):
            raise ConfigError(
                "S016",
                f"address {number} of {len(addresses)} is none that Apprise knows",
                "ASTRA_APPRISE_URLS",
                "Addresses are separated by spaces; each begins with a service, such as mailtos or slack.",
            )
        sinks[f"notify-{number}"] = NotifySink(service, f"notify-{number}", instance, severity, greets=greets)
    return sinks
