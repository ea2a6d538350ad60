"""What is seen of a daemon that runs for long, and whether it grows."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

import msgspec
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from statsmodels.regression.linear_model import OLS

from benchmarks.live_child import TASKS
from benchmarks.live_figures import markdown
from benchmarks.live_rig import Servers
from engine.app.live.state_folder import StateFolder
from engine.events import FloatArray

_TICKS_PER_S: Final = 100.0
_PAGE_BYTES: Final = 4096
#: Looks whose errors are taken to hang together: half a minute of them.
_LAGS: Final = 6
#: A line through less than this says nothing: caches still fill.
_HOURS_MIN: Final = 0.1


class Judged(NamedTuple):
    """A figure that must not grow, and by how much an hour it may seem to."""

    name: str
    unit: str
    slope_max: float


#: At a hundred times the pace an hour is four days: 8 MB an hour are 2 MB a day.
JUDGED: Final = (
    Judged("rss_mb", "MB", 8.0),
    Judged("descriptors", "", 2.0),
    Judged("threads", "", 2.0),
    Judged("tasks", "", 2.0),
    Judged("lag_s", "s", 1.0),
    Judged("inbox", "records", 20.0),
    Judged("outbox", "effects", 50.0),
    Judged("cpu_frac", "cores", 0.1),
)
#: Shown, and not judged: what is kept for good grows.
SHOWN: Final = ("journal_mb", "snapshots", "load")


class Slope(NamedTuple):
    """A line through the looks at a figure: its level, its slope an hour, and the 95% interval of that."""

    mean: float
    most: float
    slope: float
    low: float
    high: float
    hours: float

    def verdict(self, slope_max: float) -> str:
        """Return ``flat``, ``grows``, or ``unsettled`` when there were too few looks to tell."""
        if self.high <= slope_max:
            return "flat"
        return "grows" if self.low > slope_max and self.hours >= _HOURS_MIN else "unsettled"


def slope_of(hours: FloatArray, values: FloatArray) -> Slope:
    """Fit a line; neighbouring looks err alike, so the interval is that of Newey and West.

    Examples
    --------
    >>> hours = np.arange(40) / 40
    >>> fit = slope_of(hours, 5.0 + 3.0 * hours + np.tile([1e-3, -1e-3], 20))
    >>> round(fit.slope, 1), fit.low > 2.9, fit.verdict(1.0), fit.verdict(4.0)
    (3.0, True, 'grows', 'flat')
    """
    design = np.column_stack((np.ones_like(hours), hours - hours.mean()))
    lags = {"maxlags": min(_LAGS, len(hours) // 4)}
    fit = OLS(values, design).fit(cov_type="HAC", cov_kwds=lags, use_t=True)
    low, high = fit.conf_int()[1].tolist()
    return Slope(
        float(values.mean()), float(values.max()), float(fit.params[1]), low, high, float(np.ptp(hours))
    )


class Watched(NamedTuple):
    """A daemon that is being looked at."""

    process: subprocess.Popen[bytes]
    state: StateFolder
    servers: Servers
    port: int


class Looks:
    """What was seen of a daemon, a row a look.

    Parameters
    ----------
    watched : Watched
    """

    def __init__(self, watched: Watched) -> None:
        self.rows: list[dict[str, float]] = []
        self.dropped = 0.0
        self._watched = watched
        self._began_s = time.monotonic()
        self._cpu = (self._began_s, _cpu_s(watched.process.pid))

    def look(self) -> dict[str, float]:
        """Look once; raises OSError if the daemon does not answer."""
        pid, state = self._watched.process.pid, self._watched.state
        figures = _scrape(self._watched.port)
        status = msgspec.json.decode(answer(self._watched.port, "/status"), type=dict[str, Any])
        now_s, cpu_s = time.monotonic(), _cpu_s(pid)
        (before_s, before_cpu_s), self._cpu = self._cpu, (now_s, cpu_s)
        self.dropped = figures["astra_outbox_dropped_total"]
        row = {
            "at_s": now_s - self._began_s,
            "rss_mb": _rss_mb(pid),
            "cpu_frac": (cpu_s - before_cpu_s) / max(now_s - before_s, 1e-9),
            "descriptors": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
            "threads": float(len(list(Path(f"/proc/{pid}/task").iterdir()))),
            "tasks": figures[TASKS],
            "outbox": figures["astra_outbox_pending"],
            "inbox": figures["astra_inbox_waiting"],
            "lag_s": (status["now_ns"] - status["last_minute_ns"]) / 1e9 / status["speed"],
            "journal_mb": sum(path.stat().st_size for path in state.journal.iterdir()) / 1e6,
            "snapshots": float(len(list(state.snapshots.glob("*")))) if state.snapshots.exists() else 0.0,
            "load": os.getloadavg()[0],
        }
        self.rows.append(row)
        return row

    def column(self, name: str) -> FloatArray:
        """Return a figure of all looks after the first third."""
        return np.array([row[name] for row in self._settled])

    @property
    def hours(self) -> FloatArray:
        """Return when these looks were taken, hours."""
        return self.column("at_s") / 3_600.0

    @property
    def _settled(self) -> list[dict[str, float]]:
        return self.rows[len(self.rows) // 3 :]


def answer(port: int, path: str) -> bytes:
    """Return what the daemon answers over HTTP; raises OSError if it does not."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10.0) as told:
        body: bytes = told.read()
    return body


def _scrape(port: int) -> dict[str, float]:
    """Return the figures of ``/metrics``; those with labels are added up."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer(port, "/metrics").decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES / 1e6


def line_of(row: dict[str, float]) -> str:
    """Return a look as one line."""
    names = ("rss_mb", "cpu_frac", "descriptors", "tasks", "outbox", "inbox", "lag_s")
    return f"{row['at_s'] / 60.0:5.1f} min  " + "  ".join(f"{name} {row[name]:.4g}" for name in names)


# --------------------------------------------------------------------------------------------- judgement


class Account(NamedTuple):
    """Two sums that must be equal."""

    what: str
    one: float
    other: float

    @property
    def is_balanced(self) -> bool:
        """Whether they are."""
        return self.one == self.other


def judge(looks: Looks) -> dict[str, tuple[Judged, Slope, str]]:
    """Fit and judge every figure."""
    fits = {one.name: (one, slope_of(looks.hours, looks.column(one.name))) for one in JUDGED}
    return {name: (one, fit, fit.verdict(one.slope_max)) for name, (one, fit) in fits.items()}


def report(judged: dict[str, tuple[Judged, Slope, str]], accounts: Sequence[Account], looks: Looks) -> str:
    """Return everything as two tables."""
    rows = [
        (name, one.unit, f"{fit.mean:.4g}", f"{fit.most:.4g}", f"{fit.slope:+.3g}",
         f"{fit.low:+.3g} … {fit.high:+.3g}", f"{one.slope_max:g}", _marked(verdict))
        for name, (one, fit, verdict) in judged.items()
    ]  # fmt: skip
    for name in SHOWN:
        values = looks.column(name)
        rows.append(
            (
                name,
                "",
                f"{values.mean():.4g}",
                f"{values.max():.4g}",
                "",
                f"{values[0]:.4g} → {values[-1]:.4g}",
                "",
                "",
            )
        )
    head = ("figure", "unit", "mean", "most", "an hour", "95% interval", "allowed", "verdict")
    balance = [
        (one.what, f"{one.one:,.0f}", f"{one.other:,.0f}", _marked("yes" if one.is_balanced else "no"))
        for one in accounts
    ]
    return (
        f"{markdown(head, rows, left=2)}\n\n"
        f"{markdown(('account', 'one side', 'other side', 'balanced'), balance, left=1)}"
    )


def _marked(verdict: str) -> str:
    return f"**{verdict}**" if verdict in {"grows", "no"} else verdict
