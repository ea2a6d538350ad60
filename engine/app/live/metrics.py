"""What Prometheus reads: figures of the engine under stable names.

Durations are measured where they happen (``on_step``, ``on_commit``, ...); everything else is read from a
``HealthView`` when somebody asks, so there is one truth and nothing to keep in step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.app.live.health_view import HealthView, unready
from engine.events import SECOND_NS, Nanos, Reject, TradingState

_S_PER_MIN: Final = 60.0
_STEP_S: Final = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
_COMMIT_S: Final = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
_SOLVE_S: Final = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
_LAG_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_RECORDS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)

_Reader = Callable[[HealthView], float]

#: Name, what it says, and where it stands.
_GAUGES: Final[tuple[tuple[str, str, _Reader], ...]] = (
    ("astra_ready", "1 when /readyz says so", lambda v: not unready(v)),
    ("astra_in_session", "1 while bars are to be expected", lambda v: v.is_in_session),
    (
        "astra_last_bar_age_seconds",
        "Time since the last bar, nights included",
        lambda v: _age_s(v, v.status.last_bar_ns),
    ),
    ("astra_silence_seconds", "Session time since the last bar", lambda v: _S_PER_MIN * v.silent_min),
    ("astra_bars_pending", "Bars that wait for confirmation", lambda v: v.status.pending),
    ("astra_inbox_waiting", "Arrivals not stepped yet", lambda v: v.waiting),
    ("astra_uncommitted_records", "Records stepped, not on disk yet", lambda v: v.seq - v.durable_seq),
    ("astra_uncommitted_age_seconds", "How long the oldest of them has waited", lambda v: v.uncommitted_s),
    (
        "astra_verified_seq",
        "Newest snapshot that a replay has confirmed, its record",
        lambda v: v.verified_seq,
    ),
    ("astra_heartbeat_age_seconds", "Time since the event loop went round", lambda v: v.beat_age_s),
    ("astra_feed_connected", "1 while the feed is connected", lambda v: v.is_feed_connected),
    ("astra_var_limit_usd", "VaR limit in force", lambda v: v.var_limit_usd),
    ("astra_var_peak_usd", "Largest VaR of this epoch", lambda v: v.status.var_peak_usd),
    ("astra_var_usd", "VaR of the held book; NaN when unknown", lambda v: _risk(v, "var_usd")),
    ("astra_var_upper_usd", "Upper bound of VaR, NaN when unknown", lambda v: _risk(v, "var_upper_usd")),
    ("astra_es_usd", "Expected shortfall, NaN when unknown", lambda v: _risk(v, "es_usd")),
    ("astra_equity_usd", "Equity of the book", lambda v: _book(v, "equity_usd")),
    ("astra_gross_usd", "Gross holdings", lambda v: _book(v, "gross_usd")),
    ("astra_net_usd", "Net holdings", lambda v: _book(v, "net_usd")),
)
_COUNTERS: Final[tuple[tuple[str, str, _Reader], ...]] = (
    ("astra_records_total", "Records stepped in this epoch", lambda v: v.seq),
    ("astra_slices_total", "Session minutes closed", lambda v: v.status.slices),
    ("astra_signals_total", "Spreads that changed side", lambda v: v.status.signals),
    ("astra_fills_total", "Net fills of a symbol", lambda v: v.status.fills),
    ("astra_rebalances_total", "Rebalances that trade", lambda v: v.status.rebalances),
    ("astra_halts_total", "Times trading was halted", lambda v: v.status.halts),
    ("astra_alerts_total", "Alerts raised", lambda v: v.status.alerts),
    ("astra_feed_reconnects_total", "Times the feed connected again", lambda v: v.feed_reconnects),
    ("astra_outbox_dropped_total", "Routine effects dropped undelivered", lambda v: v.dropped),
)


class Metrics:
    """The figures of one engine, in a registry of their own.

    ``on_…`` take a measurement each; ``refresh`` takes a still; ``text`` is what a scrape is answered with.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._view: HealthView | None = None
        self._step = Histogram(
            "astra_step_seconds", "One step of the core", buckets=_STEP_S, registry=registry
        )
        self._commit = Histogram(
            "astra_commit_seconds", "Write and fsync of one commit", buckets=_COMMIT_S, registry=registry
        )
        self._batch = Histogram(
            "astra_commit_batch_records", "Records of one commit", buckets=_RECORDS, registry=registry
        )
        self._solve = Histogram(
            "astra_solve_seconds", "One answer of the allocator", buckets=_SOLVE_S, registry=registry
        )
        self._lag = Histogram(
            "astra_arrival_lag_seconds",
            "End of a bar's minute to its arrival",
            buckets=_LAG_S,
            registry=registry,
        )
        self._solves = Counter("astra_solves", "Answers of the allocator", ["status"], registry=registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(_OfView(self))

    @property
    def view(self) -> HealthView | None:
        """The last still taken."""
        return self._view

    def on_step(self, seconds: float) -> None:
        """Take the duration of one step."""
        self._step.observe(seconds)

    def on_commit(self, seconds: float, records: int) -> None:
        """Take the duration of one commit and how many records it covered."""
        self._commit.observe(seconds)
        self._batch.observe(records)

    def on_solve(self, seconds: float, status: str) -> None:
        """Take the duration of one allocation and how it ended."""
        self._solve.observe(seconds)
        self._solves.labels(status).inc()

    def on_arrival(self, lag_s: float) -> None:
        """Take how long after the end of its minute a bar arrived."""
        self._lag.observe(lag_s)

    def refresh(self, view: HealthView) -> None:
        """Take a still: what the next ``text`` is read from."""
        self._view = view

    def text(self) -> bytes:
        """Return all figures in the text format of Prometheus."""
        return generate_latest(self._registry)


class _OfView(Collector):
    """Reads the last still when the registry is asked."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> list[Metric]:
        """Name nothing beforehand: there may be no still yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families of the still."""
        view = self._metrics.view
        if view is None:
            return
        info = GaugeMetricFamily("astra_info", "What runs here", labels=["version", "instance", "epoch"])
        info.add_metric([view.version, view.instance, view.epoch], 1.0)
        yield info
        for name, says, read in _GAUGES:
            yield GaugeMetricFamily(name, says, value=read(view))
        for name, says, read in _COUNTERS:
            yield CounterMetricFamily(name, says, value=read(view))
        yield _bars(view)
        yield _trading_state(view)
        yield from _links(view)
        yield from _sinks(view)


def _bars(view: HealthView) -> Metric:
    bars = CounterMetricFamily("astra_bars", "Bars by what became of them", labels=["verdict"])
    bars.add_metric(["accepted"], view.status.accepted)
    for reason in Reject:  # all of them, always: a rate needs its zero
        bars.add_metric([reason.value.lower()], view.status.rejected[reason.value])
    return bars


def _trading_state(view: HealthView) -> Metric:
    states = GaugeMetricFamily("astra_trading_state", "1 for the state trading is in", labels=["state"])
    for state in TradingState:
        states.add_metric([state.value], float(state is view.status.trading_state))
    return states


def _links(view: HealthView) -> Iterator[Metric]:
    losses = CounterMetricFamily("astra_feed_losses", "Times the feed lost input", labels=["kind"])
    for kind, count in view.feed_losses.items():
        losses.add_metric([kind], count)
    heard = GaugeMetricFamily(
        "astra_operator_link_connected", "1 while commands sent by a server are heard", labels=["server"]
    )
    for server, is_connected in view.operator_links.items():
        heard.add_metric([server], float(is_connected))
    yield from (losses, heard)


def _sinks(view: HealthView) -> Iterator[Metric]:
    labels = ["sink", "lane"]
    pending = GaugeMetricFamily("astra_outbox_pending", "Effects a sink does not have yet", labels=labels)
    waiting = GaugeMetricFamily(
        "astra_sink_waiting_seconds", "How long its oldest undelivered batch has been tried", labels=labels
    )
    connected = GaugeMetricFamily("astra_sink_connected", "1 if the last attempt succeeded", labels=labels)
    delivered = CounterMetricFamily("astra_sink_delivered", "Effects handed over", labels=labels)
    failures = CounterMetricFamily("astra_sink_failures", "Attempts that failed", labels=labels)
    for key, figures in view.sinks.items():
        pending.add_metric(key, figures.pending)
        waiting.add_metric(key, figures.waiting_s)
        connected.add_metric(key, figures.is_connected)
        delivered.add_metric(key, figures.delivered)
        failures.add_metric(key, figures.failures)
    yield from (pending, waiting, connected, delivered, failures)


def _age_s(view: HealthView, ts_ns: Nanos) -> float:
    return (view.now_ns - ts_ns) / SECOND_NS if ts_ns else math.nan


def _risk(view: HealthView, name: str) -> float:
    return float(getattr(view.status.risk, name, math.nan))


def _book(view: HealthView, name: str) -> float:
    return float(getattr(view.status.book, name, math.nan))
