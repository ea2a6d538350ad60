"""Effects to deliver: alerts and measures of risk, one a record, named by their sequence number."""

from __future__ import annotations

from collections.abc import Iterable

from engine.events import MINUTE_NS, Alert, RiskMeasured
from engine.ports import Effect
from engine.sinks.messages import Wire

NOON_NS = 1_767_614_400_000_000_000  # 2026-01-05T12:00:00Z
EPOCH = "20260105T120000Z"


def wire(instance: str = "desk") -> Wire:
    """Give the wire form of an engine with two symbols."""
    return Wire(instance, EPOCH, ("JPM", "C"))


def alert(seq: int, index: int = 0, severity: str = "warning") -> Effect:
    """Give an alert that says its own number."""
    return Effect(seq, index, Alert(NOON_NS + seq * MINUTE_NS, severity, "tested", f"alert {seq}"))


def risk(seq: int, index: int = 0) -> Effect:
    """Give a measure of risk whose VaR is its number."""
    return Effect(seq, index, RiskMeasured(NOON_NS + seq * MINUTE_NS, float(seq), 2.0, 3.0, 4.0, 5.0))


def alerts(seqs: Iterable[int]) -> list[Effect]:
    """Give one alert for each number."""
    return [alert(seq) for seq in seqs]
