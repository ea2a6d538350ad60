"""What an engine says about itself: known or null, and never newer than it is."""

from __future__ import annotations

import json

import pytest

from engine.app.live.status_document import Extras, document, encode
from engine.app.live.status_page import STALE_S, page
from engine.events import BarRejected, Reject
from tests.support.core import slice_of
from tests.support.engines import command, engine_of


def test_the_document_says_what_is_known_and_null_otherwise() -> None:
    """A program that reads NaN as a number, or an old figure as a new one, decides wrongly."""
    loop, _ = engine_of(["A/B"], {}, positions={"A": 1_000.0}, price_age_max_min=1)
    loop.step(slice_of([100.0, 50.0], minute=1, session=1))
    loop.step(BarRejected(0, "A", Reject.LATE, 3))
    now_ns = loop.status.ts_ns + 30 * 10**9
    extras = Extras(instance="i", epoch="e", version="v", clock_ns=now_ns, written_ns=now_ns)
    known = document(loop, now_ns, extras)
    assert (known["mode"], known["trading_state"], known["positions"]) == ("PAPER", "ACTIVE", {"A": 1_000.0})
    assert known["gross_frac"] == pytest.approx(100_000 / known["equity_usd"])
    assert known["var_used_frac"] == known["var_usd"] / 150_000
    assert (known["last_bar_age_s"], known["bars"]["rejected"]) == (30.0, {"LATE": 3})
    assert known["limits"]["var_limit_usd"]["high"] == 1_500_000.0
    for minute in (2, 3, 4):
        loop.step(slice_of([float("nan"), 50.0], minute=minute, session=1))
    unknown = json.loads(encode(document(loop, now_ns, extras)))
    assert (unknown["var_usd"], unknown["var_reason"]) == (None, "PRICE_STALE")
    assert unknown["trading_state"] == "HALTED"
    assert unknown["halt_id"].startswith("halt-")


def test_the_page_shows_what_matters_and_how_old_it_is() -> None:
    """A person at night reads state, halt, VaR, age; a page of yesterday must look like one."""
    loop, _ = engine_of(["A/B"], {}, positions={"A": 1_000.0})
    loop.step(slice_of([100.0, 50.0], minute=1, session=1))
    loop.step(command("halt", loop.status.ts_ns, key=b"guess"))  # refused, and shown as the last verdict
    extras = Extras(
        verdicts=loop.status.verdicts,
        instance="i",
        epoch="e",
        version="v",
        clock_ns=loop.status.ts_ns,
        written_ns=loop.status.ts_ns,
        feed={"is_connected": True},
        outbox={"redis urgent": 2},
    )
    now = document(loop, loop.status.ts_ns, extras)
    text = page(now, now["written_ns"] + 10**9)
    for said in (
        "PAPER",
        "ACTIVE",
        "connected",
        "of limit $150,000",
        "gross 0.1",
        "A 1,000",
        "redis urgent 2",
    ):
        assert said in text, said
    assert "written 1.0 s ago" in text
    assert "refused" in text
    assert "STALE" not in text
    assert "STALE" in page(now, now["written_ns"] + int((STALE_S + 1) * 1e9))
    stopped = page({**now, "phase": "stopped", "clock_ns": now["clock_ns"] * 2}, now["written_ns"] + 10**9)
    assert stopped.splitlines()[1] == "STOPPED    1.0 s ago, in good order; astra run goes on from there"
    assert "state      ACTIVE when it stopped" in stopped
    assert "connected" not in stopped
    assert "STALE" not in stopped
    hostile = page({**now, "halt_id": "h\x1b[2J", "halt_reason": "x\ny"}, now["written_ns"])
    assert "\x1b" not in hostile
    assert "xy" in hostile


def test_a_number_that_returns_by_itself_says_when() -> None:
    """A borrowed limit that looks like the standing one will be taken for it."""
    loop, _ = engine_of(["A/B"], {})
    loop.step(slice_of([100.0, 50.0], minute=1, session=1))
    ts_ns = loop.status.ts_ns
    args = {"var_limit_usd": 200_000.0, "revert_ns": float(ts_ns + 3_600 * 10**9)}
    loop.step(command("limits", ts_ns, args=args))
    extras = Extras(instance="i", epoch="e", version="v", clock_ns=ts_ns, written_ns=ts_ns)
    now = document(loop, ts_ns, extras)
    assert (now["var_limit_usd"], now["limits"]["var_limit_usd"]["standing"]) == (200_000.0, 150_000.0)
    assert "var_limit_usd 200,000 until 1970-01-02T15:31:00Z, then 150,000" in page(now, ts_ns)
