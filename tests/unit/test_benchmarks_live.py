"""The measurements of a running engine: their arithmetic by hand, and a slice of each that takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import live, soak
from benchmarks.live_driver import Heard, Message, Pace, Phase, Tape, send_bars
from benchmarks.live_figures import (
    STAGES,
    BehindError,
    Case,
    Figures,
    Run,
    Spread,
    bars_table,
    figures_of,
    goals_table,
    halts_table,
    parts_table,
    spread,
    stages_table,
)
from benchmarks.soak_figures import Account, Slope, judge, report, slope_of
from engine.clock import instant

MS = 1_000_000


class Outbasket:
    """A way that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, float]] = []

    def send(self, fields: dict[str, float]) -> None:
        self.sent.append(fields)


def heard(way: str, topic: str, minute: int, at_ms: int, state: str = "", kind: str = "") -> Heard:
    message = Message(f"{2 * minute + 2}-0", instant(Tape.end_ns(minute)), "T", state=state, kind=kind)
    return Heard(way, topic, message, at_ms * MS)


def small_run() -> Run:
    """Two minutes of two symbols, sent a millisecond apart from 100 ms on; the second one breaches."""
    tape = Tape(2, 4)
    for minute in range(2):
        tape.begin_minute()
        tape.minute += 1
        tape.sent_ns[minute] = np.array([100, 101]) * MS + 10 * minute * MS
    tape.due_ns[:] = tape.sent_ns - MS
    rows = [
        (Tape.end_ns(minute), place, sent + 2 * MS, sent + 3 * MS, sent + 4 * MS, seq, seq == 4)
        for seq, (minute, place) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)], start=1)
        for sent in [int(tape.sent_ns[minute, place])]
    ]
    commits = np.array([(2, 105 * MS, 108 * MS), (4, 115 * MS, 120 * MS)])
    said = [
        heard("xread", "signals", 0, 109),
        heard("xread", "state", 1, 131, state="HALTED"),
        heard("mqtt", "state", 1, 141, state="HALTED"),
        heard("file", "alerts", 1, 121, kind="halted"),
        heard("file", "alerts", 1, 999, kind="var_near_limit"),
        heard("xread", "state", 1, 999, state="REDUCING"),
    ]
    handed, deliveries = (
        np.array([(2, 108.25 * MS), (4, 121 * MS)], dtype=np.int64),
        np.array([(1, 0, 0, 0), (2, 1, 0, 0), (2, 0, 108.5 * MS, 110 * MS)], dtype=np.int64),
    )
    machine = np.array([(90 * MS, 7 * MS, 0, 0, 0), (110 * MS, 9 * MS, 15, 10, 20)])
    phase = Phase("halts", 0, 2, 80 * MS, 180 * MS)
    return Run(Case(2, "mqtt"), tape, said, [phase], np.array(rows), commits, handed, deliveries, machine)


def test_percentiles_are_values_that_were_measured() -> None:
    """An interpolated p99 of few samples is a number nobody ever saw, and it flatters the tail."""
    assert spread(np.array([], dtype=np.int64)) is None
    assert spread(np.array([5]) * MS) == Spread(1, 5.0, 5.0, 5.0)
    shuffled = np.random.default_rng(1).permutation(np.arange(1, 1_001)) * MS
    assert spread(shuffled) == Spread(1_000, 500.0, 990.0, 1_000.0)
    assert spread(np.arange(1, 51) * MS) == Spread(
        50, 25.0, 50.0, 50.0
    )  # 50 samples know no p99 but the most


def test_both_sides_are_joined_by_hand() -> None:
    """Every figure is a difference of two processes' notes: joined by a wrong bar it would look as well."""
    (found,) = figures_of(small_run())
    at = found.spreads
    assert (found.bars, found.bars_per_s, found.own_frac, found.others_frac) == (4, 40.0, 0.5, 0.25)
    assert at["transport"] == Spread(4, 2.0, 2.0, 2.0)
    assert at["late"].max == at["wait"].max == at["step"].max == 1.0
    assert at["durable"] == Spread(4, 8.0, 10.0, 10.0)  # 108 - 100, 108 - 101, 120 - 110, 120 - 111
    assert at["commit"].max == 6.0
    assert at["gate"] == Spread(1, 2.0, 2.0, 2.0)  # of the breaching bar alone
    assert at["xread"] == Spread(1, 8.0, 8.0, 8.0)  # from the bar that completed the minute, at 101
    assert [at[name].max for name in ("halt xread", "halt mqtt", "halt file")] == [20.0, 30.0, 10.0]
    assert at["all"] == Spread(1, 30.0, 30.0, 30.0)
    assert at["fsync"] == Spread(2, 7.0, 9.0, 9.0)
    assert "missed" not in at
    # Accepted at 103, stepped from 104 to 105, committed from 105 to 108, and heard at 109.
    assert [at[name].max for name in STAGES] == [1.0, 1.0, 0.0, 3.0, 0.25, 0.25, 0.5]
    assert (at["accepted"].max, at["accepted less fsync"].max) == (6.0, 3.0)


def test_a_halt_that_a_sink_never_showed_is_counted() -> None:
    """Left out of the latencies, a lost alert would make them look better."""
    run = small_run()
    more = [heard("xread", "state", 0, 111, state="HALTED")]  # and nowhere else
    (found,) = figures_of(run._replace(heard=run.heard + more))
    assert found.spreads["missed"].n == 1
    assert "| 1, 1 not heard everywhere |" in halts_table([found])
    assert found.spreads["all"].n == 1


def test_a_lost_bar_ends_the_measurement() -> None:
    """Latencies of the bars that arrived say nothing when others did not."""
    run = small_run()
    with pytest.raises(BehindError, match="4 bars were sent, 3 were stepped"):
        figures_of(run._replace(bars=run.bars[1:]))


def test_tables_show_goals_reached_and_missed() -> None:
    """A missed goal that reads like a reached one is worse than no goal."""
    (slow,) = figures_of(small_run())
    calm = slow._replace(phase="load", spreads={"xread": Spread(9, 1.0, 12.34, 120.4)})
    calm = calm._replace(spreads=calm.spreads | {"accepted": Spread(9, 1.0, 12.34, 120.4)})
    memory = calm._replace(
        case=Case(2, "mqtt", is_in_memory=True), spreads={"accepted": Spread(9, 1.0, 2.0, 3.0)}
    )
    goals = goals_table([slow, calm, memory], Spread(10, 1.0, 5.0, 6.0)).splitlines()
    assert goals[2] == "| breach bar taken in → gate closed | < 20 | 2.0 | 2.0 (2-mqtt, halts) | yes |"
    assert goals[4:] == [
        "| bar accepted → signal in Redis | < 10 | 12.3 | 12.3 (2-mqtt, load) | **no**: in 0 of 1 |",
        "| the same, journal and Redis in memory | < 10 | 2.0 | 2.0 (2-mqtt-memory, load) | yes |",
        "| 1,000 bars at once → on disk | < 10 | 5.0 | 5.0 (the journal alone) | yes |",
        "| half a kilobyte → on this disk, meanwhile | – | 9.0 | 9.0 | – |",
    ]
    assert "| 1,000 | 1.0 / 12.3 / 120 |" in stages_table([calm._replace(bars_per_s=1_000.0)])
    assert "| 9 | – | 1.0 / 12.3 / 120 |" in bars_table([slow, calm])
    assert (
        bars_table([slow]).count("\n")
        == parts_table([slow]).count("\n")
        == stages_table([slow]).count("\n")
        == 1
    )  # no phase of calm bars
    assert "| – | 1 | 2.0 / 2.0 / 2.0 | 20.0 / 20.0 / 20.0 |" in halts_table([slow, calm])


async def test_bars_go_out_when_they_are_due() -> None:
    """An open loop: what is late is sent at once, so that a stall does not thin out the load behind it."""
    tape, way = Tape(4, 50), Outbasket()
    tape.is_shock_asked = True
    await send_bars(tape, way, Pace(20_000.0), lambda: tape.minute == 10)
    assert [len(way.sent), tape.minute, int((tape.sent_ns > 0).sum())] == [40, 10, 40]
    assert np.all(tape.sent_ns[:10] >= tape.due_ns[:10])
    assert np.ptp(tape.due_ns[:10]) == pytest.approx(39 * 50_000, abs=40)
    assert tape.shocks == {0}
    assert way.sent[0]["close"] == pytest.approx(1.05 * Tape(4, 50).begin_minute()[3, 0])
    await send_bars(tape, way, Pace(20_000.0, is_at_once=True), lambda: tape.minute == 12)
    assert np.ptp(tape.due_ns[10:12], axis=1).tolist() == [0, 0]


def test_growth_is_told_from_noise() -> None:
    """A soak that calls noise a leak, or a leak noise, is not worth its twenty minutes."""
    hours = np.arange(160) / 720.0
    noise = np.random.default_rng(3).normal(0.0, 0.5, 160)
    assert slope_of(hours, 300.0 + noise).verdict(8.0) == "flat"
    leak = slope_of(hours, 300.0 + 40.0 * hours + noise)
    assert leak.verdict(8.0) == "grows"
    assert leak.low < 40.0 < leak.high
    assert slope_of(hours[:8], 300.0 + 400.0 * hours[:8]).verdict(8.0) == "unsettled"
    assert Slope(1.0, 1.0, 5.0, -9.0, 19.0, 1.0).verdict(8.0) == "unsettled"
    assert not Account("a = b", 1, 2).is_balanced


def test_group_commit_runs(tmp_path: Path) -> None:
    """The journal's own figure comes from the journal that ships."""
    found = live.group_commit(tmp_path, 3)
    assert {name: one.n for name, one in found.items()} == {
        "append": 3,
        "commit": 3,
        "fsync of as many bytes": 3,
    }


@pytest.mark.slow
def test_a_daemon_is_measured_from_end_to_end(tmp_path: Path) -> None:
    """Hooks, servers and joins hold together: every way shows signals and halts of a real daemon."""
    plan = live.Plan(warm_s=1.0, normal_s=0.2, load_s=0.5, halts=2, halts_max_s=20.0, bursts=1)
    figures: list[Figures] = figures_of(live.measure(Case(4, "redis"), plan, tmp_path))
    assert figures[2].spreads["accepted"].p50 < figures[2].spreads["xread"].p50
    assert [one.phase for one in figures] == ["warm-up", "normal", "load", "at once", "halts"]
    halts = figures[-1].spreads
    assert halts["gate"].n == halts["all"].n == 2
    assert {"halt xread", "halt publish", "halt mqtt", "halt file"} <= halts.keys()
    assert 0.0 < halts["gate"].p50 < halts["halt xread"].p50
    assert "breach bar taken in" in live.report(figures, live.group_commit(tmp_path, 1))


@pytest.mark.slow
def test_a_soak_balances_its_accounts(tmp_path: Path) -> None:
    """Halts, resumes and killed servers lose nothing, and the daemon is gone afterwards."""
    plan = soak.Plan(minutes=0.15, speed=200.0, rounds=1, look_every_s=0.5, away_s=0.3)
    looks, events, accounts = soak.run(plan, tmp_path)
    assert [account for account in accounts if not account.is_balanced] == []
    assert accounts[0].one > 500
    assert [event.split()[2] for event in events] == ["halt", "Redis", "broker"]
    assert "halt accepted, resume accepted, limits accepted" in events[0]
    assert "| rss_mb | MB |" in report(judge(looks), accounts, looks)
