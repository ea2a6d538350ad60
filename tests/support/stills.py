"""A still of an engine on 2 March 2026, session 14:30 to 21:00 UTC, for tests of health and metrics."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from engine.app.live.health_view import HealthView, Phase
from engine.events import MINUTE_NS, BookMarked, RiskMeasured
from engine.sessions import Sessions
from engine.sinks.courier import Figures
from engine.status import Status

OPEN_NS = 1_772_461_800_000_000_000
CLOSE_NS = OPEN_NS + 390 * MINUTE_NS
SESSIONS = Sessions(np.array([20_514]), np.array([OPEN_NS]), np.array([CLOSE_NS]))


def figures(**changes: Any) -> Figures:
    """Return a courier that is well, but for ``changes``."""
    return msgspec.structs.replace(Figures(0, 12, 3, 0.0, is_connected=True, error=""), **changes)


def still(**changes: Any) -> HealthView:
    """Return a running engine at 15:00 that took a bar a minute ago, but for ``changes``."""
    now_ns = OPEN_NS + 30 * MINUTE_NS
    status = Status()
    status.last_bar_ns = now_ns - MINUTE_NS
    status.accepted = 58
    status.rejected["LATE"] = 2
    status.halts = 1
    status.book = BookMarked(now_ns, 1_000_100.0, 900_000.0, 250_000.0, -10.0, -1.5, 20.0)
    status.risk = RiskMeasured(now_ns, 12_345.0, 12_000.0, 12_345.0, 12_805.0, 14_000.0)
    view = HealthView(
        instance="astra",
        epoch="20260302T143000Z",
        version="0.1.0",
        phase=Phase.RUNNING,
        now_ns=now_ns,
        status=status,
        sessions=SESSIONS,
        seq=100,
        durable_seq=97,
        waiting=4,
        beat_age_s=0.2,
        var_limit_usd=150_000.0,
        bar_max_age_min=5,
        is_feed_connected=True,
        feed_reconnects=2,
        feed_losses={"gaps": 3},
        operator_links={"mqtt": False},
        sinks={("redis", "urgent"): figures(), ("redis", "routine"): figures(pending=7)},
        required=frozenset({"redis"}),
        document=b'{"state":"ACTIVE"}',
    )
    return msgspec.structs.replace(view, **changes)
