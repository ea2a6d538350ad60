"""What the outside sees of a running engine: health, status document, and whether its sinks listen."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from engine.app.assembly import Assembly
from engine.app.build import installed_version
from engine.app.config.load import Config
from engine.app.config.tables import AlertsTable
from engine.app.live.daemon import Daemon
from engine.app.live.edges import DiskWatch
from engine.app.live.health_view import HealthView, Phase
from engine.app.live.losses import losses_of
from engine.app.live.operator_link import Admission
from engine.app.live.sinks import FILE
from engine.app.live.status_document import Extras, document, encode
from engine.app.live.upkeep import Upkeep
from engine.app.live.watchdog import Watchdog
from engine.app.wiring import at_least_two_bars
from engine.clock import wall_ns
from engine.controls import VAR_LIMIT
from engine.errors import ServiceError
from engine.events import Nanos
from engine.ports import LiveFeed
from engine.sinks.courier import Couriers
from engine.sinks.outbox import Outbox

_REQUIRED_WITHIN_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.05


class View(msgspec.Struct):
    """Looks at the parts of a run; every answer is taken when it is asked for."""

    config: Config
    parts: Assembly
    daemon: Daemon
    couriers: Couriers
    outbox: Outbox
    watchdog: Watchdog
    feed: LiveFeed
    admission: Admission
    upkeep: Upkeep
    disk: DiskWatch
    phase: Phase = Phase.RECOVERING

    def still(self) -> HealthView:
        """Return a still for health and metrics."""
        parts, daemon, feed = self.parts, self.daemon, self._feed()
        alerts = self.config.alerts or AlertsTable()
        settings = parts.loop.bus.controls.settings
        return HealthView(
            instance=self.config.operator.instance,
            epoch=parts.identity.epoch,
            version=installed_version(),
            phase=self.phase,
            now_ns=self._now_ns,
            status=parts.loop.status,
            sessions=parts.sessions,
            seq=parts.loop.seq,
            durable_seq=daemon.durable_seq,
            verified_seq=self.upkeep.verified_seq,
            uncommitted_s=self.disk.waits_s(),
            commit_max_s=self.disk.commit_max_s,
            waiting=daemon.inbox.waiting,
            beat_age_s=self.watchdog.beat_age_s,
            var_limit_usd=settings[VAR_LIMIT].value if VAR_LIMIT in settings else float("nan"),
            bar_max_age_min=at_least_two_bars(self.config, self.config.daemon.feed_silence_max_min),
            is_feed_connected=feed["is_connected"],
            feed_reconnects=feed["reconnects"],
            feed_losses=feed["losses"],
            operator_links=dict(self.admission.links),
            sinks=self.couriers.figures,
            required=self._required if alerts.required else frozenset(),
            sink_silence_max_s=alerts.silence_max_s,
            dropped=self.outbox.dropped,
            document=self.document(),
        )

    def document(self) -> bytes:
        """Return the status document."""
        parts = self.parts
        pending = {
            f"{name} {lane}": figures.pending for (name, lane), figures in self.couriers.figures.items()
        }
        extras = Extras(
            instance=self.config.operator.instance,
            epoch=parts.identity.epoch,
            version=installed_version(),
            phase=self.phase,
            clock_ns=parts.clock.now_ns(),
            written_ns=wall_ns(),
            speed=parts.clock.speed,
            durable_seq=self.daemon.durable_seq,
            verified_seq=self.upkeep.verified_seq,
            verdicts=self.daemon.durable_verdicts,
            outbox=pending,
            feed=self._feed(),
            commands_dropped=self.admission.dropped,
            operator_links=dict(self.admission.links),
        )
        return encode(document(parts.loop, self._now_ns, extras))

    @property
    def _now_ns(self) -> Nanos:
        """The time of the run: what the bars say where they keep it."""
        parts = self.parts
        if parts.tape is None and self.config.daemon.clock == "bars":
            return parts.loop.status.ts_ns
        return parts.clock.now_ns()

    def sinks_silent_s(self) -> float:
        """For how long a required sink has left an urgent effect undelivered, seconds."""
        waits = self.couriers.waiting_s("urgent")
        return max((waits[name] for name in self._required), default=0.0)

    async def require_sinks(self) -> None:
        """Return once every sink but the file has answered.

        Raises
        ------
        ServiceError
            S032 if there is none, or one does not answer in time.
        """
        silent = self._silent() if self._required else ["none is configured"]
        try:
            async with asyncio.timeout(_REQUIRED_WITHIN_S):
                while silent:
                    await asyncio.sleep(_LOOK_EVERY_S)
                    silent = self._silent() if self._required else silent
        except TimeoutError:
            raise ServiceError(
                "S032",
                f"alerts are required and cannot be delivered: {', '.join(silent)}",
                "alerts.required",
                "Start the server, correct its address, or set required = false to trade without alerts.",
            ) from None

    @property
    def _required(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.couriers.figures if name != FILE)

    def _silent(self) -> list[str]:
        return sorted(
            {
                f"{name} ({figures.error or 'no answer'})"
                for (name, _), figures in self.couriers.figures.items()
                if name in self._required and not figures.is_connected
            }
        )

    def _feed(self) -> dict[str, Any]:
        """Return what the feed tells; one without a connection has none that could break while it runs."""
        is_connected = bool(getattr(self.feed, "is_connected", True)) and self.phase is not Phase.STOPPED
        return {
            "kind": self.config.feed.kind,
            "is_connected": is_connected,
            "reconnects": int(getattr(self.feed, "reconnects", 0)),
            "losses": losses_of(self.feed),
        }
