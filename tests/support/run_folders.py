"""Small run folders, written by hand, and the page that a report makes of them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.app.report.page import write_report
from engine.sinks.run_folder import SCHEMAS

MINUTE = 60_000_000_000
#: 2018-02-20 14:30 UTC, the opening of XNYS in winter.
OPEN_NS = 1_519_137_000_000_000_000
DAY = 1_440 * MINUTE
EVIL = "<script>alert(1)</script>"
CONFIG = """\
[feed]
path = "bars.parquet"

[universe]
calendar = "XNYS"

[risk]
var_limit_usd = 150000.0
confidence = 0.99
horizon_days = 10
scenarios = 5000
seed = 7
budget_frac = 0.9
"""


def stamps(sessions: int, minutes: int) -> list[int]:
    return [OPEN_NS + d * DAY + (m + 1) * MINUTE for d in range(sessions) for m in range(minutes)]


def put(folder: Path, name: str, rows: list[tuple[Any, ...]]) -> None:
    schema = SCHEMAS[name]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    arrays = [pa.array(list(c), type=f.type) for c, f in zip(columns, schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), folder / f"{name}.parquet")


def empty_run(folder: Path, **summary: Any) -> Path:
    """Write the folder of a run in which nothing happened and no book was kept."""
    folder.mkdir(parents=True)
    for name in ("signals", "targets", "fills", "book", "risk"):
        put(folder, name, [])
    (folder / "alerts.jsonl").write_text("")
    (folder / "config.toml").write_text(CONFIG)
    run = {
        "version": "0.1.0",
        "argv": ["astra", "replay"],
        "config_hash": "c0ffee",
        "data": {"path": "bars.parquet", "fingerprint": "f1de"},
        "seed": 7,
        "packages": {"numpy": "2.3.0"},
        "exit_reason": "end of data",
    }
    known = {
        "bars": 1_000,
        "accepted": 990,
        "rejected": {"DUPLICATE": 7, "LATE": 2},
        "pending": 1,
        "symbols": 2,
        "sessions": 3,
        "signals": 0,
        "fills": 0,
        "rebalances": 0,
        "pnl_usd": 0.0,
        "total_return_frac": 0.0,
        "costs_usd": 0.0,
        "funding_usd": 0.0,
        "max_drawdown_frac": 0.0,
        "var_last_usd": 0.0,
        "var_peak_usd": 0.0,
        "halts": 0,
        "notes": [],
        "digest": "d1ge57",
        "seconds": 1.25,
        "bars_per_s": 800.0,
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "summary.json").write_text(json.dumps({**known, **summary}))
    return folder


def traded_run(folder: Path, sessions: int = 3, minutes: int = 30, symbol: str = "JPM") -> Path:
    """Write the folder of a run that traded one spread, was halted once, and refused a target."""
    ts = stamps(sessions, minutes)
    n = len(ts)
    rng = np.random.default_rng(1)
    equity = 1e6 + np.concatenate(([0.0], np.cumsum(rng.normal(0.0, 150.0, n - 1))))
    gross = np.where(np.arange(n) % minutes < 5, 0.0, 1.2e6)
    upper = np.abs(9e4 + np.cumsum(rng.normal(0.0, 1_500.0, n)))
    state = np.where(np.arange(n) >= n - 10, "HALTED", np.where(np.arange(n) >= n - 15, "REDUCING", "ACTIVE"))
    note = {"strategy": "kalman", "spread": f"{symbol}/C", "note": "weakly_identified", "delta": 1e-9}
    notes = [note, {**note, "note": "calibrated"}]
    facts = {"signals": 4, "fills": 4, "rebalances": 2, "halts": 1, "pnl_usd": float(equity[-1] - 1e6)}
    facts |= {"total_return_frac": float(equity[-1] / 1e6 - 1), "costs_usd": 120.0, "funding_usd": -41.45}
    facts |= {"var_last_usd": float(upper[-1]), "var_peak_usd": float(upper.max()), "sessions": sessions}
    empty_run(folder, notes=notes, max_drawdown_frac=0.0012, **facts)
    put(folder, "book", [(t, e, 1e6, g, 0.0, -1.0, 2.0) for t, e, g in zip(ts, equity, gross, strict=True)])
    risk = zip(ts, upper, state, strict=True)
    put(folder, "risk", [(t, u / 1.04, u / 1.05, u, u * 1.1, str(s), 150_000.0) for t, u, s in risk])
    sides = ["LONG", "FLAT", "SHORT", "FLAT"]
    at = [ts[4], ts[9], ts[minutes - 5], ts[minutes + 5]]
    put(
        folder,
        "signals",
        [(t, "kalman", f"{symbol}/C", s, 2.1, 1.3, 0.001) for t, s in zip(at, sides, strict=True)],
    )
    fills = [
        (t - MINUTE, name, q, p, 30.0)
        for t in at[:2]
        for name, q, p in ((symbol, 1e3, 110.0), ("C", -1.5e3, 75.0))
    ]
    put(folder, "fills", fills)
    refused = [(ts[12], None, None, "refused", "halted"), (ts[13], None, None, "refused", "halted")]
    put(
        folder,
        "targets",
        [(ts[4], symbol, 0.1, "approved", ""), (ts[4], "C", -0.1, "approved", ""), *refused],
    )
    alert = {
        "id": "12-0",
        "severity": "critical",
        "kind": "halted",
        "text": EVIL,
        "ts": "2018-02-20T14:42:00Z",
    }
    (folder / "alerts.jsonl").write_text(json.dumps(alert) + "\n")
    return folder


class Page(HTMLParser):
    """What a browser would make of a page: elements, their attributes, and the text of headings and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))

    def has(self, *cells: str) -> bool:
        """Say whether these texts follow one another, blank ones left out."""
        words = [word for word in self.words if word]
        return any(words[i : i + len(cells)] == list(cells) for i in range(len(words)))


def page_of(folder: Path) -> tuple[str, Page]:
    text = write_report(folder).read_text(encoding="utf-8")
    return text, Page(text)
