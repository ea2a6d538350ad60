"""What health and metrics are judged from: a still of the running engine, taken when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from engine.events import Nanos
from engine.sessions import Sessions
from engine.sinks.courier import Figures
from engine.status import Status


class Phase(StrEnum):
    """Where in its life the process is."""

    RECOVERING = "recovering"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """A still of the engine; made by the daemon on its own event loop, so nothing moves meanwhile.

    Parameters
    ----------
    instance, epoch, version : str
        Name of the engine, of its journal, and of the software.
    phase : Phase
    now_ns : int
        The time of the run.
    status : Status
        The read model.
    sessions : Sessions
        Of the calendar.
    seq, durable_seq : int
        Last record stepped, and last one on disk.
    verified_seq : int
        Record of the newest snapshot that a replay has confirmed.
    uncommitted_s, commit_max_s : float
        How long the oldest record has waited for the disk, and may wait.
    waiting : int
        Arrivals not stepped yet.
    beat_age_s : float
        How long ago the event loop last went round.
    var_limit_usd : float
        The limit in force.
    bar_max_age_min : int
        Session minutes without a bar after which the engine is not ready.
    is_feed_connected : bool
    feed_reconnects : int
    feed_losses : mapping of str to int
        ``losses_of`` the feed.
    operator_links : mapping of str to bool
        Whether commands sent by each server reach the engine.
    sinks : mapping of (str, str) to Figures
        ``Couriers.figures``: by name and lane.
    required : frozenset of str
        Sinks without which the engine is not ready.
    sink_silence_max_s : float
        How long one of them may leave something undelivered.
    dropped : int
        Routine effects that no sink took in time.
    document : bytes
        The status document, JSON.
    """

    instance: str
    epoch: str
    version: str
    phase: Phase
    now_ns: Nanos
    status: Status
    sessions: Sessions
    seq: int
    durable_seq: int
    waiting: int
    beat_age_s: float
    var_limit_usd: float
    bar_max_age_min: int
    is_feed_connected: bool
    verified_seq: int = 0
    uncommitted_s: float = 0.0
    commit_max_s: float = 10.0
    feed_reconnects: int = 0
    feed_losses: Mapping[str, int] = {}
    operator_links: Mapping[str, bool] = {}
    sinks: Mapping[tuple[str, str], Figures] = {}
    required: frozenset[str] = frozenset()
    sink_silence_max_s: float = 60.0
    dropped: int = 0
    document: bytes = b"{}"

    @property
    def is_in_session(self) -> bool:
        """Whether bars are to be expected now."""
        return self.sessions.locate(self.now_ns) is not None

    @property
    def silent_min(self) -> int:
        """Session minutes that have ended since the last bar; nights and weekends do not count."""
        return self.sessions.elapsed_min(self.status.last_bar_ns, self.now_ns)


def unready(view: HealthView) -> list[str]:
    """List why the engine does not do its work; empty when it does.

    A halt is no such reason: a halted engine works as it should, and a manager that restarted it, or a
    balancer that turned away from it, would only hide it. It is reported beside the answer.
    """
    reasons = []
    if view.phase is not Phase.RUNNING:
        reasons.append(f"{view.phase.value}: not stepping records")
    if not view.is_feed_connected:
        reasons.append("feed: not connected")
    if view.uncommitted_s >= view.commit_max_s:
        reasons.append(f"disk: a record waits for {view.uncommitted_s:.0f} s")
    if view.is_in_session and view.silent_min > view.bar_max_age_min:
        last = "none yet" if not view.status.last_bar_ns else f"{view.silent_min} session minutes ago"
        reasons.append(f"bars: last one {last}, at most {view.bar_max_age_min} allowed")
    for (name, lane), figures in view.sinks.items():
        if name in view.required and figures.waiting_s > view.sink_silence_max_s:
            cause = f" ({figures.error})" if figures.error else ""
            reasons.append(f"sink {name}: {lane} effects undelivered for {figures.waiting_s:.0f} s{cause}")
    return reasons
