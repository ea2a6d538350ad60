"""Metrics: the names that dashboards and alert rules are built on, and the figures under them."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.app.live.health_view import HealthView
from engine.app.live.metrics import Metrics
from engine.events import MINUTE_NS, RiskMeasured, TradingState
from engine.status import Status
from tests.support.stills import OPEN_NS, figures, still


def _samples(metrics: Metrics) -> dict[str, float]:
    """Map ``name{label=value,...}`` to its value, as a Prometheus server reads it."""
    samples = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            samples[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return samples


def _of(view: HealthView) -> dict[str, float]:
    metrics = Metrics()
    metrics.refresh(view)
    return _samples(metrics)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("astra_ready", 1.0),
        ("astra_in_session", 1.0),
        ("astra_bars_total{verdict=accepted}", 58.0),
        ("astra_bars_total{verdict=late}", 2.0),
        ("astra_bars_total{verdict=collar}", 0.0),
        ("astra_last_bar_age_seconds", 60.0),
        ("astra_silence_seconds", 60.0),
        ("astra_var_usd", 12_345.0),
        ("astra_var_upper_usd", 12_805.0),
        ("astra_var_limit_usd", 150_000.0),
        ("astra_equity_usd", 1_000_100.0),
        ("astra_gross_usd", 250_000.0),
        ("astra_trading_state{state=ACTIVE}", 1.0),
        ("astra_trading_state{state=HALTED}", 0.0),
        ("astra_halts_total", 1.0),
        ("astra_records_total", 100.0),
        ("astra_uncommitted_records", 3.0),
        ("astra_inbox_waiting", 4.0),
        ("astra_outbox_pending{lane=routine,sink=redis}", 7.0),
        ("astra_sink_delivered_total{lane=urgent,sink=redis}", 12.0),
        ("astra_sink_failures_total{lane=urgent,sink=redis}", 3.0),
        ("astra_outbox_dropped_total", 0.0),
        ("astra_feed_connected", 1.0),
        ("astra_feed_reconnects_total", 2.0),
        ("astra_feed_losses_total{kind=gaps}", 3.0),
        ("astra_operator_link_connected{server=mqtt}", 0.0),
        ("astra_info{epoch=20260302T143000Z,instance=astra,version=0.1.0}", 1.0),
    ],
)
def test_figures_stand_under_their_names(name: str, value: float) -> None:
    """A renamed metric silences an alert rule without a word."""
    assert _of(still())[name] == value


def test_durations_are_counted_where_they_happen() -> None:
    """A histogram in base units is what quantiles over time are computed from."""
    metrics = Metrics()
    metrics.on_step(0.002)
    metrics.on_commit(0.02, 40)
    metrics.on_solve(0.2, "optimal")
    metrics.on_solve(0.4, "infeasible")
    metrics.on_arrival(1.5)
    samples = _samples(metrics)
    assert samples["astra_step_seconds_sum"] == 0.002
    assert samples["astra_step_seconds_bucket{le=0.001}"] == 0.0
    assert samples["astra_step_seconds_bucket{le=0.003}"] == 1.0
    assert samples["astra_commit_seconds_count"] == 1.0
    assert samples["astra_commit_batch_records_sum"] == 40.0
    assert samples["astra_solve_seconds_sum"] == pytest.approx(0.6)
    assert samples["astra_solves_total{status=infeasible}"] == 1.0
    assert samples["astra_arrival_lag_seconds_bucket{le=2.0}"] == 1.0


def test_unknown_is_not_zero() -> None:
    """A VaR of zero draws a calm line; an unknown one must leave a hole, and not pass for a small one."""
    nan = math.nan
    status = Status()
    status.risk = RiskMeasured(1, nan, nan, nan, nan, nan, "PRICE_UNKNOWN")
    samples = _of(still(status=status))
    names = ("astra_var_usd", "astra_var_upper_usd", "astra_equity_usd", "astra_last_bar_age_seconds")
    assert all(math.isnan(samples[name]) for name in names)


def test_nights_are_no_silence() -> None:
    """An alert on silence that fires every evening is switched off within a week."""
    view = still(now_ns=OPEN_NS - 60 * MINUTE_NS)
    view.status.last_bar_ns = OPEN_NS - 24 * 60 * MINUTE_NS
    samples = _of(view)
    assert samples["astra_last_bar_age_seconds"] == 23 * 3_600.0
    assert (samples["astra_silence_seconds"], samples["astra_in_session"]) == (0.0, 0.0)


def test_exactly_one_trading_state_is_on() -> None:
    """Two states at once, or none, would be drawn as neither."""
    status = Status()
    status.trading_state = TradingState.REDUCING
    samples = _of(still(status=status))
    on = [name for name, value in samples.items() if name.startswith("astra_trading_state") and value]
    assert on == ["astra_trading_state{state=REDUCING}"]


def test_two_engines_of_one_process_do_not_mix() -> None:
    """The library's global registry would add their figures up, or refuse the second one."""
    first, second = Metrics(), Metrics()
    first.on_step(1.0)
    assert _samples(second)["astra_step_seconds_count"] == 0.0


def test_names_keep_to_the_conventions() -> None:
    """Base units, unit last, counters end in _total: dashboards guess by it."""
    metrics = Metrics()
    metrics.refresh(still(sinks={("redis", "urgent"): figures()}))
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.startswith("astra_") and not family.name.endswith("_created"):
            assert family.documentation
            assert not family.name.endswith(("_ms", "_ns", "_minutes", "_percent"))
            is_total = all(s.name.endswith("_total") for s in family.samples)
            assert not family.samples or (family.type == "counter") == is_total
